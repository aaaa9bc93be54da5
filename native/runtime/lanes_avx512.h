/* Sixteen floats at a time. */
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512vnni,fma,bmi,bmi2,popcnt")))
#define LANES 16
typedef __m512 vec;
TARGET static ALWAYS_INLINE vec v_zero(void) { return _mm512_setzero_ps(); }
TARGET static ALWAYS_INLINE vec v_set(float s) { return _mm512_set1_ps(s); }
TARGET static ALWAYS_INLINE vec v_load(const float *p) { return _mm512_loadu_ps(p); }
TARGET static ALWAYS_INLINE void v_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
TARGET static ALWAYS_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
TARGET static ALWAYS_INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
TARGET static ALWAYS_INLINE float v_sum(vec v) { return _mm512_reduce_add_ps(v); }
TARGET static ALWAYS_INLINE vec v_widen(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
#define FETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
