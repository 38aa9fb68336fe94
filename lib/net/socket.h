/*
 * Addresses and sockets: what servers and clients of every protocol share. All sockets are
 * non-blocking and close on exec.
 */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "base/err.h"

#include <stdbool.h>

struct sockaddr;

enum { ADDRESS_TEXT_SIZE = 256 };

/* "host:port", "[v6]:port" or "unix:/path", taken apart. */
struct address {
    bool is_unix;
    char host[ADDRESS_TEXT_SIZE]; /* name or number without brackets; or the path; may be "" */
    int port;                     /* 0 … 65535 */
};
enum err address_parse(const char *text, struct address *out, struct reason *reason) MUST_CHECK;
/* The same for a setting, which is to be good for its use; the reason begins with its name, and
 * says its value and what is allowed. An empty host and a relative path are refused. */
enum address_use {
    ADDRESS_LISTEN, /* port 0: any */
    ADDRESS_CALL,   /* with a port */
    ADDRESS_NAMED,  /* others are told of it: no 0.0.0.0; what port 0 means is theirs who tell */
};
enum err address_check(const char *name, const char *text, enum address_use use,
                       struct address *out, struct reason *reason) MUST_CHECK;
/* "127.0.0.1:4711", "[::1]:4711" or "unix:/path"; for logs. Returns out. */
char *address_format(const struct sockaddr *addr, char out[ADDRESS_TEXT_SIZE]);

/* Opens a listening socket; -1 with a reason. Blocks while it resolves a name: for start-up. An
 * empty host means all interfaces. A unix socket file that nobody listens on is replaced. */
int socket_listen(const char *address, bool reuse_port, struct reason *reason);
int socket_port(int fd); /* that it is bound to; 0 for a unix socket */
/* What every connection gets: small writes leave at once, and a peer that lost power or its network
 * is noticed: after 10 s when it owes acknowledgements or takes nothing, after 20 s in silence.
 * Does nothing to a unix socket. */
void socket_set_tcp(int fd);

#endif
