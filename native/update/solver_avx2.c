/* Four doubles at a time. */
#include "solver.h"
#ifdef FEWER_X86
#include <immintrin.h>
#include <math.h>
#define TARGET __attribute__((target("avx2,fma")))
enum { LANES = 4, HIGH = 4, WIDE = 3 };
typedef __m256d vec;
TARGET static ALWAYS_INLINE vec v_set(double s) { return _mm256_set1_pd(s); }
TARGET static ALWAYS_INLINE vec v_load(const double *p) { return _mm256_loadu_pd(p); }
TARGET static ALWAYS_INLINE void v_store(double *p, vec v) { _mm256_storeu_pd(p, v); }
TARGET static ALWAYS_INLINE vec v_less(vec c, vec a, vec b) { return _mm256_fnmadd_pd(a, b, c); }
TARGET static ALWAYS_INLINE vec v_times(vec a, vec b) { return _mm256_mul_pd(a, b); }
TARGET static ALWAYS_INLINE double v_sum(vec v)
{
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}
#include "cholesky.h"
#include "projection.h"

const Solver solver_avx2 = {"avx2", factorise, substitute, groups, middle, threshold};
#endif
