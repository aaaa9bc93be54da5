/* Runs every kernel of every level over awkward shapes with buffers of exactly the promised size, to be built with
 * AddressSanitizer and UndefinedBehaviorSanitizer: a read or write outside of them ends the program.  Results are
 * compared with a plain loop in double. */
#include "job.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef SHORT_PAD /* a packed weight without its tail: the sanitizer has to see this */
enum { PAD = 0 };
#else
enum { PAD = 64 };
#endif
static uint64_t state = 88172645463325252ull;
static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static double uniform(void) { return (double)(next_random() >> 11) / 9007199254740992.0; }
static void *exactly(size_t bytes) { return malloc(bytes ? bytes : 1); }

static uint16_t narrow(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static int failures;
static void compare(const char *what, const Level *level, int kind, const Job *job, const double *want, double slack)
{
    for (int64_t i = 0; i < job->batch * job->rows; i++)
        if (!(fabs(job->y[i] - want[i]) <= slack)) {
            printf("%s kind %d %s %lldx%lld batch %lld: %g, expected %g\n", what, kind, level->name,
                   (long long)job->rows, (long long)job->cols, (long long)job->batch, job->y[i], want[i]);
            failures++;
            return;
        }
}

/* Packs the transposed dense weight, a row for each input, and multiplies by all of them. */
static void try_packed_columns(const Level *level, int kind, const char *turned, const Job *plain, const double *want,
                               double slack)
{
    const size_t width = kind == F32 ? 4 : 2;
    const int64_t rows = plain->rows, cols = plain->cols, words = (rows + 63) / 64;
    uint64_t *mask = calloc((size_t)(cols * words) + 1, sizeof *mask);
    int32_t *offsets = exactly((size_t)(cols + 1) * sizeof *offsets);
    int64_t count = 0;
    static const char zero[4];
    for (int pass = 0; pass < 2; pass++) {
        char *values = exactly(((size_t)count + PAD) * width);
        memset(values + (size_t)count * width, 0, PAD * width);
        count = 0;
        for (int64_t j = 0; j < cols; j++) {
            offsets[j] = (int32_t)count;
            for (int64_t r = 0; r < rows; r++) {
                const char *place = turned + (size_t)(j * rows + r) * width;
                if (memcmp(place, zero, width) == 0)
                    continue;
                mask[j * words + r / 64] |= 1ull << (r % 64);
                if (pass)
                    memcpy(values + (size_t)count * width, place, width);
                count++;
            }
        }
        offsets[cols] = (int32_t)count;
        if (pass) {
            Job job = *plain;
            float *y = exactly((size_t)(words * 64) * sizeof *y);
            job.words = words, job.mask = mask, job.offsets = offsets, job.values = values, job.y = y;
            level->packed_columns[kind](&job, 0, words / 2);
            level->packed_columns[kind](&job, words / 2, words);
            compare("packed columns", level, kind, &job, want, slack);
            free(y);
        }
        free(values);
    }
    free(mask), free(offsets);
}

static void try_shape(const Level *level, int kind, int64_t rows, int64_t cols, int64_t batch, double keep, int height)
{
    static const size_t widths[KINDS] = {4, 2, 1};
    const int64_t words = (cols + 63) / 64, groups = rows / height;
    const size_t width = widths[kind];
    float *weight = calloc((size_t)(rows * cols) + 1, sizeof *weight);
    uint64_t *mask = calloc((size_t)(groups * words) + 1, sizeof *mask);
    int32_t *offsets = exactly((size_t)(groups + 1) * sizeof *offsets), *sums = calloc((size_t)rows + 1, sizeof *sums);
    int64_t count = 0;
    for (int64_t g = 0; g < groups; g++) {
        offsets[g] = (int32_t)count;
        for (int64_t j = 0; j < cols; j++)
            if (uniform() < keep) {
                mask[g * words + j / 64] |= 1ull << (j % 64);
                count++;
            }
    }
    offsets[groups] = (int32_t)count;
    char *values = exactly((size_t)(count * height + PAD) * width), *dense = exactly((size_t)(rows * cols) * width);
    memset(values + (size_t)(count * height) * width, 0, PAD * width);
    memset(dense, 0, (size_t)(rows * cols) * width);
    int64_t at = 0;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t j = 0; j < cols; j++)
            if (mask[g * words + j / 64] >> (j % 64) & 1)
                for (int k = 0; k < height; k++, at++) {
                    const int64_t place = (g * height + k) * cols + j;
                    float w = (float)(uniform() * 2 - 1);
                    if (kind == I8) {
                        int8_t q = (int8_t)((int)(next_random() % 255) - 127);
                        ((int8_t *)values)[at] = ((int8_t *)dense)[place] = q;
                        sums[g * height + k] += q;
                        w = q;
                    } else if (kind == BF16) {
                        uint16_t q = narrow(w);
                        ((uint16_t *)values)[at] = ((uint16_t *)dense)[place] = q;
                        w = widen(q);
                    } else {
                        ((float *)values)[at] = ((float *)dense)[place] = w;
                    }
                    weight[place] = w;
                }
    float *x = exactly((size_t)(batch * cols) * sizeof *x), *y = exactly((size_t)(batch * rows) * sizeof *y);
    uint16_t *narrowed = exactly((size_t)(batch * cols) * sizeof *narrowed);
    float *scale = exactly((size_t)rows * sizeof *scale);
    for (int64_t i = 0; i < batch * cols; i++)
        x[i] = widen(narrowed[i] = narrow((float)(uniform() * 2 - 1)));
    for (int64_t r = 0; r < rows; r++)
        scale[r] = 1.0f / 127.0f;
    double *want = calloc((size_t)(batch * rows) + 1, sizeof *want);
    for (int64_t b = 0; b < batch; b++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < cols; j++)
                want[b * rows + r] += (double)weight[r * cols + j] * x[b * cols + j] / (kind == I8 ? 127.0 : 1.0);
    const double slack = kind == I8 ? 0.006 * (double)cols + 1e-4 : 2e-5 * (double)cols + 1e-5;
    Job job = {.rows = rows, .cols = cols, .words = words, .batch = batch, .values = values, .mask = mask,
               .offsets = offsets, .scale = scale, .sums = sums, .y = y, .y_stride = rows};
    const int keep_bf16 = kind == BF16 && level->widening != NULL;
    Given given = {keep_bf16 ? (void *)narrowed : (void *)x, keep_bf16 ? BF16 : F32, batch, cols};
    for (int form = 0; form < 2 && height == 1; form++) {
        const int64_t padded = form ? words * 64 : cols;
        Inputs in;
        int failed = kind == I8 ? inputs_int8(given, padded, level->x_plus_128, &in)
                                : inputs_rows(given, padded, keep_bf16, &in);
        if (failed)
            exit(2);
        job.x = in.x, job.x_scale = in.x_scale, job.x_stride = padded;
        job.values = form ? values : dense;
        (form ? level->bitmask : level->dense)[kind](&job, 0, rows);
        compare(form ? "bitmask" : "dense", level, kind, &job, want, slack);
        free(in.block);
    }
    Given plain = {x, F32, batch, cols};
    job.values = values;
    if (height > 1 || (kind == F32 && batch <= INDEX_BATCH)) {
        Inputs in;
        job.x_stride = height > 1 ? batch : batch <= 16 ? 16 : INDEX_BATCH;
        if (inputs_transposed(plain, words * 64, job.x_stride, &in))
            exit(2);
        job.x = in.x;
        (height > 1 ? level->blocks[kind] : level->index)(&job, 0, groups);
        compare(height > 1 ? "blocks" : "index", level, kind, &job, want, slack);
        free(in.block);
    }
    char *again = exactly((size_t)(rows * cols) * width);
    unpack_rows(kind, height, &job, 0, groups, again);
    if (memcmp(again, dense, (size_t)(rows * cols) * width) != 0)
        printf("unpack differs\n"), failures++;
    if (kind != I8 && height == 1 && batch == 1) {
        char *turned = exactly((size_t)(rows * cols) * width);
        int32_t *active = exactly((size_t)cols * sizeof *active);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < cols; j++)
                memcpy(turned + (size_t)(j * rows + r) * width, dense + (size_t)(r * cols + j) * width, width);
        for (int64_t j = 0; j < cols; j++)
            active[j] = (int32_t)j;
        job.values = turned, job.active = active, job.active_x = x, job.active_count = cols;
        level->columns[kind](&job, 0, rows);
        compare("columns", level, kind, &job, want, slack);
        try_packed_columns(level, kind, turned, &job, want, slack);
        free(turned), free(active);
    }
    if (height == 1 && kind == F32) {
        float *left = exactly((size_t)(batch * cols) * sizeof *left);
        float *norms = exactly((size_t)cols * sizeof *norms);
        for (int64_t j = 0; j < cols; j++)
            norms[j] = 0.5f;
        cut_inputs(x, F32, norms, 0.25f, batch, cols, left);
        for (int64_t i = 0; i < batch * cols; i++)
            if (left[i] != (fabsf(x[i]) * 0.5f <= 0.25f ? 0.0f : x[i]))
                printf("cut differs\n"), failures++;
        cut_inputs(narrowed, BF16, NULL, 0.25f, batch, cols, narrowed);
        free(left), free(norms);
    }
    finish(job.y, NULL, batch, rows, BF16, narrowed = realloc(narrowed, (size_t)(batch * rows) * 2 + 2));
    free(weight), free(mask), free(offsets), free(sums), free(values), free(dense), free(x), free(y), free(narrowed);
    free(scale), free(want), free(again);
}

