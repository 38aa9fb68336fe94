/* Words, what everybody has in memory, and what must hold. */

/* status of the transaction */
#define PREPARED 0
#define SUBMITTED 1
#define ABORTING 2
#define SUCCEED 3
#define FAILED 4
#define IS_FINAL(s) ((s) >= SUCCEED)

/* status of an action */
#define OPEN 0
#define STARTED 1
#define DONE 2
#define REFUSED 3

/* op of a call */
#define ACTION 0 /* or try */
#define CONFIRM 1
#define UNDO 2 /* compensate or cancel */

/* state of a live transaction */
#define GONE 0
#define RUNNING 1
#define STORING 2

/* answers of the store */
#define OK 1
#define FENCED 2
#define NOT_FOUND 3

/* answers of a participant */
#define SUCCESS 1
#define FAILURE 2
#define ERROR 3

#ifdef TCC
#define FIRST PREPARED /* the status in which actions are called */
#define THEN SUBMITTED
#else
#define FIRST SUBMITTED
#define THEN SUCCEED
#endif

/* ---- how much may happen ---- */

#ifndef TAKES
#define TAKES 2 /* take-overs */
#endif
#ifndef RELEASES
#define RELEASES 1 /* an owner gives it back to the store: it waits, or drains */
#endif
#ifndef LATES
#define LATES 1 /* updates that are applied when nobody waits any more */
#endif
#ifndef CRASHES
#define CRASHES 1 /* STORE_GOES_BACK: of a process that comes back with another name */
#endif
#ifndef FAULTS
#define FAULTS 2 /* PROGRESS: all of these together, and calls without an answer */
#endif

typedef Record {
    bit exists;
    bit due;   /* has a due time: somebody will look */
    bit doubt; /* an owner was ousted */
    byte status;
    byte epoch;
    byte revision;
    byte owner; /* 0: nobody */
    byte action[2];
    bit undo[2];
    bit confirm[2];
};

/* What a coordinator has in memory; while STORING it is also the update that is on its way, for
 * nothing changes it then. */
typedef Live {
    byte state;
    byte status;
    byte stored; /* status that the store has acknowledged */
    byte epoch;
    byte revision;
    bit sure, inherited;
    bit dirty;   /* progress that is not stored */
    bit release; /* the update gives it up */
    byte action[2];
    bit undo[2];
    bit confirm[2];
    bit called[2];
    byte op;     /* of the calls in flight */
    bit call[2]; /* in flight */
};

/* The barrier of a branch, and what it guards. */
typedef Barrier {
    byte action; /* row of the action: the op that wrote it, 0: none */
    bit undo;    /* row of the undo */
    bit confirm;
    byte effects, undone, confirmed;
};
#define BY_ACTION 1
#define BY_UNDO 2

Record store;
Live m[2];
byte me[2]; /* name of the owner, new at each start */
Barrier part[2];
bit sent[6]; /* calls that were ever sent: op * 2 + branch */

Live late; /* an update on its way for which nobody waits */
byte late_owner;

byte takes = TAKES, releases = RELEASES, lates = LATES, crashes = CRASHES, faults = FAULTS;
byte names = 2;
bit aborted; /* a client has asked for it */
byte verdict; /* of the step that is being taken */
#ifdef STORE_GOES_BACK
Record past;
byte trip; /* 1: `past` is where the store will go back to, 2: it has gone back */
#define WENT_BACK (trip == 2)
#else
#define WENT_BACK false
#endif
bit tainted;  /* beyond repair: see go_back and gate_undo */
bit conflict; /* confirm and cancel were both asked for: waits for a person */

/* What must never be. */
bit half, doubled, early, turned;

/* ---- what must hold ---- */

#define KNOWS_ABORT (store.exists && (store.status == ABORTING || store.status == FAILED))
#define KNOWS_COMMIT (store.exists && (store.status == SUBMITTED || store.status == SUCCEED))

#ifdef TCC
#define KEPT(b) (part[b].confirmed == 1)
#else
#define KEPT(b) true
#endif
#define WHOLE(b) (part[b].effects == 1 && part[b].undone == 0 && KEPT(b))
#define CLEAN(b) (part[b].effects == part[b].undone && part[b].confirmed == 0)

inline judge()
{
    half = store.exists && !tainted &&
           ((store.status == SUCCEED && !(WHOLE(0) && WHOLE(1))) ||
            (store.status == FAILED && !(CLEAN(0) && CLEAN(1))));
    assert(!half);
}

inline judge_branch(b)
{
    doubled = part[b].effects > 1 || part[b].undone > part[b].effects || part[b].confirmed > 1 ||
              (part[b].confirmed > 0 && part[b].undone > 0) ||
              part[b].confirmed > part[b].effects;
    assert(!doubled);
    assert(!conflict || WENT_BACK);
    forget_sent(b);
    judge();
}
