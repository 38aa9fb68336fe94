/*
 * The body of prepare and submit: DTM's JSON of a transaction, turned into a checked txn_spec.
 * Pure; fuzzed.
 *
 *   gid, trans_type                    strings
 *   steps                              [{"action": url, "compensate": url, "data": text}, …]; of a
 *                                      declared tcc: "try", "confirm", "cancel"
 *   payloads                           [text, …] one for each step; null: empty
 *   bin_payloads                       [base64, …] instead of payloads, for native branches
 *   custom_data                        string; kept and shown; see api_http_custom.h
 *   query_prepared                     url
 *   keep_results                       bool: what actions answer is kept, shown by query, and put
 *                                      into later payloads in place of ${01.result}
 *   in a step: request_timeout, retry_interval, branch_headers   as below, for its calls alone
 *   concurrent                         bool, honoured for msg (what SDKs send for a saga is in
 *                                      custom_data)
 *   req_extra                          {status, rollback_reason, result: base64}: how a workflow
 *                                      ended, by its client
 *   timeout_to_fail, retry_interval, request_timeout   whole seconds; retry_limit: count
 *   branch_headers                     {name: value}
 *   protocol                           "http" or "json-rpc"
 *   wait_result, wait_timeout          bool; seconds, needs wait_result
 *
 * null counts as absent everywhere, unknown fields are ignored (what SDKs rely on).
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
    enum txn_type type;
    struct engine_wait wait;
    struct engine_finish finish; /* workflow */
    struct json *json;
    struct arena arena;
};

/* Without topics. ERR_INVALID or ERR_LIMIT with a reason that names field, value and what is
 * allowed. `out` must be given to submit_request_fini in either case. */
enum err submit_request_decode(struct slice body, bool prepare, struct submit_request *out,
                               struct reason *reason) MUST_CHECK;
/* The same of parsed JSON, which `out` owns from now on. A msg to topics (topics_are_named) comes
 * back unchecked: topics_expand and txn_spec_check must follow. */
enum err submit_request_read(struct json *body, bool prepare, struct submit_request *out,
                             struct reason *reason) MUST_CHECK;
void submit_request_fini(struct submit_request *request);

#endif
