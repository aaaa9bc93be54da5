/* Proximal Newton on all parameters at once, along a path; every solution is certified by a dual point. */
#include "joint.h"
#include "linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Move the predictors (or the cut points) by t; returns the loss there, in `trial` and `shifts`. */
static double look(JointTask *t, double take, const double *change, double *c)
{
    Joint *j = t->j;
    const int64_t n = j->row.n;
    for (int64_t k = 0; k < j->q; k++)
        c[k] = j->c[k] + take * change[k];
    for (int64_t k = 0; k < j->K; k++) {
        const double constant = j->family != ORDINAL && j->q ? take * change[k] : 0;
        for (int64_t i = 0; i < n; i++)
            t->trial[k * n + i] = j->row.eta[k * n + i] + take * t->line[k * n + i] + constant;
    }
    return fewer_joint_value(j, t->trial, c);
}

static void land(JointTask *t, const double *c)
{
    Joint *j = t->j;
    memcpy(j->row.eta, t->trial, (size_t)(j->K * j->row.n) * sizeof(double));
    memcpy(j->c, c, (size_t)j->q * sizeof(double));
    fewer_joint_slopes(j);
}

/* The best constants, coefficients held still, by damped Newton; one constant of a loss of rows by its bracket. */
static void settle(JointTask *t)
{
    Joint *j = t->j;
    const int64_t q = j->q;
    if (q == 0)
        return;
    if (j->family < MULTINOMIAL) {
        j->row.b0 = j->c[0], j->row.f = j->f;
        fewer_glm_settle(&j->row);
        j->c[0] = j->row.b0;
        fewer_joint_slopes(j);
        return;
    }
    double *change = t->shifts, *c = t->shifts + q;
    memset(t->line, 0, (size_t)(j->K * j->row.n) * sizeof(double));
    for (int round = 0; round < 50; round++) {
        double worst = 0, size = 0, fall = 0, take = 1;
        for (int64_t k = 0; k < q; k++)
            worst = fabs(j->cgrad[k]) > worst ? fabs(j->cgrad[k]) : worst;
        for (int64_t i = 0; i < j->K * j->row.n; i++)
            size += fabs(j->row.slope[i]);
        if (worst <= 1e-14 * size)
            return;
        fewer_joint_curvature(j, NULL, 0);
        for (int64_t k = 0; k < q; k++)
            change[k] = -j->cgrad[k];
        if (!fewer_cholesky_solve(j->own, change, q))
            return;
        for (int64_t k = 0; k < q; k++)
            fall -= change[k] * j->cgrad[k];
        const int rounding = fall <= 1e-15 * fabs(j->f); /* what is left to gain: the last step is taken whole */
        const double here = j->f;
        double then = look(t, take, change, c);
        for (; !rounding && !(then < here) && take > 1e-9; then = look(t, take, change, c))
            take *= 0.5;
        if (!isfinite(then) || (!rounding && !(then < here)))
            return fewer_joint_slopes(j);
        land(t, c);
        if (rounding)
            return;
    }
}

/* Curvature of a robust loss where it is straight: next to none, which is right close to the minimum; a share of the
 * quadratic that lies above; or all of it, as the last step asks for. */
void fewer_joint_straighten(Joint *j, int caution)
{
    if (j->family != HUBER && j->family != QUANTILE)
        return;
    const double top = j->family == QUANTILE ? 1 / j->row.two : 1, share = j->family == QUANTILE ? 0.03 : 0.1;
    const double level = caution == 0 ? 1e-3 : (caution == 1 ? 1 : 1 / share);
    for (int64_t i = 0; i < j->row.n; i++)
        if (j->row.bend[i] < j->row.s[i] * top * (1 - 1e-12))
            j->row.bend[i] *= level;
}

/* Curvature of some columns, with the constants that follow them left out: pull = own^{-1} cross, H loses cross' pull. */
static int model(JointTask *t, int64_t count, int64_t m)
{
    Joint *j = t->j;
    const int64_t q = j->q;
    double *pulled = t->pulled, *back = t->shifts;
    fewer_joint_straighten(j, t->caution);
    fewer_joint_curvature(j, t->columns, count);
    for (int64_t e = 0; e < m; e++) {
        double *own = pulled + q * m;
        memcpy(own, j->own, (size_t)(q * q) * sizeof(double));
        for (int64_t k = 0; k < q; k++)
            back[k] = j->cross[k * m + e];
        if (q && !fewer_cholesky_solve(own, back, q))
            return 0;
        for (int64_t k = 0; k < q; k++)
            pulled[k * m + e] = back[k];
    }
    for (int64_t k = 0; k < q; k++)
        for (int64_t e = 0; e < m; e++)
            fewer_axpy(-j->cross[k * m + e], pulled + k * m, j->H + e * m, m);
    t->built = j->family == SQUARED && count == j->row.p;
    return 1;
}

