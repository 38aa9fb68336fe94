/* The codec of the wire protocol: every message there and back, the same bytes as the generated
 * nanopb code, and what is refused with which words. */
#include "wire/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <saga/v1/saga.pb.h>

#define S(text) ((struct slice)SLICE_LIT(text))

/* The frame inside what wire_encode wrote: behind the varint. */
static struct slice body_of(const struct buf *buf)
{
    size_t head = 0;
    size_t len = 0;
    for (unsigned shift = 0;; shift += 7) {
        unsigned char byte = (unsigned char)buf->data[head++];
        len |= (size_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    assert_int_equal(head + len, buf->len);
    return slice_make(buf->data + head, len);
}

static struct wire_header headers[] = {
    {SLICE_LIT("x-tenant"), SLICE_LIT("7")},
    {SLICE_LIT("empty"), SLICE_LIT("")},
    {SLICE_LIT(""), SLICE_LIT("")},
};
static uint8_t after[] = {0, 1, 99};
static struct wire_step steps[] = {
    {.action = SLICE_LIT("tcp://order/order.Order/Create"),
     .compensate = SLICE_LIT("tcp://order/order.Order/CreateRevert"),
     .payload = SLICE_LIT("\x08\x01\0\xff"),
     .try_url = SLICE_LIT("tcp://a/b.C/Try"),
     .confirm = SLICE_LIT("tcp://a/b.C/Confirm"),
     .cancel = SLICE_LIT("tcp://a/b.C/Cancel"),
     .after = after,
     .after_count = 3,
     .request_timeout_ms = 7000,
     .retry_interval_ms = INT64_MAX,
     .headers = headers,
     .header_count = 2},
    {.action = SLICE_LIT("")},
    {.action = SLICE_LIT("http://h/\xC3\xA4"), .payload = SLICE_LIT("{}")},
};
#define SUBMIT                                                                                     \
    {                                                                                              \
        .gid = SLICE_LIT("g 1/{x}"), .trans_type = SLICE_LIT("saga"), .steps = steps,              \
        .step_count = 3, .options = {60000, 1000, INT64_MAX, UINT32_MAX, headers, 3, true},        \
        .wait_result = true, .wait_timeout_ms = 5000, .query_prepared = SLICE_LIT("http://h/q"),   \
        .custom_data = SLICE_LIT("{\"a\":1}"), .concurrent = true, .delay_ms = 7,                  \
    }
static struct wire_branch_op branch_ops[] = {
    {SLICE_LIT("01"), SLICE_LIT("action"), SLICE_LIT("tcp://a/b.C/D"), WIRE_STATUS_SUCCEED,
     SLICE_LIT("\xff\0")},
    {SLICE_LIT("01"), SLICE_LIT("compensate"), SLICE_LIT(""), WIRE_STATUS_PREPARED, SLICE_LIT("")},
};
static struct wire_history_entry history[] = {
    {1767225600123, SLICE_LIT("01.action"), SLICE_LIT("SUCCESS"), 3, SLICE_LIT("why")},
    {0, SLICE_LIT(""), SLICE_LIT(""), 0, SLICE_LIT("")},
};

/* One of each kind with every field set. */
static const struct wire_message samples[] = {
    {.id = 9, .kind = WIRE_NONE},
    {.kind = WIRE_HELLO, .hello = {1, SLICE_LIT("sagad/0.1.0"), SLICE_LIT("secret")}},
    {.id = 1,
     .kind = WIRE_ERROR,
     .error = {WIRE_ERROR_BUSY, SLICE_LIT("busy"), SLICE_LIT("gid"), 250}},
    {.id = 2, .kind = WIRE_NEW_GID},
    {.id = 3, .kind = WIRE_SUBMIT, .submit = SUBMIT},
    {.id = 4, .kind = WIRE_QUERY, .query_gid = SLICE_LIT("g1")},
    {.id = UINT64_MAX, .kind = WIRE_NEW_GID_REPLY, .new_gid = SLICE_LIT("0123456789abcdefghijkl")},
    {.id = 6,
     .kind = WIRE_SUBMIT_REPLY,
     .submit_reply = {SLICE_LIT("g1"), WIRE_STATUS_FAILED, SLICE_LIT("no stock")}},
    {.id = 7,
     .kind = WIRE_QUERY_REPLY,
     .query_reply = {true, SLICE_LIT("g1"), SLICE_LIT("saga"), WIRE_STATUS_ABORTING,
                     SLICE_LIT("no stock"), 1767225600000, 1767225600500, branch_ops, 2, history, 2,
                     SLICE_LIT("all\0"), SLICE_LIT("conflict 02.confirm"), 1767225600700}},
    {.id = 8,
     .kind = WIRE_CALL,
     .call = {SLICE_LIT("g1"), SLICE_LIT("01"), SLICE_LIT("action"), SLICE_LIT("saga"),
              SLICE_LIT("order.Order/Create"), SLICE_LIT("\x08\x01\x10\x01\x18\x05"), 3000,
              1767225600000, headers, 3,
              SLICE_LIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}},
    {.id = 10,
     .kind = WIRE_CALL_REPLY,
     .call_reply = {WIRE_FAILURE, SLICE_LIT("\xff\0"), SLICE_LIT("no stock")}},
    {.id = 11, .kind = WIRE_PREPARE, .submit = SUBMIT},
    {.id = 12,
     .kind = WIRE_REGISTER,
     .register_branch = {SLICE_LIT("g1"), SLICE_LIT("tcc"), SLICE_LIT("01"),
                         SLICE_LIT("tcp://a/b.C/Confirm"), SLICE_LIT("http://h/cancel"),
                         SLICE_LIT("\x08\0"), SLICE_LIT("action"), WIRE_STATUS_SUCCEED}},
    {.id = 13, .kind = WIRE_ABORT, .abort = {SLICE_LIT("g1"), SLICE_LIT("changed my mind")}},
    {.id = 14,
     .kind = WIRE_WORKFLOW,
     .workflow = {SLICE_LIT("g1"),
                  SLICE_LIT("trip"),
                  SLICE_LIT("\xff\0"),
                  SLICE_LIT("tcp://a/b.C/Resume"),
                  {60000, 1000, 1, 2, headers, 3, true}}},
    {.id = 15,
     .kind = WIRE_FINISH,
     .finish = {SLICE_LIT("g1"), WIRE_STATUS_FAILED, SLICE_LIT("no flight"), SLICE_LIT("\0")}},
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

/* The encoding is canonical, so equal bytes mean equal messages. */
static void test_every_message_survives_the_way_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct buf first = {0};
        struct buf second = {0};
        wire_encode(&first, &samples[i]);
        struct wire_message message;
        assert_int_equal(wire_decode(body_of(&first), &message, NULL), ERR_OK);
        assert_int_equal(message.kind, samples[i].kind);
        assert_true(message.id == samples[i].id);
        wire_encode(&second, &message);
        assert_true(slice_eq(buf_slice(&first), buf_slice(&second)));
        wire_message_fini(&message);
        buf_fini(&first);
        buf_fini(&second);
    }
}

static void test_fields_arrive_where_they_belong(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct wire_message message;
    wire_encode(&buf, &samples[4]);
    assert_int_equal(wire_decode(body_of(&buf), &message, NULL), ERR_OK);
    /* Views on the message's own memory: the frame may go. */
    memset(buf.data, 0xEE, buf.len);
    const struct wire_submit *submit = &message.submit;
    assert_true(slice_eq_str(submit->gid, "g 1/{x}"));
    assert_true(slice_eq_str(submit->trans_type, "saga"));
    assert_int_equal(submit->step_count, 3);
    assert_true(slice_eq(submit->steps[0].payload, S("\x08\x01\0\xff")));
    assert_true(slice_eq_str(submit->steps[2].action, "http://h/\xC3\xA4"));
    assert_int_equal(submit->steps[1].action.len, 0);
    assert_true(submit->options.timeout_to_fail_ms == 60000);
    assert_true(submit->options.request_timeout_ms == INT64_MAX);
    assert_true(submit->options.retry_limit == UINT32_MAX);
    assert_int_equal(submit->options.header_count, 3);
    assert_true(slice_eq_str(submit->options.headers[0].name, "x-tenant"));
    assert_true(slice_eq_str(submit->options.headers[0].value, "7"));
    assert_true(submit->wait_result);
    assert_int_equal(submit->wait_timeout_ms, 5000);
    assert_true(slice_eq_str(submit->steps[0].cancel, "tcp://a/b.C/Cancel"));
    assert_int_equal(submit->steps[0].after_count, 3);
    assert_memory_equal(submit->steps[0].after, after, 3);
    assert_int_equal(submit->steps[1].after_count, 0);
    assert_true(submit->steps[0].request_timeout_ms == 7000);
    assert_int_equal(submit->steps[0].header_count, 2);
    assert_true(slice_eq_str(submit->steps[0].headers[0].value, "7"));
    assert_true(submit->options.keep_results);
    assert_true(slice_eq_str(submit->query_prepared, "http://h/q"));
    assert_true(slice_eq_str(submit->custom_data, "{\"a\":1}"));
    assert_true(submit->concurrent && submit->delay_ms == 7);
    wire_message_fini(&message);
    buf_fini(&buf);
}

/* Independent proof of the table: nanopb's generated code reads our bytes and writes the same. */
static void test_bytes_are_those_of_the_generated_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct buf buf = {0};
        wire_encode(&buf, &samples[i]);
        struct slice ours = body_of(&buf);
        pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)ours.ptr, ours.len);
        saga_v1_Frame frame = saga_v1_Frame_init_zero;
        assert_true(pb_decode(&in, saga_v1_Frame_fields, &frame));
        pb_byte_t theirs[2048];
        pb_ostream_t out = pb_ostream_from_buffer(theirs, sizeof(theirs));
        assert_true(pb_encode(&out, saga_v1_Frame_fields, &frame));
        assert_true(slice_eq(ours, slice_make(theirs, out.bytes_written)));
        pb_release(saga_v1_Frame_fields, &frame);
        buf_fini(&buf);
    }
}

