/* Small batches, float: every kept weight is broadcast over the batch.  The indices of 256 columns at a time are
 * read off the mask (DECODE), so that the packed form needs no second copy of the positions; inputs are transposed,
 * (in, padded batch), and a tile of them stays in the nearest cache over INDEX_ROWS rows. */
enum { SPARE = MASK_BITS }; /* decoders may write this many bytes past the last index */

/* total[0..v) += sum_i w[i] * x[at[i]], for rows of v vectors; short rows keep several sums to hide latency. */
TARGET static ALWAYS_INLINE void index_tile(const float *w, const uint8_t *at, int64_t count, const float *x,
                                            vec *total, const int v)
{
    enum { MOST = INDEX_BATCH / LANES };
    const int sums = v >= 4 ? 1 : 4 / v;
    vec sum[MOST < 4 ? 4 : MOST];
    for (int k = 0; k < sums * v; k++)
        sum[k] = k < v ? total[k] : v_zero();
    int64_t i = 0;
    for (; i + sums <= count; i += sums)
        for (int s = 0; s < sums; s++) {
            const vec weight = v_set(w[i + s]);
            const float *row = x + (size_t)at[i + s] * (size_t)(v * LANES);
            for (int k = 0; k < v; k++)
                sum[s * v + k] = v_fma(weight, v_load(row + k * LANES), sum[s * v + k]);
        }
    for (; i < count; i++)
        for (int k = 0; k < v; k++)
            sum[k] = v_fma(v_set(w[i]), v_load(x + (size_t)at[i] * (size_t)(v * LANES) + k * LANES), sum[k]);
    for (int k = 0; k < v; k++) {
        total[k] = sum[k];
        for (int s = 1; s < sums; s++)
            total[k] = v_add(total[k], sum[s * v + k]);
    }
}

TARGET static ALWAYS_INLINE void index_v(const Job *job, int64_t first, int64_t last, const int v)
{
    const float *values = job->values, *x = job->x;
    for (int64_t top = first; top < last; top += INDEX_ROWS) {
        int64_t rows = last - top < INDEX_ROWS ? last - top : INDEX_ROWS;
        int64_t at[INDEX_ROWS];
        vec total[INDEX_ROWS * (INDEX_BATCH / LANES)];
        for (int64_t r = 0; r < rows; r++) {
            at[r] = job->offsets[top + r];
            for (int k = 0; k < v; k++)
                total[r * v + k] = v_zero();
        }
        for (int64_t word = 0; word < job->words; word += TILE / MASK_BITS) {
            int64_t end = job->words - word < TILE / MASK_BITS ? job->words - word : TILE / MASK_BITS;
            for (int64_t r = 0; r < rows; r++) {
                uint8_t found[TILE + SPARE];
                const uint64_t *mask = job->mask + (top + r) * job->words + word;
                int64_t count = 0;
                for (int64_t k = 0; k < end; k++)
                    count += DECODE(mask[k], (uint8_t)(k * MASK_BITS), found + count);
                for (int64_t line = 0; line < count * (int64_t)sizeof(float); line += 64)
                    FETCH((const char *)(values + at[r] + count) + line);
                index_tile(values + at[r], found, count, x + word * MASK_BITS * (v * LANES), total + r * v, v);
                at[r] += count;
            }
        }
        float sums[INDEX_ROWS * INDEX_BATCH];
        for (int64_t k = 0; k < rows * v; k++)
            v_store(sums + k * LANES, total[k]);
        for (int64_t b = 0; b < job->batch; b++)
            for (int64_t r = 0; r < rows; r++)
                job->y[b * job->y_stride + top + r] = sums[r * v * LANES + b];
    }
}

/* The padded batch, x_stride, is 16 or 32. */
TARGET static void index_f32(const Job *job, int64_t first, int64_t last)
{
    if (job->x_stride == 16)
        index_v(job, first, last, 16 / LANES);
    else
        index_v(job, first, last, 32 / LANES);
}
