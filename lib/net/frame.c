#include "net/frame.h"

#include "base/check.h"

size_t frame_head(size_t length, unsigned char out[FRAME_HEAD_MAX])
{
    check(length <= UINT32_MAX);
    size_t n = 0;
    while (length > 0x7F) {
        out[n++] = (unsigned char)(0x80 | (length & 0x7F));
        length >>= 7;
    }
    out[n++] = (unsigned char)length;
    return n;
}

enum err frame_next(struct slice *in, size_t max, struct slice *frame)
{
    uint64_t length = 0;
    size_t head = 0;
    unsigned char byte;
    do {
        if (head == FRAME_HEAD_MAX) {
            return ERR_PROTOCOL;
        }
        if (head == in->len) {
            return ERR_UNAVAILABLE;
        }
        byte = (unsigned char)in->ptr[head];
        length |= (uint64_t)(byte & 0x7F) << (7 * head);
        head++;
    } while (byte & 0x80);
    if (length > UINT32_MAX) {
        return ERR_PROTOCOL;
    }
    if (length > max) {
        return ERR_LIMIT;
    }
    if (in->len - head < length) {
        return ERR_UNAVAILABLE;
    }
    *frame = slice_make(in->ptr + head, length);
    *in = slice_make(in->ptr + head + length, in->len - head - length);
    return ERR_OK;
}
