/* For the HTTP tests: a loop, a server whose handler does what the path says, raw sockets. Every
 * wait has a deadline and turns the loop. */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include "base/buf.h"
#include "harness/wait_for.h"
#include "net/http.h"
#include "net/loop.h"

enum { WAIT_MS = 10000, HELD_MAX = 8 };

/*
 * /echo   answers with "METHOD path x=<query x> h=<header X-Test> body=<body>"
 * /big    answers with 16 MiB
 * /hold   is kept in `held` until the test answers it
 * else    404
 */
struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_request *held[HELD_MAX];
    int held_count;
    int handled;
    int big_status; /* with which /big was answered */
};

void fixture_open(struct fixture *fx, const struct http_server_conf *conf);
void fixture_close(struct fixture *fx);
const char *json_error(int status, const char *message); /* an error_body */
struct http_server_conf fixture_conf(void);              /* loopback, any port, generous limits */

int raw_connect(int port);
void raw_send(struct loop *loop, int fd, const char *data, size_t n); /* turns while it cannot */
void raw_text(struct loop *loop, int fd, const char *text);
/* Takes what there is; returns false when the peer has closed. Never waits. */
bool raw_poll(int fd, struct buf *in);
/* Reads until `needle` has come `count` times. */
void raw_expect(struct loop *loop, int fd, struct buf *in, const char *needle, int count);
void raw_expect_close(struct loop *loop, int fd, struct buf *in);
int count_of(const struct buf *in, const char *needle);
/* Sends the text on a new connection and returns all that comes until the server closes it. */
char *raw_exchange(struct fixture *fx, const char *data, size_t n);

#endif
