#include "wire/json.h"

#include "wire/json_scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_control(struct buf *out, unsigned char c)
{
    static const char letters[] = "\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof(letters); i += 2) {
        if ((unsigned char)letters[i] == c) {
            char escape[2] = {'\\', letters[i + 1]};
            buf_add(out, escape, 2);
            return;
        }
    }
    buf_printf(out, "\\u%04x", c);
}

/* Adds what the text begins with and returns how many bytes that was. */
static size_t add_step(struct buf *out, const char *s, size_t len)
{
    unsigned char c = (unsigned char)s[0];
    if (c < 0x20) {
        add_control(out, c);
        return 1;
    }
    if (c == '"' || c == '\\') {
        char escape[2] = {'\\', s[0]};
        buf_add(out, escape, 2);
        return 1;
    }
    size_t n = json_utf8_step(s, len);
    buf_add(out, n ? s : "\xEF\xBF\xBD", n ? n : 3);
    return n ? n : 1;
}

/* Characters that are copied as they are. */
static size_t plain_run(const char *s, size_t len)
{
    size_t n = 0;
    while (n < len && (unsigned char)s[n] >= 0x20 && (unsigned char)s[n] < 0x80 && s[n] != '"' &&
           s[n] != '\\') {
        n++;
    }
    return n;
}

static void add_quoted(struct buf *out, struct slice text)
{
    buf_add(out, "\"", 1);
    for (size_t i = 0; i < text.len;) {
        size_t n = plain_run(text.ptr + i, text.len - i);
        buf_add(out, text.ptr + i, n);
        i += n;
        if (i < text.len) {
            i += add_step(out, text.ptr + i, text.len - i);
        }
    }
    buf_add(out, "\"", 1);
}

/* Comma and name: what stands before every value. */
static void begin(struct json_writer *w, const char *name)
{
    if (w->comma) {
        buf_add(w->out, ",", 1);
    }
    if (name) {
        add_quoted(w->out, slice_str(name));
        buf_add(w->out, ":", 1);
    }
    w->comma = true;
}

static void open_level(struct json_writer *w, const char *name, const char *bracket)
{
    begin(w, name);
    buf_add(w->out, bracket, 1);
    w->comma = false;
}

static void close_level(struct json_writer *w, const char *bracket)
{
    buf_add(w->out, bracket, 1);
    w->comma = true;
}

void json_writer_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out};
}

void json_open_object(struct json_writer *w, const char *name)
{
    open_level(w, name, "{");
}

void json_close_object(struct json_writer *w)
{
    close_level(w, "}");
}

void json_open_array(struct json_writer *w, const char *name)
{
    open_level(w, name, "[");
}

void json_close_array(struct json_writer *w)
{
    close_level(w, "]");
}

void json_put_string(struct json_writer *w, const char *name, struct slice value)
{
    begin(w, name);
    add_quoted(w->out, value);
}

void json_put_text(struct json_writer *w, const char *name, const char *value)
{
    if (value) {
        json_put_string(w, name, slice_str(value));
    } else {
        json_put_null(w, name);
    }
}

void json_put_int(struct json_writer *w, const char *name, int64_t value)
{
    begin(w, name);
    buf_printf(w->out, "%lld", (long long)value);
}

void json_put_double(struct json_writer *w, const char *name, double value)
{
    if (!isfinite(value)) { /* JSON has no word for it */
        json_put_null(w, name);
        return;
    }
    char text[32];
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    begin(w, name);
    buf_add_str(w->out, text);
}

void json_put_bool(struct json_writer *w, const char *name, bool value)
{
    begin(w, name);
    buf_add_str(w->out, value ? "true" : "false");
}

void json_put_null(struct json_writer *w, const char *name)
{
    begin(w, name);
    buf_add_str(w->out, "null");
}

void json_put_raw(struct json_writer *w, const char *name, struct slice json)
{
    begin(w, name);
    buf_add_slice(w->out, json.len > 0 ? json : slice_str("null"));
}
