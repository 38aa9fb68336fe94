/*
 * What the messages of saga.proto look like in C: one table per message, from which decoding,
 * encoding, checks and the names in error texts all follow. Internal to wire/.
 *
 * Why a table over nanopb's primitives and not its generated structs: distributions build nanopb
 * with 16-bit sizes, which would cap every payload at 64 KiB, and its pointer fields cost an
 * allocation each. Field numbers come from the generated header, so they cannot drift; the unit
 * test compares both codecs.
 */
#ifndef WIRE_SHAPE_H
#define WIRE_SHAPE_H

#include "wire/message.h"

enum field_type {
    FIELD_TEXT,    /* struct slice, UTF-8 */
    FIELD_BYTES,   /* struct slice */
    FIELD_UINT32,  /* uint32_t */
    FIELD_INT63,   /* int64_t, uint64 on the wire, never negative */
    FIELD_BOOL,    /* bool */
    FIELD_ENUM,    /* an enum; numbers above `max` read as 0 */
    FIELD_MESSAGE, /* embedded struct of shape `sub` */
    FIELD_LIST,    /* pointer to structs of shape `sub`; size_t count at `count_offset` */
    FIELD_INDICES, /* uint8_t *, repeated uint32 on the wire; size_t count at `count_offset` */
};

struct field {
    uint32_t tag;
    enum field_type type;
    const char *name; /* as in saga.proto */
    size_t offset;
    size_t max; /* of an enum's number, a list's count, or the count of indices, all below it */
    const struct shape *sub;
    size_t count_offset;
};

struct shape {
    const struct field *fields;
    size_t field_count;
    size_t size; /* of the struct */
};

/* The bodies of a Frame, all at WIRE_BODY_OFFSET of struct wire_message. */
struct shape_body {
    enum wire_kind kind;
    uint32_t tag;
    const struct shape *shape;
};
#define WIRE_BODY_OFFSET offsetof(struct wire_message, hello)

/* NULL when unknown. */
const struct field *shape_field(const struct shape *shape, uint32_t tag);
const struct shape_body *shape_body_of_tag(uint32_t tag);
const struct shape_body *shape_body_of_kind(enum wire_kind kind);

#endif
