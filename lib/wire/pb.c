/* Messages with a generated nanopb struct of their own (proto/mall). */
#include "base/check.h"
#include "wire/message.h"

#include <pb_common.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

/* nanopb keeps strings as C strings and looks at none of their bytes. The struct was zeroed, so a
 * byte behind the terminator means that the text had a NUL inside. */
static bool string_is_clean(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    for (size_t i = len; i < size; i++) {
        if (text[i] != '\0') {
            return false;
        }
    }
    return utf8_is_valid(slice_make(text, len));
}

static bool strings_are_clean(const pb_msgdesc_t *fields, const void *message);

static bool value_is_clean(const pb_field_iter_t *field, const char *value)
{
    if (PB_LTYPE(field->type) == PB_LTYPE_STRING) {
        return string_is_clean(value, field->data_size);
    }
    return !PB_LTYPE_IS_SUBMSG(field->type) || strings_are_clean(field->submsg_desc, value);
}

/* Static members only, so a count is that of the array or one. */
static bool strings_are_clean(const pb_msgdesc_t *fields, const void *message)
{
    pb_field_iter_t field;
    bool more = pb_field_iter_begin_const(&field, fields, message);
    for (; more; more = pb_field_iter_next(&field)) {
        check(PB_ATYPE(field.type) == PB_ATYPE_STATIC);
        bool repeated = PB_HTYPE(field.type) == PB_HTYPE_REPEATED;
        size_t count = repeated ? *(const pb_size_t *)field.pSize : 1;
        for (size_t i = 0; i < count; i++) {
            if (!value_is_clean(&field, (const char *)field.pData + i * field.data_size)) {
                return false;
            }
        }
    }
    return true;
}

enum err wire_pb_decode(const void *fields, void *message, struct slice bytes)
{
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)bytes.ptr, bytes.len);
    bool ok = pb_decode(&in, fields, message) && strings_are_clean(fields, message);
    return ok ? ERR_OK : ERR_INVALID;
}

void wire_pb_encode(const void *fields, const void *message, struct buf *out)
{
    size_t size = 0;
    bool sized = pb_get_encoded_size(&size, fields, message);
    check(sized);
    pb_ostream_t stream = pb_ostream_from_buffer((pb_byte_t *)buf_reserve(out, size), size);
    bool ok = pb_encode(&stream, fields, message);
    check(ok && stream.bytes_written == size);
    buf_grow(out, size);
}
