/*
 * Inside of the HTTP module: the grammar of HTTP/1.1 messages (RFC 9112), strictly: what two
 * readers could understand differently is refused, not guessed. Pure, no I/O.
 */
#ifndef NET_HTTP_PARSE_H
#define NET_HTTP_PARSE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "net/http.h"
#include "net/socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEADERS_MAX = 100 };

enum http_framing { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_TO_CLOSE };

/* First line and headers. The slices point into the parsed bytes and have a NUL behind them. */
struct http_head {
    struct slice method; /* of a request */
    struct slice target;
    int status; /* of a response */
    int minor;  /* HTTP/1.minor */
    struct http_header *headers;
    size_t header_count;
    enum http_framing framing;
    int64_t length; /* with HTTP_BODY_LENGTH */
    bool keep_alive;
    bool expects_continue;
};

/* Looks for the empty line that ends a head. ERR_OK: `*length` bytes with that line.
 * ERR_UNAVAILABLE: more bytes are needed; `*scanned` (0 at first) remembers how far it looked.
 * ERR_PROTOCOL: a line feed without a carriage return. */
enum err http_head_find(struct slice in, size_t *scanned, size_t *length) MUST_CHECK;

/* Both parse `len` bytes that http_head_find has delimited, and write into them. 0: fine. Else the
 * status to refuse with, and why; nothing needs to be freed then. */
int http_request_parse(char *bytes, size_t len, struct http_head *head,
                       const char **why) MUST_CHECK;
/* `to_head`: the request was HEAD, so there is no body whatever the headers say. */
int http_response_parse(char *bytes, size_t len, bool to_head, struct http_head *head,
                        const char **why) MUST_CHECK;
void http_head_fini(struct http_head *head);
/* Value of the first header with this name in any case, or NULL. */
const char *http_head_get(const struct http_head *head, const char *name);

/* A body as it arrives, in any framing. */
struct http_body {
    struct buf bytes;
    size_t max;
    enum http_framing framing;
    int64_t left; /* of the body, or of the present chunk */
    int chunk_state;
    size_t trailer_len;
};

/* ERR_LIMIT when the announced length is over `max`. */
enum err http_body_init(struct http_body *body, const struct http_head *head,
                        size_t max) MUST_CHECK;
/* Takes what belongs to the body off `*in`. ERR_OK: complete. ERR_UNAVAILABLE: more is needed; what
 * is left in `*in` must be offered again. ERR_LIMIT, ERR_PROTOCOL. */
enum err http_body_feed(struct http_body *body, struct slice *in) MUST_CHECK;
void http_body_fini(struct http_body *body);

/* Writes a whole request, body included. ERR_INVALID with a reason: a header or the method. */
enum err http_call_format(const struct http_call *call, const struct http_url *url, struct buf *out,
                          struct reason *reason) MUST_CHECK;
/* "host:port" or "[v6]:port", for dialling. */
enum err http_url_address(const struct http_url *url, char out[ADDRESS_TEXT_SIZE],
                          struct reason *reason) MUST_CHECK;

bool http_is_token(struct slice name);         /* usable as a method or header name */
bool http_is_header_value(struct slice value); /* no control characters but the tab */
const char *http_status_text(int status);
const char *http_method_text(enum http_method method);

/* Decodes %XX in place ('+' to a space as well when `plus`) and puts a NUL behind it; the byte
 * behind the text is overwritten unless something was shortened. False: a malformed escape or %00.
 */
bool http_percent_decode(char *text, size_t len, bool plus, struct slice *out);

#endif
