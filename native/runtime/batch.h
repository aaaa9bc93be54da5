/* Calls BODY(job, first, last, n) with a constant n of 4, 2 or 1 inputs at a time, so that one weight that was read
 * serves up to four inputs held in registers. */
#ifndef FEWER_RUNTIME_BATCH_H
#define FEWER_RUNTIME_BATCH_H
#include "job.h"

static ALWAYS_INLINE Job job_from(const Job *job, int64_t b, size_t x_bytes)
{
    Job part = *job;
    part.x = (const char *)job->x + (size_t)(b * job->x_stride) * x_bytes;
    part.x_scale = job->x_scale ? job->x_scale + b : NULL;
    part.y = job->y + b * job->y_stride;
    return part;
}

#define BY_BATCH_OF(BODY, X_BYTES)                          \
    int64_t b = 0;                                          \
    for (; b + 4 <= job->batch; b += 4) {                   \
        Job part = job_from(job, b, X_BYTES);               \
        BODY(&part, first, last, 4);                        \
    }                                                       \
    for (; b + 2 <= job->batch; b += 2) {                   \
        Job part = job_from(job, b, X_BYTES);               \
        BODY(&part, first, last, 2);                        \
    }                                                       \
    for (; b < job->batch; b++) {                           \
        Job part = job_from(job, b, X_BYTES);               \
        BODY(&part, first, last, 1);                        \
    }
#define BY_BATCH(BODY) BY_BATCH_OF(BODY, sizeof(float))
#endif
