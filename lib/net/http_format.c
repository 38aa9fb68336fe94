/* Requests as the client writes them. */
#include "net/http_parse.h"

#include "net/socket.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_named(struct slice name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.ptr, text, name.len) == 0;
}

enum err http_url_address(const struct http_url *url, char out[ADDRESS_TEXT_SIZE],
                          struct reason *reason)
{
    bool v6 = memchr(url->host.ptr, ':', url->host.len) != NULL;
    int n = snprintf(out, ADDRESS_TEXT_SIZE, "%s%.*s%s:%d", v6 ? "[" : "", SLICE_ARG(url->host),
                     v6 ? "]" : "", url->port);
    return n < ADDRESS_TEXT_SIZE ? ERR_OK
                                 : reason_set(reason, ERR_INVALID, "url: the host is too long");
}

/* Characters that must not stand in a target as they are; '%' is left to the caller of the url. */
static void add_target(struct buf *out, struct slice path)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        buf_add(out, "/", 1);
    }
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        if (c >= 0x80 || strchr("\"<>\\^`{|}", c)) {
            buf_printf(out, "%%%02X", (unsigned)c);
        } else {
            buf_add(out, &path.ptr[i], 1);
        }
    }
}

static bool is_hop_header(struct slice name)
{
    return is_named(name, "Connection") || is_named(name, "Content-Length") ||
           is_named(name, "Transfer-Encoding") || is_named(name, "Expect");
}

static enum err add_header(const struct http_header *header, struct buf *out, struct reason *reason)
{
    char shown[64];
    if (!http_is_token(header->name)) {
        return reason_set(reason, ERR_INVALID, "header name '%s' is malformed",
                          slice_printable(header->name, shown, sizeof(shown)));
    }
    if (!http_is_header_value(header->value)) {
        return reason_set(reason, ERR_INVALID, "header '%s' has a control character in its value",
                          slice_printable(header->name, shown, sizeof(shown)));
    }
    if (!is_hop_header(header->name)) {
        buf_add_slice(out, header->name);
        buf_add_str(out, ": ");
        buf_add_slice(out, header->value);
        buf_add_str(out, "\r\n");
    }
    return ERR_OK;
}

static bool has_header(const struct http_call *call, const char *name)
{
    for (size_t i = 0; i < call->header_count; i++) {
        if (is_named(call->headers[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void add_host(const struct http_url *url, struct buf *out)
{
    bool v6 = memchr(url->host.ptr, ':', url->host.len) != NULL;
    buf_printf(out, "Host: %s%.*s%s", v6 ? "[" : "", SLICE_ARG(url->host), v6 ? "]" : "");
    if (url->port != 80) {
        buf_printf(out, ":%d", url->port);
    }
    buf_add_str(out, "\r\n");
}

enum err http_call_format(const struct http_call *call, const struct http_url *url, struct buf *out,
                          struct reason *reason)
{
    if (call->method == HTTP_OTHER) {
        return reason_set(reason, ERR_INVALID, "the method must be GET, POST, PUT, DELETE or HEAD");
    }
    buf_add_str(out, http_method_text(call->method));
    buf_add(out, " ", 1);
    add_target(out, url->path);
    buf_add_str(out, " HTTP/1.1\r\n");
    if (!has_header(call, "Host")) {
        add_host(url, out);
    }
    if (call->body.len > 0 && !has_header(call, "Content-Type")) {
        buf_add_str(out, "Content-Type: application/json\r\n");
    }
    for (size_t i = 0; i < call->header_count; i++) {
        enum err err = add_header(&call->headers[i], out, reason);
        if (err) {
            return err;
        }
    }
    if (call->body.len > 0 || call->method == HTTP_POST || call->method == HTTP_PUT) {
        buf_printf(out, "Content-Length: %zu\r\n", call->body.len);
    }
    buf_add_str(out, "\r\n");
    buf_add_slice(out, call->body);
    return ERR_OK;
}
