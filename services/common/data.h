/* What a service's Redis answered to a plain script or read, in the three kinds that matter to its
 * callers, and how each looks to a client. */
#ifndef SERVICES_COMMON_DATA_H
#define SERVICES_COMMON_DATA_H

#include "services/common/service.h"

struct redis_value;

enum data_kind {
    DATA_OK,
    DATA_REFUSED, /* by a rule; `text` is "code: why" */
    DATA_AWAY,    /* Redis or a peer is away; trying again helps */
    DATA_BROKEN,  /* a fault of ours, it stands in the log; `text` tells no more than that */
};

struct data_answer {
    enum data_kind kind;
    struct slice text;               /* reply of a script, or why */
    const struct redis_value *value; /* OK: the whole reply */
};
typedef void (*data_cb)(void *arg, const struct data_answer *answer);

/* Runs a plain script that returns {"OK", text, …} or {"FAIL", "code: why"}. */
struct data_script_call {
    const struct saga_script *script;
    const struct slice *keys;
    size_t key_count;
    const struct slice *args;
    size_t arg_count;
};
void data_run(struct saga *saga, const struct data_script_call *call, data_cb cb, void *arg);
/* A read command; the answer's `value` is the reply. */
void data_read(struct saga *saga, const struct slice *argv, size_t argc, data_cb cb, void *arg);
/* A plain request to another service, at "host:port"; `text` of OK is the payload of its answer. */
void data_ask(struct saga *saga, const char *address, const char *method, const void *fields,
              const void *message, data_cb cb, void *arg);

/* As data_run for a script that answers with a number n of the shard's counter: the callback gets
 * the id n·shards + shard (0 unless the answer is OK). */
typedef void (*data_id_cb)(void *arg, const struct data_answer *answer, int64_t id);
void data_take_id(struct saga *saga, const struct data_script_call *call, int64_t shard,
                  int64_t shards, data_id_cb cb, void *arg);

/* Decimal text of a number, for keys and arguments; lives in `out`. */
enum { DATA_NUMBER_SIZE = 24 };
struct slice data_number(int64_t value, char out[DATA_NUMBER_SIZE]);

/* Integer value of a field of a flat reply (HGETALL); 0 when absent. */
int64_t data_int(const struct redis_value *hash, const char *field);
struct slice data_text(const struct redis_value *hash, const char *field);

/* Copies a text into a field of `size` bytes; it must fit. */
void data_copy(struct slice text, char *out, size_t size);

/* Answers a web request with what went wrong: 404 for codes that begin with "no_", 400 for "bad_",
 * 409 for other refusals, 503 when away, 500 when broken. */
void data_fail_web(struct web_request *request, const struct data_answer *answer);
/* For changes: a data_cb whose arg is the web request; answers 200 and {} when it went well. */
void data_changed_web(void *arg, const struct data_answer *answer);
/* The same for a plain request of another service: an empty message. */
void data_changed_call(void *arg, const struct data_answer *answer);
/* Answers a plain request: OK → SUCCESS with the encoded message (NULL: empty), refused → FAILURE,
 * away or broken → ERROR. */
void data_reply_call(struct saga_call *call, const struct data_answer *answer, const void *fields,
                     const void *message);
/* FAILURE of a plain request, "bad_request: why". */
void data_refuse_call(struct saga_call *call, const struct reason *reason);
/* Decodes the payload of a call; answers FAILURE itself (false) when it is not such a message: no
 * repetition will make it right. */
bool data_decode(struct saga_call *call, const void *fields, void *message);

#endif
