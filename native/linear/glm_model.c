/* Losses that are a sum over rows: value, derivatives, best constant, gradients, and the certificate. */
#include "glm.h"

#include <math.h>

/* Loss, slope and curvature at eta.  Where a robust loss is linear its curvature is zero; a small share of that of the
 * quadratic which touches it from above keeps the model bounded, and the line search does the rest. */
FEWER_CLONES
double fewer_glm_evaluate(const Model *m, const double *eta, double *slope, double *bend)
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
double fewer_glm_conjugate(const Model *m, double scale)
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

double fewer_glm_price(const Model *m, const double *b)
{
    double sum = 0;
    for (int64_t j = 0; j < m->p; j++)
        if (b[j] != 0)
            sum += m->lam * (m->l1[j] * fabs(b[j]) + 0.5 * m->l2[j] * b[j] * b[j]);
    return sum;
}

/* The best constant, everything else held still: the root of a monotone function, by Newton inside a bracket.  The dual
 * point must be orthogonal to ones, so it is found to rounding. */
void fewer_glm_settle(Model *m)
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
        m->f = fewer_glm_evaluate(m, m->eta, m->slope, m->bend);
    }
}

FEWER_CLONES
void fewer_glm_gradients(const Model *m, const int64_t *list, int64_t count)
{
    for (int64_t e = 0; e < count; e++) {
        const int64_t j = list ? list[e] : e;
        m->g[j] = -fewer_dot(m->X + j * m->n, m->slope, m->n);
    }
}

/* Gap from the gradients of the listed columns; also the scale of the dual point and the KKT distance. */
double fewer_glm_gap(const Model *m, const int64_t *list, int64_t count, double *scale, double *kkt)
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
    double dual = -fewer_glm_conjugate(m, *scale);
    for (int64_t e = 0; e < count; e++) {
        const int64_t j = list ? list[e] : e;
        const double l1 = m->lam * m->l1[j], l2 = m->lam * m->l2[j], u = *scale * m->g[j];
        if (!isfinite(l1))
            continue;
        if (l1 == 0 && l2 == 0 && !(m->low && isfinite(u > 0 ? m->high[j] : m->low[j]))) {
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
    const double gap = m->f + fewer_glm_price(m, m->b) - dual + slack + fabs(ones * m->b0);
    return gap > 0 ? gap : 0;
}
