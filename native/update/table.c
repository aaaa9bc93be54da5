/* Which instruction sets there are, and the functions of this room. */
#include "../module.h"
#include "solver.h"
#include "update.h"

const Solver *fewer_solver(int64_t index)
{
    const Solver *solvers[3];
    int count = 0;
#ifdef FEWER_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        solvers[count++] = &solver_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        solvers[count++] = &solver_avx2;
#endif
    solvers[count++] = &solver_portable;
    return index >= 0 && index < count ? solvers[index] : NULL;
}

static PyObject *levels(PyObject *self, PyObject *ignored)
{
    static const char *const forms[] = {"(s)", "(ss)", "(sss)"};
    const char *names[3] = {NULL, NULL, NULL};
    int count = 0;
    (void)self, (void)ignored;
    for (const Solver *solver; (solver = fewer_solver(count)) != NULL;)
        names[count++] = solver->name;
    return Py_BuildValue(forms[count - 1], names[0], names[1], names[2]);
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

PyMethodDef update_methods[] = {
    {"update_levels", levels, METH_NOARGS, "Instruction sets of this machine that have a solver, best first."},
    {"update_supports", FAST(fewer_supports), METH_FASTCALL, "One positive definite system per row, each on its unknowns."},
    {"update_admm_groups", fewer_admm_groups, METH_VARARGS, "A step of ADMM beside its product, N of every M kept."},
    {"update_admm_middle", fewer_admm_middle, METH_VARARGS, "The first half of a step; scores in an interval."},
    {"update_admm_threshold", fewer_admm_threshold, METH_VARARGS, "The second half: kept from a score on."},
    {NULL, NULL, 0, NULL},
};
