/* Column skipping: y = sum over the active inputs of x_j times column j; the weight is stored transposed, (in, out).
 * Eight columns at a time share one read and write of y, and the next eight are fetched meanwhile. */
enum { GROUP = 8 };

#define COLUMNS_LOOP(TYPE, LOAD, ONE)                                                                      \
    const TYPE *weights = job->values;                                                                     \
    float *y = job->y;                                                                                     \
    memset(y + first, 0, (size_t)(last - first) * sizeof *y);                                              \
    int64_t a = 0;                                                                                         \
    for (; a + GROUP <= job->active_count; a += GROUP) {                                                   \
        const TYPE *w[GROUP], *ahead[GROUP];                                                               \
        vec x[GROUP];                                                                                      \
        for (int g = 0; g < GROUP; g++) {                                                                  \
            int64_t next = a + GROUP + g < job->active_count ? a + GROUP + g : a + g;                      \
            w[g] = weights + job->active[a + g] * job->rows;                                               \
            ahead[g] = weights + job->active[next] * job->rows;                                            \
            x[g] = v_set(job->active_x[a + g]);                                                            \
        }                                                                                                  \
        int64_t r = first;                                                                                 \
        for (; r + LANES <= last; r += LANES) {                                                            \
            vec low = v_load(y + r), high = v_zero();                                                      \
            for (int g = 0; g < GROUP; g += 2) {                                                           \
                low = v_fma(LOAD(w[g] + r), x[g], low);                                                    \
                high = v_fma(LOAD(w[g + 1] + r), x[g + 1], high);                                          \
            }                                                                                              \
            if (r % (64 / (int64_t)sizeof(TYPE)) < LANES)                                                  \
                for (int g = 0; g < GROUP; g++)                                                            \
                    FETCH(ahead[g] + r);                                                                   \
            v_store(y + r, v_add(low, high));                                                              \
        }                                                                                                  \
        for (; r < last; r++)                                                                              \
            for (int g = 0; g < GROUP; g++)                                                                \
                y[r] += ONE(w[g][r]) * job->active_x[a + g];                                               \
    }                                                                                                      \
    for (; a < job->active_count; a++) {                                                                   \
        const TYPE *w = weights + job->active[a] * job->rows;                                              \
        const float x = job->active_x[a];                                                                  \
        int64_t r = first;                                                                                 \
        for (; r + LANES <= last; r += LANES)                                                              \
            v_store(y + r, v_fma(LOAD(w + r), v_set(x), v_load(y + r)));                                   \
        for (; r < last; r++)                                                                              \
            y[r] += ONE(w[r]) * x;                                                                         \
    }

TARGET static void columns_f32(const Job *job, int64_t first, int64_t last) { COLUMNS_LOOP(float, v_load, ) }
TARGET static void columns_bf16(const Job *job, int64_t first, int64_t last)
{
    COLUMNS_LOOP(uint16_t, v_widen, widen)
}
#undef COLUMNS_LOOP
