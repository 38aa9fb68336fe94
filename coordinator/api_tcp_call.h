/*
 * Inside of the TCP API: one request on its way to the engine's answer. Whatever answers a request
 * also ends it.
 */
#ifndef COORDINATOR_API_TCP_CALL_H
#define COORDINATOR_API_TCP_CALL_H

#include "coordinator/api_tcp.h"
#include "coordinator/topic_lookup.h"
#include "wire/rpc.h"

struct api_tcp {
    struct api_tcp_env env;
    struct rpc_server *server;
};

/* A request that waits for the engine. */
struct tcp_call {
    struct api_tcp *api;
    struct rpc_request *request;
    struct topic_lookup lookup; /* a msg to topics */
};

struct tcp_call *tcp_call_new(struct api_tcp *api, struct rpc_request *request);
/* An engine_cb whose `arg` is a tcp_call, which it frees: answers with submit_reply. */
void tcp_answer(void *arg, const struct engine_answer *answer);

void tcp_fail(struct rpc_request *request, enum wire_error_code code, const char *message);
/* The reason begins with the field: "steps[2].action: …". */
void tcp_fail_invalid(struct rpc_request *request, const struct reason *reason);
enum wire_error_code tcp_error_code(enum err err);
enum wire_status tcp_status_of(enum txn_status status);
void tcp_headers_of(const struct wire_header *from, size_t count, struct txn_header *to);

/* Answers a `workflow` request, and ends the call, with what the store knows of it. */
void tcp_workflow_read(struct tcp_call *call);

void tcp_handle_submit(struct api_tcp *api, struct rpc_request *request); /* and prepare */
void tcp_handle_register(struct api_tcp *api, struct rpc_request *request);
void tcp_handle_workflow(struct api_tcp *api, struct rpc_request *request);
void tcp_handle_finish(struct api_tcp *api, struct rpc_request *request);
void tcp_handle_query(struct api_tcp *api, struct rpc_request *request);

#endif
