/* For every byte of mask: which of the packed values goes to each of its eight places, or -1 for none.
 * Written out by the preprocessor, so that nothing has to be filled in at start-up. */
#define BELOW(m, i) ((((m) >> 0 & 1) && (i) > 0) + (((m) >> 1 & 1) && (i) > 1) + (((m) >> 2 & 1) && (i) > 2) +   \
                     (((m) >> 3 & 1) && (i) > 3) + (((m) >> 4 & 1) && (i) > 4) + (((m) >> 5 & 1) && (i) > 5) +   \
                     (((m) >> 6 & 1) && (i) > 6))
#define PLACE(m, i) (((m) >> (i) & 1) ? BELOW(m, i) : -1)
#define PLACES(m) \
    {PLACE(m, 0), PLACE(m, 1), PLACE(m, 2), PLACE(m, 3), PLACE(m, 4), PLACE(m, 5), PLACE(m, 6), PLACE(m, 7)}
#define FOUR(m) PLACES(m), PLACES((m) + 1), PLACES((m) + 2), PLACES((m) + 3)
#define SIXTEEN(m) FOUR(m), FOUR((m) + 4), FOUR((m) + 8), FOUR((m) + 12)
#define SIXTY_FOUR(m) SIXTEEN(m), SIXTEEN((m) + 16), SIXTEEN((m) + 32), SIXTEEN((m) + 48)
static const int8_t expand_table[256][8] = {SIXTY_FOUR(0), SIXTY_FOUR(64), SIXTY_FOUR(128), SIXTY_FOUR(192)};

/* The same for bfloat16 as bytes: value k lands in the upper half of its float, the lower half is cleared. */
#define PAIR(m, i) -1, -1, (((m) >> (i) & 1) ? 2 * BELOW(m, i) : -1), (((m) >> (i) & 1) ? 2 * BELOW(m, i) + 1 : -1)
#define PAIRS(m) \
    {PAIR(m, 0), PAIR(m, 1), PAIR(m, 2), PAIR(m, 3), PAIR(m, 4), PAIR(m, 5), PAIR(m, 6), PAIR(m, 7)}
#define PAIRS4(m) PAIRS(m), PAIRS((m) + 1), PAIRS((m) + 2), PAIRS((m) + 3)
#define PAIRS16(m) PAIRS4(m), PAIRS4((m) + 4), PAIRS4((m) + 8), PAIRS4((m) + 12)
#define PAIRS64(m) PAIRS16(m), PAIRS16((m) + 16), PAIRS16((m) + 32), PAIRS16((m) + 48)
static const int8_t expand_bytes[256][32] = {PAIRS64(0), PAIRS64(64), PAIRS64(128), PAIRS64(192)};
