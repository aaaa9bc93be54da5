/* One descent with a concave price: on a Gram matrix, or by Newton steps whose quadratic model is bent upwards until the
 * objective falls. */
#include "concave.h"

#include <math.h>
#include <string.h>

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
    t->price = price_of(t, t->b), t->value = 0.5 * fit + t->price;
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
    double size = 0;
    for (int64_t i = 0; t->q && i < t->n; i++)
        size += fabs(j->row.slope[i]);
    t->off = t->q && fabs(j->cgrad[0]) > 1e-15 * size ? fabs(j->cgrad[0]) : 0; /* less is rounding */
    for (int64_t a = 0; a < t->p; a++) {
        t->grad[a] = -fewer_dot(j->row.X + a * t->n, j->row.slope, t->n);
        const double off = fewer_concave_distance(&t->shape, t->prices[a], t->b[a], t->grad[a]);
        t->off = off > t->off ? off : t->off;
    }
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
    fewer_joint_straighten(j, *caution);
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
    t->price = price_of(t, t->b), t->value = j->f + t->price;
}

void fewer_concave_descend(ConcaveTask *t)
{
    if (t->j)
        descend_loss(t);
    else
        descend_gram(t);
}
