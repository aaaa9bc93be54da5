/* Paths with a concave price, from several starts at every penalty: on a Gram matrix, or by Newton steps whose quadratic
 * model is bent upwards until the objective falls. */
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
    ConcaveQuadratic quadratic;
    Concave shape;
    int64_t p, q, n;
    const double *factor;        /* lam of a coefficient per unit of lam; 0 is free */
    double lam, goal, rounding;  /* differences of the objective below `rounding` say nothing */
    int64_t most;
    const double *moment;        /* Gram mode: X'y */
    double square;
    Joint *j;                    /* or a loss */
    double *b, *c, *prices, *grad, *trial, *line, *shifted, *moved, *pulled;
    int64_t *columns;
    double constant;             /* on trial */
    double off, value;           /* where the last descent ended */
    int64_t rounds;
} ConcaveTask;

static double price_of(const ConcaveTask *t, const double *b)
{
    double sum = 0;
    for (int64_t i = 0; i < t->p; i++)
        if (b[i] != 0)
            sum += fewer_concave_price(&t->shape, t->prices[i], b[i]);
    return sum;
}

/* On the Gram matrix: gradients afresh, descent, and once more where rounding has gathered in them. */
static void descend_gram(ConcaveTask *t)
{
    ConcaveQuadratic *w = &t->quadratic;
    w->shape = t->shape, w->m = t->p, w->lam = t->prices, w->z = t->b, w->g = t->grad;
    t->rounds = 0;
    for (int again = 0; again < 3; again++) {
        if (again || t->rounds == 0) {
            memcpy(t->grad, t->moment, (size_t)t->p * sizeof(double));
            for (int64_t i = 0; i < t->p; i++)
                if (t->b[i] != 0)
                    fewer_axpy(-t->b[i], w->H + i * w->ld, t->grad, t->p);
        }
        t->off = 0;
        for (int64_t i = 0; i < t->p; i++) {
            const double off = w->H[i * w->ld + i] > 0 ? fewer_concave_distance(&t->shape, t->prices[i], t->b[i], t->grad[i]) : 0;
            t->off = off > t->off ? off : t->off;
        }
        if ((again && t->off <= t->goal) || again == 2)
            break;
        t->rounds += fewer_concave_solve(w, 0.5 * t->goal, t->most);
    }
    double fit = t->square;
    for (int64_t i = 0; i < t->p; i++)
        fit -= t->b[i] * (t->moment[i] + t->grad[i]);
    t->value = 0.5 * fit + price_of(t, t->b);
}

/* Predictors of the present coefficients and constant, and what follows from them. */
static void place(ConcaveTask *t)
{
    Joint *j = t->j;
    for (int64_t i = 0; i < t->n; i++)
        j->row.eta[i] = t->q ? t->c[0] : 0;
    for (int64_t a = 0; a < t->p; a++)
        if (t->b[a] != 0)
            fewer_axpy(t->b[a], j->row.X + a * t->n, j->row.eta, t->n);
    fewer_joint_slopes(j);
}

/* The gradient of every coefficient; the distance to a stationary point, of the constant too. */
static void look(ConcaveTask *t)
{
    const Joint *j = t->j;
    t->off = t->q ? fabs(j->cgrad[0]) : 0;
    for (int64_t a = 0; a < t->p; a++) {
        t->grad[a] = -fewer_dot(j->row.X + a * t->n, j->row.slope, t->n);
        const double off = fewer_concave_distance(&t->shape, t->prices[a], t->b[a], t->grad[a]);
        t->off = off > t->off ? off : t->off;
    }
}

/* Curvature of a robust loss where it is straight, from next to none to that of a quadratic that lies above. */
static void straighten(ConcaveTask *t, int caution)
{
    Model *m = &t->j->row;
    if (m->family != HUBER && m->family != QUANTILE)
        return;
    const double top = m->family == QUANTILE ? 1 / m->two : 1, share = m->family == QUANTILE ? 0.03 : 0.1;
    const double level = caution == 0 ? 1e-3 : (caution == 1 ? 1 : 1 / share);
    for (int64_t i = 0; i < m->n; i++)
        if (m->bend[i] < m->s[i] * top * (1 - 1e-12))
            m->bend[i] *= level;
}

