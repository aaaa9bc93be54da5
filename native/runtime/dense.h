/* Dense matrix-vector products: the control that every sparse kernel is timed against.
 * Included once per level, after the lanes.  Short rows are fetched ahead; along long ones the hardware does better. */

#define DENSE_LOOP(TYPE, LOAD, ONE)                                                                        \
    const TYPE *weights = job->values;                                                                     \
    const float *x = job->x;                                                                               \
    const int64_t step = 8 / n * LANES, bulk = job->cols / step * step;                                    \
    const int near = job->cols * (int64_t)sizeof(TYPE) < 8192;                                             \
    for (int64_t r = first; r < last; r++) {                                                               \
        const TYPE *w = weights + r * job->cols;                                                           \
        vec sum[8];                                                                                        \
        for (int k = 0; k < 8; k++)                                                                        \
            sum[k] = v_zero();                                                                             \
        for (int64_t j = 0; j < bulk; j += step) {                                                         \
            if (near)                                                                                      \
                for (int line = 0; line < (int)(step * (int64_t)sizeof(TYPE)); line += 64)                 \
                    FETCH((const char *)(w + j) + 4096 + line);                                            \
            for (int u = 0; u < 8 / n; u++) {                                                              \
                vec v = LOAD(w + j + u * LANES);                                                           \
                for (int b = 0; b < n; b++)                                                                \
                    sum[b * (8 / n) + u] =                                                                 \
                        v_fma(v, v_load(x + b * job->x_stride + j + u * LANES), sum[b * (8 / n) + u]);     \
            }                                                                                              \
        }                                                                                                  \
        for (int b = 0; b < n; b++) {                                                                      \
            vec total = sum[b * (8 / n)];                                                                  \
            for (int u = 1; u < 8 / n; u++)                                                                \
                total = v_add(total, sum[b * (8 / n) + u]);                                                \
            float tail = v_sum(total);                                                                     \
            for (int64_t j = bulk; j < job->cols; j++)                                                     \
                tail += ONE(w[j]) * x[b * job->x_stride + j];                                              \
            job->y[b * job->y_stride + r] = tail;                                                          \
        }                                                                                                  \
    }

TARGET static ALWAYS_INLINE void dense_f32_n(const Job *job, int64_t first, int64_t last, const int n)
{
    DENSE_LOOP(float, v_load, )
}

TARGET static ALWAYS_INLINE void dense_bf16_n(const Job *job, int64_t first, int64_t last, const int n)
{
    DENSE_LOOP(uint16_t, v_widen, widen)
}
#undef DENSE_LOOP

TARGET static void dense_f32(const Job *job, int64_t first, int64_t last) { BY_BATCH(dense_f32_n) }
TARGET static void dense_bf16(const Job *job, int64_t first, int64_t last) { BY_BATCH(dense_bf16_n) }
