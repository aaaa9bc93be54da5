/* AVX2: eight kept values at a time go to their places by a table of permutations, one entry a mask byte. */
#include "job.h"
#ifdef FEWER_X86
#include "batch.h"
#include "expand_table.h"
#include "lanes_avx2.h"

/* Eight mask bits at a time: the positions 0 to 7 as bytes, those of set bits moved together. */
TARGET static ALWAYS_INLINE int64_t decode(uint64_t mask, uint8_t base, uint8_t *found)
{
    const uint64_t ones = 0x0101010101010101ull;
    int64_t count = 0;
    for (uint64_t eighth = 0; eighth < 8; eighth++) {
        const uint64_t byte = mask >> (8 * eighth) & 255;
        const uint64_t places = 0x0706050403020100ull + ones * (base + 8 * eighth);
        const uint64_t kept = _pext_u64(places, _pdep_u64(byte, ones) * 255);
        memcpy(found + count, &kept, sizeof kept);
        count += __builtin_popcountll(byte);
    }
    return count;
}
#define DECODE decode
#include "blocks.h"
#include "columns.h"
#include "dense.h"
#include "index.h"

TARGET static ALWAYS_INLINE __m256i places32(unsigned byte)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)expand_table[byte]));
}
TARGET static ALWAYS_INLINE __m256 expand_f32(unsigned byte, const float *p)
{
    __m256i places = places32(byte);
    __m256 v = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), places);
    return _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_srai_epi32(places, 31)), v);
}
TARGET static ALWAYS_INLINE __m256 expand_bf16(unsigned byte, const uint16_t *p)
{
    __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
    __m256i places = _mm256_loadu_si256((const __m256i *)expand_bytes[byte]);
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(twice, places));
}

#define KEPT_F32(m, p) expand_f32((unsigned)((m) & 255), p)
#define KEPT_BF16(m, p) expand_bf16((unsigned)((m) & 255), p)
#include "packed_columns.h"

#define BITMASK_LOOP(TYPE, EXPAND, AHEAD)                                                                  \
    const float *x = job->x;                                                                               \
    for (int64_t r = first; r < last; r++) {                                                               \
        const TYPE *w = (const TYPE *)job->values + job->offsets[r];                                       \
        const uint64_t *mask = job->mask + r * job->words;                                                 \
        __m256 sum[8];                                                                                      \
        for (int k = 0; k < 8; k++)                                                                        \
            sum[k] = _mm256_setzero_ps();                                                                  \
        for (int64_t word = 0; word < job->words; word++) {                                                \
            const uint64_t m = mask[word];                                                                 \
            FETCH(w + AHEAD);                                                                              \
            for (int q = 0; q < 8; q++) {                                                                  \
                const uint64_t before = q ? m & (~0ull >> (64 - 8 * q)) : 0;                               \
                __m256 v = EXPAND((unsigned)(m >> (8 * q) & 255), w + __builtin_popcountll(before));       \
                for (int b = 0; b < n; b++)                                                                \
                    sum[b * (8 / n) + q % (8 / n)] = _mm256_fmadd_ps(                                      \
                        v, _mm256_loadu_ps(x + b * job->x_stride + word * MASK_BITS + 8 * q),              \
                        sum[b * (8 / n) + q % (8 / n)]);                                                   \
            }                                                                                              \
            w += __builtin_popcountll(m);                                                                  \
        }                                                                                                  \
        for (int b = 0; b < n; b++) {                                                                      \
            __m256 total = sum[b * (8 / n)];                                                               \
            for (int k = 1; k < 8 / n; k++)                                                                \
                total = _mm256_add_ps(total, sum[b * (8 / n) + k]);                                        \
            job->y[b * job->y_stride + r] = v_sum(total);                                                  \
        }                                                                                                  \
    }

TARGET static ALWAYS_INLINE void bitmask_f32_n(const Job *job, int64_t first, int64_t last, const int n)
{
    BITMASK_LOOP(float, expand_f32, 1024)
}
TARGET static ALWAYS_INLINE void bitmask_bf16_n(const Job *job, int64_t first, int64_t last, const int n)
{
    BITMASK_LOOP(uint16_t, expand_bf16, 2048)
}
TARGET static void bitmask_f32(const Job *job, int64_t first, int64_t last) { BY_BATCH(bitmask_f32_n) }
TARGET static void bitmask_bf16(const Job *job, int64_t first, int64_t last) { BY_BATCH(bitmask_bf16_n) }

