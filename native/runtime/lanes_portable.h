/* Four floats at a time in plain C; compilers turn this into whatever the base instruction set offers. */
#define TARGET
#define LANES 4
typedef struct { float at[LANES]; } vec;
#define EACH for (int lane = 0; lane < LANES; lane++)
static ALWAYS_INLINE vec v_set(float s) { vec v; EACH v.at[lane] = s; return v; }
static ALWAYS_INLINE vec v_zero(void) { return v_set(0.0f); }
static ALWAYS_INLINE vec v_load(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
static ALWAYS_INLINE void v_store(float *p, vec v) { memcpy(p, &v, sizeof v); }
static ALWAYS_INLINE vec v_fma(vec a, vec b, vec c) { EACH c.at[lane] += a.at[lane] * b.at[lane]; return c; }
static ALWAYS_INLINE vec v_add(vec a, vec b) { EACH a.at[lane] += b.at[lane]; return a; }
static ALWAYS_INLINE float v_sum(vec v) { return (v.at[0] + v.at[1]) + (v.at[2] + v.at[3]); }
static ALWAYS_INLINE vec v_widen(const uint16_t *p) { vec v; EACH v.at[lane] = widen(p[lane]); return v; }
#define FETCH(p) __builtin_prefetch(p)
