#include "../module.h"

PyMethodDef runtime_methods[] = {{NULL, NULL, 0, NULL}};
