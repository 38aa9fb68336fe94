#include "base/buf.h"
#include "net/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct slice bytes_of(const char *text, size_t len)
{
    return slice_make(text, len);
}
#define BYTES(text) bytes_of(text, sizeof(text) - 1)

static void add_frame(struct buf *buf, size_t length)
{
    unsigned char head[FRAME_HEAD_MAX];
    buf_add(buf, head, frame_head(length, head));
    memset(buf_reserve(buf, length), (int)(length % 251), length);
    buf_grow(buf, length);
}

static void head_is_the_varint_of_protobuf(void **state)
{
    (void)state;
    static const struct {
        size_t length;
        const char *bytes;
        size_t count;
    } cases[] = {
        {0, "\x00", 1},
        {1, "\x01", 1},
        {127, "\x7F", 1},
        {128, "\x80\x01", 2},
        {300, "\xAC\x02", 2},
        {16383, "\xFF\x7F", 2},
        {16384, "\x80\x80\x01", 3},
        {2097151, "\xFF\xFF\x7F", 3},
        {2097152, "\x80\x80\x80\x01", 4},
        {268435455, "\xFF\xFF\xFF\x7F", 4},
        {268435456, "\x80\x80\x80\x80\x01", 5},
        {UINT32_MAX, "\xFF\xFF\xFF\xFF\x0F", 5},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char head[FRAME_HEAD_MAX];
        assert_int_equal(frame_head(cases[i].length, head), cases[i].count);
        assert_memory_equal(head, cases[i].bytes, cases[i].count);
        struct slice in = bytes_of(cases[i].bytes, cases[i].count);
        struct slice frame;
        enum err want = cases[i].length == 0 ? ERR_OK : ERR_UNAVAILABLE;
        assert_int_equal(frame_next(&in, UINT32_MAX, &frame), want);
    }
}

static void every_length_comes_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (size_t length = 0; length < 20000; length += length < 600 ? 1 : 97) {
        buf_clear(&buf);
        add_frame(&buf, length);
        buf_add_str(&buf, "rest");
        struct slice in = buf_slice(&buf);
        struct slice frame;
        assert_int_equal(frame_next(&in, length, &frame), ERR_OK);
        assert_int_equal(frame.len, length);
        assert_true(length == 0 || (unsigned char)frame.ptr[length - 1] == length % 251);
        assert_true(slice_eq_str(in, "rest"));
    }
    buf_fini(&buf);
}

static void a_frame_that_drips_in_is_seen_with_its_last_byte(void **state)
{
    (void)state;
    struct buf buf = {0};
    add_frame(&buf, 300);
    for (size_t n = 0; n < buf.len; n++) {
        struct slice in = slice_make(buf.data, n);
        struct slice before = in;
        struct slice frame;
        assert_int_equal(frame_next(&in, 300, &frame), ERR_UNAVAILABLE);
        assert_ptr_equal(in.ptr, before.ptr);
        assert_int_equal(in.len, before.len);
    }
    struct slice in = buf_slice(&buf);
    struct slice frame;
    assert_int_equal(frame_next(&in, 300, &frame), ERR_OK);
    assert_int_equal(in.len, 0);
    buf_fini(&buf);
}

static void many_frames_come_off_one_after_the_other(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (size_t i = 0; i < 1000; i++) {
        add_frame(&buf, i);
    }
    struct slice in = buf_slice(&buf);
    struct slice frame;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(frame_next(&in, 1000, &frame), ERR_OK);
        assert_int_equal(frame.len, i);
    }
    assert_int_equal(frame_next(&in, 1000, &frame), ERR_UNAVAILABLE);
    buf_fini(&buf);
}

static void a_length_over_the_limit_is_refused_before_the_bytes_come(void **state)
{
    (void)state;
    struct slice frame;
    struct slice at = BYTES("\x80\x08");   /* 1024 */
    struct slice over = BYTES("\x81\x08"); /* 1025 */
    assert_int_equal(frame_next(&at, 1024, &frame), ERR_UNAVAILABLE);
    assert_int_equal(frame_next(&over, 1024, &frame), ERR_LIMIT);
}

static void what_is_no_varint_of_32_bits_is_refused(void **state)
{
    (void)state;
    struct slice frame;
    struct slice cases[] = {
        BYTES("\xFF\xFF\xFF\xFF\x10"),     /* 2^32 + … */
        BYTES("\x80\x80\x80\x80\x80\x01"), /* six bytes */
        BYTES("\xFF\xFF\xFF\xFF\xFF"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(frame_next(&cases[i], UINT32_MAX, &frame), ERR_PROTOCOL);
    }
}

static void a_varint_with_needless_zeros_is_read_as_protobuf_reads_it(void **state)
{
    (void)state;
    struct slice frame;
    struct slice in = BYTES("\x83\x80\x00"
                            "abc");
    assert_int_equal(frame_next(&in, 10, &frame), ERR_OK);
    assert_true(slice_eq_str(frame, "abc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_is_the_varint_of_protobuf),
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(a_frame_that_drips_in_is_seen_with_its_last_byte),
        cmocka_unit_test(many_frames_come_off_one_after_the_other),
        cmocka_unit_test(a_length_over_the_limit_is_refused_before_the_bytes_come),
        cmocka_unit_test(what_is_no_varint_of_32_bits_is_refused),
        cmocka_unit_test(a_varint_with_needless_zeros_is_read_as_protobuf_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
