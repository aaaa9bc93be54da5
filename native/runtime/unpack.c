/* Packed rows back to dense ones, and a plain read of memory as the yardstick of bandwidth. */
#include "job.h"

static const int64_t widths[KINDS] = {4, 2, 1};

#define UNPACK(TYPE)                                                                            \
    const TYPE *w = (const TYPE *)job->values + (int64_t)job->offsets[r] * height;              \
    TYPE *dense = (TYPE *)out + (r - first) * height * job->cols;                               \
    for (int64_t word = 0; word < job->words; word++)                                           \
        for (uint64_t m = job->mask[r * job->words + word]; m; m &= m - 1) {                    \
            TYPE *place = dense + word * MASK_BITS + __builtin_ctzll(m);                        \
            for (int64_t k = 0; k < height; k++)                                                \
                place[k * job->cols] = *w++;                                                    \
        }

/* Rows (block rows of `height` rows) from first to last, written to out from its start. */
void unpack_rows(int kind, int64_t height, const Job *job, int64_t first, int64_t last, void *out)
{
    memset(out, 0, (size_t)((last - first) * height * job->cols * widths[kind]));
    for (int64_t r = first; r < last; r++) {
        if (kind == F32) {
            UNPACK(uint32_t)
        } else if (kind == BF16) {
            UNPACK(uint16_t)
        } else {
            UNPACK(uint8_t)
        }
    }
}

#ifdef FEWER_X86
#include <immintrin.h>
__attribute__((target("avx512f"))) static uint64_t stream_wide(const char *p, int64_t bytes)
{
    __m512i all[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t i = 0; i + 256 <= bytes; i += 256)
        for (int k = 0; k < 4; k++) {
            _mm_prefetch(p + i + 64 * k + 4096, _MM_HINT_T0);
            all[k] = _mm512_xor_si512(all[k], _mm512_loadu_si512(p + i + 64 * k));
        }
    all[0] = _mm512_xor_si512(_mm512_xor_si512(all[0], all[1]), _mm512_xor_si512(all[2], all[3]));
    return (uint64_t)_mm512_reduce_add_epi64(all[0]);
}
#endif

/* Reads every byte and returns something that depends on all of them. */
uint64_t stream_read(const void *address, int64_t bytes)
{
#ifdef FEWER_X86
    if (__builtin_cpu_supports("avx512f"))
        return stream_wide(address, bytes);
#endif
    uint64_t all[8] = {0};
    for (int64_t i = 0; i + 64 <= bytes; i += 64) {
        uint64_t line[8];
        memcpy(line, (const char *)address + i, sizeof line);
        for (int k = 0; k < 8; k++)
            all[k] ^= line[k];
    }
    return all[0] ^ all[1] ^ all[2] ^ all[3] ^ all[4] ^ all[5] ^ all[6] ^ all[7];
}
