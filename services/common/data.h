/* What a service's Redis answered to a plain script or read, in the three kinds that matter to its
 * callers, and how each looks to a client. */
#ifndef SERVICES_COMMON_DATA_H
#define SERVICES_COMMON_DATA_H

#include "services/common/service.h"

struct redis_value;

enum data_kind {
    DATA_OK,
    DATA_REFUSED, /* by a rule; `text` is "code: why" */
    DATA_AWAY,    /* Redis or a peer is away, or something is broken; trying again may help */
};

struct data_answer {
    enum data_kind kind;
    struct slice text;               /* reply of a script, or why */
    const struct redis_value *value; /* OK: the whole reply */
};
typedef void (*data_cb)(void *arg, const struct data_answer *answer);

/* Runs a plain script that returns {"OK", text} or {"FAIL", "code: why"}. */
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

/* Integer value of a field of a flat reply (HGETALL); 0 when absent. */
int64_t data_int(const struct redis_value *hash, const char *field);
struct slice data_text(const struct redis_value *hash, const char *field);

/* Answers a web request with what went wrong: 404 for codes that begin with "no_", 409 for other
 * refusals, 503 when away. */
void data_fail_web(struct web_request *request, const struct data_answer *answer);
/* Answers a plain request: OK → SUCCESS with the encoded message (NULL: empty), refused → FAILURE,
 * away → ERROR. */
void data_reply_call(struct saga_call *call, const struct data_answer *answer, const void *fields,
                     const void *message);
/* Decodes the payload of a call; answers FAILURE itself (false) when it is not such a message: no
 * repetition will make it right. */
bool data_decode(struct saga_call *call, const void *fields, void *message);

#endif