static void test_encode_appends(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_add_str(&buf, "before");
    wire_encode(&buf, &(struct wire_message){.id = 5, .kind = WIRE_NEW_GID});
    assert_true(slice_eq(buf_slice(&buf), S("before\x04\x08\x05\x52\x00")));
    buf_fini(&buf);
}

/* Larger than the 16-bit sizes of the distribution's nanopb. */
static void test_payload_of_a_megabyte(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    char *payload = malloc(SIZE);
    assert_non_null(payload);
    memset(payload, 0xA5, SIZE);
    struct wire_message call = {.id = 1, .kind = WIRE_CALL};
    call.call.payload = slice_make(payload, SIZE);
    struct buf buf = {0};
    wire_encode(&buf, &call);
    struct wire_message message;
    assert_int_equal(wire_decode(body_of(&buf), &message, NULL), ERR_OK);
    assert_true(slice_eq(message.call.payload, call.call.payload));
    wire_message_fini(&message);
    buf_fini(&buf);
    free(payload);
}

static void assert_refused(const struct wire_message *bad, enum err err, const char *text)
{
    struct buf buf = {0};
    wire_encode(&buf, bad);
    struct wire_message message;
    struct reason reason = {""};
    assert_int_equal(wire_decode(body_of(&buf), &message, &reason), err);
    assert_string_equal(reason.text, text);
    assert_true(message.id == bad->id);
    assert_int_equal(message.kind, bad->kind);
    assert_null(message.memory);
    wire_message_fini(&message);
    buf_fini(&buf);
}

