/* Prices that depend on the order of the coefficients, by magnitude or along a chain: value, prox, distance. */
#include "joint.h"

#include <math.h>
#include <string.h>

/* Sort by decreasing magnitude, from the order of the last time; returns how many are not zero. */
int64_t fewer_ordered_sort(Ordered *o, const double *z)
{
    int64_t on = 0;
    for (int64_t i = 0; i < o->paid; i++) {
        const int64_t j = o->order[i];
        const double a = fabs(z[j]);
        int64_t at = i;
        for (; at > 0 && o->size[at - 1] < a; at--)
            o->size[at] = o->size[at - 1], o->order[at] = o->order[at - 1];
        o->size[at] = a, o->order[at] = j;
        on += a > 0;
    }
    return on;
}

/* The non-increasing sequence closest to v, in its place: neighbours that rise are pooled. */
static void decreasing(const Ordered *o, double *v, int64_t k)
{
    int64_t runs = 0, i = 0;
    for (int64_t a = 0; a < k; a++) {
        double mean = v[a];
        int64_t count = 1;
        for (; runs > 0 && o->mean[runs - 1] < mean; count += o->count[--runs])
            mean = (mean * (double)count + o->mean[runs - 1] * (double)o->count[runs - 1]) / (double)(count + o->count[runs - 1]);
        o->mean[runs] = mean, o->count[runs++] = count;
    }
    for (int64_t r = 0; r < runs; r++)
        for (int64_t e = 0; e < o->count[r]; e++)
            v[i++] = o->mean[r];
}

/* The least t at which sum_j clip(|w_j| t - shift, 0, 1) reaches k, over the m sorted magnitudes; infinite for fewer. */
static double reach(const Ordered *o, int64_t m, double shift)
{
    double t = 0, height = 0, slope = 0;
    if (m < o->k)
        return INFINITY;
    for (int64_t in = 0, full = 0; full < m;) {
        const double enter = in < m ? shift / o->size[in] : INFINITY, leave = (1 + shift) / o->size[full];
        const double next = enter <= leave ? enter : leave, then = height + slope * (next - t);
        if (then >= (double)o->k * (1 - 1e-12))
            return slope > 0 ? fmin(next, t + ((double)o->k - height) / slope) : next;
        t = next, height = then;
        if (enter <= leave)
            slope += o->size[in++];
        else
            slope -= o->size[full++];
    }
    return t;
}

int64_t fewer_ordered_top(const Ordered *o, int64_t m, double *level)
{
    const double t = reach(o, m, 0);
    int64_t top = 0;
    *level = 0;
    if (m < o->k)
        return m;
    while (top < o->k - 1 && o->size[top] * t > 1)
        top++;
    for (int64_t i = top; i < m; i++)
        *level += o->size[i] / (double)(o->k - top);
    return top;
}

/* argmin |z - v|^2 / 2 + lam sum |z_{i+1} - z_i|.  The derivative of the best cost so far is piecewise linear: it is
 * clipped to [-lam, lam] from both ends at every link, and the way back clips to where that was. */
static void denoise(const Ordered *o, const double *v, int64_t n, double lam, double *z)
{
    double *low = o->chain, *high = low + n, *x = high + n, *a = x + 2 * n, *b = a + 2 * n;
    if (n < 2 || !(lam > 0)) {
        for (int64_t i = 0; i < n; i++)
            z[i] = v[i];
        return;
    }
    int64_t left = n - 1, right = n;
    double start = 1, start_b = -lam - v[1], end = -1, end_b = -lam + v[1];
    low[0] = x[left] = v[0] - lam, high[0] = x[right] = v[0] + lam;
    a[left] = 1, b[left] = lam - v[0], a[right] = -1, b[right] = lam + v[0];
    for (int64_t k = 1; k < n - 1; k++) {
        int64_t i = left, r = right;
        double up = start, up_b = start_b, down = end, down_b = end_b;
        for (; i <= right && up * x[i] + up_b <= -lam; i++)
            up += a[i], up_b += b[i];
        for (; r >= i && -down * x[r] - down_b >= lam; r--)
            down += a[r], down_b += b[r];
        low[k] = (-lam - up_b) / up, left = i - 1;
        high[k] = (lam + down_b) / -down, right = r + 1;
        x[left] = low[k], a[left] = up, b[left] = up_b + lam;
        x[right] = high[k], a[right] = down, b[right] = down_b + lam;
        start = 1, start_b = -lam - v[k + 1], end = -1, end_b = -lam + v[k + 1];
    }
    for (int64_t i = left; i <= right && start * x[i] + start_b <= 0; i++)
        start += a[i], start_b += b[i];
    z[n - 1] = -start_b / start;
    for (int64_t k = n - 2; k >= 0; k--)
        z[k] = z[k + 1] < low[k] ? low[k] : (z[k + 1] > high[k] ? high[k] : z[k + 1]);
}

