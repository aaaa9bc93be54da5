/* Losses of several parameters, or prices on groups of columns, where all columns fit in the cache: the joint problem.
 *
 *   minimise over b, c   sum_i s_i loss(y_i, X b, c)  +  lam sum_g (one_g |b_g|_1 + two_g |b_g|_2 + ridge_g |b_g|_2^2 / 2)
 *
 * Coefficients stand column by column, the K of a column next to each other; c are constants or cut points. */
#ifndef FEWER_LINEAR_JOINT_H
#define FEWER_LINEAR_JOINT_H
#include "glm.h"

enum { MULTINOMIAL = 6, ORDINAL, COX };

/* Rows in decreasing order of time: what the risk sets are, whatever the coefficients. */
typedef struct {
    int64_t sizes, terms;                  /* distinct times; terms of the likelihood */
    const int64_t *group, *tail, *owner;   /* of a row; last row of a time; time of a term */
    const double *event, *share, *each;
} Risk;

typedef struct {
    Model row; /* rows, columns, weights; eta, slope and bend are (K x n) */
    int64_t K, q;
    int family, moving;
    double floor, f;
    const Risk *risk;
    double *b, *c, *cgrad;              /* coefficients (p K), constants (q) and the gradient there */
    double *chance, *sums;              /* (K x n) probabilities or risks; (terms x columns) means of risk sets */
    double *H, *cross, *own;            /* curvature (m x m), (q x m), (q x q) */
} Joint;

/* A quadratic with prices: minimise z'Hz/2 - c'z + price(z), g = c - Hz; groups are contiguous. */
typedef struct {
    int64_t m, groups;
    double *H, *z, *g;
    const int64_t *start;               /* groups + 1 */
    const double *one, *two, *ridge;    /* times lam already */
    double *M, *d, *step;
    int64_t *active;
} Quadratic;

double fewer_joint_value(Joint *j, const double *eta, const double *c);
void fewer_joint_slopes(Joint *j);
void fewer_joint_curvature(Joint *j, const int64_t *columns, int64_t count);
double fewer_joint_conjugate(const Joint *j, double scale);
double fewer_quadratic_distance(const Quadratic *t);
void fewer_quadratic_solve(Quadratic *t, double tol);
int fewer_cholesky_solve(double *M, double *x, int64_t m);
#endif
