/* Eight floats at a time. */
#include <immintrin.h>
#define TARGET __attribute__((target("avx2,fma,bmi,bmi2,popcnt")))
#define LANES 8
typedef __m256 vec;
TARGET static ALWAYS_INLINE vec v_zero(void) { return _mm256_setzero_ps(); }
TARGET static ALWAYS_INLINE vec v_set(float s) { return _mm256_set1_ps(s); }
TARGET static ALWAYS_INLINE vec v_load(const float *p) { return _mm256_loadu_ps(p); }
TARGET static ALWAYS_INLINE void v_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
TARGET static ALWAYS_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
TARGET static ALWAYS_INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
TARGET static ALWAYS_INLINE float v_sum(vec v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
TARGET static ALWAYS_INLINE vec v_widen(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
#define FETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
