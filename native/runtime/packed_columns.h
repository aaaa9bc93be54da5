/* Column skipping in a packed weight: y = sum over the active inputs of x_j times the kept values of column j.
 *
 * The weight is packed transposed: one row of mask and values for each input, a bit for each output.  Eight inputs at a
 * time share one read and write of y.  Included once per level, after KEPT_F32 and KEPT_BF16, which put LANES kept
 * values to their places (or after ADD_BF16 of a level that does more at once).  Ranges are in words of 64 outputs, and
 * y has room for whole words. */
enum { PARTS = MASK_BITS / LANES };

#define ADD_LANES(NAME, TYPE, KEPT)                                                                        \
    TARGET static ALWAYS_INLINE void NAME(uint64_t m, const TYPE *w, vec x, vec *sum)                      \
    {                                                                                                      \
        for (int q = 0; q < PARTS; q++) {                                                                  \
            const uint64_t before = q ? m & (~0ull >> (MASK_BITS - LANES * q)) : 0;                        \
            sum[q] = v_fma(KEPT(m >> (LANES * q), w + __builtin_popcountll(before)), x, sum[q]);           \
        }                                                                                                  \
    }
ADD_LANES(add_f32, float, KEPT_F32)
#ifndef ADD_BF16
#define ADD_BF16 add_bf16
ADD_LANES(add_bf16, uint16_t, KEPT_BF16)
#endif
#undef ADD_LANES

TARGET static ALWAYS_INLINE int64_t set_before(const uint64_t *mask, int64_t words)
{
    int64_t count = 0;
    for (int64_t word = 0; word < words; word++)
        count += __builtin_popcountll(mask[word]);
    return count;
}

#define PACKED_COLUMNS_LOOP(TYPE, ADD)                                                                     \
    memset(job->y + first * MASK_BITS, 0, (size_t)((last - first) * MASK_BITS) * sizeof *job->y);          \
    for (int64_t a = 0; a < job->active_count; a += GROUP) {                                               \
        const int count = job->active_count - a < GROUP ? (int)(job->active_count - a) : GROUP;            \
        const TYPE *w[GROUP];                                                                              \
        const uint64_t *mask[GROUP];                                                                       \
        vec x[GROUP];                                                                                      \
        for (int g = 0; g < count; g++) {                                                                  \
            const int64_t j = job->active[a + g];                                                          \
            mask[g] = job->mask + j * job->words;                                                          \
            w[g] = (const TYPE *)job->values + job->offsets[j] + set_before(mask[g], first);               \
            x[g] = v_set(job->active_x[a + g]);                                                            \
        }                                                                                                  \
        for (int64_t word = first; word < last; word++) {                                                  \
            float *y = job->y + word * MASK_BITS;                                                          \
            vec sum[PARTS];                                                                                \
            for (int q = 0; q < PARTS; q++)                                                                \
                sum[q] = v_load(y + q * LANES);                                                            \
            for (int g = 0; g < count; g++) {                                                              \
                const uint64_t m = mask[g][word];                                                          \
                FETCH(w[g] + 1024 / (int64_t)sizeof(TYPE));                                                \
                ADD(m, w[g], x[g], sum);                                                                   \
                w[g] += __builtin_popcountll(m);                                                           \
            }                                                                                              \
            for (int q = 0; q < PARTS; q++)                                                                \
                v_store(y + q * LANES, sum[q]);                                                            \
        }                                                                                                  \
    }

TARGET static void packed_columns_f32(const Job *job, int64_t first, int64_t last)
{
    PACKED_COLUMNS_LOOP(float, add_f32)
}
TARGET static void packed_columns_bf16(const Job *job, int64_t first, int64_t last)
{
    PACKED_COLUMNS_LOOP(uint16_t, ADD_BF16)
}
#undef PACKED_COLUMNS_LOOP
