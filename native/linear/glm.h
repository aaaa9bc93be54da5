/* A loss that is a sum over rows, on dense columns, at one penalty: the model, its certificate, and one solve. */
#ifndef FEWER_LINEAR_GLM_H
#define FEWER_LINEAR_GLM_H
#include "gram.h"

enum { SQUARED, LOGISTIC, POISSON, GAMMA, HUBER, QUANTILE };

typedef struct {
    int64_t n, p;
    int family, intercept;
    double one, two; /* parameters of the loss */
    const double *X, *y, *s;
    const double *l1, *l2, *low, *high;
    double lam, b0, f;
    double *b, *eta, *slope, *bend, *g; /* eta and its derivatives (weighted); g = -X' slope */
    double *trial;
} Model;

typedef struct {
    int64_t k, room;
    int64_t *column;
    double *Z;              /* room columns of n: centred, times the root of the curvature */
    double *mean, *l1, *l2, *low, *high, *c, *b, *g, *step;
    double total;
    GramTask task;
    int64_t built; /* columns of the Gram that are current */
} Working;

double fewer_glm_evaluate(const Model *m, const double *eta, double *slope, double *bend);
double fewer_glm_conjugate(const Model *m, double scale);
double fewer_glm_price(const Model *m, const double *b);
void fewer_glm_settle(Model *m);
void fewer_glm_gradients(const Model *m, const int64_t *list, int64_t count);
double fewer_glm_gap(const Model *m, const int64_t *list, int64_t count, double *scale, double *kkt);
void fewer_glm_solve(Model *m, Working *w, double *G, int8_t *inside, double guess, double tol, int64_t most, double *out);
#endif
