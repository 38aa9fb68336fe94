#!/usr/bin/env python3
"""What has not ended in time is counted, and what has ended is not waited for."""
import tempfile
import unittest

from chaos import settle, take_dump
from harness.redis import RedisServer


class SettleTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sagad-settle-")
        self.addCleanup(folder.cleanup)
        redis = RedisServer(folder.name, "no")
        self.addCleanup(redis.end)
        redis.start()
        self.client = redis.new_client()
        self.addCleanup(self.client.close)

    def test_what_has_ended_is_not_counted(self):
        self.client.ask("HSET", "saga:{3}:tx:a", "status", "succeed")
        self.assertEqual(0, settle([self.client], 20))

    def test_what_is_due_or_in_an_outbox_when_time_is_over_is_counted(self):
        self.client.ask("ZADD", "saga:{3}:due", 1, "a", 2, "b")
        self.client.ask("XADD", "{ord:0}:outbox", "*", "gid", "order-paid-1")
        self.assertEqual(3, settle([self.client], 0.1))
        self.assertIn("saga:{3}:due", take_dump([self.client])["keys"])


if __name__ == "__main__":
    unittest.main()
