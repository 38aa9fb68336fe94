/* Users' tokens: JWT, HS256 only (RFC 7519), claims uid, iat, exp. */
#ifndef SERVICES_COMMON_TOKEN_H
#define SERVICES_COMMON_TOKEN_H

#include "base/err.h"
#include "base/slice.h"

enum { TOKEN_LIFE_S = 86400 };

/* A signed token for `uid`, valid from `now_s` (seconds since 1970) for TOKEN_LIFE_S. Heap, free().
 */
char *token_sign(const char *secret, int64_t uid, int64_t now_s);

/* ERR_DENIED with a reason when the token is malformed, signed by another secret or algorithm
 * (`none` included), expired, not yet valid, or has no uid. */
enum err token_verify(const char *secret, const char *token, int64_t now_s, int64_t *uid,
                      struct reason *reason) MUST_CHECK;

#endif
