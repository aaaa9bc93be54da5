/* The lasso family on a working Gram matrix, for a run of penalties: coordinate descent that visits zeros for free,
 * and exact solves on the active set, cut at the first sign change, once they are the cheaper way on.
 *
 *   minimise over b   b'Gb/2 - c'b + sum_j lam l1_j |b_j| + lam l2_j b_j^2 / 2,   low_j <= b_j <= high_j
 *
 * g = c - Gb is kept for all k columns.  The stop is the duality gap of this subproblem. */
#include "../module.h"
#include "gram.h"
#include "linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Largest multiple of g that is a dual point, the gap there, and the objective. */
double fewer_gram_gap(const GramTask *t, double *objective)
{
    double rr = t->yy, ry = t->yy, price = 0, scale = 1;
    for (int64_t j = 0; j < t->k; j++) {
        const double b = t->b[j], l1 = t->lam * t->l1[j], g = t->g[j];
        if (b != 0) {
            rr -= b * (t->c[j] + g);
            ry -= b * t->c[j];
            price += l1 * fabs(b) + 0.5 * t->lam * t->l2[j] * b * b;
        }
        if (t->l2[j] == 0 && l1 > 0 && fabs(g) * scale > l1 &&
            !(t->low && (g > 0 ? isfinite(t->high[j]) : isfinite(t->low[j]))))
            scale = l1 / fabs(g);
    }
    if (rr < 0)
        rr = 0;
    *objective = 0.5 * rr + price;
    double gap = *objective - scale * ry + 0.5 * scale * scale * rr;
    for (int64_t j = 0; j < t->k; j++) {
        const double l2 = t->lam * t->l2[j], l1 = t->lam * t->l1[j], u = scale * t->g[j];
        if (l1 == 0 && l2 == 0 && !(t->low && isfinite(u > 0 ? t->high[j] : t->low[j]))) {
            /* A free column must have no gradient: what it would still gain, and more, counts as gap.  Where a bound keeps
             * several of them from being fitted together, alone each could gain far less: then in first order. */
            const double norm = t->G[j * t->ldg + j], much = t->low ? sqrt(rr * norm) : fabs(u);
            gap += fabs(u) * (fabs(t->b[j]) + (norm > 0 ? much / norm : 0));
            continue;
        }
        const double s = fewer_soft(u, l1 * (1 + 1e-15));
        if (s == 0)
            continue;
        double z = l2 > 0 ? s / l2 : (s > 0 ? INFINITY : -INFINITY);
        if (t->low)
            z = z < t->low[j] ? t->low[j] : (z > t->high[j] ? t->high[j] : z);
        if (!isfinite(z))
            continue; /* scaled to feasibility above: what is left is rounding */
        gap += u * z - l1 * fabs(z) - 0.5 * l2 * z * z;
    }
    return gap;
}

/* One round over all columns; returns how many moved. */
FEWER_CLONES
static int64_t sweep(const GramTask *t)
{
    int64_t moved = 0;
    for (int64_t j = 0; j < t->k; j++) {
        const double *row = t->G + j * t->ldg;
        const double old = t->b[j], l1 = t->lam * t->l1[j];
        if (old == 0 && fabs(t->g[j]) <= l1)
            continue;
        const double whole = row[j] + t->lam * t->l2[j];
        if (!(row[j] > 0))
            continue;
        double z = fewer_soft(t->g[j] + row[j] * old, l1) / whole;
        if (t->low)
            z = z < t->low[j] ? t->low[j] : (z > t->high[j] ? t->high[j] : z);
        const double delta = z - old;
        if (delta == 0)
            continue;
        t->b[j] = z;
        fewer_axpy(-delta, row, t->g, t->k);
        moved++;
    }
    return moved;
}

/* g <- c - G b */
FEWER_CLONES
static void refresh(const GramTask *t)
{
    memcpy(t->g, t->c, (size_t)t->k * sizeof(double));
    for (int64_t j = 0; j < t->k; j++)
        if (t->b[j] != 0)
            fewer_axpy(-t->b[j], t->G + j * t->ldg, t->g, t->k);
}

static int at_bound(const GramTask *t, int64_t j)
{
    return t->low && (t->b[j] <= t->low[j] || t->b[j] >= t->high[j]);
}

/* Make the factor hold exactly the columns that are not zero and not at a bound. */
static void follow(GramTask *t)
{
    Factor *f = &t->factor;
    int64_t gone = 0;
    for (int64_t r = 0; r < f->size; r++)
        gone += t->b[f->item[r]] == 0 || at_bound(t, f->item[r]);
    if (gone * 3 > f->size) {
        for (int64_t r = 0; r < f->size; r++)
            t->inside[f->item[r]] = 0;
        f->size = 0;
    }
    for (int64_t r = f->size - 1; r >= 0; r--) {
        const int64_t j = f->item[r];
        if (t->b[j] == 0 || at_bound(t, j)) {
            t->inside[j] = 0;
            fewer_factor_remove(f, r);
        }
    }
    for (int64_t j = 0; j < t->k; j++)
        if (t->b[j] != 0 && !t->inside[j] && !at_bound(t, j) && f->size < f->stride)
            t->inside[j] = (int8_t)fewer_factor_append(f, t->G, t->ldg, t->ridge, j);
}

