/* Newton models with prices that depend on the order of the coefficients: accelerated proximal gradient finds which
 * coefficients are tied, and where they stay tied the price is linear or quadratic: Newton on one number a tie.
 *
 *   minimise over z   z'Hz/2 - rhs'z + price(z),   g = rhs - Hz */
#include "joint.h"

#include <math.h>
#include <string.h>

/* g <- rhs - H z */
FEWER_CLONES
static void refresh(const Quadratic *w, const double *rhs, const double *z, double *g)
{
    memcpy(g, rhs, (size_t)w->m * sizeof(double));
    for (int64_t i = 0; i < w->m; i++)
        if (z[i] != 0)
            fewer_axpy(-z[i], w->H + i * w->m, g, w->m);
}

/* Number the ties: `owner` of each coefficient, -1 at zero; returns how many. */
static int64_t ties(Ordered *o, const Quadratic *w, double lam)
{
    int64_t count = 0;
    if (o->kind == CHAIN)
        for (int64_t i = 0; i < o->paid; i++) {
            const int apart = i == 0 || w->z[i] != w->z[i - 1];
            o->owner[i] = w->z[i] == 0 && o->fixed + o->share * lam > 0 ? -1 : (apart ? count : o->owner[i - 1]);
            count += apart && o->owner[i] >= 0;
        }
    else {
        const int64_t on = fewer_ordered_sort(o, w->z);
        for (int64_t i = 0; i < o->paid; i++) {
            const int apart = i == 0 || o->kind == KSUPPORT || o->size[i] != o->size[i - 1];
            count += i < on && apart;
            o->owner[o->order[i]] = i < on ? count - 1 : -1;
        }
    }
    for (int64_t i = o->paid; i < w->m; i++)
        o->owner[i] = count++;
    return count;
}

/* How a coefficient moves with its tie. */
static double turn(const Ordered *o, const Quadratic *w, int64_t i)
{
    return o->kind != CHAIN && i < o->paid && w->z[i] < 0 ? -1 : 1;
}

/* Pulls on the ties into `d`, and the curvature among them into M. */
FEWER_CLONES
static void reduce(Ordered *o, Quadratic *w, int64_t k, double lam)
{
    memset(w->d, 0, (size_t)k * sizeof(double));
    memset(w->M, 0, (size_t)(k * k) * sizeof(double));
    for (int64_t i = 0; i < w->m; i++) {
        const int64_t a = o->owner[i];
        if (a < 0)
            continue;
        const double *row = w->H + i * w->m, sign = turn(o, w, i);
        w->d[a] += sign * w->g[i];
        for (int64_t e = 0; e < w->m; e++)
            if (o->owner[e] >= 0 && o->owner[e] <= a)
                w->M[a * k + o->owner[e]] += sign * turn(o, w, e) * row[e];
    }
    if (o->kind == SLOPE)
        for (int64_t i = 0; i < o->paid; i++)
            if (o->size[i] > 0)
                w->d[o->owner[o->order[i]]] -= lam * o->scales[i];
    if (o->kind == CHAIN)
        for (int64_t i = 0; i < o->paid; i++) {
            const double z = w->z[i], price = o->fixed + o->share * lam;
            if (o->owner[i] >= 0)
                w->d[o->owner[i]] -= z > 0 ? price : (z < 0 ? -price : 0);
            const double jump = i == 0 || z == w->z[i - 1] ? 0 : (z > w->z[i - 1] ? lam : -lam);
            if (jump != 0 && o->owner[i] >= 0)
                w->d[o->owner[i]] -= jump;
            if (jump != 0 && o->owner[i - 1] >= 0)
                w->d[o->owner[i - 1]] += jump;
        }
    if (o->kind == KSUPPORT) {
        double level;
        const int64_t free = w->m - o->paid, on = k - free, top = fewer_ordered_top(o, on, &level);
        for (int64_t a = 0; a < on; a++) {
            w->d[a] -= lam * (a < top ? o->size[a] : level);
            for (int64_t e = top; a >= top && e <= a; e++)
                w->M[a * k + e] += lam / (double)(o->k - top);
            w->M[a * k + a] += a < top ? lam : 0;
        }
    }
}

static int crosses(double from, double to)
{
    return (from > 0 && to < 0) || (from < 0 && to > 0);
}

/* The part of the step before two ties meet or one reaches zero, and where that is: coefficients `one` and `two` (or -1
 * for zero). */
