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

/* Prices that are no sums over groups, on the first `paid` of the columns; the others are free.  Each is linear or
 * quadratic where ties, signs and order of the coefficients stay as they are. */
enum { SLOPE = 1, KSUPPORT, CHAIN };

typedef struct {
    int kind;
    int64_t paid, k;                    /* k of the k-support norm */
    double fixed, share;                /* CHAIN: the price of magnitudes is fixed + share * lam */
    const double *scales;               /* SLOPE: of the ranks, per unit of lam */
    double *size, *fit, *mean, *near, *rhs, *old, *ahead, *chain;
    int64_t *order, *count, *owner;     /* by decreasing magnitude; of a run; cluster of a column, or -1 */
} Ordered;

typedef struct JointTask JointTask;

/* What the path asks of its prices. */
typedef struct {
    int64_t (*choose)(JointTask *t, int64_t *count); /* columns to move, and the model's prices; returns coefficients */
    double (*price)(const JointTask *t, const double *b);
    double (*certify)(JointTask *t, double *scale, double *kkt);
    void (*solve)(JointTask *t, double tol); /* the quadratic model */
} Prices;

extern const Prices fewer_group_prices, fewer_ordered_prices;

/* A path on its way: the problem, its groups and their prices, and the room that Newton steps need. */
struct JointTask {
    Joint *j;
    const Prices *prices;
    Ordered ordered;
    int64_t groups, most;
    const int64_t *first;               /* of the columns of a group; groups + 1 */
    const double *one, *two, *ridge;
    int caution;                        /* how short the last steps had to be cut, for losses that are straight in parts */
    int built;                          /* the curvature of all columns is there, and never changes */
    double lam, goal, near;             /* the gap and the KKT distance to reach */
    double *grad;                       /* p K: minus X' slope */
    int64_t *columns, *starts;
    double *priced, *shifts, *line, *trial, *b, *pulled;
    Quadratic quadratic;
};

int fewer_joint_shut(const JointTask *t, int64_t g);
int fewer_joint_free(const JointTask *t, int64_t g);
/* |soft(u, cut)|_2 over a group. */
double fewer_joint_beyond(const double *u, int64_t k, double cut);
void fewer_joint_gradient(JointTask *t);
/* What columns without a price may still gain, and more: it counts as gap. */
double fewer_joint_slack(const JointTask *t, int64_t column, int64_t k);
double fewer_joint_value(Joint *j, const double *eta, const double *c);
void fewer_joint_slopes(Joint *j);
void fewer_joint_curvature(Joint *j, const int64_t *columns, int64_t count);
void fewer_joint_straighten(Joint *j, int caution);
double fewer_joint_conjugate(const Joint *j, double scale);
double fewer_ordered_value(Ordered *o, const double *z, double lam);
/* z = argmin |z - v|^2 / (2 step) + price(z) on the first `paid` columns, v itself on the others. */
void fewer_ordered_prox(Ordered *o, const double *v, double lam, double step, double *z);
/* Distance of g, minus the gradient of the loss, to the subdifferential at z. */
double fewer_ordered_distance(Ordered *o, const double *z, const double *g, double lam, int64_t columns);
/* The least strength at which g has no pull on zeros (SLOPE). */
double fewer_ordered_dual_norm(Ordered *o, const double *g);
/* Sort by decreasing magnitude; returns how many are not zero. */
int64_t fewer_ordered_sort(Ordered *o, const double *z);
/* Over the m sorted magnitudes of a k-support norm: those that stand above the level which the others share. */
int64_t fewer_ordered_top(const Ordered *o, int64_t m, double *level);
double fewer_quadratic_distance(const Quadratic *t);
void fewer_quadratic_solve(Quadratic *t, double tol);
int fewer_cholesky_solve(double *M, double *x, int64_t m);
/* The next `count` numbers of a workspace. */
static inline double *take(double **next, int64_t count)
{
    double *at = *next;
    *next += count;
    return at;
}

#endif
