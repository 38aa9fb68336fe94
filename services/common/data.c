#include "services/common/data.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "redis/redis.h"
#include "services/common/shard.h"
#include "wire/message.h"

#include <inttypes.h>
#include <stdio.h>
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

static struct data_answer broken(const char *error)
{
    log_error("data", "msg=\"redis refused a command\" error=\"%s\"", error);
    return (struct data_answer){DATA_BROKEN, slice_str("internal error"), NULL};
}

static struct data_answer read_script_reply(const struct redis_value *value)
{
    if (redis_value_count(value) < 2) {
        return broken("a script answered no pair");
    }
    struct slice verdict = redis_value_str(redis_value_at(value, 0));
    struct slice text = redis_value_str(redis_value_at(value, 1));
    if (slice_eq_str(verdict, "OK")) {
        return (struct data_answer){DATA_OK, text, value};
    }
    return slice_eq_str(verdict, "FAIL") ? (struct data_answer){DATA_REFUSED, text, NULL}
                                         : broken("a script answered neither OK nor FAIL");
}

static void on_answer(void *arg, const struct saga_redis_answer *redis)
{
    struct pending *pending = arg;
    struct data_answer answer = {.kind = DATA_AWAY, .text = slice_str(redis->error)};
    if (redis->ok) {
        answer = pending->script ? read_script_reply(redis->value)
                                 : (struct data_answer){DATA_OK, slice_str(""), redis->value};
    } else if (!redis->temporary) {
        answer = broken(redis->error);
    }
    pending->cb(pending->arg, &answer);
    free(pending);
}

static void to_bytes(const struct slice *from, size_t count, struct saga_bytes to[DATA_ITEMS_MAX])
{
    check(count <= DATA_ITEMS_MAX);
    for (size_t i = 0; i < count; i++) {
        to[i] = service_bytes(from[i]);
    }
}

void data_run(struct saga *saga, const struct data_script_call *call, data_cb cb, void *arg)
{
    struct saga_bytes keys[DATA_ITEMS_MAX], args[DATA_ITEMS_MAX];
    to_bytes(call->keys, call->key_count, keys);
    to_bytes(call->args, call->arg_count, args);
    saga_redis_eval(saga, call->script, keys, call->key_count, args, call->arg_count, on_answer,
                    pending_new(cb, arg, true));
}

void data_read(struct saga *saga, const struct slice *argv, size_t argc, data_cb cb, void *arg)
{
    struct saga_bytes words[DATA_ITEMS_MAX];
    to_bytes(argv, argc, words);
    saga_redis_command(saga, words, argc, on_answer, pending_new(cb, arg, false));
}

static void on_response(void *arg, const struct saga_response *response)
{
    struct pending *pending = arg;
    struct data_answer answer = {.kind = DATA_AWAY, .text = slice_str(response->message)};
    if (response->error == SAGA_E_NONE && response->result == SAGA_SUCCESS) {
        answer = (struct data_answer){DATA_OK, service_slice(response->payload), NULL};
    } else if (response->error == SAGA_E_NONE && response->result == SAGA_FAILURE) {
        answer.kind = DATA_REFUSED;
    }
    pending->cb(pending->arg, &answer);
    free(pending);
}

void data_ask(struct saga *saga, const char *address, const char *method, const void *fields,
              const void *message, data_cb cb, void *arg)
{
    struct buf payload = {0};
    wire_pb_encode(fields, message, &payload);
    saga_request(saga, address, method, service_bytes(buf_slice(&payload)), on_response,
                 pending_new(cb, arg, false));
    buf_fini(&payload);
}

struct taking {
    int64_t shard, shards;
    data_id_cb cb;
    void *arg;
};

static void on_taken(void *arg, const struct data_answer *answer)
{
    struct taking *taking = arg;
    int64_t n = 0;
    if (answer->kind == DATA_OK) {
        check(slice_to_int64(answer->text, &n));
        n = shard_id(n, taking->shard, taking->shards);
    }
    taking->cb(taking->arg, answer, n);
    free(taking);
}

void data_take_id(struct saga *saga, const struct data_script_call *call, int64_t shard,
                  int64_t shards, data_id_cb cb, void *arg)
{
    struct taking *taking = mem_new(struct taking);
    *taking = (struct taking){shard, shards, cb, arg};
    data_run(saga, call, on_taken, taking);
}

struct slice data_number(int64_t value, char out[DATA_NUMBER_SIZE])
{
    return slice_make(out, (size_t)snprintf(out, DATA_NUMBER_SIZE, "%" PRId64, value));
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

void data_copy(struct slice text, char *out, size_t size)
{
    snprintf(out, size, "%.*s", SLICE_ARG(text));
}

static void fail_refused(struct web_request *request, struct slice reason)
{
    char code[WEB_CODE_SIZE];
    struct slice text = web_split_reason(reason, "refused", code);
    int status = strncmp(code, "no_", 3) == 0 ? 404 : strncmp(code, "bad_", 4) == 0 ? 400 : 409;
    web_fail(request, status, code, "%.*s", SLICE_ARG(text));
}

void data_fail_web(struct web_request *request, const struct data_answer *answer)
{
    switch (answer->kind) {
    case DATA_OK:
    case DATA_BROKEN: web_fail(request, 500, "internal", "internal error"); break;
    case DATA_REFUSED: fail_refused(request, answer->text); break;
    case DATA_AWAY:
        web_fail(request, 503, "unavailable", "try again in a moment: %.*s",
                 SLICE_ARG(answer->text));
        break;
    }
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
    case DATA_AWAY:
    case DATA_BROKEN: saga_call_reply(call, SAGA_ERROR, saga_text(""), why); break;
    }
    free(why);
    buf_fini(&payload);
}

void data_changed_web(void *arg, const struct data_answer *answer)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_open_object(w, NULL);
    json_close_object(w);
    web_answer_send(&body, arg, 200);
}

void data_changed_call(void *arg, const struct data_answer *answer)
{
    data_reply_call(arg, answer, NULL, NULL);
}

void data_refuse_call(struct saga_call *call, const struct reason *reason)
{
    char why[sizeof(reason->text) + 16];
    snprintf(why, sizeof(why), "bad_request: %s", reason->text);
    saga_call_reply(call, SAGA_FAILURE, saga_text(""), why);
}

bool data_decode(struct saga_call *call, const void *fields, void *message)
{
    if (wire_pb_decode(fields, message, service_slice(saga_call_payload(call))) == ERR_OK) {
        return true;
    }
    const char *why = "bad_payload: the payload is not a message of this method";
    /* An undo or a confirm may not FAIL; with a payload that cannot be read a person must look. */
    saga_call_reply(call, service_may_refuse(call) ? SAGA_FAILURE : SAGA_ERROR, saga_text(""), why);
    return false;
}
