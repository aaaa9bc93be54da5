#include "linear.h"

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

PyMethodDef linear_methods[] = {
    {"gram_path", FAST(fewer_gram_path), METH_FASTCALL, "Lasso family on a working Gram matrix."},
    {"csc_path", FAST(fewer_csc_path), METH_FASTCALL, "Lasso family on compressed sparse columns."},
    {"csc_tdot", FAST(fewer_csc_tdot), METH_FASTCALL, "Transposed sparse product with several vectors."},
    {"glm_path", FAST(fewer_glm_path), METH_FASTCALL, "Proximal Newton along a path, dense columns."},
    {NULL, NULL, 0, NULL},
};
