/* The factorisation itself, written over the vectors of whoever includes it: vec of LANES doubles, HIGH rows and WIDE
 * vectors of the upper triangle held in registers.
 *
 * A tile of row r and later is finished once: from it the products of all rows above are taken, then its own HIGH rows
 * are solved.  Rows above come in panels of DEPTH, so that what is read again lies in the nearest caches. */

/* tile -= sum over rows k of U[k][i .. i + HIGH) U[k][j .. j + n LANES) */
TARGET static ALWAYS_INLINE void subtract(const System *s, int64_t first, int64_t last, int64_t i, int64_t j, const int n)
{
    vec sum[HIGH][WIDE];
    double *tile = s->a + i * s->stride + j;
    for (int r = 0; r < HIGH; r++)
        for (int w = 0; w < n; w++)
            sum[r][w] = v_load(tile + r * s->stride + w * LANES);
    const double *row = s->a + first * s->stride;
    for (int64_t k = first; k < last; k++, row += s->stride) {
        vec right[WIDE];
        for (int w = 0; w < n; w++)
            right[w] = v_load(row + j + w * LANES);
        for (int r = 0; r < HIGH; r++) {
            const vec left = v_set(row[i + r]);
            for (int w = 0; w < n; w++)
                sum[r][w] = v_less(sum[r][w], left, right[w]);
        }
    }
    for (int r = 0; r < HIGH; r++)
        for (int w = 0; w < n; w++)
            v_store(tile + r * s->stride + w * LANES, sum[r][w]);
}

/* The rows of a tile from the rows of U above it in the same HIGH: row r loses U[q][r] times row q, over the pivot. */
TARGET static ALWAYS_INLINE int solve_tile(const System *s, int64_t i, int64_t j, const int n)
{
    const double *corner = s->a + i * s->stride + i;
    double *tile = s->a + i * s->stride + j;
    vec row[HIGH][WIDE];
    for (int r = 0; r < HIGH; r++) {
        for (int w = 0; w < n; w++)
            row[r][w] = v_load(tile + r * s->stride + w * LANES);
        for (int q = 0; q < r; q++)
            for (int w = 0; w < n; w++)
                row[r][w] = v_less(row[r][w], v_set(corner[q * s->stride + r]), row[q][w]);
        if (i == j) {
            for (int w = 0; w < n; w++)
                v_store(tile + r * s->stride + w * LANES, row[r][w]);
            const double pivot = tile[r * s->stride + r];
            if (!(pivot > 0 && pivot < INFINITY))
                return 1;
            s->inverse[i + r] = 1.0 / sqrt(pivot);
        }
        for (int w = 0; w < n; w++) {
            row[r][w] = v_times(row[r][w], v_set(s->inverse[i + r]));
            v_store(tile + r * s->stride + w * LANES, row[r][w]);
        }
    }
    return 0;
}

/* Columns j to stop, at most WIDE vectors; their number is a constant in each call, so that a tile stays in registers. */
#define BY_WIDTH(CALL)                           \
    const int64_t vectors = (stop - j) / LANES;  \
    if (vectors >= WIDE) {                       \
        CALL(WIDE);                              \
    } else if (vectors == 2) {                   \
        CALL(2);                                 \
    } else {                                     \
        CALL(1);                                 \
    }

TARGET static void subtract_tile(const System *s, int64_t first, int64_t last, int64_t i, int64_t j, int64_t stop)
{
#define CALL(n) subtract(s, first, last, i, j, n)
    BY_WIDTH(CALL)
#undef CALL
}

TARGET static int finish_tile(const System *s, int64_t first, int64_t i, int64_t j)
{
    const int64_t stop = s->order;
    subtract_tile(s, first, i, i, j, stop);
#define CALL(n) return solve_tile(s, i, j, n)
    BY_WIDTH(CALL)
#undef CALL
}

static int factorise(const System *s)
{
    for (int64_t panel = 0; panel < s->order; panel += DEPTH) {
        const int64_t end = panel + DEPTH < s->order ? panel + DEPTH : s->order;
        for (int64_t i = panel; i < end; i += HIGH)
            for (int64_t j = i; j < s->order; j += WIDE * LANES)
                if (finish_tile(s, panel, i, j))
                    return 1;
        for (int64_t j = end; j < s->order; j += WIDE * LANES) {
            const int64_t stop = j + WIDE * LANES < s->order ? j + WIDE * LANES : s->order;
            for (int64_t i = end; i < stop; i += HIGH)
                subtract_tile(s, panel, end, i, i > j ? i : j, stop);
        }
    }
    return 0;
}

/* First U'y = x, then Ux = y; both run along rows. */
TARGET static void substitute(const System *s, double *x)
{
    for (int64_t k = 0; k < s->order; k++) {
        const double *row = s->a + k * s->stride;
        const vec gone = v_set(x[k] *= s->inverse[k]);
        int64_t j = k + 1;
        for (; j % LANES; j++)
            x[j] -= x[k] * row[j];
        for (; j < s->order; j += LANES)
            v_store(x + j, v_less(v_load(x + j), gone, v_load(row + j)));
    }
    for (int64_t k = s->order - 1; k >= 0; k--) {
        const double *row = s->a + k * s->stride;
        vec sum[2] = {v_set(0), v_set(0)};
        double head = x[k];
        int64_t j = k + 1;
        for (; j % LANES; j++)
            head -= x[j] * row[j];
        for (; j + LANES < s->order; j += 2 * LANES)
            for (int w = 0; w < 2; w++)
                sum[w] = v_less(sum[w], v_load(x + j + w * LANES), v_load(row + j + w * LANES));
        if (j < s->order)
            sum[0] = v_less(sum[0], v_load(x + j), v_load(row + j));
        x[k] = (head + v_sum(sum[0]) + v_sum(sum[1])) * s->inverse[k];
    }
}
