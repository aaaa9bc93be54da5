/* Two doubles at a time in plain C; compilers turn this into whatever the base instruction set offers. */
#include "solver.h"
#include <math.h>
#define TARGET
enum { LANES = 2, HIGH = 4, WIDE = 2 };
typedef struct { double at[LANES]; } vec;
#define EACH for (int lane = 0; lane < LANES; lane++)
static ALWAYS_INLINE vec v_set(double s) { vec v; EACH v.at[lane] = s; return v; }
static ALWAYS_INLINE vec v_load(const double *p) { vec v; memcpy(&v, p, sizeof v); return v; }
static ALWAYS_INLINE void v_store(double *p, vec v) { memcpy(p, &v, sizeof v); }
static ALWAYS_INLINE vec v_less(vec c, vec a, vec b) { EACH c.at[lane] -= a.at[lane] * b.at[lane]; return c; }
static ALWAYS_INLINE vec v_times(vec a, vec b) { EACH a.at[lane] *= b.at[lane]; return a; }
static ALWAYS_INLINE double v_sum(vec v) { return v.at[0] + v.at[1]; }
#include "cholesky.h"
#include "projection.h"

const Solver solver_portable = {"portable", factorise, substitute, groups, middle, threshold};
