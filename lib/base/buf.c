#include "base/buf.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
}

char *buf_reserve(struct buf *buf, size_t n)
{
    size_t need = buf->len + n + 1;
    check(need > n);
    if (need > buf->cap) {
        size_t cap = buf->cap ? buf->cap : 64;
        while (cap < need) {
            check(cap <= SIZE_MAX / 2);
            cap *= 2;
        }
        buf->data = mem_resize(buf->data, cap);
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

void buf_grow(struct buf *buf, size_t n)
{
    check(buf->len + n < buf->cap);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void buf_add(struct buf *buf, const void *data, size_t n)
{
    char *to = buf_reserve(buf, n);
    if (n > 0) {
        memcpy(to, data, n);
    }
    buf_grow(buf, n);
}

void buf_add_slice(struct buf *buf, struct slice s)
{
    buf_add(buf, s.ptr, s.len);
}

void buf_add_str(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    check(n >= 0);
    vsnprintf(buf_reserve(buf, (size_t)n), (size_t)n + 1, fmt, again);
    va_end(again);
    buf_grow(buf, (size_t)n);
}

void buf_drop_front(struct buf *buf, size_t n)
{
    check(n <= buf->len);
    if (n > 0) {
        memmove(buf->data, buf->data + n, buf->len - n);
        buf->len -= n;
        buf->data[buf->len] = '\0';
    }
}

struct slice buf_slice(const struct buf *buf)
{
    return slice_make(buf->data, buf->len);
}

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_pad = '=';

void buf_add_base64(struct buf *out, struct slice data)
{
    const unsigned char *in = (const unsigned char *)data.ptr;
    char *to = buf_reserve(out, (data.len + 2) / 3 * 4);
    size_t n = 0;
    for (size_t i = 0; i < data.len; i += 3) {
        size_t left = data.len - i;
        uint32_t group = (uint32_t)in[i] << 16;
        group |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)in[i + 2] : 0;
        to[n++] = base64_alphabet[group >> 18];
        to[n++] = base64_alphabet[(group >> 12) & 63];
        to[n++] = left > 1 ? base64_alphabet[(group >> 6) & 63] : base64_pad;
        to[n++] = left > 2 ? base64_alphabet[group & 63] : base64_pad;
    }
    buf_grow(out, n);
}

static int base64_value(char c)
{
    const char *at = c ? strchr(base64_alphabet, c) : NULL;
    return at ? (int)(at - base64_alphabet) : -1;
}

/* Decodes four characters; returns the number of bytes, -1 when they are not valid. */
static int base64_group(const char *text, bool last, char out[3])
{
    int pad = !last || text[3] != '=' ? 0 : text[2] != '=' ? 1 : 2;
    uint32_t group = 0;
    for (int i = 0; i < 4; i++) {
        int value = i >= 4 - pad ? 0 : base64_value(text[i]);
        if (value < 0) {
            return -1;
        }
        group = (group << 6) | (uint32_t)value;
    }
    for (int i = 0; i < 3; i++) {
        out[i] = (char)(group >> (16 - 8 * i));
    }
    uint32_t padding = (1u << (8 * pad)) - 1;
    return (group & padding) == 0 ? 3 - pad : -1; /* else two texts would mean the same bytes */
}

enum err buf_add_base64_decoded(struct buf *out, struct slice text)
{
    if (text.len % 4 != 0) {
        return ERR_INVALID;
    }
    char *to = buf_reserve(out, text.len / 4 * 3);
    size_t used = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        char bytes[3];
        int n = base64_group(text.ptr + i, i + 4 == text.len, bytes);
        if (n < 0) {
            *to = '\0';
            return ERR_INVALID;
        }
        memcpy(to + used, bytes, (size_t)n);
        used += (size_t)n;
    }
    buf_grow(out, used);
    return ERR_OK;
}
