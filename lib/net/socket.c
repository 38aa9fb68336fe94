#include "net/socket.h"

#include "base/check.h"
#include "base/slice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A connection over which nothing is sent is asked for life after KEEP_IDLE_S, then each
 * KEEP_GAP_S. DEAD_MS bounds both that and data that nobody acknowledges. */
enum { KEEP_IDLE_S = 10, KEEP_GAP_S = 5, KEEP_TRIES = 3, DEAD_MS = 10 * 1000 };

enum { BACKLOG = 1024, UNIX_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

static enum err parse_unix(const char *path, struct address *out, struct reason *reason)
{
    size_t len = strlen(path);
    if (len == 0 || len > UNIX_PATH_MAX) {
        return reason_set(reason, ERR_INVALID, "'unix:' needs a path of 1 … %d bytes",
                          (int)UNIX_PATH_MAX);
    }
    out->is_unix = true;
    out->port = 0;
    memcpy(out->host, path, len + 1);
    return ERR_OK;
}

/* The host is between `from` and `to`. */
static enum err set_host(struct address *out, const char *from, const char *to)
{
    size_t len = (size_t)(to - from);
    if (len >= sizeof(out->host) || utf8_has_control(slice_make(from, len))) {
        return ERR_INVALID;
    }
    memcpy(out->host, from, len);
    out->host[len] = '\0';
    return ERR_OK;
}

static enum err parse_host(const char *text, const char *colon, struct address *out)
{
    if (text[0] == '[') {
        return colon > text + 2 && colon[-1] == ']' ? set_host(out, text + 1, colon - 1)
                                                    : ERR_INVALID;
    }
    return memchr(text, ':', (size_t)(colon - text)) ? ERR_INVALID : set_host(out, text, colon);
}

enum err address_parse(const char *text, struct address *out, struct reason *reason)
{
    *out = (struct address){0};
    if (strncmp(text, "unix:", 5) == 0) {
        return parse_unix(text + 5, out, reason);
    }
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || !slice_to_int64(slice_str(colon + 1), &port) || port < 0 || port > 65535 ||
        parse_host(text, colon, out) != ERR_OK) {
        return reason_set(reason, ERR_INVALID,
                          "'%.80s' is not an address; allowed: host:port, [v6]:port or unix:/path",
                          text);
    }
    out->port = (int)port;
    return ERR_OK;
}

static bool is_good_for(const struct address *address, enum address_use use)
{
    const char *host = address->host;
    if (address->is_unix) {
        return host[0] == '/';
    }
    if (!host[0] || strpbrk(host, " \t")) {
        return false;
    }
    switch (use) {
    case ADDRESS_LISTEN: return true;
    case ADDRESS_CALL: return address->port > 0;
    case ADDRESS_NAMED: return strcmp(host, "0.0.0.0") != 0 && strcmp(host, "::") != 0;
    }
    unreachable("address use");
}

enum err address_check(const char *name, const char *text, enum address_use use,
                       struct address *out, struct reason *reason)
{
    static const char *const more[] = {
        [ADDRESS_LISTEN] = "",
        [ADDRESS_CALL] = ", with a port of 1 … 65535",
        [ADDRESS_NAMED] = ", with the host at which others reach it",
    };
    if (address_parse(text, out, NULL) == ERR_OK && is_good_for(out, use)) {
        return ERR_OK;
    }
    return reason_set(reason, ERR_INVALID,
                      "%s = '%.80s': must be host:port, [v6]:port or unix:/path%s", name, text,
                      more[use]);
}

char *address_format(const struct sockaddr *addr, char out[ADDRESS_TEXT_SIZE])
{
    char number[INET6_ADDRSTRLEN] = "?";
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)addr;
        inet_ntop(AF_INET, &v4->sin_addr, number, sizeof(number));
        snprintf(out, ADDRESS_TEXT_SIZE, "%s:%d", number, ntohs(v4->sin_port));
    } else if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)addr;
        inet_ntop(AF_INET6, &v6->sin6_addr, number, sizeof(number));
        snprintf(out, ADDRESS_TEXT_SIZE, "[%s]:%d", number, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_un *un = (const void *)addr;
        snprintf(out, ADDRESS_TEXT_SIZE, "unix:%s",
                 addr->sa_family == AF_UNIX ? un->sun_path : "?");
    }
    return out;
}

static int set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Without these a connection works as well, so what the kernel refuses is no error. */
void socket_set_tcp(int fd)
{
    if (set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) == 0) {
        (void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        (void)set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
        (void)set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_GAP_S);
        (void)set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_TRIES);
        (void)set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_MS);
    }
}

/* Binds and listens; -1 with errno. */
static int listen_on(const struct sockaddr *addr, socklen_t len, bool reuse_port)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    bool tcp = addr->sa_family != AF_UNIX;
    if ((tcp && set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0) ||
        (tcp && reuse_port && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0) ||
        bind(fd, addr, len) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* A socket file outlives a process that was killed; nobody answers on it then. */
static bool is_stale(const struct sockaddr_un *un)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool refused = connect(fd, (const void *)un, sizeof(*un)) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int listen_unix(const struct address *address)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, address->host, strlen(address->host) + 1);
    int fd = listen_on((const void *)&un, sizeof(un), false);
    if (fd < 0 && errno == EADDRINUSE) {
        if (!is_stale(&un)) {
            errno = EADDRINUSE;
            return -1;
        }
        unlink(un.sun_path);
        fd = listen_on((const void *)&un, sizeof(un), false);
    }
    return fd;
}

static int listen_tcp(const struct address *address, bool reuse_port, const char **why)
{
    char port[8];
    snprintf(port, sizeof(port), "%d", address->port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(address->host[0] ? address->host : NULL, port, &hints, &list);
    if (rc != 0) {
        *why = gai_strerror(rc);
        return -1;
    }
    int fd = listen_on(list->ai_addr, list->ai_addrlen, reuse_port);
    *why = strerror(errno);
    freeaddrinfo(list);
    return fd;
}

int socket_listen(const char *address, bool reuse_port, struct reason *reason)
{
    struct address parsed;
    if (address_parse(address, &parsed, reason) != ERR_OK) {
        return -1;
    }
    const char *why = NULL;
    int fd = parsed.is_unix ? listen_unix(&parsed) : listen_tcp(&parsed, reuse_port, &why);
    if (fd < 0) {
        (void)reason_set(reason, ERR_SYSTEM, "cannot listen on %s: %s", address,
                         why ? why : strerror(errno));
    }
    return fd;
}

int socket_port(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    if (getsockname(fd, (void *)&addr, &len) != 0) {
        return 0;
    }
    const struct sockaddr_in *v4 = (const void *)&addr;
    const struct sockaddr_in6 *v6 = (const void *)&addr;
    return addr.ss_family == AF_INET    ? ntohs(v4->sin_port)
           : addr.ss_family == AF_INET6 ? ntohs(v6->sin6_port)
                                        : 0;
}
