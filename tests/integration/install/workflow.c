/* A workflow: books a room, then a seat; without a seat the room is given back. With a gid it
 * starts one; it also goes on with those that were left unfinished. */
#include <saga.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct saga *saga;
static const char *rooms, *seats, *resume_url;

struct trip {
    struct saga_workflow *flow;
    struct saga_call *resumed; /* wants its answer when this run is over; NULL: started here */
};

static void over(struct trip *trip, const char *how)
{
    printf("%s\n", how);
    fflush(stdout);
    if (trip->resumed) {
        saga_call_reply(trip->resumed, SAGA_SUCCESS, saga_text(""), how);
    }
    free(trip);
}

static void ended(void *arg, const struct saga_answer *answer)
{
    over(arg, answer->error ? answer->message : answer->status);
}

static int failed(const struct saga_op *op)
{
    return strcmp(op->status, "failed") == 0;
}

static void step(struct trip *trip, const char *branch_id, const char *op, const char *url);

static void end(struct trip *trip, const char *failure)
{
    saga_workflow_end(trip->flow, failure, saga_text(failure ? "" : "booked"), ended, trip);
}

/* What is to be done next follows from what was done, in this run or an earlier one. */
static void next(void *arg, const struct saga_response *response)
{
    struct trip *trip = arg;
    const struct saga_op *room = saga_workflow_done(trip->flow, "01", "action");
    const struct saga_op *seat = saga_workflow_done(trip->flow, "02", "action");
    if (response && response->error) { /* nobody knows yet: it will be resumed */
        saga_workflow_leave(trip->flow);
        over(trip, response->message);
    } else if (!room) {
        step(trip, "01", "action", rooms);
    } else if (failed(room)) {
        end(trip, "no room");
    } else if (!seat) {
        step(trip, "02", "action", seats);
    } else if (!failed(seat)) {
        end(trip, NULL);
    } else if (!saga_workflow_done(trip->flow, "02", "compensate")) {
        step(trip, "02", "compensate", seats); /* bars a call that may still be on its way */
    } else if (!saga_workflow_done(trip->flow, "01", "compensate")) {
        step(trip, "01", "compensate", rooms);
    } else {
        end(trip, "no seat");
    }
}

static void step(struct trip *trip, const char *branch_id, const char *op, const char *url)
{
    struct saga_work work = {
        .branch_id = branch_id, .op = op, .url = url, .payload = saga_text("1")};
    saga_workflow_step(trip->flow, &work, next, trip);
}

static void begun(void *arg, const struct saga_answer *answer)
{
    if (answer->error || strcmp(answer->status, "prepared") != 0) {
        ended(arg, answer); /* by another run, say */
    } else {
        next(arg, NULL);
    }
}

static void run(struct saga_bytes gid, struct saga_call *resumed)
{
    struct saga_workflow_spec spec = {
        .gid = gid, .name = "trip", .resume = resume_url, .retry_interval_ms = 1000};
    struct trip *trip = calloc(1, sizeof(*trip));
    if (!trip) {
        abort();
    }
    trip->resumed = resumed;
    trip->flow = saga_workflow_begin(saga, &spec, begun, trip);
}

static void resume(void *arg, struct saga_call *call)
{
    (void)arg;
    run(saga_call_gid(call), call);
}

int main(int argc, char **argv)
{
    char error[256], url[100];
    if (argc < 5) {
        fprintf(stderr, "usage: workflow LISTEN COORDINATOR ROOMS SEATS [GID]\n");
        return 2;
    }
    struct saga_conf conf = {.program = "trips", .listen = argv[1], .coordinator = argv[2]};
    rooms = argv[3];
    seats = argv[4];
    saga = saga_open(&conf, error, sizeof(error));
    if (!saga) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    snprintf(url, sizeof(url), "tcp://%s/trips.Trip/Resume", argv[1]);
    resume_url = url;
    saga_on_branch(saga, "trips.Trip/Resume", resume, NULL);
    if (argc > 5) {
        run(saga_text(argv[5]), NULL);
    }
    saga_stop_on(saga, SIGTERM);
    saga_run(saga);
    saga_close(saga);
    return 0;
}
