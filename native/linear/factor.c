#include "factor.h"

#include <math.h>

/* Add column j of G + diag(ridge); returns 0 and changes nothing when it depends on those already there. */
FEWER_CLONES
int fewer_factor_append(Factor *f, const double *G, int64_t ldg, const double *ridge, int64_t j)
{
    const int64_t m = f->size;
    const double *g = G + j * ldg;
    double *row = f->L + m * f->stride;
    for (int64_t i = 0; i < m; i++) {
        const double *other = f->L + i * f->stride;
        row[i] = (g[f->item[i]] - fewer_dot(other, row, i)) / other[i];
    }
    const double whole = g[j] + ridge[j];
    const double pivot = whole - fewer_dot(row, row, m);
    if (!(pivot > 1e-11 * whole) || !(whole > 0))
        return 0;
    row[m] = sqrt(pivot);
    f->item[m] = j;
    f->size = m + 1;
    return 1;
}

/* Drop the given row: shift the later ones up and rotate their extra diagonal away. */
FEWER_CLONES
void fewer_factor_remove(Factor *f, int64_t gone)
{
    const int64_t m = f->size - 1, s = f->stride;
    double *L = f->L;
    for (int64_t r = gone; r < m; r++) {
        for (int64_t c = 0; c <= r + 1; c++)
            L[r * s + c] = L[(r + 1) * s + c];
        f->item[r] = f->item[r + 1];
    }
    /* Row by row: apply the rotations found on the rows above, then find this row's own. Cosines and sines share
     * the work row. */
    double *cosine = f->work, *sine = f->work + s;
    for (int64_t r = gone; r < m; r++) {
        double *row = L + r * s;
        double carry = row[gone];
        for (int64_t c = gone; c < r; c++) {
            const double next = row[c + 1];
            row[c] = cosine[c] * carry + sine[c] * next;
            carry = cosine[c] * next - sine[c] * carry;
        }
        const double next = row[r + 1], length = hypot(carry, next);
        cosine[r] = length > 0 ? carry / length : 1.0;
        sine[r] = length > 0 ? next / length : 0.0;
        row[r] = length;
        row[r + 1] = 0.0;
    }
    f->size = m;
}

/* x <- (L L')^{-1} x */
FEWER_CLONES
void fewer_factor_solve(const Factor *f, double *x)
{
    const int64_t m = f->size, s = f->stride;
    const double *L = f->L;
    for (int64_t i = 0; i < m; i++)
        x[i] = (x[i] - fewer_dot(L + i * s, x, i)) / L[i * s + i];
    for (int64_t i = m - 1; i >= 0; i--) {
        x[i] /= L[i * s + i];
        fewer_axpy(-x[i], L + i * s, x, i);
    }
}
