/* An initiator: takes 2 pieces at one shop and 1 at another, or none at all. */
#include <saga.h>
#include <stdio.h>

static int exit_code = 1;

static void ended(void *arg, const struct saga_answer *answer)
{
    if (answer->error) {
        fprintf(stderr, "not known yet: %s\n", answer->message); /* ask again with the same gid */
        exit_code = 3;
    } else {
        printf("%s %.*s\n", answer->status, (int)answer->rollback_reason.len,
               answer->rollback_reason.ptr);
        exit_code = 0;
    }
    saga_stop(arg);
}

int main(int argc, char **argv)
{
    struct saga_conf conf = {.program = "shop",
                             .coordinator = argc > 1 ? argv[1] : "127.0.0.1:36791"};
    char error[256], gid[23];
    struct saga *saga = saga_open(&conf, error, sizeof(error));
    if (!saga) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    saga_gid(gid);
    const char *first = "tcp://127.0.0.1:9001/stock.Stock/Take";
    const char *second = "tcp://127.0.0.1:9002/stock.Stock/Take";
    struct saga_step steps[] = {
        {.action = first, .compensate = first, .payload = saga_text("2")},
        {.action = second, .compensate = second, .payload = saga_text("1")},
    };
    saga_submit(saga,
                &(struct saga_submission){.gid = saga_text(gid),
                                          .steps = steps,
                                          .step_count = 2,
                                          .wait = true,
                                          .wait_timeout_ms = 10000},
                ended, saga);
    saga_run(saga);
    saga_close(saga);
    return exit_code;
}
