/* Proximal Newton along a path for losses that are a sum over rows, dense columns: the quadratic model is a weighted
 * Gram matrix of the working columns, kept while it still predicts well; every solution is certified by a dual point.
 *
 *   minimise   sum_i s_i loss(y_i, b0 + x_i b)  +  lam sum_j (l1_j |b_j| + l2_j b_j^2 / 2) */
#include "../module.h"
#include "gram.h"
#include "linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SQUARED, LOGISTIC, POISSON, GAMMA, HUBER, QUANTILE };

typedef struct {
    int64_t n, p;
    int family, intercept;
    double one, two; /* parameters of the loss */
    const double *X, *y, *s;
    const double *l1, *l2, *low, *high;
    double lam, b0, f;
    double *b, *eta, *slope, *bend, *g; /* eta and its derivatives (weighted); g = -X' slope */
    double *trial;
} Model;

/* Loss, slope and curvature at eta.  Where a robust loss is linear its curvature is zero; a small share of that of the
 * quadratic which touches it from above keeps the model bounded, and the line search does the rest. */
FEWER_CLONES
static double evaluate(const Model *m, const double *eta, double *slope, double *bend)
{
    double sum = 0;
    for (int64_t i = 0; i < m->n; i++) {
        const double y = m->y[i], s = m->s[i], e = eta[i];
        double f, d, h;
        if (m->family == LOGISTIC) {
            const double q = exp(-fabs(e)), t = 1 / (1 + q), prob = e >= 0 ? t : q * t;
            f = log1p(q) + (e > 0 ? e : 0) - y * e, d = prob - y, h = q * t * t;
            h = h > 1e-9 ? h : 1e-9;
        } else if (m->family == POISSON) {
            const double mu = exp(e < 500 ? e : 500);
            f = mu - y * e, d = mu - y, h = mu > 1e-12 ? mu : 1e-12;
        } else if (m->family == GAMMA) {
            const double mu = y * exp(e > -500 ? -e : 500);
            f = e + mu, d = 1 - mu, h = mu > 1e-12 ? mu : 1e-12;
        } else if (m->family == HUBER) {
            const double r = e - y, a = fabs(r);
            f = a <= m->one ? 0.5 * r * r : m->one * (a - 0.5 * m->one);
            d = a <= m->one ? r : (r > 0 ? m->one : -m->one), h = a <= m->one ? 1 : 0.1 * m->one / a;
        } else if (m->family == QUANTILE) {
            const double r = y - e, u = r / m->two, top = m->one, bottom = m->one - 1;
            const double v = u > top ? top : (u < bottom ? bottom : u);
            f = v * r - 0.5 * m->two * v * v, d = -v;
            h = v == u ? 1 / m->two : 0.03 * v / r;
        } else {
            const double r = e - y;
            f = 0.5 * r * r, d = r, h = 1;
        }
        sum += s * f, slope[i] = s * d, bend[i] = s * h;
    }
    return sum;
}

/* sum_i s_i loss*(scale * slope_i / s_i); infinite outside the domain, which scaling towards zero never leaves. */
FEWER_CLONES
static double conjugate(const Model *m, double scale)
{
    double sum = 0;
    for (int64_t i = 0; i < m->n; i++) {
        const double y = m->y[i], s = m->s[i];
        if (s == 0)
            continue;
        const double v = scale * m->slope[i] / s;
        double f = v * y;
        if (m->family == LOGISTIC) {
            const double u = v + y;
            f = (u > 0 ? u * log(u) : 0) + (u < 1 ? (1 - u) * log1p(-u) : 0);
        } else if (m->family == POISSON) {
            const double u = v + y;
            f = u > 0 ? u * log(u) - u : 0;
        } else if (m->family == GAMMA) {
            const double u = 1 - v;
            f = u > 0 ? u * log(u / y) - u : 0;
        } else
            f += 0.5 * v * v * (m->family == QUANTILE ? m->two : 1);
        sum += s * f;
    }
    return sum;
}

static double price(const Model *m, const double *b)
{
    double sum = 0;
    for (int64_t j = 0; j < m->p; j++)
        if (b[j] != 0)
            sum += m->lam * (m->l1[j] * fabs(b[j]) + 0.5 * m->l2[j] * b[j] * b[j]);
    return sum;
}

/* The best constant, everything else held still: the root of a monotone function, by Newton inside a bracket.  The dual
 * point must be orthogonal to ones, so it is found to rounding. */
