#!/usr/bin/env python3
"""I1, I2 with wait_replicas: what is told to a client, or decided, replicas have; a failover loses
none of it."""
import itertools
import os
import pathlib
import re
import shutil
import tempfile
import threading
import unittest

from harness.case import StackCase
from harness.dtm import PATIENT, ModeCase
from harness.process import wait_for
from harness.redis import RedisServer
from harness.web import Answer
from harness.wire import SUBMIT, WireClient, WireError, submit_body

REPLICA = {**PATIENT, "wait_replicas": 1, "wait_timeout": "500ms", "lease": "2s",
           "retry_interval": "50ms"}


class ReplicaCase(ModeCase):
    """sagad on a Redis with a replica."""

    trans_type = "saga"
    stack_options = {"services": (), "settings": {"sagad": REPLICA}}

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="sagad-test-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.replica = RedisServer(folder)
        cls.addClassCleanup(cls.replica.end)  # after the stack: Redis ends when its replica has all
        super().setUpClass()

    @classmethod
    def before_start(cls):
        cls.replica.start()
        cls.replica.ask("REPLICAOF", "127.0.0.1", cls.stack.redis.port.number)

    def pause_replica(self):
        self.replica.process.freeze()
        self.addCleanup(self.replica.process.thaw)

    def setUp(self):
        super().setUp()
        wait_for(lambda: self.redis.ask("WAIT", 1, 100) == 1, "the replica is in step")

    def acknowledged(self, call, **fields):
        """A replica may be slower than wait_timeout: who gets no acknowledgement asks again."""
        reply = wait_for(lambda: (r := self.send(call, **fields)).status != 503 and r,
                         f"{call} is acknowledged")
        self.assert_reply(200, "SUCCESS", reply)

    def await_waits(self, count):
        """Until sagad has waited for the replica so often, from now on."""
        def waits():
            found = re.search(r"cmdstat_wait:calls=(\d+)", self.redis.ask("INFO", "commandstats"))
            return int(found.group(1)) if found else 0
        goal = waits() + count
        wait_for(lambda: waits() >= goal, f"{count} times WAIT")

    def is_told(self):
        """What is stored about it is told, because the replica has confirmed it."""
        reply = self.sagad.get(f"/api/dtmsvr/query?gid={self.id_}")
        self.assertIn(reply.status, (200, 503), reply.text)
        return reply.status == 200

    def stored(self, gid):
        """What the master knows."""
        keys = self.redis.client.keys(f"saga:*:tx:{gid}")
        return self.redis.client.hash(keys[0]) if keys else {}


class SubmitTest(ReplicaCase):
    def test_a_submit_is_acknowledged_when_the_replica_has_it(self):
        self.acknowledged("submit", **self.body(**self.steps("a")))
        self.assertEqual(1, len(self.replica.client.keys(f"saga:*:tx:{self.id_}")))

    def test_without_the_replica_it_is_not_and_may_be_asked_again(self):
        self.pause_replica()
        reply = self.submit(**self.steps("a"))
        self.assertEqual(503, reply.status, reply.text)
        self.assertIn("only 0 of 1 replicas have confirmed it within 500 ms", reply.body["message"])
        self.assertIn("ask again with the same gid", reply.body["message"])
        self.assertEqual("submitted", self.stored(self.id_)["status"])
        self.assertEqual(503, self.submit(**self.steps("a")).status)  # known is not acknowledged
        self.assertEqual([], self.web.paths())
        self.replica.process.thaw()
        wait_for(lambda: self.submit(**self.steps("a")).status == 200, "it is acknowledged")
        self.assert_ended("succeed")
        self.assertEqual(["/a"], self.web.paths())

    def test_prepare_and_register_as_well(self):
        tcc = {"gid": self.id_, "trans_type": "tcc"}
        self.acknowledged("prepare", **tcc)
        self.pause_replica()
        other = self.gid()
        branch = {**tcc, "branch_id": "01", "confirm": f"{self.web.url}/c",
                  "cancel": f"{self.web.url}/x", "data": "{}"}
        self.assertEqual(503, self.send("prepare", **{**tcc, "gid": other}).status)
        self.assertEqual(503, self.send("registerBranch", **branch).status)
        self.replica.process.thaw()
        self.acknowledged("registerBranch", **branch)
        self.acknowledged("submit", **tcc)
        self.assert_ended("succeed")

    def test_a_query_tells_nothing_that_may_be_lost(self):
        self.pause_replica()
        self.submit(**self.steps("a"))
        self.assertFalse(self.is_told())
        self.replica.process.thaw()
        wait_for(self.is_told, "it can be asked for")


