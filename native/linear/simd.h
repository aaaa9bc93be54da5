/* Small vector kernels shared by the solvers, in plain loops that a compiler can vectorise.
 *
 * Sums run in sixteen independent lanes, so that no reassociation flag is needed and the result does not depend on
 * how wide the vectors of the machine are. */
#ifndef FEWER_LINEAR_SIMD_H
#define FEWER_LINEAR_SIMD_H
#include <stddef.h>
#include <stdint.h>

/* Clones of a hot function for wider vectors, chosen when the library loads; only where the loader can do it. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    (defined(__GNUC__) && !defined(__clang__))
#define FEWER_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FEWER_CLONES
#endif

#define FEWER_LANES 16

static inline double fewer_dot(const double *restrict x, const double *restrict y, int64_t n)
{
    double lane[FEWER_LANES] = {0};
    int64_t i = 0;
    for (; i + FEWER_LANES <= n; i += FEWER_LANES)
        for (int k = 0; k < FEWER_LANES; k++)
            lane[k] += x[i + k] * y[i + k];
    double sum = 0;
    for (; i < n; i++)
        sum += x[i] * y[i];
    for (int width = FEWER_LANES / 2; width > 0; width /= 2)
        for (int k = 0; k < width; k++)
            lane[k] += lane[k + width];
    return lane[0] + sum;
}

static inline void fewer_axpy(double a, const double *restrict x, double *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static inline double fewer_soft(double u, double t)
{
    return u > t ? u - t : (u < -t ? u + t : 0.0);
}
#endif
