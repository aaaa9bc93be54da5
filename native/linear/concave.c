/* Coordinate descent on a quadratic with a concave price: every coordinate goes to its own global minimum, and Newton on
 * the coefficients in use follows once rounds have become slow.  The objective never rises. */
#include "concave.h"

#include <math.h>

double fewer_concave_price(const Concave *s, double lam, double b)
{
    const double a = fabs(b), c = s->gamma;
    if (a == 0 || lam == 0)
        return 0;
    switch (s->kind) {
    case MCP:
        return a <= c * lam ? lam * a - a * a / (2 * c) : 0.5 * c * lam * lam;
    case SCAD:
        if (a <= lam)
            return lam * a;
        return a <= c * lam ? (2 * c * lam * a - a * a - lam * lam) / (2 * (c - 1)) : 0.5 * (c + 1) * lam * lam;
    case LOG_SUM:
        return lam * log1p(a / c);
    case ROOT:
        return lam * sqrt(a);
    case COUNT:
        return lam;
    default:
        return lam * a;
    }
}

double fewer_concave_corner(const Concave *s, double lam)
{
    if (s->kind == ROOT || s->kind == COUNT)
        return lam > 0 ? INFINITY : 0;
    return s->kind == LOG_SUM ? lam / s->gamma : lam;
}

double fewer_concave_slope(const Concave *s, double lam, double a)
{
    const double c = s->gamma;
    if (lam == 0)
        return 0;
    switch (s->kind) {
    case MCP:
        return a < c * lam ? lam - a / c : 0;
    case SCAD:
        return a <= lam ? lam : (a < c * lam ? (c * lam - a) / (c - 1) : 0);
    case LOG_SUM:
        return lam / (a + c);
    case ROOT:
        return 0.5 * lam / sqrt(a);
    case COUNT:
        return 0;
    default:
        return lam;
    }
}

/* Second derivative of the price at a > 0. */
static double bend_of(const Concave *s, double lam, double a)
{
    const double c = s->gamma;
    if (lam == 0)
        return 0;
    switch (s->kind) {
    case MCP:
        return a < c * lam ? -1 / c : 0;
    case SCAD:
        return a > lam && a < c * lam ? -1 / (c - 1) : 0;
    case LOG_SUM:
        return -lam / ((a + c) * (a + c));
    case ROOT:
        return -0.25 * lam / (a * sqrt(a));
    default:
        return 0;
    }
}

static double cheaper(const Concave *s, double lam, double h, double u, int near, double one, double other)
{
    if (near)
        return other;
    const double first = 0.5 * h * one * one - u * one + fewer_concave_price(s, lam, one);
    const double second = 0.5 * h * other * other - u * other + fewer_concave_price(s, lam, other);
    return second < first ? other : one;
}

/* For u >= 0.  Where h outweighs the concavity each piece has one stationary point, and they join; otherwise the
 * middle piece has none that is a minimum, and the ends are compared. */
static double least(const Concave *s, double lam, double h, double u, int near)
{
    const double c = s->gamma, whole = u / h;
    if (lam == 0)
        return whole;
    switch (s->kind) {
    case MCP:
        if (h * c > 1) {
            if (u <= lam)
                return 0;
            const double z = (u - lam) / (h - 1 / c);
            return whole > c * lam ? whole : (z < c * lam ? z : c * lam);
        }
        return whole > c * lam ? cheaper(s, lam, h, u, near, 0, whole) : 0;
    case SCAD: {
        double low = u > lam ? (u - lam) / h : 0;
        if (h * (c - 1) > 1) {
            if (low <= lam)
                return low;
            const double z = ((c - 1) * u - c * lam) / (h * (c - 1) - 1);
            return whole > c * lam ? whole : (z < c * lam ? (z > lam ? z : lam) : c * lam);
        }
        low = low < lam ? low : lam;
        return whole > c * lam ? cheaper(s, lam, h, u, near, low, whole) : low;
    }
    case LOG_SUM: {
        const double square = (whole + c) * (whole + c) - 4 * lam / h;
        const double z = square > 0 ? 0.5 * (whole - c + sqrt(square)) : 0;
        return z > 0 ? cheaper(s, lam, h, u, near, 0, z) : 0;
    }
    case ROOT: {
        if (whole == 0)
            return 0;
        const double third = whole / 3, cosine = 0.25 * lam / (h * third * sqrt(third));
        if (!(cosine < 1))
            return 0;
        return cheaper(s, lam, h, u, near, 0, 2 * third * (1 + cos(2 * (3.14159265358979323846 - acos(cosine)) / 3)));
    }
    case COUNT:
        return cheaper(s, lam, h, u, near, 0, whole);
    default:
        return u > lam ? (u - lam) / h : 0;
    }
}

