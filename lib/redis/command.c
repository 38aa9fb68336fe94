#include "redis/command.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* What the pool keeps: enough for a busy client, little for an idle one after a burst. */
enum { POOL_MAX = 1024, BYTES_KEPT_MAX = 2048 };

struct command *command_take(struct command_pool *pool)
{
    struct command *command = pool->free;
    if (!command) {
        return mem_new(struct command);
    }
    LL_DELETE(pool->free, command);
    pool->count--;
    struct buf bytes = command->bytes;
    *command = (struct command){.bytes = bytes};
    return command;
}

static void command_free(struct command *command)
{
    buf_fini(&command->bytes);
    free(command);
}

void command_release(struct command_pool *pool, struct command *command)
{
    check(!heap_has(&command->deadline));
    if (pool->count == POOL_MAX || command->bytes.cap > BYTES_KEPT_MAX) {
        command_free(command);
        return;
    }
    buf_clear(&command->bytes);
    LL_PREPEND(pool->free, command);
    pool->count++;
}

void command_pool_fini(struct command_pool *pool)
{
    while (pool->free) {
        struct command *command = pool->free;
        LL_DELETE(pool->free, command);
        command_free(command);
    }
    pool->count = 0;
}

/* Room for a mark, a decimal number and two line ends. */
enum { NUMBER_MAX = 32 };

/* Writes `mark`, the number in decimal and a line end; returns what is behind them. */
static char *put_number(char *to, char mark, size_t number)
{
    char digits[NUMBER_MAX];
    size_t count = 0;
    *to++ = mark;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *to++ = digits[--count];
    }
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

void command_add_count(struct buf *out, size_t argc)
{
    char *begin = buf_reserve(out, NUMBER_MAX);
    buf_grow(out, (size_t)(put_number(begin, '*', argc) - begin));
}

void command_add_word(struct buf *out, struct slice word)
{
    char *begin = buf_reserve(out, word.len + NUMBER_MAX);
    char *to = put_number(begin, '$', word.len);
    if (word.len > 0) {
        memcpy(to, word.ptr, word.len);
    }
    to += word.len;
    *to++ = '\r';
    *to++ = '\n';
    buf_grow(out, (size_t)(to - begin));
}

void command_add_words(struct buf *out, const struct slice *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        command_add_word(out, words[i]);
    }
}

void command_keep_eval(struct command *command, const struct redis_eval *eval)
{
    char text[NUMBER_MAX];
    size_t keys = (size_t)eval->script->keys;
    char *end = put_number(text, '$', keys) - 2; /* without mark and line end */
    command->script = eval->script;
    command->args = 1 + keys + eval->arg_count;
    command_add_word(&command->bytes, slice_make(text + 1, (size_t)(end - text) - 1));
    for (size_t i = 0; i < keys; i++) {
        command_add_word(&command->bytes, eval->keys[i]);
        if (i == 0) {
            command->key_len = eval->keys[0].len;
            command->key_at = command->bytes.len - 2 - command->key_len; /* before the line end */
        }
    }
    command_add_words(&command->bytes, eval->args, eval->arg_count);
}

struct slice command_first_key(const struct command *command)
{
    struct slice bytes = buf_slice(&command->bytes);
    return command->key_len > 0 ? slice_make(bytes.ptr + command->key_at, command->key_len)
                                : slice_str(NULL);
}

static void write_call(const struct command *command, const char *name, struct slice script,
                       struct buf *out)
{
    command_add_count(out, 2 + command->args);
    command_add_word(out, slice_str(name));
    command_add_word(out, script);
    buf_add_slice(out, buf_slice(&command->bytes));
}

void command_write(const struct command *command, struct buf *out)
{
    const struct redis_script *script = command->script;
    if (!script) {
        buf_add_slice(out, buf_slice(&command->bytes));
    } else if (command->as_text) {
        write_call(command, "EVAL", slice_make(script->text, script->len), out);
    } else {
        write_call(command, "EVALSHA", slice_str(script->sha1), out);
    }
}
