/* The lasso family on compressed sparse columns: coordinate descent on the residual, over the columns that move, with
 * Anderson acceleration, for a run of penalties; and products of the transpose with several vectors at once.
 *
 * Centring is implicit. The true residual is r + shift, whose weighted sum is zero, so a centred column costs no more
 * than its stored entries. */
#include "../module.h"
#include "linear.h"
#include "simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 5 /* rounds between two accelerations */

typedef struct {
    int64_t n, k;
    const double *data, *weighted; /* weighted: each entry times its row's weight (the same array when uniform) */
    const int32_t *row;
    const int64_t *start;
    const int64_t *column; /* the k working columns */
    double unit;           /* multiplies `weighted` */
    const double *weight;  /* per row, or NULL for `unit` */
    const double *mean, *mass, *norm; /* per working column: mean, sum of weighted entries, squared norm (centred) */
    const double *l1, *l2, *low, *high, *y;
    double lam, shift;
    double *b, *r, *g;
} Task;

static inline double gradient(const Task *t, int64_t w)
{
    const int64_t j = t->column[w], stop = t->start[j + 1];
    double a = 0, b = 0;
    int64_t e = t->start[j];
    for (; e + 2 <= stop; e += 2) {
        a += t->weighted[e] * t->r[t->row[e]];
        b += t->weighted[e + 1] * t->r[t->row[e + 1]];
    }
    if (e < stop)
        a += t->weighted[e] * t->r[t->row[e]];
    return t->unit * (a + b) + t->shift * t->mass[w];
}

static inline void move(Task *t, int64_t w, double delta)
{
    const int64_t j = t->column[w], stop = t->start[j + 1];
    for (int64_t e = t->start[j]; e < stop; e++)
        t->r[t->row[e]] -= delta * t->data[e];
    t->shift += delta * t->mean[w];
}

static double sizes(const Task *t, double *ry)
{
    double rr = 0, cross = 0;
    for (int64_t i = 0; i < t->n; i++) {
        const double v = t->r[i] + t->shift, s = t->weight ? t->weight[i] : t->unit;
        rr += s * v * v, cross += s * v * t->y[i];
    }
    *ry = cross;
    return rr;
}

static double price(const Task *t)
{
    double sum = 0;
    for (int64_t w = 0; w < t->k; w++)
        if (t->b[w] != 0)
            sum += t->lam * (t->l1[w] * fabs(t->b[w]) + 0.5 * t->l2[w] * t->b[w] * t->b[w]);
    return sum;
}

static double gap_of(Task *t, double *objective)
{
    double ry, scale = 1;
    const double rr = sizes(t, &ry);
    for (int64_t w = 0; w < t->k; w++) {
        const double g = t->g[w] = gradient(t, w), l1 = t->lam * t->l1[w];
        if (t->l2[w] == 0 && l1 > 0 && fabs(g) * scale > l1 &&
            !(t->low && (g > 0 ? isfinite(t->high[w]) : isfinite(t->low[w]))))
            scale = l1 / fabs(g);
    }
    *objective = 0.5 * rr + price(t);
    double gap = *objective - scale * ry + 0.5 * scale * scale * rr;
    for (int64_t w = 0; w < t->k; w++) {
        const double l2 = t->lam * t->l2[w], l1 = t->lam * t->l1[w], u = scale * t->g[w];
        if (l1 == 0 && l2 == 0 && !t->low) {
            gap += fabs(u) * (fabs(t->b[w]) + (t->norm[w] > 0 ? fabs(u) / t->norm[w] : 0));
            continue;
        }
        const double s = fewer_soft(u, l1 * (1 + 1e-15));
        double z = s == 0 ? 0 : (l2 > 0 ? s / l2 : (s > 0 ? INFINITY : -INFINITY));
        if (t->low)
            z = z < t->low[w] ? t->low[w] : (z > t->high[w] ? t->high[w] : z);
        if (isfinite(z))
            gap += u * z - l1 * fabs(z) - 0.5 * l2 * z * z;
    }
    return gap;
}

