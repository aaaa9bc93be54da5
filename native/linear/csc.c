/* Products of the transpose of compressed sparse columns with several vectors at once. */
#include "../module.h"
#include "linear.h"
#include "simd.h"

/* Columns times several vectors, a fixed number of them at a time so that the inner loop has a known length. */
#define TDOT(WIDTH)                                                                                                  \
    static void tdot_##WIDTH(const double *data, const int32_t *row, const int64_t *start, int64_t p, const double *V, \
                             int64_t ldv, double *out)                                                               \
    {                                                                                                                \
        for (int64_t j = 0; j < p; j++) {                                                                            \
            double sum[WIDTH] = {0};                                                                                 \
            for (int64_t e = start[j]; e < start[j + 1]; e++) {                                                      \
                const double x = data[e], *v = V + (int64_t)row[e] * ldv;                                            \
                for (int q = 0; q < WIDTH; q++)                                                                      \
                    sum[q] += x * v[q];                                                                              \
            }                                                                                                        \
            for (int q = 0; q < WIDTH; q++)                                                                          \
                out[j * ldv + q] = sum[q];                                                                           \
        }                                                                                                            \
    }
FEWER_CLONES TDOT(1)
FEWER_CLONES TDOT(4)
FEWER_CLONES TDOT(8)

/* csc_tdot(data, row, start, p, V, m, out): out (p x m) = X' V, V is n x m in rows. */
PyObject *fewer_csc_tdot(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 7) {
        PyErr_SetString(PyExc_TypeError, "csc_tdot takes 7 arguments");
        return NULL;
    }
    const double *data = PyLong_AsVoidPtr(args[0]);
    const int32_t *row = PyLong_AsVoidPtr(args[1]);
    const int64_t *start = PyLong_AsVoidPtr(args[2]);
    const int64_t p = PyLong_AsLongLong(args[3]);
    const double *V = PyLong_AsVoidPtr(args[4]);
    const int64_t m = PyLong_AsLongLong(args[5]);
    double *out = PyLong_AsVoidPtr(args[6]);
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    int64_t q = 0;
    for (; q + 8 <= m; q += 8)
        tdot_8(data, row, start, p, V + q, m, out + q);
    for (; q + 4 <= m; q += 4)
        tdot_4(data, row, start, p, V + q, m, out + q);
    for (; q < m; q++)
        tdot_1(data, row, start, p, V + q, m, out + q);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}
