#include "factor.h"

#include <math.h>
#include <string.h>

/* Add column j of G + diag(ridge); returns 0 and changes nothing when it depends on those already there. */
FEWER_CLONES
int fewer_factor_append(Factor *f, const double *G, int64_t ldg, const double *ridge, int64_t j)
{
    const int64_t m = f->size, s = f->stride;
    const double *g = G + j * ldg;
    double *u = f->work, square = 0;
    if (m >= s)
        return 0;
    for (int64_t i = 0; i < m; i++)
        u[i] = g[f->item[i]];
    for (int64_t i = 0; i < m; i++) {
        const double *row = f->U + i * s;
        const double v = u[i] / row[i];
        u[i] = v;
        square += v * v;
        fewer_axpy(-v, row + i + 1, u + i + 1, m - i - 1);
    }
    const double whole = g[j] + ridge[j], pivot = whole - square;
    if (!(pivot > 1e-11 * whole) || !(whole > 0))
        return 0;
    for (int64_t i = 0; i < m; i++)
        f->U[i * s + m] = u[i];
    f->U[m * s + m] = sqrt(pivot);
    f->item[m] = j;
    f->size = m + 1;
    return 1;
}

/* Drop one column: close the gap, then rotate what is left below the diagonal away, row by row. */
FEWER_CLONES
void fewer_factor_remove(Factor *f, int64_t gone)
{
    const int64_t m = f->size - 1, s = f->stride;
    double *U = f->U, *carry = f->work;
    for (int64_t i = 0; i < gone; i++)
        memmove(U + i * s + gone, U + i * s + gone + 1, (size_t)(m - gone) * sizeof(double));
    memcpy(carry + gone, U + gone * s + gone + 1, (size_t)(m - gone) * sizeof(double));
    for (int64_t c = gone; c < m; c++) {
        const double *restrict next = U + (c + 1) * s + 1;
        double *restrict row = U + c * s, *restrict left = carry;
        const double length = hypot(left[c], next[c]);
        const double cosine = length > 0 ? left[c] / length : 1, sine = length > 0 ? next[c] / length : 0;
        for (int64_t j = c; j < m; j++) {
            const double a = left[j], b = next[j];
            row[j] = cosine * a + sine * b;
            left[j] = cosine * b - sine * a;
        }
        f->item[c] = f->item[c + 1];
    }
    f->size = m;
}

/* x <- (U'U)^{-1} x */
FEWER_CLONES
void fewer_factor_solve(const Factor *f, double *x)
{
    const int64_t m = f->size, s = f->stride;
    for (int64_t i = 0; i < m; i++) {
        const double *row = f->U + i * s;
        x[i] /= row[i];
        fewer_axpy(-x[i], row + i + 1, x + i + 1, m - i - 1);
    }
    for (int64_t i = m - 1; i >= 0; i--) {
        const double *row = f->U + i * s;
        x[i] = (x[i] - fewer_dot(row + i + 1, x + i + 1, m - i - 1)) / row[i];
    }
}
