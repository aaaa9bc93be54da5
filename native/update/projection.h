/* The part of an ADMM step that is not a product, in plain loops that compilers turn into vectors.
 *
 * What is kept of `moved` is the sparse copy and has no dual; the rest is dual and has no sparse copy.  So a step reads
 *   moved <- product + (kept ? 0 : before * moved),   kept <- what the pattern keeps of moved^2,
 *   pull <- target + rho * (kept ? moved : -after * moved),
 * where `before` and `after` are the factors that a growing penalty puts on the dual. */

/* moved of `count` elements. */
TARGET static ALWAYS_INLINE void move(const float *restrict product, const float *restrict kept, float before,
                                      int64_t count, float *restrict moved)
{
    for (int64_t e = 0; e < count; e++)
        moved[e] = product[e] + before * (1.0f - kept[e]) * moved[e];
}

/* pull of elements whose `kept` (one or zero) is known. */
TARGET static ALWAYS_INLINE void settle(const float *restrict target, const float *restrict moved,
                                        const float *restrict kept, float rho, float after, int64_t count,
                                        float *restrict pull)
{
    for (int64_t e = 0; e < count; e++)
        pull[e] = target[e] + rho * ((kept[e] - after * (1.0f - kept[e])) * moved[e]);
}

/* The largest `n` of every `m`, ties to the first; GROUPS groups side by side, one in each lane. */
enum { GROUPS = 16, MOST = 16 };

TARGET static ALWAYS_INLINE void keep_groups(const float *restrict moved, int n, const int m, float *restrict kept)
{
    float score[MOST][GROUPS];
    int32_t rank[MOST][GROUPS];
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < m; i++)
            score[i][g] = moved[g * m + i] * moved[g * m + i];
    for (int i = 0; i < m; i++) {
        for (int g = 0; g < GROUPS; g++)
            rank[i][g] = 0;
        for (int j = 0; j < i; j++)
            for (int g = 0; g < GROUPS; g++)
                rank[i][g] += score[j][g] >= score[i][g];
        for (int j = i + 1; j < m; j++)
            for (int g = 0; g < GROUPS; g++)
                rank[i][g] += score[j][g] > score[i][g];
    }
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < m; i++)
            kept[g * m + i] = rank[i][g] < n ? 1.0f : 0.0f;
}

TARGET static ALWAYS_INLINE void project_groups(const Projection *t, int n, const int m)
{
    const int64_t line = GROUPS * m;
    float last[2 * GROUPS * MOST] = {0};
    for (int64_t at = 0; at < t->size; at += line) {
        const int64_t left = t->size - at, count = left < line ? left : line;
        float *moved = t->moved + at, *kept = t->kept + at;
        move(t->product + at, kept, t->before, count, moved);
        if (count == line) {
            keep_groups(moved, n, m, kept);
        } else {
            memcpy(last, moved, (size_t)count * sizeof *last);
            keep_groups(last, n, m, last + line);
            memcpy(kept, last + line, (size_t)count * sizeof *last);
        }
        settle(t->target + at, moved, kept, t->rho, t->after, count, t->pull + at);
    }
}

TARGET static void groups(const Projection *t, int n, int m)
{
    if (m == 4)
        project_groups(t, n, 4);
    else if (m == 8)
        project_groups(t, n, 8);
    else
        project_groups(t, n, m);
}

/* moved everywhere; scores of at least `low` and below `high` are listed, those above are counted. */
TARGET static int64_t middle(const Projection *t, float low, float high, float *list, int64_t *above)
{
    int64_t listed = 0, over = 0;
    for (int64_t at = 0; at < t->size; at += LINE) {
        const int64_t left = t->size - at, count = left < LINE ? left : LINE;
        float *moved = t->moved + at;
        int32_t more = 0;
        move(t->product + at, t->kept + at, t->before, count, moved);
        for (int64_t e = 0; e < count; e++)
            more += moved[e] * moved[e] >= high;
        over += more;
        for (int64_t e = 0; e < count; e++) {
            const float score = moved[e] * moved[e];
            list[listed] = score;
            listed += (score >= low) & (score < high);
        }
    }
    *above = over;
    return listed;
}

TARGET static ALWAYS_INLINE void keep_from(const float *restrict moved, float edge, int64_t count, float *restrict kept)
{
    for (int64_t e = 0; e < count; e++)
        kept[e] = moved[e] * moved[e] >= edge ? 1.0f : 0.0f;
}

TARGET static void threshold(const Projection *t, float edge)
{
    for (int64_t at = 0; at < t->size; at += LINE) {
        const int64_t left = t->size - at, count = left < LINE ? left : LINE;
        keep_from(t->moved + at, edge, count, t->kept + at);
        settle(t->target + at, t->moved + at, t->kept + at, t->rho, t->after, count, t->pull + at);
    }
}