double fewer_concave_least(const Concave *s, double lam, double h, double u, int near)
{
    return u < 0 ? -least(s, lam, h, -u, near) : least(s, lam, h, u, near);
}

double fewer_concave_distance(const Concave *s, double lam, double b, double g)
{
    if (b == 0) {
        const double off = fabs(g) - fewer_concave_corner(s, lam);
        return off > 0 ? off : 0;
    }
    const double slope = fewer_concave_slope(s, lam, fabs(b));
    return fabs(g - (b > 0 ? slope : -slope));
}

static void shift(ConcaveQuadratic *t, int64_t i, double z)
{
    const double delta = z - t->z[i];
    t->z[i] = z;
    fewer_axpy(-delta, t->H + i * t->ld, t->g, t->m);
}

/* One round; returns the largest change of a gradient entry by its own coordinate. */
FEWER_CLONES
static double sweep(ConcaveQuadratic *t)
{
    double most = 0;
    for (int64_t i = 0; i < t->m; i++) {
        const double h = t->H[i * t->ld + i];
        if (!(h > 0))
            continue;
        const double u = t->g[i] + h * t->z[i];
        double z = fewer_concave_least(&t->shape, t->lam[i], h, u, 0);
        if (t->near && t->z[i] != 0 && z == 0) {
            z = fewer_concave_least(&t->shape, t->lam[i], h, u, 1);
            t->held |= z != 0;
        }
        const double moved = h * fabs(z - t->z[i]);
        if (moved == 0)
            continue;
        most = moved > most ? moved : most;
        shift(t, i, z);
    }
    return most;
}

static double distance(const ConcaveQuadratic *t)
{
    double worst = 0;
    for (int64_t i = 0; i < t->m; i++) {
        const double off =
            t->H[i * t->ld + i] > 0 ? fewer_concave_distance(&t->shape, t->lam[i], t->z[i], t->g[i]) : 0;
        worst = off > worst ? off : worst;
    }
    return worst;
}

static int64_t in_use(const ConcaveQuadratic *t)
{
    int64_t k = 0;
    for (int64_t i = 0; i < t->m; i++)
        k += t->z[i] != 0;
    return k;
}

/* A Newton step on the coefficients in use, on the pieces where they lie; kept where it lowers the objective. */
FEWER_CLONES
void fewer_concave_polish(ConcaveQuadratic *t)
{
    int64_t k = 0;
    for (int64_t i = 0; i < t->m; i++)
        if (t->z[i] != 0) {
            const double slope = fewer_concave_slope(&t->shape, t->lam[i], fabs(t->z[i]));
            t->step[k] = t->d[k] = t->g[i] - (t->z[i] > 0 ? slope : -slope);
            t->active[k++] = i;
        }
    for (int64_t a = 0; a < k; a++) {
        const int64_t i = t->active[a];
        for (int64_t e = 0; e <= a; e++)
            t->M[a * k + e] = t->H[i * t->ld + t->active[e]];
        t->M[a * k + a] += bend_of(&t->shape, t->lam[i], fabs(t->z[i]));
    }
    if (k == 0 || !fewer_cholesky_solve(t->M, t->step, k))
        return;
    double pull = 0, bend = 0;
    for (int64_t a = 0; a < k; a++) {
        double sum = 0;
        for (int64_t e = 0; e < k; e++)
            sum += t->H[t->active[a] * t->ld + t->active[e]] * t->step[e];
        pull += t->g[t->active[a]] * t->step[a], bend += sum * t->step[a];
    }
    double take = 1;
    for (int half = 0; half < 4; half++, take *= 0.5) {
        double change = take * (0.5 * take * bend - pull);
        for (int64_t a = 0; a < k; a++) {
            const double lam = t->lam[t->active[a]], z = t->z[t->active[a]];
            change += fewer_concave_price(&t->shape, lam, z + take * t->step[a]) - fewer_concave_price(&t->shape, lam, z);
        }
        if (change < 0) {
            for (int64_t a = 0; a < k; a++)
                shift(t, t->active[a], t->z[t->active[a]] + take * t->step[a]);
            return;
        }
    }
}

/* Rounds until no coordinate moves and none is out of place by more than the goal; returns their number. */
int64_t fewer_concave_solve(ConcaveQuadratic *t, double goal, int64_t most)
{
    double since = 0;
    for (int64_t round = 1; round <= most; round++) {
        const double moved = sweep(t);
        if (moved == 0 || (moved <= goal && distance(t) <= goal))
            return round;
        const double k = (double)in_use(t); /* a factor costs so many rounds */
        if (++since > 3 + k * k / (3 * (double)t->m)) {
            fewer_concave_polish(t);
            since = 0;
        }
    }
    return most;
}
