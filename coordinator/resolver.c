#include "coordinator/resolver.h"

#include <stdio.h>
#include <string.h>

enum { PORT_MAX = 65535, HTTP_PORT = 80 };

/* "host[:port]" or "[v6][:port]", in slices of the text. */
struct authority {
    struct slice host; /* with brackets */
    struct slice port; /* empty when absent */
};

static struct slice slice_from(struct slice s, size_t at)
{
    return slice_make(s.ptr + at, s.len - at);
}

static size_t find_byte(struct slice s, char byte)
{
    const char *hit = s.len > 0 ? memchr(s.ptr, byte, s.len) : NULL;
    return hit ? (size_t)(hit - s.ptr) : s.len;
}

static bool port_is_valid(struct slice port)
{
    int64_t number;
    return port.len <= 5 && slice_to_int64(port, &number) && number >= 1 && number <= PORT_MAX;
}

static bool host_is_valid(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        if (c <= ' ' || c == 0x7F || strchr("@/?#\\\"<>", c)) {
            return false;
        }
    }
    return host.len > 0 && host.len < BRANCH_ADDRESS_SIZE - 8;
}

static bool authority_split(struct slice text, struct authority *out)
{
    size_t host_len = find_byte(text, ':');
    if (text.len > 0 && text.ptr[0] == '[') {
        host_len = find_byte(text, ']') + 1;
        if (host_len > text.len) {
            return false;
        }
    }
    out->host = slice_make(text.ptr, host_len);
    out->port = slice_make(NULL, 0);
    if (host_len < text.len) {
        if (text.ptr[host_len] != ':') {
            return false;
        }
        out->port = slice_from(text, host_len + 1);
        return host_is_valid(out->host) && port_is_valid(out->port);
    }
    return host_is_valid(out->host);
}

static enum err refuse(struct reason *reason, struct slice url, const char *why)
{
    char shown[120];
    return reason_set(reason, ERR_INVALID, "url '%s': %s",
                      slice_printable(url, shown, sizeof(shown)), why);
}

static const char *map_lookup(const struct conf_map *map, struct slice host)
{
    char name[BRANCH_ADDRESS_SIZE]; /* host_is_valid has seen to its length */
    memcpy(name, host.ptr, host.len);
    name[host.len] = '\0';
    return map ? conf_map_get(map, name) : NULL;
}

static enum err address_fill(const struct conf_map *map, struct slice url,
                             const struct authority *authority, struct branch_address *out,
                             struct reason *reason)
{
    const char *mapped = authority->port.len == 0 ? map_lookup(map, authority->host) : NULL;
    if (mapped) {
        if (out->scheme == BRANCH_HTTP && strncmp(mapped, "unix:", 5) == 0) {
            return refuse(reason, url, "its name is a unix socket, which only tcp:// can use");
        }
        snprintf(out->address, sizeof(out->address), "%s", mapped);
        return ERR_OK;
    }
    if (authority->port.len == 0 && out->scheme == BRANCH_TCP) {
        return refuse(reason, url,
                      "the name is not in the resolver map of sagad and the url has no port");
    }
    if (authority->port.len == 0) {
        snprintf(out->address, sizeof(out->address), "%.*s:%d", SLICE_ARG(authority->host),
                 HTTP_PORT);
        return ERR_OK;
    }
    snprintf(out->address, sizeof(out->address), "%.*s:%.*s", SLICE_ARG(authority->host),
             SLICE_ARG(authority->port));
    return ERR_OK;
}

static size_t authority_len(struct slice text, enum branch_scheme scheme)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '/' || (scheme == BRANCH_HTTP && strchr("?#", text.ptr[i]))) {
            return i;
        }
    }
    return text.len;
}

enum err resolver_resolve(const struct conf_map *map, struct slice url, struct branch_address *out,
                          struct reason *reason)
{
    struct slice text;
    if (slice_has_prefix(url, "tcp://")) {
        out->scheme = BRANCH_TCP;
        text = slice_from(url, strlen("tcp://"));
    } else if (slice_has_prefix(url, "http://")) {
        out->scheme = BRANCH_HTTP;
        text = slice_from(url, strlen("http://"));
    } else {
        return refuse(reason, url, "must begin with tcp:// or http://");
    }
    size_t len = authority_len(text, out->scheme);
    struct authority authority;
    if (!authority_split(slice_make(text.ptr, len), &authority)) {
        return refuse(reason, url, "host or port is malformed");
    }
    out->rest = slice_from(text, len);
    if (out->scheme == BRANCH_TCP) {
        if (out->rest.len < 2) {
            return refuse(reason, url, "has no /package.Service/Method");
        }
        out->rest = slice_from(out->rest, 1);
    } else {
        out->rest.len = find_byte(out->rest, '#'); /* a fragment never goes over the wire */
    }
    return address_fill(map, url, &authority, out, reason);
}

enum err resolver_check_entry(const char *name, const char *value, struct reason *reason)
{
    struct authority authority;
    bool is_unix = strncmp(value, "unix:/", 6) == 0;
    if (strlen(value) >= BRANCH_ADDRESS_SIZE ||
        (!is_unix && (!authority_split(slice_str(value), &authority) || authority.port.len == 0))) {
        return reason_set(reason, ERR_INVALID,
                          "resolver.%s = '%.80s': must be host:port, [v6]:port or unix:/path", name,
                          value);
    }
    return ERR_OK;
}