static void test_text_that_is_not_utf8_is_refused_by_name(void **state)
{
    (void)state;
    struct wire_step bad_steps[4] = {0};
    bad_steps[3].action = S("tcp://\xff");
    struct wire_message message = {.id = 77, .kind = WIRE_SUBMIT};
    message.submit.steps = bad_steps;
    message.submit.step_count = 4;
    assert_refused(&message, ERR_INVALID, "steps[3].action: not UTF-8");
    bad_steps[3].action = S("");
    struct wire_header bad_header = {SLICE_LIT("ok"), SLICE_LIT("\xC0\x80")};
    message.submit.options.headers = &bad_header;
    message.submit.options.header_count = 1;
    assert_refused(&message, ERR_INVALID, "options.branch_headers[0].value: not UTF-8");
    message = (struct wire_message){.id = 1, .kind = WIRE_QUERY, .query_gid = S("\xed\xa0\x80")};
    assert_refused(&message, ERR_INVALID, "gid: not UTF-8");
}

static void test_counts_over_the_limit_are_refused(void **state)
{
    (void)state;
    struct wire_step many_steps[WIRE_STEPS_MAX + 1] = {0};
    struct wire_message message = {.id = 5, .kind = WIRE_SUBMIT};
    message.submit.steps = many_steps;
    message.submit.step_count = WIRE_STEPS_MAX + 1;
    assert_refused(&message, ERR_INVALID, "steps: 101, at most 100 allowed");
    struct wire_header many_headers[WIRE_HEADERS_MAX + 1] = {0};
    message = (struct wire_message){.id = 5, .kind = WIRE_CALL};
    message.call.headers = many_headers;
    message.call.header_count = WIRE_HEADERS_MAX + 1;
    assert_refused(&message, ERR_INVALID, "headers: 33, at most 32 allowed");
}