/* One round over the listed columns; returns the decrease of the objective that it was good for. */
static double sweep(Task *t, const int64_t *list, int64_t m)
{
    double gain = 0;
    for (int64_t i = 0; i < m; i++) {
        const int64_t w = list[i];
        if (!(t->norm[w] > 0))
            continue;
        const double old = t->b[w], whole = t->norm[w] + t->lam * t->l2[w];
        double z = fewer_soft(gradient(t, w) + t->norm[w] * old, t->lam * t->l1[w]) / whole;
        if (t->low)
            z = z < t->low[w] ? t->low[w] : (z > t->high[w] ? t->high[w] : z);
        const double delta = z - old;
        if (delta != 0) {
            t->b[w] = z;
            move(t, w, delta);
            gain += 0.5 * whole * delta * delta;
        }
    }
    return gain;
}

/* Weights of the best affine mixture of the last iterates; 0 when the differences depend on each other. */
static int mixture(const double *history, int64_t m, double *c)
{
    double A[DEPTH][DEPTH + 1], most = 0;
    for (int p = 0; p < DEPTH; p++)
        for (int q = p; q < DEPTH; q++) {
            double sum = 0;
            const double *x = history + p * m, *y = history + q * m;
            for (int64_t i = 0; i < m; i++)
                sum += (x[i + m] - x[i]) * (y[i + m] - y[i]);
            A[p][q] = A[q][p] = sum;
            if (p == q && sum > most)
                most = sum;
        }
    for (int p = 0; p < DEPTH; p++)
        A[p][p] += 1e-12 * most, A[p][DEPTH] = 1;
    for (int p = 0; p < DEPTH; p++) {
        if (!(A[p][p] > 0))
            return 0;
        for (int q = p + 1; q < DEPTH; q++) {
            const double f = A[q][p] / A[p][p];
            for (int s = p; s <= DEPTH; s++)
                A[q][s] -= f * A[p][s];
        }
    }
    double total = 0;
    for (int p = DEPTH - 1; p >= 0; p--) {
        c[p] = A[p][DEPTH];
        for (int q = p + 1; q < DEPTH; q++)
            c[p] -= A[p][q] * c[q];
        c[p] /= A[p][p];
        total += c[p];
    }
    for (int p = 0; p < DEPTH; p++)
        c[p] /= total;
    return isfinite(total) && total != 0;
}

static void go_to(Task *t, const int64_t *list, int64_t m, const double *target)
{
    for (int64_t i = 0; i < m; i++) {
        const int64_t w = list[i];
        const double delta = target[i] - t->b[w];
        if (delta != 0) {
            t->b[w] = target[i];
            move(t, w, delta);
        }
    }
}

/* Jump to the mixture when that lowers the objective; otherwise stay. Signs that flip are sent to zero. */
static void accelerate(Task *t, const int64_t *list, int64_t m, const double *history, double *target)
{
    double c[DEPTH], ry;
    if (!mixture(history, m, c))
        return;
    for (int64_t i = 0; i < m; i++) {
        double z = 0;
        for (int p = 0; p < DEPTH; p++)
            z += c[p] * history[(p + 1) * m + i];
        if (t->low)
            z = z < t->low[list[i]] ? t->low[list[i]] : (z > t->high[list[i]] ? t->high[list[i]] : z);
        if (t->l1[list[i]] > 0 && z * t->b[list[i]] <= 0)
            z = 0;
        target[i] = z;
    }
    const double before = 0.5 * sizes(t, &ry) + price(t);
    go_to(t, list, m, target);
    if (!(0.5 * sizes(t, &ry) + price(t) < before))
        go_to(t, list, m, history + DEPTH * m);
}

static void solve_one(Task *t, double tol, int64_t most, double *stats, int64_t *list, double *history)
{
    double objective, gap = gap_of(t, &objective), small = 0.3 * tol;
    int64_t rounds = 0, checks = 0;
    while (gap > tol && rounds < most) {
        int64_t m = 0;
        for (int64_t w = 0; w < t->k; w++)
            if (t->b[w] != 0 || fabs(t->g[w]) > t->lam * t->l1[w])
                list[m++] = w;
        double first = 0;
        for (int64_t i = 0; i < 12 * DEPTH && rounds < most; i++, rounds++) {
            double *now = history + (i % DEPTH) * m;
            for (int64_t e = 0; e < m; e++)
                now[e] = t->b[list[e]];
            const double gain = sweep(t, list, m);
            if (i == 0)
                first = gain;
            if (i % DEPTH == DEPTH - 1) {
                double *last = history + DEPTH * m;
                for (int64_t e = 0; e < m; e++)
                    last[e] = t->b[list[e]];
                accelerate(t, list, m, history, last + m);
            }
            if (gain <= 1e-3 * first || gain <= small)
                break;
        }
        const double old = gap;
        gap = gap_of(t, &objective);
        checks++;
        if (gap > 0.5 * old)
            small *= 0.1; /* the rounds stopped too early for this gap */
        if (!(small > 0))
            break;
    }
    stats[0] = gap, stats[1] = (double)rounds, stats[2] = (double)checks, stats[3] = objective;
}

