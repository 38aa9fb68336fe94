#include "base/buf.h"
#include "base/mem.h"
#include "net/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c));
}

/* Finds where the host ends: at the port, the path, the query, the fragment or the end. */
static bool parse_host(const char *at, struct http_url *out, const char **end)
{
    if (*at == '[') {
        size_t n = strspn(at + 1, "0123456789abcdefABCDEF:.");
        out->host = slice_make(at + 1, n);
        *end = at + n + 2;
        return n > 1 && at[n + 1] == ']';
    }
    size_t n = 0;
    while (is_unreserved(at[n])) {
        n++;
    }
    out->host = slice_make(at, n);
    *end = at + n;
    return n > 0;
}

static bool parse_port(const char *at, struct http_url *out, const char **end)
{
    size_t n = strspn(at, "0123456789");
    int64_t port = 0;
    *end = at + n;
    bool good = slice_to_int64(slice_make(at, n), &port) && port >= 1 && port <= 65535;
    out->port = (int)port;
    return good;
}

static bool has_control_or_space(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text <= 0x20 || *text == 0x7F) {
            return true;
        }
    }
    return false;
}

static enum err refuse(const char *url, const char *why, struct reason *reason)
{
    char shown[160];
    return reason_set(reason, ERR_INVALID, "url '%s': %s",
                      slice_printable(slice_str(url), shown, sizeof(shown)), why);
}

enum err http_url_parse(const char *url, struct http_url *out, struct reason *reason)
{
    *out = (struct http_url){.port = 80};
    if (has_control_or_space(url)) {
        return refuse(url, "has a space or a control character", reason);
    }
    if (strncasecmp(url, "http://", 7) != 0) {
        return refuse(url, "must begin with http://", reason);
    }
    const char *at = url + 7;
    if (!parse_host(at, out, &at)) {
        return refuse(url, "the host is missing or malformed", reason);
    }
    if (*at == ':' && !parse_port(at + 1, out, &at)) {
        return refuse(url, "the port must be 1 … 65535", reason);
    }
    if (*at && !strchr("/?#", *at)) {
        return refuse(url, *at == '@' ? "a user name is not allowed" : "the host is malformed",
                      reason);
    }
    size_t len = strcspn(at, "#");
    out->path = len > 0 ? slice_make(at, len) : slice_str("/");
    return ERR_OK;
}

static void add_encoded(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (is_unreserved(text.ptr[i])) {
            buf_add(out, &text.ptr[i], 1);
        } else {
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)text.ptr[i]);
        }
    }
}

void http_url_add_query(struct buf *url, const char *name, struct slice value)
{
    const char *hash = url->len > 0 ? memchr(url->data, '#', url->len) : NULL;
    size_t cut = hash ? (size_t)(hash - url->data) : url->len;
    char *fragment = mem_dup(url->data + cut, url->len - cut);
    size_t fragment_len = url->len - cut;
    url->len = cut;
    bool query = cut > 0 && memchr(url->data, '?', cut);
    bool open = cut > 0 && (url->data[cut - 1] == '?' || url->data[cut - 1] == '&');
    buf_add_str(url, !query ? "?" : open ? "" : "&");
    add_encoded(url, slice_str(name));
    buf_add_str(url, "=");
    add_encoded(url, value);
    buf_add(url, fragment, fragment_len);
    free(fragment);
}
