/* What a client may ask for. Every refusal names the field, the value and what is allowed. */
#include "coordinator/payload.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_SIZE = 100, FIELD_SIZE = 48 };

enum err txn_gid_check(struct slice gid, struct reason *reason)
{
    if (gid.len > 0 && !utf8_has_control(gid) && utf8_length(gid) <= TXN_GID_CHARS_MAX) {
        return ERR_OK;
    }
    char shown[SHOWN_SIZE];
    slice_printable(gid, shown, sizeof(shown));
    if (gid.len == 0) {
        return reason_set(reason, ERR_INVALID, "gid: is empty; must have 1 to %d characters",
                          TXN_GID_CHARS_MAX);
    }
    if (!utf8_is_valid(gid)) {
        return reason_set(reason, ERR_INVALID, "gid: '%s' is not valid UTF-8", shown);
    }
    if (utf8_has_control(gid)) {
        return reason_set(reason, ERR_INVALID, "gid: '%s' has control characters", shown);
    }
    return reason_set(reason, ERR_INVALID, "gid: '%s…' has %zu characters; at most %d", shown,
                      utf8_length(gid), TXN_GID_CHARS_MAX);
}

/* ---- urls ---- */

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_alpha(c) || is_digit(c) || c == '_';
}

/* An identifier as protobuf knows it; with `dots` several of them joined by dots. */
static bool is_identifier(struct slice s, bool dots)
{
    bool begins = true;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (begins ? !(is_alpha(c) || c == '_') : !(is_word(c) || (dots && c == '.'))) {
            return false;
        }
        begins = c == '.';
    }
    return !begins;
}

static bool is_port(struct slice s)
{
    int64_t port = 0;
    return s.len > 0 && is_digit(s.ptr[0]) && slice_to_int64(s, &port) && port >= 1 &&
           port <= 65535;
}

static bool is_host(struct slice s)
{
    bool v6 = s.len > 4 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']';
    size_t begin = v6 ? 1 : 0;
    size_t end = v6 ? s.len - 1 : s.len;
    for (size_t i = begin; i < end; i++) {
        char c = s.ptr[i];
        if (!is_word(c) && c != '-' && c != '.' && !(v6 && (c == ':' || c == '%'))) {
            return false;
        }
    }
    return s.len > 0;
}

/* host, host:port, [v6], [v6]:port. User names and passwords are not taken: they would be stored
 * and shown. */
static bool is_authority(struct slice s)
{
    for (size_t i = s.len; i > 0 && s.ptr[i - 1] != ']'; i--) {
        if (s.ptr[i - 1] == ':') {
            return is_host(slice_make(s.ptr, i - 1)) && is_port(slice_make(s.ptr + i, s.len - i));
        }
    }
    return is_host(s);
}

/* The part before the first of `stops`. */
static struct slice head_of(struct slice s, const char *stops)
{
    size_t n = 0;
    while (n < s.len && !strchr(stops, s.ptr[n])) {
        n++;
    }
    return slice_make(s.ptr, n);
}

static struct slice behind(struct slice s, size_t n)
{
    return n < s.len ? slice_make(s.ptr + n, s.len - n) : slice_make(s.ptr, 0);
}

static bool is_tcp_url(struct slice rest)
{
    struct slice authority = head_of(rest, "/");
    struct slice path = behind(rest, authority.len + 1);
    struct slice service = head_of(path, "/");
    return is_authority(authority) && is_identifier(service, true) &&
           is_identifier(behind(path, service.len + 1), false);
}

static bool has_space_or_control(struct slice url)
{
    return memchr(url.ptr, ' ', url.len) || utf8_has_control(url);
}

static bool is_branch_url(struct slice url)
{
    if (url.len > TXN_URL_MAX || has_space_or_control(url)) {
        return false;
    }
    if (slice_has_prefix(url, "tcp://")) {
        return is_tcp_url(behind(url, 6));
    }
    return slice_has_prefix(url, "http://") && is_authority(head_of(behind(url, 7), "/?#"));
}

