/* Any bytes into the JSON reader. What it takes must survive being written and read again. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "wire/json.h"

#include <stdlib.h>
#include <string.h>

static void write_value(struct json_writer *w, const char *name, const struct json *value);

static void write_members(struct json_writer *w, const struct json *value)
{
    for (const struct json *m = json_first(value); m; m = json_next(m)) {
        struct slice name = json_name(m);
        if (name.ptr) {
            check(!json_get(value, name.ptr) || json_get(value, name.ptr) == m);
        }
        write_value(w, name.ptr, m);
    }
}

static void write_number(struct json_writer *w, const char *name, const struct json *value)
{
    struct buf text = {0};
    struct json_writer one;
    json_writer_init(&one, &text);
    json_put_double(&one, NULL, json_double(value));
    json_put_raw(w, name, buf_slice(&text));
    buf_fini(&text);
}

static void write_value(struct json_writer *w, const char *name, const struct json *value)
{
    if (json_is_object(value)) {
        json_open_object(w, name);
        write_members(w, value);
        json_close_object(w);
    } else if (json_is_array(value)) {
        json_open_array(w, name);
        write_members(w, value);
        json_close_array(w);
    } else if (json_is_string(value)) {
        check(utf8_is_valid(json_string(value)));
        json_put_string(w, name, json_string(value));
    } else if (json_is_number(value)) {
        write_number(w, name, value);
    } else if (json_is_bool(value)) {
        json_put_bool(w, name, json_bool(value));
    } else {
        json_put_null(w, name);
    }
}

static void write_document(struct buf *out, const struct json *root)
{
    struct json_writer w;
    json_writer_init(&w, out);
    write_value(&w, NULL, root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root = NULL;
    struct reason reason = {""};
    if (json_parse(slice_make(data, size), &root, &reason) != ERR_OK) {
        check(!root && reason.text[0] && utf8_is_valid(slice_str(reason.text)));
        return 0;
    }
    struct buf first = {0};
    struct buf second = {0};
    write_document(&first, root);
    json_free(root);
    check(json_parse(buf_slice(&first), &root, &reason) == ERR_OK);
    write_document(&second, root);
    json_free(root);
    check(slice_eq(buf_slice(&first), buf_slice(&second)));
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
