/*
 * One global transaction of two branches, two coordinators, their store, two participants with
 * barriers. docs/model.md tells what is modelled and what is not; check.py runs it.
 *
 * There is no clock: what time would decide (a lease, a retry, a pause) may happen at any moment or
 * never. What can go wrong:
 *   - a call that was sent may be executed at any later moment or never, and again and again; its
 *     answer may be lost;
 *   - an update of the store may be applied and not answered, or applied when nobody waits for it;
 *   - a coordinator may lose everything (crash), or sleep while others go on (pause);
 *   - an owner that is alive may be taken for dead; a client's abort takes it over elsewhere;
 *   - STORE_GOES_BACK: the store forgets its last writes, once, as many as it likes.
 *
 * SAGA: one action after the other. TCC: a declared one, the coordinator calls the tries, both at
 * once. PROGRESS: faults are finitely many, and the claim `ends` is checked; otherwise assertions.
 *
 * Lines that begin with @ name a rule and its counterpart in the code, a file and words in it;
 * check.py looks whether these still stand there. WRONG_… breaks a rule, and must be found.
 */

#include "state.pml"
#include "participant.pml"
#include "store.pml"
#include "coordinator.pml"

#ifdef STORE_GOES_BACK
inline copy(to, from)
{
    load(to, from);
    to.exists = from.exists; to.due = from.due; to.doubt = from.doubt; to.owner = from.owner
}

/* @lost docs/operations.md: "taken over within the time that was lost" "nobody held in memory"
 * Who was taken over within the time that is lost is beyond repair; what nobody holds is gone. */
inline go_back()
{
    tainted = tainted || (past.exists -> past.epoch : 1) != store.epoch;
    copy(store, past);
    printf("store: goes back to status %d, lease %d.%d %d, exists %d, tainted %d\n", store.status,
           store.epoch, store.revision, store.owner, store.exists, tainted);
    trip = 2;
    lose_late(); /* connections to the old one are dead */
    past.exists = 0; past.due = 0; past.doubt = 0; past.owner = 0;
    past.action[0] = 0; past.action[1] = 0; past.undo[0] = 0; past.undo[1] = 0;
    past.confirm[0] = 0; past.confirm[1] = 0; past.status = 0; past.epoch = 0; past.revision = 0
}
#endif

/* Who holds it has lost its lease long ago. */
#ifdef WRONG_SHORT_RETENTION
#define MAY_EXPIRE true
#else
#define MAY_EXPIRE (m[0].state == GONE && m[1].state == GONE)
#endif

proctype world()
{
end:
    do
    :: d_step { sent[ACTION * 2] -> gate_action(0); verdict = 0 }
    :: d_step { sent[ACTION * 2 + 1] -> gate_action(1); verdict = 0 }
    :: d_step { sent[UNDO * 2] -> gate_undo(0); verdict = 0 }
    :: d_step { sent[UNDO * 2 + 1] -> gate_undo(1); verdict = 0 }
#ifdef TCC
    :: d_step { sent[CONFIRM * 2] -> gate_confirm(0); verdict = 0 }
    :: d_step { sent[CONFIRM * 2 + 1] -> gate_confirm(1); verdict = 0 }
#endif
    :: d_step { late.state == STORING ->
        update(late, late_owner);
        verdict = 0 }
    /* @retention coordinator/settings.c: "settings->retention_ms < settings->lease_ms" */
    :: d_step { store.exists && IS_FINAL(store.status) && MAY_EXPIRE ->
        store.exists = 0;
        printf("store: the record expires\n") }
#ifdef STORE_GOES_BACK
    :: d_step { trip == 0 -> copy(past, store); trip = 1 }
    :: d_step { trip == 1 -> go_back() }
#endif
#ifdef PROGRESS
    :: break /* the faults are over; what is on its way never arrives */
#endif
    od
}

init
{
    d_step {
        me[0] = 1; me[1] = 2;
        store.exists = 1; store.due = 1; store.status = FIRST; store.epoch = 1; store.owner = 1;
        load(m[0], store);
        m[0].state = RUNNING; m[0].stored = FIRST; m[0].sure = 1
    };
    atomic {
#ifdef STORE_GOES_BACK
        if
        :: trip = 1 /* to before it was created */
        :: skip
        fi;
#endif
        run coordinator(0); run coordinator(1); run world()
    }
}

#ifdef PROGRESS
/* @due lua/coordinator/txn_update.lua: "call('ZADD', due"
 * @due lua/coordinator/due_list.lua: "BYSCORE"
 * @due coordinator/recovery.c: on_overdue take_one
 * Every transaction ends. */
#define IS_LOST (!store.exists && m[0].state == GONE && m[1].state == GONE)
ltl ends { <> (IS_FINAL(store.status) || (WENT_BACK && (conflict || IS_LOST))) }
#endif
