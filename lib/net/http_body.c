/* Bodies: by length, in chunks (RFC 9112 section 7.1) or up to the end of the connection. */
#include "net/http_parse.h"

#include <string.h>

enum { CHUNK_LINE_MAX = 1024, TRAILER_MAX = 8192 };

enum chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER };

enum err http_body_init(struct http_body *body, const struct http_head *head, size_t max)
{
    *body = (struct http_body){.framing = head->framing, .left = head->length, .max = max};
    bool over = head->framing == HTTP_BODY_LENGTH && (uint64_t)head->length > max;
    return over ? ERR_LIMIT : ERR_OK;
}

void http_body_fini(struct http_body *body)
{
    buf_fini(&body->bytes);
}

static void skip(struct slice *in, size_t n)
{
    *in = slice_make(in->ptr + n, in->len - n);
}

/* Takes what there is of the bytes that are due. */
static enum err take(struct http_body *body, struct slice *in)
{
    size_t n = (uint64_t)body->left < in->len ? (size_t)body->left : in->len;
    if (n > 0) {
        buf_add(&body->bytes, in->ptr, n);
        body->left -= (int64_t)n;
        skip(in, n);
    }
    return body->left == 0 ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err take_to_close(struct http_body *body, struct slice *in)
{
    if (in->len > body->max - body->bytes.len) {
        return ERR_LIMIT;
    }
    if (in->len > 0) {
        buf_add_slice(&body->bytes, *in);
        skip(in, in->len);
    }
    return ERR_UNAVAILABLE;
}

/* Takes a line off, without its CRLF. */
static enum err take_line(struct slice *in, struct slice *line)
{
    const char *feed = in->len > 0 ? memchr(in->ptr, '\n', in->len) : NULL;
    size_t len = feed ? (size_t)(feed - in->ptr) : in->len;
    if (len > CHUNK_LINE_MAX) {
        return ERR_PROTOCOL;
    }
    if (!feed) {
        return ERR_UNAVAILABLE;
    }
    if (len == 0 || feed[-1] != '\r') {
        return ERR_PROTOCOL;
    }
    *line = slice_make(in->ptr, len - 1);
    skip(in, len + 1);
    return ERR_OK;
}

/* Hex digits, then nothing or an extension that is ignored. At most 12 digits, so nothing
 * overflows. */
static bool parse_size(struct slice line, int64_t *size)
{
    static const char digits[] = "0123456789abcdef";
    size_t i = 0;
    *size = 0;
    for (; i < line.len && i < 13; i++) {
        char c = line.ptr[i];
        const char *found = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
        if (!found) {
            break;
        }
        *size = *size * 16 + (found - digits);
    }
    struct slice rest = slice_make(line.ptr + i, line.len - i);
    while (rest.len > 0 && (rest.ptr[0] == ' ' || rest.ptr[0] == '\t')) {
        skip(&rest, 1);
    }
    bool clean = rest.len == 0 || (rest.ptr[0] == ';' && http_is_header_value(rest));
    return i > 0 && i < 13 && clean;
}

static enum err chunk_size(struct http_body *body, struct slice *in)
{
    struct slice line;
    enum err err = take_line(in, &line);
    if (err) {
        return err;
    }
    if (!parse_size(line, &body->left)) {
        return ERR_PROTOCOL;
    }
    if ((uint64_t)body->left > body->max - body->bytes.len) {
        return ERR_LIMIT;
    }
    body->chunk_state = body->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    return ERR_OK;
}

static enum err chunk_data(struct http_body *body, struct slice *in)
{
    enum err err = take(body, in);
    if (!err) {
        body->chunk_state = CHUNK_DATA_END;
    }
    return err;
}

static enum err chunk_data_end(struct http_body *body, struct slice *in)
{
    struct slice line;
    enum err err = take_line(in, &line);
    if (!err) {
        body->chunk_state = CHUNK_SIZE;
    }
    return err || line.len == 0 ? err : ERR_PROTOCOL;
}

/* Trailers are read over; `*done` behind the empty line. */
static enum err chunk_trailer(struct http_body *body, struct slice *in, bool *done)
{
    struct slice line;
    enum err err = take_line(in, &line);
    if (err) {
        return err;
    }
    body->trailer_len += line.len;
    *done = line.len == 0;
    return body->trailer_len > TRAILER_MAX ? ERR_PROTOCOL : ERR_OK;
}

static enum err feed_chunks(struct http_body *body, struct slice *in)
{
    bool done = false;
    enum err err = ERR_OK;
    while (!err && !done) {
        switch ((enum chunk_state)body->chunk_state) {
        case CHUNK_SIZE: err = chunk_size(body, in); break;
        case CHUNK_DATA: err = chunk_data(body, in); break;
        case CHUNK_DATA_END: err = chunk_data_end(body, in); break;
        case CHUNK_TRAILER: err = chunk_trailer(body, in, &done); break;
        }
    }
    return err;
}

enum err http_body_feed(struct http_body *body, struct slice *in)
{
    switch (body->framing) {
    case HTTP_BODY_NONE: return ERR_OK;
    case HTTP_BODY_LENGTH: return take(body, in);
    case HTTP_BODY_CHUNKED: return feed_chunks(body, in);
    case HTTP_BODY_TO_CLOSE: return take_to_close(body, in);
    }
    return ERR_PROTOCOL;
}