static double meet(const Ordered *o, const Quadratic *w, double lam, int64_t *one, int64_t *two)
{
    double cut = 1;
    *one = *two = -1;
    for (int64_t i = 0; i < o->paid; i++) {
        const int64_t j = o->kind == CHAIN ? i : o->order[i];
        const double z = w->z[j], s = o->owner[j] < 0 ? 0 : turn(o, w, j) * w->step[o->owner[j]];
        if (crosses(z, z + cut * s) && !(o->kind == CHAIN && !(o->fixed + o->share * lam > 0)))
            cut = -z / s, *one = j, *two = -1;
        if (i == 0 || o->kind == KSUPPORT)
            continue;
        const int64_t before = o->kind == CHAIN ? i - 1 : o->order[i - 1];
        if (o->owner[before] == o->owner[j] || (o->kind == SLOPE && o->owner[j] < 0))
            continue;
        const double sign = o->kind == SLOPE ? turn(o, w, j) : 1, other = o->kind == SLOPE ? turn(o, w, before) : 1;
        const double apart = other * w->z[before] - sign * z;
        const double change = (o->owner[before] < 0 ? 0 : other * turn(o, w, before) * w->step[o->owner[before]]) - sign * s;
        if (crosses(apart, apart + cut * change))
            cut = -apart / change, *one = j, *two = before;
    }
    return cut;
}

/* Where two ties met they are one from now on, to the last bit. */
static void move(const Ordered *o, Quadratic *w, double take, int64_t one, int64_t two)
{
    const int64_t gone = one >= 0 ? o->owner[one] : -1, other = two >= 0 ? o->owner[two] : -1;
    const double still = two >= 0 && other < 0 ? w->z[two] : 0;
    memcpy(w->d, w->z, (size_t)w->m * sizeof(double));
    for (int64_t i = 0; i < w->m; i++)
        if (o->owner[i] >= 0)
            w->d[i] += take * turn(o, w, i) * w->step[o->owner[i]];
    double common = two >= 0 && other >= 0 ? w->d[two] : still;
    if (one >= 0 && gone < 0)
        common = w->z[one];
    if (o->kind == SLOPE)
        common = fabs(common);
    for (int64_t i = 0; i < w->m && one >= 0; i++)
        if (o->owner[i] >= 0 && (o->owner[i] == gone || o->owner[i] == other))
            w->d[i] = o->kind == SLOPE ? turn(o, w, i) * common : common;
    memcpy(w->z, w->d, (size_t)w->m * sizeof(double));
}

/* Newton on the ties as they stand; one that meets another joins it, one that reaches zero stays there. */
static void polish(Ordered *o, Quadratic *w, double lam, double tol)
{
    for (int64_t round = 0; round < w->m + 30; round++) {
        const int64_t k = ties(o, w, lam);
        int64_t one, two;
        double worst = 0, fall = 0, bend = 0;
        reduce(o, w, k, lam);
        for (int64_t a = 0; a < k; a++)
            worst = fmax(worst, fabs(w->d[a]));
        if (k == 0 || worst <= tol)
            return;
        memcpy(w->step, w->d, (size_t)k * sizeof(double));
        memcpy(o->ahead, w->d, (size_t)k * sizeof(double));
        if (!fewer_cholesky_solve(w->M, w->step, k))
            return;
        for (int64_t a = 0; a < k; a++)
            fall += o->ahead[a] * w->step[a];
        if (!(fall > 0))
            return;
        double take = meet(o, w, lam, &one, &two);
        if (o->kind == KSUPPORT) { /* quadratic in pieces: the step is halved until the objective falls */
            const double before = fewer_ordered_value(o, w->z, lam);
            memset(o->ahead, 0, (size_t)w->m * sizeof(double)), memset(o->near, 0, (size_t)w->m * sizeof(double));
            for (int64_t i = 0; i < w->m; i++)
                o->ahead[i] = o->owner[i] >= 0 ? turn(o, w, i) * w->step[o->owner[i]] : 0;
            refresh(w, o->near, o->ahead, o->fit), bend = -fewer_dot(o->fit, o->ahead, w->m);
            const double pull = fewer_dot(w->g, o->ahead, w->m);
            for (int half = 0;; half++, take *= 0.5, one = two = -1) {
                for (int64_t i = 0; i < w->m; i++)
                    o->near[i] = w->z[i] + take * o->ahead[i];
                if (take * (0.5 * take * bend - pull) + fewer_ordered_value(o, o->near, lam) - before <= 1e-15 * before)
                    break;
                if (half == 30)
                    return;
            }
        }
        move(o, w, take, one, two);
        refresh(w, o->rhs, w->z, w->g);
    }
}