enum err txn_url_check(struct slice url, const char *field, struct reason *reason)
{
    if (url.len == 0 || is_branch_url(url)) {
        return ERR_OK;
    }
    char shown[SHOWN_SIZE];
    slice_printable(url, shown, sizeof(shown));
    if (url.len > TXN_URL_MAX) {
        return reason_set(reason, ERR_INVALID, "%s: '%.60s…' has %zu bytes; at most %d", field,
                          shown, url.len, TXN_URL_MAX);
    }
    if (has_space_or_control(url)) {
        return reason_set(reason, ERR_INVALID,
                          "%s: '%s' has a space, a control character or is not UTF-8", field,
                          shown);
    }
    if (slice_has_prefix(url, "https://")) {
        return reason_set(reason, ERR_INVALID,
                          "%s: '%s': https is not supported yet; use http:// or tcp://", field,
                          shown);
    }
    if (slice_has_prefix(url, "topic://")) {
        return reason_set(reason, ERR_INVALID, "%s: '%s': a topic can only be the action of a msg",
                          field, shown);
    }
    return reason_set(reason, ERR_INVALID,
                      "%s: '%s' must be empty, tcp://host[:port]/package.Service/Method or "
                      "http://host[:port]/…",
                      field, shown);
}

/* ---- steps and options ---- */

static enum err options_check(const struct txn_options *options, struct reason *reason);

static enum err step_url_check(struct slice url, size_t index, const char *op,
                               struct reason *reason)
{
    if (txn_url_check(url, "", NULL) == ERR_OK) {
        return ERR_OK;
    }
    char field[FIELD_SIZE]; /* named only when it is needed */
    snprintf(field, sizeof(field), "steps[%zu].%s", index, op);
    return txn_url_check(url, field, reason);
}

static enum err step_urls_check(const struct txn_step *step, enum txn_type type, size_t index,
                                struct reason *reason)
{
    enum err err = ERR_OK;
    for (size_t op = 0; op < TXN_BRANCH_OPS && err == ERR_OK; op++) {
        const char *name = txn_op_name(type, (enum txn_op)op);
        if (name) {
            err = step_url_check(step->urls[op], index, name, reason);
        } else if (step->urls[op].len > 0) {
            err = reason_set(reason, ERR_INVALID, "steps[%zu]: has an op that a %s does not know",
                             index, txn_type_name(type));
        }
    }
    return err;
}

static enum err step_check(const struct txn_step *step, enum txn_type type, size_t index,
                           struct reason *reason)
{
    enum err err = step_urls_check(step, type, index, reason);
    if (err == ERR_OK && step->payload.len > TXN_PAYLOAD_MAX) {
        err = reason_set(reason, ERR_INVALID, "payloads[%zu]: has %zu bytes; at most %d", index,
                         step->payload.len, TXN_PAYLOAD_MAX);
    }
    return err;
}

/* What a step may have of its own, besides the options of the transaction. */
static enum err step_options_check(const struct txn_spec *spec, size_t index, struct reason *reason)
{
    const struct txn_step *step = &spec->steps[index];
    struct txn_options options = {.request_timeout_ms = step->request_timeout_ms,
                                  .retry_interval_ms = step->retry_interval_ms,
                                  .headers = (struct txn_header *)(uintptr_t)step->headers,
                                  .header_count = step->header_count};
    struct reason inner;
    if (options_check(&options, &inner) != ERR_OK) {
        return reason_set(reason, ERR_INVALID, "steps[%zu].%.200s", index, inner.text);
    }
    if (step->header_count > 0 &&
        step->header_count + spec->options.header_count > TXN_HEADERS_MAX) {
        return reason_set(reason, ERR_INVALID,
                          "steps[%zu].branch_headers: has %zu entries besides %zu of the "
                          "transaction; at most %d together",
                          index, step->header_count, spec->options.header_count, TXN_HEADERS_MAX);
    }
    return ERR_OK;
}

/* How many steps there are told of at the beginning: those of a tcc that is not declared, of xa and
 * of a workflow come later, and those of a msg may have come before, with its prepare. */
static enum err step_count_check(const struct txn_spec *spec, enum txn_type type,
                                 struct reason *reason)
{
    if (spec->prepare && spec->options.declared) {
        return reason_set(reason, ERR_INVALID,
                          "steps: a tcc with declared tries is submitted at once, not prepared");
    }
    bool has_steps = type == TXN_SAGA || type == TXN_MSG || spec->options.declared;
    if (!has_steps && spec->step_count > 0) {
        return reason_set(
            reason, ERR_INVALID, "steps: a %s has none; its branches are registered one by one%s",
            txn_type_name(type), type == TXN_TCC ? ", or declared with try urls" : "");
    }
    size_t least = type == TXN_MSG && !spec->prepare ? 0 : 1;
    if (has_steps && (spec->step_count < least || spec->step_count > TXN_BRANCHES_MAX)) {
        return reason_set(reason, ERR_INVALID, "steps: has %zu entries; must have %zu to %d",
                          spec->step_count, least, TXN_BRANCHES_MAX);
    }
    return ERR_OK;
}

