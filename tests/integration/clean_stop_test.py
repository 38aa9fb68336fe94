#!/usr/bin/env python3
"""SIGTERM, rolling restarts, later versions: what an operator does to coordinators that work."""
import os
import signal
import socket
import time
import unittest

from harness.dtm import PATIENT, SLACK_S, ModeCase
from harness.load import LoadCase
from harness.process import wait_for
from harness.web import Answer
from harness.wire import WireClient, WireError

LONG = "60s"  # what waits for the end of a lease, or for the next retry, does not go on in a test


class HandOverTest(ModeCase):
    """One of two coordinators is stopped; leases are long."""

    trans_type = "saga"
    stack_options = {"services": (), "coordinators": 2, "settings": {"sagad": {
        **PATIENT, "lease": LONG, "retry_interval": LONG, "retry_interval_max": LONG}}}

    def setUp(self):
        super().setUp()
        self.first, self.sagad = self.stack["sagad1"], self.stack["sagad2"]
        self.addCleanup(self.start_first)

    def start_first(self):
        if self.first.process.is_up():
            self.first.process.stop()
        self.first.start()

    def terminate(self):
        self.first.process.popen.send_signal(signal.SIGTERM)
        wait_for(lambda: self.first.process.has_logged("msg=draining"), "it drains")

    def test_what_follows_a_call_in_flight_is_done_by_the_other(self):
        gate = self.gated("/a")
        self.submit(self.first, **self.steps("a", "b"))
        self.called("/a")
        self.terminate()
        gate.set()
        self.assertEqual(0, self.first.process.popen.wait(30))
        ended_at = time.monotonic()
        self.assert_ended("succeed")
        self.assertLess(self.call_of("/b").at - ended_at, SLACK_S)
        self.assertEqual(["/a", "/b"], self.web.paths())  # its result was stored, nothing is repeated

    def test_a_call_that_does_not_end_is_made_by_the_other(self):
        self.first.process.stop()
        self.first.start(drain_timeout="200ms")
        gate = self.gated("/a")
        self.web.rules["/b"] = Answer(status=409)
        self.submit(self.first, **self.steps("a", "b"))
        self.called("/a")
        self.terminate()
        self.assertEqual(0, self.first.process.popen.wait(30))
        self.assertTrue(self.first.process.has_logged("drain_timeout is over"))
        ended_at = time.monotonic()
        wait_for(lambda: self.web.count("/a") == 2, "the other calls it")
        self.assertLess(list(self.web.calls)[1].at - ended_at, SLACK_S)
        gate.set()
        self.assert_ended("failed")
        # nobody knows what the first call did: both are compensated
        self.assertEqual(["/b-undo", "/a-undo"], self.web.paths()[-2:])

    def test_what_waits_is_given_back(self):
        self.web.rules["/a"] = [Answer(status=500), Answer()]
        self.submit(self.first, retry_interval=1, **self.steps("a"))
        self.called("/a")
        self.first.process.stop()
        self.assert_ended("succeed")
        self.assertEqual(2, self.web.count("/a"))

    def test_nothing_new_is_taken(self):
        gate = self.gated("/a")
        self.submit(self.first, **self.steps("a"))
        self.called("/a")
        open_before = WireClient(self.first.rpc.address)
        self.addCleanup(open_before.close)
        open_before.new_gid()  # it is in
        self.terminate()
        wait_for(lambda: not self.accepts(self.first), "nobody can connect")
        self.assert_error("UNAVAILABLE", lambda: open_before.submit("late", [("", "", b"")]))
        gate.set()
        self.assertEqual(0, self.first.process.popen.wait(30))
        self.assertIsNone(self.sagad.status("late"))

    def accepts(self, program):
        try:
            socket.create_connection(("127.0.0.1", program.http.number), 5).close()
        except OSError:
            return False
        return True

    def assert_error(self, code, work):
        with self.assertRaises(WireError) as raised:
            work()
        self.assertEqual(code, raised.exception.code)


