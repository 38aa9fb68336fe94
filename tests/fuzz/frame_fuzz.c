/* Frames from untrusted bytes. The first byte chooses the limit, the second the size of the pieces
 * in which the rest arrives. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/check.h"
#include "net/frame.h"

/* Takes all frames off `in` and adds them, in their shortest encoding, to `out`. */
static enum err take_all(struct slice *in, size_t max, struct buf *out)
{
    struct slice frame;
    enum err err;
    const char *end = in->ptr + in->len;
    while ((err = frame_next(in, max, &frame)) == ERR_OK) {
        unsigned char head[FRAME_HEAD_MAX];
        check(frame.len <= max);
        check(in->ptr + in->len == end && frame.ptr + frame.len == in->ptr);
        buf_add(out, head, frame_head(frame.len, head));
        buf_add_slice(out, frame);
    }
    return err;
}

/* As a connection does it: bytes come in pieces, whole frames are dropped from the front. */
static enum err take_pieces(struct slice in, size_t max, size_t piece, struct buf *out)
{
    struct buf waiting = {0};
    enum err err = ERR_UNAVAILABLE;
    while (in.len > 0 && err == ERR_UNAVAILABLE) {
        size_t n = in.len < piece ? in.len : piece;
        buf_add(&waiting, in.ptr, n);
        in = slice_make(in.ptr + n, in.len - n);
        struct slice rest = buf_slice(&waiting);
        err = take_all(&rest, max, out);
        buf_drop_front(&waiting, waiting.len - rest.len);
    }
    buf_fini(&waiting);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    size_t max = data[0] < 200 ? data[0] : data[0] < 240 ? 65536 : UINT32_MAX;
    size_t piece = 1 + (size_t)data[1] % 64;
    struct slice all = slice_make(data + 2, size - 2);
    struct slice rest = all;
    struct buf whole = {0};
    struct buf pieces = {0};
    struct buf again = {0};
    enum err err = take_all(&rest, max, &whole);
    check(err == take_pieces(all, max, piece, &pieces));
    check(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    struct slice encoded = slice_make(whole.data ? whole.data : "", whole.len);
    check(take_all(&encoded, max, &again) == ERR_UNAVAILABLE && encoded.len == 0);
    check(slice_eq(buf_slice(&whole), buf_slice(&again)));
    buf_fini(&whole);
    buf_fini(&pieces);
    buf_fini(&again);
    return 0;
}
