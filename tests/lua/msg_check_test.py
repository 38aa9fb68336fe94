"""lua/barrier/msg_check.lua by itself; with the gate in front of a change it is msg_test.c."""
import unittest

from coordinator_redis import ROOT, RedisError, Server

KEY = "{s:1}:br:gid:00"
WEEK = 7 * 24 * 3600 * 1000


def setUpModule():
    global server, redis
    server = Server()
    redis = server.client


def tearDownModule():
    redis.close()
    server.stop()


def check(keys=(KEY,), args=(WEEK, 0)):
    with open("%s/lua/barrier/msg_check.lua" % ROOT, "rb") as file:
        return redis("EVAL", file.read(), len(keys), *keys, *args)


def now_ms():
    seconds, micros = redis("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


class MsgCheck(unittest.TestCase):
    def setUp(self):
        redis("FLUSHALL")

    def test_a_change_that_was_made_is_found_twice_and_nothing_is_written(self):
        redis("HSET", KEY, "msg:01", "msg|1|msg|journal")
        for _ in range(2):
            self.assertEqual(check()[0], b"OK")
        self.assertEqual(redis("HGETALL", KEY), [b"msg:01", b"msg|1|msg|journal"])

    def test_without_a_change_a_mark_is_left_once(self):
        before = now_ms()
        self.assertEqual(check()[0], b"FAIL")
        mark = redis("HGET", KEY, "msg:01")
        writer, at, trans_type, journal = mark.split(b"|")
        self.assertEqual((writer, trans_type, journal), (b"rollback", b"msg", b""))
        self.assertTrue(before <= int(at) <= now_ms())
        self.assertTrue(0 < redis("PTTL", KEY) <= WEEK)
        self.assertEqual(check()[0], b"FAIL")
        self.assertEqual(redis("HGET", KEY, "msg:01"), mark)

    def test_after_nine_tenths_of_the_records_life_it_says_so_and_writes_nothing(self):
        late = now_ms() - WEEK * 9 // 10 - 1000
        self.assertEqual(check(args=(WEEK, late))[0], b"LATE")
        self.assertEqual(redis("EXISTS", KEY), 0)
        self.assertEqual(check(args=(WEEK, late + 60000))[0], b"FAIL")
        self.assertEqual(check(args=(WEEK, late))[0], b"FAIL")

    def test_wrong_keys_and_arguments_are_named(self):
        for keys, args in (((), (WEEK, 0)), ((KEY, KEY), (WEEK, 0)), ((KEY,), (WEEK,)),
                           ((KEY,), ("x", 0)), ((KEY,), (0, 0)), ((KEY,), (WEEK, "x")),
                           ((KEY,), (WEEK, -1))):
            with self.assertRaisesRegex(RedisError, "ERR msg_check: "):
                check(keys, args)
        self.assertEqual(redis("DBSIZE"), 0)


if __name__ == "__main__":
    unittest.main()
