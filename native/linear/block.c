#include "../module.h"
#include "linear.h"

/* gram_block(G, ldg, places, k, out): out (k x k) = the listed rows and columns of G. */
PyObject *fewer_gram_block(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    if (nargs != 5) {
        PyErr_SetString(PyExc_TypeError, "gram_block takes 5 arguments");
        return NULL;
    }
    const double *G = PyLong_AsVoidPtr(args[0]);
    const int64_t ldg = PyLong_AsLongLong(args[1]);
    const int64_t *place = PyLong_AsVoidPtr(args[2]);
    const int64_t k = PyLong_AsLongLong(args[3]);
    double *out = PyLong_AsVoidPtr(args[4]);
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t a = 0; a < k; a++) {
        const double *row = G + place[a] * ldg;
        for (int64_t e = 0; e < k; e++)
            out[a * k + e] = row[place[e]];
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}
