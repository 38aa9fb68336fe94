#include "coordinator/api_http_submit.h"

#include "coordinator/api_http_custom.h"
#include "coordinator/topic_book.h"

#include <stdio.h>

enum { MS_PER_S = 1000 };

static bool is_null(const struct json *value)
{
    return !json_is_string(value) && !json_is_number(value) && !json_is_bool(value) &&
           !json_is_array(value) && !json_is_object(value);
}

/* ---- steps and payloads ---- */

static enum err header_decode(const struct json *item, struct txn_header *out,
                              struct reason *reason)
{
    *out = (struct txn_header){json_name(item), json_string(item)};
    if (!json_is_string(item) && !is_null(item)) {
        char shown[80];
        return reason_set(reason, ERR_INVALID,
                          "field 'branch_headers': the value of '%s' must be a string",
                          slice_printable(out->name, shown, sizeof(shown)));
    }
    return ERR_OK;
}

/* branch_headers of the transaction or of a step. */
static enum err headers_decode(const struct json *from, struct arena *arena,
                               struct txn_header **out, size_t *out_count, struct reason *reason)
{
    const struct json *object = json_get(from, "branch_headers");
    if (!object) {
        return ERR_OK;
    }
    if (!json_is_object(object)) {
        return reason_set(reason, ERR_INVALID,
                          "field 'branch_headers': must be an object of strings");
    }
    size_t count = 0;
    for (const struct json *item = json_first(object); item; item = json_next(item)) {
        count++;
    }
    if (count > TXN_HEADERS_MAX) {
        return reason_set(reason, ERR_LIMIT,
                          "field 'branch_headers': has %zu entries, at most %d allowed", count,
                          TXN_HEADERS_MAX);
    }
    struct txn_header *headers = arena_alloc(arena, (count + 1) * sizeof(*headers));
    enum err err = ERR_OK;
    for (const struct json *item = json_first(object); item && !err; item = json_next(item)) {
        err = header_decode(item, &headers[(*out_count)++], reason);
    }
    *out = headers;
    return err;
}

static enum err seconds_read(const struct json *object, const char *name, int64_t max_s,
                             int64_t *out_ms, struct reason *reason)
{
    int64_t seconds = 0;
    enum err err = json_read_int(object, name, 0, max_s, &seconds, reason);
    *out_ms = seconds * MS_PER_S;
    return err;
}

/* What a step has of its own. */
static enum err step_options_decode(const struct json *item, struct arena *arena,
                                    struct txn_step *out, struct reason *reason)
{
    struct txn_header *headers = NULL;
    enum err err = seconds_read(item, "request_timeout", SUBMIT_REQUEST_TIMEOUT_S_MAX,
                                &out->request_timeout_ms, reason);
    if (!err) {
        err = seconds_read(item, "retry_interval", SUBMIT_RETRY_INTERVAL_S_MAX,
                           &out->retry_interval_ms, reason);
    }
    if (!err) {
        err = headers_decode(item, arena, &headers, &out->header_count, reason);
    }
    out->headers = headers;
    return err;
}

static enum err step_decode(struct submit_request *request, const struct json *item, size_t index,
                            struct txn_step *out, struct reason *reason)
{
    struct reason inner;
    if (!json_is_object(item)) {
        return reason_set(reason, ERR_INVALID, "field 'steps[%zu]': must be an object with urls",
                          index);
    }
    enum err err = json_read_string(item, "data", &out->payload, &inner);
    for (size_t op = 0; op < TXN_BRANCH_OPS && !err; op++) {
        const char *name = txn_op_name(request->type, (enum txn_op)op);
        err = name ? json_read_string(item, name, &out->urls[op], &inner) : ERR_OK;
    }
    if (!err) {
        err = step_options_decode(item, &request->arena, out, &inner);
    }
    return err ? reason_set(reason, ERR_INVALID, "steps[%zu]: %.200s", index, inner.text) : ERR_OK;
}

