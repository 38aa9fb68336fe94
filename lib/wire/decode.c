#include "base/check.h"
#include "base/mem.h"
#include "wire/shape.h"

#include <pb_decode.h>
#include <saga/v1/saga.pb.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory of a decoded message: the copy of the frame (always the last of the chain), and before it
 * one block for each list. */
struct block {
    struct block *next;
    alignas(max_align_t) char bytes[];
};

struct decoder {
    struct block *blocks;
    struct reason *reason;
};

/* Where we are, for error texts: "steps[3].action". */
struct path {
    const struct path *up;
    const char *name;
    bool has_index;
    size_t index;
};

static void *block_push(struct decoder *d, size_t size)
{
    struct block *block = mem_alloc(sizeof(*block) + size);
    block->next = d->blocks;
    d->blocks = block;
    return block->bytes;
}

static void blocks_free(struct block *block)
{
    while (block) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
}

static void path_print(const struct path *path, char *out, size_t size)
{
    char up[96] = "";
    if (path->up) {
        path_print(path->up, up, sizeof(up));
    }
    const char *dot = path->up ? "." : "";
    if (path->has_index) {
        snprintf(out, size, "%s%s%s[%zu]", up, dot, path->name, path->index);
    } else {
        snprintf(out, size, "%s%s%s", up, dot, path->name);
    }
}

static enum err refuse(struct decoder *d, enum err err, const struct path *path, const char *what)
{
    char name[128];
    path_print(path, name, sizeof(name));
    return reason_set(d->reason, err, "%s: %s", name, what);
}

static enum err refuse_number(struct decoder *d, const struct path *path, uint64_t number,
                              uint64_t most)
{
    char what[96];
    snprintf(what, sizeof(what), "%llu, at most %llu allowed", (unsigned long long)number,
             (unsigned long long)most);
    return refuse(d, ERR_INVALID, path, what);
}

static enum err broken(struct decoder *d, const pb_istream_t *in)
{
    return reason_set(d->reason, ERR_PROTOCOL, "not a frame: %s", PB_GET_ERROR(in));
}

/* The value of a field as it stands on the wire. */
struct value {
    bool is_number;
    uint64_t number;
    struct slice bytes;
};

static bool read_bytes(pb_istream_t *in, struct slice whole, struct slice *out)
{
    uint32_t len = 0;
    if (!pb_decode_varint32(in, &len)) {
        return false;
    }
    *out = slice_make(whole.ptr + (whole.len - in->bytes_left), len);
    return pb_read(in, NULL, len);
}

static pb_wire_type_t wire_type_of(enum field_type type)
{
    switch (type) {
    case FIELD_TEXT:
    case FIELD_BYTES:
    case FIELD_MESSAGE:
    case FIELD_INDICES:
    case FIELD_LIST: return PB_WT_STRING;
    case FIELD_UINT32:
    case FIELD_INT63:
    case FIELD_BOOL:
    case FIELD_ENUM: break;
    }
    return PB_WT_VARINT;
}

static enum err read_value(struct decoder *d, pb_istream_t *in, struct slice whole,
                           pb_wire_type_t wire_type, const struct path *path, enum field_type type,
                           struct value *value)
{
    /* A repeated number may come packed or, from old encoders, one by one. */
    value->is_number = wire_type == PB_WT_VARINT;
    if (wire_type != wire_type_of(type) && !(type == FIELD_INDICES && value->is_number)) {
        return refuse(d, ERR_PROTOCOL, path, "wrong wire type");
    }
    bool ok = value->is_number ? pb_decode_varint(in, &value->number)
                               : read_bytes(in, whole, &value->bytes);
    return ok ? ERR_OK : broken(d, in);
}

/* How often the field comes in what is left of a message; broken bytes end the count and are
 * reported when the reader comes to them. */
static size_t count_left(pb_istream_t in, uint32_t tag)
{
    size_t n = 0;
    pb_wire_type_t wire_type;
    uint32_t seen = 0;
    bool eof = false;
    while (pb_decode_tag(&in, &wire_type, &seen, &eof) && pb_skip_field(&in, wire_type)) {
        n += seen == tag;
    }
    return n;
}