/* int8: |x| as unsigned times w with the sign of x; both at most 127, so pairs fit 16 bits without saturating. */
TARGET static ALWAYS_INLINE __m256i dot_i8(__m256i sum, __m256i w, const int8_t *x)
{
    __m256i xs = _mm256_loadu_si256((const __m256i *)x);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(xs), _mm256_sign_epi8(w, xs));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
TARGET static ALWAYS_INLINE int32_t sum_i32(__m256i v)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
}
TARGET static ALWAYS_INLINE __m128i expand_8(unsigned byte, const int8_t *p)
{
    return _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)p), _mm_loadl_epi64((const __m128i *)expand_table[byte]));
}
TARGET static ALWAYS_INLINE __m256i expand_32(uint32_t m, const int8_t *p)
{
    __m128i a = expand_8(m & 255, p), b = expand_8(m >> 8 & 255, p + __builtin_popcount(m & 0xff));
    __m128i c = expand_8(m >> 16 & 255, p + __builtin_popcount(m & 0xffff));
    __m128i d = expand_8(m >> 24, p + __builtin_popcount(m & 0xffffff));
    return _mm256_set_m128i(_mm_unpacklo_epi64(c, d), _mm_unpacklo_epi64(a, b));
}
TARGET static void bitmask_i8(const Job *job, int64_t first, int64_t last)
{
    for (int64_t b = 0; b < job->batch; b++) {
        const int8_t *x = (const int8_t *)job->x + b * job->x_stride;
        for (int64_t r = first; r < last; r++) {
            const int8_t *w = (const int8_t *)job->values + job->offsets[r];
            const uint64_t *mask = job->mask + r * job->words;
            __m256i low = _mm256_setzero_si256(), high = low;
            for (int64_t word = 0; word < job->words; word++) {
                const uint64_t m = mask[word];
                FETCH(w + 4096);
                low = dot_i8(low, expand_32((uint32_t)m, w), x + word * MASK_BITS);
                w += __builtin_popcount((uint32_t)m);
                high = dot_i8(high, expand_32((uint32_t)(m >> 32), w), x + word * MASK_BITS + 32);
                w += __builtin_popcount((uint32_t)(m >> 32));
            }
            job->y[b * job->y_stride + r] =
                (float)sum_i32(_mm256_add_epi32(low, high)) * (job->scale[r] * job->x_scale[b]);
        }
    }
}
TARGET static void dense_i8(const Job *job, int64_t first, int64_t last)
{
    const int64_t bulk = job->cols / 64 * 64;
    for (int64_t b = 0; b < job->batch; b++) {
        const int8_t *x = (const int8_t *)job->x + b * job->x_stride;
        for (int64_t r = first; r < last; r++) {
            const int8_t *w = (const int8_t *)job->values + r * job->cols;
            __m256i low = _mm256_setzero_si256(), high = low;
            for (int64_t j = 0; j < bulk; j += 64) {
                FETCH(w + j + 4096);
                low = dot_i8(low, _mm256_loadu_si256((const __m256i *)(w + j)), x + j);
                high = dot_i8(high, _mm256_loadu_si256((const __m256i *)(w + j + 32)), x + j + 32);
            }
            int32_t dot = sum_i32(_mm256_add_epi32(low, high));
            for (int64_t j = bulk; j < job->cols; j++)
                dot += (int32_t)w[j] * x[j];
            job->y[b * job->y_stride + r] = (float)dot * (job->scale[r] * job->x_scale[b]);
        }
    }
}

const Level level_avx2 = {
    "avx2", {dense_f32, dense_bf16, dense_i8}, {bitmask_f32, bitmask_bf16, bitmask_i8}, {blocks_f32, blocks_bf16},
    {columns_f32, columns_bf16}, {packed_columns_f32, packed_columns_bf16}, index_f32, 0, NULL,
};
#endif
