#include "services/common/data.h"

#include "base/log.h"
#include "base/mem.h"
#include "redis/redis.h"
#include "wire/message.h"

#include <stdlib.h>
#include <string.h>

enum { DATA_ITEMS_MAX = 16 };

struct pending {
    data_cb cb;
    void *arg;
    bool script; /* the reply is {verdict, text} */
};

static struct pending *pending_new(data_cb cb, void *arg, bool script)
{
    struct pending *pending = mem_new(struct pending);
    *pending = (struct pending){cb, arg, script};
    return pending;
}

static struct data_answer read_script_reply(const struct redis_value *value)
{
    struct slice verdict = redis_value_str(redis_value_at(value, 0));
    struct slice text = redis_value_str(redis_value_at(value, 1));
    bool ok = slice_eq_str(verdict, "OK");
    return (struct data_answer){ok ? DATA_OK : DATA_REFUSED, text, value};
}

static void on_answer(void *arg, const struct saga_redis_answer *redis)
{
    struct pending *pending = arg;
    struct data_answer answer = {.kind = DATA_AWAY, .text = slice_str(redis->error)};
    if (redis->ok) {
        answer = pending->script ? read_script_reply(redis->value)
                                 : (struct data_answer){DATA_OK, slice_str(""), redis->value};
    } else if (!redis->temporary) {
        log_error("data", "msg=\"redis refused a command\" error=\"%s\"", redis->error);
    }
    pending->cb(pending->arg, &answer);
    free(pending);
}

void data_run(struct saga *saga, const struct data_script_call *call, data_cb cb, void *arg)
{
    struct saga_bytes keys[DATA_ITEMS_MAX], args[DATA_ITEMS_MAX];
    for (size_t i = 0; i < call->key_count && i < DATA_ITEMS_MAX; i++) {
        keys[i] = service_bytes(call->keys[i]);
    }
    for (size_t i = 0; i < call->arg_count && i < DATA_ITEMS_MAX; i++) {
        args[i] = service_bytes(call->args[i]);
    }
    saga_redis_eval(saga, call->script, keys, call->key_count, args, call->arg_count, on_answer,
                    pending_new(cb, arg, true));
}

void data_read(struct saga *saga, const struct slice *argv, size_t argc, data_cb cb, void *arg)
{
    struct saga_bytes words[DATA_ITEMS_MAX];
    for (size_t i = 0; i < argc && i < DATA_ITEMS_MAX; i++) {
        words[i] = service_bytes(argv[i]);
    }
    saga_redis_command(saga, words, argc, on_answer, pending_new(cb, arg, false));
}

int64_t data_int(const struct redis_value *hash, const char *field)
{
    const struct redis_value *value = redis_value_field(hash, field);
    return value ? redis_value_int(value) : 0;
}

struct slice data_text(const struct redis_value *hash, const char *field)
{
    const struct redis_value *value = redis_value_field(hash, field);
    return value ? redis_value_str(value) : slice_str("");
}

void data_fail_web(struct web_request *request, const struct data_answer *answer)
{
    char code[WEB_CODE_SIZE];
    if (answer->kind == DATA_AWAY) {
        web_fail(request, 503, "unavailable", "try again in a moment: %.*s",
                 SLICE_ARG(answer->text));
        return;
    }
    struct slice text = web_split_reason(answer->text, "refused", code);
    int status = strncmp(code, "no_", 3) == 0 ? 404 : 409;
    web_fail(request, status, code, "%.*s", SLICE_ARG(text));
}

void data_reply_call(struct saga_call *call, const struct data_answer *answer, const void *fields,
                     const void *message)
{
    struct buf payload = {0};
    char *why = slice_dup(answer->text);
    switch (answer->kind) {
    case DATA_OK:
        if (fields) {
            wire_pb_encode(fields, message, &payload);
        }
        saga_call_reply(call, SAGA_SUCCESS, (struct saga_bytes){payload.data, payload.len}, NULL);
        break;
    case DATA_REFUSED: saga_call_reply(call, SAGA_FAILURE, saga_text(""), why); break;
    case DATA_AWAY: saga_call_reply(call, SAGA_ERROR, saga_text(""), why); break;
    }
    free(why);
    buf_fini(&payload);
}

bool data_decode(struct saga_call *call, const void *fields, void *message)
{
    if (wire_pb_decode(fields, message, service_slice(saga_call_payload(call))) == ERR_OK) {
        return true;
    }
    const char *why = "bad_payload: the payload is not a message of this method";
    /* An undo may not FAIL; with a payload that cannot be read a person must look at it. */
    saga_call_reply(call, saga_call_is_undo(call) ? SAGA_ERROR : SAGA_FAILURE, saga_text(""), why);
    return false;
}
