/* Paths with a concave price: at every penalty the lowest end of descents from several starts. */
#include "concave.h"
#include "linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rounds, or Newton steps, from one start before the starts are compared. */
#define LITTLE 100
/* At most so many times along the path, back and forth, from solution to solution. */
#define PASSES 4

typedef struct {
    double *b, c, value, off, price;
    int64_t rounds;
} Found;

static void set_prices(ConcaveTask *t, double lam)
{
    t->lam = lam;
    for (int64_t i = 0; i < t->p; i++)
        t->prices[i] = lam * t->factor[i];
}

static void begin(ConcaveTask *t, const double *b, double c)
{
    memcpy(t->b, b, (size_t)t->p * sizeof(double));
    if (t->q)
        t->c[0] = c;
}

/* Keep the present end where it is the lowest so far. */
static void compare(const ConcaveTask *t, Found *best)
{
    if (!(t->value < best->value - t->rounding) || !isfinite(t->off))
        return;
    memcpy(best->b, t->b, (size_t)t->p * sizeof(double));
    best->c = t->q ? t->c[0] : 0, best->value = t->value, best->off = t->off, best->price = t->price, best->rounds = t->rounds;
}

/* Descend from a start: first with the coefficients in use held there, as they may need each other; then each may fall
 * to zero alone.  Where any was held, also without holding. */
static void attempt(ConcaveTask *t, const double *b, double c, Found *best)
{
    begin(t, b, c);
    t->quadratic.near = 1, t->quadratic.held = 0;
    fewer_concave_descend(t);
    t->quadratic.near = 0;
    if (t->quadratic.held) {
        const int64_t rounds = t->rounds;
        fewer_concave_descend(t);
        t->rounds += rounds;
        compare(t, best);
        begin(t, b, c);
        fewer_concave_descend(t);
    }
    compare(t, best);
}

/* The lowest end, which may have been left early, goes on to the goal. */
static void finish(ConcaveTask *t, int64_t most, Found *best)
{
    if (best->off <= t->goal)
        return;
    const int64_t few = t->most, rounds = best->rounds;
    t->most = most;
    memcpy(t->b, best->b, (size_t)t->p * sizeof(double));
    if (t->q)
        t->c[0] = best->c;
    fewer_concave_descend(t);
    t->most = few;
    if (!(t->value <= best->value + t->rounding) || !isfinite(t->off))
        return;
    memcpy(best->b, t->b, (size_t)t->p * sizeof(double));
    best->c = t->q ? t->c[0] : 0, best->value = t->value, best->off = t->off, best->price = t->price, best->rounds = rounds + t->rounds;
}

static void keep(const Found *best, double *c, double *stats)
{
    *c = best->c;
    stats[0] = best->off, stats[1] = (double)best->rounds, stats[2] = best->value, stats[3] = best->price;
}

/* From the lasso through weaker concavity (the sparsenet of Mazumder, Friedman and Hastie): a start of its own. */
static void soften(ConcaveTask *t)
{
    const Concave kept = t->shape;
    const double goal = t->goal;
    t->goal = 1e-3 * t->lam > goal ? 1e-3 * t->lam : goal;
    t->shape.kind = LASSO;
    fewer_concave_descend(t);
    t->shape = kept;
    if (kept.kind == MCP || kept.kind == SCAD)
        for (double more = 16; more > 1; more *= 0.5) {
            t->shape.gamma = more * kept.gamma;
            fewer_concave_descend(t);
        }
    t->shape = kept, t->goal = goal;
}

/* The lasso whose prices are the slopes at the present coefficients: a local linear approximation. */
static int linearise(ConcaveTask *t, double lam)
{
    int any = 0;
    for (int64_t i = 0; i < t->p; i++) {
        const double a = fabs(t->b[i]);
        t->prices[i] = t->factor[i] > 0 ? fewer_concave_slope(&t->shape, lam * t->factor[i], a > 1e-6 ? a : 1e-6) : 0;
        any |= t->prices[i] > 0;
    }
    if (!any)
        return 0;
    const Concave kept = t->shape;
    const double goal = t->goal;
    t->shape.kind = LASSO, t->goal = 1e-3 * lam > goal ? 1e-3 * lam : goal;
    fewer_concave_descend(t);
    t->shape = kept, t->goal = goal;
    return 1;
}