static void assert_bytes_refused(struct slice bytes, enum err err, uint64_t id, enum wire_kind kind,
                                 const char *text)
{
    struct wire_message message;
    struct reason reason = {""};
    assert_int_equal(wire_decode(bytes, &message, &reason), err);
    assert_string_equal(reason.text, text);
    assert_true(message.id == id);
    assert_int_equal(message.kind, kind);
    wire_message_fini(&message);
}

static void test_numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    /* id 1, submit{wait_timeout_ms: 2^32} */
    assert_bytes_refused(S("\x08\x01\x5a\x06\x30\x80\x80\x80\x80\x10"), ERR_INVALID, 1, WIRE_SUBMIT,
                         "wait_timeout_ms: 4294967296, at most 4294967295 allowed");
    /* submit{options{timeout_to_fail_ms: 2^64-1}}, id 3 behind it */
    assert_bytes_refused(
        S("\x5a\x0d\x22\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x03"), ERR_INVALID, 3,
        WIRE_SUBMIT,
        "options.timeout_to_fail_ms: 18446744073709551615, at most 9223372036854775807 allowed");
}

static void test_broken_bytes_are_refused(void **state)
{
    (void)state;
    assert_bytes_refused(S("\x08\x02\x5a\x05\x0a"), ERR_PROTOCOL, 2, WIRE_SUBMIT,
                         "not a frame: end-of-stream");
    assert_bytes_refused(S("\x0d\x01\x02\x03\x04"), ERR_PROTOCOL, 0, WIRE_NONE,
                         "id: wrong wire type");
    assert_bytes_refused(S("\x08\x02\x62\x02\x08\x01"), ERR_PROTOCOL, 2, WIRE_QUERY,
                         "gid: wrong wire type");
    assert_bytes_refused(S("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), ERR_PROTOCOL, 0,
                         WIRE_NONE, "not a frame: varint overflow");
    /* a group, which proto3 does not have */
    assert_bytes_refused(S("\x08\x04\x13"), ERR_PROTOCOL, 4, WIRE_HELLO, "body: wrong wire type");
}

/* submit{steps{after: …}}, packed or one by one, as protobuf allows. */
static void test_indices_come_packed_or_one_by_one(void **state)
{
    (void)state;
    static const struct slice forms[] = {
        SLICE_LIT("\x5a\x06\x1a\x04\x3a\x02\x05\x63"),     /* packed */
        SLICE_LIT("\x5a\x06\x1a\x04\x38\x05\x38\x63"),     /* one by one */
        SLICE_LIT("\x5a\x07\x1a\x05\x38\x05\x3a\x01\x63"), /* mixed */
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct wire_message message;
        assert_int_equal(wire_decode(forms[i], &message, NULL), ERR_OK);
        const struct wire_step *step = &message.submit.steps[0];
        assert_int_equal(step->after_count, 2);
        assert_int_equal(step->after[0], 5);
        assert_int_equal(step->after[1], 99);
        wire_message_fini(&message);
    }
    assert_bytes_refused(S("\x5a\x05\x1a\x03\x3a\x01\x64"), ERR_INVALID, 0, WIRE_SUBMIT,
                         "steps[0].after: 100, at most 99 allowed");
    assert_bytes_refused(S("\x5a\x06\x1a\x04\x38\xac\x02\x00"), ERR_INVALID, 0, WIRE_SUBMIT,
                         "steps[0].after: 300, at most 99 allowed");
    assert_bytes_refused(S("\x5a\x05\x1a\x03\x3a\x01\x80"), ERR_PROTOCOL, 0, WIRE_SUBMIT,
                         "not a frame: end-of-stream");
    uint8_t many[WIRE_STEPS_MAX + 1] = {0};
    struct wire_step step = {.after = many, .after_count = WIRE_STEPS_MAX + 1};
    struct wire_message message = {
        .id = 5, .kind = WIRE_SUBMIT, .submit = {.steps = &step, .step_count = 1}};
    assert_refused(&message, ERR_INVALID, "steps[0].after: 101, at most 100 allowed");
}

/* Whatever is cut off: a clean refusal, or a shorter message where the cut is between fields. */
static void test_every_truncation_is_safe(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct buf buf = {0};
        wire_encode(&buf, &samples[i]);
        struct slice whole = body_of(&buf);
        for (size_t len = 0; len < whole.len; len++) {
            char *exact = malloc(len ? len : 1); /* so that asan sees a byte too far */
            assert_non_null(exact);
            memcpy(exact, whole.ptr, len);
            struct wire_message message;
            enum err err = wire_decode(slice_make(exact, len), &message, NULL);
            assert_true(err == ERR_OK || err == ERR_PROTOCOL);
            wire_message_fini(&message);
            free(exact);
        }
        buf_fini(&buf);
    }
}

