/* What the solvers of layers need beside products, as one table of functions for each instruction set: positive definite
 * systems, one per row of a mask and each on its own unknowns, and the projections of ADMM. */
#ifndef FEWER_UPDATE_SOLVER_H
#define FEWER_UPDATE_SOLVER_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && !defined(FEWER_PORTABLE) && (defined(__GNUC__) || defined(__clang__))
#define FEWER_X86 1
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Orders are rounded up to PAD; a panel of DEPTH rows of the factor stays in the cache while it is used. */
enum { PAD = 8, DEPTH = 96, LINE = 256 };

/* `order` unknowns, a multiple of PAD; the upper triangle of `a`, in rows of `stride`, becomes the factor U with
 * U'U = A; `inverse` gets one over its diagonal.  Returns 0, or 1 where a pivot is not positive. */
typedef struct {
    int64_t order, stride;
    double *a, *inverse;
} System;

typedef int (*Factorise)(const System *);
typedef void (*Substitute)(const System *, double *);

/* One layer under ADMM; see projection.h. */
typedef struct {
    const float *product, *target;
    float *moved, *pull, *kept; /* kept: one or zero */
    int64_t size;
    float before, rho, after;
} Projection;

typedef struct {
    const char *name;
    Factorise factorise;   /* in place */
    Substitute substitute; /* x <- (U'U)^-1 x */
    void (*groups)(const Projection *, int n, int m);
    int64_t (*middle)(const Projection *, float low, float high, float *list, int64_t *above);
    void (*threshold)(const Projection *, float edge);
} Solver;

extern const Solver solver_portable;
#ifdef FEWER_X86
extern const Solver solver_avx2, solver_avx512;
#endif

const Solver *fewer_solver(int64_t index);
#endif
