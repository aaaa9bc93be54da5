/* What a room adds to the extension: one array of functions, ended by a zero entry. */
#ifndef FEWER_MODULE_H
#define FEWER_MODULE_H
#include <Python.h>
#include <stddef.h>
#include <stdint.h>

extern PyMethodDef linear_methods[];
extern PyMethodDef runtime_methods[];
extern PyMethodDef update_methods[];

#endif
