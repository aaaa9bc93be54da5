/* Blocks that share one input over 16 (float) or 32 (bfloat16) outputs: one mask bit and no expanding per block.
 * Inputs are transposed, (in, padded batch); first and last count block rows. */

/* bfloat16: 32 outputs of one block, widened by LANES at a time. */
#define BLOCKS_LOOP(TYPE, LOAD, HEIGHT, N)                                                                 \
    enum { V = HEIGHT / LANES };                                                                           \
    const float *xs = job->x;                                                                              \
    for (int64_t r = first; r < last; r++) {                                                               \
        const TYPE *w = (const TYPE *)job->values + (int64_t)job->offsets[r] * HEIGHT;                     \
        const uint64_t *mask = job->mask + r * job->words;                                                 \
        vec sum[V * N];                                                                                    \
        for (int k = 0; k < V * N; k++)                                                                    \
            sum[k] = v_zero();                                                                             \
        for (int64_t word = 0; word < job->words; word++) {                                                \
            const float *x = xs + word * MASK_BITS * job->x_stride;                                        \
            for (uint64_t bits = mask[word]; bits; bits &= bits - 1) {                                     \
                const float *xj = x + __builtin_ctzll(bits) * job->x_stride;                               \
                FETCH((const char *)w + 4096);                                                             \
                for (int v = 0; v < V; v++) {                                                              \
                    vec weight = LOAD(w + v * LANES);                                                      \
                    for (int b = 0; b < N; b++)                                                            \
                        sum[v * N + b] = v_fma(weight, v_set(xj[b]), sum[v * N + b]);                      \
                }                                                                                          \
                w += HEIGHT;                                                                               \
            }                                                                                              \
        }                                                                                                  \
        for (int v = 0; v < V; v++)                                                                        \
            for (int b = 0; b < N; b++)                                                                    \
                v_store(job->y + b * job->y_stride + r * HEIGHT + v * LANES, sum[v * N + b]);              \
    }

TARGET static void blocks_f32_1(const Job *job, int64_t first, int64_t last) { BLOCKS_LOOP(float, v_load, 16, 1) }
TARGET static void blocks_f32_4(const Job *job, int64_t first, int64_t last) { BLOCKS_LOOP(float, v_load, 16, 4) }
TARGET static void blocks_bf16_1(const Job *job, int64_t first, int64_t last)
{
    BLOCKS_LOOP(uint16_t, v_widen, 32, 1)
}
TARGET static void blocks_bf16_4(const Job *job, int64_t first, int64_t last)
{
    BLOCKS_LOOP(uint16_t, v_widen, 32, 4)
}
#if LANES == 16
TARGET static void blocks_f32_16(const Job *job, int64_t first, int64_t last) { BLOCKS_LOOP(float, v_load, 16, 16) }
TARGET static void blocks_bf16_8(const Job *job, int64_t first, int64_t last)
{
    BLOCKS_LOOP(uint16_t, v_widen, 32, 8)
}
#endif
#undef BLOCKS_LOOP

/* One pass of the weights per group of inputs; the block row stays in the nearest cache from pass to pass. */
TARGET static ALWAYS_INLINE void blocks_by(const Job *job, int64_t first, int64_t last, int wide, Kernel many,
                                           Kernel four, Kernel one)
{
    for (int64_t r = first; r < last; r++) {
        int64_t b = 0;
        while (b < job->batch) {
            Job part = *job;
            part.x = (const float *)job->x + b;
            part.y = job->y + b * job->y_stride;
            int64_t left = job->batch - b;
            int64_t take = left >= wide ? wide : left >= 4 ? 4 : 1;
            (take == 1 ? one : take == 4 ? four : many)(&part, r, r + 1);
            b += take;
        }
    }
}
#if LANES == 16
TARGET static void blocks_f32(const Job *job, int64_t first, int64_t last)
{
    blocks_by(job, first, last, 16, blocks_f32_16, blocks_f32_4, blocks_f32_1);
}
TARGET static void blocks_bf16(const Job *job, int64_t first, int64_t last)
{
    blocks_by(job, first, last, 8, blocks_bf16_8, blocks_bf16_4, blocks_bf16_1);
}
#else
TARGET static void blocks_f32(const Job *job, int64_t first, int64_t last)
{
    blocks_by(job, first, last, 4, blocks_f32_4, blocks_f32_4, blocks_f32_1);
}
TARGET static void blocks_bf16(const Job *job, int64_t first, int64_t last)
{
    blocks_by(job, first, last, 4, blocks_bf16_4, blocks_bf16_4, blocks_bf16_1);
}
#endif