/* Makes room for the present element of a list and all that follow, at once. */
static enum err list_reserve(struct decoder *d, const struct field *field, void **items,
                             size_t count, const pb_istream_t *in, const struct path *path)
{
    size_t need = count + 1 + count_left(*in, field->tag);
    if (need > field->max) {
        return refuse_number(d, path, need, field->max);
    }
    void *bigger = block_push(d, need * field->sub->size);
    if (count > 0) {
        memcpy(bigger, *items, count * field->sub->size);
    }
    *items = bigger;
    return ERR_OK;
}

static enum err store_text(struct decoder *d, const struct path *path, struct slice text,
                           struct slice *out)
{
    if (!utf8_is_valid(text)) {
        return refuse(d, ERR_INVALID, path, "not UTF-8");
    }
    *out = text;
    return ERR_OK;
}

static enum err store_number(struct decoder *d, const struct field *field, const struct path *path,
                             uint64_t number, void *at)
{
    switch (field->type) {
    case FIELD_UINT32:
        if (number > UINT32_MAX) {
            return refuse_number(d, path, number, UINT32_MAX);
        }
        *(uint32_t *)at = (uint32_t)number;
        return ERR_OK;
    case FIELD_INT63:
        if (number > INT64_MAX) {
            return refuse_number(d, path, number, INT64_MAX);
        }
        *(int64_t *)at = (int64_t)number;
        return ERR_OK;
    case FIELD_BOOL: *(bool *)at = number != 0; return ERR_OK;
    case FIELD_ENUM: *(unsigned *)at = number <= field->max ? (unsigned)number : 0; return ERR_OK;
    case FIELD_TEXT:
    case FIELD_BYTES:
    case FIELD_MESSAGE:
    case FIELD_INDICES:
    case FIELD_LIST: break;
    }
    unreachable("not a number");
}

static enum err store_index(struct decoder *d, const struct field *field, const struct path *path,
                            uint64_t number, void *owner)
{
    uint8_t **items = (uint8_t **)(void *)((char *)owner + field->offset);
    size_t *count = (size_t *)(void *)((char *)owner + field->count_offset);
    if (number >= field->max) {
        return refuse_number(d, path, number, field->max - 1);
    }
    if (*count == field->max) {
        return refuse_number(d, path, *count + 1, field->max);
    }
    if (!*items) {
        *items = block_push(d, field->max);
    }
    (*items)[(*count)++] = (uint8_t)number;
    return ERR_OK;
}

static enum err store_indices(struct decoder *d, const struct field *field, const struct path *path,
                              const struct value *value, void *owner)
{
    if (value->is_number) {
        return store_index(d, field, path, value->number, owner);
    }
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)value->bytes.ptr, value->bytes.len);
    enum err err = ERR_OK;
    while (err == ERR_OK && in.bytes_left > 0) {
        uint64_t number = 0;
        err = pb_decode_varint(&in, &number) ? store_index(d, field, path, number, owner)
                                             : broken(d, &in);
    }
    return err;
}

static enum err decode_message(struct decoder *d, struct slice bytes, const struct shape *shape,
                               void *out, const struct path *up);

static enum err store_element(struct decoder *d, const struct field *field, struct path *path,
                              struct slice bytes, void *owner)
{
    char *items = *(char **)(void *)((char *)owner + field->offset);
    size_t *count = (size_t *)(void *)((char *)owner + field->count_offset);
    void *item = items + *count * field->sub->size;
    memset(item, 0, field->sub->size);
    path->has_index = true;
    path->index = (*count)++;
    return decode_message(d, bytes, field->sub, item, path);
}

static enum err store(struct decoder *d, const struct field *field, struct path *path,
                      const struct value *value, void *owner)
{
    void *at = (char *)owner + field->offset;
    switch (field->type) {
    case FIELD_TEXT: return store_text(d, path, value->bytes, at);
    case FIELD_BYTES: *(struct slice *)at = value->bytes; return ERR_OK;
    case FIELD_MESSAGE: return decode_message(d, value->bytes, field->sub, at, path);
    case FIELD_LIST: return store_element(d, field, path, value->bytes, owner);
    case FIELD_INDICES: return store_indices(d, field, path, value, owner);
    case FIELD_UINT32:
    case FIELD_INT63:
    case FIELD_BOOL:
    case FIELD_ENUM: break;
    }
    return store_number(d, field, path, value->number, at);
}

/* Adds to `out`: a message that comes twice is merged, as protobuf wants it. The depth of the
 * recursion is that of the shapes. */
