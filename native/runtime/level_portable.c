/* Plain C for every machine: a word of 64 columns is spread out into a small buffer, then multiplied densely. */
#include "batch.h"
#include "lanes_portable.h"

static ALWAYS_INLINE int64_t decode(uint64_t mask, uint8_t base, uint8_t *found)
{
    int64_t count = 0;
    for (; mask; mask &= mask - 1)
        found[count++] = (uint8_t)(base + __builtin_ctzll(mask));
    return count;
}
#define DECODE decode
#include "blocks.h"
#include "columns.h"
#include "dense.h"
#include "index.h"

#define KEPT_LANES(TYPE, NAME, ONE)                              \
    static ALWAYS_INLINE vec NAME(uint64_t m, const TYPE *p)     \
    {                                                            \
        vec v = v_zero();                                        \
        for (int lane = 0; lane < LANES; lane++)                 \
            if (m >> lane & 1)                                   \
                v.at[lane] = ONE(*p++);                          \
        return v;                                                \
    }
KEPT_LANES(float, kept_f32, )
KEPT_LANES(uint16_t, kept_bf16, widen)
#define KEPT_F32(m, p) kept_f32(m, p)
#define KEPT_BF16(m, p) kept_bf16(m, p)
#include "packed_columns.h"

/* Pruned places get zero times their input, as in the dense product: what is not finite stays not finite. */
#define BITMASK_LOOP(TYPE, ONE)                                                                            \
    const float *x = job->x;                                                                               \
    for (int64_t r = first; r < last; r++) {                                                               \
        const TYPE *w = (const TYPE *)job->values + job->offsets[r];                                       \
        const uint64_t *mask = job->mask + r * job->words;                                                 \
        vec sum[16];                                                                                       \
        for (int k = 0; k < 4 * n; k++)                                                                    \
            sum[k] = v_zero();                                                                             \
        for (int64_t word = 0; word < job->words; word++) {                                                \
            float spread[MASK_BITS] = {0};                                                                 \
            for (uint64_t m = mask[word]; m; m &= m - 1)                                                   \
                spread[__builtin_ctzll(m)] = ONE(*w++);                                                    \
            for (int b = 0; b < n; b++)                                                                    \
                for (int q = 0; q < MASK_BITS / LANES; q++)                                                \
                    sum[b * 4 + q % 4] = v_fma(                                                            \
                        v_load(spread + q * LANES),                                                        \
                        v_load(x + b * job->x_stride + word * MASK_BITS + q * LANES), sum[b * 4 + q % 4]); \
        }                                                                                                  \
        for (int b = 0; b < n; b++)                                                                        \
            job->y[b * job->y_stride + r] =                                                                \
                v_sum(v_add(v_add(sum[b * 4], sum[b * 4 + 1]), v_add(sum[b * 4 + 2], sum[b * 4 + 3])));    \
    }

static ALWAYS_INLINE void bitmask_f32_n(const Job *job, int64_t first, int64_t last, const int n)
{
    BITMASK_LOOP(float, )
}
static ALWAYS_INLINE void bitmask_bf16_n(const Job *job, int64_t first, int64_t last, const int n)
{
    BITMASK_LOOP(uint16_t, widen)
}
static void bitmask_f32(const Job *job, int64_t first, int64_t last) { BY_BATCH(bitmask_f32_n) }
static void bitmask_bf16(const Job *job, int64_t first, int64_t last) { BY_BATCH(bitmask_bf16_n) }

static void bitmask_i8(const Job *job, int64_t first, int64_t last)
{
    for (int64_t b = 0; b < job->batch; b++) {
        const int8_t *x = (const int8_t *)job->x + b * job->x_stride;
        for (int64_t r = first; r < last; r++) {
            const int8_t *w = (const int8_t *)job->values + job->offsets[r];
            int32_t dot = 0;
            for (int64_t word = 0; word < job->words; word++)
                for (uint64_t m = job->mask[r * job->words + word]; m; m &= m - 1)
                    dot += (int32_t)*w++ * x[word * MASK_BITS + __builtin_ctzll(m)];
            job->y[b * job->y_stride + r] = (float)dot * (job->scale[r] * job->x_scale[b]);
        }
    }
}
static void dense_i8(const Job *job, int64_t first, int64_t last)
{
    for (int64_t b = 0; b < job->batch; b++) {
        const int8_t *x = (const int8_t *)job->x + b * job->x_stride;
        for (int64_t r = first; r < last; r++) {
            const int8_t *w = (const int8_t *)job->values + r * job->cols;
            int32_t dot = 0;
            for (int64_t j = 0; j < job->cols; j++)
                dot += (int32_t)w[j] * x[j];
            job->y[b * job->y_stride + r] = (float)dot * (job->scale[r] * job->x_scale[b]);
        }
    }
}

const Level level_portable = {
    "portable", {dense_f32, dense_bf16, dense_i8}, {bitmask_f32, bitmask_bf16, bitmask_i8}, {blocks_f32, blocks_bf16},
    {columns_f32, columns_bf16}, {packed_columns_f32, packed_columns_bf16}, index_f32, 0, NULL,
};
