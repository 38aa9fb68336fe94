#include "base/check.h"
#include "wire/shape.h"

#include <pb_encode.h>
#include <saga/v1/saga.pb.h>

/*
 * The same functions measure and write: a nanopb stream without a buffer only counts. They cannot
 * fail, since the buffer is as large as was measured; wire_encode checks that at its end.
 */
static void put_message(pb_ostream_t *out, const struct shape *shape, const void *message);

static size_t message_size(const struct shape *shape, const void *message)
{
    pb_ostream_t sizing = PB_OSTREAM_SIZING;
    put_message(&sizing, shape, message);
    return sizing.bytes_written;
}

static void put_number(pb_ostream_t *out, uint32_t tag, uint64_t number)
{
    if (number != 0) {
        (void)pb_encode_tag(out, PB_WT_VARINT, tag);
        (void)pb_encode_varint(out, number);
    }
}

static void put_bytes(pb_ostream_t *out, uint32_t tag, struct slice bytes)
{
    if (bytes.len > 0) {
        (void)pb_encode_tag(out, PB_WT_STRING, tag);
        (void)pb_encode_string(out, (const pb_byte_t *)bytes.ptr, bytes.len);
    }
}

static void put_nested(pb_ostream_t *out, uint32_t tag, const struct shape *shape,
                       const void *message, size_t size)
{
    (void)pb_encode_tag(out, PB_WT_STRING, tag);
    (void)pb_encode_varint(out, size);
    put_message(out, shape, message);
}

static void put_list(pb_ostream_t *out, const struct field *field, const void *owner)
{
    const char *items = *(const char *const *)(const void *)((const char *)owner + field->offset);
    size_t count = *(const size_t *)(const void *)((const char *)owner + field->count_offset);
    for (size_t i = 0; i < count; i++) {
        const void *item = items + i * field->sub->size;
        put_nested(out, field->tag, field->sub, item, message_size(field->sub, item));
    }
}

/* Packed, as proto3 wants it: each index is a varint of one byte. */
static void put_indices(pb_ostream_t *out, const struct field *field, const void *owner)
{
    const uint8_t *items =
        *(const uint8_t *const *)(const void *)((const char *)owner + field->offset);
    size_t count = *(const size_t *)(const void *)((const char *)owner + field->count_offset);
    put_bytes(out, field->tag, slice_make((const char *)items, count));
}

static void put_field(pb_ostream_t *out, const struct field *field, const void *owner)
{
    const void *at = (const char *)owner + field->offset;
    switch (field->type) {
    case FIELD_TEXT:
    case FIELD_BYTES: put_bytes(out, field->tag, *(const struct slice *)at); return;
    case FIELD_UINT32: put_number(out, field->tag, *(const uint32_t *)at); return;
    case FIELD_INT63: put_number(out, field->tag, (uint64_t)(*(const int64_t *)at)); return;
    case FIELD_BOOL: put_number(out, field->tag, *(const bool *)at); return;
    case FIELD_ENUM: put_number(out, field->tag, *(const unsigned *)at); return;
    case FIELD_MESSAGE: {
        size_t size = message_size(field->sub, at);
        if (size > 0) {
            put_nested(out, field->tag, field->sub, at, size);
        }
        return;
    }
    case FIELD_LIST: put_list(out, field, owner); return;
    case FIELD_INDICES: put_indices(out, field, owner); return;
    }
}

static void put_message(pb_ostream_t *out, const struct shape *shape, const void *message)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        put_field(out, &shape->fields[i], message);
    }
}

static void put_frame(pb_ostream_t *out, const struct wire_message *message,
                      const struct shape_body *body, size_t body_size)
{
    put_number(out, saga_v1_Frame_id_tag, message->id);
    if (body) {
        put_nested(out, body->tag, body->shape, (const char *)message + WIRE_BODY_OFFSET,
                   body_size);
    }
}

void wire_encode(struct buf *out, const struct wire_message *message)
{
    const struct shape_body *body = shape_body_of_kind(message->kind);
    check(body || message->kind == WIRE_NONE);
    size_t body_size =
        body ? message_size(body->shape, (const char *)message + WIRE_BODY_OFFSET) : 0;
    pb_ostream_t sizing = PB_OSTREAM_SIZING;
    put_frame(&sizing, message, body, body_size);

    enum { HEAD_MAX = 10 };
    size_t room = HEAD_MAX + sizing.bytes_written;
    pb_ostream_t stream = pb_ostream_from_buffer((pb_byte_t *)buf_reserve(out, room), room);
    bool ok = pb_encode_varint(&stream, sizing.bytes_written);
    size_t head = stream.bytes_written;
    put_frame(&stream, message, body, body_size);
    check(ok && stream.bytes_written == head + sizing.bytes_written);
    buf_grow(out, stream.bytes_written);
}
