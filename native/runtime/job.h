/* One matrix-vector job as the kernels see it, and the table of kernels of one instruction-set level.
 *
 * A kernel fills y[b * y_stride + r] = sum_j w[r][j] * x[b][j] in float for first <= r < last; inputs were put into
 * the form that it reads (prepare.c) and biases and rounding to bfloat16 come afterwards, so kernels hold the inner
 * loop only.  Ranges are in rows, or in block rows for block kernels. */
#ifndef FEWER_RUNTIME_JOB_H
#define FEWER_RUNTIME_JOB_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && !defined(FEWER_PORTABLE) && (defined(__GNUC__) || defined(__clang__))
#define FEWER_X86 1
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

enum kind { F32 = 0, BF16 = 1, I8 = 2, KINDS = 3 };

typedef struct {
    int64_t rows, cols, words, batch; /* words = ceil(cols / 64) mask words in a row of the mask */
    const void *values;               /* kept values in row order (dense kernels: all of them) */
    const uint64_t *mask;             /* bit j % 64 of word j / 64: input j is kept */
    const int32_t *offsets;           /* first kept value of each row, in bits of the mask */
    const float *scale;               /* int8: one factor a row */
    const int32_t *sums;              /* int8: sum of the kept values of each row */
    const void *x;                    /* inputs, in the form that the kernel wants */
    int64_t x_stride;                 /* elements between two inputs of the batch (transposed: padded batch) */
    const float *x_scale;             /* int8: one factor an input of the batch */
    float *y;
    int64_t y_stride;
    /* column skipping: the inputs that are left */
    const int32_t *active;
    const float *active_x;
    int64_t active_count;
} Job;

typedef void (*Kernel)(const Job *, int64_t first, int64_t last);

typedef struct Level {
    const char *name;
    Kernel dense[KINDS], bitmask[KINDS], blocks[2], columns[2], packed_columns[2], index;
    int x_plus_128;               /* int8 kernels want unsigned inputs, shifted by 128 */
    const struct Level *widening; /* set: bfloat16 kernels want bfloat16 inputs; this level takes float ones */
} Level;

extern const Level level_portable;
#ifdef FEWER_X86
extern const Level level_avx2, level_avx512, level_avx512_bf16;
#endif

/* INDEX_BATCH inputs of TILE columns are what the nearest cache holds. */
enum { TILE = 256, INDEX_ROWS = 16, INDEX_BATCH = 32, MASK_BITS = 64 };

static ALWAYS_INLINE float widen(uint16_t v)
{
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* prepare.c */
typedef struct {
    void *x;
    float *x_scale;
    void *block; /* what to free; NULL when x is the caller's own memory */
} Inputs;
typedef struct { const void *x; int kind; int64_t batch, cols; } Given;
int inputs_rows(Given g, int64_t padded, int keep_bf16, Inputs *out);
int inputs_int8(Given g, int64_t padded, int plus_128, Inputs *out);
int inputs_transposed(Given g, int64_t padded_cols, int64_t padded_batch, Inputs *out);
void cut_inputs(const void *x, int kind, const float *norms, float threshold, int64_t batch, int64_t cols, void *out);
void finish(const float *y, const float *bias, int64_t batch, int64_t rows, int kind, void *out);

/* threads.c */
void parallel(Kernel kernel, const Job *job, int64_t count, int64_t bytes);
void parallel_set(int how, uintptr_t loop, uintptr_t threads);

/* unpack.c */
void unpack_rows(int kind, int64_t height, const Job *job, int64_t first, int64_t last, void *out);
uint64_t stream_read(const void *address, int64_t bytes);
#endif
