/* Commands of the client: pooled objects, and their bytes in Redis' protocol. */
#ifndef REDIS_COMMAND_H
#define REDIS_COMMAND_H

#include "base/buf.h"
#include "base/heap.h"
#include "redis/redis.h"

struct command {
    struct command *prev, *next; /* utlist */
    struct heap_node deadline;   /* ms */
    redis_cb cb;
    void *arg;
    int64_t queued_us;
    int64_t deadline_ms;
    int64_t sent_ms;
    enum err err;                      /* that it failed with before it was sent */
    const char *message;               /* with err */
    const struct redis_script *script; /* NULL: not a script call */
    bool as_text;                      /* with script: EVAL: after NOSCRIPT, or is_asking */
    bool is_asking;                    /* with script: ASKING has gone before it */
    size_t args;                       /* with script: words behind the script's hash or text */
    size_t key_at, key_len;            /* with script: its first key in `bytes`; 0: it has none */
    struct buf bytes;                  /* with script: those words; else the whole command or "" */
    bool is_sent;
    bool is_done;                   /* completed; only its reply is still awaited */
    bool is_durable;                /* its reply is told when replicas have it: commit.c */
    const struct redis_value *held; /* that reply; it has come, WAIT has not been answered */
};

struct command_pool {
    struct command *free;
    size_t count;
};

struct command *command_take(struct command_pool *pool); /* zeroed, but for memory of `bytes` */
void command_release(struct command_pool *pool, struct command *command);
void command_pool_fini(struct command_pool *pool);

void command_add_count(struct buf *out, size_t argc); /* begins a command of argc words */
void command_add_word(struct buf *out, struct slice word);
void command_add_words(struct buf *out, const struct slice *words, size_t count);
/* Keeps number of keys, keys and arguments of a script call. */
void command_keep_eval(struct command *command, const struct redis_eval *eval);
struct slice command_first_key(const struct command *command); /* of a script call; "": none */
/* Adds what is kept to `out`: the command as it was formatted, EVALSHA or EVAL. */
void command_write(const struct command *command, struct buf *out);

#endif
