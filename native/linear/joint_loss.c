/* Losses with several parameters a row, or that tie rows together: value, slopes, the whole curvature, conjugate. */
#include "joint.h"

#include <math.h>
#include <string.h>

static double sigmoid(double x)
{
    const double q = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + q) : q / (1 + q);
}

static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

/* Risks and sums over risk sets of a linear predictor; returns the loss. */
static double cox(Joint *j, const double *eta)
{
    const Model *m = &j->row;
    const Risk *r = j->risk;
    double top = -INFINITY, total = 0, value = 0, mean = 0;
    double *risk = j->chance, *dead = j->sums, *below = j->sums + r->sizes, *cum = below + r->terms;
    for (int64_t i = 0; i < m->n; i++)
        top = eta[i] > top ? eta[i] : top, mean += m->s[i] / (double)m->n;
    memset(dead, 0, (size_t)r->sizes * sizeof(double));
    for (int64_t i = 0; i < m->n; i++) {
        risk[i] = m->s[i] / mean * exp(eta[i] - top);
        dead[r->group[i]] += risk[i] * r->event[i];
        cum[i] = total += risk[i];
        value -= m->s[i] * eta[i] * r->event[i];
    }
    for (int64_t e = 0; e < r->terms; e++) {
        below[e] = cum[r->tail[r->owner[e]]] - r->share[e] * dead[r->owner[e]];
        value += r->each[e] * (log(below[e]) + top);
    }
    return value;
}

/* Loss at eta (K x n) and cut points c; infinite where there is none. */
double fewer_joint_value(Joint *j, const double *eta, const double *c)
{
    const Model *m = &j->row;
    double sum = 0;
    if (j->family == COX)
        sum = cox(j, eta);
    else if (j->family == MULTINOMIAL)
        for (int64_t i = 0; i < m->n; i++) {
            double top = eta[i], all = 0;
            for (int64_t k = 1; k < j->K; k++)
                top = eta[k * m->n + i] > top ? eta[k * m->n + i] : top;
            for (int64_t k = 0; k < j->K; k++)
                all += j->chance[k * m->n + i] = exp(eta[k * m->n + i] - top);
            for (int64_t k = 0; k < j->K; k++)
                j->chance[k * m->n + i] /= all;
            sum += m->s[i] * (top + log(all) - eta[(int64_t)m->y[i] * m->n + i]);
        }
    else if (j->family == ORDINAL) {
        for (int64_t k = 1; k < j->q; k++)
            if (!(c[k] > c[k - 1]))
                return INFINITY;
        for (int64_t i = 0; i < m->n; i++) {
            const int64_t y = (int64_t)m->y[i];
            double f = 0;
            if (y < j->q)
                f += softplus(eta[i] - c[y]);
            if (y > 0)
                f += softplus(c[y - 1] - eta[i]);
            if (y > 0 && y < j->q)
                f -= log(-expm1(c[y - 1] - c[y]));
            sum += m->s[i] * f;
        }
    } else
        sum = fewer_glm_evaluate(m, eta, m->slope, m->bend);
    return isfinite(sum) ? sum : INFINITY;
}

