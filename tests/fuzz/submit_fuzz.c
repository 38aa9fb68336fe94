/* Any bytes as the body of a submit: refused with a reason, or a spec within all limits. */
#include "fuzz.h"

#include "base/check.h"
#include "coordinator/api_http_submit.h"

static void spec_check_limits(const struct submit_request *request)
{
    const struct txn_spec *spec = &request->spec;
    size_t payloads = 0;
    check(utf8_is_valid(spec->gid) && !utf8_has_control(spec->gid));
    check(utf8_length(spec->gid) >= 1 && utf8_length(spec->gid) <= TXN_GID_CHARS_MAX);
    check(spec->step_count <= TXN_BRANCHES_MAX);
    check(spec->options.header_count <= TXN_HEADERS_MAX);
    check(request->wait.wait_ms >= 0 && request->wait.wait_ms <= SUBMIT_WAIT_TIMEOUT_S_MAX * 1000);
    for (size_t i = 0; i < spec->step_count; i++) {
        check(spec->steps[i].payload.len <= TXN_PAYLOAD_MAX);
        payloads += spec->steps[i].payload.len;
    }
    check(payloads <= TXN_PAYLOADS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct submit_request request;
    struct reason reason = {""};
    enum err err = submit_request_decode(slice_make(data, size), false, &request, &reason);
    if (err) {
        check(reason.text[0] && (err == ERR_INVALID || err == ERR_LIMIT));
    } else {
        spec_check_limits(&request);
        txn_free(txn_new(&request.spec)); /* what the engine does with it */
    }
    submit_request_fini(&request);
    return 0;
}
