/*
 * cJSON takes more than JSON: control characters in strings and between tokens, numbers such as 01,
 * bytes that are not UTF-8; it ends a string at \u0000, recurses once per level and has read beyond
 * its input on very long numbers. So the whole grammar is checked here first, without recursion and
 * without memory, and cJSON only builds the tree of what is known to be good.
 */
#include "wire/json_scan.h"

#include "wire/json.h"

#include <string.h>

enum { NUMBER_MAX = 60 }; /* characters; cJSON takes 63 */

enum expect {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_CLOSE, /* behind '[' */
    EXPECT_NAME_OR_CLOSE,  /* behind '{' */
    EXPECT_NAME,           /* behind ',' in an object */
    EXPECT_COLON,
    EXPECT_COMMA_OR_CLOSE,
    EXPECT_END,
};

struct scan {
    const char *s;
    size_t len;
    size_t at;
    enum expect expect;
    unsigned depth;
    bool is_object[JSON_DEPTH_MAX]; /* what each open level is */
    const char *wrong;              /* set once, ends the scan */
};

size_t json_utf8_step(const char *s, size_t len)
{
    unsigned char c = (unsigned char)s[0];
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    return n <= len && utf8_is_valid(slice_make(s, n)) ? n : 0;
}

static bool fail(struct scan *scan, const char *what)
{
    scan->wrong = what;
    return false;
}

static bool fail_at(struct scan *scan, size_t at, const char *what)
{
    scan->at = at;
    return fail(scan, what);
}

/* The character at the present place, 0 at the end (a NUL in the text fits nowhere either). */
static char peek(const struct scan *scan)
{
    if (scan->at == scan->len) {
        return '\0';
    }
    return scan->s[scan->at];
}

static bool take(struct scan *scan, char c)
{
    if (peek(scan) != c) {
        return false;
    }
    scan->at++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool scan_digits(struct scan *scan)
{
    size_t from = scan->at;
    while (is_digit(peek(scan))) {
        scan->at++;
    }
    return scan->at > from || fail(scan, "a digit is missing in a number");
}

static bool scan_number(struct scan *scan)
{
    size_t from = scan->at;
    (void)take(scan, '-');
    if (take(scan, '0')) {
        if (is_digit(peek(scan))) {
            return fail(scan, "a number must not begin with 0");
        }
    } else if (!scan_digits(scan)) {
        return false;
    }
    if (take(scan, '.') && !scan_digits(scan)) {
        return false;
    }
    if (take(scan, 'e') || take(scan, 'E')) {
        (void)(take(scan, '+') || take(scan, '-'));
        if (!scan_digits(scan)) {
            return false;
        }
    }
    if (scan->at - from > NUMBER_MAX) {
        return fail_at(scan, from, "a number has more than 60 characters");
    }
    return true;
}

/* Four hex digits as a number, -1 when they are not there. */
static int32_t scan_hex4(struct scan *scan)
{
    static const char digits[] = "0123456789abcdef";
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = peek(scan);
        const char *found = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
        if (!found) {
            return -1;
        }
        value = value * 16 + (int32_t)(found - digits);
        scan->at++;
    }
    return value;
}

/* Behind "\u"; pairs of surrogates are one character. */
static bool scan_unicode_escape(struct scan *scan)
{
    size_t from = scan->at - 2;
    int32_t code = scan_hex4(scan);
    if (code < 0) {
        return fail(scan, "\\u needs four hex digits");
    }
    if (code == 0) {
        return fail_at(scan, from, "the NUL character (\\u0000) is not allowed");
    }
    if (code < 0xD800 || code > 0xDFFF) {
        return true;
    }
    bool pair = code < 0xDC00 && take(scan, '\\') && take(scan, 'u');
    int32_t low = pair ? scan_hex4(scan) : -1;
    return (low >= 0xDC00 && low <= 0xDFFF) || fail_at(scan, from, "half a surrogate pair");
}

static bool scan_escape(struct scan *scan)
{
    if (take(scan, 'u')) {
        return scan_unicode_escape(scan);
    }
    char c = peek(scan);
    if (!c || !strchr("\"\\/bfnrt", c)) {
        return fail(scan, "unknown escape in a string");
    }
    scan->at++;
    return true;
}

