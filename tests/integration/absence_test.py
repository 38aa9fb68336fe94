#!/usr/bin/env python3
"""Processes that are away or silent for a while: nothing is lost, and nobody else has to wait."""
import threading
import time
import unittest

from harness import mall
from harness.case import StackCase
from harness.load import LoadCase
from harness.process import best_of, wait_for
from harness.web import Answer


class AwayTest(LoadCase):
    """A process that is away for three seconds."""

    AWAY_S = 3

    def setUp(self):
        super().setUp()
        self.killed_at = 0

    def kill(self, name):
        self.stack[name].kill()
        self.killed_at = time.monotonic()

    def is_time(self):
        return time.monotonic() - self.killed_at > self.AWAY_S

    def test_a_participant(self):
        gid, order_id = f"load-{self.pid}-of-this-test", self.new_order_id()
        self.kill("product")
        with self.sagad.wire() as client:  # submits are taken meanwhile
            steps = mall.order_steps(order_id, self.uid, self.pid)
            self.assertEqual("submitted", client.submit(gid, steps).status)
            wait_for(self.is_time, "it is away for long")
            self.assertEqual("submitted", client.query(gid).status)
        self.stack["product"].start()
        self.await_end(gid)
        self.settle()

    def test_redis(self):
        self.kill("redis")
        answers, deadline_s = [], 10
        while not self.is_time():
            started = time.monotonic()
            gid = self.gid()
            reply = self.sagad.dtm("submit", gid=gid, trans_type="saga", timeout_s=deadline_s,
                                   steps=[{"action": "", "compensate": ""}], payloads=[""])
            answers.append((gid, reply))
            self.assertIn(reply.status, (200, 503), reply.text)
            self.assertLess(time.monotonic() - started, deadline_s)
        self.stack["redis"].start()
        self.assertGreater(len([r for _, r in answers if r.status == 503]), 0)
        for gid, reply in answers:
            if reply.status == 200:
                self.await_status(gid, "succeed")
            else:
                self.assertEqual("1", reply.headers["Retry-After"])
                self.assertTrue(reply.body["message"])
        self.settle()


    def freeze(self, name):
        process = self.stack[name].process
        process.freeze()
        self.addCleanup(process.thaw)
        self.killed_at = time.monotonic()
        return process

    def test_a_participant_that_is_silent(self):
        process = self.freeze("product")
        wait_for(self.is_time, "it is silent for long")
        process.thaw()
        self.settle()

    def test_redis_that_is_silent(self):
        process = self.freeze("redis")
        reply = self.sagad.dtm("submit", gid=self.gid(), trans_type="saga", timeout_s=10,
                               steps=[{"action": "", "compensate": ""}], payloads=[""])
        self.assertEqual(503, reply.status)  # store_timeout, while Redis is silent
        wait_for(self.is_time, "it is silent for long")
        process.thaw()
        self.settle()

    def test_sagad_that_is_silent(self):
        process = self.freeze("sagad1")
        wait_for(self.is_time, "it is silent for long")
        process.thaw()
        self.settle()



class LoadingTest(StackCase):
    """A Redis that was just started may have much to read. It answers INFO meanwhile, and says there
    that it has no append-only file."""

    stack_options = {"services": ()}
    has_user = False

    KEYS, DELAY_US = 8000, 300  # together more than two seconds

    def test_a_coordinator_that_starts_meanwhile_waits(self):
        self.redis.client.pipeline([("SET", f"filler:{n}", "x") for n in range(self.KEYS)])
        self.sagad.kill()
        self.redis.kill()
        self.redis.launch("--key-load-delay", str(self.DELAY_US))
        self.sagad.launch()
        wait_for(lambda: self.sagad.process.has_logged("it is loading its data"), "it sees that")
        self.sagad.process.await_ready(self.sagad.is_healthy)
        self.redis.process.await_ready(self.redis.connect)
        gid = self.gid()
        self.sagad.dtm("submit", gid=gid, trans_type="saga", payloads=[""],
                       steps=[{"action": "", "compensate": ""}])
        self.await_status(gid, "succeed")