static enum err steps_check(const struct txn_spec *spec, enum txn_type type, struct reason *reason)
{
    enum err err = step_count_check(spec, type, reason);
    size_t total = 0;
    for (size_t i = 0; i < spec->step_count && err == ERR_OK; i++) {
        err = step_check(&spec->steps[i], type, i, reason);
        if (err == ERR_OK) {
            err = step_options_check(spec, i, reason);
        }
        total += spec->steps[i].payload.len;
    }
    if (err == ERR_OK && total > TXN_PAYLOADS_MAX) {
        err = reason_set(reason, ERR_INVALID, "payloads: have %zu bytes together; at most %d",
                         total, TXN_PAYLOADS_MAX);
    }
    return err;
}

/* ---- what comes after what ---- */

static enum err after_indices_check(const struct txn_spec *spec, size_t index,
                                    struct reason *reason)
{
    const struct txn_step *step = &spec->steps[index];
    for (size_t i = 0; i < step->after_count; i++) {
        if (step->after[i] >= spec->step_count || step->after[i] == index) {
            return reason_set(reason, ERR_INVALID,
                              "orders: step %zu comes after step %d; must be another one, 0 to %zu",
                              index, step->after[i], spec->step_count - 1);
        }
    }
    return ERR_OK;
}

/* Takes away the steps whose predecessors are all taken away, until nothing changes: what is left
 * waits for itself. */
static enum err after_check(const struct txn_spec *spec, struct reason *reason)
{
    bool gone[TXN_BRANCHES_MAX] = {false};
    size_t left = spec->step_count;
    for (size_t i = 0; i < spec->step_count; i++) {
        enum err err = after_indices_check(spec, i, reason);
        if (err != ERR_OK) {
            return err;
        }
    }
    for (bool moved = true; moved && left > 0;) {
        moved = false;
        for (size_t i = 0; i < spec->step_count; i++) {
            const struct txn_step *step = &spec->steps[i];
            size_t waits = 0;
            for (size_t a = 0; a < step->after_count; a++) {
                waits += !gone[step->after[a]];
            }
            if (!gone[i] && waits == 0) {
                gone[i] = moved = true;
                left--;
            }
        }
    }
    return left == 0
               ? ERR_OK
               : reason_set(reason, ERR_INVALID, "orders: %zu steps wait for one another", left);
}

static enum err number_check(const char *field, int64_t value, int64_t max, struct reason *reason)
{
    if (value < 0 || value > max) {
        return reason_set(reason, ERR_INVALID, "%s: is %lld; must be 0 to %lld", field,
                          (long long)value, (long long)max);
    }
    return ERR_OK;
}

/* RFC 9110 section 5.6.2: what a header name may be made of. */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\0' || (!is_alpha(c) && !is_digit(c) && !strchr("!#$%&'*+-.^_`|~", c))) {
            return false;
        }
    }
    return s.len > 0 && s.len <= TXN_HEADER_NAME_MAX;
}

static enum err headers_check(const struct txn_options *options, struct reason *reason)
{
    if (options->header_count > TXN_HEADERS_MAX) {
        return reason_set(reason, ERR_INVALID, "branch_headers: has %zu entries; at most %d",
                          options->header_count, TXN_HEADERS_MAX);
    }
    for (size_t i = 0; i < options->header_count; i++) {
        char shown[SHOWN_SIZE];
        const struct txn_header *header = &options->headers[i];
        slice_printable(header->name, shown, sizeof(shown));
        if (!is_token(header->name)) {
            return reason_set(reason, ERR_INVALID,
                              "branch_headers: name '%s' must be 1 to %d letters, digits or "
                              "!#$%%&'*+-.^_`|~",
                              shown, TXN_HEADER_NAME_MAX);
        }
        if (header->value.len > TXN_HEADER_VALUE_MAX || utf8_has_control(header->value)) {
            return reason_set(reason, ERR_INVALID,
                              "branch_headers: value of '%s' must be UTF-8 of at most %d bytes "
                              "without control characters",
                              shown, TXN_HEADER_VALUE_MAX);
        }
    }
    return ERR_OK;
}

