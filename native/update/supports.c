/* Every row of a layer on its own support: gathered, factorised, solved. */
#include "../module.h"
#include "solver.h"
#include "update.h"
#include <stdlib.h>

typedef struct {
    const double *matrix, *right;
    const uint8_t *mask;
    double *out;
    int64_t columns;
} Rows;

/* The sub-matrix of the kept unknowns, then ones on the diagonal up to the order; x gets the right-hand side. */
static void gather(const Rows *t, const double *right, const int32_t *at, int64_t count, const System *s, double *x)
{
    for (int64_t i = 0; i < s->order; i++) {
        double *row = s->a + i * s->stride;
        const double *from = t->matrix + (i < count ? at[i] * t->columns : 0);
        const int64_t full = i < count ? count : 0;
        int64_t j = i / PAD * PAD;
        for (; j < full; j++)
            row[j] = from[at[j]];
        for (; j < s->order; j++)
            row[j] = i == j;
        x[i] = i < count ? right[at[i]] : 0;
    }
}

static int solve_row(const Rows *t, const Solver *solver, int64_t r, int32_t *at, System *s, double *x)
{
    const uint8_t *kept = t->mask + r * t->columns;
    double *out = t->out + r * t->columns;
    int64_t count = 0;
    for (int64_t j = 0; j < t->columns; j++)
        if (kept[j])
            at[count++] = (int32_t)j;
    memset(out, 0, (size_t)t->columns * sizeof *out);
    s->order = (count + PAD - 1) / PAD * PAD;
    /* An odd number of cache lines, so that the rows of one column do not share a place in the cache. */
    s->stride = (s->order / PAD | 1) * PAD;
    gather(t, t->right + r * t->columns, at, count, s, x);
    if (solver->factorise(s))
        return 1;
    solver->substitute(s, x);
    for (int64_t i = 0; i < count; i++)
        out[at[i]] = x[i];
    return 0;
}

static int64_t most_kept(const uint8_t *mask, int64_t rows, int64_t columns)
{
    int64_t most = 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t count = 0;
        for (int64_t j = 0; j < columns; j++)
            count += mask[r * columns + j] != 0;
        most = count > most ? count : most;
    }
    return most;
}

/* Returns the number of rows that could not be solved, marked in `failed`; -1 without memory. */
static int64_t solve_rows(const Rows *t, const Solver *solver, int64_t rows, uint8_t *failed)
{
    const int64_t order = (most_kept(t->mask, rows, t->columns) + PAD - 1) / PAD * PAD;
    const size_t numbers = (size_t)order * (size_t)(order / PAD | 1) * PAD + 2 * (size_t)order + 2 * PAD;
    double *block = malloc(numbers * sizeof *block);
    int32_t *at = malloc((size_t)(t->columns + 1) * sizeof *at);
    int64_t bad = 0;
    for (int64_t r = 0; block && at && r < rows; r++) {
        double *inverse = block + numbers - 2 * (size_t)order - 2 * PAD;
        System s = {.a = block, .inverse = inverse};
        failed[r] = (uint8_t)solve_row(t, solver, r, at, &s, inverse + order + PAD);
        bad += failed[r];
    }
    const int missing = !block || !at;
    free(block);
    free(at);
    return missing ? -1 : bad;
}

/* level, matrix, right, mask, rows, columns, out, failed */
PyObject *fewer_supports(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    int64_t n[8];
    (void)self;
    if (given != 8)
        return PyErr_Format(PyExc_TypeError, "expected 8 numbers, got %zd", given);
    for (Py_ssize_t i = 0; i < given; i++) {
        n[i] = PyLong_AsLongLong(args[i]);
        if (n[i] == -1 && PyErr_Occurred())
            return NULL;
    }
    const Solver *solver = fewer_solver(n[0]);
    if (solver == NULL || n[4] < 0 || n[5] < 0 || n[5] > INT32_MAX)
        return PyErr_Format(PyExc_ValueError, "no such level or shape");
#define AT(i) ((void *)(uintptr_t)n[i])
    const Rows task = {.matrix = AT(1), .right = AT(2), .mask = AT(3), .columns = n[5], .out = AT(6)};
    int64_t bad;
    Py_BEGIN_ALLOW_THREADS
    bad = solve_rows(&task, solver, n[4], AT(7));
    Py_END_ALLOW_THREADS
    return bad < 0 ? PyErr_NoMemory() : PyLong_FromLongLong(bad);
}
