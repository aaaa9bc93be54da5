/* The Python side: addresses and sizes in, memory that the caller owns filled.  Shapes are checked in Python. */
#include "../module.h"
#include "job.h"
#include <stdlib.h>

enum { MOST_ARGUMENTS = 20 };

static int numbers(PyObject *const *args, Py_ssize_t given, Py_ssize_t wanted, int64_t *out)
{
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "expected %zd numbers, got %zd", wanted, given);
        return -1;
    }
    for (Py_ssize_t i = 0; i < given; i++) {
        out[i] = PyLong_AsLongLong(args[i]);
        if (out[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

#define AT(i) ((void *)(uintptr_t)n[i])

static const Level *level_of(int64_t index)
{
    const Level *levels[3];
    int count = 0;
#ifdef FEWER_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") &&
        __builtin_cpu_supports("avx512vnni"))
        levels[count++] = __builtin_cpu_supports("avx512bf16") ? &level_avx512_bf16 : &level_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
        __builtin_cpu_supports("popcnt"))
        levels[count++] = &level_avx2;
#endif
    levels[count++] = &level_portable;
    return index >= 0 && index < count ? levels[index] : NULL;
}

static PyObject *levels(PyObject *self, PyObject *ignored)
{
    (void)self, (void)ignored;
    PyObject *list = PyList_New(0);
    const Level *level;
    for (int64_t i = 0; list && (level = level_of(i)); i++) {
        PyObject *name = PyUnicode_FromString(level->name);
        if (name == NULL || PyList_Append(list, name) < 0) {
            Py_XDECREF(name);
            Py_DECREF(list);
            return NULL;
        }
        Py_DECREF(name);
    }
    return list;
}

static PyObject *threads(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    (void)self;
    if (numbers(args, given, 3, n) < 0)
        return NULL;
    parallel_set((int)n[0], (uintptr_t)n[1], (uintptr_t)n[2]);
    Py_RETURN_NONE;
}

enum form { DENSE, BITMASK, INDEX, BLOCKS };

static int prepare(enum form form, const Level *level, int kind, Given g, Job *job, Inputs *in)
{
    const int64_t padded = form == DENSE ? g.cols : job->words * MASK_BITS;
    job->x_stride = padded;
    int failed;
    if (form == INDEX || form == BLOCKS) {
        job->x_stride = form == INDEX ? (g.batch <= 16 ? 16 : INDEX_BATCH) : g.batch;
        failed = inputs_transposed(g, padded, job->x_stride, in);
    } else if (kind == I8) {
        failed = inputs_int8(g, padded, level->x_plus_128, in);
    } else {
        failed = inputs_rows(g, padded, kind == BF16 && level->widening != NULL, in);
    }
    job->x = in->x;
    job->x_scale = in->x_scale;
    return failed;
}

static int64_t bytes_of(enum form form, int kind, int64_t rows, const Job *job)
{
    static const int64_t widths[KINDS] = {4, 2, 1};
    if (form == DENSE)
        return rows * job->cols * widths[kind];
    int64_t height = form == BLOCKS ? (kind == F32 ? 16 : 32) : 1;
    return (int64_t)job->offsets[rows / height] * height * widths[kind];
}

static int run(enum form form, const Level *level, int kind, Given g, Job *job)
{
    Inputs in;
    if (prepare(form, level, kind, g, job, &in))
        return -1;
    Kernel kernel = form == DENSE ? level->dense[kind] : form == BITMASK ? level->bitmask[kind]
                    : form == INDEX ? level->index : level->blocks[kind];
    int64_t count = form == BLOCKS ? job->rows / (kind == F32 ? 16 : 32) : job->rows;
    parallel(kernel, job, count, bytes_of(form, kind, job->rows, job));
    free(in.block);
    return 0;
}

/* level, kind, values, mask, offsets, scale, sums, bias, rows, cols, x kind, x, y, batch */
static PyObject *multiply(enum form form, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    if (numbers(args, given, 14, n) < 0)
        return NULL;
    const Level *level = level_of(n[0]);
    const int kind = (int)n[1], x_kind = (int)n[10];
    if (level == NULL || kind < 0 || kind >= KINDS || x_kind < 0 || x_kind > BF16 ||
        (kind == I8 && (form == BLOCKS || form == INDEX)) || (form == INDEX && kind != F32)) {
        PyErr_SetString(PyExc_ValueError, "no such level or kind");
        return NULL;
    }
    if (level->widening && x_kind == F32)
        level = level->widening;
    const int64_t rows = n[8], batch = n[13], most = form == INDEX ? INDEX_BATCH : batch;
    const int64_t x_width = x_kind == BF16 ? 2 : 4;
    Job job = {.rows = rows, .cols = n[9], .words = (n[9] + 63) / 64, .values = AT(2), .mask = AT(3),
               .offsets = AT(4), .scale = AT(5), .sums = AT(6), .y_stride = rows};
    float *own = NULL;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = x_kind == BF16 && (own = malloc((size_t)(batch * rows + 1) * sizeof *own)) == NULL;
    float *y = own ? own : AT(12);
    for (int64_t b = 0; b < batch && !failed; b += most) {
        job.batch = batch - b < most ? batch - b : most;
        job.y = y + b * rows;
        failed = run(form, level, kind, (Given){(char *)AT(11) + b * n[9] * x_width, x_kind, job.batch, n[9]}, &job);
    }
    if (!failed && (own || n[7]))
        finish(y, AT(7), batch, rows, x_kind, AT(12));
    free(own);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *dense(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    (void)self;
    return multiply(DENSE, args, given);
}
static PyObject *bitmask(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    (void)self;
    return multiply(BITMASK, args, given);
}
static PyObject *index_tiles(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    (void)self;
    return multiply(INDEX, args, given);
}
static PyObject *blocks(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    (void)self;
    return multiply(BLOCKS, args, given);
}

/* Inputs that stay: not |x_j| * norm_j <= threshold, so that what is not a number stays. */
static int64_t choose(const float *x, const float *norms, float threshold, int64_t cols, int32_t *active, float *kept)
{
    int64_t count = 0;
    for (int64_t j = 0; j < cols; j++) {
        float worth = x[j] < 0.0f ? -x[j] : x[j];
        if (norms)
            worth *= norms[j];
        active[count] = (int32_t)j;
        kept[count] = x[j];
        count += !(worth <= threshold);
    }
    return count;
}

/* level, kind, transposed weight, norms, threshold (address of a float), bias, rows, cols, x kind, x, y */
static PyObject *columns(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    (void)self;
    if (numbers(args, given, 11, n) < 0)
        return NULL;
    const Level *level = level_of(n[0]);
    const int kind = (int)n[1], x_kind = (int)n[8];
    if (level == NULL || kind < 0 || kind > BF16 || x_kind < 0 || x_kind > BF16) {
        PyErr_SetString(PyExc_ValueError, "no such level or kind");
        return NULL;
    }
    const int64_t rows = n[6], cols = n[7];
    Job job = {.rows = rows, .cols = cols, .batch = 1, .values = AT(2), .y_stride = rows};
    Inputs in;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    float *block = malloc((size_t)(2 * cols + 2 + rows) * sizeof *block);
    failed = inputs_rows((Given){AT(9), x_kind, 1, cols}, cols, 0, &in) || block == NULL;
    if (!failed) {
        float *kept = block, *own = block + 2 * cols + 2;
        int32_t *active = (int32_t *)(void *)(block + cols + 1);
        job.active_count = choose(in.x, AT(3), *(const float *)AT(4), cols, active, kept);
        job.active = active;
        job.active_x = kept;
        job.y = x_kind == BF16 ? own : AT(10);
        parallel(level->columns[kind], &job, rows, job.active_count * rows * (kind == F32 ? 4 : 2));
        if (x_kind == BF16 || n[5])
            finish(job.y, AT(5), 1, rows, x_kind, AT(10));
    }
    free(in.block);
    free(block);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_NoMemory();
    return PyLong_FromLongLong(job.active_count);
}

/* level, kind, values, mask, offsets of the transposed weight, norms, threshold (address of a float), bias, rows, cols,
 * x kind, x, y */
static PyObject *packed_columns(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    (void)self;
    if (numbers(args, given, 13, n) < 0)
        return NULL;
    const Level *level = level_of(n[0]);
    const int kind = (int)n[1], x_kind = (int)n[10];
    if (level == NULL || kind < 0 || kind > BF16 || x_kind < 0 || x_kind > BF16) {
        PyErr_SetString(PyExc_ValueError, "no such level or kind");
        return NULL;
    }
    const int64_t rows = n[8], cols = n[9], words = (rows + MASK_BITS - 1) / MASK_BITS;
    Job job = {.rows = rows, .cols = cols, .words = words, .batch = 1, .values = AT(2), .mask = AT(3),
               .offsets = AT(4), .y_stride = rows};
    Inputs in;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    float *block = malloc((size_t)(2 * cols + 2 + words * MASK_BITS) * sizeof *block);
    failed = inputs_rows((Given){AT(11), x_kind, 1, cols}, cols, 0, &in) || block == NULL;
    if (!failed) {
        float *kept = block;
        int32_t *active = (int32_t *)(void *)(block + cols + 1);
        job.active_count = choose(in.x, AT(5), *(const float *)AT(6), cols, active, kept);
        job.active = active;
        job.active_x = kept;
        job.y = block + 2 * cols + 2;
        const int64_t whole = (int64_t)job.offsets[cols] * (kind == F32 ? 4 : 2);
        parallel(level->packed_columns[kind], &job, words, cols ? whole / cols * job.active_count : 0);
        finish(job.y, AT(7), 1, rows, x_kind, AT(12));
    }
    free(in.block);
    free(block);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_NoMemory();
    return PyLong_FromLongLong(job.active_count);
}

/* x kind, x, norms, threshold (address of a float), batch, cols, out */
static PyObject *cut(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    (void)self;
    if (numbers(args, given, 7, n) < 0)
        return NULL;
    if (n[0] < 0 || n[0] > BF16) {
        PyErr_SetString(PyExc_ValueError, "no such kind");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    cut_inputs(AT(1), (int)n[0], AT(2), *(const float *)AT(3), n[4], n[5], AT(6));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* kind, height, values, mask, offsets, cols, first row, last row (of blocks), out */
static PyObject *unpack(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    (void)self;
    if (numbers(args, given, 9, n) < 0)
        return NULL;
    if (n[0] < 0 || n[0] >= KINDS) {
        PyErr_SetString(PyExc_ValueError, "no such kind");
        return NULL;
    }
    Job job = {.cols = n[5], .words = (n[5] + 63) / 64, .values = AT(2), .mask = AT(3), .offsets = AT(4)};
    Py_BEGIN_ALLOW_THREADS
    unpack_rows((int)n[0], n[1], &job, n[6], n[7], AT(8));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *stream(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[MOST_ARGUMENTS];
    (void)self;
    if (numbers(args, given, 2, n) < 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(stream_read(AT(0), n[1]));
}

#define FAST(name, function, doc) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL, doc}
PyMethodDef runtime_methods[] = {
    {"runtime_levels", levels, METH_NOARGS, "Instruction-set levels of this machine, best first."},
    FAST("runtime_threads", threads, "(how, loop, threads): which parallel loop to use; addresses of two functions."),
    FAST("runtime_dense", dense, "Dense matrix-vector product."),
    FAST("runtime_bitmask", bitmask, "Matrix-vector product of a bit-mask packed weight."),
    FAST("runtime_index", index_tiles, "Small-batch product of a bit-mask packed weight, float only."),
    FAST("runtime_blocks", blocks, "Product of a weight packed in 16x1 (float) or 32x1 (bfloat16) blocks."),
    FAST("runtime_columns", columns, "Product that skips small inputs; returns how many were left."),
    FAST("runtime_packed_columns", packed_columns, "The same for a weight that is packed transposed."),
    FAST("runtime_cut", cut, "Inputs with the small ones set to zero."),
    FAST("runtime_unpack", unpack, "Packed rows to dense ones."),
    FAST("runtime_stream", stream, "Read memory once."),
    {NULL, NULL, 0, NULL},
};