class DecisionTest(ReplicaCase):
    """No lease is renewed meanwhile, so the decision is what the store is asked for next."""

    stack_options = {"services": (), "settings": {"sagad": {**REPLICA, "lease": "30s"}}}

    def test_nothing_is_undone_before_the_replica_knows_the_decision(self):
        gate = self.gated("/b")
        self.web.rules["/b"].status = 409
        self.acknowledged("submit", **self.body(**self.steps("a", "b")))
        self.called("/a", "/b")
        wait_for(lambda: self.stored(self.id_).get("01.action") == "succeed", "the master has a")
        wait_for(self.is_told, "so has the replica")  # else that is stored first
        self.pause_replica()
        gate.set()
        wait_for(lambda: self.stored(self.id_)["status"] == "aborting", "the master has it")
        self.await_waits(3)  # it is sent again and again
        self.assertEqual(["/a", "/b"], self.web.paths())
        self.replica.process.thaw()
        self.assert_ended("failed")
        self.assertEqual(["/a", "/b", "/b-undo", "/a-undo"], self.web.paths())

    def test_nothing_is_confirmed_before_the_replica_knows_the_decision(self):
        tcc = {"gid": self.id_, "trans_type": "tcc"}
        self.acknowledged("prepare", **tcc)
        self.acknowledged("registerBranch", **tcc, branch_id="01", data="{}",
                          confirm=f"{self.web.url}/confirm", cancel=f"{self.web.url}/cancel")
        self.pause_replica()
        self.assertEqual(503, self.send("submit", **tcc).status)
        self.assertEqual([], self.web.paths())
        self.replica.process.thaw()
        self.acknowledged("submit", **tcc)
        self.assert_ended("succeed")
        self.assertEqual({"/confirm"}, set(self.web.paths()))


class FailoverTest(ReplicaCase):
    """Redis without a file on disk dies for good; the replica takes its place."""

    stack_options = {"services": (), "fsync": "no", "settings": {"sagad": REPLICA}}

    numbers = itertools.count()

    def submit_until(self, ending, acknowledged, unanswered):
        with WireClient(self.sagad.rpc.address, timeout_s=30) as client:
            while not ending.is_set():
                gid = f"f-{next(self.numbers)}"
                try:
                    client.submit(gid, [(f"{self.web.url}/a", "", b"{}")])
                except (OSError, EOFError, WireError):
                    unanswered.append(gid)
                    continue
                acknowledged.append(gid)

    def test_what_was_acknowledged_is_there(self):
        self.web.rules["/a"] = Answer(status=500)  # so that none ends before
        ending, acknowledged, unanswered = threading.Event(), [], []
        threads = [threading.Thread(target=self.submit_until,
                                    args=(ending, acknowledged, unanswered)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(acknowledged) > 300, "some are acknowledged")
        self.replica.ask("REPLICAOF", "NO", "ONE")  # the old master goes on for a while
        wait_for(lambda: len(unanswered) >= 8 or len(acknowledged) > 2000, "it is asked further")
        self.redis.kill()
        self.sagad.kill()
        ending.set()
        for thread in threads:
            thread.join()
        there = {key.partition(":tx:")[2] for key in self.replica.client.keys("saga:*:tx:*")}
        self.assertEqual(set(), set(acknowledged) - there)
        self.web.rules.clear()
        self.sagad.start(redis=f"unix:{self.replica.path}", wait_replicas=0)
        wait_for(lambda: self.sagad.metrics().get("sagad_due_transactions") == 0, "all end")
        for gid in acknowledged:
            self.assertEqual("succeed", self.sagad.status(gid))


class GroupCommitTest(ModeCase):
    """durability = always: Redis writes and fsyncs once for all commands of a loop turn, and they
    come together."""

    COUNT = 500
    # An fsync may take seconds where others use the disk.
    stack_options = {"services": (), "fsync": "always",
                     "settings": {"sagad": {**PATIENT, "lease": "30s"}}}

    def redis_writes(self):
        """System calls that write, to the file and to connections."""
        text = pathlib.Path(f"/proc/{self.redis.process.pid}/io").read_text(encoding="ascii")
        return int(re.search(r"syscw: (\d+)", text).group(1))

    def test_many_submits_share_an_fsync(self):
        with WireClient(self.sagad.rpc.address) as client:
            before = self.redis_writes()
            self.sagad.process.freeze()  # until all are there
            sent = [client.send(SUBMIT, submit_body(f"group-{i}", [("", "", b"")], wait=True))
                    for i in range(self.COUNT)]
            self.sagad.process.thaw()
            for number in sent:
                self.assertEqual("succeed", client.receive(number).status)
            # each is created and ended: alone they would be two writes to the file at least
            self.assertLess(self.redis_writes() - before, self.COUNT)


class LookTest(StackCase):
    """What sagad finds out about its Redis."""

    has_user = False
    stack_options = {"services": (), "settings": {"sagad": {"redis_wait": "60s"}}}

    def test_missing_replicas_are_waited_for(self):
        self.sagad.process.stop()
        self.sagad.launch(wait_replicas=1)
        wait_for(lambda: self.sagad.process.has_logged("waiting for Redis.*wait_replicas = 1, but "
                                                       "only 0 replicas"), "it says what it misses")
        os.makedirs(os.path.join(self.stack.dir, "replica"))
        replica = RedisServer(os.path.join(self.stack.dir, "replica"))
        self.addCleanup(replica.end)
        replica.start()
        replica.ask("REPLICAOF", "127.0.0.1", self.redis.port.number)
        self.sagad.process.await_ready(self.sagad.is_healthy)

    def test_a_change_is_seen_while_connected(self):
        self.redis.ask("CONFIG", "SET", "appendfsync", "no")
        self.addCleanup(self.redis.ask, "CONFIG", "SET", "appendfsync", "everysec")
        wait_for(lambda: self.sagad.process.has_logged("level=error .*appendfsync no is weaker"),
                 "it looks again every ten seconds")
        self.redis.ask("CONFIG", "SET", "appendfsync", "everysec")
        wait_for(lambda: self.sagad.process.has_logged("Redis keeps what the settings promise"),
                 "and sees when it is good again")
        self.assertEqual(1, self.sagad.process.log().count("appendfsync no is weaker"))


if __name__ == "__main__":
    unittest.main()
