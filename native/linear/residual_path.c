#include "../module.h"
#include "linear.h"
#include "residual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* residual_path(X, n, data, weighted, row, start, unit, weight, k, column, mean, mass, norm, y, b, r, shift, l1, l2, low,
 * high, count, lams, before, lam_before, lam_at, tol, most, B, R, shifts, stats): as gram_path; R holds count x n
 * residuals.  X is dense columns, or 0 for the compressed ones. */
PyObject *fewer_residual_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 32) {
        PyErr_SetString(PyExc_TypeError, "residual_path takes 32 arguments");
        return NULL;
    }
    ResidualTask t = {.pace = 1};
    t.X = PyLong_AsVoidPtr(args[0]), t.n = PyLong_AsLongLong(args[1]);
    t.data = PyLong_AsVoidPtr(args[2]), t.weighted = PyLong_AsVoidPtr(args[3]);
    t.row = PyLong_AsVoidPtr(args[4]), t.start = PyLong_AsVoidPtr(args[5]), t.unit = PyFloat_AsDouble(args[6]);
    t.weight = PyLong_AsVoidPtr(args[7]), t.k = PyLong_AsLongLong(args[8]), t.column = PyLong_AsVoidPtr(args[9]);
    t.mean = PyLong_AsVoidPtr(args[10]), t.mass = PyLong_AsVoidPtr(args[11]), t.norm = PyLong_AsVoidPtr(args[12]);
    t.y = PyLong_AsVoidPtr(args[13]), t.b = PyLong_AsVoidPtr(args[14]), t.r = PyLong_AsVoidPtr(args[15]);
    t.shift = PyFloat_AsDouble(args[16]), t.l1 = PyLong_AsVoidPtr(args[17]), t.l2 = PyLong_AsVoidPtr(args[18]);
    t.low = PyLong_AsVoidPtr(args[19]), t.high = PyLong_AsVoidPtr(args[20]);
    const int64_t count = PyLong_AsLongLong(args[21]);
    const double *lams = PyLong_AsVoidPtr(args[22]);
    double *before = PyLong_AsVoidPtr(args[23]), lam_before = PyFloat_AsDouble(args[24]);
    double lam_at = PyFloat_AsDouble(args[25]);
    const double tol = PyFloat_AsDouble(args[26]);
    const int64_t most = PyLong_AsLongLong(args[27]);
    double *B = PyLong_AsVoidPtr(args[28]), *R = PyLong_AsVoidPtr(args[29]);
    double *shifts = PyLong_AsVoidPtr(args[30]), *stats = PyLong_AsVoidPtr(args[31]);
    if (PyErr_Occurred())
        return NULL;
    const size_t k = (size_t)t.k;
    t.g = malloc((k + 1) * sizeof(double));
    int64_t *list = malloc((k + 1) * (sizeof(int64_t) + 1)); /* and a byte for each column that has left */
    double *history = malloc((k + 1) * FEWER_RESIDUAL_HISTORY * sizeof(double));
    double *kept = malloc((k + 1) * sizeof(double));
    const int ok = t.g && list && history && kept;
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t i = 0; i < t.n; i++)
            t.null += 0.5 * (t.weight ? t.weight[i] : t.unit) * t.y[i] * t.y[i];
        /* The gap errs in first order of what is still to move, the objective in second; below lies rounding. */
        const double settle = t.null > 0 ? fmax(0.1 * tol * tol / t.null, 1e-20 * t.null) : 0;
        for (int64_t i = 0; i < count; i++) {
            t.lam = lams[i];
            memcpy(kept, t.b, k * sizeof(double));
            if (t.lam < lam_at && lam_at < lam_before)
                fewer_residual_carry(&t, before, (t.lam - lam_at) / (lam_at - lam_before), list, history);
            memcpy(before, kept, k * sizeof(double));
            lam_before = lam_at;
            fewer_residual_solve(&t, tol, settle, most, stats + 4 * i, list, history);
            lam_at = t.lam;
            memcpy(B + i * t.k, t.b, k * sizeof(double));
            memcpy(R + i * t.n, t.r, (size_t)t.n * sizeof(double));
            shifts[i] = t.shift;
        }
        Py_END_ALLOW_THREADS
    }
    free(t.g), free(list), free(history), free(kept);
    if (!ok)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}
