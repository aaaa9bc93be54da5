/* Small batches, float: every kept weight is broadcast over the batch.  The indices of 256 columns at a time are
 * read off the mask (DECODE), so that the packed form needs no second copy of the positions; inputs are transposed,
 * (in, padded batch), and a tile of them stays in the nearest cache over INDEX_ROWS rows. */
enum { SPARE = MASK_BITS }; /* decoders may write this many bytes past the last index */

TARGET static ALWAYS_INLINE void index_tile(const float *w, const uint8_t *at, int64_t count, const float *x,
                                            int64_t stride, vec *total, const int v)
{
    enum { MOST = 4 };
    vec sum[MOST * 2];
    for (int k = 0; k < 2 * v; k++)
        sum[k] = k < v ? total[k] : v_zero();
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) {
        vec one = v_set(w[i]), two = v_set(w[i + 1]);
        const float *x1 = x + at[i] * stride, *x2 = x + at[i + 1] * stride;
        for (int k = 0; k < v; k++) {
            sum[k] = v_fma(one, v_load(x1 + k * LANES), sum[k]);
            sum[v + k] = v_fma(two, v_load(x2 + k * LANES), sum[v + k]);
        }
    }
    if (i < count)
        for (int k = 0; k < v; k++)
            sum[k] = v_fma(v_set(w[i]), v_load(x + at[i] * stride + k * LANES), sum[k]);
    for (int k = 0; k < v; k++)
        total[k] = v_add(sum[k], sum[v + k]);
}

TARGET static ALWAYS_INLINE void index_v(const Job *job, int64_t first, int64_t last, const int v)
{
    const float *values = job->values, *x = job->x;
    for (int64_t top = first; top < last; top += INDEX_ROWS) {
        int64_t rows = last - top < INDEX_ROWS ? last - top : INDEX_ROWS;
        int64_t at[INDEX_ROWS];
        vec total[INDEX_ROWS * 4];
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
                index_tile(values + at[r], found, count, x + word * MASK_BITS * job->x_stride, job->x_stride,
                           total + r * v, v);
                at[r] += count;
            }
        }
        for (int64_t r = 0; r < rows; r++)
            for (int k = 0; k < v; k++) {
                float lane[LANES];
                v_store(lane, total[r * v + k]);
                for (int64_t b = 0; b < LANES && k * LANES + b < job->batch; b++)
                    job->y[(k * LANES + b) * job->y_stride + top + r] = lane[b];
            }
    }
}

TARGET static void index_f32(const Job *job, int64_t first, int64_t last)
{
    Job part = *job;
    int64_t left = job->batch;
    while (left > 0) {
        int64_t vectors = (left + LANES - 1) / LANES, take = vectors >= 4 ? 4 : vectors >= 2 ? 2 : 1;
        part.batch = left < take * LANES ? left : take * LANES;
        if (take == 4)
            index_v(&part, first, last, 4);
        else if (take == 2)
            index_v(&part, first, last, 2);
        else
            index_v(&part, first, last, 1);
        left -= part.batch;
        part.x = (const float *)part.x + part.batch;
        part.y += part.batch * part.y_stride;
    }
}