static void settle(Model *m)
{
    double low = -INFINITY, high = INFINITY, at = 0, last = INFINITY;
    const double top = m->family == QUANTILE ? 1 / m->two : 1;
    const int robust = m->family == HUBER || m->family == QUANTILE;
    for (int round = 0; m->intercept && round < 200; round++) {
        double d = 0, h = 0, flat = 0, size = 0;
        for (int64_t i = 0; i < m->n; i++) {
            d += m->slope[i], flat += m->bend[i], size += fabs(m->slope[i]);
            if (!robust || m->bend[i] >= m->s[i] * top * (1 - 1e-12))
                h += m->bend[i]; /* where the loss is linear its second derivative is zero */
        }
        if (fabs(d) <= 1e-14 * size || !(flat > 0) || (round > 60 && fabs(d) <= 1e-12 * size))
            break;
        if (d > 0)
            high = at;
        else
            low = at;
        double next = at - d / (h > 1e-12 * flat && fabs(d) < 0.7 * last ? h : flat);
        if (!(next > low && next < high))
            next = isfinite(low) && isfinite(high) ? 0.5 * (low + high) : at - 2 * d / flat;
        last = fabs(d);
        if (next == at)
            break;
        for (int64_t i = 0; i < m->n; i++)
            m->eta[i] += next - at;
        m->b0 += next - at;
        at = next;
        m->f = evaluate(m, m->eta, m->slope, m->bend);
    }
}

FEWER_CLONES
static void gradients(const Model *m, const int64_t *list, int64_t count)
{
    for (int64_t e = 0; e < count; e++) {
        const int64_t j = list ? list[e] : e;
        m->g[j] = -fewer_dot(m->X + j * m->n, m->slope, m->n);
    }
}

/* Gap from the gradients of the listed columns; also the scale of the dual point and the KKT distance. */
static double gap_of(const Model *m, const int64_t *list, int64_t count, double *scale, double *kkt)
{
    double top = 1, worst = 0, slack = 0, ones = 0;
    for (int64_t e = 0; e < count; e++) {
        const int64_t j = list ? list[e] : e;
        const double l1 = m->lam * m->l1[j], l2 = m->lam * m->l2[j], g = m->g[j], b = m->b[j];
        if (!isfinite(l1))
            continue;
        double off = b != 0 ? fabs(g - (b > 0 ? l1 : -l1) - l2 * b) : (fabs(g) > l1 ? fabs(g) - l1 : 0);
        if (m->low) {
            const double pull = g - l2 * b;
            if (b >= m->high[j])
                off = pull < (b < 0 ? -l1 : l1) ? (b == 0 && pull >= -l1 ? 0 : (b > 0 ? l1 : -l1) - pull) : 0;
            if (b <= m->low[j])
                off = b == 0 ? (pull > l1 ? (m->high[j] > 0 ? pull - l1 : 0) : 0)
                             : (pull > -l1 ? pull + l1 : 0);
        }
        worst = off > worst ? off : worst;
        if (l2 == 0 && l1 > 0 && fabs(g) > top * l1 && !(m->low && (g > 0 ? isfinite(m->high[j]) : isfinite(m->low[j]))))
            top = fabs(g) / l1;
    }
    *scale = 1 / top, *kkt = worst;
    double dual = -conjugate(m, *scale);
    for (int64_t e = 0; e < count; e++) {
        const int64_t j = list ? list[e] : e;
        const double l1 = m->lam * m->l1[j], l2 = m->lam * m->l2[j], u = *scale * m->g[j];
        if (!isfinite(l1))
            continue;
        if (l1 == 0 && l2 == 0 && !m->low) {
            /* A free column must have no gradient: what it would still gain, and more, counts as gap. */
            const double *x = m->X + j * m->n;
            double h = 0;
            for (int64_t i = 0; i < m->n; i++)
                h += m->bend[i] * x[i] * x[i];
            slack += fabs(u) * (fabs(m->b[j]) + (h > 0 ? fabs(u) / h : 0));
            continue;
        }
        const double s = fewer_soft(u, l1 * (1 + 1e-15));
        double z = s == 0 ? 0 : (l2 > 0 ? s / l2 : (s > 0 ? INFINITY : -INFINITY));
        if (m->low)
            z = z < m->low[j] ? m->low[j] : (z > m->high[j] ? m->high[j] : z);
        if (isfinite(z))
            dual -= u * z - l1 * fabs(z) - 0.5 * l2 * z * z;
    }
    for (int64_t i = 0; m->intercept && i < m->n; i++)
        ones += m->slope[i];
    const double gap = m->f + price(m, m->b) - dual + slack + fabs(ones * m->b0);
    return gap > 0 ? gap : 0;
}

