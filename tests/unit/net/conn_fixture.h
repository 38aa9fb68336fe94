/* Two ends of connections on one loop, and raw sockets as peers that misbehave. */
#ifndef CONN_FIXTURE_H
#define CONN_FIXTURE_H

#include "base/buf.h"
#include "base/clock.h"
#include "net/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture;

/* One end of a connection and what happened to it. */
struct side {
    struct fixture *fixture;
    struct conn *conn; /* NULL: not there yet, closed, or given up */
    int opened;
    int frames;
    size_t bytes;
    struct buf last; /* the last frame */
    int closed;
    enum err err;
    char why[400];
    void (*on_opened)(struct side *side);
    void (*on_frame)(struct side *side, struct slice frame); /* further work for a frame */
    void (*on_closed)(struct side *side);
};

enum { SIDES_MAX = 8 };

struct fixture {
    struct loop *loop;
    struct conn_listener *listener;
    char dir[32]; /* private folder */
    char address[128];
    struct side servers[SIDES_MAX]; /* accepted, in order */
    int accepted;
    void (*on_accept)(struct side *side); /* may close it */
    struct side client;
    bool inside; /* a call of conn.h is running: no event may come */
};

struct conn_limits fixture_limits(void); /* 64 KB frames, 256 KB out, no idle limit */
int fixture_setup(void **state);         /* loop and private folder */
int fixture_teardown(void **state);
/* Listens on "127.0.0.1:0" unless another address is given. */
void fixture_listen(struct fixture *f, const char *address, int max,
                    const struct conn_limits *limits);
void fixture_connect(struct fixture *f, const char *address, const struct conn_limits *limits);
void fixture_connect_within(struct fixture *f, const char *address, int64_t timeout_ms,
                            const struct conn_limits *limits);
void fixture_pair(struct fixture *f); /* both of the above; returns when both ends are open */
void side_send(struct side *side, const char *text);
void side_send_slice(struct side *side, struct slice bytes);
void side_close(struct side *side, bool flush);
void side_echo(struct side *side, struct slice frame); /* for on_frame */

int raw_connect(const struct fixture *f); /* blocking socket to the listener */
void raw_write(int fd, const void *data, size_t n);
size_t raw_waiting(int fd); /* bytes that could be read */

/* Turns the loop until the condition holds; fails after ten seconds. May have a body. */
#define PUMP_UNTIL(f, cond)                                                                        \
    for (int64_t pump_end_ms = clock_mono_ms() + 10000; !(cond);                                   \
         fixture_turn((f), pump_end_ms, #cond))
void fixture_turn(struct fixture *f, int64_t end_ms, const char *cond);

#define CONN_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
