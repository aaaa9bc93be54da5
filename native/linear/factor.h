/* A Cholesky factor of the active part of a Gram matrix that follows the active set: append and remove one column
 * in quadratic time.  Rows of the lower triangle are contiguous with a fixed stride. */
#ifndef FEWER_LINEAR_FACTOR_H
#define FEWER_LINEAR_FACTOR_H
#include "simd.h"

typedef struct {
    int64_t size, stride;
    double *L;      /* stride x stride, lower triangle in rows */
    int64_t *item;  /* which column of the Gram matrix stands in each row */
    double *work;   /* one row */
} Factor;

int fewer_factor_append(Factor *f, const double *G, int64_t ldg, const double *ridge, int64_t j);
void fewer_factor_remove(Factor *f, int64_t row);
void fewer_factor_solve(const Factor *f, double *x);
#endif
