"""The scripts of registered services against a real redis-server with conf/redis.conf."""
import time
import unittest

from coordinator_redis import ROOT, RedisError, Server

KEY = "saga:services"
A, B = "order tcp://10.0.0.7:9002", "order tcp://10.0.0.8:9002"


def setUpModule():
    global server, redis
    server = Server()
    redis = server.client


def tearDownModule():
    redis.close()
    server.stop()


def run(name, keys, args):
    with open("%s/lua/%s.lua" % (ROOT, name), "rb") as file:
        return redis("EVAL", file.read(), len(keys), *keys, *args)


def register(member, lease=60000, most=100):
    return run("participant/service_register", [KEY], [member, lease, most])


def listed(most=100):
    reply = run("coordinator/service_list", [KEY], [most])
    return reply[1], dict(zip(reply[2::2], reply[3::2]))


class Services(unittest.TestCase):
    def setUp(self):
        redis("FLUSHALL")

    def wait_until_gone(self, member):
        end = time.monotonic() + 10
        while member.encode() in listed()[1]:
            self.assertLess(time.monotonic(), end)

    def test_a_registered_instance_is_listed_with_the_rest_of_its_lease(self):
        self.assertEqual(register(A)[0], b"OK")
        count, found = listed()
        self.assertEqual((count, list(found)), (1, [A.encode()]))
        self.assertTrue(59000 < found[A.encode()] <= 60000, found)

    def test_times_are_those_of_redis(self):
        now = register(A)[1]
        seconds, _ = redis("TIME")
        self.assertLess(abs(now - int(seconds) * 1000), 2000)
        self.assertEqual(int(redis("ZSCORE", KEY, A)), now + 60000)

    def test_repeating_renews_the_lease_and_changes_nothing_else(self):
        register(A, lease=1000)
        register(A, lease=60000)
        count, found = listed()
        self.assertEqual(count, 1)
        self.assertGreater(found[A.encode()], 50000)

    def test_a_lease_that_ended_is_not_listed_and_goes_with_the_next_registration(self):
        register(A, lease=30)
        self.wait_until_gone(A)
        self.assertEqual(redis("ZCARD", KEY), 1)
        register(B)
        self.assertEqual(redis("ZRANGE", KEY, 0, -1), [B.encode()])

    def test_removal(self):
        register(A)
        register(B)
        self.assertEqual(run("participant/service_remove", [KEY], [A]), 1)
        self.assertEqual(run("participant/service_remove", [KEY], [A]), 0)
        self.assertEqual(list(listed()[1]), [B.encode()])

    def test_number_of_members_is_bounded_but_renewing_goes_on(self):
        self.assertEqual(register(A, most=1)[0], b"OK")
        self.assertEqual(register(B, most=1)[0], b"FULL")
        self.assertEqual(register(A, most=1)[0], b"OK")
        self.assertEqual(listed()[0], 1)

    def test_the_list_is_sorted_and_bounded(self):
        for port in range(9, 0, -1):
            register("s tcp://h:%d" % port)
        count, found = listed()
        self.assertEqual(list(found), sorted(found))
        count, found = listed(most=3)
        self.assertEqual((count, len(found)), (9, 3))

    def test_nothing_is_registered_at_first(self):
        self.assertEqual(listed(), (0, {}))

    def test_bad_arguments_are_refused_and_nothing_is_written(self):
        for member in ("", "order", "order 10.0.0.7:9002", "a b tcp://h:1", "order TCP://h:1"):
            with self.assertRaises(RedisError):
                register(member)
        for args in ([A, 0, 10], [A, "x", 10], [A, 10], [A, 10, "x"]):
            with self.assertRaises(RedisError):
                run("participant/service_register", [KEY], args)
        with self.assertRaises(RedisError):
            run("participant/service_remove", [KEY], [])
        with self.assertRaises(RedisError):
            run("coordinator/service_list", [KEY], ["x"])
        self.assertEqual(redis("EXISTS", KEY), 0)


if __name__ == "__main__":
    unittest.main()
