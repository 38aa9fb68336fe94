/* An engine for the tests of the HTTP API, in place of the real one: it notes what it was asked,
 * and answers as the test says. */
#ifndef API_HTTP_ENGINE_H
#define API_HTTP_ENGINE_H

#include "coordinator/engine.h"
#include "net/loop.h"

/* What the engine was asked, and what it shall answer. Only one at a time. */
struct fake_engine {
    struct loop *loop;
    struct loop_task task;
    char asked[200]; /* "submit g steps=2 wait=1/5000" */
    struct engine_answer answer;
    engine_cb cb;
    void *arg;
};

#endif
