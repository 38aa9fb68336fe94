/* Shared by conn.c and conn_listen.c only. */
#ifndef NET_CONN_INTERNAL_H
#define NET_CONN_INTERNAL_H

#include "net/admission.h"
#include "net/conn.h"

/* An accepted connection; belongs to the listener's owner from now on. */
struct conn *conn_accept(struct loop *loop, int fd, const char *peer,
                         const struct conn_limits *limits, struct conn_listener *listener);
struct admission_pass *conn_pass(struct conn *conn); /* of its listener */
bool conn_has_owner(const struct conn *conn);        /* conn_set_events or conn_close was called */

/* A connection of this listener has ended. */
void conn_listener_release(struct conn_listener *listener, struct admission_pass *pass);

#endif
