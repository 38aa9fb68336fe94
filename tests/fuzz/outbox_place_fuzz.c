/* Any text as a value of the setting `outbox`: refused with a reason that does not repeat it, or a
 * place with keys, each with its tag in front: so no address or password is taken for a key. */
#include "fuzz.h"

#include "base/check.h"
#include "base/slice.h"
#include "coordinator/outbox_place.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outbox_place place;
    struct reason reason = {""};
    char *value = slice_dup(slice_make(data, size));
    if (outbox_place_parse("name", value, &place, &reason)) {
        check(strncmp(reason.text, "outbox.name: ", 13) == 0);
        check(place.keys == NULL && place.address == NULL);
    } else {
        check(place.key_count >= 1 && place.key_count <= OUTBOX_STREAMS_MAX);
        check(!place.address || strrchr(place.address, ':'));
        for (size_t i = 0; i < place.key_count; i++) {
            check(place.keys[i][0] == '{' && strchr(place.keys[i], '}') > place.keys[i] + 1);
        }
        outbox_place_fini(&place);
    }
    free(value);
    return 0;
}
