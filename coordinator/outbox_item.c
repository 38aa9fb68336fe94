#include "coordinator/outbox_item.h"

#include "base/check.h"

enum outbox_fate outbox_fate_of(enum err err)
{
    switch (err) {
    case ERR_OK: return OUTBOX_STORED;
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT: return OUTBOX_DEAD;
    case ERR_CANCELLED: return OUTBOX_LEFT;
    case ERR_TIMEOUT:
    case ERR_CONNECT:
    case ERR_CLOSED:
    case ERR_PROTOCOL:
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
    case ERR_DENIED:
    case ERR_SCRIPT:
    case ERR_SYSTEM: return OUTBOX_REFUSED;
    }
    unreachable("error");
}

static void on_answer(void *arg, const struct engine_answer *answer)
{
    const struct outbox_item *item = arg;
    struct outbox_verdict verdict = {
        .fate = outbox_fate_of(answer->err),
        .why = answer->message && answer->message[0] ? answer->message : err_text(answer->err),
    };
    item->cb(item->arg, &verdict);
}

enum err outbox_item_submit(struct outbox_item *item, struct engine *engine,
                            const struct txn_spec *spec, struct reason *reason)
{
    enum err err = txn_spec_check(spec, reason);
    if (!err) {
        engine_submit(engine, spec, (struct engine_wait){.mode = ENGINE_WAIT_STORED}, on_answer,
                      item);
    }
    return err;
}
