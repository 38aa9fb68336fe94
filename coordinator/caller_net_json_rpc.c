/* Branches of a transaction with the protocol json-rpc: what is sent and what the answer means. */
#include "coordinator/caller_net_link.h"

#include "base/buf.h"
#include "wire/json.h"

#include <string.h>

enum { CODE_FAILURE = -32901, CODE_ONGOING = -32902, CODE_CONFLICT = -32903 };

/* Ours among the params; a payload with one of these names does not get through with it. */
static const char *const own_names[] = {"gid", "trans_type", "branch_id", "op"};
enum { OWN_NAMES = sizeof(own_names) / sizeof(own_names[0]) };

/* ---- method ---- */

static int digit_of(char c)
{
    const char *digits = "0123456789abcdef";
    char lower = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
    const char *at = c != '\0' ? strchr(digits, lower) : NULL;
    return at ? (int)(at - digits) : -1;
}

static void add_decoded(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        int high = i + 2 < text.len ? digit_of(text.ptr[i + 1]) : -1;
        int low = i + 2 < text.len ? digit_of(text.ptr[i + 2]) : -1;
        char c = text.ptr[i] == '+' ? ' ' : text.ptr[i];
        if (c == '%' && high >= 0 && low >= 0) {
            c = (char)(high * 16 + low);
            i += 2;
        }
        buf_add(out, &c, 1);
    }
}

struct slice json_rpc_method(struct slice rest)
{
    const char *end = rest.ptr + rest.len;
    const char *hash = rest.len > 0 ? memchr(rest.ptr, '#', rest.len) : NULL;
    const char *at = rest.len > 0 ? memchr(rest.ptr, '?', rest.len) : NULL;
    end = hash ? hash : end;
    while (at && at < end) {
        const char *begin = at + 1;
        at = memchr(begin, '&', (size_t)(end - begin));
        struct slice pair = slice_make(begin, (size_t)((at ? at : end) - begin));
        if (slice_has_prefix(pair, "method=")) {
            size_t skip = strlen("method=");
            return slice_make(pair.ptr + skip, pair.len - skip);
        }
    }
    return slice_str(NULL);
}

/* ---- request ---- */

static bool is_own_name(struct slice name)
{
    for (size_t i = 0; i < OWN_NAMES; i++) {
        if (slice_eq_str(name, own_names[i])) {
            return true;
        }
    }
    return false;
}

static bool has_own_names(const struct json *object)
{
    const struct json *member = json_first(object);
    while (member && !is_own_name(json_name(member))) {
        member = json_next(member);
    }
    return member;
}

/* What is between the braces, byte for byte: numbers keep all their digits. */
static void add_members(struct json_writer *w, struct slice object)
{
    const char *begin = memchr(object.ptr, '{', object.len);
    const char *end = object.ptr + object.len;
    while (*--end != '}') {
    }
    buf_add(w->out, begin + 1, (size_t)(end - begin - 1));
    w->comma = true;
}

static void put_payload(struct json_writer *w, struct slice payload)
{
    struct json *json = NULL;
    bool good = payload.len == 0 || json_parse(payload, &json, NULL) == ERR_OK;
    if (!good || json_is_array(json) || json_is_string(json) || json_is_number(json) ||
        json_is_bool(json)) {
        json_put_string(w, "data", payload);
    } else if (has_own_names(json)) {
        for (const struct json *member = json_first(json); member; member = json_next(member)) {
            if (!is_own_name(json_name(member))) {
                json_put_value(w, member);
            }
        }
    } else if (json_first(json)) {
        add_members(w, payload);
    }
    json_free(json);
}

void json_rpc_add_request(struct buf *out, const struct link_call *call)
{
    struct buf method = {0}, id = {0};
    struct json_writer w;
    add_decoded(&method, json_rpc_method(call->rest));
    buf_printf(&id, "%.*s/%.*s/%.*s", SLICE_ARG(call->gid), SLICE_ARG(call->branch_id),
               SLICE_ARG(call->op));
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    json_put_text(&w, "jsonrpc", "2.0");
    json_put_string(&w, "method", buf_slice(&method));
    json_put_string(&w, "id", buf_slice(&id));
    json_open_object(&w, "params");
    put_payload(&w, call->payload);
    json_put_string(&w, "gid", call->gid);
    json_put_string(&w, "trans_type", call->trans_type);
    json_put_string(&w, "branch_id", call->branch_id);
    json_put_string(&w, "op", call->op);
    json_close_object(&w);
    json_close_object(&w);
    buf_fini(&method);
    buf_fini(&id);
}

/* ---- answer ---- */

enum call_verdict json_rpc_verdict(int status, struct slice body)
{
    struct json *json = NULL;
    bool good = json_parse(body, &json, NULL) == ERR_OK && json_is_object(json);
    const struct json *error = good ? json_get(json, "error") : NULL;
    double number = json_double(json_get(error, "code"));
    int code = number >= CODE_CONFLICT && number <= CODE_FAILURE ? (int)number : 0;
    bool fine = good && !error;
    json_free(json);
    if (code != 0) {
        return code == CODE_FAILURE   ? CALL_FAILURE
               : code == CODE_ONGOING ? CALL_ONGOING
                                      : CALL_CONFLICT;
    }
    enum call_verdict verdict = http_verdict(status, body);
    return verdict == CALL_SUCCESS && !fine ? CALL_ERROR : verdict;
}
