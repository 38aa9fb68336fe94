#include "net/dial.h"
#include "net/http.h"
#include "net/socket.h"

#include "base/clock.h"
#include "harness/wait_for.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

static void settings_that_are_addresses_are_checked_by_their_use(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool listen, call, named; /* is good for that */
    } cases[] = {
        {"127.0.0.1:80", true, true, true}, {"[::1]:80", true, true, true},
        {"h:0", true, false, true},         {"0.0.0.0:80", true, true, false},
        {"[::]:80", true, true, false},     {"unix:/x", true, true, true},
        {"unix:x", false, false, false},    {":80", false, false, false},
        {"h h:80", false, false, false},    {"h", false, false, false},
        {"", false, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address address;
        struct reason reason = {""};
        const bool good[] = {cases[i].listen, cases[i].call, cases[i].named};
        for (int use = ADDRESS_LISTEN; use <= ADDRESS_NAMED; use++) {
            enum err err =
                address_check("opt", cases[i].text, (enum address_use)use, &address, &reason);
            assert_int_equal(err, good[use] ? ERR_OK : ERR_INVALID);
            assert_true(good[use] || strncmp(reason.text, "opt = '", 7) == 0);
        }
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

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static void assert_notices_a_dead_peer(int fd)
{
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_in_range(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 1, 30);
    assert_in_range(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 1, 10);
    assert_in_range(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 2, 5);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 10000);
}

static void on_dialled(void *arg, enum err err, int fd, const char *why)
{
    (void)why;
    assert_int_equal(err, ERR_OK);
    *(int *)arg = fd;
}

static void a_peer_that_lost_power_is_noticed(void **state)
{
    (void)state;
    struct reason reason;
    int listener = socket_listen("127.0.0.1:0", false, &reason);
    assert_true(listener >= 0);
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", socket_port(listener));
    struct loop *loop = loop_new();
    int dialled = -1;
    (void)dial_start(loop, address, 10000, on_dialled, &dialled);
    for (int64_t end_ms = clock_mono_ms() + 20000; dialled < 0 && clock_mono_ms() < end_ms;) {
        loop_turn(loop, 20);
    }
    assert_true(dialled >= 0);
    assert_notices_a_dead_peer(dialled);
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    socket_set_tcp(accepted);
    assert_notices_a_dead_peer(accepted);
    close(accepted);
    close(dialled);
    close(listener);
    loop_free(loop);
}

static void a_unix_socket_is_left_alone(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    socket_set_tcp(pair[0]);
    assert_int_equal(option_of(pair[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(write(pair[0], "x", 1), 1);
    close(pair[0]);
    close(pair[1]);
}

static void keep_request(void *arg, struct http_request *request)
{
    *(struct http_request **)arg = request;
}

/* The kernel tells nothing about it but the family. */
static void an_http_client_of_a_unix_socket_is_called_by_its_path(void **state)
{
    (void)state;
    enum { WAIT_MS = 10000 };
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct reason reason;
    struct http_request *request = NULL;
    char dir[] = "/tmp/sagad-http-XXXXXX", address[64];
    static const char get[] = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    assert_non_null(mkdtemp(dir));
    snprintf(address, sizeof(address), "unix:%s/s", dir);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5);
    struct loop *loop = loop_new();
    struct http_server_conf conf = {.address = address, .header_max = 1000, .timeout_ms = WAIT_MS};
    struct http_server *server = http_server_open(loop, &conf, keep_request, &request, &reason);
    assert_non_null(server);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const void *)&un, sizeof(un)), 0);
    assert_int_equal(send(fd, get, sizeof(get) - 1, 0), sizeof(get) - 1);
    wait_for(loop, request);
    assert_string_equal(http_request_peer(request), address);
    close(fd);
    http_server_free(server);
    loop_free(loop);
    unlink(un.sun_path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(wrong_addresses_are_refused_with_what_is_allowed),
        cmocka_unit_test(settings_that_are_addresses_are_checked_by_their_use),
        cmocka_unit_test(addresses_are_printed),
        cmocka_unit_test(listening_twice_on_a_port_says_why_not),
        cmocka_unit_test(workers_share_a_port),
        cmocka_unit_test(a_socket_file_is_replaced_only_when_nobody_listens),
        cmocka_unit_test(a_peer_that_lost_power_is_noticed),
        cmocka_unit_test(a_unix_socket_is_left_alone),
        cmocka_unit_test(an_http_client_of_a_unix_socket_is_called_by_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
