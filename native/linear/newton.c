/* Proximal Newton at one penalty: the quadratic model is a weighted Gram matrix of the working columns, kept while it
 * still predicts well. */
#include "glm.h"

#include <math.h>
#include <string.h>

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
        f = fewer_glm_evaluate(m, m->trial, m->slope, m->bend);
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

/* Let in the columns whose gradient reaches `level` times their threshold, at most so many: the largest. */
static int64_t admit(const Model *m, Working *w, int8_t *inside, double level, int64_t most)
{
    double low = level, high = level;
    int64_t count = 0, added = 0;
    for (int64_t j = 0; j < m->p; j++)
        if (!inside[j] && m->l1[j] > 0 && isfinite(m->l1[j]) && fabs(m->g[j]) >= level * m->lam * m->l1[j]) {
            const double ratio = fabs(m->g[j]) / (m->lam * m->l1[j]);
            high = ratio > high ? ratio : high;
            count++;
        }
    for (int round = 0; round < 30 && count > most; round++) { /* the level that about so many reach, by bisection */
        const double middle = 0.5 * (low + high);
        int64_t above = 0;
        for (int64_t j = 0; j < m->p; j++)
            above += !inside[j] && m->l1[j] > 0 && isfinite(m->l1[j]) &&
                     fabs(m->g[j]) >= middle * m->lam * m->l1[j];
        if (above >= most / 2)
            low = middle, count = above;
        else
            high = middle;
    }
    for (int64_t j = 0; j < m->p; j++)
        if (!inside[j] && m->l1[j] > 0 && fabs(m->g[j]) >= low * m->lam * m->l1[j])
            added += enter(m, w, j, inside);
    return added;
}

/* How many columns may join at once: few at first, then about as many as are in use. */
static int64_t growth(const Model *m)
{
    int64_t used = 0;
    for (int64_t j = 0; j < m->p; j++)
        used += m->b[j] != 0;
    return used > 16 ? used : 16;
}

void fewer_glm_solve(Model *m, Working *w, double *G, int8_t *inside, double guess, double tol, int64_t most, double *out)
{
    int64_t added = 1;
    double gap = INFINITY, scale = 1, kkt = 0, rounds = 0, last = INFINITY, inner = 0.1;
    int64_t outer = 0, stall = 0;
    m->f = fewer_glm_evaluate(m, m->eta, m->slope, m->bend);
    fewer_glm_settle(m);
    fewer_glm_gradients(m, NULL, m->p);
    for (int64_t j = 0; j < m->p; j++)
        if (m->b[j] != 0 || m->l1[j] == 0)
            enter(m, w, j, inside);
    /* On a path the strong rule names the likely columns; from afar it would name them all. */
    if (guess < 1.5 * m->lam)
        admit(m, w, inside, 2 - guess / m->lam, m->p);
    else
        admit(m, w, inside, 1, growth(m));
    gap = fewer_glm_gap(m, NULL, m->p, &scale, &kkt);
    while (gap > tol && outer < most) {
        /* Solve on the working columns. */
        double part = INFINITY, before = INFINITY;
        for (int64_t round = 0; outer < most; round++, outer++) {
            double s, k;
            if (round > 0) {
                fewer_glm_settle(m);
                fewer_glm_gradients(m, w->column, w->k);
            }
            const double old = part;
            part = fewer_glm_gap(m, w->column, w->k, &s, &k);
            /* Rounds that lower the objective by next to nothing are rounding; slow ones are not. */
            const double now = m->f + fewer_glm_price(m, m->b);
            stall = before - now > 1e-4 * tol ? 0 : stall + 1;
            before = now;
            if (part <= (added && 0.05 * gap > 0.5 * tol ? 0.05 * gap : 0.5 * tol) || (round > 3 && stall > 6))
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
            advance(m, w, m->f + fewer_glm_price(m, m->b));
        }
        fewer_glm_settle(m);
        fewer_glm_gradients(m, NULL, m->p);
        gap = fewer_glm_gap(m, NULL, m->p, &scale, &kkt);
        added = gap > tol ? admit(m, w, inside, 1 + 1e-15, growth(m)) : 0;
        if (added == 0) {
            inner *= 0.1, stall = 0;
            if (!(gap < 0.9 * last) && inner < 1e-9)
                break; /* rounding: the caller sees the gap */
        }
        last = gap;
    }
    out[0] = gap, out[1] = rounds, out[2] = (double)outer, out[3] = m->f + fewer_glm_price(m, m->b), out[4] = kkt, out[5] = scale;
    out[6] = m->b0;
}