/* One quadratic model on the columns in use or out of place, and a step towards its solution; 0 if nothing was gained. */
static int newton(JointTask *t, double kkt)
{
    Joint *j = t->j;
    Quadratic *w = &t->quadratic;
    const int64_t K = j->K, q = j->q, n = j->row.n;
    double *pulled = t->pulled;
    int64_t count = 0;
    const int64_t m = t->prices->choose(t, &count);
    if (!(t->built && count == j->row.p) && !model(t, count, m))
        return 0;
    w->m = m, w->H = j->H;
    for (int64_t a = 0; a < count; a++)
        for (int64_t k = 0; k < K; k++) {
            const int64_t e = a * K + k, i = t->columns[a] * K + k;
            w->z[e] = j->b[i], w->g[e] = t->grad[i];
            for (int64_t r = 0; r < q; r++)
                w->g[e] += pulled[r * m + e] * j->cgrad[r];
        }
    t->prices->solve(t, 1e-3 * kkt);
    double *change = t->shifts, *c = t->shifts + q;
    for (int64_t k = 0; k < q; k++)
        change[k] = -j->cgrad[k];
    if (q) {
        memcpy(pulled + q * m, j->own, (size_t)(q * q) * sizeof(double));
        if (!fewer_cholesky_solve(pulled + q * m, change, q))
            return 0;
    }
    memset(t->line, 0, (size_t)(K * n) * sizeof(double));
    memcpy(t->b, j->b, (size_t)(j->row.p * K) * sizeof(double));
    for (int64_t a = 0; a < count; a++)
        for (int64_t k = 0; k < K; k++) {
            const int64_t e = a * K + k, i = t->columns[a] * K + k;
            const double step = w->z[e] - j->b[i];
            if (step == 0)
                continue;
            fewer_axpy(step, j->row.X + t->columns[a] * n, t->line + k * n, n);
            for (int64_t r = 0; r < q; r++)
                change[r] -= step * pulled[r * m + e];
        }
    const double before = j->f + t->prices->price(t, j->b);
    double take = 1, cost = INFINITY;
    for (int half = 0; half < 40; half++, take *= 0.5) {
        for (int64_t a = 0; a < count; a++)
            for (int64_t k = 0; k < K; k++) {
                const int64_t e = a * K + k, i = t->columns[a] * K + k;
                t->b[i] = take == 1 ? w->z[e] : j->b[i] + take * (w->z[e] - j->b[i]);
            }
        cost = look(t, take, change, c) + t->prices->price(t, t->b);
        if (cost <= before + 1e-15 * fabs(before))
            break;
    }
    if (!(cost <= before + 1e-15 * fabs(before))) {
        t->caution = 2;
        fewer_joint_slopes(j);
        return 0;
    }
    memcpy(j->b, t->b, (size_t)(j->row.p * K) * sizeof(double));
    land(t, c);
    t->caution = take == 1 ? 0 : (take < 0.25 ? 2 : 1);
    return cost < before - 1e-15 * fabs(before);
}

static void solve(JointTask *t, double *out)
{
    double scale = 1, kkt = 0, gap = INFINITY, best = INFINITY;
    int64_t rounds = 0;
    fewer_joint_slopes(t->j);
    for (int idle = 0;; rounds++) {
        settle(t);
        fewer_joint_gradient(t);
        gap = t->prices->certify(t, &scale, &kkt);
        /* Steps that lower the objective by no more than rounding sharpen the gap a few times, and no more. */
        if ((kkt <= t->near && !(gap > t->goal)) || rounds >= t->most || idle > 3)
            break;
        const int gained = newton(t, kkt);
        idle = gained || kkt < 0.5 * best ? 0 : idle + 1;
        best = kkt < best ? kkt : best;
    }
    out[0] = gap, out[1] = kkt, out[2] = (double)rounds, out[3] = t->j->f + t->prices->price(t, t->j->b), out[4] = scale;
}