/* Slopes of every predictor and gradients of the constants, at the present eta and constants. */
void fewer_joint_slopes(Joint *j)
{
    Model *m = &j->row;
    j->f = fewer_joint_value(j, m->eta, j->c);
    if (j->family == COX) {
        const Risk *r = j->risk;
        double *below = j->sums + r->sizes, *whole = below + r->terms, *own = m->trial;
        memset(whole, 0, (size_t)r->sizes * sizeof(double)), memset(own, 0, (size_t)r->sizes * sizeof(double));
        for (int64_t e = 0; e < r->terms; e++) {
            const double part = r->each[e] / below[e];
            whole[r->owner[e]] += part, own[r->owner[e]] += part * (1 - r->share[e]);
        }
        double after = 0;
        for (int64_t i = m->n - 1, g = r->sizes - 1; i >= 0; i--) {
            while (g > r->group[i])
                after += whole[g--];
            m->bend[i] = j->chance[i] * (after + (r->event[i] > 0 ? own[g] : whole[g]));
            m->slope[i] = m->bend[i] - m->s[i] * r->event[i];
        }
        return;
    }
    memset(j->cgrad, 0, (size_t)j->q * sizeof(double));
    if (j->family == ORDINAL) {
        for (int64_t i = 0; i < m->n; i++) {
            const int64_t y = (int64_t)m->y[i];
            const double pa = y < j->q ? sigmoid(j->c[y] - m->eta[i]) : 1, pb = y > 0 ? sigmoid(j->c[y - 1] - m->eta[i]) : 0;
            const double t = y > 0 && y < j->q ? -1 / expm1(j->c[y - 1] - j->c[y]) : 1, s = m->s[i];
            const double h = pa * (1 - pa) + pb * (1 - pb);
            m->slope[i] = s * (1 - pa - pb), m->bend[i] = s * (h > 1e-9 ? h : 1e-9);
            if (y < j->q)
                j->cgrad[y] += s * (pa - t);
            if (y > 0)
                j->cgrad[y - 1] += s * (pb + t - 1);
        }
        return;
    }
    if (j->family == MULTINOMIAL)
        for (int64_t i = 0; i < m->n; i++)
            for (int64_t k = 0; k < j->K; k++) {
                const double p = j->chance[k * m->n + i], h = p * (1 - p);
                m->slope[k * m->n + i] = m->s[i] * (p - (k == (int64_t)m->y[i]));
                m->bend[k * m->n + i] = m->s[i] * (h > 1e-6 ? h : 1e-6);
            }
    for (int64_t k = 0; k < j->q; k++)
        for (int64_t i = 0; i < m->n; i++)
            j->cgrad[k] += m->slope[k * m->n + i];
}

/* Weighted products of the columns with each other, for predictors k and l, and with the constants. */
FEWER_CLONES
static void products(Joint *j, const int64_t *columns, int64_t count, const double *w, int64_t k, int64_t l)
{
    const Model *m = &j->row;
    const int64_t K = j->K, size = count * K;
    double *z = m->trial;
    for (int64_t a = 0; a < count; a++) {
        const double *x = m->X + columns[a] * m->n;
        for (int64_t i = 0; i < m->n; i++)
            z[i] = x[i] * w[i];
        for (int64_t e = 0; e <= a; e++) {
            const double h = fewer_dot(z, m->X + columns[e] * m->n, m->n);
            j->H[(a * K + k) * size + e * K + l] = j->H[(e * K + l) * size + a * K + k] = h;
            j->H[(a * K + l) * size + e * K + k] = j->H[(e * K + k) * size + a * K + l] = h;
        }
        if (j->q == K && j->family != ORDINAL) {
            double sum = 0;
            for (int64_t i = 0; i < m->n; i++)
                sum += z[i];
            j->cross[l * size + a * K + k] = j->cross[k * size + a * K + l] = sum;
        }
    }
    if (j->q == K && j->family != ORDINAL) {
        double sum = 0;
        for (int64_t i = 0; i < m->n; i++)
            sum += w[i];
        j->own[k * K + l] = j->own[l * K + k] = sum;
    }
}

/* Take the squares of the means over risk sets off: what ties the rows together. */
FEWER_CLONES
static void means(Joint *j, const int64_t *columns, int64_t count)
{
    const Model *m = &j->row;
    const Risk *r = j->risk;
    const double *below = j->sums + r->sizes;
    double *table = j->sums + r->sizes + r->terms + m->n + r->sizes, *dead = m->trial;
    for (int64_t a = 0; a < count; a++) {
        const double *x = m->X + columns[a] * m->n;
        double *mean = table + a * r->terms, *cum = table + count * r->terms, total = 0;
        memset(dead, 0, (size_t)r->sizes * sizeof(double));
        for (int64_t i = 0; i < m->n; i++) {
            const double part = x[i] * j->chance[i];
            dead[r->group[i]] += part * r->event[i];
            cum[i] = total += part;
        }
        for (int64_t e = 0; e < r->terms; e++)
            mean[e] = sqrt(r->each[e]) * (cum[r->tail[r->owner[e]]] - r->share[e] * dead[r->owner[e]]) / below[e];
        for (int64_t e = 0; e <= a; e++)
            j->H[a * count + e] = j->H[e * count + a] -= fewer_dot(mean, table + e * r->terms, r->terms);
    }
}

