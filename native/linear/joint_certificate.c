/* What prices take of a joint problem, and the certificate of a point: duality gap, scale of the dual, KKT distance. */
#include "joint.h"
#include "linear.h"

#include <math.h>

int fewer_joint_shut(const JointTask *t, int64_t g)
{
    return !isfinite(t->two[g]);
}

int fewer_joint_free(const JointTask *t, int64_t g)
{
    return !fewer_joint_shut(t, g) && (t->lam == 0 || (t->one[g] == 0 && t->two[g] == 0 && t->ridge[g] == 0));
}

static double price(const JointTask *t, const double *b)
{
    double sum = 0;
    for (int64_t g = 0; g < t->groups; g++) {
        double ones = 0, square = 0;
        if (fewer_joint_shut(t, g))
            continue;
        for (int64_t i = t->first[g] * t->j->K; i < t->first[g + 1] * t->j->K; i++)
            ones += fabs(b[i]), square += b[i] * b[i];
        sum += t->one[g] * ones + t->two[g] * sqrt(square) + 0.5 * t->ridge[g] * square;
    }
    return t->lam * sum;
}

void fewer_joint_gradient(JointTask *t)
{
    const Model *m = &t->j->row;
    for (int64_t a = 0; a < m->p; a++)
        for (int64_t k = 0; k < t->j->K; k++)
            t->grad[a * t->j->K + k] = -fewer_dot(m->X + a * m->n, m->slope + k * m->n, m->n);
}

/* |soft(u, cut)|_2 over a group. */
double fewer_joint_beyond(const double *u, int64_t k, double cut)
{
    double square = 0;
    for (int64_t i = 0; i < k; i++) {
        const double v = fabs(u[i]) - cut;
        square += v > 0 ? v * v : 0;
    }
    return sqrt(square);
}

/* The least strength at which a group's gradient has no pull. */
static double dual_norm(const double *u, int64_t k, double one, double two)
{
    double top = 0, high, low = 0;
    for (int64_t i = 0; i < k; i++)
        top = fabs(u[i]) > top ? fabs(u[i]) : top;
    if (two == 0)
        return one > 0 ? top / one : 0;
    high = fewer_joint_beyond(u, k, 0) / two;
    if (one == 0)
        return high;
    high = high < top / one ? high : top / one;
    for (int round = 0; round < 100 && high > low; round++) {
        const double middle = 0.5 * (low + high);
        if (middle == low || middle == high)
            break;
        if (fewer_joint_beyond(u, k, middle * one) <= middle * two)
            high = middle;
        else
            low = middle;
    }
    return high;
}

double fewer_joint_slack(const JointTask *t, int64_t column, int64_t k)
{
    const Model *m = &t->j->row;
    const double *x = m->X + column * m->n, *w = m->bend + k * m->n;
    const double u = fabs(t->grad[column * t->j->K + k]), b = fabs(t->j->b[column * t->j->K + k]);
    double h = 0;
    for (int64_t i = 0; i < m->n; i++)
        h += w[i] * x[i] * x[i];
    return u * (b + (h > 0 ? u / h : 0));
}

static double certify(JointTask *t, double *scale, double *kkt)
{
    const Joint *j = t->j;
    double top = t->lam, worst = 0, slack = 0, dual = 0;
    for (int64_t g = 0; g < t->groups; g++) {
        const int64_t at = t->first[g] * j->K, k = t->first[g + 1] * j->K - at;
        const double *u = t->grad + at, *b = j->b + at;
        if (fewer_joint_shut(t, g))
            continue;
        const double one = fewer_joint_free(t, g) ? 0 : t->lam * t->one[g], two = fewer_joint_free(t, g) ? 0 : t->lam * t->two[g];
        const double ridge = fewer_joint_free(t, g) ? 0 : t->lam * t->ridge[g], size = sqrt(fewer_dot(b, b, k));
        double sum = 0;
        for (int64_t i = 0; i < k; i++) {
            const double v = u[i] - (size > 0 ? (two / size + ridge) * b[i] : 0);
            const double off = b[i] != 0 ? v - (b[i] > 0 ? one : -one) : fewer_soft(v, one);
            sum += off * off;
        }
        const double off = size > 0 ? sqrt(sum) : sqrt(sum) - two;
        worst = off > worst ? off : worst;
        if (fewer_joint_free(t, g))
            for (int64_t i = 0; i < k; i++)
                slack += fewer_joint_slack(t, (at + i) / j->K, (at + i) % j->K);
        else if (ridge == 0 && fewer_joint_beyond(u, k, one) > two) {
            const double needed = dual_norm(u, k, t->one[g], t->two[g]);
            top = needed > top ? needed : top;
        }
    }
    *scale = top > t->lam && t->lam > 0 ? t->lam / top : 1, *kkt = worst;
    for (int64_t g = 0; g < t->groups; g++)
        if (!fewer_joint_shut(t, g) && !fewer_joint_free(t, g) && t->ridge[g] > 0) {
            const int64_t at = t->first[g] * j->K, k = t->first[g + 1] * j->K - at;
            const double left = *scale * fewer_joint_beyond(t->grad + at, k, t->lam * t->one[g] / *scale) - t->lam * t->two[g];
            dual += left > 0 ? left * left / (2 * t->lam * t->ridge[g]) : 0;
        }
    for (int64_t k = 0; k < j->q; k++)
        slack += fabs(j->cgrad[k] * j->c[k]);
    const double gap = j->f + price(t, j->b) + fewer_joint_conjugate(j, *scale) + dual + slack;
    return gap > 0 ? gap : (gap == gap ? 0 : INFINITY);
}

/* Groups in use or out of place. */
static int64_t choose(JointTask *t, int64_t *count)
{
    const int64_t K = t->j->K;
    int64_t groups = 0, m = 0;
    double *one = t->priced, *two = one + t->groups, *ridge = two + t->groups;
    for (int64_t g = 0; g < t->groups; g++) {
        const int64_t at = t->first[g] * K, k = t->first[g + 1] * K - at;
        if (fewer_joint_shut(t, g))
            continue;
        const int open = fewer_joint_free(t, g);
        if (!open && fewer_dot(t->j->b + at, t->j->b + at, k) == 0 &&
            fewer_joint_beyond(t->grad + at, k, t->lam * t->one[g]) <= t->lam * t->two[g])
            continue;
        one[groups] = open ? 0 : t->lam * t->one[g], two[groups] = open ? 0 : t->lam * t->two[g];
        ridge[groups] = open ? 0 : t->lam * t->ridge[g];
        t->starts[groups++] = m;
        for (int64_t a = t->first[g]; a < t->first[g + 1]; a++)
            t->columns[(*count)++] = a;
        m += k;
    }
    t->starts[groups] = m;
    Quadratic *w = &t->quadratic;
    w->groups = groups, w->start = t->starts, w->one = one, w->two = two, w->ridge = ridge;
    return m;
}

static void solve(JointTask *t, double tol)
{
    fewer_quadratic_solve(&t->quadratic, tol);
}

const Prices fewer_group_prices = {choose, price, certify, solve};
