/* Penalties that are concave in the size of each coefficient, and quadratics with such a price.
 *
 *   MCP       lam a - a^2 / (2 gamma) up to a = gamma lam, constant beyond
 *   SCAD      lam a up to lam, a bend up to gamma lam, constant beyond
 *   LOG_SUM   lam log(1 + a / gamma)
 *   ROOT      lam sqrt(a)
 *   COUNT     lam where a > 0
 *   LASSO     lam a
 *
 * with a = |b_j| and a lam of its own for each coefficient: 0 leaves it free. */
#ifndef FEWER_LINEAR_CONCAVE_H
#define FEWER_LINEAR_CONCAVE_H
#include "joint.h"

enum { LASSO, MCP, SCAD, LOG_SUM, ROOT, COUNT };

typedef struct {
    int kind;
    double gamma;
} Concave;

double fewer_concave_price(const Concave *s, double lam, double b);
/* The derivative of the price at a > 0, and its limit at 0: what a gradient must exceed to move a zero. */
double fewer_concave_slope(const Concave *s, double lam, double a);
double fewer_concave_corner(const Concave *s, double lam);
/* The least h z^2 / 2 - u z + price(z), over all z; `near` prefers a minimum that is not zero where there is one. */
double fewer_concave_least(const Concave *s, double lam, double h, double u, int near);
/* Distance of the gradient g (minus that of the loss) to the slopes of the price at b. */
double fewer_concave_distance(const Concave *s, double lam, double b, double g);

/* Minimise z'Hz/2 - c'z + price(z); g = c - Hz. */
typedef struct {
    Concave shape;
    int near, held; /* coefficients in use stay there, though zero be cheaper for one alone; whether that was so */
    int64_t m, ld;
    const double *H, *lam;
    double *z, *g;
    double *M, *d, *step;
    int64_t *active;
} ConcaveQuadratic;

void fewer_concave_polish(ConcaveQuadratic *t);
int64_t fewer_concave_solve(ConcaveQuadratic *t, double goal, int64_t most);

/* A problem with a concave price, where it stands, and room. */
typedef struct {
    ConcaveQuadratic quadratic;
    Concave shape;
    int64_t p, q, n;
    const double *factor;        /* lam of a coefficient per unit of lam; 0 is free */
    double lam, goal, rounding;  /* differences of the objective below `rounding` say nothing */
    int64_t most;
    const double *moment;        /* Gram mode: X'y */
    double square;
    Joint *j;                    /* or a loss */
    double *b, *c, *prices, *grad, *trial, *line, *shifted, *moved, *pulled;
    int64_t *columns;
    double constant;             /* on trial */
    double off, value, price;    /* where the last descent ended */
    int64_t rounds;
} ConcaveTask;

/* From b (and c) to a stationary point; off, value and rounds say what was found. */
void fewer_concave_descend(ConcaveTask *t);
#endif
