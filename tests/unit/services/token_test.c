#include "services/common/token.h"

#include <jwt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char secret[] = "a secret of more than thirty-two characters";
static const char other[] = "another secret of more than 32 characters";
static const int64_t now_s = 1700000000;

static enum err verify_at(const char *token, int64_t at_s, int64_t *uid, struct reason *reason)
{
    reason->text[0] = '\0';
    return token_verify(secret, token, at_s, uid, reason);
}

static void assert_denied(const char *token, int64_t at_s, const char *part)
{
    struct reason reason;
    int64_t uid = 0;
    assert_int_equal(verify_at(token, at_s, &uid, &reason), ERR_DENIED);
    if (!strstr(reason.text, part)) {
        fail_msg("reason is '%s', wanted '%s' in it", reason.text, part);
    }
}

static void signed_token_tells_its_user_for_a_day(void **state)
{
    (void)state;
    struct reason reason;
    int64_t uid = 0;
    char *token = token_sign(secret, 42, now_s);
    assert_int_equal(verify_at(token, now_s, &uid, &reason), ERR_OK);
    assert_int_equal(uid, 42);
    assert_int_equal(verify_at(token, now_s + TOKEN_LIFE_S - 1, &uid, &reason), ERR_OK);
    assert_denied(token, now_s + TOKEN_LIFE_S, "expired");
    free(token);
}

static void large_user_ids_come_back_unharmed(void **state)
{
    (void)state;
    struct reason reason;
    int64_t uid = 0;
    char *token = token_sign(secret, INT64_C(9007199254740993), now_s);
    assert_int_equal(verify_at(token, now_s, &uid, &reason), ERR_OK);
    assert_int_equal(uid, INT64_C(9007199254740993));
    free(token);
}

static void clocks_may_differ_by_a_minute(void **state)
{
    (void)state;
    struct reason reason;
    int64_t uid = 0;
    char *token = token_sign(secret, 1, now_s);
    assert_int_equal(verify_at(token, now_s - 60, &uid, &reason), ERR_OK);
    assert_denied(token, now_s - 61, "not valid");
    free(token);
}

static void other_secrets_and_changed_tokens_are_refused(void **state)
{
    (void)state;
    char *token = token_sign(other, 1, now_s);
    assert_denied(token, now_s, "signature is wrong");
    free(token);
    token = token_sign(secret, 1, now_s);
    for (char *at = token; *at; at++) {
        char kept = *at;
        *at = kept == 'A' ? 'B' : 'A';
        struct reason reason;
        int64_t uid = 0;
        /* The last character of a part has bits that do not count. */
        if (at[1] != '\0' && at[1] != '.' && kept != '.') {
            assert_int_equal(verify_at(token, now_s, &uid, &reason), ERR_DENIED);
        }
        *at = kept;
    }
    free(token);
}

/* A token with these claims (a JSON object), signed as told. */
static char *forge(jwt_alg_t alg, const char *key, const char *claims)
{
    jwt_t *jwt = NULL;
    assert_int_equal(jwt_new(&jwt), 0);
    assert_int_equal(jwt_add_grants_json(jwt, claims), 0);
    assert_int_equal(jwt_set_alg(jwt, alg, (const unsigned char *)key, key ? (int)strlen(key) : 0),
                     0);
    char *token = jwt_encode_str(jwt);
    assert_non_null(token);
    jwt_free(jwt);
    return token;
}

#define GOOD_CLAIMS "{\"uid\":1,\"iat\":1700000000,\"exp\":1700086400}"

static void other_algorithms_are_refused(void **state)
{
    (void)state;
    const jwt_alg_t algs[] = {JWT_ALG_HS384, JWT_ALG_HS512, JWT_ALG_NONE};
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        char *token = forge(algs[i], algs[i] == JWT_ALG_NONE ? NULL : secret, GOOD_CLAIMS);
        assert_denied(token, now_s, "");
        free(token);
    }
    char *token = forge(JWT_ALG_HS256, secret, GOOD_CLAIMS);
    struct reason reason;
    int64_t uid = 0;
    assert_int_equal(verify_at(token, now_s, &uid, &reason), ERR_OK);
    free(token);
}

static void alg_none_written_by_hand_is_refused(void **state)
{
    (void)state;
    /* {"alg":"none","typ":"JWT"}, {"alg":"NONE"} and {} with the claims of above, no signature */
    assert_denied("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0."
                  "eyJ1aWQiOjEsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDg2NDAwfQ.",
                  now_s, "");
    assert_denied("eyJhbGciOiJOT05FIn0."
                  "eyJ1aWQiOjEsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDg2NDAwfQ.",
                  now_s, "");
    assert_denied("e30.eyJ1aWQiOjEsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDg2NDAwfQ.", now_s, "");
}

static void claims_that_are_missing_or_no_integers_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *claims, *part;
    } cases[] = {
        {"{\"iat\":1700000000,\"exp\":1700086400}", "'uid'"},
        {"{\"uid\":1,\"exp\":1700086400}", "'iat'"},
        {"{\"uid\":1,\"iat\":1700000000}", "'exp'"},
        {"{\"uid\":\"1\",\"iat\":1700000000,\"exp\":1700086400}", "not valid"},
        {"{\"uid\":1.5,\"iat\":1700000000,\"exp\":1700086400}", "not valid"},
        {"{\"uid\":1,\"iat\":\"now\",\"exp\":1700086400}", "not valid"},
        {"{\"uid\":1,\"iat\":1700000000,\"exp\":\"never\"}", "expired"},
        {"{\"uid\":0,\"iat\":1700000000,\"exp\":1700086400}", "not valid"},
        {"{\"uid\":-1,\"iat\":1700000000,\"exp\":1700086400}", "not valid"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *token = forge(JWT_ALG_HS256, secret, cases[i].claims);
        assert_denied(token, now_s, cases[i].part);
        free(token);
    }
}

static void garbage_is_refused(void **state)
{
    (void)state;
    const char *const texts[] = {"",
                                 ".",
                                 "..",
                                 "...",
                                 "a.b.c",
                                 "\xff\xfe.\x01.\x02",
                                 "e30",
                                 "e30.",
                                 "e30.e30.e30",
                                 "eyJhbGciOiJIUzI1NiJ9..",
                                 "eyJhbGciOiJIUzI1NiJ9.e30."};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_denied(texts[i], now_s, "malformed");
    }
    size_t size = 100000;
    char *large = malloc(size);
    assert_non_null(large);
    memset(large, 'e', size);
    large[size - 1] = '\0';
    assert_denied(large, now_s, "malformed");
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signed_token_tells_its_user_for_a_day),
        cmocka_unit_test(large_user_ids_come_back_unharmed),
        cmocka_unit_test(clocks_may_differ_by_a_minute),
        cmocka_unit_test(other_secrets_and_changed_tokens_are_refused),
        cmocka_unit_test(other_algorithms_are_refused),
        cmocka_unit_test(alg_none_written_by_hand_is_refused),
        cmocka_unit_test(claims_that_are_missing_or_no_integers_are_refused),
        cmocka_unit_test(garbage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
