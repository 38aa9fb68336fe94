#include "services/common/token.h"

#include "base/check.h"
#include "base/mem.h"

#include <errno.h>
#include <jwt.h>
#include <stdlib.h>
#include <string.h>

char *token_sign(const char *secret, int64_t uid, int64_t now_s)
{
    jwt_t *jwt = NULL;
    check(jwt_new(&jwt) == 0);
    check(jwt_add_grant_int(jwt, "uid", (long)uid) == 0);
    check(jwt_add_grant_int(jwt, "iat", (long)now_s) == 0);
    check(jwt_add_grant_int(jwt, "exp", (long)(now_s + TOKEN_LIFE_S)) == 0);
    check(jwt_set_alg(jwt, JWT_ALG_HS256, (const unsigned char *)secret, (int)strlen(secret)) == 0);
    char *encoded = jwt_encode_str(jwt);
    jwt_free(jwt);
    char *text = mem_strdup(encoded);
    free(encoded);
    return text;
}

/* An integer claim; ERR_DENIED when it is absent. One of another type reads as 0, which none of the
 * checks lets pass. */
static enum err read_claim(jwt_t *jwt, const char *name, int64_t *out, struct reason *reason)
{
    errno = 0;
    *out = jwt_get_grant_int(jwt, name);
    return errno == 0 ? ERR_OK : reason_set(reason, ERR_DENIED, "token has no claim '%s'", name);
}

static enum err check_claims(jwt_t *jwt, int64_t now_s, int64_t *uid, struct reason *reason)
{
    /* jwt_decode with a key accepts every HMAC size; only ours is wanted. */
    if (jwt_get_alg(jwt) != JWT_ALG_HS256) {
        return reason_set(reason, ERR_DENIED, "token is not signed with HS256");
    }
    int64_t issued;
    int64_t expires;
    enum err err = read_claim(jwt, "exp", &expires, reason);
    if (err == ERR_OK) {
        err = read_claim(jwt, "iat", &issued, reason);
    }
    if (err == ERR_OK) {
        err = read_claim(jwt, "uid", uid, reason);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (now_s >= expires) {
        return reason_set(reason, ERR_DENIED, "token has expired: log in again");
    }
    /* A minute of tolerance between the clocks of two services. */
    if (issued < 1 || issued > now_s + 60 || *uid < 1) {
        return reason_set(reason, ERR_DENIED, "token is not valid");
    }
    return ERR_OK;
}

enum err token_verify(const char *secret, const char *token, int64_t now_s, int64_t *uid,
                      struct reason *reason)
{
    jwt_t *jwt = NULL;
    if (jwt_decode(&jwt, token, (const unsigned char *)secret, (int)strlen(secret)) != 0) {
        return reason_set(reason, ERR_DENIED, "token is malformed or its signature is wrong");
    }
    enum err err = check_claims(jwt, now_s, uid, reason);
    jwt_free(jwt);
    return err;
}
