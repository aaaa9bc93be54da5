/* The lasso family by coordinate descent on the residual, over the columns that move, with Anderson acceleration.
 *
 * Centring is implicit. The true residual is r + shift, whose weighted sum is zero, so a centred sparse column costs no
 * more than its stored entries. */
#include "residual.h"

#include <math.h>
#include <string.h>

#define DEPTH FEWER_RESIDUAL_DEPTH

static inline double gradient(const ResidualTask *t, int64_t w)
{
    const int64_t j = t->column[w];
    if (t->X)
        return t->unit * fewer_dot(t->X + j * t->n, t->r, t->n) + t->shift * t->mass[w];
    const int64_t stop = t->start[j + 1];
    const double *x = t->weighted, *r = t->r;
    const int32_t *row = t->row;
    double a = 0, b = 0, c = 0, d = 0;
    int64_t e = t->start[j];
    for (; e + 4 <= stop; e += 4) {
        a += x[e] * r[row[e]], b += x[e + 1] * r[row[e + 1]];
        c += x[e + 2] * r[row[e + 2]], d += x[e + 3] * r[row[e + 3]];
    }
    for (; e < stop; e++)
        a += x[e] * r[row[e]];
    return t->unit * ((a + b) + (c + d)) + t->shift * t->mass[w];
}

/* Full columns are centred on the way, as they alone can lie far from zero in units of their spread; for the others the
 * shift takes what centring would add to every row. */
static inline void move(ResidualTask *t, int64_t w, double delta)
{
    const int64_t j = t->column[w];
    const double mean = t->mean[w];
    if (t->X) {
        const double *restrict x = t->X + j * t->n;
        double *restrict r = t->r;
        for (int64_t i = 0; i < t->n; i++)
            r[i] -= delta * (x[i] - mean);
        return;
    }
    const int64_t first = t->start[j], stop = t->start[j + 1];
    const double here = stop - first == t->n ? mean : 0;
    t->shift += delta * (mean - here);
    for (int64_t e = first; e < stop; e++)
        t->r[t->row[e]] -= delta * (t->data[e] - here);
}

FEWER_CLONES
static double sizes(const ResidualTask *t, double *ry)
{
    double rr = 0, cross = 0;
    for (int64_t i = 0; i < t->n; i++) {
        const double v = t->r[i] + t->shift, s = t->weight ? t->weight[i] : t->unit;
        rr += s * v * v, cross += s * v * t->y[i];
    }
    *ry = cross;
    return rr;
}

static double price(const ResidualTask *t)
{
    double sum = 0;
    for (int64_t w = 0; w < t->k; w++)
        if (t->b[w] != 0)
            sum += t->lam * (t->l1[w] * fabs(t->b[w]) + 0.5 * t->l2[w] * t->b[w] * t->b[w]);
    return sum;
}

/* Take the shift into r, whose weighted mean is then zero: columns far from zero would multiply a large shift, and lose
 * in its difference to r what they say. */
FEWER_CLONES
static void level(ResidualTask *t)
{
    double sum = 0, total = 0;
    if (t->shift == 0)
        return;
    for (int64_t i = 0; i < t->n; i++) {
        const double s = t->weight ? t->weight[i] : t->unit;
        sum += s * (t->r[i] + t->shift), total += s;
    }
    const double step = t->shift - sum / total;
    for (int64_t i = 0; i < t->n; i++)
        t->r[i] += step;
    t->shift = 0;
}

FEWER_CLONES
static double gap_of(ResidualTask *t, double *objective, double *multiple)
{
    level(t);
    double ry, scale = 1;
    const double rr = sizes(t, &ry);
    for (int64_t w = 0; w < t->k; w++) {
        const double g = t->g[w] = gradient(t, w), l1 = t->lam * t->l1[w];
        if (t->l2[w] == 0 && l1 > 0 && fabs(g) * scale > l1 &&
            !(t->low && (g > 0 ? isfinite(t->high[w]) : isfinite(t->low[w]))))
            scale = l1 / fabs(g);
    }
    *objective = 0.5 * rr + price(t), *multiple = scale;
    double gap = *objective - scale * ry + 0.5 * scale * scale * rr;
    for (int64_t w = 0; w < t->k; w++) {
        const double l2 = t->lam * t->l2[w], l1 = t->lam * t->l1[w], u = scale * t->g[w];
        if (l1 == 0 && l2 == 0 && !(t->low && isfinite(u > 0 ? t->high[w] : t->low[w]))) {
            const double much = t->low ? sqrt(rr * t->norm[w]) : fabs(u);
            gap += fabs(u) * (fabs(t->b[w]) + (t->norm[w] > 0 ? much / t->norm[w] : 0));
            continue;
        }
        const double s = fewer_soft(u, l1 * (1 + 1e-15));
        double z = s == 0 ? 0 : (l2 > 0 ? s / l2 : (s > 0 ? INFINITY : -INFINITY));
        if (t->low)
            z = z < t->low[w] ? t->low[w] : (z > t->high[w] ? t->high[w] : z);
        if (isfinite(z))
            gap += u * z - l1 * fabs(z) - 0.5 * l2 * z * z;
    }
    return gap;
}