/* starts (count_starts x (p + 1)): coefficients and constant, from sparse to dense; the first is where the path begins. */
static void path(ConcaveTask *t, const double *lams, int64_t count, const double *starts, int64_t count_starts, double *B,
                 double *C, double *stats, double *store)
{
    const int64_t p = t->p, wide = p + 1;
    const double *densest = starts + (count_starts - 1) * wide;
    const int64_t most = t->most; /* a little way down from every start; the lowest then goes on */
    t->most = most < LITTLE ? most : LITTLE;
    double *line = store;
    for (int64_t i = 0; i < count; i++) {
        const double *warm = i ? B + (i - 1) * p : starts;
        Found best = {B + i * p, i ? C[i - 1] : starts[p], INFINITY, INFINITY, 0, 0};
        memcpy(best.b, warm, (size_t)p * sizeof(double));
        set_prices(t, lams[i]);
        attempt(t, warm, best.c, &best);
        for (int64_t s = 1; s < count_starts; s++)
            attempt(t, starts + s * wide, starts[s * wide + p], &best);
        memcpy(line, densest, (size_t)wide * sizeof(double));
        for (int step = 0; step < 2 && count_starts > 1; step++) {
            begin(t, line, line[p]);
            const int linear = linearise(t, lams[i]);
            set_prices(t, lams[i]);
            if (!linear)
                break;
            memcpy(line, t->b, (size_t)p * sizeof(double));
            line[p] = t->q ? t->c[0] : 0;
            attempt(t, line, line[p], &best);
        }
        if (count_starts > 1 && t->shape.kind != LASSO) {
            begin(t, best.b, best.c);
            soften(t);
            memcpy(line, t->b, (size_t)p * sizeof(double));
            attempt(t, line, t->q ? t->c[0] : 0, &best);
        }
        finish(t, most, &best);
        keep(&best, C + i, stats + 4 * i);
    }
    /* Up and down again, as long as a neighbour's solution leads to a lower one. */
    int64_t better = 1;
    for (int pass = 0; pass < PASSES && better; pass++) {
        better = 0;
        for (int64_t e = 1; e < count; e++) {
            const int64_t i = pass % 2 ? e : count - 1 - e, from = pass % 2 ? i - 1 : i + 1;
            Found best = {B + i * p, C[i], stats[4 * i + 2], stats[4 * i], stats[4 * i + 3], (int64_t)stats[4 * i + 1]};
            const double known = best.value;
            set_prices(t, lams[i]);
            attempt(t, B + from * p, C[from], &best);
            if (!(best.value < known))
                continue;
            finish(t, most, &best);
            keep(&best, C + i, stats + 4 * i);
            better++;
        }
    }
}

/* concave_path(p, kind, gamma, factor, count, lams, starts, count_starts, goal, rounding, most, B, C, stats, G, ldg, moment,
 * square, n, intercept, family, shape, X, y, s, risk): on a Gram matrix where G is not 0, else on a loss of rows as in
 * joint_path.  B (count x p), C (count), stats (count x 4): distance, rounds, objective, price. */