/* The step to the coefficients in the quadratic, `stretch` times as far; returns the objective there. */
static double look_at(ConcaveTask *t, int64_t m, double back, double stretch)
{
    const ConcaveQuadratic *w = &t->quadratic;
    const Model *row = &t->j->row;
    double move = -back;
    memset(t->line, 0, (size_t)t->n * sizeof(double));
    memcpy(t->moved, t->b, (size_t)t->p * sizeof(double));
    for (int64_t e = 0; e < m; e++) {
        const int64_t a = t->columns[e];
        const double step = w->z[e] - t->b[a];
        if (step == 0)
            continue;
        t->moved[a] = stretch == 1 ? w->z[e] : t->b[a] + stretch * step;
        fewer_axpy(step, row->X + a * t->n, t->line, t->n);
        move -= t->q ? step * t->pulled[e] : 0;
    }
    for (int64_t i = 0; i < t->n; i++)
        t->trial[i] = row->eta[i] + stretch * (t->line[i] + move);
    t->constant = (t->q ? t->c[0] : 0) + stretch * move;
    return fewer_joint_value(t->j, t->trial, &t->constant) + price_of(t, t->moved);
}

static void land(ConcaveTask *t)
{
    memcpy(t->j->row.eta, t->trial, (size_t)t->n * sizeof(double));
    memcpy(t->b, t->moved, (size_t)t->p * sizeof(double));
    if (t->q)
        t->c[0] = t->constant;
}

/* Where a model had to be bent its steps are short: go on in their direction, twice as far, while that is lower. */
static double go_on(ConcaveTask *t, int64_t m, double back, double cost)
{
    for (int64_t e = 0; e < m; e++)
        if ((t->quadratic.z[e] == 0) != (t->b[t->columns[e]] == 0))
            return cost;
    double stretch = 2, next;
    while (stretch < 1e6 && (next = look_at(t, m, back, stretch)) < cost)
        cost = next, stretch *= 2;
    look_at(t, m, back, stretch / 2);
    return cost;
}

static void restart(ConcaveTask *t, int64_t m, double back)
{
    ConcaveQuadratic *w = &t->quadratic;
    for (int64_t e = 0; e < m; e++) {
        const int64_t a = t->columns[e];
        t->shifted[e] = t->prices[a], w->z[e] = t->b[a];
        w->g[e] = t->grad[a] + (t->q ? t->j->cross[e] * back : 0);
    }
}

/* One quadratic model at the present point, and a step to its minimum.  Where that does not lower the objective, Newton's
 * step on the pieces of the price as they are is tried, and then models that are bent more, until one lies above.
 * Returns the decrease. */
static double newton(ConcaveTask *t, int *caution)
{
    Joint *j = t->j;
    ConcaveQuadratic *w = &t->quadratic;
    int64_t m = 0;
    for (int64_t a = 0; a < t->p; a++)
        if (t->b[a] != 0 || t->prices[a] == 0 || fabs(t->grad[a]) > fewer_concave_corner(&t->shape, t->prices[a]) ||
            t->shape.kind == ROOT || t->shape.kind == COUNT)
            t->columns[m++] = a;
    straighten(t, *caution);
    fewer_joint_curvature(j, t->columns, m);
    const double own = t->q ? j->own[0] : 1, back = t->q ? j->cgrad[0] / own : 0;
    for (int64_t e = 0; t->q && e < m; e++)
        t->pulled[e] = j->cross[e] / own;
    for (int64_t e = 0; t->q && e < m; e++)
        fewer_axpy(-j->cross[e], t->pulled, j->H + e * m, m);
    const double before = j->f + price_of(t, t->b), limit = before + t->rounding;
    const double near = 0.01 * t->off > t->goal ? 0.01 * t->off : t->goal;
    w->shape = t->shape, w->m = m, w->ld = m, w->H = j->H, w->lam = t->shifted;
    restart(t, m, back);
    fewer_concave_solve(w, 0.1 * (t->off < near ? t->off : near), 1000);
    double cost = look_at(t, m, back, 1);
    int bent = !(cost <= limit);
    if (bent) {
        restart(t, m, back);
        fewer_concave_polish(w);
        cost = look_at(t, m, back, 1);
        bent = !(cost < before);
    }
    double level = 4;
    for (int round = 0; bent && round < 30 && !(cost <= limit); round++, level *= 4) {
        for (int64_t e = 0; e < m * m; e++)
            j->H[e] *= 4;
        restart(t, m, back);
        fewer_concave_solve(w, 0.1 * (t->off < near ? t->off : near), 1000);
        cost = look_at(t, m, back / level, 1);
        if (cost <= limit)
            cost = go_on(t, m, back / level, cost);
    }
    if (cost <= limit)
        land(t);
    *caution = bent ? (*caution < 2 ? *caution + 1 : 2) : 0;
    fewer_joint_slopes(j);
    return before - cost;
}

