/* Urls: what is taken, what is refused, and queries that are added. */
#include "base/buf.h"
#include "net/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_good_urls_are_split(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        int port;
        const char *path;
    } cases[] = {
        {"http://a", "a", 80, "/"},
        {"http://a/", "a", 80, "/"},
        {"HTTP://A.b-c_d:8080/x/y?z=1&w", "A.b-c_d", 8080, "/x/y?z=1&w"},
        {"http://127.0.0.1:65535?q", "127.0.0.1", 65535, "?q"},
        {"http://[::1]:80/p", "::1", 80, "/p"},
        {"http://[fe80::1]", "fe80::1", 80, "/"},
        {"http://a/x#frag?no", "a", 80, "/x"},
        {"http://a#frag", "a", 80, "/"},
        {"http://a/%41@b:c//", "a", 80, "/%41@b:c//"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_url url;
        struct reason reason = {""};
        if (http_url_parse(cases[i].url, &url, &reason) != ERR_OK) {
            fail_msg("%s", reason.text);
        }
        assert_true(slice_eq_str(url.host, cases[i].host));
        assert_int_equal(url.port, cases[i].port);
        assert_true(slice_eq_str(url.path, cases[i].path));
    }
}

static void test_bad_urls_are_refused_with_the_cause(void **state)
{
    (void)state;
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"", "must begin with http://"},
        {"a/b", "must begin with http://"},
        {"https://a/", "must begin with http://"},
        {"ftp://a/", "must begin with http://"},
        {"http:/a/", "must begin with http://"},
        {"http://", "the host is missing or malformed"},
        {"http:///x", "the host is missing or malformed"},
        {"http://:80/", "the host is missing or malformed"},
        {"http://[]/", "the host is missing or malformed"},
        {"http://[::1/", "the host is missing or malformed"},
        {"http://[zz]/", "the host is missing or malformed"},
        {"http://[::1]x/", "the host is malformed"},
        {"http://a%41/", "the host is malformed"},
        {"http://a\xC3\xA4/", "the host is malformed"},
        {"http://a:/", "the port must be 1 … 65535"},
        {"http://a:0/", "the port must be 1 … 65535"},
        {"http://a:65536/", "the port must be 1 … 65535"},
        {"http://a:99999999999999999999/", "the port must be 1 … 65535"},
        {"http://a:8x/", "the host is malformed"},
        {"http://user@a/", "a user name is not allowed"},
        {"http://a/b c", "has a space or a control character"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_url url;
        struct reason reason = {""};
        char expected[256];
        snprintf(expected, sizeof(expected), "url '%s': %s", cases[i].url, cases[i].why);
        assert_int_equal(http_url_parse(cases[i].url, &url, &reason), ERR_INVALID);
        assert_string_equal(reason.text, expected);
    }
}

static void test_queries_are_added_and_encoded(void **state)
{
    (void)state;
    static const struct {
        const char *url, *result;
    } cases[] = {
        {"http://a", "http://a?gid=a%20%26%2F%C3%A4~"},
        {"http://a/p?x=1", "http://a/p?x=1&gid=a%20%26%2F%C3%A4~"},
        {"http://a/p?", "http://a/p?gid=a%20%26%2F%C3%A4~"},
        {"http://a/p?x&", "http://a/p?x&gid=a%20%26%2F%C3%A4~"},
        {"http://a/p#f?g", "http://a/p?gid=a%20%26%2F%C3%A4~#f?g"},
        {"http://a/p?x=1#f", "http://a/p?x=1&gid=a%20%26%2F%C3%A4~#f"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf url = {0};
        buf_add_str(&url, cases[i].url);
        http_url_add_query(&url, "gid", slice_str("a &/\xC3\xA4~"));
        assert_string_equal(url.data, cases[i].result);
        buf_fini(&url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_urls_are_split),
        cmocka_unit_test(test_bad_urls_are_refused_with_the_cause),
        cmocka_unit_test(test_queries_are_added_and_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
