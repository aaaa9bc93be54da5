/* Coordinate descent on the residual: the columns may be dense or compressed sparse. */
#ifndef FEWER_LINEAR_RESIDUAL_H
#define FEWER_LINEAR_RESIDUAL_H
#include "simd.h"

#define FEWER_RESIDUAL_DEPTH 5                            /* rounds between two accelerations */
#define FEWER_RESIDUAL_HISTORY (FEWER_RESIDUAL_DEPTH + 2) /* vectors of k that the caller lends */

typedef struct {
    int64_t n, k;
    const double *X;               /* dense columns of n, or NULL for the compressed ones that follow */
    const double *data, *weighted; /* weighted: each entry times its row's weight (the same array when uniform) */
    const int32_t *row;
    const int64_t *start;
    const int64_t *column; /* the k working columns */
    double unit;           /* multiplies `weighted` */
    const double *weight;  /* per row, or NULL for `unit`; always NULL for dense columns */
    const double *mean, *mass, *norm; /* per working column: mean, sum of weighted entries, squared norm (centred) */
    const double *l1, *l2, *low, *high, *y;
    double lam, shift, null; /* null: the objective at zero */
    double pace;             /* multiple of the tolerance at which a step is short enough to look at the gap */
    double *b, *r, *g;
} ResidualTask;

void fewer_residual_solve(ResidualTask *t, double tol, double settle, int64_t most, double *stats, int64_t *list,
                          double *history);
void fewer_residual_carry(ResidualTask *t, const double *before, double ratio, int64_t *list, double *history);
#endif