typedef struct {
    int64_t k, room;
    int64_t *column;
    double *Z;              /* room columns of n: centred, times the root of the curvature */
    double *mean, *l1, *l2, *low, *high, *c, *b, *g, *step;
    double total;
    GramTask task;
    int64_t built; /* columns of the Gram that are current */
} Working;

/* Weighted, centred columns and their products; only those not yet built for the present curvature. */
FEWER_CLONES
static void build(const Model *m, Working *w, double *G)
{
    const int64_t n = m->n;
    double *root = m->trial; /* free between line searches */
    for (int64_t i = 0; i < n; i++)
        root[i] = sqrt(w->g[i]);
    for (int64_t a = w->built; a < w->k; a++) {
        const double *x = m->X + w->column[a] * n;
        double *z = w->Z + a * n;
        w->mean[a] = m->intercept ? fewer_dot(x, w->g, n) / w->total : 0;
        for (int64_t i = 0; i < n; i++)
            z[i] = (x[i] - w->mean[a]) * root[i];
        for (int64_t e = 0; e <= a; e++)
            G[a * w->room + e] = G[e * w->room + a] = fewer_dot(z, w->Z + e * n, n);
        if (G[a * w->room + a] <= 1e-26 * w->mean[a] * w->mean[a] * w->total)
            for (int64_t e = 0; e < w->room; e++)
                G[a * w->room + e] = G[e * w->room + a] = 0;
    }
    w->built = w->k;
}

/* Move to b + t * step on the working columns; the first of 1, 1/2, 1/4 ... that lowers the objective. */
FEWER_CLONES
static double advance(Model *m, Working *w, double before)
{
    double *line = m->g; /* n + p doubles: gradients are rebuilt afterwards */
    const int64_t n = m->n;
    double shift = 0, ones = 0;
    memset(line, 0, (size_t)n * sizeof(double));
    for (int64_t a = 0; a < w->k; a++)
        if (w->step[a] != 0) {
            fewer_axpy(w->step[a], m->X + w->column[a] * n, line, n);
            shift -= w->step[a] * w->mean[a];
        }
    for (int64_t i = 0; i < n; i++)
        ones += m->slope[i];
    if (m->intercept)
        shift -= ones / w->total;
    double t = 1, f = INFINITY;
    for (int half = 0; half < 30; half++, t *= 0.5) {
        for (int64_t i = 0; i < n; i++)
            m->trial[i] = m->eta[i] + t * (line[i] + shift);
        f = evaluate(m, m->trial, m->slope, m->bend);
        double cost = f;
        for (int64_t a = 0; a < w->k; a++) {
            const double b = m->b[w->column[a]] + t * w->step[a];
            cost += m->lam * (w->l1[a] * fabs(b) + 0.5 * w->l2[a] * b * b);
        }
        if (cost <= before + 1e-15 * fabs(before))
            break;
    }
    memcpy(m->eta, m->trial, (size_t)n * sizeof(double));
    m->f = f;
    m->b0 += t * shift;
    for (int64_t a = 0; a < w->k; a++) {
        const int64_t j = w->column[a];
        m->b[j] = t == 1 ? w->b[a] : m->b[j] + t * w->step[a];
    }
    return t;
}

static int enter(const Model *m, Working *w, int64_t j, int8_t *inside)
{
    if (inside[j] || w->k >= w->room || !isfinite(m->l1[j]))
        return 0;
    const int64_t a = w->k++;
    inside[j] = 1, w->column[a] = j, w->l1[a] = m->l1[j], w->l2[a] = m->l2[j];
    if (m->low)
        w->low[a] = m->low[j], w->high[a] = m->high[j];
    return 1;
}