int main(void)
{
    const Level *levels[4] = {&level_portable};
    int known = 1;
#ifdef FEWER_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        levels[known++] = &level_avx2;
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni"))
        levels[known++] = &level_avx512;
    if (known == 3 && __builtin_cpu_supports("avx512bf16"))
        levels[known++] = &level_avx512_bf16;
#endif
    static const int64_t shapes[][2] = {{1, 1}, {1, 63}, {2, 64}, {3, 65}, {17, 129}, {32, 255}, {64, 257}, {33, 700}};
    static const int64_t batches[] = {1, 2, 3, 4, 7, 16, 17, 32};
    static const double keeps[] = {0.0, 0.1, 0.5, 1.0};
    for (int l = 0; l < known; l++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++)
                for (size_t k = 0; k < sizeof keeps / sizeof keeps[0]; k++)
                    for (int kind = 0; kind < KINDS; kind++) {
                        const int height = kind == F32 ? 16 : 32;
                        try_shape(levels[l], kind, shapes[s][0], shapes[s][1], batches[b], keeps[k], 1);
                        if (kind != I8 && shapes[s][0] % height == 0)
                            try_shape(levels[l], kind, shapes[s][0], shapes[s][1], batches[b], keeps[k], height);
                    }
    printf("%d levels, %d failures\n", known, failures);
    return failures != 0;
}