/* Carry the last two solutions on in a straight line, signs and empty groups kept, where that lowers the objective. */
static void extrapolate(JointTask *t, const double *b_old, const double *c_old, double ratio)
{
    Joint *j = t->j;
    const int64_t K = j->K, n = j->row.n, size = j->row.p * K;
    const double here = j->f + t->prices->price(t, j->b);
    double *change = t->shifts, *c = t->shifts + j->q;
    memset(t->line, 0, (size_t)(K * n) * sizeof(double));
    memcpy(t->b, j->b, (size_t)size * sizeof(double));
    for (int64_t g = 0; g < t->groups; g++)
        for (int64_t i = t->first[g] * K; i < t->first[g + 1] * K; i++) {
            const double now = j->b[i], next = now + ratio * (now - b_old[i]);
            t->b[i] = now == 0 || (next * now < 0 && (t->one[g] > 0 || t->two[g] == 0)) ? 0 : next;
            if (t->b[i] != now)
                fewer_axpy(t->b[i] - now, j->row.X + i / K * n, t->line + i % K * n, n);
        }
    for (int64_t k = 0; k < j->q; k++)
        change[k] = ratio * (j->c[k] - c_old[k]);
    if (look(t, 1, change, c) + t->prices->price(t, t->b) < here) {
        memcpy(j->b, t->b, (size_t)size * sizeof(double));
        land(t, c);
    }
}

static void path(JointTask *t, const double *lams, int64_t count, double *store, double *B, double *C, double *stats, double *slopes)
{
    Joint *j = t->j;
    const int64_t size = j->row.p * j->K, width = j->K * j->row.n;
    double *b_old = store, *c_old = b_old + size, *b_now = c_old + j->q, *c_now = b_now + size;
    for (int64_t i = 0; i < count; i++) {
        t->lam = lams[i];
        memcpy(b_now, j->b, (size_t)size * sizeof(double)), memcpy(c_now, j->c, (size_t)j->q * sizeof(double));
        fewer_joint_slopes(j);
        if (i > 1 && lams[i] < lams[i - 1] && lams[i - 1] < lams[i - 2])
            extrapolate(t, b_old, c_old, (lams[i] - lams[i - 1]) / (lams[i - 1] - lams[i - 2]));
        memcpy(b_old, b_now, (size_t)size * sizeof(double)), memcpy(c_old, c_now, (size_t)j->q * sizeof(double));
        solve(t, stats + 5 * i);
        memcpy(B + i * size, j->b, (size_t)size * sizeof(double));
        memcpy(C + i * j->q, j->c, (size_t)j->q * sizeof(double));
        if (slopes)
            memcpy(slopes + i * width, j->row.slope, (size_t)width * sizeof(double));
    }
}

/* joint_newton(n, p, K, q, family, shape, X, y, s, risk, groups, first, one, two, ridge, count, lams, goal, most, b, c,
 * eta, B, C, stats, slopes, near, ordered): shape holds the two parameters of a loss of rows and the floor; risk is 0, or
 * the addresses (sizes, terms, group, tail, owner, event, share, each) of sorted rows; B (count x p K), C (count x q),
 * stats (count x 5): gap, KKT distance, Newton steps, objective, scale; slopes (count x K n) or 0; ordered is 0, or kind,
 * paid, k, fixed, share and `paid` scales: prices in place of those of the groups, which are then single columns. */
