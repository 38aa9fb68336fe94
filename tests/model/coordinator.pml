/* A coordinator: rules and engine. */

#define IS_RUNNING(c) (m[c].state == RUNNING)
#define IS_STORING(c) (m[c].state == STORING)

/* @drop coordinator/engine_live.c: live_drop live_ended live_released
 * Calls in flight are given up, not called back. */
inline forget(c)
{
    printf("coordinator %d: leaves it\n", c);
    m[c].state = GONE; m[c].status = 0; m[c].stored = 0; m[c].epoch = 0; m[c].revision = 0;
    m[c].sure = 0; m[c].inherited = 0; m[c].dirty = 0; m[c].release = 0; m[c].op = 0;
    m[c].action[0] = 0; m[c].action[1] = 0; m[c].undo[0] = 0; m[c].undo[1] = 0;
    m[c].confirm[0] = 0; m[c].confirm[1] = 0; m[c].called[0] = 0; m[c].called[1] = 0;
    m[c].call[0] = 0; m[c].call[1] = 0
}

/* @one_update coordinator/engine_impl.h: LIVE_STORING
 * @one_update coordinator/engine_save.c: live_save "revision++" */
inline save(c)
{
    m[c].revision++;
    m[c].called[0] = m[c].called[0] && m[c].status == FIRST; /* nobody asks later */
    m[c].called[1] = m[c].called[1] && m[c].status == FIRST;
    m[c].inherited = m[c].inherited && m[c].status == FIRST;
    m[c].dirty = 0;
    m[c].state = STORING
}

/* @started coordinator/rules.c: may_have_begun mark_started OP_STARTED "run.inherited" */
#define MAY_HAVE_BEGUN(c, b) (m[c].called[b] || !m[c].sure || (m[c].inherited && BEFORE_DONE(c, b)))
#ifdef TCC
#define BEFORE_DONE(c, b) true
#else
#define BEFORE_DONE(c, b) ((b) == 0 || m[c].action[0] == DONE)
#endif

inline mark_started(c)
{
#ifdef WRONG_NOT_MARKED
    skip
#else
    if
    :: m[c].action[1] == OPEN && MAY_HAVE_BEGUN(c, 1) -> m[c].action[1] = STARTED
    :: else
    fi;
    if
    :: m[c].action[0] == OPEN && MAY_HAVE_BEGUN(c, 0) -> m[c].action[0] = STARTED
    :: else
    fi
#endif
}

/* @abort_first coordinator/rules.c: turn_round SAVE_FIRST
 * @abort_first coordinator/engine_live.c: live_drive SAVE_FIRST */
inline turn_round(c)
{
    printf("coordinator %d: turns round\n", c);
    mark_started(c);
    m[c].status = ABORTING;
#ifdef WRONG_UNDO_FIRST
    m[c].dirty = 1
#else
    save(c)
#endif
}

#define CALLS(c) (m[c].call[0] || m[c].call[1])
#define call_ended(c) m[c].op = (CALLS(c) -> m[c].op : 0)
#define ALL_DONE(c) (m[c].action[0] == DONE && m[c].action[1] == DONE)

inline begin_call(c, b, what)
{
    m[c].op = what; m[c].call[b] = 1; sent[what * 2 + b] = 1; forget_sent(b);
    printf("coordinator %d: calls %d of branch %d\n", c, what, b + 1)
}

inline call_action(c, b)
{
    if
    :: m[c].action[b] != DONE && !m[c].call[b] -> m[c].called[b] = 1; begin_call(c, b, ACTION)
    :: else
    fi
}

/* @confirm coordinator/rules_next.c: tcc_stage ORDER_REVERSE */
inline confirm_next(c)
{
    if
    :: !m[c].confirm[1] -> begin_call(c, 1, CONFIRM)
    :: m[c].confirm[1] && !m[c].confirm[0] -> begin_call(c, 0, CONFIRM)
    :: else -> m[c].status = SUCCEED; save(c)
    fi;
#ifndef WRONG_CONFIRM_FIRST
    early = IS_RUNNING(c) && !WENT_BACK && !KNOWS_COMMIT;
    assert(!early)
#endif
}

/* @undo coordinator/rules_next.c: is_wanted strangers_called ORDER_REVERSE */
#define TO_UNDO(c, b) (m[c].action[b] != OPEN && !m[c].undo[b])

inline undo_next(c)
{
    if
    :: TO_UNDO(c, 1) -> begin_call(c, 1, UNDO)
    :: !TO_UNDO(c, 1) && TO_UNDO(c, 0) -> begin_call(c, 0, UNDO)
    :: else -> m[c].status = FAILED; save(c)
    fi;
#ifndef WRONG_UNDO_FIRST
    early = IS_RUNNING(c) && !WENT_BACK && !KNOWS_ABORT;
    assert(!early)
#endif
}

/* @drive coordinator/engine_live.c: live_drive live_call_all
 * @drive coordinator/rules_next.c: next_in_stage
 * Calls whatever can be called now, unless something must be stored first. */
