/* The Python side of the projections: addresses, sizes and factors in, memory that the caller owns filled. */
#include "../module.h"
#include "solver.h"
#include "update.h"

/* level, (product, target, moved, pull, kept, size), (before, rho, after), then what follows */
static const Solver *task(PyObject *args, Projection *t, PyObject **rest)
{
    long long level, at[5], size;
    if (!PyArg_ParseTuple(args, "L(LLLLLL)(fff)O", &level, at, at + 1, at + 2, at + 3, at + 4, &size,
                          &t->before, &t->rho, &t->after, rest))
        return NULL;
#define AT(i) ((void *)(uintptr_t)at[i])
    t->product = AT(0), t->target = AT(1), t->moved = AT(2), t->pull = AT(3), t->kept = AT(4);
    t->size = size;
    const Solver *solver = fewer_solver(level);
    if (solver == NULL || size < 0) {
        PyErr_SetString(PyExc_ValueError, "no such level or size");
        return NULL;
    }
    return solver;
}

/* rest: (n, m) */
PyObject *fewer_admm_groups(PyObject *self, PyObject *args)
{
    Projection t;
    PyObject *rest;
    int n, m;
    (void)self;
    const Solver *solver = task(args, &t, &rest);
    if (solver == NULL || !PyArg_ParseTuple(rest, "ii", &n, &m))
        return NULL;
    if (m < 1 || m > 16 || t.size % m)
        return PyErr_Format(PyExc_ValueError, "no groups of %d", m);
    Py_BEGIN_ALLOW_THREADS
    solver->groups(&t, n, m);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* rest: (low, high, list).  Returns how many scores lie between, and how many above. */
PyObject *fewer_admm_middle(PyObject *self, PyObject *args)
{
    Projection t;
    PyObject *rest;
    float low, high;
    long long list;
    int64_t between, above;
    (void)self;
    const Solver *solver = task(args, &t, &rest);
    if (solver == NULL || !PyArg_ParseTuple(rest, "ffL", &low, &high, &list))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    between = solver->middle(&t, low, high, (float *)(uintptr_t)list, &above);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("LL", (long long)between, (long long)above);
}

/* rest: (edge,) */
PyObject *fewer_admm_threshold(PyObject *self, PyObject *args)
{
    Projection t;
    PyObject *rest;
    float edge;
    (void)self;
    const Solver *solver = task(args, &t, &rest);
    if (solver == NULL || !PyArg_ParseTuple(rest, "f", &edge))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    solver->threshold(&t, edge);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}
