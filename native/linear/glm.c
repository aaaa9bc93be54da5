/* Proximal Newton along a path for losses that are a sum over rows, dense columns; every solution is certified by a
 * dual point.
 *
 *   minimise   sum_i s_i loss(y_i, b0 + x_i b)  +  lam sum_j (l1_j |b_j| + l2_j b_j^2 / 2) */
#include "../module.h"
#include "glm.h"
#include "linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* glm_path(n, p, family, intercept, one, two, X, y, s, l1, l2, low, high, count, lams, lam_at, tol, most, b, b0, eta,
 * B, stats, slopes): X in columns; B (count x p), stats (count x 7): gap, rounds, Newton steps, objective, KKT, dual
 * scale, intercept; slopes (count x n) or 0. */
PyObject *fewer_glm_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 24) {
        PyErr_SetString(PyExc_TypeError, "glm_path takes 24 arguments");
        return NULL;
    }
    Model m = {0};
    m.n = PyLong_AsLongLong(args[0]), m.p = PyLong_AsLongLong(args[1]);
    m.family = (int)PyLong_AsLong(args[2]), m.intercept = (int)PyLong_AsLong(args[3]);
    m.one = PyFloat_AsDouble(args[4]), m.two = PyFloat_AsDouble(args[5]);
    m.X = PyLong_AsVoidPtr(args[6]), m.y = PyLong_AsVoidPtr(args[7]), m.s = PyLong_AsVoidPtr(args[8]);
    m.l1 = PyLong_AsVoidPtr(args[9]), m.l2 = PyLong_AsVoidPtr(args[10]);
    m.low = PyLong_AsVoidPtr(args[11]), m.high = PyLong_AsVoidPtr(args[12]);
    const int64_t count = PyLong_AsLongLong(args[13]);
    const double *lams = PyLong_AsVoidPtr(args[14]);
    double lam_at = PyFloat_AsDouble(args[15]);
    const double tol = PyFloat_AsDouble(args[16]);
    const int64_t most = PyLong_AsLongLong(args[17]);
    m.b = PyLong_AsVoidPtr(args[18]), m.b0 = PyFloat_AsDouble(args[19]), m.eta = PyLong_AsVoidPtr(args[20]);
    double *B = PyLong_AsVoidPtr(args[21]), *stats = PyLong_AsVoidPtr(args[22]), *slopes = PyLong_AsVoidPtr(args[23]);
    if (PyErr_Occurred())
        return NULL;
    const size_t n = (size_t)m.n, p = (size_t)m.p, d = sizeof(double);
    /* Room for the working columns: all of them when that is small, else what n rows can use. */
    int64_t most_columns = m.p < 2 * m.n + 64 ? m.p : 2 * m.n + 64;
    const size_t room = (size_t)most_columns;
    Working w = {0};
    w.room = most_columns;
    double *block = malloc((3 * n + (n > p ? n : p) + n + 16 + 12 * room) * d);
    double *old = malloc((2 * p + 2 * n + 4) * d);
    w.Z = malloc((room * n + 1) * d);
    double *G = malloc((room * room + 1) * d), *U = malloc((room * room + 1) * d);
    int64_t *index = malloc((3 * room + 8) * sizeof(int64_t));
    int8_t *inside = calloc(p + room + 8, 1);
    const int ok = block && old && w.Z && G && U && index && inside;
    if (ok) {
        double *next = block;
        m.slope = next, next += n, m.bend = next, next += n, m.trial = next, next += n;
        m.g = next, next += n > p ? n : p;
        w.g = next, next += n;
        w.mean = next, next += room, w.l1 = next, next += room, w.l2 = next, next += room, w.low = next, next += room;
        w.high = next, next += room, w.c = next, next += room, w.b = next, next += room, w.step = next, next += room;
        w.column = index;
        w.task.G = G, w.task.ldg = w.room, w.task.c = w.c, w.task.l1 = w.l1, w.task.l2 = w.l2, w.task.b = w.b;
        w.task.low = m.low ? w.low : NULL, w.task.high = m.low ? w.high : NULL;
        w.task.factor.U = U, w.task.factor.item = index + room, w.task.factor.stride = w.room;
        w.task.inside = inside + p;
        Py_BEGIN_ALLOW_THREADS
        double *work = malloc((6 * room + 8) * d);
        w.task.factor.work = work, w.task.g = work + 2 * room, w.task.ridge = work + 3 * room;
        w.task.x = work + 4 * room, w.task.start = work + 5 * room;
        w.task.pull = next, next += room;
        double *b_old = old, *b_now = old + p, *eta_old = old + 2 * p, *eta_now = eta_old + n;
        double lam_old = INFINITY, b0_old = m.b0;
        int have = 0;
        for (int64_t i = 0; work && i < count; i++) {
            m.lam = lams[i];
            const double b0_now = m.b0;
            memcpy(b_now, m.b, p * d), memcpy(eta_now, m.eta, n * d);
            if (have && m.lam < lam_at && lam_at < lam_old) {
                /* Carry the last two on in a straight line, signs kept, where that lowers the objective. */
                const double ratio = (m.lam - lam_at) / (lam_at - lam_old);
                const double here = fewer_glm_evaluate(&m, m.eta, m.slope, m.bend) + fewer_glm_price(&m, m.b);
                m.b0 = b0_now + ratio * (b0_now - b0_old);
                for (int64_t r = 0; r < m.n; r++)
                    m.eta[r] = eta_now[r] + ratio * (eta_now[r] - eta_old[r]);
                for (int64_t j = 0; j < m.p; j++) {
                    const double line = b_now[j] + ratio * (b_now[j] - b_old[j]);
                    double z = b_now[j] == 0 || line * b_now[j] < 0 ? 0 : line;
                    if (m.low)
                        z = z < m.low[j] ? m.low[j] : (z > m.high[j] ? m.high[j] : z);
                    if (z != line)
                        fewer_axpy(z - line, m.X + j * m.n, m.eta, m.n);
                    m.b[j] = z;
                }
                if (!(fewer_glm_evaluate(&m, m.eta, m.slope, m.bend) + fewer_glm_price(&m, m.b) < here)) {
                    memcpy(m.b, b_now, p * d), memcpy(m.eta, eta_now, n * d);
                    m.b0 = b0_now;
                }
            }
            /* Start each penalty from the columns in use; the strong rule adds the likely ones. */
            memset(inside, 0, p);
            w.k = 0, w.built = 0;
            const double guess = isfinite(lam_at) && lam_at > m.lam ? lam_at : m.lam;
            fewer_glm_solve(&m, &w, G, inside, guess, tol, most, stats + 7 * i);
            memcpy(B + i * m.p, m.b, p * d);
            if (slopes)
                memcpy(slopes + i * m.n, m.slope, n * d);
            memcpy(b_old, b_now, p * d), memcpy(eta_old, eta_now, n * d);
            b0_old = b0_now, lam_old = lam_at, lam_at = m.lam, have = 1;
        }
        free(work);
        Py_END_ALLOW_THREADS
    }
    free(block), free(old), free(w.Z), free(G), free(U), free(index), free(inside);
    if (!ok)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}