/* Solve exactly on the signs as they stand; at the first column that would cross zero (or a bound) stop, leave it
 * there, and go on without it.  The objective never rises. */
FEWER_CLONES
static void active_solve(GramTask *t)
{
    Factor *f = &t->factor;
    follow(t);
    memcpy(t->start, t->b, (size_t)t->k * sizeof(double));
    while (f->size > 0) {
        double *x = t->x, cut = 1;
        int64_t first = -1;
        for (int64_t r = 0; r < f->size; r++) {
            const int64_t j = f->item[r];
            const double l1 = t->lam * t->l1[j];
            x[r] = t->g[j] - (t->b[j] > 0 ? l1 : (t->b[j] < 0 ? -l1 : 0)) - t->ridge[j] * t->b[j];
        }
        memcpy(t->pull, x, (size_t)f->size * sizeof(double));
        fewer_factor_solve(f, x);
        double landing = 0;
        for (int64_t r = 0; r < f->size; r++) {
            const int64_t j = f->item[r];
            const double b = t->b[j], next = b + cut * x[r];
            if (t->l1[j] > 0 && next * b < 0) {
                cut = -b / x[r], first = r, landing = 0;
            } else if (t->low && (next < t->low[j] || next > t->high[j])) {
                landing = next < t->low[j] ? t->low[j] : t->high[j];
                cut = (landing - b) / x[r], first = r;
            }
        }
        for (int64_t r = 0; r < f->size; r++) {
            const int64_t j = f->item[r];
            t->b[j] += cut * x[r];
            t->g[j] -= cut * (t->pull[r] - t->ridge[j] * x[r]);
        }
        if (first < 0)
            break;
        t->b[f->item[first]] = landing;
        t->inside[f->item[first]] = 0;
        fewer_factor_remove(f, first);
    }
    refresh(t);
}

/* Carry the last two solutions on in a straight line, which is what the path does between two events. */
static void extrapolate(GramTask *t, const double *before, double ratio, double objective)
{
    double then;
    memcpy(t->start, t->b, (size_t)t->k * sizeof(double));
    memcpy(t->x, t->g, (size_t)t->k * sizeof(double));
    for (int64_t j = 0; j < t->k; j++) {
        const double b = t->b[j];
        double z = b + ratio * (b - before[j]);
        if (b == 0 || z * b < 0)
            z = 0;
        if (t->low)
            z = z < t->low[j] ? t->low[j] : (z > t->high[j] ? t->high[j] : z);
        t->b[j] = z;
    }
    refresh(t);
    fewer_gram_gap(t, &then);
    if (!(then < objective)) {
        memcpy(t->b, t->start, (size_t)t->k * sizeof(double));
        memcpy(t->g, t->x, (size_t)t->k * sizeof(double));
    }
}

/* `ahead` penalties still to come in this run will use the same factor, and share its price. */
void fewer_gram_solve(GramTask *t, double tol, int64_t most, double ahead, double *stats)
{
    double objective, gap = fewer_gram_gap(t, &objective), last = INFINITY, best = gap, lowest = objective;
    int64_t sweeps = 0, solves = 0, since = 0, stuck = 0;
    while (gap > tol && sweeps < most) {
        const int64_t moved = sweep(t);
        sweeps++, since++;
        gap = fewer_gram_gap(t, &objective);
        if (gap <= tol)
            break;
        /* How many more rounds would descent need at this rate, and would one exact solve cost less? */
        const double rate = gap < last ? gap / last : 0.99;
        const double rounds = rate < 1 ? log(tol / gap) / log(rate) : 1e3;
        last = gap;
        const double pass = (double)moved * (double)t->k + 20.0 * (double)t->k;
        double support = 0, fresh = 0;
        for (int64_t j = 0; j < t->k; j++)
            if (t->b[j] != 0)
                support++, fresh += !t->inside[j];
        const double square = support * support;
        const double whole = (fresh * 3 > support ? square * support / 3 : 2 * fresh * square) / (1 + ahead);
        if (since >= 2 && rounds * pass > 2 * square + whole) {
            active_solve(t);
            solves++, since = 0, last = INFINITY;
            gap = fewer_gram_gap(t, &objective);
            /* The gap may stand still for long while the active set finds itself; the objective then falls. */
            stuck = gap < 0.5 * best || objective < lowest - 1e-3 * tol ? 0 : stuck + 1;
            best = gap < best ? gap : best, lowest = objective < lowest ? objective : lowest;
            if (stuck > 40)
                break; /* rounding: the caller sees the gap and says so */
        }
    }
    stats[0] = gap, stats[1] = (double)sweeps, stats[2] = (double)solves, stats[3] = objective;
}

