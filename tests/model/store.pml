/* The store: what its scripts do. */

inline load(to, from)
{
    to.action[0] = from.action[0]; to.action[1] = from.action[1];
    to.undo[0] = from.undo[0]; to.undo[1] = from.undo[1];
    to.confirm[0] = from.confirm[0]; to.confirm[1] = from.confirm[1];
    to.status = from.status; to.epoch = from.epoch; to.revision = from.revision
}

/* @fence lua/coordinator/txn_update.lua: "stored[1] ~= ARGV[2] or stored[2] ~= expect"
 * @fence coordinator/store_record.c: record_add_lease */
#ifdef WRONG_NO_EPOCH
#define IS_OWNER(x, who) true
#else
#define IS_OWNER(x, who) (store.epoch == x.epoch && store.owner == who)
#endif
#define BUILDS_ON(x, who) (IS_OWNER(x, who) && store.revision == x.revision - 1 && \
                           store.status == x.stored)
/* @repeat lua/coordinator/txn_update.lua: "stored[1] == lease and stored[2] == status"
 * @repeat coordinator/engine_save.c: live_send resend_later */
#define IS_REPEAT(x, who) (store.epoch == x.epoch && store.revision == x.revision && \
                           store.owner == ((IS_FINAL(x.status) || x.release) -> 0 : who) && \
                           store.status == x.status)

inline lose_late()
{
    late.state = GONE; late.status = 0; late.stored = 0; late.epoch = 0; late.revision = 0;
    late.release = 0; late_owner = 0;
    late.action[0] = 0; late.action[1] = 0; late.undo[0] = 0; late.undo[1] = 0;
    late.confirm[0] = 0; late.confirm[1] = 0
}

/* Kept only as long as it could do something. */
inline forget_late()
{
    if
    :: late.state == STORING && !(store.exists && BUILDS_ON(late, late_owner)) ->
        lose_late()
    :: else
    fi
}

inline write(x, who)
{
    load(store, x);
    store.owner = ((IS_FINAL(x.status) || x.release) -> 0 : who);
    store.due = !IS_FINAL(x.status);
    forget_late();
    if
    :: IS_FINAL(x.status) -> /* nobody reads them any more */
        store.action[0] = 0; store.action[1] = 0; store.undo[0] = 0; store.undo[1] = 0;
        store.confirm[0] = 0; store.confirm[1] = 0; store.doubt = 0
    :: else
    fi;
    printf("    store: status %d, lease %d.%d %d, actions %d %d, undone %d %d, confirmed %d %d\n",
           store.status, store.epoch, store.revision, store.owner, store.action[0],
           store.action[1], store.undo[0], store.undo[1], store.confirm[0], store.confirm[1]);
    judge()
}

/* @decision coordinator/rules.c: submit_asked abort_asked
 * @decision lua/coordinator/txn_update.lua: "stored[2] ~= expect"
 * Once stored it never turns. */
#ifdef TCC
#define UNCOMMITS(from, to) (from == SUBMITTED && to != SUBMITTED && to != SUCCEED)
#else
#define UNCOMMITS(from, to) false
#endif
#define TURNS(from, to) (IS_FINAL(from) || from > to || (from == ABORTING && to == SUCCEED) || \
                         UNCOMMITS(from, to))

inline update(x, who)
{
    if
    :: store.exists && BUILDS_ON(x, who) ->
        turned = TURNS(store.status, x.status);
        assert(!turned);
        write(x, who);
        verdict = OK
    :: store.exists && !BUILDS_ON(x, who) ->
        verdict = (IS_REPEAT(x, who) -> OK : FENCED)
    :: !store.exists -> verdict = NOT_FOUND
    fi;
    printf("    store: update by owner %d to status %d: %d\n", who, x.status, verdict)
}
