/* Redis outside any transaction, on the connection of the scripts. */
#include "base/check.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <stdlib.h>

struct store_op {
    struct saga *saga;
    struct redis_script script;
    saga_redis_done done;
    void *arg;
    const char *refused;
    struct loop_task task;
};

static struct store_op *store_op_new(struct saga *saga, saga_redis_done done, void *arg)
{
    struct store_op *op = mem_new(struct store_op);
    op->saga = saga;
    op->done = done;
    op->arg = arg;
    saga->pending++;
    return op;
}

static void store_op_end(struct store_op *op, const struct saga_redis_answer *answer)
{
    if (op->done) {
        op->done(op->arg, answer);
    }
    op->saga->pending--;
    free(op);
}

static bool err_is_temporary(enum err err)
{
    return err != ERR_OK && err != ERR_SCRIPT && err != ERR_DENIED && err != ERR_CANCELLED;
}

static void on_reply(void *arg, const struct redis_result *result)
{
    bool ok = result->err == ERR_OK;
    const char *message = result->message && result->message[0] ? result->message : NULL;
    struct saga_redis_answer answer = {
        .ok = ok,
        .temporary = err_is_temporary(result->err),
        .error = ok        ? NULL
                 : message ? message
                           : err_text(result->err),
        .value = ok ? result->value : NULL,
    };
    store_op_end(arg, &answer);
}

static void on_refused(void *arg)
{
    struct store_op *op = arg;
    struct saga_redis_answer answer = {.error = op->refused};
    store_op_end(op, &answer);
}

/* True when the operation cannot be started; its callback comes later. */
static bool store_op_refuse(struct store_op *op, const char *why)
{
    op->refused = op->saga->closing  ? "the program is shutting down"
                  : !op->saga->redis ? "this program has no Redis (saga_conf.redis)"
                                     : why;
    if (op->refused) {
        loop_defer(op->saga->loop, &op->task, on_refused, op);
    }
    return op->refused != NULL;
}

static struct slice *slices_fill(struct saga *saga, const struct saga_bytes *first, size_t n,
                                 const struct saga_bytes *second, size_t m)
{
    struct slice *all = scratch_slices(saga, n + m);
    for (size_t i = 0; i < n; i++) {
        all[i] = slice_of(first[i]);
    }
    for (size_t i = 0; i < m; i++) {
        all[n + i] = slice_of(second[i]);
    }
    return all;
}

void saga_redis_eval(struct saga *saga, const struct saga_script *script,
                     const struct saga_bytes *keys, size_t key_count, const struct saga_bytes *args,
                     size_t arg_count, saga_redis_done done, void *arg)
{
    struct store_op *op = store_op_new(saga, done, arg);
    const char *gated = "a gated script runs in a branch call only: use saga_call_eval";
    if (store_op_refuse(op, script->gated ? gated : NULL)) {
        return;
    }
    const struct slice *all = slices_fill(saga, keys, key_count, args, arg_count);
    op->script = script->script;
    op->script.keys = (int)key_count;
    struct redis_eval run = {.script = &op->script,
                             .keys = all,
                             .args = key_count + arg_count ? all + key_count : NULL,
                             .arg_count = arg_count,
                             .is_durable = true};
    redis_eval(saga->redis, loop_now_ms(saga->loop) + saga->timeout_ms, &run, on_reply, op);
}

void saga_redis_command(struct saga *saga, const struct saga_bytes *argv, size_t argc,
                        saga_redis_done done, void *arg)
{
    struct store_op *op = store_op_new(saga, done, arg);
    if (store_op_refuse(op, argc == 0 ? "a command needs a name" : NULL)) {
        return;
    }
    const struct slice *all = slices_fill(saga, argv, argc, NULL, 0);
    redis_command(saga->redis, loop_now_ms(saga->loop) + saga->timeout_ms, all, argc, on_reply, op);
}

/* ---- replies ---- */

enum saga_value_type saga_value_type(const struct redis_value *value)
{
    switch (redis_value_type(value)) {
    case REDIS_NIL: return SAGA_VALUE_NIL;
    case REDIS_STRING:
    case REDIS_STATUS: return SAGA_VALUE_TEXT;
    case REDIS_INTEGER: return SAGA_VALUE_INTEGER;
    case REDIS_ARRAY: return SAGA_VALUE_ARRAY;
    }
    unreachable("redis_type");
}

int64_t saga_value_int(const struct redis_value *value)
{
    return redis_value_int(value);
}

struct saga_bytes saga_value_bytes(const struct redis_value *value)
{
    return bytes_of(redis_value_str(value));
}

size_t saga_value_count(const struct redis_value *value)
{
    return redis_value_count(value);
}

const struct redis_value *saga_value_at(const struct redis_value *value, size_t index)
{
    return redis_value_at(value, index);
}

const struct redis_value *saga_value_field(const struct redis_value *array, const char *name)
{
    return redis_value_field(array, name);
}
