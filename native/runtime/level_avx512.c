/* AVX-512 with VBMI2: kept values are expanded in registers under 16, 32 or 64 mask bits at a time.
 *
 * The zero-masked expand has a false dependency on its destination on current CPUs, and compilers fold the load into
 * it, which makes one long latency chain of the whole row (2 to 3 times slower).  So the load comes first and the
 * expand works in place: its only dependency is then the true one. */
#include "job.h"
#ifdef FEWER_X86
#include "batch.h"
#include "lanes_avx512.h"

TARGET static ALWAYS_INLINE int64_t decode(uint64_t mask, uint8_t base, uint8_t *found)
{
    __m512i positions = _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37,
        36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10,
        9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    positions = _mm512_add_epi8(positions, _mm512_set1_epi8((char)base));
    _mm512_storeu_si512(found, _mm512_maskz_compress_epi8((__mmask64)mask, positions));
    return __builtin_popcountll(mask);
}
#define DECODE decode
#include "blocks.h"
#include "columns.h"
#include "dense.h"
#include "index.h"

TARGET static ALWAYS_INLINE __m512 expand_f32(__mmask16 mask, const float *p)
{
    __m512 v = _mm512_loadu_ps(p);
    __asm__("vexpandps %0, %0 %{%1%}%{z%}" : "+v"(v) : "Yk"(mask));
    return v;
}
TARGET static ALWAYS_INLINE __m512i expand_16(__mmask32 mask, const uint16_t *p)
{
    __m512i v = _mm512_loadu_si512(p);
    __asm__("vpexpandw %0, %0 %{%1%}%{z%}" : "+v"(v) : "Yk"(mask));
    return v;
}
TARGET static ALWAYS_INLINE __m512i expand_8(__mmask64 mask, const int8_t *p)
{
    __m512i v = _mm512_loadu_si512(p);
    __asm__("vpexpandb %0, %0 %{%1%}%{z%}" : "+v"(v) : "Yk"(mask));
    return v;
}

TARGET static ALWAYS_INLINE void bitmask_f32_n(const Job *job, int64_t first, int64_t last, const int n)
{
    const float *x = job->x;
    for (int64_t r = first; r < last; r++) {
        const float *w = (const float *)job->values + job->offsets[r];
        const uint64_t *mask = job->mask + r * job->words;
        __m512 sum[16];
        for (int k = 0; k < 4 * n; k++)
            sum[k] = _mm512_setzero_ps();
        for (int64_t word = 0; word < job->words; word++) {
            const uint64_t m = mask[word];
            const int64_t count = __builtin_popcountll(m);
            FETCH(w + 1024);
            FETCH(w + 1040);
            for (int q = 0; q < 4; q++) {
                const uint64_t before = q ? m & (~0ull >> (64 - 16 * q)) : 0;
                __m512 v = expand_f32((__mmask16)(m >> (16 * q)), w + __builtin_popcountll(before));
                for (int b = 0; b < n; b++)
                    sum[b * 4 + q] = _mm512_fmadd_ps(
                        v, _mm512_loadu_ps(x + b * job->x_stride + word * MASK_BITS + 16 * q), sum[b * 4 + q]);
            }
            w += count;
        }
        for (int b = 0; b < n; b++)
            job->y[b * job->y_stride + r] =
                _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[b * 4], sum[b * 4 + 1]),
                                                   _mm512_add_ps(sum[b * 4 + 2], sum[b * 4 + 3])));
    }
}
TARGET static void bitmask_f32(const Job *job, int64_t first, int64_t last) { BY_BATCH(bitmask_f32_n) }

/* bfloat16 without its own instruction: the two halves of 32 expanded values are widened to float. */
TARGET static ALWAYS_INLINE __m512 half_of(__m512i v, int high)
{
    __m256i half = high ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
TARGET static ALWAYS_INLINE void bitmask_bf16_n(const Job *job, int64_t first, int64_t last, const int n)
{
    const float *x = job->x;
    for (int64_t r = first; r < last; r++) {
        const uint16_t *w = (const uint16_t *)job->values + job->offsets[r];
        const uint64_t *mask = job->mask + r * job->words;
        __m512 sum[16];
        for (int k = 0; k < 4 * n; k++)
            sum[k] = _mm512_setzero_ps();
        for (int64_t word = 0; word < job->words; word++) {
            const uint64_t m = mask[word];
            FETCH(w + 2048);
            for (int q = 0; q < 4; q++) {
                const int64_t skip = q >= 2 ? __builtin_popcount((uint32_t)m) : 0;
                __m512 v = half_of(expand_16((__mmask32)(m >> (q / 2 * 32)), w + skip), q % 2);
                for (int b = 0; b < n; b++)
                    sum[b * 4 + q] = _mm512_fmadd_ps(
                        v, _mm512_loadu_ps(x + b * job->x_stride + word * MASK_BITS + 16 * q), sum[b * 4 + q]);
            }
            w += __builtin_popcountll(m);
        }
        for (int b = 0; b < n; b++)
            job->y[b * job->y_stride + r] =
                _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[b * 4], sum[b * 4 + 1]),
                                                   _mm512_add_ps(sum[b * 4 + 2], sum[b * 4 + 3])));
    }
}
TARGET static void bitmask_bf16(const Job *job, int64_t first, int64_t last) { BY_BATCH(bitmask_bf16_n) }

