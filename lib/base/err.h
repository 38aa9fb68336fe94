/*
 * Error codes: one list, so that the texts cannot drift from the codes.
 *
 * A fallible function returns `enum err`; ERR_OK is 0. What a person must know beyond the code
 * (which field, what was wrong, what is allowed) goes into a `struct reason`.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define ERR_LIST(X)                                                                                \
    X(OK, "ok")                                                                                    \
    X(INVALID, "invalid input")                                                                    \
    X(LIMIT, "over a limit")                                                                       \
    X(TIMEOUT, "deadline passed")                                                                  \
    X(CONNECT, "cannot connect")                                                                   \
    X(CLOSED, "connection closed")                                                                 \
    X(PROTOCOL, "peer broke the protocol")                                                         \
    X(BUSY, "too much work in flight")                                                             \
    X(UNAVAILABLE, "temporarily unavailable")                                                      \
    X(NOT_FOUND, "not found")                                                                      \
    X(CONFLICT, "conflicts with the present state")                                                \
    X(DENIED, "not permitted")                                                                     \
    X(SCRIPT, "script failed")                                                                     \
    X(SYSTEM, "system call failed")                                                                \
    X(CANCELLED, "cancelled")

enum err {
#define X(name, text) ERR_##name,
    ERR_LIST(X)
#undef X
};

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* A static English text for the code; never NULL. */
const char *err_text(enum err err);

/* Why something was refused, in one sentence for a person. Always NUL-terminated. */
struct reason {
    char text[256];
};

/* Sets the text (cut at the size; what is not UTF-8 becomes '?', so that the text can stand in a
 * message of the protocol) and returns err, so that `return reason_set(r, ERR_INVALID, …)` reads
 * well. `reason` may be NULL. */
enum err reason_set(struct reason *reason, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
