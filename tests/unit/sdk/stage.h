/* An initiator, a coordinator that is played by the test and notes what it is asked, and a
 * participant without Redis that notes its calls and answers as their payload says. */
#ifndef SDK_STAGE_H
#define SDK_STAGE_H

#include "fixture.h"

struct stage {
    struct loop *loop;
    struct rpc_server *server; /* the coordinator */
    struct saga *host;         /* a participant without Redis */
    struct saga *saga;         /* the initiator */
    char log[4 * TEXT_SIZE];   /* what both were asked, one line each */
    enum wire_kind refuse;     /* requests of this kind are refused … */
    enum wire_error_code code; /* … with this */
    int queries, queries_open; /* so many queries find it still running */
    struct slice parked;       /* what the queries tell of it */
    /* How a workflow stands: */
    enum wire_status workflow_status;
    struct wire_branch_op done[4];
    size_t done_count;
    struct slice workflow_result;
    char try_url[128];
};

struct result {
    bool done;
    enum saga_error error;
    enum saga_result result;
    char text[TEXT_SIZE];
};

void stage_open(struct stage *stage);
void stage_close(struct stage *stage);
void on_answer(void *arg, const struct saga_answer *answer);       /* arg: a struct result */
void on_response(void *arg, const struct saga_response *response); /* likewise */

#endif
