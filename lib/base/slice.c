#include "base/slice.h"

#include "base/mem.h"

#include <string.h>

struct slice slice_str(const char *text)
{
    return slice_make(text, text ? strlen(text) : 0);
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool slice_eq_str(struct slice a, const char *text)
{
    return slice_eq(a, slice_str(text));
}

bool slice_has_prefix(struct slice a, const char *prefix)
{
    size_t len = strlen(prefix);
    return a.len >= len && slice_eq(slice_make(a.ptr, len), slice_make(prefix, len));
}

bool slice_is_name(struct slice a)
{
    size_t i = 0;
    while (i < a.len &&
           ((a.ptr[i] >= 'a' && a.ptr[i] <= 'z') || (a.ptr[i] >= 'A' && a.ptr[i] <= 'Z') ||
            (a.ptr[i] >= '0' && a.ptr[i] <= '9') || a.ptr[i] == '-' || a.ptr[i] == '_')) {
        i++;
    }
    return a.len > 0 && i == a.len;
}

char *slice_dup(struct slice a)
{
    return mem_dup(a.ptr, a.len);
}

bool slice_eq_secret(struct slice a, struct slice b)
{
    if (a.len != b.len) {
        return false;
    }
    unsigned char diff = 0;
    for (size_t i = 0; i < a.len; i++) {
        diff = (unsigned char)(diff | ((unsigned char)a.ptr[i] ^ (unsigned char)b.ptr[i]));
    }
    return diff == 0;
}

bool slice_to_int64(struct slice a, int64_t *out)
{
    size_t i = 0;
    bool negative = a.len > 0 && a.ptr[0] == '-';
    if (negative) {
        i = 1;
    }
    if (i == a.len) {
        return false;
    }
    int64_t value = 0;
    for (; i < a.len; i++) {
        if (a.ptr[i] < '0' || a.ptr[i] > '9') {
            return false;
        }
        int64_t digit = a.ptr[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) {
            return false;
        }
    }
    /* Counted downwards, because the range below zero is the larger one. */
    return negative ? (*out = value, true) : !__builtin_sub_overflow((int64_t)0, value, out);
}

/* Decodes one code point; returns its length in bytes, 0 when the bytes are not valid. */
static size_t utf8_decode(const unsigned char *s, size_t len, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : (s[0] & 0xE0) == 0xC0 ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : 4;
    if (n == 1) {
        *out = s[0];
        return 1;
    }
    if ((n == 4 && (s[0] & 0xF8) != 0xF0) || len < n) {
        return 0;
    }
    uint32_t code = s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
        code = (code << 6) | (s[i] & 0x3F);
    }
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    *out = code;
    return code < least[n] || surrogate || code > 0x10FFFF ? 0 : n;
}

bool utf8_is_valid(struct slice a)
{
    const unsigned char *s = (const unsigned char *)a.ptr;
    uint32_t code;
    for (size_t i = 0; i < a.len;) {
        size_t n = utf8_decode(s + i, a.len - i, &code);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

size_t utf8_length(struct slice a)
{
    size_t count = 0;
    for (size_t i = 0; i < a.len; i++) {
        count += ((unsigned char)a.ptr[i] & 0xC0) != 0x80;
    }
    return count;
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

bool utf8_has_control(struct slice a)
{
    const unsigned char *s = (const unsigned char *)a.ptr;
    uint32_t code = 0;
    for (size_t i = 0; i < a.len;) {
        size_t n = utf8_decode(s + i, a.len - i, &code);
        if (n == 0 || is_control(code)) {
            return true;
        }
        i += n;
    }
    return false;
}

void utf8_mend(char *text)
{
    uint32_t code;
    for (size_t left = strlen(text); left > 0;) {
        size_t n = utf8_decode((const unsigned char *)text, left, &code);
        if (n == 0) {
            *text = '?';
            n = 1;
        }
        text += n;
        left -= n;
    }
}

char *slice_printable(struct slice a, char *out, size_t size)
{
    const unsigned char *s = (const unsigned char *)a.ptr;
    size_t used = 0;
    uint32_t code = 0;
    for (size_t i = 0; i < a.len;) {
        size_t n = utf8_decode(s + i, a.len - i, &code);
        bool bad = n == 0 || is_control(code);
        size_t width = bad ? 1 : n;
        if (used + width >= size) {
            break;
        }
        memcpy(out + used, bad ? "?" : a.ptr + i, width);
        used += width;
        i += n ? n : 1;
    }
    out[used] = '\0';
    return out;
}