/* gram_path(k, ldg, G, yy, c, b, g, l1, l2, low, high, count, lams, before, lam_before, lam_at, tol, most, B, Gs,
 * stats, factor, items, sizes)
 * Solutions of `count` penalties into rows of B (count x k), gradients into Gs, stats (count x 4): gap, sweeps,
 * exact solves, objective.  b, g start warm and end at the last penalty; before is the solution at lam_before.
 * factor, items and sizes (size, stride) carry the Cholesky factor from call to call; any of its columns may be asked
 * for again under the same position. */
PyObject *fewer_gram_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 24) {
        PyErr_SetString(PyExc_TypeError, "gram_path takes 24 arguments");
        return NULL;
    }
    GramTask t = {0};
    t.k = PyLong_AsLongLong(args[0]), t.ldg = PyLong_AsLongLong(args[1]);
    t.G = PyLong_AsVoidPtr(args[2]), t.yy = PyFloat_AsDouble(args[3]), t.c = PyLong_AsVoidPtr(args[4]);
    t.b = PyLong_AsVoidPtr(args[5]), t.g = PyLong_AsVoidPtr(args[6]);
    t.l1 = PyLong_AsVoidPtr(args[7]), t.l2 = PyLong_AsVoidPtr(args[8]);
    t.low = PyLong_AsVoidPtr(args[9]), t.high = PyLong_AsVoidPtr(args[10]);
    const int64_t count = PyLong_AsLongLong(args[11]);
    const double *lams = PyLong_AsVoidPtr(args[12]);
    double *before = PyLong_AsVoidPtr(args[13]);
    double lam_before = PyFloat_AsDouble(args[14]), lam_at = PyFloat_AsDouble(args[15]);
    const double tol = PyFloat_AsDouble(args[16]);
    const int64_t most = PyLong_AsLongLong(args[17]);
    double *B = PyLong_AsVoidPtr(args[18]), *Gs = PyLong_AsVoidPtr(args[19]), *stats = PyLong_AsVoidPtr(args[20]);
    int64_t *sizes = PyLong_AsVoidPtr(args[23]);
    t.factor.U = PyLong_AsVoidPtr(args[21]), t.factor.item = PyLong_AsVoidPtr(args[22]);
    if (PyErr_Occurred())
        return NULL;
    const size_t k = (size_t)t.k;
    t.factor.size = sizes[0], t.factor.stride = sizes[1];
    t.factor.work = malloc((2 * (size_t)sizes[1] + 2) * sizeof(double));
    t.ridge = calloc(k + 1, sizeof(double));
    t.x = malloc((k + 1) * sizeof(double));
    t.start = malloc((k + 1) * sizeof(double));
    t.pull = malloc((k + 1) * sizeof(double));
    t.inside = calloc(k + 1, 1);
    double *kept = malloc((k + 1) * sizeof(double));
    const int ok = t.factor.work && t.ridge && t.x && t.start && t.pull && t.inside && kept;
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        int any_ridge = 0;
        for (int64_t j = 0; j < t.k; j++)
            any_ridge |= t.l2[j] != 0;
        for (int64_t r = 0; r < t.factor.size; r++)
            t.inside[t.factor.item[r]] = 1;
        for (int64_t i = 0; i < count; i++) {
            t.lam = lams[i];
            if (any_ridge) { /* the ridge enters the factor, so a new lam needs a new one */
                for (int64_t j = 0; j < t.k; j++)
                    t.ridge[j] = t.lam * t.l2[j], t.inside[j] = 0;
                t.factor.size = 0;
            }
            double objective;
            memcpy(kept, t.b, k * sizeof(double));
            fewer_gram_gap(&t, &objective);
            if (t.lam < lam_at && lam_at < lam_before)
                extrapolate(&t, before, (t.lam - lam_at) / (lam_at - lam_before), objective);
            memcpy(before, kept, k * sizeof(double));
            lam_before = lam_at;
            fewer_gram_solve(&t, tol, most, any_ridge ? 0 : (double)(count - i < 16 ? count - i : 16), stats + 4 * i);
            lam_at = t.lam;
            memcpy(B + i * t.k, t.b, k * sizeof(double));
            memcpy(Gs + i * t.k, t.g, k * sizeof(double));
        }
        sizes[0] = any_ridge ? 0 : t.factor.size;
        Py_END_ALLOW_THREADS
    }
    free(t.factor.work), free(t.ridge), free(t.x), free(t.start), free(t.pull), free(t.inside), free(kept);
    if (!ok)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}