#define KEPT_F32(m, p) expand_f32((__mmask16)(m), p)
/* Two expands of 32 values a word, each widened in halves. */
TARGET static ALWAYS_INLINE void add_bf16(uint64_t m, const uint16_t *w, __m512 x, __m512 *sum)
{
    const __m512i low = expand_16((__mmask32)m, w);
    const __m512i high = expand_16((__mmask32)(m >> 32), w + __builtin_popcount((uint32_t)m));
    sum[0] = _mm512_fmadd_ps(half_of(low, 0), x, sum[0]);
    sum[1] = _mm512_fmadd_ps(half_of(low, 1), x, sum[1]);
    sum[2] = _mm512_fmadd_ps(half_of(high, 0), x, sum[2]);
    sum[3] = _mm512_fmadd_ps(half_of(high, 1), x, sum[3]);
}
#define ADD_BF16 add_bf16
#include "packed_columns.h"

/* bfloat16 with its dot product: 32 weights and 32 inputs an instruction, both in bfloat16. */
#define TARGET_BF16                                                                                         \
    __attribute__((target(                                                                                  \
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512vnni,avx512bf16,fma,bmi,bmi2,popcnt")))
TARGET_BF16 static ALWAYS_INLINE __m512 dot_bf16(__m512 sum, __m512i w, const uint16_t *x)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)_mm512_loadu_si512(x));
}
TARGET_BF16 static ALWAYS_INLINE const uint16_t *dot_word(__m512 *sum, uint64_t m, const uint16_t *w,
                                                          const uint16_t *x, int64_t stride, const int n)
{
    __m512i low = expand_16((__mmask32)m, w);
    __m512i high = expand_16((__mmask32)(m >> 32), w + __builtin_popcount((uint32_t)m));
    for (int b = 0; b < n; b++) {
        sum[b * 4] = dot_bf16(sum[b * 4], low, x + b * stride);
        sum[b * 4 + 1] = dot_bf16(sum[b * 4 + 1], high, x + b * stride + 32);
    }
    return w + __builtin_popcountll(m);
}
TARGET_BF16 static ALWAYS_INLINE void bitmask_dot_n(const Job *job, int64_t first, int64_t last, const int n)
{
    const uint16_t *x = job->x;
    for (int64_t r = first; r < last; r++) {
        const uint16_t *w = (const uint16_t *)job->values + job->offsets[r];
        const uint64_t *mask = job->mask + r * job->words;
        __m512 sum[16];
        for (int k = 0; k < 4 * n; k++)
            sum[k] = _mm512_setzero_ps();
        int64_t word = 0;
        for (; word + 2 <= job->words; word += 2) {
            FETCH(w + 2048);
            FETCH(w + 2080);
            w = dot_word(sum, mask[word], w, x + word * MASK_BITS, job->x_stride, n);
            w = dot_word(sum + 2, mask[word + 1], w, x + (word + 1) * MASK_BITS, job->x_stride, n);
        }
        if (word < job->words)
            w = dot_word(sum, mask[word], w, x + word * MASK_BITS, job->x_stride, n);
        for (int b = 0; b < n; b++)
            job->y[b * job->y_stride + r] =
                _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[b * 4], sum[b * 4 + 1]),
                                                   _mm512_add_ps(sum[b * 4 + 2], sum[b * 4 + 3])));
    }
}
TARGET_BF16 static void bitmask_dot(const Job *job, int64_t first, int64_t last)
{
    BY_BATCH_OF(bitmask_dot_n, sizeof(uint16_t))
}

TARGET_BF16 static ALWAYS_INLINE void dense_dot_n(const Job *job, int64_t first, int64_t last, const int n)
{
    const uint16_t *x = job->x;
    const int64_t step = 128 / n, bulk = job->cols / step * step;
    for (int64_t r = first; r < last; r++) {
        const uint16_t *w = (const uint16_t *)job->values + r * job->cols;
        __m512 sum[4];
        for (int k = 0; k < 4; k++)
            sum[k] = _mm512_setzero_ps();
        for (int64_t j = 0; j < bulk; j += step)
            for (int u = 0; u < 4 / n; u++) {
                __m512i v = _mm512_loadu_si512(w + j + 32 * u);
                FETCH(w + j + 32 * u + 2048);
                for (int b = 0; b < n; b++)
                    sum[b * (4 / n) + u] = dot_bf16(sum[b * (4 / n) + u], v, x + b * job->x_stride + j + 32 * u);
            }
        for (int b = 0; b < n; b++) {
            __m512 all = sum[b * (4 / n)];
            for (int u = 1; u < 4 / n; u++)
                all = _mm512_add_ps(all, sum[b * (4 / n) + u]);
            float tail = _mm512_reduce_add_ps(all);
            for (int64_t j = bulk; j < job->cols; j++)
                tail += widen(w[j]) * widen(x[b * job->x_stride + j]);
            job->y[b * job->y_stride + r] = tail;
        }
    }
}
TARGET_BF16 static void dense_dot(const Job *job, int64_t first, int64_t last)
{
    BY_BATCH_OF(dense_dot_n, sizeof(uint16_t))
}

