/* The quadratic subproblem on a working Gram matrix, shared by the squared loss and by proximal Newton. */
#ifndef FEWER_LINEAR_GRAM_H
#define FEWER_LINEAR_GRAM_H
#include "factor.h"

typedef struct {
    int64_t k, ldg;
    const double *G, *c;
    double yy;
    const double *l1, *l2, *low, *high; /* per unit of lam */
    double lam;
    double *b, *g;
    Factor factor;
    double *ridge, *x, *start, *pull;
    int8_t *inside; /* 1 while the column is in the factor */
} GramTask;

double fewer_gram_gap(const GramTask *t, double *objective);
void fewer_gram_solve(GramTask *t, double tol, int64_t most, double ahead, double *stats);
#endif