class StopSignalsTest(ModeCase):
    """Who stops a program signals more than one of its processes, or one of them more than once."""

    trans_type = "saga"
    workers = 1
    sagas = 8

    def setUp(self):
        super().setUp()
        self.process = self.sagad.process
        self.process.stop()
        self.sagad.start(workers=self.workers, drain_timeout=LONG)
        self.await_all("msg=ready")
        self.gate = self.gated("/a")
        self.gids = [self.gid() for _ in range(self.sagas)]
        for gid in self.gids:
            self.submit(gid=gid, steps=[{"action": f"{self.web.url}/a"}], payloads=["{}"])
        wait_for(lambda: self.web.count("/a") == self.sagas, "all are in work")
        self.addCleanup(self.start_again)

    def start_again(self):
        if not self.process.is_up():
            self.sagad.start()

    def await_all(self, says):
        wait_for(lambda: self.process.log().count(says) == self.workers, f"each says {says}")

    def children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                  encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def assert_clean(self):
        """It drains: what is in work ends, and is stored."""
        self.await_all("msg=draining")
        self.gate.set()
        self.assertEqual(0, self.process.popen.wait(30))
        self.assertEqual(self.workers, self.process.log().count("drained, ends"))
        self.sagad.start()
        for gid in self.gids:
            self.assert_ended("succeed", gid)
        self.assertEqual(self.sagas, self.web.count("/a"))  # nothing was called again

    def test_ctrl_c_reaches_the_whole_group(self):
        os.killpg(self.process.pid, signal.SIGINT)
        self.assert_clean()

    def test_a_service_manager_signals_all(self):
        for pid in [*self.children(), self.process.pid]:
            os.kill(pid, signal.SIGTERM)
        self.assert_clean()

    def test_two_at_the_same_moment_are_one(self):
        os.kill(self.process.pid, signal.SIGTERM)  # two of a kind could become one on their way
        os.kill(self.process.pid, signal.SIGINT)
        self.assert_clean()

    def test_a_second_one_ends_at_once(self):
        os.killpg(self.process.pid, signal.SIGINT)
        self.await_all("msg=draining")

        def has_ended():
            if self.process.is_up():
                os.killpg(self.process.pid, signal.SIGINT)
            return not self.process.is_up()
        wait_for(has_ended, "it ends")
        self.assertEqual(1, self.process.popen.returncode)
        self.assertTrue(self.process.has_logged("second signal, ends at once"))


class WorkersStopSignalsTest(StopSignalsTest):
    """The same with several workers: what one does not end is told by the exit code."""

    workers = 3

    def test_a_worker_that_is_killed_while_it_drains(self):
        killed = self.children()[0]
        self.process.popen.send_signal(signal.SIGTERM)
        self.await_all("msg=draining")
        os.kill(killed, signal.SIGKILL)
        self.gate.set()
        self.assertEqual(1, self.process.popen.wait(30))


class LaterVersionTest(ModeCase):
    """What a coordinator of the next minor version leaves in the Redis that both use."""

    trans_type = "saga"

    def record_key(self):
        return wait_for(lambda: self.redis.client.keys(f"saga:*:tx:{self.id_}"), "it is stored")[0]

    def test_fields_that_it_does_not_know_are_kept(self):
        tcc = {"gid": self.id_, "trans_type": "tcc"}
        self.ok("prepare", **tcc)
        self.redis.ask("HSET", self.record_key(), "novelty", "x", "hint", "y")
        self.ok("registerBranch", **tcc, branch_id="01", confirm=f"{self.web.url}/confirm",
                cancel=f"{self.web.url}/cancel", data="{}")
        self.ok("submit", **tcc)
        self.assert_ended("succeed")
        record = self.redis.client.hash(self.record_key())
        self.assertEqual(("x", "y"), (record["novelty"], record["hint"]))

    def test_a_record_that_it_would_misunderstand_is_parked_as_it_is(self):
        self.web.rules["/a"] = [Answer(status=500), Answer()]
        self.submit(steps=[{"action": f"{self.web.url}/a"}], payloads=["{}"], retry_interval=60)
        key = self.record_key()
        wait_for(lambda: " " not in self.redis.client.hash(key)["lease"], "nobody owns it")
        self.redis.ask("HSET", key, "v", "2")
        before = self.redis.client.hash(key)
        due = key.partition(":tx:")[0] + ":due"
        self.redis.ask("ZADD", due, 1, self.id_)
        wait_for(lambda: self.sagad.process.has_logged("record version 2, this sagad reads 1"),
                 "it says what it found")
        self.assertEqual(1, self.sagad.metrics()["sagad_parked_transactions"])
        reply = self.send("abort", gid=self.id_, trans_type="saga")
        self.assertEqual(503, reply.status, reply.text)
        self.assertEqual(before, self.redis.client.hash(key))
        self.assertIsNotNone(self.redis.ask("ZSCORE", due, self.id_))  # for one who can read it
        self.redis.ask("HDEL", key, "v")
        self.assert_ended("succeed")
        self.assertEqual(0, self.sagad.metrics()["sagad_parked_transactions"])


class RollingRestartTest(LoadCase):
    """All coordinators are restarted, one after the other, under load."""

    stack_options = {"fsync": "always", "coordinators": 3, "settings": {"sagad": {"lease": "10m"}}}

    def test_no_submit_fails(self):
        """And nothing waits for the lease of one that is gone."""
        for sagad in self.coordinators():
            self.assertEqual(0, sagad.process.stop())
            self.load.await_more(30)
            sagad.start()
            self.load.await_more(30)
        self.settle()
        # Nobody listens, or the connection was not accepted yet; else each gets an answer.
        good = ("ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError",
                "WireError: UNAVAILABLE", "WireError: BUSY")
        self.assertEqual([], [text for text in self.load.errors if not text.startswith(good)])


if __name__ == "__main__":
    unittest.main()