/* csc_path(n, data, weighted, row, start, unit, weight, k, column, mean, mass, norm, y, b, r, shift, l1, l2, low,
 * high, count, lams, before, lam_before, lam_at, tol, most, B, R, shifts, stats): as gram_path; R holds count x n residuals. */
PyObject *fewer_csc_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 31) {
        PyErr_SetString(PyExc_TypeError, "csc_path takes 31 arguments");
        return NULL;
    }
    Task t = {0};
    t.n = PyLong_AsLongLong(args[0]), t.data = PyLong_AsVoidPtr(args[1]), t.weighted = PyLong_AsVoidPtr(args[2]);
    t.row = PyLong_AsVoidPtr(args[3]), t.start = PyLong_AsVoidPtr(args[4]), t.unit = PyFloat_AsDouble(args[5]);
    t.weight = PyLong_AsVoidPtr(args[6]), t.k = PyLong_AsLongLong(args[7]), t.column = PyLong_AsVoidPtr(args[8]);
    t.mean = PyLong_AsVoidPtr(args[9]), t.mass = PyLong_AsVoidPtr(args[10]), t.norm = PyLong_AsVoidPtr(args[11]);
    t.y = PyLong_AsVoidPtr(args[12]), t.b = PyLong_AsVoidPtr(args[13]), t.r = PyLong_AsVoidPtr(args[14]);
    t.shift = PyFloat_AsDouble(args[15]), t.l1 = PyLong_AsVoidPtr(args[16]), t.l2 = PyLong_AsVoidPtr(args[17]);
    t.low = PyLong_AsVoidPtr(args[18]), t.high = PyLong_AsVoidPtr(args[19]);
    const int64_t count = PyLong_AsLongLong(args[20]);
    const double *lams = PyLong_AsVoidPtr(args[21]);
    double *before = PyLong_AsVoidPtr(args[22]), lam_before = PyFloat_AsDouble(args[23]);
    double lam_at = PyFloat_AsDouble(args[24]);
    const double tol = PyFloat_AsDouble(args[25]);
    const int64_t most = PyLong_AsLongLong(args[26]);
    double *B = PyLong_AsVoidPtr(args[27]), *R = PyLong_AsVoidPtr(args[28]);
    double *shifts = PyLong_AsVoidPtr(args[29]), *stats = PyLong_AsVoidPtr(args[30]);
    if (PyErr_Occurred())
        return NULL;
    const size_t k = (size_t)t.k;
    t.g = malloc((k + 1) * sizeof(double));
    int64_t *list = malloc((k + 1) * sizeof(int64_t));
    double *history = malloc((k + 1) * (DEPTH + 2) * sizeof(double));
    double *kept = malloc((k + 1) * sizeof(double));
    const int ok = t.g && list && history && kept;
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        double ry;
        for (int64_t i = 0; i < count; i++) {
            t.lam = lams[i];
            memcpy(kept, t.b, k * sizeof(double));
            if (t.lam < lam_at && lam_at < lam_before) {
                const double ratio = (t.lam - lam_at) / (lam_at - lam_before);
                int64_t m = 0;
                for (int64_t w = 0; w < t.k; w++)
                    if (t.b[w] != 0) {
                        double z = t.b[w] + ratio * (t.b[w] - before[w]);
                        if (t.low)
                            z = z < t.low[w] ? t.low[w] : (z > t.high[w] ? t.high[w] : z);
                        history[m] = z * t.b[w] < 0 ? 0 : z;
                        history[k + m] = t.b[w];
                        list[m++] = w;
                    }
                const double objective = 0.5 * sizes(&t, &ry) + price(&t);
                go_to(&t, list, m, history);
                if (!(0.5 * sizes(&t, &ry) + price(&t) < objective))
                    go_to(&t, list, m, history + k);
            }
            memcpy(before, kept, k * sizeof(double));
            lam_before = lam_at;
            solve_one(&t, tol, most, stats + 4 * i, list, history);
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
