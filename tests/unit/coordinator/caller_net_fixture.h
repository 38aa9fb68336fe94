/* Participants that live in the same loop and answer when told to, and calls to them. */
#ifndef CALLER_NET_FIXTURE_H
#define CALLER_NET_FIXTURE_H

#include "coordinator/caller_net.h"

#include "coordinator/caller_net_link.h"
#include "harness/wait_for.h"
#include "wire/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CALLS_MAX = 64 };

/* One call that was started and how it ended. */
struct outcome {
    bool done;
    enum call_verdict verdict;
    char message[400];
    int order; /* 1: ended first */
    int *counter;
};

/* Keeps the requests that came, in order, until the test answers them. */
struct participant_stub {
    struct rpc_server *tcp;
    struct http_server *http;
    struct rpc_request *tcp_held[CALLS_MAX];
    struct http_request *http_held[CALLS_MAX];
    int held;
};

struct fixture {
    struct loop *loop;
    struct caller_net *net;
    struct conf_map resolver;
    struct conf_map_entry entries[2];
    struct participant_stub a, b;
    char a_address[64], b_address[64];
    int ended;
};

void hold_tcp(void *arg, struct rpc_request *request);
void stub_open_tcp(struct fixture *f, struct participant_stub *stub, char address[64]);
void stub_open_http(struct fixture *f, struct participant_stub *stub, char address[64]);
struct caller_net_conf conf_small(struct fixture *f);
int setup(void **state);
void stub_close(struct participant_stub *stub);
int teardown(void **state);
void names_set(struct fixture *f);
struct fixture *open_tcp(void **state, const struct caller_net_conf *conf);
void call_with(struct fixture *f, const char *url, const char *payload, int64_t timeout_ms,
               const struct txn_header *headers, size_t header_count, struct outcome *outcome);
void call(struct fixture *f, const char *url, struct outcome *outcome);
void settle(struct fixture *f);
void answer_tcp(struct participant_stub *stub, int index, enum wire_result result,
                const char *message);
void answer_http_conflict(struct participant_stub *stub, int index, int status, const char *body);
void answer_http(struct participant_stub *stub, int index, int status, const char *body);
struct fixture *open_http(void **state);

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
