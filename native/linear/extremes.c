/* How far gradients stand above their thresholds: the passes over all columns that every certificate needs. */
#include "../module.h"
#include "linear.h"
#include "simd.h"

#include <math.h>

typedef struct {
    const double *g, *l1, *lams;
    int64_t p, m;
    double *restrict ratio, *restrict over;
} Extremes;

static inline double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Gradients of one column side by side. */
FEWER_CLONES
static void by_rows(const Extremes *t, int64_t down)
{
    double *restrict ratio = t->ratio, *restrict over = t->over;
    for (int64_t j = 0; j < t->p; j++) {
        const double *g = t->g + j * down, price = t->l1[j];
        for (int64_t q = 0; q < t->m; q++) {
            const double size = fabs(g[q]);
            ratio[q] = larger(price > 0 ? size / price : 0, ratio[q]);
            over[q] = larger(size - t->lams[q] * price, over[q]);
        }
    }
}

/* Gradients of one penalty side by side (step 1), or wherever they are. */
FEWER_CLONES
static void by_columns(const Extremes *t, int64_t q, const double *g, int64_t step)
{
    double lane[FEWER_LANES] = {0}, above[FEWER_LANES] = {0};
    const double lam = t->lams[q];
    int64_t j = 0;
    for (; j + FEWER_LANES <= t->p; j += FEWER_LANES)
        for (int64_t k = 0; k < FEWER_LANES; k++) {
            const double size = fabs(g[(j + k) * step]), price = t->l1[j + k];
            lane[k] = larger(price > 0 ? size / price : 0, lane[k]);
            above[k] = larger(size - lam * price, above[k]);
        }
    for (; j < t->p; j++) {
        const double size = fabs(g[j * step]), price = t->l1[j];
        lane[0] = larger(price > 0 ? size / price : 0, lane[0]);
        above[0] = larger(size - lam * price, above[0]);
    }
    for (int k = 0; k < FEWER_LANES; k++)
        t->ratio[q] = larger(lane[k], t->ratio[q]), t->over[q] = larger(above[k], t->over[q]);
}

/* extremes(pulls, p, m, column_stride, lam_stride, l1, lams, ratio, over): for each of m penalties the largest |g| / l1
 * over columns with a price, and the largest |g| - lam l1 (at least 0) over all.  Strides are in numbers. */
PyObject *fewer_extremes(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 9) {
        PyErr_SetString(PyExc_TypeError, "extremes takes 9 arguments");
        return NULL;
    }
    Extremes t = {0};
    t.g = PyLong_AsVoidPtr(args[0]);
    t.p = PyLong_AsLongLong(args[1]), t.m = PyLong_AsLongLong(args[2]);
    const int64_t down = PyLong_AsLongLong(args[3]), across = PyLong_AsLongLong(args[4]);
    t.l1 = PyLong_AsVoidPtr(args[5]), t.lams = PyLong_AsVoidPtr(args[6]);
    t.ratio = PyLong_AsVoidPtr(args[7]), t.over = PyLong_AsVoidPtr(args[8]);
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t q = 0; q < t.m; q++)
        t.ratio[q] = t.over[q] = 0;
    if (across == 1 && t.m > 1)
        by_rows(&t, down);
    else
        for (int64_t q = 0; q < t.m; q++) {
            const double *g = t.g + q * across;
            if (down == 1)
                by_columns(&t, q, g, 1);
            else
                by_columns(&t, q, g, down);
        }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}
