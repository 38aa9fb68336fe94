#include "coordinator/resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { PORT_MAX = 65535 };

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

enum err resolver_refuse(struct reason *reason, struct slice url, const char *why)
{
    char shown[120];
    return reason_set(reason, ERR_INVALID, "url '%s': %s",
                      slice_printable(url, shown, sizeof(shown)), why);
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

enum err resolver_parse(struct slice url, struct branch_address *out, struct reason *reason)
{
    struct slice text;
    if (slice_has_prefix(url, "tcp://")) {
        out->scheme = BRANCH_TCP;
        text = slice_from(url, strlen("tcp://"));
    } else if (slice_has_prefix(url, "http://")) {
        out->scheme = BRANCH_HTTP;
        text = slice_from(url, strlen("http://"));
    } else {
        return resolver_refuse(reason, url, "must begin with tcp:// or http://");
    }
    size_t len = authority_len(text, out->scheme);
    struct authority authority;
    if (!authority_split(slice_make(text.ptr, len), &authority)) {
        return resolver_refuse(reason, url, "host or port is malformed");
    }
    out->rest = slice_from(text, len);
    if (out->scheme == BRANCH_TCP) {
        if (out->rest.len < 2) {
            return resolver_refuse(reason, url, "has no /package.Service/Method");
        }
        out->rest = slice_from(out->rest, 1);
    } else {
        out->rest.len = find_byte(out->rest, '#'); /* a fragment never goes over the wire */
    }
    out->host = authority.host;
    out->port = authority.port;
    return ERR_OK;
}

static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = slice_from(s, 1);
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

bool resolver_next_address(struct slice *list, struct slice *address)
{
    if (!list->ptr) {
        return false;
    }
    size_t len = find_byte(*list, ',');
    *address = trimmed(slice_make(list->ptr, len));
    *list = len < list->len ? slice_from(*list, len + 1) : slice_make(NULL, 0);
    return true;
}

bool resolver_split(struct slice address, struct slice *host, struct slice *port)
{
    struct authority authority;
    if (!authority_split(address, &authority) || authority.port.len == 0) {
        return false;
    }
    *host = authority.host;
    *port = authority.port;
    return true;
}

bool resolver_is_number(struct slice host)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[sizeof(struct in6_addr)];
    bool v6 = host.len > 2 && host.ptr[0] == '[';
    struct slice bare = v6 ? slice_make(host.ptr + 1, host.len - 2) : host;
    if (bare.len == 0 || bare.len >= sizeof(text) ||
        (!v6 && (bare.ptr[0] < '0' || bare.ptr[0] > '9'))) {
        return false;
    }
    memcpy(text, bare.ptr, bare.len);
    text[bare.len] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes) == 1;
}

static bool entry_is_valid(const char *value)
{
    struct slice list = slice_str(value);
    struct slice address, host, port;
    size_t count = 0;
    while (resolver_next_address(&list, &address)) {
        bool is_unix = slice_has_prefix(address, "unix:/");
        count++;
        if (address.len >= BRANCH_ADDRESS_SIZE || count > BRANCH_INSTANCES_MAX ||
            (!is_unix && !resolver_split(address, &host, &port))) {
            return false;
        }
    }
    return count > 0;
}

enum err resolver_check_entry(const char *name, const char *value, struct reason *reason)
{
    if (entry_is_valid(value)) {
        return ERR_OK;
    }
    return reason_set(
        reason, ERR_INVALID,
        "resolver.%s = '%.80s': must be host:port, [v6]:port or unix:/path, or at most "
        "%d of them with commas between",
        name, value, BRANCH_INSTANCES_MAX);
}
