/*
 * The messages of the wire protocol (proto/saga/v1/saga.proto) as plain C: views on bytes, no
 * nanopb types. docs/protocol.md is the contract.
 *
 * Strings and payloads are slices. After decoding they point into memory that belongs to the
 * message (freed by wire_message_fini); when encoding they point wherever the caller likes.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>

enum {
    WIRE_VERSION = 1,
    WIRE_STEPS_MAX = 100,                     /* steps of one submit */
    WIRE_HEADERS_MAX = 32,                    /* branch headers */
    WIRE_HISTORY_MAX = 1000,                  /* entries of one query reply; the newest */
    WIRE_BRANCH_OPS_MAX = 3 * WIRE_STEPS_MAX, /* branch ops of one query reply */
    /* Of what a workflow reports: */
    WIRE_BRANCH_ID_MAX = 64, /* bytes */
    WIRE_OP_MAX = 32,
    WIRE_SECOND_PHASE_MAX =
        2 * WIRE_STEPS_MAX,         /* undos, confirms, commits; WIRE_STEPS_MAX others */
    WIRE_PAYLOAD_MAX = 256 * 1024,  /* bytes of one; of all payloads, too */
    WIRE_PAYLOADS_MAX = 1024 * 1024 /* bytes of all together */
};

enum wire_kind {
    WIRE_NONE, /* a frame without body, or with one that this version does not know */
    WIRE_HELLO,
    WIRE_ERROR,
    WIRE_NEW_GID,
    WIRE_SUBMIT,
    WIRE_QUERY,
    WIRE_PREPARE,
    WIRE_REGISTER,
    WIRE_ABORT,
    WIRE_WORKFLOW,
    WIRE_FINISH,
    WIRE_NEW_GID_REPLY,
    WIRE_SUBMIT_REPLY,
    WIRE_QUERY_REPLY,
    WIRE_CALL,
    WIRE_CALL_REPLY,
};

/* Same numbers as the enums of saga.proto (static-asserted). */
enum wire_error_code {
    WIRE_ERROR_UNSPECIFIED,
    WIRE_ERROR_INVALID,
    WIRE_ERROR_VERSION,
    WIRE_ERROR_DENIED,
    WIRE_ERROR_LIMIT,
    WIRE_ERROR_BUSY,
    WIRE_ERROR_UNAVAILABLE,
    WIRE_ERROR_CONFLICT,
    WIRE_ERROR_NOT_FOUND,
    WIRE_ERROR_INTERNAL,
};
enum wire_status {
    WIRE_STATUS_UNSPECIFIED,
    WIRE_STATUS_PREPARED,
    WIRE_STATUS_SUBMITTED,
    WIRE_STATUS_ABORTING,
    WIRE_STATUS_SUCCEED,
    WIRE_STATUS_FAILED,
};
enum wire_result {
    WIRE_RESULT_UNSPECIFIED,
    WIRE_SUCCESS,
    WIRE_FAILURE,
    WIRE_ONGOING,
    WIRE_RESULT_ERROR,
    WIRE_RESULT_CONFLICT,
};

/* A number that this version does not know is decoded as UNSPECIFIED. DTM's words: "prepared", …;
 * NULL for UNSPECIFIED or numbers out of range. */
const char *wire_status_name(enum wire_status status);
enum wire_status wire_status_parse(struct slice name); /* UNSPECIFIED when unknown */
const char *wire_result_name(enum wire_result result); /* "SUCCESS", … */

