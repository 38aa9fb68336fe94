#include "net/quota.h"

const char quota_text[] = "too much memory is taken by requests and answers; try again later";

bool quota_set(struct quota_share *share, size_t bytes)
{
    struct quota *quota = share->quota;
    if (!quota) {
        return true;
    }
    size_t counted = bytes > QUOTA_FREE ? bytes - QUOTA_FREE : 0;
    quota->used = quota->used - share->counted + counted;
    share->counted = counted;
    return counted == 0 || quota->used <= quota->max;
}
