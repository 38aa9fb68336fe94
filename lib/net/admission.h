/*
 * Who may connect to a server: a count of all its connections, and one for each client address, so
 * that one client cannot take the room of the others. Whoever is over a limit is let in for as long
 * as it takes to tell it so; these are counted apart and bounded as well.
 *
 * A client is an IPv4 address or the /64 network of an IPv6 address. Clients of a unix socket have
 * no limit of their own.
 */
#ifndef NET_ADMISSION_H
#define NET_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;

/* At a time: connections that are being told that there is no room. */
enum { ADMISSION_TELLS_MAX = 100 };

enum admission_verdict {
    ADMISSION_IN,
    ADMISSION_FULL,        /* to be told: there are too many connections */
    ADMISSION_CLIENT_FULL, /* to be told: this client has too many */
    ADMISSION_AWAY,        /* to be closed at once: too many are being told already */
};

struct admission_client;

/* Embedded in each connection. */
struct admission_pass {
    enum admission_verdict verdict;
    struct admission_client *client; /* NULL: of a unix socket, or not let in */
};

/* Embedded in a server. */
struct admission {
    int max, client_max;              /* client_max 0: no limit for a client */
    int count;                        /* let in and not gone */
    int tells;                        /* being told */
    uint64_t refused;                 /* since the start */
    struct admission_client *clients; /* uthash; only those with connections */
};

void admission_init(struct admission *admission, int max, int client_max);
/* Judges a connection from this address and counts it; with ADMISSION_AWAY there is nothing to
 * leave. */
struct admission_pass admission_enter(struct admission *admission, const struct sockaddr *addr);
void admission_leave(struct admission *admission, struct admission_pass *pass);
/* Not even a refusal has room: accepting should pause until somebody leaves. */
bool admission_is_shut(const struct admission *admission);
/* What a refused connection is told. */
const char *admission_text(enum admission_verdict verdict);

#endif