struct wire_header {
    struct slice name, value;
};
struct wire_hello {
    uint32_t version;
    struct slice program, token;
};
struct wire_error {
    enum wire_error_code code;
    struct slice message, field;
    uint32_t retry_after_ms;
};
struct wire_step {
    struct slice action, compensate, payload;
    struct slice try_url, confirm, cancel;
    uint8_t *after; /* indices of steps */
    size_t after_count;
    int64_t request_timeout_ms, retry_interval_ms; /* 0: those of the transaction */
    struct wire_header *headers;
    size_t header_count;
};
struct wire_options { /* 0: default */
    int64_t timeout_to_fail_ms, retry_interval_ms, request_timeout_ms;
    uint32_t retry_limit;
    struct wire_header *headers;
    size_t header_count;
    bool keep_results;
};
struct wire_submit {
    struct slice gid, trans_type;
    struct wire_step *steps;
    size_t step_count;
    struct wire_options options;
    bool wait_result;
    uint32_t wait_timeout_ms;
    struct slice query_prepared, custom_data;
    bool concurrent;
    int64_t delay_ms;
};
struct wire_register {
    struct slice gid, trans_type, branch_id, confirm, cancel, payload;
    struct slice op; /* of a workflow, as `status` */
    enum wire_status status;
};
struct wire_abort {
    struct slice gid, reason;
};
struct wire_workflow {
    struct slice gid, name, data, resume;
    struct wire_options options;
};
struct wire_finish {
    struct slice gid;
    enum wire_status status;
    struct slice reason, result;
};
struct wire_submit_reply {
    struct slice gid;
    enum wire_status status;
    struct slice rollback_reason;
};
struct wire_branch_op {
    struct slice branch_id, op, url;
    enum wire_status status;
    struct slice result;
};
struct wire_history_entry {
    int64_t time_ms;
    struct slice op, result;
    int64_t duration_ms;
    struct slice note;
};
struct wire_query_reply {
    bool found;
    struct slice gid, trans_type;
    enum wire_status status;
    struct slice rollback_reason;
    int64_t create_time_ms, update_time_ms;
    struct wire_branch_op *branches;
    size_t branch_count;
    struct wire_history_entry *history;
    size_t history_count;
    struct slice result, parked;
    int64_t parked_since_ms;
};
struct wire_call {
    struct slice gid, branch_id, op, trans_type, method, payload;
    uint32_t timeout_ms;
    int64_t started_ms;
    struct wire_header *headers;
    size_t header_count;
    struct slice traceparent;
};
struct wire_call_reply {
    enum wire_result result;
    struct slice payload, message;
};

struct wire_message {
    uint64_t id;
    enum wire_kind kind;
    union {
        struct wire_hello hello;
        struct wire_error error;
        struct wire_submit submit; /* SUBMIT and PREPARE */
        struct wire_register register_branch;
        struct wire_abort abort;
        struct wire_workflow workflow;
        struct wire_finish finish;
        struct slice query_gid;
        struct slice new_gid; /* NEW_GID_REPLY */
        struct wire_submit_reply submit_reply;
        struct wire_query_reply query_reply;
        struct wire_call call;
        struct wire_call_reply call_reply;
    };
    void *memory; /* of a decoded message */
};

/*
 * Decodes one frame (without its length). ERR_PROTOCOL: not a Frame; ERR_INVALID: too many steps or
 * headers, a string that is not UTF-8, a number out of range; the reason names the field. On error
 * `out` holds nothing, but `out->id` and `out->kind` are set when they could be read, so that the
 * refusal reaches its caller.
 */
enum err wire_decode(struct slice frame, struct wire_message *out,
                     struct reason *reason) MUST_CHECK;
void wire_message_fini(struct wire_message *message);

/* Appends the frame with its length in front: what conn_send_framed takes. Nothing is checked: the
 * peer refuses what is over the limits above. */
void wire_encode(struct buf *out, const struct wire_message *message);

/* For messages with a generated nanopb struct of their own (proto/mall): `fields` is its
 * X_fields descriptor, `message` the struct (zeroed here). Only static members, no pointers.
 * ERR_INVALID: not such a message, a string or list that is too long, a string that is not UTF-8 or
 * has a NUL inside. */
enum err wire_pb_decode(const void *fields, void *message, struct slice bytes) MUST_CHECK;
void wire_pb_encode(const void *fields, const void *message, struct buf *out);

#endif