static struct wire_message decode_ok(struct slice bytes)
{
    struct wire_message message;
    struct reason reason = {""};
    if (wire_decode(bytes, &message, &reason) != ERR_OK) {
        fail_msg("%s", reason.text);
    }
    return message;
}

static void test_unknown_fields_and_bodies_are_tolerated(void **state)
{
    (void)state;
    /* field 100 of every wire type, around and inside query{gid "g"} */
    struct wire_message message = decode_ok(S("\xa0\x06\x05\x08\x07\xa2\x06\x01x"
                                              "\x62\x13\xa5\x06"
                                              "abcd\x0a\x01g\xa1\x06"
                                              "12345678"));
    assert_int_equal(message.kind, WIRE_QUERY);
    assert_int_equal(message.id, 7);
    assert_true(slice_eq_str(message.query_gid, "g"));
    wire_message_fini(&message);
    message = decode_ok(S("\x08\x07\xa2\x06\x03xyz"));
    assert_int_equal(message.kind, WIRE_NONE);
    assert_int_equal(message.id, 7);
    wire_message_fini(&message);
    message = decode_ok(S(""));
    assert_int_equal(message.kind, WIRE_NONE);
    wire_message_fini(&message);
}

static void test_unknown_enum_numbers_read_as_unspecified(void **state)
{
    (void)state;
    struct wire_message message = decode_ok(S("\xfa\x01\x02\x08\x63"));
    assert_int_equal(message.kind, WIRE_CALL_REPLY);
    assert_int_equal(message.call_reply.result, WIRE_RESULT_UNSPECIFIED);
    wire_message_fini(&message);
    /* -1 as protobuf writes it */
    message = decode_ok(S("\xfa\x01\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    assert_int_equal(message.call_reply.result, WIRE_RESULT_UNSPECIFIED);
    wire_message_fini(&message);
}

static void test_of_two_bodies_the_last_counts_and_the_same_is_merged(void **state)
{
    (void)state;
    struct wire_message message = decode_ok(S("\x5a\x02\x1a\x00\x62\x03\x0a\x01g"));
    assert_int_equal(message.kind, WIRE_QUERY);
    assert_true(slice_eq_str(message.query_gid, "g"));
    wire_message_fini(&message);
    /* submit{steps[a]} + submit{gid g, steps[b]} */
    message = decode_ok(S("\x5a\x05\x1a\x03\x0a\x01"
                          "a\x5a\x08\x0a\x01g\x1a\x03\x0a\x01"
                          "b"));
    assert_int_equal(message.submit.step_count, 2);
    assert_true(slice_eq_str(message.submit.steps[0].action, "a"));
    assert_true(slice_eq_str(message.submit.steps[1].action, "b"));
    assert_true(slice_eq_str(message.submit.gid, "g"));
    wire_message_fini(&message);
}

static void test_a_nul_inside_a_string_hides_nothing(void **state)
{
    (void)state;
    struct wire_message message = decode_ok(S("\x62\x05\x0a\x03g\0x"));
    assert_true(slice_eq(message.query_gid, S("g\0x")));
    wire_message_fini(&message);
}

static void test_words(void **state)
{
    (void)state;
    static const char *const statuses[] = {NULL,       "prepared", "submitted",
                                           "aborting", "succeed",  "failed"};
    for (int i = 1; i <= WIRE_STATUS_FAILED; i++) {
        assert_string_equal(wire_status_name((enum wire_status)i), statuses[i]);
        assert_int_equal(wire_status_parse(slice_str(statuses[i])), i);
    }
    assert_null(wire_status_name(WIRE_STATUS_UNSPECIFIED));
    assert_null(wire_status_name((enum wire_status)99));
    assert_int_equal(wire_status_parse(S("Succeed")), WIRE_STATUS_UNSPECIFIED);
    assert_string_equal(wire_result_name(WIRE_SUCCESS), "SUCCESS");
    assert_string_equal(wire_result_name(WIRE_RESULT_ERROR), "ERROR");
    assert_string_equal(wire_result_name(WIRE_RESULT_CONFLICT), "CONFLICT");
    assert_null(wire_result_name(WIRE_RESULT_UNSPECIFIED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_survives_the_way_there_and_back),
        cmocka_unit_test(test_fields_arrive_where_they_belong),
        cmocka_unit_test(test_bytes_are_those_of_the_generated_code),
        cmocka_unit_test(test_encode_appends),
        cmocka_unit_test(test_payload_of_a_megabyte),
        cmocka_unit_test(test_text_that_is_not_utf8_is_refused_by_name),
        cmocka_unit_test(test_counts_over_the_limit_are_refused),
        cmocka_unit_test(test_numbers_out_of_range_are_refused),
        cmocka_unit_test(test_broken_bytes_are_refused),
        cmocka_unit_test(test_indices_come_packed_or_one_by_one),
        cmocka_unit_test(test_every_truncation_is_safe),
        cmocka_unit_test(test_unknown_fields_and_bodies_are_tolerated),
        cmocka_unit_test(test_unknown_enum_numbers_read_as_unspecified),
        cmocka_unit_test(test_of_two_bodies_the_last_counts_and_the_same_is_merged),
        cmocka_unit_test(test_a_nul_inside_a_string_hides_nothing),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