/* One round over the listed columns; returns the decrease of the objective that it was good for. `reach` becomes the
 * largest step in units of its threshold: by about so much the residual still has to shrink to be a dual point. */
FEWER_CLONES
static double sweep(ResidualTask *t, const int64_t *list, int64_t m, double *reach)
{
    double gain = 0, most = 0;
    for (int64_t i = 0; i < m; i++) {
        const int64_t w = list[i];
        if (!(t->norm[w] > 0))
            continue;
        const double old = t->b[w], whole = t->norm[w] + t->lam * t->l2[w];
        double z = fewer_soft(gradient(t, w) + t->norm[w] * old, t->lam * t->l1[w]) / whole;
        if (t->low)
            z = z < t->low[w] ? t->low[w] : (z > t->high[w] ? t->high[w] : z);
        const double delta = z - old;
        if (delta != 0) {
            t->b[w] = z;
            move(t, w, delta);
            gain += 0.5 * whole * delta * delta;
            if (t->l2[w] == 0 && whole * fabs(delta) > most * t->lam * t->l1[w])
                most = whole * fabs(delta) / (t->lam * t->l1[w]);
        }
    }
    *reach = most;
    return gain;
}

/* Weights of the best affine mixture of the last iterates; 0 when the differences depend on each other. */
static int mixture(const double *history, int64_t m, double *c)
{
    double A[DEPTH][DEPTH + 1], most = 0;
    for (int p = 0; p < DEPTH; p++)
        for (int q = p; q < DEPTH; q++) {
            double sum = 0;
            const double *x = history + p * m, *y = history + q * m;
            for (int64_t i = 0; i < m; i++)
                sum += (x[i + m] - x[i]) * (y[i + m] - y[i]);
            A[p][q] = A[q][p] = sum;
            if (p == q && sum > most)
                most = sum;
        }
    for (int p = 0; p < DEPTH; p++)
        A[p][p] += 1e-12 * most, A[p][DEPTH] = 1;
    for (int p = 0; p < DEPTH; p++) {
        if (!(A[p][p] > 0))
            return 0;
        for (int q = p + 1; q < DEPTH; q++) {
            const double f = A[q][p] / A[p][p];
            for (int s = p; s <= DEPTH; s++)
                A[q][s] -= f * A[p][s];
        }
    }
    double total = 0;
    for (int p = DEPTH - 1; p >= 0; p--) {
        c[p] = A[p][DEPTH];
        for (int q = p + 1; q < DEPTH; q++)
            c[p] -= A[p][q] * c[q];
        c[p] /= A[p][p];
        total += c[p];
    }
    for (int p = 0; p < DEPTH; p++)
        c[p] /= total;
    return isfinite(total) && total != 0;
}

FEWER_CLONES
static void go_to(ResidualTask *t, const int64_t *list, int64_t m, const double *target)
{
    for (int64_t i = 0; i < m; i++) {
        const int64_t w = list[i];
        const double delta = target[i] - t->b[w];
        if (delta != 0) {
            t->b[w] = target[i];
            move(t, w, delta);
        }
    }
}

/* Jump to the mixture when that lowers the objective; otherwise stay. Signs that flip are sent to zero. */
static void accelerate(ResidualTask *t, const int64_t *list, int64_t m, const double *history, double *target)
{
    double c[DEPTH], ry;
    if (!mixture(history, m, c))
        return;
    for (int64_t i = 0; i < m; i++) {
        double z = 0;
        for (int p = 0; p < DEPTH; p++)
            z += c[p] * history[(p + 1) * m + i];
        if (t->low)
            z = z < t->low[list[i]] ? t->low[list[i]] : (z > t->high[list[i]] ? t->high[list[i]] : z);
        if (t->l1[list[i]] > 0 && z * t->b[list[i]] <= 0)
            z = 0;
        target[i] = z;
    }
    const double before = 0.5 * sizes(t, &ry) + price(t);
    go_to(t, list, m, target);
    if (!(0.5 * sizes(t, &ry) + price(t) < before))
        go_to(t, list, m, history + DEPTH * m);
}