static void cut_points(Joint *j, const int64_t *columns, int64_t count)
{
    const Model *m = &j->row;
    const int64_t q = j->q;
    memset(j->own, 0, (size_t)(q * q) * sizeof(double));
    memset(j->cross, 0, (size_t)(q * count) * sizeof(double));
    for (int64_t i = 0; i < m->n; i++) {
        const int64_t y = (int64_t)m->y[i];
        const double pa = y < q ? sigmoid(j->c[y] - m->eta[i]) : 1, pb = y > 0 ? sigmoid(j->c[y - 1] - m->eta[i]) : 0;
        const double t = y > 0 && y < q ? -1 / expm1(j->c[y - 1] - j->c[y]) : 1, s = m->s[i];
        if (y < q) {
            j->own[y * q + y] += s * (pa * (1 - pa) + t * (t - 1));
            for (int64_t a = 0; a < count; a++)
                j->cross[y * count + a] -= s * pa * (1 - pa) * m->X[columns[a] * m->n + i];
        }
        if (y > 0) {
            j->own[(y - 1) * q + y - 1] += s * (pb * (1 - pb) + t * (t - 1));
            for (int64_t a = 0; a < count; a++)
                j->cross[(y - 1) * count + a] -= s * pb * (1 - pb) * m->X[columns[a] * m->n + i];
        }
        if (y > 0 && y < q)
            j->own[y * q + y - 1] = j->own[(y - 1) * q + y] -= s * t * (t - 1);
    }
}

/* H, cross and own for some columns. */
void fewer_joint_curvature(Joint *j, const int64_t *columns, int64_t count)
{
    const Model *m = &j->row;
    if (j->family != MULTINOMIAL) {
        products(j, columns, count, m->bend, 0, 0);
        if (j->family == COX)
            means(j, columns, count);
        if (j->family == ORDINAL)
            cut_points(j, columns, count);
        return;
    }
    double *w = m->trial + m->n;
    for (int64_t k = 0; k < j->K; k++)
        for (int64_t l = 0; l <= k; l++) {
            for (int64_t i = 0; i < m->n; i++) {
                const double p = j->chance[k * m->n + i];
                w[i] = m->s[i] * (k == l ? p * (1 - p) : -p * j->chance[l * m->n + i]);
            }
            products(j, columns, count, w, k, l);
        }
    double level = 0; /* what is common to all classes changes nothing: hold it still */
    for (int64_t k = 0; k < j->q; k++)
        level += j->own[k * j->q + k];
    for (int64_t k = 0; k < j->q * j->q; k++)
        j->own[k] += level / (double)j->q;
}

/* The dual of the loss at scale * slope; where there is no short form, by convexity and a floor. */
double fewer_joint_conjugate(const Joint *j, double scale)
{
    const Model *m = &j->row;
    double sum = 0;
    if (j->family < MULTINOMIAL)
        return fewer_glm_conjugate(m, scale);
    if (j->family == MULTINOMIAL) {
        for (int64_t k = 0; k < j->K; k++)
            for (int64_t i = 0; i < m->n; i++) {
                if (m->s[i] == 0)
                    continue;
                const double u = scale * m->slope[k * m->n + i] / m->s[i] + (k == (int64_t)m->y[i]);
                sum += u > 0 && u < 1 ? m->s[i] * u * log(u) : 0;
            }
        return sum;
    }
    sum = fewer_dot(m->slope, m->eta, m->n);
    if (j->family == ORDINAL)
        sum += fewer_dot(j->cgrad, j->c, j->q);
    return scale * (sum - j->f) - (1 - scale) * j->floor;
}
