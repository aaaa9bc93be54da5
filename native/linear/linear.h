/* What the linear room gives to the extension's table. */
#ifndef FEWER_LINEAR_H
#define FEWER_LINEAR_H
#include "../module.h"

PyObject *fewer_gram_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_gram_block(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_residual_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_csc_tdot(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_extremes(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_glm_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_concave_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *fewer_joint_path(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
#endif