/* Gap-safe sphere test: the best dual point lies within sqrt(2 gap) of the one at hand, so a column whose gradient stays
 * below its threshold all over that ball is zero in the solution, and leaves for good.  A gap is a difference of large
 * numbers: what rounding may have left of it widens the ball, and one that is not above zero says nothing. */
static void screen(ResidualTask *t, double gap, double scale, int8_t *gone)
{
    if (!(gap > 0))
        return;
    const double radius = sqrt(2 * (gap + 1e-10 * t->null));
    for (int64_t w = 0; w < t->k; w++) {
        const double l1 = t->lam * t->l1[w];
        if (gone[w] || t->l2[w] != 0 || !(scale * fabs(t->g[w]) + radius * sqrt(t->norm[w]) < l1))
            continue;
        gone[w] = 1;
        if (t->b[w] != 0) {
            move(t, w, -t->b[w]);
            t->b[w] = 0;
        }
    }
}

/* Stops at a gap of tol, once a round lowers the objective by no more than `settle` as well.  Rounds are cheap where few
 * columns move and a gap costs half of one, so it is measured when the steps have become as small as it will need. */
void fewer_residual_solve(ResidualTask *t, double tol, double settle, int64_t most, double *stats, int64_t *list,
                          double *history)
{
    double objective, scale, here = gap_of(t, &objective, &scale), gap = here, floor = objective - gap;
    double gain = scale < 1 - 1e-12 ? INFINITY : 0, reach;
    for (int64_t w = 0; w < t->k && gain == 0; w++) /* above lam_max nothing moves, but by rounding */
        gain = t->b[w] != 0 ? INFINITY : 0;
    int64_t rounds = 0, checks = 0, stuck = 0;
    int8_t *gone = (int8_t *)(list + t->k);
    memset(gone, 0, (size_t)t->k);
    while ((gap > tol || gain > settle) && rounds < most && stuck < 1000) {
        screen(t, here, scale, gone);
        int64_t m = 0;
        for (int64_t w = 0; w < t->k; w++)
            if (!gone[w] && (t->b[w] != 0 || fabs(t->g[w]) > t->lam * t->l1[w]))
                list[m++] = w;
        const double paid = price(t);
        int64_t i = 0;
        do {
            double *now = history + (i % DEPTH) * m;
            for (int64_t e = 0; e < m; e++)
                now[e] = t->b[list[e]];
            gain = sweep(t, list, m, &reach);
            i++, rounds++;
            if (i % DEPTH == 0) {
                double *last = history + DEPTH * m;
                for (int64_t e = 0; e < m; e++)
                    last[e] = t->b[list[e]];
                accelerate(t, list, m, history, last + m);
            }
        } while ((reach * paid + gain > t->pace * tol || gain > settle) && i < 2 * DEPTH && rounds < most);
        const double old = gap;
        here = gap_of(t, &objective, &scale);
        floor = objective - here > floor ? objective - here : floor; /* the best dual seen stays a bound */
        gap = objective - floor;
        checks++;
        /* What a step says about the gap differs from problem to problem, and is learnt. */
        if (here > tol && reach * paid + gain <= t->pace * tol)
            t->pace *= fmax(0.1, 0.5 * tol / here);
        else if (here < 0.5 * tol && t->pace < 1e3)
            t->pace *= 2;
        stuck = gap > 0.5 * old ? stuck + 1 : 0;
        if (gain == 0 && i == 1)
            break;
    }
    stats[0] = gap, stats[1] = (double)rounds, stats[2] = (double)checks, stats[3] = objective;
}

/* Carry the last two solutions on in a straight line, signs kept, where that lowers the objective. */
void fewer_residual_carry(ResidualTask *t, const double *before, double ratio, int64_t *list, double *history)
{
    double ry, *line = history, *back = history + t->k;
    int64_t m = 0;
    for (int64_t w = 0; w < t->k; w++)
        if (t->b[w] != 0) {
            double z = t->b[w] + ratio * (t->b[w] - before[w]);
            if (t->low)
                z = z < t->low[w] ? t->low[w] : (z > t->high[w] ? t->high[w] : z);
            line[m] = z * t->b[w] < 0 ? 0 : z;
            back[m] = t->b[w];
            list[m++] = w;
        }
    const double objective = 0.5 * sizes(t, &ry) + price(t);
    go_to(t, list, m, line);
    if (!(0.5 * sizes(t, &ry) + price(t) < objective))
        go_to(t, list, m, back);
}
