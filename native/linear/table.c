#include "linear.h"

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

PyMethodDef linear_methods[] = {
    {"gram_path", FAST(fewer_gram_path), METH_FASTCALL, "Lasso family on a working Gram matrix."},
    {"gram_block", FAST(fewer_gram_block), METH_FASTCALL, "Some rows and columns of a Gram matrix."},
    {"residual_path", FAST(fewer_residual_path), METH_FASTCALL, "Lasso family on residuals, dense or sparse columns."},
    {"csc_tdot", FAST(fewer_csc_tdot), METH_FASTCALL, "Transposed sparse product with several vectors."},
    {"extremes", FAST(fewer_extremes), METH_FASTCALL, "How far gradients stand above their thresholds."},
    {"glm_path", FAST(fewer_glm_path), METH_FASTCALL, "Proximal Newton along a path, dense columns."},
    {"joint_newton", FAST(fewer_joint_path), METH_FASTCALL, "Proximal Newton on all parameters at once, dense columns."},
    {"concave_path", FAST(fewer_concave_path), METH_FASTCALL, "Concave prices on columns, from several starts."},
    {NULL, NULL, 0, NULL},
};
