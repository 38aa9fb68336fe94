#include "api_http_engine.h"

#include <stdarg.h>
#include <stdio.h>

static void engine_answer_now(void *arg)
{
    struct fake_engine *engine = arg;
    engine->cb(engine->arg, &engine->answer);
}

static void engine_asked(struct engine *opaque, engine_cb cb, void *arg, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void engine_asked(struct engine *opaque, engine_cb cb, void *arg, const char *fmt, ...)
{
    struct fake_engine *engine = (struct fake_engine *)(void *)opaque;
    va_list args;
    va_start(args, fmt);
    vsnprintf(engine->asked, sizeof(engine->asked), fmt, args);
    va_end(args);
    engine->cb = cb;
    engine->arg = arg;
    loop_defer(engine->loop, &engine->task, engine_answer_now, engine);
}

void engine_submit(struct engine *engine, const struct txn_spec *spec, struct engine_wait wait,
                   engine_cb cb, void *arg)
{
    engine_asked(engine, cb, arg, "submit %.*s steps=%zu wait=%d/%lld", SLICE_ARG(spec->gid),
                 spec->step_count, (int)wait.mode, (long long)wait.wait_ms);
}

void engine_prepare(struct engine *engine, const struct txn_spec *spec, engine_cb cb, void *arg)
{
    engine_asked(engine, cb, arg, "prepare %.*s %.*s", SLICE_ARG(spec->gid),
                 SLICE_ARG(spec->trans_type));
}

void engine_register(struct engine *engine, struct slice gid, const struct store_branch *branch,
                     engine_cb cb, void *arg)
{
    engine_asked(engine, cb, arg, "register %.*s %.*s", SLICE_ARG(gid), SLICE_ARG(branch->id));
}

void engine_finish(struct engine *engine, struct slice gid, const struct engine_finish *finish,
                   engine_cb cb, void *arg)
{
    engine_asked(engine, cb, arg, "finish %.*s %s", SLICE_ARG(gid),
                 txn_status_name(finish->status));
}

void engine_abort_wait(struct engine *engine, struct slice gid, struct slice reason,
                       enum engine_wait_mode mode, engine_cb cb, void *arg)
{
    engine_asked(engine, cb, arg, "abort %.*s because %.*s%s", SLICE_ARG(gid), SLICE_ARG(reason),
                 mode == ENGINE_WAIT_SETTLE ? ", waits" : "");
}

#define ASKED_BY_GID(name)                                                                         \
    void engine_##name(struct engine *engine, struct slice gid, engine_cb cb, void *arg)           \
    {                                                                                              \
        engine_asked(engine, cb, arg, #name " %.*s", SLICE_ARG(gid));                              \
    }
ASKED_BY_GID(force_stop)
ASKED_BY_GID(retry_now)
ASKED_BY_GID(unpark)

void engine_resolve(struct engine *engine, struct slice gid, const struct engine_resolve *resolve,
                    engine_cb cb, void *arg)
{
    engine_asked(engine, cb, arg, "resolve %.*s %.*s.%.*s because %.*s", SLICE_ARG(gid),
                 SLICE_ARG(resolve->branch_id), SLICE_ARG(resolve->op), SLICE_ARG(resolve->reason));
}

bool engine_is_live(const struct engine *engine, struct slice gid)
{
    (void)engine;
    return slice_eq_str(gid, "mine");
}