inline drive(c)
{
    if
#ifdef TCC
    :: IS_RUNNING(c) && m[c].status == PREPARED ->
        call_action(c, 0);
        call_action(c, 1)
    :: IS_RUNNING(c) && m[c].status == SUBMITTED && !CALLS(c) -> confirm_next(c)
#else
    :: IS_RUNNING(c) && m[c].status == SUBMITTED && !CALLS(c) ->
        if
        :: m[c].action[0] != DONE -> call_action(c, 0)
        :: else -> call_action(c, 1)
        fi
#endif
    :: IS_RUNNING(c) && m[c].status == ABORTING && !CALLS(c) -> undo_next(c)
    :: else
    fi
}

/* @answer coordinator/rules.c: refusable_called late_called op_succeeded fail_branch
 * What all actions wait for is stored together with the success of the last one. */
inline learn_action(c, b)
{
    m[c].call[b] = 0;
    call_ended(c);
    if
    :: verdict == SUCCESS -> m[c].action[b] = DONE; m[c].dirty = 1;
        if
        :: m[c].status == FIRST && ALL_DONE(c) ->
            m[c].status = THEN;
#if defined(WRONG_CONFIRM_FIRST) && defined(TCC)
            m[c].dirty = 1
#else
            save(c)
#endif
        :: m[c].status == FIRST && !ALL_DONE(c) -> m[c].inherited = 0
        :: else
        fi
    :: verdict == FAILURE -> m[c].action[b] = REFUSED; m[c].dirty = 1;
        if
        :: m[c].status == FIRST -> turn_round(c)
        :: else
        fi
    fi;
    verdict = 0
}

inline learn_undo(c, b)
{
    m[c].call[b] = 0;
    call_ended(c);
    m[c].undo[b] = verdict == SUCCESS;
    m[c].dirty = m[c].dirty || verdict == SUCCESS;
    verdict = 0
}

inline learn_confirm(c, b)
{
    m[c].call[b] = 0;
    call_ended(c);
    m[c].confirm[b] = verdict == SUCCESS;
    m[c].dirty = m[c].dirty || verdict == SUCCESS;
    verdict = 0
}

#ifdef PROGRESS
#define OWNER_LIVES(c) (m[c].state != GONE && me[c] == store.owner && m[c].epoch == store.epoch)
#define OWNED (OWNER_LIVES(0) || OWNER_LIVES(1))
#define OVERDUE (!OWNED || faults > 0)
#define MAY_TAKE true
#define COUNT_TAKE faults = (OWNED -> faults - 1 : faults)
#define MAY_FAIL (faults > 0)
#define COUNT_FAULT faults--
#define MAY_RELEASE (faults > 0)
#define COUNT_RELEASE faults--
#define MAY_LEAVE (faults > 0)
#define COUNT_LEAVE faults--
#else
#define OVERDUE true
#define MAY_TAKE (takes > 0)
#define COUNT_TAKE takes--
#define MAY_FAIL true
#define COUNT_FAULT skip
#define MAY_RELEASE (releases > 0)
#define COUNT_RELEASE releases--
#define MAY_LEAVE (lates > 0)
#define COUNT_LEAVE lates--
#endif

/* @take lua/coordinator/txn_take.lua: "epoch + 1" "'doubt', '1'" "ZADD', due, due_at"
 * @take coordinator/recovery.c: take_one is_live
 * @take coordinator/store_record_parse.c: "txn->sure = false"
 * @take coordinator/txn.c: "run.inherited = true" */
inline take(c)
{
    COUNT_TAKE;
    store.doubt = store.doubt || store.owner != 0;
    store.epoch++;
    store.owner = me[c];
    forget_late();
#ifdef WRONG_TAKE_NOT_DUE
    store.due = 0;
#endif
    load(m[c], store);
    m[c].stored = store.status;
    m[c].state = RUNNING;
#ifdef WRONG_NO_DOUBT
    m[c].sure = 1;
#else
    m[c].sure = !store.doubt;
#endif
#ifndef WRONG_NOT_INHERITED
    m[c].inherited = 1;
#endif
    printf("coordinator %d: took it, status %d, lease %d.%d, sure %d\n", c, store.status,
           store.epoch, store.revision, m[c].sure)
}

/* @anew coordinator/engine_save.c: live_store_anew "live->acked_ms + live->engine->conf.lease_ms"
 * @anew lua/coordinator/txn_create.lua: "{'EXISTS', now" */
inline learn_update(c)
{
    if
    :: verdict == OK && (IS_FINAL(m[c].status) || m[c].release) -> forget(c)
    :: verdict == OK && !(IS_FINAL(m[c].status) || m[c].release) ->
        m[c].state = RUNNING; m[c].stored = m[c].status
    :: verdict == FENCED -> forget(c)
    :: verdict == NOT_FOUND -> /* what is in memory is the truth */
        store.exists = 1;
        store.doubt = !m[c].sure;
        write(m[c], me[c]);
        if
        :: IS_FINAL(m[c].status) || m[c].release -> forget(c)
        :: else -> m[c].state = RUNNING; m[c].stored = m[c].status
        fi
    fi;
    verdict = 0
}

