/* Rules broken on purpose: the simulator must find out. */
#ifndef SIM_BREAK_H
#define SIM_BREAK_H

enum sim_break {
    BREAK_NOTHING,
    BREAK_I1_ACK_CREATE,     /* the store acknowledges a create that it forgets */
    BREAK_I2_ACK_EARLY,      /* the store acknowledges the decision to abort before it has it */
    BREAK_I3_NO_FENCE,       /* the store takes updates from anybody */
    BREAK_I4_NO_BARRIER,     /* participants do a repeated op again */
    BREAK_I5_NO_DUE,         /* the store forgets the due time of what is released */
    BREAK_I5_LOST_PARK,      /* the store forgets that it has parked a transaction */
    BREAK_I7_BLIND_UNDO,     /* participants undo what was not done */
    BREAK_I8_LATE_ACTION,    /* participants do an action after its compensation */
    BREAK_I8_LATE_SUCCESS,   /* participants answer it with SUCCESS, as DTM's do */
    BREAK_I9_ERROR_REFUSES,  /* an unclear answer counts as FAILURE */
    BREAK_DOUBT,             /* the store does not tell that an owner was ousted */
    BREAK_OUTBOX_ACK_EARLY,  /* an entry is acknowledged when it was read */
    BREAK_OUTBOX_NOT_ATOMIC, /* a refused change leaves its entry all the same */
    BREAK_OUTBOX_NO_CLAIM,   /* what a reader has not acknowledged is never taken over */
    BREAK_I2_ACK_COMMIT,     /* the store acknowledges the decision to commit before it has it */
    BREAK_REGISTER_LOST,     /* the store acknowledges a branch that it forgets */
    BREAK_REGISTER_LATE,    /* the store takes a branch when a coordinator drives it, or it ended */
    BREAK_REGISTER_ORDER,   /* the store forgets in which order branches were registered */
    BREAK_REGISTER_CROSSED, /* the store mixes up confirm and cancel of a registered branch */
    BREAK_CHECK_BLIND,      /* the check-back says yes to a change that was not made */
    BREAK_CHECK_UNBARRED,   /* the check-back says no, and the change may still come */
    BREAK_REPORT_TURNS,     /* the store lets a later report of a step replace the first */
    BREAK_RESUME_DEAF,      /* nobody comes back when a workflow is resumed */
    BREAK_FINISH_EARLY,     /* the store acknowledges the end of a workflow that it forgets */
    BREAK_COUNT,
};
extern const char *const sim_break_names[BREAK_COUNT];

#endif