static double objective(Ordered *o, const Quadratic *w, double lam)
{
    return fewer_ordered_value(o, w->z, lam) - 0.5 * (fewer_dot(o->rhs, w->z, w->m) + fewer_dot(w->g, w->z, w->m));
}

/* A few accelerated steps, started afresh where they turn back; a single one never raises the objective. */
static void descend(Ordered *o, Quadratic *w, double lam, double level, int64_t steps)
{
    const int64_t m = w->m;
    double t = 1;
    memcpy(o->near, w->z, (size_t)m * sizeof(double));
    for (int64_t round = 0; round < steps; round++) {
        double turned = 0;
        for (int64_t i = 0; i < m; i++)
            o->near[i] += w->g[i] / level, o->old[i] = w->z[i], w->z[i] = o->near[i];
        fewer_ordered_prox(o, o->near, lam, 1 / level, w->z);
        for (int64_t i = 0; i < m; i++)
            turned += (o->near[i] - w->g[i] / level - w->z[i]) * (w->z[i] - o->old[i]);
        const double next = turned > 0 ? 1 : 0.5 * (1 + sqrt(1 + 4 * t * t)), beta = turned > 0 ? 0 : (t - 1) / next;
        for (int64_t i = 0; i < m; i++)
            o->near[i] = w->z[i] + beta * (w->z[i] - o->old[i]);
        t = next;
        refresh(w, o->rhs, o->near, w->g);
    }
    refresh(w, o->rhs, w->z, w->g);
}

static void solve(JointTask *t, double tol)
{
    Ordered *o = &t->ordered;
    Quadratic *w = &t->quadratic;
    const double lam = t->lam;
    double level = 0, best = INFINITY;
    memset(o->old, 0, (size_t)w->m * sizeof(double));
    refresh(w, o->old, w->z, o->rhs);
    for (int64_t i = 0; i < w->m; i++) {
        double sum = 0;
        o->rhs[i] = w->g[i] - o->rhs[i];
        for (int64_t k = 0; k < w->m; k++)
            sum += fabs(w->H[i * w->m + k]);
        level = fmax(level, sum);
    }
    for (int round = 0, stuck = 0; round < 500 && stuck < 40 && level > 0; round++) {
        const double before = objective(o, w, lam);
        memcpy(o->ahead, w->z, (size_t)w->m * sizeof(double));
        descend(o, w, lam, level, 1 + w->m / 8);
        if (w->m >= 8 && !(objective(o, w, lam) <= before)) {
            memcpy(w->z, o->ahead, (size_t)w->m * sizeof(double));
            refresh(w, o->rhs, w->z, w->g);
            descend(o, w, lam, level, 1);
        }
        polish(o, w, lam, 0.1 * tol);
        const double off = fewer_ordered_distance(o, w->z, w->g, lam, w->m);
        if (off <= tol)
            return;
        stuck = off < 0.5 * best ? 0 : stuck + 1;
        best = fmin(best, off);
    }
}

static int64_t choose(JointTask *t, int64_t *count)
{
    for (; *count < t->j->row.p; ++*count)
        t->columns[*count] = *count;
    return *count;
}

static double price(const JointTask *t, const double *b)
{
    return fewer_ordered_value((Ordered *)&t->ordered, b, t->lam);
}

/* Only SLOPE is a norm whose dual norm has a short form; elsewhere there is no gap. */
static double certify(JointTask *t, double *scale, double *kkt)
{
    Joint *j = t->j;
    Ordered *o = &t->ordered;
    *kkt = fewer_ordered_distance(o, j->b, t->grad, t->lam, j->row.p), *scale = 1;
    if (o->kind != SLOPE)
        return NAN;
    const double top = fewer_ordered_dual_norm(o, t->grad);
    double slack = 0;
    *scale = top > t->lam ? t->lam / top : 1;
    for (int64_t a = o->paid; a < j->row.p; a++)
        slack += fewer_joint_slack(t, a, 0);
    for (int64_t k = 0; k < j->q; k++)
        slack += fabs(j->cgrad[k] * j->c[k]);
    const double gap = j->f + price(t, j->b) + fewer_joint_conjugate(j, *scale) + slack;
    return gap > 0 ? gap : (gap == gap ? 0 : INFINITY);
}

const Prices fewer_ordered_prices = {choose, price, certify, solve};
