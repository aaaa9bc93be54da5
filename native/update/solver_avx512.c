/* Eight doubles at a time. */
#include "solver.h"
#ifdef FEWER_X86
#include <immintrin.h>
#include <math.h>
#define TARGET __attribute__((target("avx512f")))
enum { LANES = 8, HIGH = 8, WIDE = 3 };
typedef __m512d vec;
TARGET static ALWAYS_INLINE vec v_set(double s) { return _mm512_set1_pd(s); }
TARGET static ALWAYS_INLINE vec v_load(const double *p) { return _mm512_loadu_pd(p); }
TARGET static ALWAYS_INLINE void v_store(double *p, vec v) { _mm512_storeu_pd(p, v); }
TARGET static ALWAYS_INLINE vec v_less(vec c, vec a, vec b) { return _mm512_fnmadd_pd(a, b, c); }
TARGET static ALWAYS_INLINE vec v_times(vec a, vec b) { return _mm512_mul_pd(a, b); }
TARGET static ALWAYS_INLINE double v_sum(vec v) { return _mm512_reduce_add_pd(v); }
#include "cholesky.h"
#include "projection.h"

const Solver solver_avx512 = {"avx512", factorise, substitute, groups, middle, threshold};
#endif
