/* Branches by JSON-RPC: url, payload and answer are the texts of others. */
#include "coordinator/caller_net_link.h"

#include "base/check.h"
#include "wire/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "URL\nPAYLOAD": what is sent is JSON with our params, whatever the payload is. */
static void request_try(struct slice rest, struct slice payload)
{
    struct link_call call = {.gid = SLICE_LIT("g"),
                             .branch_id = SLICE_LIT("01"),
                             .op = SLICE_LIT("action"),
                             .trans_type = SLICE_LIT("saga"),
                             .rest = rest,
                             .payload = payload};
    struct buf out = {0};
    struct json *json;
    struct reason reason;
    json_rpc_add_request(&out, &call);
    /* A payload of the greatest depth is one level deeper in the request. */
    if (json_parse(buf_slice(&out), &json, &reason) == ERR_OK) {
        check(slice_eq_str(json_string(json_get(json_get(json, "params"), "gid")), "g"));
    } else {
        check(strstr(reason.text, "deep") || strstr(reason.text, "\\u0000"));
    }
    json_free(json);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t first = line ? (size_t)(line - data) : size;
    struct slice rest = slice_make(data, first);
    struct slice payload = line ? slice_make(line + 1, size - first - 1) : slice_make(NULL, 0);
    request_try(rest, payload);
    (void)json_rpc_verdict(200, payload);
    return 0;
}