/* int8: unsigned inputs (x + 128) times signed weights; 128 times the row's sum is taken off afterwards. */
TARGET static ALWAYS_INLINE float int8_result(const Job *job, int64_t r, int b, int32_t dot)
{
    return (float)(dot - 128 * job->sums[r]) * (job->scale[r] * job->x_scale[b]);
}
TARGET static ALWAYS_INLINE void bitmask_i8_n(const Job *job, int64_t first, int64_t last, const int n)
{
    const uint8_t *x = job->x;
    for (int64_t r = first; r < last; r++) {
        const int8_t *w = (const int8_t *)job->values + job->offsets[r];
        const uint64_t *mask = job->mask + r * job->words;
        __m512i sum[8];
        for (int k = 0; k < 2 * n; k++)
            sum[k] = _mm512_setzero_si512();
        int64_t word = 0;
        for (; word + 2 <= job->words; word += 2) {
            const int64_t skip = __builtin_popcountll(mask[word]);
            FETCH(w + 4096);
            __m512i even = expand_8((__mmask64)mask[word], w), odd = expand_8((__mmask64)mask[word + 1], w + skip);
            for (int b = 0; b < n; b++) {
                const uint8_t *xb = x + b * job->x_stride + word * MASK_BITS;
                sum[b * 2] = _mm512_dpbusd_epi32(sum[b * 2], _mm512_loadu_si512(xb), even);
                sum[b * 2 + 1] = _mm512_dpbusd_epi32(sum[b * 2 + 1], _mm512_loadu_si512(xb + 64), odd);
            }
            w += skip + __builtin_popcountll(mask[word + 1]);
        }
        if (word < job->words) {
            __m512i even = expand_8((__mmask64)mask[word], w);
            for (int b = 0; b < n; b++)
                sum[b * 2] = _mm512_dpbusd_epi32(
                    sum[b * 2], _mm512_loadu_si512(x + b * job->x_stride + word * MASK_BITS), even);
        }
        for (int b = 0; b < n; b++)
            job->y[b * job->y_stride + r] =
                int8_result(job, r, b, _mm512_reduce_add_epi32(_mm512_add_epi32(sum[b * 2], sum[b * 2 + 1])));
    }
}
TARGET static void bitmask_i8(const Job *job, int64_t first, int64_t last) { BY_BATCH_OF(bitmask_i8_n, 1) }

TARGET static ALWAYS_INLINE void dense_i8_n(const Job *job, int64_t first, int64_t last, const int n)
{
    const uint8_t *x = job->x;
    const int64_t step = 256 / n, bulk = job->cols / step * step;
    for (int64_t r = first; r < last; r++) {
        const int8_t *w = (const int8_t *)job->values + r * job->cols;
        __m512i sum[4];
        for (int k = 0; k < 4; k++)
            sum[k] = _mm512_setzero_si512();
        for (int64_t j = 0; j < bulk; j += step)
            for (int u = 0; u < 4 / n; u++) {
                __m512i v = _mm512_loadu_si512(w + j + 64 * u);
                FETCH(w + j + 64 * u + 4096);
                for (int b = 0; b < n; b++)
                    sum[b * (4 / n) + u] = _mm512_dpbusd_epi32(
                        sum[b * (4 / n) + u], _mm512_loadu_si512(x + b * job->x_stride + j + 64 * u), v);
            }
        for (int b = 0; b < n; b++) {
            __m512i all = sum[b * (4 / n)];
            for (int u = 1; u < 4 / n; u++)
                all = _mm512_add_epi32(all, sum[b * (4 / n) + u]);
            int32_t dot = _mm512_reduce_add_epi32(all);
            for (int64_t j = bulk; j < job->cols; j++)
                dot += (int32_t)w[j] * x[b * job->x_stride + j];
            job->y[b * job->y_stride + r] = int8_result(job, r, b, dot);
        }
    }
}
TARGET static void dense_i8(const Job *job, int64_t first, int64_t last) { BY_BATCH_OF(dense_i8_n, 1) }

const Level level_avx512 = {
    "avx512", {dense_f32, dense_bf16, dense_i8}, {bitmask_f32, bitmask_bf16, bitmask_i8}, {blocks_f32, blocks_bf16},
    {columns_f32, columns_bf16}, {packed_columns_f32, packed_columns_bf16}, index_f32, 1, NULL,
};
const Level level_avx512_bf16 = {
    "avx512", {dense_f32, dense_dot, dense_i8}, {bitmask_f32, bitmask_dot, bitmask_i8}, {blocks_f32, blocks_bf16},
    {columns_f32, columns_bf16}, {packed_columns_f32, packed_columns_bf16}, index_f32, 1, &level_avx512,
};
#endif
