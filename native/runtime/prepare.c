/* Puts inputs into the form that a kernel reads, and what it wrote into the form that the caller wants. */
#include "job.h"
#include <math.h>
#include <stdlib.h>

static float given_at(Given g, int64_t i)
{
    return g.kind == BF16 ? widen(((const uint16_t *)g.x)[i]) : ((const float *)g.x)[i];
}

static void *room(int64_t bytes)
{
    size_t size = ((size_t)bytes + 127) / 64 * 64;
    return aligned_alloc(64, size);
}

/* Rows of `padded` inputs, zero beyond cols; the caller's memory itself where it already has that form. */
int inputs_rows(Given g, int64_t padded, int keep_bf16, Inputs *out)
{
    const int same = g.kind == F32 || keep_bf16;
    const int64_t width = g.kind == BF16 && keep_bf16 ? 2 : 4;
    memset(out, 0, sizeof *out);
    if (same && padded == g.cols) {
        out->x = (void *)(uintptr_t)g.x;
        return 0;
    }
    out->x = out->block = room(g.batch * padded * width);
    if (out->x == NULL)
        return -1;
    for (int64_t b = 0; b < g.batch; b++) {
        char *row = (char *)out->x + b * padded * width;
        if (same)
            memcpy(row, (const char *)g.x + b * g.cols * width, (size_t)(g.cols * width));
        else
            for (int64_t j = 0; j < g.cols; j++)
                ((float *)row)[j] = given_at(g, b * g.cols + j);
        memset(row + g.cols * width, 0, (size_t)((padded - g.cols) * width));
    }
    return 0;
}

/* Symmetric int8 of one row: q = round(127 x / max|x|), returns max|x| / 127, or NaN where an input is not finite. */
static float quantise(const float *x, int64_t cols, uint8_t flip, uint8_t *row)
{
    float largest = 0.0f, poison = 0.0f;
    for (int64_t j = 0; j < cols; j++)
        largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    for (int64_t j = 0; j < cols; j++)
        poison += x[j] * 0.0f;
    if (poison != 0.0f)
        return NAN;
    const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
    for (int64_t j = 0; j < cols; j++)
        row[j] = (uint8_t)((int)(x[j] * inverse + copysignf(0.5f, x[j])) ^ flip);
    return largest / 127.0f;
}

int inputs_int8(Given g, int64_t padded, int plus_128, Inputs *out)
{
    const uint8_t flip = plus_128 ? 0x80 : 0;
    memset(out, 0, sizeof *out);
    const int64_t bytes = (g.batch * padded + 63) / 64 * 64;
    uint8_t *block = room(bytes + (g.batch + g.cols) * (int64_t)sizeof(float));
    if (block == NULL)
        return -1;
    out->x = out->block = block;
    out->x_scale = (float *)(void *)(block + bytes);
    float *wide = out->x_scale + g.batch;
    memset(block, flip, (size_t)(g.batch * padded));
    for (int64_t b = 0; b < g.batch; b++) {
        const float *x = (const float *)g.x + b * g.cols;
        if (g.kind == BF16) {
            for (int64_t j = 0; j < g.cols; j++)
                wide[j] = widen(((const uint16_t *)g.x)[b * g.cols + j]);
            x = wide;
        }
        out->x_scale[b] = quantise(x, g.cols, flip, block + b * padded);
    }
    return 0;
}

/* (in, batch) floats, both padded with zeros. */
int inputs_transposed(Given g, int64_t padded_cols, int64_t padded_batch, Inputs *out)
{
    memset(out, 0, sizeof *out);
    float *x = room(padded_cols * padded_batch * (int64_t)sizeof(float));
    if (x == NULL)
        return -1;
    out->x = out->block = x;
    for (int64_t j = 0; j < padded_cols; j++)
        for (int64_t b = 0; b < padded_batch; b++)
            x[j * padded_batch + b] = j < g.cols && b < g.batch ? given_at(g, b * g.cols + j) : 0.0f;
    return 0;
}

static uint16_t to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* Adds the bias and rounds to the caller's type. */
void finish(const float *y, const float *bias, int64_t batch, int64_t rows, int kind, void *out)
{
    for (int64_t b = 0; b < batch; b++)
        for (int64_t r = 0; r < rows; r++) {
            float v = y[b * rows + r] + (bias ? bias[r] : 0.0f);
            if (kind == BF16)
                ((uint16_t *)out)[b * rows + r] = to_bf16(v);
            else
                ((float *)out)[b * rows + r] = v;
        }
}

/* Inputs worth no more than the threshold become zero; what is not a number stays.  The same arithmetic as the choice
 * of columns, so that a layer does the same at every batch. */
void cut_inputs(const void *x, int kind, const float *norms, float threshold, int64_t batch, int64_t cols, void *out)
{
    for (int64_t b = 0; b < batch; b++) {
        if (kind == BF16) {
            const uint16_t *from = (const uint16_t *)x + b * cols;
            uint16_t *to = (uint16_t *)out + b * cols;
            for (int64_t j = 0; j < cols; j++) {
                float worth = widen(from[j] & 0x7fff);
                worth *= norms ? norms[j] : 1.0f;
                to[j] = worth <= threshold ? 0 : from[j];
            }
        } else {
            const float *from = (const float *)x + b * cols;
            float *to = (float *)out + b * cols;
            for (int64_t j = 0; j < cols; j++) {
                float worth = from[j] < 0.0f ? -from[j] : from[j];
                worth *= norms ? norms[j] : 1.0f;
                to[j] = worth <= threshold ? 0.0f : from[j];
            }
        }
    }
}
