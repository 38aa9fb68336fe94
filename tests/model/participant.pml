/* Participants: the barrier in front of each branch. */

/* What was sent is kept only as long as it would do something when it arrives once more. */
#ifdef WRONG_NO_RECORD
#define LATE_DOES(b) (part[b].effects < 2)
#else
#ifdef WRONG_LATE_ACTION
#define LATE_DOES(b) (part[b].action != BY_ACTION)
#else
#define LATE_DOES(b) (part[b].action == 0)
#endif
#endif
#define LATE_UNDOES(b) (!part[b].undo)
#define LATE_CONFIRMS(b) (!part[b].confirm)

inline forget_sent(b)
{
    sent[b] = sent[b] && LATE_DOES(b);
    sent[2 + b] = sent[2 + b] && LATE_CONFIRMS(b);
    sent[4 + b] = sent[4 + b] && LATE_UNDOES(b)
}

/* @record lua/barrier/gate.lua: "{'DUP', call('HGET'" */
/* @void lua/barrier/gate.lua: "if writer ~= op then" "' came after ' .. op"
 * @void sdk/src/eval.c: SAGA_VOID SAGA_FAILURE */
#ifdef WRONG_REPEAT_SUCCESS
#define WAS_UNDONE(b) false
#else
#define WAS_UNDONE(b) (part[b].undo)
#endif

inline gate_action(b)
{
    if
#ifdef WRONG_NO_RECORD
    :: part[b].action == BY_ACTION -> part[b].effects++; verdict = SUCCESS
#else
    :: part[b].action == BY_ACTION && !WAS_UNDONE(b) -> verdict = SUCCESS
    :: part[b].action == BY_ACTION && WAS_UNDONE(b) -> verdict = FAILURE
#endif
#ifdef WRONG_LATE_ACTION
    :: part[b].action == BY_UNDO -> part[b].effects++; part[b].action = BY_ACTION; verdict = SUCCESS
#else
#ifdef WRONG_LATE_SUCCESS
    :: part[b].action == BY_UNDO -> verdict = SUCCESS
#else
    :: part[b].action == BY_UNDO -> verdict = FAILURE
#endif
#endif
    :: part[b].action == 0 -> part[b].effects++; part[b].action = BY_ACTION; verdict = SUCCESS
    fi;
    printf("    barrier %d: action, answers %d\n", b + 1, verdict);
    judge_branch(b)
}

/* @exclude lua/barrier/gate.lua: "{'CONFLICT', rival"
 * @exclude coordinator/rules.c: park_reason PARK_CONFLICT */
#ifdef WRONG_CONFIRM_AND_CANCEL
#define RIVAL(done) false
#else
#define RIVAL(done) (done)
#endif

/* @taint docs/operations.md: "decision to abort was lost while a compensation was on its way"
 * What is undone while the store does not know of the abort, the next owner may have found done. */
/* @empty lua/barrier/gate.lua: "call('HSET', KEYS[1], own, mark, first, mark)" */
inline gate_undo(b)
{
    if
    :: part[b].undo -> verdict = SUCCESS
    :: !part[b].undo && RIVAL(part[b].confirm) -> conflict = 1; verdict = ERROR
    :: !part[b].undo && !RIVAL(part[b].confirm) ->
        tainted = tainted || (WENT_BACK && store.exists && !KNOWS_ABORT);
        part[b].undo = 1;
        verdict = SUCCESS;
        if
        :: part[b].action == BY_ACTION -> part[b].undone++
#ifdef WRONG_NO_EMPTY_MARK
        :: else
#else
        :: else -> part[b].action = BY_UNDO
#endif
        fi
    fi;
    printf("    barrier %d: undo, answers %d\n", b + 1, verdict);
    judge_branch(b)
}

inline gate_confirm(b)
{
    if
    :: part[b].confirm -> verdict = SUCCESS
    :: !part[b].confirm && RIVAL(part[b].undo) -> conflict = 1; verdict = ERROR
    :: !part[b].confirm && !RIVAL(part[b].undo) ->
        part[b].confirm = 1;
        part[b].confirmed++;
        verdict = SUCCESS
    fi;
    printf("    barrier %d: confirm, answers %d\n", b + 1, verdict);
    judge_branch(b)
}
