#include "base/rng.h"

#include "base/check.h"

#include <sys/random.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void rng_seed(struct rng *rng, uint64_t seed)
{
    /* splitmix64, as the authors of xoshiro advise. */
    for (int i = 0; i < 4; i++) {
        seed += 0x9E3779B97F4A7C15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        rng->state[i] = z ^ (z >> 31);
    }
}

void rng_secret(void *out, size_t n)
{
    char *to = out;
    while (n > 0) {
        ssize_t got = getrandom(to, n, 0);
        check(got > 0);
        to += got;
        n -= (size_t)got;
    }
}

void rng_seed_system(struct rng *rng)
{
    uint64_t seed;
    rng_secret(&seed, sizeof(seed));
    rng_seed(rng, seed);
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    check(n > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t value;
    do {
        value = rng_next(rng);
    } while (value >= limit);
    return value % n;
}

char *rng_gid(char out[GID_TEXT_SIZE])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    /* Secret bytes are asked for in blocks: a system call per id would be the dearest part. */
    static uint8_t pool[1024];
    static size_t left;
    for (int i = 0; i < GID_TEXT_SIZE - 1;) {
        if (left == 0) {
            rng_secret(pool, sizeof(pool));
            left = sizeof(pool);
        }
        uint8_t byte = pool[--left];
        if (byte < 248) { /* 4 · 62: an even share for each digit */
            out[i++] = digits[byte % 62];
        }
    }
    out[GID_TEXT_SIZE - 1] = '\0';
    return out;
}
