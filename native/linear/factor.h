/* A Cholesky factor U'U of the active part of a Gram matrix that follows the active set: append and remove one
 * column in quadratic time.  U is upper triangular in rows with a fixed stride, so that every loop runs along a row. */
#ifndef FEWER_LINEAR_FACTOR_H
#define FEWER_LINEAR_FACTOR_H
#include "simd.h"

typedef struct {
    int64_t size, stride;
    double *U;     /* stride x stride */
    int64_t *item; /* which column of the Gram matrix stands in each place */
    double *work;  /* 2 * stride */
} Factor;

int fewer_factor_append(Factor *f, const double *G, int64_t ldg, const double *ridge, int64_t j);
void fewer_factor_remove(Factor *f, int64_t place);
void fewer_factor_solve(const Factor *f, double *x);
#endif
