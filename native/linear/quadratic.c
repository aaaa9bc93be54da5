/* The quadratic subproblem with prices on groups: rounds of descent over the groups, then Newton on what is not zero. */
#include "joint.h"

#include <math.h>
#include <string.h>

/* x <- M^{-1} x; M is overwritten.  A pivot that is rounding is raised: flat directions are followed a long way. */
int fewer_cholesky_solve(double *M, double *x, int64_t m)
{
    for (int64_t i = 0; i < m; i++) {
        const double whole = M[i * m + i];
        double pivot = whole - (i ? fewer_dot(M + i * m, M + i * m, i) : 0);
        if (!isfinite(pivot))
            return 0;
        if (!(pivot > 1e-10 * whole))
            pivot = whole > 0 ? 1e-10 * whole : 1;
        const double root = M[i * m + i] = sqrt(pivot);
        for (int64_t r = i + 1; r < m; r++)
            M[r * m + i] = (M[r * m + i] - fewer_dot(M + r * m, M + i * m, i)) / root;
    }
    for (int64_t i = 0; i < m; i++)
        x[i] = (x[i] - fewer_dot(M + i * m, x, i)) / M[i * m + i];
    for (int64_t i = m - 1; i >= 0; i--) {
        x[i] /= M[i * m + i];
        fewer_axpy(-x[i], M + i * m, x, i);
    }
    return 1;
}

static double norm_of(const double *v, int64_t k)
{
    return sqrt(fewer_dot(v, v, k));
}

/* Largest distance of g to the subdifferential of the price, over groups. */
double fewer_quadratic_distance(const Quadratic *t)
{
    double worst = 0;
    for (int64_t e = 0; e < t->groups; e++) {
        const double size = norm_of(t->z + t->start[e], t->start[e + 1] - t->start[e]), one = t->one[e];
        const double inverse = size > 0 ? t->two[e] / size + t->ridge[e] : 0;
        double sum = 0;
        for (int64_t i = t->start[e]; i < t->start[e + 1]; i++) {
            const double z = t->z[i], u = t->g[i] - inverse * z;
            const double off = z != 0 ? u - (z > 0 ? one : -one) : fewer_soft(u, one);
            sum += off * off;
        }
        const double off = size > 0 ? sqrt(sum) : sqrt(sum) - t->two[e];
        worst = off > worst ? off : worst;
    }
    return worst;
}

static void shift(Quadratic *t, int64_t i, double z)
{
    const double delta = z - t->z[i];
    if (delta == 0)
        return;
    t->z[i] = z;
    fewer_axpy(-delta, t->H + i * t->m, t->g, t->m);
}

/* One group with a norm: a few steps of its own length, from a quadratic that lies above. */
static void descend(Quadratic *t, int64_t e)
{
    const int64_t first = t->start[e], last = t->start[e + 1];
    double level = 0;
    for (int64_t i = first; i < last; i++) {
        double sum = 0;
        for (int64_t k = first; k < last; k++)
            sum += fabs(t->H[i * t->m + k]);
        level = sum > level ? sum : level;
    }
    for (int round = 0; round < 3 && level > 0; round++) {
        double square = 0;
        for (int64_t i = first; i < last; i++) {
            t->d[i] = fewer_soft(t->z[i] + t->g[i] / level, t->one[e] / level);
            square += t->d[i] * t->d[i];
        }
        const double keep = sqrt(square) * level > t->two[e] ? 1 - t->two[e] / (level * sqrt(square)) : 0;
        for (int64_t i = first; i < last; i++)
            shift(t, i, keep * t->d[i] / (1 + t->ridge[e] / level));
        if (keep == 0)
            break;
    }
}

FEWER_CLONES
static void sweep(Quadratic *t)
{
    for (int64_t e = 0; e < t->groups; e++)
        if (t->two[e] > 0)
            descend(t, e);
        else
            for (int64_t i = t->start[e]; i < t->start[e + 1]; i++) {
                const double h = t->H[i * t->m + i];
                if (h > 0 && (t->z[i] != 0 || fabs(t->g[i]) > t->one[e]))
                    shift(t, i, fewer_soft(t->g[i] + h * t->z[i], t->one[e]) / (h + t->ridge[e]));
            }
}