PyObject *fewer_joint_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 28) {
        PyErr_SetString(PyExc_TypeError, "joint_newton takes 28 arguments");
        return NULL;
    }
    Joint j = {0};
    JointTask t = {0};
    Risk r = {0};
    Model *m = &j.row;
    m->n = PyLong_AsLongLong(args[0]), m->p = PyLong_AsLongLong(args[1]);
    j.K = PyLong_AsLongLong(args[2]), j.q = PyLong_AsLongLong(args[3]);
    j.family = m->family = (int)PyLong_AsLong(args[4]);
    const double *shape = PyLong_AsVoidPtr(args[5]);
    m->X = PyLong_AsVoidPtr(args[6]), m->y = PyLong_AsVoidPtr(args[7]), m->s = PyLong_AsVoidPtr(args[8]);
    const int64_t *risk = PyLong_AsVoidPtr(args[9]);
    t.groups = PyLong_AsLongLong(args[10]), t.first = PyLong_AsVoidPtr(args[11]);
    t.one = PyLong_AsVoidPtr(args[12]), t.two = PyLong_AsVoidPtr(args[13]), t.ridge = PyLong_AsVoidPtr(args[14]);
    const int64_t count = PyLong_AsLongLong(args[15]);
    const double *lams = PyLong_AsVoidPtr(args[16]);
    t.goal = PyFloat_AsDouble(args[17]), t.most = PyLong_AsLongLong(args[18]);
    j.b = PyLong_AsVoidPtr(args[19]), j.c = PyLong_AsVoidPtr(args[20]), m->eta = PyLong_AsVoidPtr(args[21]);
    double *B = PyLong_AsVoidPtr(args[22]), *C = PyLong_AsVoidPtr(args[23]), *stats = PyLong_AsVoidPtr(args[24]);
    double *slopes = PyLong_AsVoidPtr(args[25]);
    t.near = PyFloat_AsDouble(args[26]);
    const double *ordered = PyLong_AsVoidPtr(args[27]);
    if (PyErr_Occurred())
        return NULL;
    m->one = shape[0], m->two = shape[1], j.floor = shape[2], m->intercept = j.q > 0;
    if (risk) {
        r.sizes = risk[0], r.terms = risk[1];
        r.group = (const int64_t *)(intptr_t)risk[2], r.tail = (const int64_t *)(intptr_t)risk[3];
        r.owner = (const int64_t *)(intptr_t)risk[4], r.event = (const double *)(intptr_t)risk[5];
        r.share = (const double *)(intptr_t)risk[6], r.each = (const double *)(intptr_t)risk[7];
        j.risk = &r;
    }
    t.j = &j, t.prices = ordered ? &fewer_ordered_prices : &fewer_group_prices;
    Ordered *o = &t.ordered;
    if (ordered) {
        o->kind = (int)ordered[0], o->paid = (int64_t)ordered[1], o->k = (int64_t)ordered[2];
        o->fixed = ordered[3], o->share = ordered[4], o->scales = ordered + 5;
    }
    const int64_t n = m->n, p = m->p, K = j.K, q = j.q, width = K * n, size = p * K;
    const int64_t sums = risk ? 2 * r.sizes + r.terms + n + (p + 1) * (r.terms > n ? r.terms : n) : 0;
    const int64_t whole = 7 * width + 2 * n + sums + 2 * size * size + size * q + 2 * q * q + 9 * size + 6 * q +
                          3 * t.groups + size * q + (ordered ? 15 * size : 0) + 16;
    double *block = calloc((size_t)whole, sizeof(double));
    int64_t *index = calloc((size_t)(p + t.groups + 4 * size + 4), sizeof(int64_t));
    if (block && index) {
        double *next = block;
        m->slope = take(&next, width), m->bend = take(&next, width), m->trial = take(&next, width + 2 * n);
        j.chance = take(&next, width), t.line = take(&next, width), t.trial = take(&next, width);
        j.sums = take(&next, sums);
        j.H = take(&next, size * size), t.quadratic.M = take(&next, size * size);
        j.cross = take(&next, size * q), j.own = take(&next, q * q), t.pulled = take(&next, size * q + q * q);
        j.cgrad = take(&next, q), t.shifts = take(&next, 2 * q);
        t.grad = take(&next, size), t.b = take(&next, size), t.priced = take(&next, 3 * t.groups);
        t.quadratic.z = take(&next, size), t.quadratic.g = take(&next, size), t.quadratic.d = take(&next, size);
        t.quadratic.step = take(&next, size);
        double *store = take(&next, 2 * size + 2 * q);
        t.columns = index, t.starts = index + p, t.quadratic.active = t.starts + t.groups + 1;
        o->order = t.quadratic.active + size, o->count = o->order + size, o->owner = o->count + size;
        if (ordered) {
            double **rooms[] = {&o->size, &o->fit, &o->mean, &o->near, &o->rhs, &o->old, &o->ahead};
            for (size_t k = 0; k < sizeof rooms / sizeof rooms[0]; k++)
                *rooms[k] = take(&next, size);
            o->chain = take(&next, 8 * size);
            for (int64_t k = 0; k < size; k++)
                o->order[k] = k;
        }
        Py_BEGIN_ALLOW_THREADS
        path(&t, lams, count, store, B, C, stats, slopes);
        Py_END_ALLOW_THREADS
    }
    const int ok = block && index;
    free(block), free(index);
    if (!ok)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}
