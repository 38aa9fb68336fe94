/* Messages of the mall: the bytes that its other clients send, and what is refused. */
#include "wire/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <mall/order.pb.h>
#include <mall/product.pb.h>
#include <mall/score.pb.h>
#include <mall/user.pb.h>

#define S(text) ((struct slice)SLICE_LIT(text))

static void assert_vector(const void *fields, const void *message, struct slice bytes, void *again,
                          size_t size)
{
    struct buf out = {0};
    wire_pb_encode(fields, message, &out);
    assert_true(slice_eq(buf_slice(&out), bytes));
    memset(again, 0xEE, size);
    assert_int_equal(wire_pb_decode(fields, again, bytes), ERR_OK);
    buf_clear(&out);
    wire_pb_encode(fields, again, &out);
    assert_true(slice_eq(buf_slice(&out), bytes));
    buf_fini(&out);
}

static void test_order_create(void **state)
{
    (void)state;
    order_CreateRequest request = {.uid = 1, .pid = 1, .amount = 5};
    order_CreateRequest again;
    assert_vector(order_CreateRequest_fields, &request, S("\x08\x01\x10\x01\x18\x05"), &again,
                  sizeof(again));
    request.id = 7;
    request.num = 2;
    assert_vector(order_CreateRequest_fields, &request,
                  S("\x08\x01\x10\x01\x18\x05\x28\x07\x30\x02"), &again, sizeof(again));
}

static void test_product_decr_stock(void **state)
{
    (void)state;
    product_DecrStockRequest request = {.id = 1, .num = 1};
    product_DecrStockRequest again;
    assert_vector(product_DecrStockRequest_fields, &request, S("\x08\x01\x10\x01"), &again,
                  sizeof(again));
}

static void test_score_save(void **state)
{
    (void)state;
    score_UserScoreRequest request = {.user_id = 7, .score = 10};
    score_UserScoreRequest again;
    assert_vector(score_UserScoreRequest_fields, &request, S("\x08\x07\x10\x0a"), &again,
                  sizeof(again));
}

static void test_user_save(void **state)
{
    (void)state;
    user_UserRequest request = {.id = "7", .name = "n", .gender = "1"};
    user_UserRequest again;
    assert_vector(user_UserRequest_fields, &request,
                  S("\x0a\x01"
                    "7\x12\x01n\x1a\x01"
                    "1"),
                  &again, sizeof(again));
}

/* "Absent keeps, an explicit 0 sets" (W18) needs the difference on the wire. */
static void test_update_tells_absent_from_zero(void **state)
{
    (void)state;
    product_UpdateRequest request;
    assert_int_equal(wire_pb_decode(product_UpdateRequest_fields, &request, S("\x08\x01\x28\x00")),
                     ERR_OK);
    assert_true(request.has_amount);
    assert_int_equal(request.amount, 0);
    assert_false(request.has_name);
    assert_false(request.has_status);
}

static void test_lists_survive(void **state)
{
    (void)state;
    static score_DetailResponse response = {.total = 15, .entries_count = 2, .count = 2};
    response.entries[0] = (score_DetailEntry){2, 10, "g2", "01", 1767225600000};
    response.entries[1] = (score_DetailEntry){1, 5, "g1", "01", 1767225600000};
    static score_DetailResponse again;
    struct buf out = {0};
    wire_pb_encode(score_DetailResponse_fields, &response, &out);
    assert_int_equal(wire_pb_decode(score_DetailResponse_fields, &again, buf_slice(&out)), ERR_OK);
    assert_int_equal(again.entries_count, 2);
    assert_string_equal(again.entries[1].gid, "g1");
    buf_fini(&out);
}

static void assert_refused(const void *fields, void *message, struct slice bytes)
{
    assert_int_equal(wire_pb_decode(fields, message, bytes), ERR_INVALID);
}

static void test_bad_bytes_are_refused(void **state)
{
    (void)state;
    user_UserRequest request;
    assert_refused(user_UserRequest_fields, &request, S("\x0a\x05"));
    assert_refused(user_UserRequest_fields, &request, S("\x12\x02\xC0\x80"));
    assert_refused(user_UserRequest_fields, &request, S("\x12\x03n\0x"));
    /* one byte longer than its field: 20 digits fit */
    assert_refused(user_UserRequest_fields, &request,
                   S("\x0a\x15"
                     "123456789012345678901"));
    assert_int_equal(wire_pb_decode(user_UserRequest_fields, &request,
                                    S("\x0a\x14"
                                      "12345678901234567890")),
                     ERR_OK);
    /* inside a list */
    static score_DetailResponse response;
    assert_refused(score_DetailResponse_fields, &response, S("\x12\x03\x1a\x01\xff"));
}

static void test_unknown_fields_are_skipped(void **state)
{
    (void)state;
    order_DetailRequest request;
    assert_int_equal(
        wire_pb_decode(order_DetailRequest_fields, &request, S("\xa0\x06\x05\x08\x07")), ERR_OK);
    assert_int_equal(request.id, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_create),
        cmocka_unit_test(test_product_decr_stock),
        cmocka_unit_test(test_score_save),
        cmocka_unit_test(test_user_save),
        cmocka_unit_test(test_update_tells_absent_from_zero),
        cmocka_unit_test(test_lists_survive),
        cmocka_unit_test(test_bad_bytes_are_refused),
        cmocka_unit_test(test_unknown_fields_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
