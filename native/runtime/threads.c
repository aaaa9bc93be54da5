/* Splits a range over threads that torch already has.
 *
 * No thread is made here: the address of torch's own parallel loop (torch 2.10 or newer), or of the loop of the
 * OpenMP library that torch has loaded, is handed over from Python; without either everything runs in the caller. */
#include "job.h"
#include <stdatomic.h>

enum { ALONE = 0, TORCH = 1, OPENMP = 2, SMALL = 256 * 1024, PIECES = 4 };

typedef int32_t (*TorchFor)(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void *), void *);
typedef void (*OpenMP)(void (*)(void *), void *, unsigned, unsigned);

static int mode = ALONE, most = 1;
static uintptr_t entry;

typedef struct {
    Kernel kernel;
    const Job *job;
    int64_t count, step, pieces;
    atomic_llong next;
} Work;

void parallel_set(int how, uintptr_t address, int threads)
{
    mode = address ? how : ALONE;
    entry = address;
    most = threads < 1 ? 1 : threads;
}

static void piece(Work *work, int64_t i)
{
    int64_t first = i * work->step, last = first + work->step;
    if (first < work->count)
        work->kernel(work->job, first, last < work->count ? last : work->count);
}

static void torch_body(int64_t begin, int64_t end, void *data)
{
    for (int64_t i = begin; i < end; i++)
        piece(data, i);
}

static void openmp_body(void *data)
{
    Work *work = data;
    for (int64_t i; (i = atomic_fetch_add(&work->next, 1)) < work->pieces;)
        piece(work, i);
}

/* Pieces are multiples of 16 rows, so that two threads seldom write to the same cache line. */
void parallel(Kernel kernel, const Job *job, int64_t count, int64_t bytes)
{
    if (mode == ALONE || most == 1 || bytes < SMALL || count < 32) {
        kernel(job, 0, count);
        return;
    }
    Work work = {.kernel = kernel, .job = job, .count = count, .pieces = (int64_t)most * PIECES};
    work.step = ((count + work.pieces - 1) / work.pieces + 15) / 16 * 16;
    atomic_init(&work.next, 0);
    if (mode == TORCH) {
        if (((TorchFor)entry)(0, work.pieces, 1, torch_body, &work) != 0)
            kernel(job, 0, count);
    } else {
        ((OpenMP)entry)(openmp_body, &work, (unsigned)most, 0);
    }
}