#define ANSWERS(c, b, what) (IS_RUNNING(c) && m[c].call[b] && m[c].op == what)
/* Something of its stage is open and not being called. */
#ifdef TCC
#define CAN_CALL(c) (!CALLS(c) || (m[c].status == PREPARED && (WAITS(c, 0) || WAITS(c, 1))))
#define WAITS(c, b) (m[c].action[b] != DONE && !m[c].call[b])
#else
#define CAN_CALL(c) (!CALLS(c))
#endif

/* Two that hold nothing are alike, unless the name of the owner tells them apart. */
#ifdef STORE_GOES_BACK
#define IS_TURN(c) true
#else
#define IS_TURN(c) (c == 0 || m[0].state != GONE)
#endif

proctype coordinator(byte c)
{
end:
    do
    /* -- calls end -- */
    :: d_step { ANSWERS(c, 0, ACTION) -> gate_action(0); learn_action(c, 0); drive(c) }
    :: d_step { ANSWERS(c, 1, ACTION) -> gate_action(1); learn_action(c, 1); drive(c) }
    :: d_step { ANSWERS(c, 0, ACTION) && part[0].action == 0 ->
        verdict = FAILURE; learn_action(c, 0); drive(c) } /* refused */
    :: d_step { ANSWERS(c, 1, ACTION) && part[1].action == 0 ->
        verdict = FAILURE; learn_action(c, 1); drive(c) }
    :: d_step { ANSWERS(c, 0, UNDO) -> gate_undo(0); learn_undo(c, 0); drive(c) }
    :: d_step { ANSWERS(c, 1, UNDO) -> gate_undo(1); learn_undo(c, 1); drive(c) }
#ifdef TCC
    :: d_step { ANSWERS(c, 0, CONFIRM) -> gate_confirm(0); learn_confirm(c, 0); drive(c) }
    :: d_step { ANSWERS(c, 1, CONFIRM) -> gate_confirm(1); learn_confirm(c, 1); drive(c) }
#endif
    /* @unclear coordinator/rules.c: CALL_ERROR retry_later */
    :: d_step { IS_RUNNING(c) && m[c].call[0] && MAY_FAIL ->
        COUNT_FAULT; m[c].call[0] = 0; call_ended(c) }
    :: d_step { IS_RUNNING(c) && m[c].call[1] && MAY_FAIL ->
        COUNT_FAULT; m[c].call[1] = 0; call_ended(c) }

    /* -- time passes, a client asks -- */
    :: d_step { IS_RUNNING(c) && CAN_CALL(c) -> drive(c) } /* begins, or tries again */
    /* @lazy coordinator/engine_live.c: lazy_at_ms SAVE_LAZY */
    :: d_step { IS_RUNNING(c) && m[c].dirty -> save(c) }
    /* @release coordinator/engine_save.c: live_may_release live_released */
    :: d_step { IS_RUNNING(c) && !CALLS(c) && MAY_RELEASE ->
        COUNT_RELEASE; m[c].release = 1; save(c) }
    :: d_step { IS_RUNNING(c) && m[c].status == FIRST && !aborted ->
        aborted = 1; turn_round(c); drive(c) }
    /* an answer while it drains, or together with an abort: the next is not called */
    :: d_step { ANSWERS(c, 0, ACTION) && m[c].status == FIRST && m[c].action[1] != DONE &&
                MAY_RELEASE && !part[0].undo && !m[c].call[1] ->
        gate_action(0); learn_action(c, 0); COUNT_RELEASE; m[c].release = 1; save(c) }
    :: d_step { ANSWERS(c, 0, ACTION) && m[c].status == FIRST && m[c].action[1] != DONE &&
                !aborted && !part[0].undo ->
        gate_action(0); learn_action(c, 0); aborted = 1; turn_round(c); drive(c) }

    /* -- the store -- */
    :: d_step { IS_STORING(c) -> update(m[c], me[c]); learn_update(c); drive(c) }
    :: d_step { IS_STORING(c) && store.exists && BUILDS_ON(m[c], me[c]) && MAY_FAIL ->
        COUNT_FAULT; update(m[c], me[c]); verdict = 0 }
    :: d_step { m[c].state == GONE && store.exists && !IS_FINAL(store.status) && store.due &&
                MAY_TAKE && OVERDUE && IS_TURN(c) -> take(c) }

    /* -- leaving -- */
    :: d_step { m[c].state != GONE && MAY_FAIL -> COUNT_FAULT; forget(c) }
    :: d_step { IS_STORING(c) && MAY_LEAVE ->
        COUNT_LEAVE; late.state = STORING; load(late, m[c]); late.stored = m[c].stored;
        late.release = m[c].release; late_owner = me[c]; forget_late(); forget(c) }
#ifdef STORE_GOES_BACK
    :: d_step { crashes > 0 && m[c].state != GONE -> crashes--; names++; me[c] = names; forget(c) }
#endif
    od
}
