/* Any bytes as one frame. What is taken must be within the limits, survive being encoded and
 * decoded again, and mean the same to nanopb's generated code. */
#include "fuzz.h"

#include "base/check.h"
#include "wire/message.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <saga/v1/saga.pb.h>
#include <stdlib.h>

/* The frame behind its length. */
static struct slice unframed(const struct buf *bytes)
{
    size_t head = 1;
    while ((unsigned char)bytes->data[head - 1] >= 0x80) {
        head++;
    }
    return slice_make(bytes->data + head, bytes->len - head);
}

static void check_limits(const struct wire_message *message)
{
    if (message->kind == WIRE_SUBMIT || message->kind == WIRE_PREPARE) {
        check(message->submit.step_count <= WIRE_STEPS_MAX);
        check(message->submit.options.header_count <= WIRE_HEADERS_MAX);
        check(message->submit.options.timeout_to_fail_ms >= 0);
        check(utf8_is_valid(message->submit.gid) && message->submit.delay_ms >= 0);
        for (size_t i = 0; i < message->submit.step_count; i++) {
            const struct wire_step *step = &message->submit.steps[i];
            check(step->after_count <= WIRE_STEPS_MAX && step->header_count <= WIRE_HEADERS_MAX);
            for (size_t a = 0; a < step->after_count; a++) {
                check(step->after[a] < WIRE_STEPS_MAX);
            }
        }
    } else if (message->kind == WIRE_REGISTER) {
        check(utf8_is_valid(message->register_branch.branch_id));
        check(utf8_is_valid(message->register_branch.op));
        check(message->register_branch.status <= WIRE_STATUS_FAILED);
    } else if (message->kind == WIRE_ABORT) {
        check(utf8_is_valid(message->abort.reason));
    } else if (message->kind == WIRE_WORKFLOW) {
        check(utf8_is_valid(message->workflow.name) && utf8_is_valid(message->workflow.resume));
        check(message->workflow.options.header_count <= WIRE_HEADERS_MAX);
    } else if (message->kind == WIRE_FINISH) {
        check(utf8_is_valid(message->finish.reason));
        check(message->finish.status <= WIRE_STATUS_FAILED);
    } else if (message->kind == WIRE_CALL) {
        check(message->call.header_count <= WIRE_HEADERS_MAX);
        check(message->call.started_ms >= 0 && utf8_is_valid(message->call.method));
    } else if (message->kind == WIRE_QUERY_REPLY) {
        check(message->query_reply.history_count <= WIRE_HISTORY_MAX);
        check(message->query_reply.branch_count <= WIRE_BRANCH_OPS_MAX);
        check(message->query_reply.status <= WIRE_STATUS_FAILED);
    }
}

static void check_generated_code_agrees(struct slice frame)
{
    if (frame.len > 60000) {
        return; /* its sizes have 16 bits */
    }
    saga_v1_Frame theirs = saga_v1_Frame_init_zero;
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)frame.ptr, frame.len);
    check(pb_decode(&in, saga_v1_Frame_fields, &theirs));
    pb_byte_t *bytes = malloc(frame.len + 1);
    check(bytes);
    pb_ostream_t out = pb_ostream_from_buffer(bytes, frame.len);
    check(pb_encode(&out, saga_v1_Frame_fields, &theirs));
    check(slice_eq(frame, slice_make(bytes, out.bytes_written)));
    pb_release(saga_v1_Frame_fields, &theirs);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_message message;
    struct reason reason = {""};
    enum err err = wire_decode(slice_make(data, size), &message, &reason);
    if (err != ERR_OK) {
        check(!message.memory && reason.text[0] && utf8_is_valid(slice_str(reason.text)));
        return 0;
    }
    check_limits(&message);
    struct buf first = {0};
    struct buf second = {0};
    wire_encode(&first, &message);
    wire_message_fini(&message);
    check(wire_decode(unframed(&first), &message, NULL) == ERR_OK);
    wire_encode(&second, &message);
    wire_message_fini(&message);
    check(slice_eq(buf_slice(&first), buf_slice(&second)));
    check_generated_code_agrees(unframed(&first));
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