class TakeOverTest(StackCase):
    """How fast the other coordinator is."""

    LEASE_S = 2
    stack_options = {"coordinators": 2, "services": (),
                     "settings": {"sagad": {"lease": f"{LEASE_S}s", "request_timeout": "20s"}}}
    has_user = False

    def hang(self):
        """A saga of sagad1 that hangs in its second branch."""
        participant, gid, gate = self.participant(), self.gid(), threading.Event()
        self.addCleanup(gate.set)
        participant.rules["/b"] = [Answer(gate=gate), Answer()]
        steps = [{"action": f"{participant.url}/{n}", "compensate": f"{participant.url}/{n}-undo"}
                 for n in "ab"]
        reply = self.sagad.dtm("submit", gid=gid, trans_type="saga", steps=steps, payloads=["", ""])
        self.assertEqual(200, reply.status)
        wait_for(lambda: participant.count("/b") == 1, "the second branch is called")
        return participant, gid, gate

    def test_within_the_lease_and_a_second(self):
        bound = self.LEASE_S + 1
        self.assertLessEqual(best_of(4, bound, self.take_over), bound)

    def take_over(self):
        """Seconds from the death of the one to the call of the other."""
        other = self.stack["sagad2"]
        participant, gid, _ = self.hang()
        self.sagad.kill()
        killed = time.monotonic()
        try:
            wait_for(lambda: participant.count("/b") == 2, "the other calls it again")
            took = participant.calls[-1].at - killed
            self.await_status(gid, "succeed", other)
        finally:
            self.sagad.start()
        return took

    def test_a_living_owner_is_not_robbed(self):
        participant, gid, gate = self.hang()
        hanging_since = time.monotonic()
        wait_for(lambda: time.monotonic() - hanging_since > 2 * self.LEASE_S, "two leases are over",
                 3 * self.LEASE_S)
        self.assertEqual(1, participant.count("/b"))
        gate.set()
        self.await_status(gid, "succeed", self.stack["sagad2"])
        self.assertEqual(["/a", "/b"], participant.paths())

    def test_an_owner_that_lost_its_lease_changes_nothing(self):
        other = self.stack["sagad2"]
        participant, gid, gate = self.hang()
        participant.rules["/b"] = Answer(409, "no")  # for the next owner; the first call hangs on
        self.sagad.process.freeze()
        try:
            self.await_status(gid, "failed", other)
        finally:
            self.sagad.process.thaw()
        history = other.history(gid)
        gate.set()  # the first call succeeds after all, and its owner would end the saga
        wait_for(lambda: self.sagad.metrics()["sagad_live_transactions"] == 0, "it lets go")
        self.assertEqual("failed", self.sagad.status(gid))
        self.assertEqual(history, self.sagad.history(gid))
        self.assertEqual(["/a", "/b"], participant.paths()[:2])
        self.assertEqual(["/b-undo", "/a-undo"], participant.paths()[-2:])

    def test_either_coordinator_serves_every_transaction(self):
        other = self.stack["sagad2"]
        participant, gid, gate = self.hang()
        self.assertEqual("submitted", other.status(gid))
        listed = other.get("/api/dtmsvr/all?status=submitted").body["transactions"]
        self.assertIn(gid, [t["gid"] for t in listed])
        self.assertEqual(200, other.dtm("abort", gid=gid, rollback_reason="enough").status)
        self.await_status(gid, "failed", other)
        gate.set()
        self.assertEqual({"/b-undo", "/a-undo"}, set(participant.paths()[-2:]))
        again = self.sagad.dtm("submit", gid=gid, trans_type="saga", wait_result=True,
                               steps=[{"action": participant.url + "/a"}], payloads=[""])
        self.assertEqual(409, again.status)
        self.assertEqual(1, participant.count("/a"))


class SickParticipantTest(StackCase):
    """I12: one sick participant never delays transactions that do not use it."""

    SICK, HEALTHY = 400, 50
    HANG_S = 25  # who waited for the sick one would wait for so long
    stack_options = {"services": (), "settings": {"sagad": {
        "request_timeout": f"{HANG_S}s", "http_calls_max": 32, "retry_interval": "1s"}}}
    has_user = False

    def submit(self, client, participant, gid, **options):
        steps = [(f"{participant.url}/{n}", "", b"x") for n in "ab"]
        return client.submit(gid, steps, **options).status

    def assert_swift(self, client, healthy):
        started = time.monotonic()
        self.assertEqual("succeed", self.submit(client, healthy, self.gid(), wait=True))
        self.assertLess(time.monotonic() - started, self.HANG_S / 2)

    def test_hundreds_that_hang_and_one_that_is_well(self):
        sick, healthy, gate = self.participant(), self.participant(), threading.Event()
        self.addCleanup(gate.set)
        sick.rules["/a"] = Answer(gate=gate)
        client = self.wire("sagad1")
        hanging = [self.gid() for _ in range(self.SICK)]
        for gid in hanging:
            self.submit(client, sick, gid)
        wait_for(lambda: len(sick.calls) >= 32, "its line is full")
        for _ in range(self.HEALTHY):
            self.assert_swift(client, healthy)
        self.assertEqual("submitted", client.query(hanging[-1]).status)
        # also after a restart, when all of them are found overdue
        self.sagad.restart()
        client = self.wire("sagad1")
        self.assert_swift(client, healthy)
        gate.set()
        sick.rules["/a"] = Answer()
        for gid in hanging:
            wait_for(lambda g=gid: client.query(g).status == "succeed", f"{gid} ends", 60)


if __name__ == "__main__":
    unittest.main()
