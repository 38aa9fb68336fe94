/* Any bytes as a request or reply of the mall; the first byte chooses which. What is taken has
 * clean strings and survives being encoded and decoded again. */
#include "fuzz.h"

#include "base/check.h"
#include "base/mem.h"
#include "wire/message.h"

#include <mall/order.pb.h>
#include <mall/product.pb.h>
#include <mall/score.pb.h>
#include <mall/user.pb.h>
#include <stdlib.h>

#define MESSAGE(name)                                                                              \
    {                                                                                              \
        name##_fields, sizeof(name)                                                                \
    }

static const struct {
    const void *fields;
    size_t size;
} messages[] = {
    MESSAGE(order_CreateRequest),    MESSAGE(order_UpdateRequest),
    MESSAGE(order_ListRequest),      MESSAGE(order_ListResponse),
    MESSAGE(order_PaidRequest),      MESSAGE(order_NewIdRequest),
    MESSAGE(product_CreateRequest),  MESSAGE(product_UpdateRequest),
    MESSAGE(product_DetailResponse), MESSAGE(product_DecrStockRequest),
    MESSAGE(user_UserRequest),       MESSAGE(user_RegisterRequest),
    MESSAGE(user_LoginRequest),      MESSAGE(user_NewIdRequest),
    MESSAGE(score_UserScoreRequest), MESSAGE(score_DetailResponse),
    MESSAGE(score_DeductRequest),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t i = data[0] % (sizeof(messages) / sizeof(messages[0]));
    void *message = mem_alloc(messages[i].size);
    struct buf first = {0};
    struct buf second = {0};
    if (wire_pb_decode(messages[i].fields, message, slice_make(data + 1, size - 1)) == ERR_OK) {
        wire_pb_encode(messages[i].fields, message, &first);
        check(wire_pb_decode(messages[i].fields, message, buf_slice(&first)) == ERR_OK);
        wire_pb_encode(messages[i].fields, message, &second);
        check(slice_eq(buf_slice(&first), buf_slice(&second)));
    }
    buf_fini(&first);
    buf_fini(&second);
    free(message);
    return 0;
}