/* Newton on the coefficients that are not zero, where the price is smooth; each step is cut where one would change its
 * sign, and halved until the objective falls. */
static void polish(Quadratic *t, double tol)
{
    for (int round = 0; round < 30; round++) {
        int64_t k = 0;
        double worst = 0;
        for (int64_t e = 0; e < t->groups; e++) {
            const int64_t first = t->start[e], last = t->start[e + 1];
            const double size = norm_of(t->z + first, last - first);
            if (size == 0)
                continue;
            for (int64_t i = first; i < last; i++)
                if (t->z[i] != 0 || t->one[e] == 0) {
                    const double sign = t->z[i] > 0 ? t->one[e] : (t->z[i] < 0 ? -t->one[e] : 0);
                    t->d[k] = t->g[i] - sign - (t->two[e] / size + t->ridge[e]) * t->z[i];
                    worst = fabs(t->d[k]) > worst ? fabs(t->d[k]) : worst;
                    t->step[k] = t->d[k], t->active[k++] = i;
                }
        }
        if (k == 0 || worst <= tol)
            return;
        for (int64_t a = 0, e = 0; a < k; a++) {
            const int64_t i = t->active[a];
            while (i >= t->start[e + 1])
                e++;
            const double size = norm_of(t->z + t->start[e], t->start[e + 1] - t->start[e]);
            const double inverse = t->two[e] / size, cube = inverse / (size * size);
            for (int64_t r = 0; r <= a; r++) {
                const int64_t j = t->active[r];
                t->M[a * k + r] = t->H[i * t->m + j] - (j >= t->start[e] ? cube * t->z[i] * t->z[j] : 0);
            }
            t->M[a * k + a] += inverse + t->ridge[e];
        }
        if (!fewer_cholesky_solve(t->M, t->step, k))
            return;
        double cut = 1, fall = 0, bend = 0;
        int64_t gone = -1;
        for (int64_t a = 0, e = 0; a < k; a++) {
            const int64_t i = t->active[a];
            while (i >= t->start[e + 1])
                e++;
            if (t->one[e] > 0 && t->z[i] * (t->z[i] + cut * t->step[a]) < 0)
                cut = -t->z[i] / t->step[a], gone = a;
            fall += t->d[a] * t->step[a];
        }
        for (int64_t a = 0; a < k; a++)
            for (int64_t r = 0; r < k; r++)
                bend += t->step[a] * t->step[r] * t->H[t->active[a] * t->m + t->active[r]];
        if (!(fall > 0))
            return;
        /* The objective along the step: signs stay, so only the norms are not quadratic. */
        double take = cut;
        int half = 0;
        for (; half < 40; half++, take *= 0.5) {
            double change = 0.5 * take * take * bend;
            for (int64_t a = 0, e = 0; a < k;) {
                while (t->active[a] >= t->start[e + 1])
                    e++;
                double pull = 0, square = 0, turn = 0, length = 0;
                for (; a < k && t->active[a] < t->start[e + 1]; a++) {
                    const double z = t->z[t->active[a]], s = t->step[a];
                    pull += s * (t->d[a]), square += z * z, turn += z * s, length += s * s;
                }
                const double size = sqrt(square), after = sqrt(fmax(square + 2 * take * turn + take * take * length, 0));
                change += -take * pull + 0.5 * t->ridge[e] * take * take * length;
                change += t->two[e] > 0 ? t->two[e] * (after - size - take * turn / size) : 0;
            }
            if (change <= -1e-4 * take * fall)
                break;
        }
        if (half == 40)
            return;
        for (int64_t a = 0; a < k; a++)
            shift(t, t->active[a], a == gone && half == 0 ? 0 : t->z[t->active[a]] + take * t->step[a]);
    }
}

void fewer_quadratic_solve(Quadratic *t, double tol)
{
    double best = INFINITY;
    for (int round = 0, stuck = 0; round < 500 && stuck < 40; round++) {
        sweep(t);
        double off = fewer_quadratic_distance(t);
        if (off <= tol)
            return;
        polish(t, 0.1 * tol);
        off = fewer_quadratic_distance(t);
        if (off <= tol)
            return;
        stuck = off < 0.5 * best ? 0 : stuck + 1;
        best = off < best ? off : best;
    }
}
