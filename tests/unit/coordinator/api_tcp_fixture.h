/* The TCP API over a real connection, on an engine and an archive that answer as the test says: the
 * fixture stands for the engine, and the functions of the engine that the API calls are its own. */
#ifndef TEST_API_TCP_FIXTURE_H
#define TEST_API_TCP_FIXTURE_H

#include "coordinator/api_tcp.h"
#include "wire/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct loop *loop;
    struct archive archive;
    struct archive_record record;
    struct api_tcp *api;
    struct rpc_client *client;
    char address[64];
    /* the question */
    char asked[400];
    bool keep_asked; /* of what the engine was asked before the archive */
    bool whole;      /* print what every type has of a submit, not what sagas have */
    struct engine_answer answer;
    engine_cb engine_cb;
    archive_record_cb record_cb;
    void *arg;
    struct loop_task task;
    /* the answer, as text: "gid=… status=…" */
    bool done;
    char got[2000];
};

int api_tcp_setup(void **state);
int api_tcp_teardown(void **state);
/* What setup does, in steps: the server with this token, and its client. */
void api_tcp_open_with(struct fixture *f, const char *token);
void api_tcp_client_open(struct fixture *f, const char *token);
/* Returns f->got; f->asked says what the engine or the archive was asked, "" for nothing. */
const char *ask(struct fixture *f, const struct wire_message *request);

#define CASE(name) cmocka_unit_test_setup_teardown(name, api_tcp_setup, api_tcp_teardown)

#endif
