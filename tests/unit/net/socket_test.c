#include "net/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        int port;
        bool is_unix;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1", 80, false}, {"localhost:0", "localhost", 0, false},
        {"[::1]:36789", "::1", 36789, false},     {":65535", "", 65535, false},
        {"unix:/run/a:b", "/run/a:b", 0, true},   {"a.example.org:9", "a.example.org", 9, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address address;
        struct reason reason;
        assert_int_equal(address_parse(cases[i].text, &address, &reason), ERR_OK);
        assert_string_equal(address.host, cases[i].host);
        assert_int_equal(address.port, cases[i].port);
        assert_int_equal(address.is_unix, cases[i].is_unix);
    }
}

static void wrong_addresses_are_refused_with_what_is_allowed(void **state)
{
    (void)state;
    char long_path[300] = "unix:/";
    memset(long_path + 6, 'a', 200);
    char long_host[400] = "";
    memset(long_host, 'h', 300);
    memcpy(long_host + 300, ":1", 3);
    const char *cases[] = {"",      "localhost", "a:65536", "a:-1",  "a:1x",
                           "a:",    "::1:80",    "[::1:80", "[]:80", "[::1]80",
                           "unix:", long_path,   long_host, "a\nb:1"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address address;
        struct reason reason = {""};
        assert_int_equal(address_parse(cases[i], &address, &reason), ERR_INVALID);
        assert_true(strstr(reason.text, "allowed:") || strstr(reason.text, "needs a path"));
    }
}

static void addresses_are_printed(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_SIZE];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(4711)};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_string_equal(address_format((const void *)&v4, text), "127.0.0.1:4711");
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    v6.sin6_addr = in6addr_loopback;
    assert_string_equal(address_format((const void *)&v6, text), "[::1]:80");
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
    assert_string_equal(address_format((const void *)&un, text), "unix:/tmp/x");
}

static void listening_twice_on_a_port_says_why_not(void **state)
{
    (void)state;
    struct reason reason;
    int fd = socket_listen("127.0.0.1:0", false, &reason);
    assert_true(fd >= 0);
    char same[64];
    snprintf(same, sizeof(same), "127.0.0.1:%d", socket_port(fd));
    assert_int_equal(socket_listen(same, false, &reason), -1);
    assert_non_null(strstr(reason.text, same));
    assert_non_null(strstr(reason.text, "in use"));
    close(fd);
}

static void workers_share_a_port(void **state)
{
    (void)state;
    struct reason reason;
    int first = socket_listen("127.0.0.1:0", true, &reason);
    char same[64];
    snprintf(same, sizeof(same), "127.0.0.1:%d", socket_port(first));
    int second = socket_listen(same, true, &reason);
    assert_true(first >= 0 && second >= 0);
    close(first);
    close(second);
}

static void a_socket_file_is_replaced_only_when_nobody_listens(void **state)
{
    (void)state;
    char dir[] = "/tmp/sagad-socket-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char address[64];
    snprintf(address, sizeof(address), "unix:%s/s", dir);
    struct reason reason;
    int first = socket_listen(address, false, &reason);
    assert_true(first >= 0);
    assert_int_equal(socket_listen(address, false, &reason), -1);
    assert_non_null(strstr(reason.text, "in use"));
    close(first); /* the file stays, as after kill -9 */
    int second = socket_listen(address, false, &reason);
    assert_true(second >= 0);
    close(second);
    unlink(address + 5);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(wrong_addresses_are_refused_with_what_is_allowed),
        cmocka_unit_test(addresses_are_printed),
        cmocka_unit_test(listening_twice_on_a_port_says_why_not),
        cmocka_unit_test(workers_share_a_port),
        cmocka_unit_test(a_socket_file_is_replaced_only_when_nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