/* The array `name`, or NULL when it is absent, null or empty. */
static enum err array_get(const struct json *object, const char *name, const struct json **out,
                          struct reason *reason)
{
    const struct json *value = json_get(object, name);
    if (value && !json_is_array(value)) {
        return reason_set(reason, ERR_INVALID, "field '%s': must be an array", name);
    }
    *out = json_count(value) > 0 ? value : NULL;
    return ERR_OK;
}

static enum err steps_decode(struct submit_request *request, struct txn_step **out,
                             struct reason *reason)
{
    const struct json *array;
    enum err err = array_get(request->json, "steps", &array, reason);
    if (err) {
        return err;
    }
    size_t count = json_count(array);
    if (count > TXN_BRANCHES_MAX) {
        return reason_set(reason, ERR_LIMIT, "field 'steps': has %zu elements, at most %d allowed",
                          count, TXN_BRANCHES_MAX);
    }
    struct txn_step *steps = arena_alloc(&request->arena, (count + 1) * sizeof(*steps));
    size_t i = 0;
    for (const struct json *item = json_first(array); item; item = json_next(item), i++) {
        err = step_decode(request, item, i, &steps[i], reason);
        if (err) {
            return err;
        }
    }
    request->spec.steps = steps;
    request->spec.step_count = count;
    request->spec.options.declared = request->type == TXN_TCC && count > 0;
    *out = steps;
    return ERR_OK;
}

static enum err payload_decode(struct submit_request *request, const char *name, bool binary,
                               const struct json *item, size_t index, struct slice *out,
                               struct reason *reason)
{
    if (is_null(item)) {
        return ERR_OK;
    }
    if (!json_is_string(item)) {
        return reason_set(reason, ERR_INVALID, "field '%s[%zu]': must be a string", name, index);
    }
    *out = json_string(item);
    if (!binary) {
        return ERR_OK;
    }
    struct buf bytes = {0};
    if (buf_add_base64_decoded(&bytes, *out)) {
        buf_fini(&bytes);
        return reason_set(reason, ERR_INVALID, "field '%s[%zu]': is not base64 (RFC 4648)", name,
                          index);
    }
    *out = arena_copy(&request->arena, buf_slice(&bytes));
    buf_fini(&bytes);
    return ERR_OK;
}

static enum err payloads_decode(struct submit_request *request, struct txn_step *steps,
                                struct reason *reason)
{
    const struct json *text, *binary;
    enum err err = array_get(request->json, "payloads", &text, reason);
    if (!err) {
        err = array_get(request->json, "bin_payloads", &binary, reason);
    }
    if (err) {
        return err;
    }
    if (text && binary) {
        return reason_set(reason, ERR_INVALID,
                          "fields 'payloads' and 'bin_payloads': give one of them, not both");
    }
    const struct json *array = binary ? binary : text;
    const char *name = binary ? "bin_payloads" : "payloads";
    size_t steps_count = request->spec.step_count;
    bool in_steps =
        steps_count > 0 && !array && json_get(json_at(json_get(request->json, "steps"), 0), "data");
    if (!in_steps && json_count(array) != steps_count) {
        return reason_set(reason, ERR_INVALID,
                          "field '%s': has %zu elements, must have one for each of the %zu steps",
                          name, json_count(array), steps_count);
    }
    size_t i = 0;
    for (const struct json *item = json_first(array); item && !err; item = json_next(item), i++) {
        err = payload_decode(request, name, binary != NULL, item, i, &steps[i].payload, reason);
    }
    return err;
}

/* ---- options ---- */