static enum err options_check(const struct txn_options *options, struct reason *reason)
{
    const struct {
        const char *field;
        int64_t value, max;
    } numbers[] = {
        {"timeout_to_fail (ms)", options->timeout_to_fail_ms, TXN_TIME_MAX_MS},
        {"retry_interval (ms)", options->retry_interval_ms, TXN_TIME_MAX_MS},
        {"request_timeout (ms)", options->request_timeout_ms, TXN_TIME_MAX_MS},
        {"retry_limit", options->retry_limit, TXN_RETRY_LIMIT_MAX},
        {"delay (ms)", options->delay_ms, TXN_TIME_MAX_MS},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        enum err err = number_check(numbers[i].field, numbers[i].value, numbers[i].max, reason);
        if (err != ERR_OK) {
            return err;
        }
    }
    return headers_check(options, reason);
}

enum err txn_branch_id_check(struct slice id, struct reason *reason)
{
    if (slice_is_name(id) && id.len <= TXN_BRANCH_ID_MAX && is_digit(id.ptr[0]) &&
        !slice_eq_str(id, "00")) {
        return ERR_OK;
    }
    char shown[SHOWN_SIZE];
    return reason_set(reason, ERR_INVALID,
                      "branch_id: '%s' must be 1 to %d letters, digits, '-' or '_', begin with a "
                      "digit and not be 00",
                      slice_printable(id, shown, sizeof(shown)), TXN_BRANCH_ID_MAX);
}

enum err txn_branch_op_check(struct slice op)
{
    return slice_is_name(op) && op.len <= TXN_BRANCH_OP_MAX ? ERR_OK : ERR_INVALID;
}

bool txn_op_is_second_phase(struct slice op)
{
    for (int type = TXN_SAGA; type <= TXN_WORKFLOW; type++) {
        enum txn_op found;
        if (txn_op_parse((enum txn_type)type, op, &found) == ERR_OK && found != OP_ACTION) {
            return true;
        }
    }
    return false;
}

static enum err check_back_check(const struct txn_spec *spec, enum txn_type type,
                                 struct reason *reason)
{
    if (type == TXN_MSG && spec->prepare && spec->query_prepared.len == 0) {
        return reason_set(reason, ERR_INVALID,
                          "query_prepared: is empty; a prepared msg needs the url that tells "
                          "whether it is to be sent");
    }
    return txn_url_check(spec->query_prepared, "query_prepared", reason);
}

/* Of a finish there is no spec. */
static enum err workflow_check(const struct txn_spec *spec, struct reason *reason)
{
    struct slice name = spec->workflow;
    if (name.len == 0 || name.len > TXN_WORKFLOW_NAME_MAX || utf8_has_control(name)) {
        return reason_set(reason, ERR_INVALID,
                          "name: has %zu bytes; a workflow's must have 1 to %d, and no control "
                          "characters",
                          name.len, TXN_WORKFLOW_NAME_MAX);
    }
    if (spec->workflow_data.len > TXN_PAYLOAD_MAX) {
        return reason_set(reason, ERR_INVALID, "data: has %zu bytes; at most %d",
                          spec->workflow_data.len, TXN_PAYLOAD_MAX);
    }
    return ERR_OK;
}

static enum err type_check(const struct txn_spec *spec, enum txn_type *type, struct reason *reason)
{
    if (txn_type_parse(spec->trans_type, type) == ERR_OK) {
        return ERR_OK;
    }
    char shown[SHOWN_SIZE];
    slice_printable(spec->trans_type, shown, sizeof(shown));
    return reason_set(reason, ERR_INVALID,
                      "trans_type: '%s' is not known; must be saga, tcc, msg, xa or workflow",
                      shown);
}

enum err txn_spec_check(const struct txn_spec *spec, struct reason *reason)
{
    enum txn_type type = TXN_SAGA;
    enum err err = txn_gid_check(spec->gid, reason);
    if (err == ERR_OK) {
        err = type_check(spec, &type, reason);
    }
    if (err == ERR_OK) {
        err = steps_check(spec, type, reason);
    }
    if (err == ERR_OK && type == TXN_WORKFLOW) {
        err = workflow_check(spec, reason);
    }
    if (err == ERR_OK && spec->options.concurrent) {
        err = after_check(spec, reason);
    }
    if (err == ERR_OK) {
        err = check_back_check(spec, type, reason);
    }
    if (err == ERR_OK) {
        err = payload_check(spec, type, reason);
    }
    if (err == ERR_OK &&
        (spec->custom_data.len > TXN_CUSTOM_DATA_MAX || !utf8_is_valid(spec->custom_data))) {
        err = reason_set(reason, ERR_INVALID,
                         "custom_data: has %zu bytes; must be UTF-8 of at most %d",
                         spec->custom_data.len, TXN_CUSTOM_DATA_MAX);
    }
    return err == ERR_OK ? options_check(&spec->options, reason) : err;
}