/* One quadratic model: solve it on the working columns from where b stands. */
static void newton(Model *m, Working *w, double tol, double *rounds)
{
    GramTask *t = &w->task;
    double ones = 0, rr = 0, stats[4];
    for (int64_t i = 0; i < m->n; i++) {
        ones += m->slope[i];
        if (w->g[i] > 0)
            rr += m->slope[i] * m->slope[i] / w->g[i];
    }
    if (m->intercept)
        rr -= ones * ones / w->total;
    t->k = w->k, t->lam = m->lam, t->factor.size = 0;
    memset(t->inside, 0, (size_t)w->room);
    double yy = rr > 0 ? rr : 0;
    for (int64_t a = 0; a < w->k; a++) {
        w->b[a] = m->b[w->column[a]];
        t->g[a] = m->g[w->column[a]] + (m->intercept ? w->mean[a] * ones : 0);
        t->ridge[a] = m->lam * w->l2[a];
        w->c[a] = t->g[a];
    }
    for (int64_t a = 0; a < w->k; a++)
        if (w->b[a] != 0)
            fewer_axpy(w->b[a], t->G + a * w->room, w->c, w->k);
    for (int64_t a = 0; a < w->k; a++)
        yy += w->b[a] * (w->c[a] + t->g[a]);
    t->yy = yy;
    for (int64_t a = 0; a < w->k; a++)
        w->step[a] = w->b[a];
    fewer_gram_solve(t, tol, 1000, 0, stats);
    *rounds += stats[1];
    for (int64_t a = 0; a < w->k; a++)
        w->step[a] = w->b[a] - w->step[a];
}

static void solve_one(Model *m, Working *w, double *G, int8_t *inside, double guess, double tol, int64_t most, double *out)
{
    double gap = INFINITY, scale = 1, kkt = 0, rounds = 0, last = INFINITY, inner = 0.1;
    int64_t outer = 0, stall = 0;
    m->f = evaluate(m, m->eta, m->slope, m->bend);
    settle(m);
    gradients(m, NULL, m->p);
    for (int64_t j = 0; j < m->p; j++)
        if (m->b[j] != 0 || m->l1[j] == 0 || fabs(m->g[j]) >= (2 * m->lam - guess) * m->l1[j])
            enter(m, w, j, inside);
    gap = gap_of(m, NULL, m->p, &scale, &kkt);
    while (gap > tol && outer < most) {
        /* Solve on the working columns. */
        double part = INFINITY, before = INFINITY;
        for (int64_t round = 0; outer < most; round++, outer++) {
            double s, k;
            if (round > 0) {
                settle(m);
                gradients(m, w->column, w->k);
            }
            const double old = part;
            part = gap_of(m, w->column, w->k, &s, &k);
            /* Rounds that lower the objective by next to nothing are rounding; slow ones are not. */
            const double now = m->f + price(m, m->b);
            stall = before - now > 1e-4 * tol ? 0 : stall + 1;
            before = now;
            if (part <= 0.5 * tol || (round > 3 && stall > 6))
                break;
            if (round == 0 || part > 0.1 * old || w->built < w->k) { /* the old curvature no longer predicts well */
                w->total = 0;
                if (round > 0 || m->family != SQUARED || w->built == 0) {
                    memcpy(w->g, m->bend, (size_t)m->n * sizeof(double));
                    w->built = 0;
                }
                for (int64_t i = 0; i < m->n; i++)
                    w->total += w->g[i];
                build(m, w, G);
            }
            newton(m, w, inner * (part < tol ? part : (tol > 0.05 * part ? tol : 0.05 * part)), &rounds);
            advance(m, w, m->f + price(m, m->b));
        }
        settle(m);
        gradients(m, NULL, m->p);
        gap = gap_of(m, NULL, m->p, &scale, &kkt);
        int64_t added = 0;
        for (int64_t j = 0; j < m->p; j++)
            if (fabs(m->g[j]) > m->lam * m->l1[j])
                added += enter(m, w, j, inside);
        if (added == 0) {
            inner *= 0.1, stall = 0;
            if (!(gap < 0.9 * last) && inner < 1e-9)
                break; /* rounding: the caller sees the gap */
        }
        last = gap;
    }
    out[0] = gap, out[1] = rounds, out[2] = (double)outer, out[3] = m->f + price(m, m->b), out[4] = kkt, out[5] = scale;
    out[6] = m->b0;
}

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
                const double here = evaluate(&m, m.eta, m.slope, m.bend) + price(&m, m.b);
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
                if (!(evaluate(&m, m.eta, m.slope, m.bend) + price(&m, m.b) < here)) {
                    memcpy(m.b, b_now, p * d), memcpy(m.eta, eta_now, n * d);
                    m.b0 = b0_now;
                }
            }
            /* Start each penalty from the columns in use; the strong rule adds the likely ones. */
            memset(inside, 0, p);
            w.k = 0, w.built = 0;
            const double guess = isfinite(lam_at) && lam_at > m.lam ? lam_at : m.lam;
            solve_one(&m, &w, G, inside, guess, tol, most, stats + 7 * i);
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
