/* The one extension of the package: a table of plain functions over raw addresses.
 *
 * Every room that has C sources adds its functions to the module through one array, so that rooms do not know
 * each other.  Arguments are addresses and sizes as Python ints: no array library is linked, none is imported,
 * and the callers in Python own shape checks, dtypes, contiguity and lifetimes. */
#define PY_SSIZE_T_CLEAN
#include "module.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fewer._native", "Compiled kernels; see fewer.runtime, fewer.linear and fewer.update.", 0, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    PyMethodDef *const tables[] = {linear_methods, runtime_methods, update_methods};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (PyModule_AddFunctions(module, tables[i]) < 0) {
            Py_DECREF(module);
            return NULL;
        }
    }
    return module;
}
