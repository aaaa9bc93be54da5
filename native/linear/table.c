#include "../module.h"

PyMethodDef linear_methods[] = {{NULL, NULL, 0, NULL}};