static enum err decode_message(struct decoder *d, struct slice bytes, const struct shape *shape,
                               void *out, const struct path *up)
{
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)bytes.ptr, bytes.len);
    unsigned reserved = 0; /* a bit for each list with room for its elements */
    enum err err = ERR_OK;
    while (err == ERR_OK && in.bytes_left > 0) {
        pb_wire_type_t wire_type;
        uint32_t tag = 0;
        bool eof = false;
        if (!pb_decode_tag(&in, &wire_type, &tag, &eof)) {
            return broken(d, &in);
        }
        const struct field *field = shape_field(shape, tag);
        if (!field) {
            err = pb_skip_field(&in, wire_type) ? ERR_OK : broken(d, &in);
            continue;
        }
        struct path path = {.up = up, .name = field->name};
        struct value value = {0};
        err = read_value(d, &in, bytes, wire_type, &path, field->type, &value);
        unsigned bit = 1u << (field - shape->fields);
        if (err == ERR_OK && field->type == FIELD_LIST && !(reserved & bit)) {
            reserved |= bit;
            err = list_reserve(d, field, (void **)(void *)((char *)out + field->offset),
                               *(size_t *)(void *)((char *)out + field->count_offset), &in, &path);
        }
        err = err == ERR_OK ? store(d, field, &path, &value, out) : err;
    }
    return err;
}

/* Of several bodies the last one counts; the same one again is merged. */
static void set_kind(struct decoder *d, struct wire_message *out, enum wire_kind kind)
{
    if (out->kind == kind) {
        return;
    }
    out->kind = kind;
    memset((char *)out + WIRE_BODY_OFFSET, 0,
           offsetof(struct wire_message, memory) - WIRE_BODY_OFFSET);
    while (d->blocks->next) {
        struct block *list = d->blocks;
        d->blocks = list->next;
        free(list);
    }
}

static enum err decode_frame(struct decoder *d, struct slice frame, struct wire_message *out)
{
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)frame.ptr, frame.len);
    enum err err = ERR_OK;
    while (err == ERR_OK && in.bytes_left > 0) {
        pb_wire_type_t wire_type;
        uint32_t tag = 0;
        bool eof = false;
        if (!pb_decode_tag(&in, &wire_type, &tag, &eof)) {
            return broken(d, &in);
        }
        const struct shape_body *body = shape_body_of_tag(tag);
        bool is_id = tag == saga_v1_Frame_id_tag;
        if (!body && !is_id) {
            err = pb_skip_field(&in, wire_type) ? ERR_OK : broken(d, &in);
            continue;
        }
        struct path path = {.name = is_id ? "id" : "body"};
        struct value value = {0};
        err = read_value(d, &in, frame, wire_type, &path, is_id ? FIELD_INT63 : FIELD_MESSAGE,
                         &value);
        if (err == ERR_OK && is_id) {
            out->id = value.number;
        } else if (err == ERR_OK) {
            set_kind(d, out, body->kind);
            err = decode_message(d, value.bytes, body->shape, (char *)out + WIRE_BODY_OFFSET, NULL);
        }
    }
    return err;
}

/* What can be said of a frame that was refused: as far as its outer layer can be read. */
static struct wire_message envelope(struct slice frame)
{
    struct wire_message out = {0};
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)frame.ptr, frame.len);
    pb_wire_type_t wire_type;
    uint32_t tag = 0;
    bool eof = false;
    bool ok = true;
    while (ok && pb_decode_tag(&in, &wire_type, &tag, &eof)) {
        const struct shape_body *body = shape_body_of_tag(tag);
        out.kind = body ? body->kind : out.kind;
        ok = tag == saga_v1_Frame_id_tag && wire_type == PB_WT_VARINT
                 ? pb_decode_varint(&in, &out.id)
                 : pb_skip_field(&in, wire_type);
    }
    return out;
}

enum err wire_decode(struct slice frame, struct wire_message *out, struct reason *reason)
{
    struct decoder d = {.reason = reason};
    char *copy = block_push(&d, frame.len);
    if (frame.len > 0) {
        memcpy(copy, frame.ptr, frame.len);
    }
    *out = (struct wire_message){0};
    enum err err = decode_frame(&d, slice_make(copy, frame.len), out);
    if (err != ERR_OK) {
        blocks_free(d.blocks);
        *out = envelope(frame);
        return err;
    }
    out->memory = d.blocks;
    return ERR_OK;
}

void wire_message_fini(struct wire_message *message)
{
    blocks_free(message->memory);
    *message = (struct wire_message){0};
}