/* Behind the opening quote. */
static bool scan_string(struct scan *scan)
{
    while (scan->at < scan->len) {
        const char *s = scan->s + scan->at;
        if (*s == '"') {
            scan->at++;
            return true;
        }
        if (*s == '\\') {
            scan->at++;
            if (!scan_escape(scan)) {
                return false;
            }
            continue;
        }
        if ((unsigned char)*s < 0x20) {
            return fail(scan, "a control character in a string must be escaped");
        }
        size_t n = json_utf8_step(s, scan->len - scan->at);
        if (n == 0) {
            return fail(scan, "bytes that are not UTF-8");
        }
        scan->at += n;
    }
    return fail(scan, "the text ends within a string");
}

static bool scan_word(struct scan *scan, const char *word)
{
    size_t n = strlen(word);
    if (scan->len - scan->at < n || memcmp(scan->s + scan->at, word, n) != 0) {
        return fail(scan, "a value is expected");
    }
    scan->at += n;
    return true;
}

static void after_value(struct scan *scan)
{
    scan->expect = scan->depth > 0 ? EXPECT_COMMA_OR_CLOSE : EXPECT_END;
}

static bool open_level(struct scan *scan, bool object)
{
    if (scan->depth == JSON_DEPTH_MAX) {
        return fail(scan, "nested deeper than 32 levels");
    }
    scan->at++;
    scan->is_object[scan->depth++] = object;
    scan->expect = object ? EXPECT_NAME_OR_CLOSE : EXPECT_VALUE_OR_CLOSE;
    return true;
}

static bool in_object(const struct scan *scan)
{
    return scan->is_object[scan->depth - 1];
}

/* Closes the innermost level when its bracket is here. */
static bool close_level(struct scan *scan)
{
    if (!take(scan, in_object(scan) ? '}' : ']')) {
        return false;
    }
    scan->depth--;
    after_value(scan);
    return true;
}

static bool scan_value(struct scan *scan)
{
    char c = peek(scan);
    if (c == '{' || c == '[') {
        return open_level(scan, c == '{');
    }
    bool good = c == '"'   ? (scan->at++, scan_string(scan))
                : c == 't' ? scan_word(scan, "true")
                : c == 'f' ? scan_word(scan, "false")
                : c == 'n' ? scan_word(scan, "null")
                : c == '-' || is_digit(c)
                    ? scan_number(scan)
                    : fail(scan, scan->at == scan->len ? "the text ends where a value is expected"
                                                       : "a value is expected");
    after_value(scan);
    return good;
}

static bool scan_name(struct scan *scan)
{
    if (!take(scan, '"')) {
        return fail(scan, "a field name in double quotes is expected");
    }
    scan->expect = EXPECT_COLON;
    return scan_string(scan);
}

static bool scan_comma(struct scan *scan)
{
    if (!take(scan, ',')) {
        return fail(scan, in_object(scan) ? "',' or '}' is expected" : "',' or ']' is expected");
    }
    scan->expect = in_object(scan) ? EXPECT_NAME : EXPECT_VALUE;
    return true;
}

static bool scan_colon(struct scan *scan)
{
    scan->expect = EXPECT_VALUE;
    return take(scan, ':') || fail(scan, "':' is expected");
}

static bool scan_token(struct scan *scan)
{
    switch (scan->expect) {
    case EXPECT_VALUE: return scan_value(scan);
    case EXPECT_VALUE_OR_CLOSE: return close_level(scan) || scan_value(scan);
    case EXPECT_NAME_OR_CLOSE: return close_level(scan) || scan_name(scan);
    case EXPECT_NAME: return scan_name(scan);
    case EXPECT_COLON: return scan_colon(scan);
    case EXPECT_COMMA_OR_CLOSE: return close_level(scan) || scan_comma(scan);
    case EXPECT_END: return fail(scan, "something follows the end of the value");
    }
    return fail(scan, "impossible state");
}

static void skip_space(struct scan *scan)
{
    for (char c = peek(scan); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = peek(scan)) {
        scan->at++;
    }
}

/* Columns count characters, as an editor shows them. */
static enum err report(const struct scan *scan, struct reason *reason)
{
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < scan->at; i++) {
        bool newline = scan->s[i] == '\n';
        line += newline;
        column = newline ? 1 : column + (((unsigned char)scan->s[i] & 0xC0) != 0x80);
    }
    return reason_set(reason, ERR_INVALID, "not valid JSON at line %zu, column %zu: %s", line,
                      column, scan->wrong);
}

enum err json_scan(struct slice text, struct reason *reason)
{
    struct scan scan = {.s = text.ptr, .len = text.len};
    skip_space(&scan);
    while (!scan.wrong && (scan.at < scan.len || scan.expect != EXPECT_END)) {
        (void)scan_token(&scan);
        if (!scan.wrong) {
            skip_space(&scan);
        }
    }
    return scan.wrong ? report(&scan, reason) : ERR_OK;
}