double fewer_ordered_value(Ordered *o, const double *z, double lam)
{
    double sum = 0, level;
    if (o->kind == CHAIN) {
        for (int64_t i = 0; i < o->paid; i++)
            sum += (o->fixed + o->share * lam) * fabs(z[i]) + (i ? lam * fabs(z[i] - z[i - 1]) : 0);
        return sum;
    }
    const int64_t m = fewer_ordered_sort(o, z);
    if (o->kind == SLOPE)
        return lam * fewer_dot(o->scales, o->size, m);
    const int64_t top = fewer_ordered_top(o, m, &level);
    sum = m > top ? (double)(o->k - top) * level * level : 0;
    return 0.5 * lam * (sum + fewer_dot(o->size, o->size, top));
}

void fewer_ordered_prox(Ordered *o, const double *v, double lam, double step, double *z)
{
    const double cut = lam * step;
    if (o->kind == CHAIN) {
        denoise(o, v, o->paid, cut, z);
        for (int64_t i = 0; i < o->paid; i++)
            z[i] = fewer_soft(z[i], step * (o->fixed + o->share * lam));
        return;
    }
    const int64_t m = fewer_ordered_sort(o, v);
    if (o->kind == SLOPE) {
        for (int64_t i = 0; i < o->paid; i++)
            o->fit[i] = o->size[i] - cut * o->scales[i];
        decreasing(o, o->fit, o->paid);
    } else {
        const double t = cut > 0 ? reach(o, m, cut) : INFINITY;
        for (int64_t i = 0; i < o->paid; i++) {
            const double theta = isfinite(t) ? fmin(fmax(o->size[i] * t - cut, 0), 1) : 1;
            o->fit[i] = o->size[i] * theta / (theta + cut);
        }
    }
    for (int64_t i = 0; i < o->paid; i++)
        z[o->order[i]] = o->fit[i] > 0 ? copysign(o->fit[i], v[o->order[i]]) : 0;
}

/* Largest first. */
static void sort(double *v, int64_t k)
{
    for (int64_t i = 1; i < k; i++) {
        const double now = v[i];
        int64_t at = i;
        for (; at > 0 && v[at - 1] < now; at--)
            v[at] = v[at - 1];
        v[at] = now;
    }
}

/* SLOPE: a run of equal magnitudes is held together by the mean of its prices; what pulls it apart is left. */
static double pulled_apart(Ordered *o, const double *z, const double *g, double lam)
{
    double sum = 0;
    fewer_ordered_sort(o, z);
    for (int64_t first = 0, last; first < o->paid; first = last) {
        last = first;
        do {
            const int64_t j = o->order[last];
            o->fit[last++] = z[j] == 0 ? fabs(g[j]) : (z[j] > 0 ? g[j] : -g[j]);
        } while (last < o->paid && o->size[last] == o->size[first]);
        sort(o->fit + first, last - first);
        for (int64_t i = first; i < last; i++)
            o->fit[i] -= lam * o->scales[i];
        decreasing(o, o->fit + first, last - first);
        for (int64_t i = first; i < last; i++)
            sum += o->size[first] > 0 || o->fit[i] > 0 ? o->fit[i] * o->fit[i] : 0;
    }
    return sqrt(sum);
}

/* CHAIN: on each flat stretch, what denoising leaves of the pull. */
static double unlinked(Ordered *o, const double *z, const double *g, double lam)
{
    const double price = o->fixed + o->share * lam;
    double sum = 0;
    for (int64_t first = 0, last; first < o->paid; first = last) {
        const double sign = (double)((z[first] > 0) - (z[first] < 0));
        last = first;
        do
            o->fit[last] = g[last] - price * sign;
        while (++last < o->paid && z[last] == z[first]);
        if (first > 0)
            o->fit[first] -= z[first] > z[first - 1] ? lam : -lam;
        if (last < o->paid)
            o->fit[last - 1] += z[last] > z[first] ? lam : -lam;
        denoise(o, o->fit + first, last - first, lam, o->mean + first);
        for (int64_t i = first; i < last; i++) {
            const double left = sign == 0 ? fewer_soft(o->mean[i], price) : o->mean[i];
            sum += left * left;
        }
    }
    return sqrt(sum);
}

/* What is no number stays so. */
static double larger(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

double fewer_ordered_distance(Ordered *o, const double *z, const double *g, double lam, int64_t columns)
{
    double worst = 0, level;
    if (o->kind == SLOPE)
        worst = pulled_apart(o, z, g, lam);
    else if (o->kind == CHAIN)
        worst = unlinked(o, z, g, lam);
    else {
        fewer_ordered_top(o, fewer_ordered_sort(o, z), &level);
        for (int64_t i = 0; i < o->paid; i++) {
            const double pull = z[i] < 0 ? -g[i] : g[i], a = fabs(z[i]);
            worst = larger(worst, a > 0 ? fabs(pull - lam * (a > level ? a : level)) : fabs(pull) - lam * level);
        }
    }
    for (int64_t i = o->paid; i < columns; i++)
        worst = larger(worst, fabs(g[i]));
    return worst;
}

double fewer_ordered_dual_norm(Ordered *o, const double *g)
{
    double pull = 0, price = 0, top = 0;
    fewer_ordered_sort(o, g);
    for (int64_t i = 0; i < o->paid; i++) {
        pull += o->size[i], price += o->scales[i];
        top = price > 0 ? fmax(top, pull / price) : (pull > 0 ? INFINITY : 0);
    }
    return top;
}