static enum err protocol_read(const struct json *object, bool *json_rpc, struct reason *reason)
{
    struct slice protocol = {0};
    enum err err = json_read_string(object, "protocol", &protocol, reason);
    *json_rpc = slice_eq_str(protocol, "json-rpc");
    if (!err && !*json_rpc && protocol.len > 0 && !slice_eq_str(protocol, "http")) {
        char shown[64];
        err = reason_set(reason, ERR_INVALID,
                         "field 'protocol': '%s' is not supported; allowed: http, json-rpc, or "
                         "none (tcp:// urls need none)",
                         slice_printable(protocol, shown, sizeof(shown)));
    }
    return err;
}

static enum err options_decode(struct submit_request *request, struct reason *reason)
{
    const struct json *json = request->json;
    struct txn_options *options = &request->spec.options;
    enum err err = protocol_read(json, &options->json_rpc, reason);
    if (err) {
        return err;
    }
    err = seconds_read(json, "timeout_to_fail", SUBMIT_TIMEOUT_TO_FAIL_S_MAX,
                       &options->timeout_to_fail_ms, reason);
    if (!err) {
        err = seconds_read(json, "retry_interval", SUBMIT_RETRY_INTERVAL_S_MAX,
                           &options->retry_interval_ms, reason);
    }
    if (!err) {
        err = seconds_read(json, "request_timeout", SUBMIT_REQUEST_TIMEOUT_S_MAX,
                           &options->request_timeout_ms, reason);
    }
    if (!err) {
        err = json_read_int(json, "retry_limit", 0, SUBMIT_RETRY_LIMIT_MAX, &options->retry_limit,
                            reason);
    }
    if (!err) {
        err = json_read_bool(json, "keep_results", &options->keep_results, reason);
    }
    return err ? err
               : headers_decode(json, &request->arena, &options->headers, &options->header_count,
                                reason);
}

/* Seconds, fractions allowed. */
static enum err wait_timeout_read(const struct json *object, int64_t *out_ms, struct reason *reason)
{
    const struct json *value = json_get(object, "wait_timeout");
    if (!value) {
        return ERR_OK;
    }
    double seconds = json_is_number(value) ? json_double(value) : -1;
    if (!(seconds >= 0 && seconds <= SUBMIT_WAIT_TIMEOUT_S_MAX)) {
        return reason_set(reason, ERR_INVALID,
                          "field 'wait_timeout': must be a number of seconds from 0 to %d",
                          SUBMIT_WAIT_TIMEOUT_S_MAX);
    }
    *out_ms = (int64_t)(seconds * MS_PER_S);
    return ERR_OK;
}

static enum err wait_decode(struct submit_request *request, struct reason *reason)
{
    bool wants = false;
    int64_t wait_ms = 0;
    enum err err = json_read_bool(request->json, "wait_result", &wants, reason);
    if (!err) {
        err = wait_timeout_read(request->json, &wait_ms, reason);
    }
    if (err) {
        return err;
    }
    if (wait_ms > 0 && !wants) {
        return reason_set(reason, ERR_INVALID,
                          "field 'wait_timeout': means nothing without \"wait_result\": true");
    }
    request->spec.options.wait_result = wants;
    request->wait.wait_ms = wait_ms;
    request->wait.mode = !wants        ? ENGINE_WAIT_STORED
                         : wait_ms > 0 ? ENGINE_WAIT_END
                                       : ENGINE_WAIT_SETTLE;
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err type_decode(struct submit_request *request, struct reason *reason)
{
    struct slice *name = &request->spec.trans_type;
    enum err err = json_read_string(request->json, "trans_type", name, reason);
    if (!err && txn_type_parse(*name, &request->type)) {
        char shown[64];
        err = reason_set(reason, ERR_INVALID,
                         "field 'trans_type': '%s' is not supported; allowed: saga, tcc, msg, xa, "
                         "workflow",
                         slice_printable(*name, shown, sizeof(shown)));
    }
    return err;
}

/* What only some types have. */
static enum err specials_decode(struct submit_request *request, struct txn_step *steps,
                                struct reason *reason)
{
    struct txn_spec *spec = &request->spec;
    bool concurrent = false;
    enum err err = json_read_string(request->json, "custom_data", &spec->custom_data, reason);
    if (!err) {
        err = json_read_string(request->json, "query_prepared", &spec->query_prepared, reason);
    }
    if (!err) {
        err = json_read_bool(request->json, "concurrent", &concurrent, reason);
    }
    if (!err) {
        err = custom_data_decode(spec, request->type, steps, &request->arena, reason);
    }
    spec->options.concurrent |= concurrent && request->type == TXN_MSG;
    return err;
}

static enum err finish_result_decode(struct submit_request *request, const struct json *extra,
                                     struct reason *reason)
{
    struct slice text = {0};
    struct buf bytes = {0};
    enum err err = json_read_string(extra, "result", &text, reason);
    if (!err && (buf_add_base64_decoded(&bytes, text) || bytes.len > TXN_PAYLOAD_MAX)) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'req_extra': result must be base64 of at most %d bytes",
                         TXN_PAYLOAD_MAX);
    }
    request->finish.result = arena_copy(&request->arena, buf_slice(&bytes));
    buf_fini(&bytes);
    return err;
}

