/* Splits a range over threads that torch already has.
 *
 * No thread is made here: the address of torch's own parallel loop (torch 2.10 or newer), or of the loop of the
 * OpenMP library that torch has loaded, is handed over from Python; without either everything runs in the caller. */
#include "job.h"
#include <stdatomic.h>

enum { ALONE = 0, TORCH = 1, OPENMP = 2, SMALL = 256 * 1024, PIECES = 4 };

typedef int32_t (*TorchFor)(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void *), void *);
typedef int32_t (*TorchThreads)(uint32_t *);
typedef void (*OpenMPFor)(void (*)(void *), void *, unsigned, unsigned);
typedef int (*OpenMPThreads)(void);

static int mode = ALONE;
static uintptr_t loop_entry, threads_entry;

typedef struct {
    Kernel kernel;
    const Job *job;
    int64_t count, step, pieces;
    atomic_llong next;
} Work;

void parallel_set(int how, uintptr_t loop, uintptr_t threads)
{
    mode = loop && threads ? how : ALONE;
    loop_entry = loop;
    threads_entry = threads;
}

/* Asked every time, because torch.set_num_threads may be called at any time. */
static int64_t threads_now(void)
{
    uint32_t count = 1;
    if (mode == TORCH && ((TorchThreads)threads_entry)(&count) != 0)
        return 1;
    return mode == OPENMP ? ((OpenMPThreads)threads_entry)() : (int64_t)count;
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
    const int64_t threads = mode == ALONE || bytes < SMALL || count < 32 ? 1 : threads_now();
    if (threads <= 1) {
        kernel(job, 0, count);
        return;
    }
    Work work = {.kernel = kernel, .job = job, .count = count, .pieces = threads * PIECES};
    work.step = ((count + work.pieces - 1) / work.pieces + 15) / 16 * 16;
    atomic_init(&work.next, 0);
    if (mode == OPENMP)
        ((OpenMPFor)loop_entry)(openmp_body, &work, (unsigned)threads, 0);
    else if (((TorchFor)loop_entry)(0, work.pieces, 1, torch_body, &work) != 0)
        kernel(job, 0, count);
}
