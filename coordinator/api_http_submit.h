/*
 * The body of a submit: DTM's JSON of a saga, turned into a checked txn_spec. Pure; fuzzed.
 *
 *   gid, trans_type                    strings
 *   steps                              [{"action": url, "compensate": url, "data": text}, …]
 *   payloads                           [text, …] one for each step; null: empty
 *   bin_payloads                       [base64, …] instead of payloads, for native branches
 *   custom_data                        string; kept and shown
 *   timeout_to_fail, retry_interval, request_timeout   whole seconds; retry_limit: count
 *   branch_headers                     {name: value}
 *   wait_result, wait_timeout          bool; seconds, needs wait_result
 *
 * null counts as absent everywhere, unknown fields are ignored (what SDKs rely on). The field
 * `concurrent` is ignored for a saga, as DTM does; what DTM honours, concurrent inside custom_data,
 * is refused: running such a saga in order would be legal but not what its author measured and
 * meant.
 */
#ifndef COORDINATOR_API_HTTP_SUBMIT_H
#define COORDINATOR_API_HTTP_SUBMIT_H

#include "base/arena.h"
#include "coordinator/engine.h"
#include "wire/json.h"

/* Upper bounds of the options, in their units. */
enum {
    SUBMIT_TIMEOUT_TO_FAIL_S_MAX = 365 * 24 * 3600,
    SUBMIT_RETRY_INTERVAL_S_MAX = 24 * 3600,
    SUBMIT_REQUEST_TIMEOUT_S_MAX = 3600,
    SUBMIT_RETRY_LIMIT_MAX = 1000 * 1000,
    SUBMIT_WAIT_TIMEOUT_S_MAX = 600,
};

struct submit_request {
    struct txn_spec spec; /* views on the memory below */
    struct engine_wait wait;
    struct json *json;
    struct arena arena;
};

/* ERR_INVALID or ERR_LIMIT with a reason that names field, value and what is allowed. `out` must be
 * given to submit_request_fini in either case. */
enum err submit_request_decode(struct slice body, struct submit_request *out,
                               struct reason *reason) MUST_CHECK;
void submit_request_fini(struct submit_request *request);

#endif
