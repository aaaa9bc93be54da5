/* What the update room gives to the extension's table. */
#ifndef FEWER_UPDATE_H
#define FEWER_UPDATE_H
#include "../module.h"

PyObject *fewer_supports(PyObject *self, PyObject *const *args, Py_ssize_t given);
PyObject *fewer_admm_groups(PyObject *self, PyObject *args);
PyObject *fewer_admm_middle(PyObject *self, PyObject *args);
PyObject *fewer_admm_threshold(PyObject *self, PyObject *args);
#endif
