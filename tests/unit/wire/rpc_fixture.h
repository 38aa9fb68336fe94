/* For tests of rpc: a loop, waiting with a deadline, raw sockets that speak any bytes. */
#ifndef TESTS_RPC_FIXTURE_H
#define TESTS_RPC_FIXTURE_H

#include "harness/wait_for.h"
#include "wire/rpc.h"

/* cmocka.h needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S(text) ((struct slice)SLICE_LIT(text))

enum { WAIT_MS = 20000 };

/* What a call came to; `arg` of on_reply. */
struct outcome {
    int count;
    enum err err;
    enum wire_kind kind;
    enum wire_error_code code; /* of a WIRE_ERROR */
    char field[64];
    char text[256]; /* `why`, the error's message, or the payload */
};
void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why);

/* A Call with this payload. */
struct wire_message call_of(struct slice payload);
struct rpc_client_conf client_conf(const char *address);
struct rpc_server_conf server_conf(void); /* a free port on 127.0.0.1 */
struct rpc_server *server_open(struct loop *loop, const struct rpc_server_conf *conf,
                               void (*handle)(void *arg, struct rpc_request *request), void *arg);
/* "127.0.0.1:PORT" of a server. */
char *server_address(const struct rpc_server *server, char out[32]);
/* Handler: answers a Call with its own payload at once. */
void handle_echo(void *arg, struct rpc_request *request);

/* Handler that keeps requests until the test answers them; `arg` is the struct. */
struct shelf {
    struct rpc_request *requests[5000];
    size_t count;
};
void handle_keep(void *arg, struct rpc_request *request);
void shelf_answer(struct shelf *shelf, size_t index); /* the last one takes its place */
void shelf_answer_all(struct shelf *shelf);

/* Raw sockets. */
int raw_connect(int port);
int raw_listen(int *port);
int raw_accept(struct loop *loop, int listener);
void raw_send(int fd, struct slice bytes);
/* Turns the loop and reads into `in` until it has so many frames. */
void raw_read_frames(struct loop *loop, int fd, struct buf *in, size_t frames);
/* … until the peer has closed; fails on a reset. */
void raw_read_to_end(struct loop *loop, int fd, struct buf *in);
/* Frame number `index` of the bytes; must be there. Free with wire_message_fini. */
struct wire_message frame_at(const struct buf *in, size_t index);
size_t frame_count(const struct buf *in);

#endif
