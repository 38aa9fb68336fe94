#include "coordinator/trace.h"

#include <string.h>

/* FNV-1a with 128 bits: prime 2^88 + 0x13B, in two words because ISO C has no 128-bit integer. */
struct hash128 {
    uint64_t high, low;
};

static struct hash128 hash128_step(struct hash128 hash, unsigned char byte)
{
    const uint64_t prime_low = 0x13B;
    hash.low ^= byte;
    uint64_t low_part = (hash.low & 0xFFFFFFFF) * prime_low;
    uint64_t high_part = (hash.low >> 32) * prime_low + (low_part >> 32);
    struct hash128 next;
    next.low = (high_part << 32) | (low_part & 0xFFFFFFFF);
    next.high = hash.high * prime_low + (high_part >> 32) + (hash.low << 24);
    return next;
}

static struct hash128 hash128(struct slice text)
{
    struct hash128 hash = {0x6C62272E07BB0142, 0x62B821756295C58D};
    for (size_t i = 0; i < text.len; i++) {
        hash = hash128_step(hash, (unsigned char)text.ptr[i]);
    }
    return hash;
}

/* By hand: it runs for every branch call, where printf showed up in profiles. */
static char *hex64(uint64_t value, char *out)
{
    for (int shift = 60; shift >= 0; shift -= 4) {
        *out++ = "0123456789abcdef"[(value >> shift) & 0xF];
    }
    return out;
}

char *trace_parent_make(struct slice gid, struct rng *rng, char out[TRACEPARENT_SIZE])
{
    struct hash128 trace = hash128(gid);
    uint64_t span = rng_next(rng);
    char *end = out;
    *end++ = '0';
    *end++ = '0';
    *end++ = '-';
    /* All-zero ids are invalid in W3C Trace Context. */
    end = hex64(trace.high, end);
    end = hex64(trace.low | (trace.high == 0 && trace.low == 0), end);
    *end++ = '-';
    end = hex64(span ? span : 1, end);
    memcpy(end, "-01", sizeof("-01"));
    return out;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool trace_parent_is_valid(struct slice text)
{
    static const char shape[] = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    if (text.len != sizeof(shape) - 1 || slice_has_prefix(text, "ff")) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (shape[i] == '-' ? text.ptr[i] != '-' : !is_hex(text.ptr[i])) {
            return false;
        }
    }
    return true;
}
