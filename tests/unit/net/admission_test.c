#include "net/admission.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

union any_addr {
    struct sockaddr addr;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

static union any_addr from(const char *text)
{
    union any_addr out;
    memset(&out, 0, sizeof(out));
    if (strchr(text, ':')) {
        out.v6.sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &out.v6.sin6_addr), 1);
    } else if (text[0] == '\0') {
        out.un.sun_family = AF_UNIX;
    } else {
        out.v4.sin_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &out.v4.sin_addr), 1);
    }
    return out;
}

static struct admission_pass enter(struct admission *admission, const char *text)
{
    union any_addr addr = from(text);
    return admission_enter(admission, &addr.addr);
}

static void a_client_over_its_limit_is_refused_and_others_are_not(void **state)
{
    (void)state;
    struct admission a;
    admission_init(&a, 10, 2);
    struct admission_pass first = enter(&a, "10.0.0.1"), second = enter(&a, "10.0.0.1");
    struct admission_pass third = enter(&a, "10.0.0.1"), other = enter(&a, "10.0.0.2");
    assert_int_equal(first.verdict, ADMISSION_IN);
    assert_int_equal(second.verdict, ADMISSION_IN);
    assert_int_equal(third.verdict, ADMISSION_CLIENT_FULL);
    assert_int_equal(other.verdict, ADMISSION_IN);
    assert_int_equal(a.count, 3);
    assert_int_equal(a.refused, 1);
    admission_leave(&a, &third);
    admission_leave(&a, &first);
    first = enter(&a, "10.0.0.1");
    assert_int_equal(first.verdict, ADMISSION_IN);
    admission_leave(&a, &first);
    admission_leave(&a, &second);
    admission_leave(&a, &other);
    assert_null(a.clients); /* nothing is kept of those who have left */
    assert_int_equal(a.count + a.tells, 0);
}

/* Whether two connections count for one client. */
static bool is_one_client(const char *one, const char *two)
{
    struct admission a;
    admission_init(&a, 10, 1);
    struct admission_pass first = enter(&a, one), second = enter(&a, two);
    bool refused = second.verdict == ADMISSION_CLIENT_FULL;
    admission_leave(&a, &first);
    admission_leave(&a, &second);
    return refused;
}

static void what_one_client_is(void **state)
{
    (void)state;
    assert_true(is_one_client("10.0.0.1", "10.0.0.1"));
    assert_false(is_one_client("10.0.0.1", "10.0.0.2"));
    assert_true(is_one_client("2001:db8:1:2::1", "2001:db8:1:2:ffff::7"));
    assert_false(is_one_client("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert_true(is_one_client("10.0.0.1", "::ffff:10.0.0.1"));
    assert_false(is_one_client("::ffff:10.0.0.2", "::ffff:10.0.0.1"));
    assert_false(is_one_client("", "")); /* unix sockets */
}

static void the_limit_of_all_comes_first_and_refusals_are_bounded(void **state)
{
    (void)state;
    struct admission a;
    struct admission_pass told[ADMISSION_TELLS_MAX];
    admission_init(&a, 1, 1);
    struct admission_pass in = enter(&a, "10.0.0.1");
    for (int i = 0; i < ADMISSION_TELLS_MAX; i++) {
        assert_false(admission_is_shut(&a));
        told[i] = enter(&a, "10.0.0.1");
        assert_int_equal(told[i].verdict, ADMISSION_FULL);
    }
    assert_true(admission_is_shut(&a));
    assert_int_equal(enter(&a, "10.0.0.1").verdict, ADMISSION_AWAY);
    assert_int_equal(a.refused, ADMISSION_TELLS_MAX + 1);
    admission_leave(&a, &in);
    assert_false(admission_is_shut(&a));
    in = enter(&a, "10.0.0.1");
    assert_int_equal(in.verdict, ADMISSION_IN);
    admission_leave(&a, &in);
    for (int i = 0; i < ADMISSION_TELLS_MAX; i++) {
        admission_leave(&a, &told[i]);
    }
    assert_int_equal(a.count + a.tells, 0);
}

static void without_a_limit_of_its_own_a_client_takes_all(void **state)
{
    (void)state;
    struct admission a;
    struct admission_pass passes[50];
    admission_init(&a, 50, 0);
    for (int i = 0; i < 50; i++) {
        passes[i] = enter(&a, "10.0.0.1");
        assert_int_equal(passes[i].verdict, ADMISSION_IN);
    }
    for (int i = 0; i < 50; i++) {
        admission_leave(&a, &passes[i]);
    }
    assert_null(a.clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_over_its_limit_is_refused_and_others_are_not),
        cmocka_unit_test(what_one_client_is),
        cmocka_unit_test(the_limit_of_all_comes_first_and_refusals_are_bounded),
        cmocka_unit_test(without_a_limit_of_its_own_a_client_takes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
