/* A read-only view of bytes that somebody else owns. Not NUL-terminated. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *ptr; /* may be NULL when len is 0 */
    size_t len;
};

/* For printf("%.*s", SLICE_ARG(s)). */
#define SLICE_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""
/* A slice of a string literal, usable in initialisers. */
#define SLICE_LIT(text)                                                                            \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

static inline struct slice slice_make(const void *ptr, size_t len)
{
    return (struct slice){(const char *)ptr, len};
}

struct slice slice_str(const char *text); /* of a C string; NULL gives the empty slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_eq_str(struct slice a, const char *text);
bool slice_has_prefix(struct slice a, const char *prefix);
bool slice_is_name(struct slice a); /* ASCII letters, digits, '-' and '_'; not empty */
char *slice_dup(struct slice a);    /* heap copy with a NUL behind it */
/* Same result in the same time whatever the bytes are; for secrets. Lengths may leak. */
bool slice_eq_secret(struct slice a, struct slice b);

/* Decimal integers: the whole slice must be one number within int64; false otherwise. */
bool slice_to_int64(struct slice a, int64_t *out);

/* Valid UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool utf8_is_valid(struct slice a);
/* Number of code points of a valid UTF-8 text. */
size_t utf8_length(struct slice a);
/* True when the text has a C0/C1 control character or DEL. */
bool utf8_has_control(struct slice a);
/* Bytes of the text that are not UTF-8 become '?'. */
void utf8_mend(char *text);

/* Writes the shortest printable form of untrusted bytes: control characters and bytes that are not
 * UTF-8 become '?'. Cuts at `size`, always terminates. Returns out. */
char *slice_printable(struct slice a, char *out, size_t size);

#endif