PyObject *fewer_concave_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 26) {
        PyErr_SetString(PyExc_TypeError, "concave_path takes 26 arguments");
        return NULL;
    }
    ConcaveTask t = {0};
    Joint j = {0};
    Risk r = {0};
    Model *m = &j.row;
    t.p = PyLong_AsLongLong(args[0]), t.shape.kind = (int)PyLong_AsLong(args[1]);
    t.shape.gamma = PyFloat_AsDouble(args[2]), t.factor = PyLong_AsVoidPtr(args[3]);
    const int64_t count = PyLong_AsLongLong(args[4]);
    const double *lams = PyLong_AsVoidPtr(args[5]), *starts = PyLong_AsVoidPtr(args[6]);
    const int64_t count_starts = PyLong_AsLongLong(args[7]);
    t.goal = PyFloat_AsDouble(args[8]), t.rounding = PyFloat_AsDouble(args[9]), t.most = PyLong_AsLongLong(args[10]);
    double *B = PyLong_AsVoidPtr(args[11]), *C = PyLong_AsVoidPtr(args[12]), *stats = PyLong_AsVoidPtr(args[13]);
    const double *G = PyLong_AsVoidPtr(args[14]);
    t.quadratic.H = G, t.quadratic.ld = PyLong_AsLongLong(args[15]), t.moment = PyLong_AsVoidPtr(args[16]);
    t.square = PyFloat_AsDouble(args[17]);
    m->n = t.n = PyLong_AsLongLong(args[18]), m->p = t.p;
    t.q = j.q = m->intercept = (int)PyLong_AsLong(args[19]);
    j.family = m->family = (int)PyLong_AsLong(args[20]), j.K = 1;
    const double *shape = PyLong_AsVoidPtr(args[21]);
    m->X = PyLong_AsVoidPtr(args[22]), m->y = PyLong_AsVoidPtr(args[23]), m->s = PyLong_AsVoidPtr(args[24]);
    const int64_t *risk = PyLong_AsVoidPtr(args[25]);
    if (PyErr_Occurred())
        return NULL;
    if (G == NULL) {
        t.j = &j, m->one = shape[0], m->two = shape[1], j.floor = shape[2];
        if (risk) {
            r.sizes = risk[0], r.terms = risk[1];
            r.group = (const int64_t *)(intptr_t)risk[2], r.tail = (const int64_t *)(intptr_t)risk[3];
            r.owner = (const int64_t *)(intptr_t)risk[4], r.event = (const double *)(intptr_t)risk[5];
            r.share = (const double *)(intptr_t)risk[6], r.each = (const double *)(intptr_t)risk[7];
            j.risk = &r;
        }
    }
    const int64_t n = t.n, p = t.p;
    const int64_t sums = risk ? 2 * r.sizes + r.terms + n + (p + 1) * (r.terms > n ? r.terms : n) : 0;
    const int64_t whole = 10 * n + sums + (G ? 0 : p * p) + p * p + 13 * p + 8;
    double *block = calloc((size_t)whole, sizeof(double));
    int64_t *index = calloc((size_t)(2 * p + 2), sizeof(int64_t));
    const int ok = block && index;
    if (ok) {
        double *next = block;
        m->eta = take(&next, n), m->slope = take(&next, n), m->bend = take(&next, n), m->trial = take(&next, 3 * n);
        j.chance = take(&next, n), t.line = take(&next, n), t.trial = take(&next, n), j.sums = take(&next, sums);
        j.H = G ? NULL : take(&next, p * p), t.quadratic.M = take(&next, p * p);
        j.cross = take(&next, p), j.own = take(&next, 1), j.cgrad = take(&next, 1), t.pulled = take(&next, p);
        t.b = take(&next, p), t.c = j.c = take(&next, 1), t.prices = take(&next, p), t.grad = take(&next, p);
        t.shifted = take(&next, p), t.moved = take(&next, p);
        t.quadratic.z = take(&next, p), t.quadratic.g = take(&next, p), t.quadratic.d = take(&next, p);
        t.quadratic.step = take(&next, p);
        double *store = take(&next, p + 1);
        t.columns = index, t.quadratic.active = index + p;
        Py_BEGIN_ALLOW_THREADS
        path(&t, lams, count, starts, count_starts, B, C, stats, store);
        Py_END_ALLOW_THREADS
    }
    free(block), free(index);
    if (!ok)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}
