/* What the tests of the Redis client share: a loop, a client, and answers to look at. */
#ifndef REDIS_FIXTURE_H
#define REDIS_FIXTURE_H

#include "harness/wait_for.h"
#include "redis/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct loop *loop;
    struct redis *redis;
    struct redis_conf conf;
};

/* What a callback saw. */
struct answer {
    int count;
    enum err err;
    enum redis_type type;
    int64_t integer;
    char text[256]; /* of the value or the error */
    int64_t elapsed_us;
};

void fixture_init(struct fixture *f, const char *address); /* no client yet */
void fixture_open(struct fixture *f);                      /* with f->conf */
/* Closes the client and frees the loop, whatever is pending. */
void fixture_fini(struct fixture *f);

void on_answer(void *arg, const struct redis_result *result); /* arg: struct answer */
int64_t in_ms(const struct fixture *f, int64_t ms);           /* an absolute deadline */

/* Sends the words of `text` (split at spaces), with ten seconds. */
void tell(struct fixture *f, const char *text, struct answer *answer);
void tell_until(struct fixture *f, const char *text, int64_t deadline_ms, struct answer *answer);
/* The same, and waits for the answer. */
struct answer ask(struct fixture *f, const char *text);

#endif
