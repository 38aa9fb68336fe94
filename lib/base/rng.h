/* A seedable random source (xoshiro256**, Blackman and Vigna 2018, public domain algorithm).
 * Not for secrets; those come from the operating system (rng_secret). */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

void rng_seed(struct rng *rng, uint64_t seed); /* the same seed gives the same sequence */
void rng_seed_system(struct rng *rng);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t n); /* 0 … n-1; n > 0 */
void rng_secret(void *out, size_t n);            /* bytes from the operating system */

/* A global transaction id: 22 characters of [0-9A-Za-z], 130 random bits. */
enum { GID_TEXT_SIZE = 23 };
char *rng_gid(char out[GID_TEXT_SIZE]);

#endif
