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

/* A path on its way: the problem, its groups and their prices, and the room that Newton steps need. */
typedef struct {
    Joint *j;
    int64_t groups, most;
    const int64_t *first;               /* of the columns of a group; groups + 1 */
    const double *one, *two, *ridge;
    int caution;                        /* how short the last steps had to be cut, for losses that are straight in parts */
    double lam, goal;
    double *grad;                       /* p K: minus X' slope */
    int64_t *columns, *starts;
    double *prices, *shifts, *line, *trial, *b, *pulled;
    Quadratic quadratic;
} JointTask;

int fewer_joint_shut(const JointTask *t, int64_t g);
int fewer_joint_free(const JointTask *t, int64_t g);
/* |soft(u, cut)|_2 over a group. */
double fewer_joint_beyond(const double *u, int64_t k, double cut);
double fewer_joint_price(const JointTask *t, const double *b);
void fewer_joint_gradient(JointTask *t);
/* The gap at the present point; `scale` of the dual point and the KKT distance beside it. */
double fewer_joint_certify(JointTask *t, double *scale, double *kkt);
double fewer_joint_value(Joint *j, const double *eta, const double *c);
void fewer_joint_slopes(Joint *j);
void fewer_joint_curvature(Joint *j, const int64_t *columns, int64_t count);
double fewer_joint_conjugate(const Joint *j, double scale);
double fewer_quadratic_distance(const Quadratic *t);
void fewer_quadratic_solve(Quadratic *t, double tol);
int fewer_cholesky_solve(double *M, double *x, int64_t m);
#endif