/* The submit of a workflow. */
static enum err finish_decode(struct submit_request *request, struct reason *reason)
{
    const struct json *extra = json_get(request->json, "req_extra");
    struct slice status = {0};
    enum err err =
        json_is_object(extra)
            ? json_read_string(extra, "status", &status, reason)
            : reason_set(reason, ERR_INVALID, "field 'req_extra': must be an object with status");
    if (!err && (txn_status_parse(status, &request->finish.status) ||
                 !txn_status_is_final(request->finish.status))) {
        char shown[40];
        err = reason_set(reason, ERR_INVALID,
                         "field 'req_extra': status is '%s'; must be succeed or failed",
                         slice_printable(status, shown, sizeof(shown)));
    }
    if (!err) {
        err = json_read_string(extra, "rollback_reason", &request->finish.reason, reason);
    }
    return err ? err : finish_result_decode(request, extra, reason);
}

static enum err body_decode(struct submit_request *request, struct reason *reason)
{
    struct txn_spec *spec = &request->spec;
    struct txn_step *steps = NULL;
    enum err err = json_read_string(request->json, "gid", &spec->gid, reason);
    if (!err) {
        err = txn_gid_check(spec->gid, reason);
    }
    if (!err) {
        err = type_decode(request, reason);
    }
    if (!err && request->type == TXN_WORKFLOW && !spec->prepare) {
        return finish_decode(request, reason);
    }
    if (!err) {
        err = steps_decode(request, &steps, reason);
    }
    if (!err) {
        err = payloads_decode(request, steps, reason);
    }
    if (!err) {
        err = options_decode(request, reason);
    }
    if (!err) {
        err = wait_decode(request, reason);
    }
    if (!err) {
        err = specials_decode(request, steps, reason);
    }
    return err || topics_are_named(spec) ? err : txn_spec_check(spec, reason);
}

enum err submit_request_read(struct json *body, bool prepare, struct submit_request *out,
                             struct reason *reason)
{
    *out = (struct submit_request){.spec.prepare = prepare, .json = body};
    if (!json_is_object(body)) {
        return reason_set(reason, ERR_INVALID, "the body must be a JSON object");
    }
    return body_decode(out, reason);
}

enum err submit_request_decode(struct slice body, bool prepare, struct submit_request *out,
                               struct reason *reason)
{
    struct json *json = NULL;
    *out = (struct submit_request){.spec.prepare = prepare};
    enum err err = json_parse(body, &json, reason);
    if (!err) {
        err = submit_request_read(json, prepare, out, reason);
    }
    return !err && topics_are_named(&out->spec) ? txn_spec_check(&out->spec, reason) : err;
}

void submit_request_fini(struct submit_request *request)
{
    json_free(request->json);
    arena_fini(&request->arena);
    *request = (struct submit_request){0};
}