static void descend_loss(ConcaveTask *t)
{
    Joint *j = t->j;
    int caution = 0, idle = 0;
    place(t);
    for (t->rounds = 0;; t->rounds++) {
        if (t->q && (j->family == HUBER || j->family == QUANTILE)) {
            j->row.b0 = t->c[0], j->row.f = j->f;
            fewer_glm_settle(&j->row);
            t->c[0] = j->row.b0;
            fewer_joint_slopes(j);
        }
        look(t);
        /* Zeros that a gradient cannot move may still be dear: a first step is always tried where that can be. */
        if ((t->off <= t->goal && (t->rounds || (t->shape.kind != ROOT && t->shape.kind != COUNT))) ||
            t->rounds >= t->most || idle > 3)
            break;
        const double gain = newton(t, &caution);
        idle = gain > t->rounding ? 0 : idle + 1;
    }
    t->value = j->f + price_of(t, t->b);
}

static void descend(ConcaveTask *t)
{
    if (t->j)
        descend_loss(t);
    else
        descend_gram(t);
}

typedef struct {
    double *b, c, value, off;
    int64_t rounds;
} Found;

static void set_prices(ConcaveTask *t, double lam)
{
    t->lam = lam;
    for (int64_t i = 0; i < t->p; i++)
        t->prices[i] = lam * t->factor[i];
}

/* Descend from a start, and keep the end where it is the lowest so far. */
static void attempt(ConcaveTask *t, const double *b, double c, Found *best)
{
    if (b != t->b)
        memcpy(t->b, b, (size_t)t->p * sizeof(double));
    if (t->q)
        t->c[0] = c;
    descend(t);
    if (!(t->value < best->value - t->rounding) || !isfinite(t->off))
        return;
    memcpy(best->b, t->b, (size_t)t->p * sizeof(double));
    best->c = t->q ? t->c[0] : 0, best->value = t->value, best->off = t->off, best->rounds = t->rounds;
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
    descend(t);
    t->most = few;
    if (!(t->value <= best->value + t->rounding) || !isfinite(t->off))
        return;
    memcpy(best->b, t->b, (size_t)t->p * sizeof(double));
    best->c = t->q ? t->c[0] : 0, best->value = t->value, best->off = t->off, best->rounds = rounds + t->rounds;
}

static void keep(const Found *best, double *c, double *stats)
{
    *c = best->c;
    stats[0] = best->off, stats[1] = (double)best->rounds, stats[2] = best->value;
}

static void begin(ConcaveTask *t, const double *b, double c)
{
    memcpy(t->b, b, (size_t)t->p * sizeof(double));
    if (t->q)
        t->c[0] = c;
}

/* From the lasso through weaker concavity (the sparsenet of Mazumder, Friedman and Hastie): a start of its own. */
static void soften(ConcaveTask *t)
{
    const Concave kept = t->shape;
    const double goal = t->goal;
    t->goal = 1e-3 * t->lam > goal ? 1e-3 * t->lam : goal;
    t->shape.kind = LASSO;
    descend(t);
    t->shape = kept;
    if (kept.kind == MCP || kept.kind == SCAD)
        for (double more = 16; more > 1; more *= 0.5) {
            t->shape.gamma = more * kept.gamma;
            descend(t);
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
    descend(t);
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
        Found best = {B + i * p, i ? C[i - 1] : starts[p], INFINITY, INFINITY, 0};
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
        keep(&best, C + i, stats + 3 * i);
    }
    /* Up and down again, as long as a neighbour's solution leads to a lower one. */
    int64_t better = 1;
    for (int pass = 0; pass < PASSES && better; pass++) {
        better = 0;
        for (int64_t e = 1; e < count; e++) {
            const int64_t i = pass % 2 ? e : count - 1 - e, from = pass % 2 ? i - 1 : i + 1;
            Found best = {B + i * p, C[i], stats[3 * i + 2], stats[3 * i], (int64_t)stats[3 * i + 1]};
            const double known = best.value;
            set_prices(t, lams[i]);
            attempt(t, B + from * p, C[from], &best);
            if (!(best.value < known))
                continue;
            finish(t, most, &best);
            keep(&best, C + i, stats + 3 * i);
            better++;
        }
    }
}

static double *take(double **next, int64_t count)
{
    double *at = *next;
    *next += count;
    return at;
}

/* concave_path(p, kind, gamma, factor, count, lams, starts, count_starts, goal, rounding, most, B, C, stats, G, ldg, moment,
 * square, n, intercept, family, shape, X, y, s, risk): on a Gram matrix where G is not 0, else on a loss of rows as in
 * joint_path.  B (count x p), C (count), stats (count x 3): distance, rounds of all starts, objective. */
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
