/* The coordinator's part of an xa: who takes part, and the decision. */
#include "base/mem.h"
#include "two_phase.h"

struct saga_xa *saga_xa_begin(struct saga *saga, const struct saga_submission *begin,
                              saga_answer_cb cb, void *arg)
{
    struct saga_xa *xa = mem_new(struct saga_xa);
    two_phase_begin(&xa->all, saga, "xa", begin, cb, arg);
    return xa;
}

void saga_xa_register(struct saga_xa *xa, const struct saga_xa_branch *branch, saga_answer_cb cb,
                      void *arg)
{
    struct wire_register urls = {.confirm = slice_str(branch->commit),
                                 .cancel = slice_str(branch->rollback),
                                 .payload = slice_of(branch->payload)};
    two_phase_register(&xa->all, &urls, NULL, cb, arg);
}

void saga_xa_end(struct saga_xa *xa, bool commit, saga_answer_cb cb, void *arg)
{
    two_phase_end(&xa->all, commit, cb, arg);
}
