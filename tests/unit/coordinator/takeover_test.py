#!/usr/bin/env python3
"""What a coordinator makes of transactions that another one had: with the program itself, a
private Redis and participants over HTTP."""
import binascii
import collections
import re
import sys
import time
import unittest

from harness.case import StackCase
from harness.process import wait_for
from harness.stack import ROOT
from harness.web import Answer

DEAD = "elsewhere/4711/gone"
PARTITIONS = 16
DAY_MS = 24 * 3600 * 1000


class TakeoverCase(StackCase):
    has_user = False

    def keys(self, gid):
        """KEYS of txn_create."""
        partition = binascii.crc_hqx(gid.encode(), 0) % PARTITIONS
        return [f"saga:{{{partition}}}:{kind}" for kind in
                (f"tx:{gid}", f"log:{gid}", "due", "recent")]

    def creation(self, gid, participant, names, owner=DEAD, due_ms=60000):
        """The command by which a coordinator stores a new saga; its branches are /a, /b, …"""
        if not hasattr(self, "digest"):
            script = (ROOT / "lua" / "coordinator" / "txn_create.lua").read_bytes()
            self.digest = self.redis.ask("SCRIPT", "LOAD", script)
        fields = []
        for number, name in enumerate(names, 1):
            url = f"{participant.url}/{name}"
            fields += [f"{number:02d}", f"action {url} compensate {url}-undo"]
        keys = self.keys(gid)
        return ("EVALSHA", self.digest, len(keys), *keys, gid, f"1.0 {owner}", "submitted", "saga",
                0, due_ms, DAY_MS, "", *fields)

    def store(self, gid, *args, **options):
        self.assertEqual("OK", self.redis.ask(*self.creation(gid, *args, **options))[0])

    def record(self, gid):
        return self.redis.client.hash(self.keys(gid)[0])

    def is_released(self, gid):
        """Its lease names no owner."""
        return " " not in self.record(gid).get("lease", "not there yet")


class DoubtTest(TakeoverCase):
    """Progress is stored lazily: what a dead owner called is not known."""

    stack_options = {"coordinators": 2, "services": (),
                     "settings": {"sagad": {"lease": "60s", "retry_interval": "600s",
                                            "retry_interval_max": "600s"}}}

    def abort(self, gid, sagad):
        self.assertEqual(200, sagad.dtm("abort", gid=gid, trans_type="saga").status)
        self.await_status(gid, "failed", sagad)

    def test_every_branch_of_a_dead_owner_is_undone(self):
        participant, gid = self.participant(), self.gid()
        self.store(gid, participant, "abc")
        self.assertNotIn("01.action", self.record(gid))
        self.abort(gid, self.sagad)
        self.assertEqual(["/c-undo", "/b-undo", "/a-undo"], participant.paths())
        self.assertEqual("1", self.record(gid)["doubt"])

    def test_of_an_owner_that_was_killed(self):
        participant, gid, victim = self.participant(), self.gid(), self.stack["sagad2"]
        participant.rules["/a"] = Answer(425, b"")
        self.start_saga(victim, participant, gid, "abc")
        wait_for(lambda: self.is_released(gid), "it waits in the store")
        participant.rules["/a"] = Answer(run=lambda _: victim.process.kill(), drop=True)
        self.assertEqual(200, victim.dtm("resetNextCronTime", gid=gid).status)
        wait_for(lambda: not victim.process.is_up(), "it is dead")
        try:
            self.assertFalse(self.is_released(gid))
            self.abort(gid, self.sagad)
        finally:
            victim.start()
        self.assertEqual(["/c-undo", "/b-undo", "/a-undo"], participant.paths()[2:])

    def start_saga(self, sagad, participant, gid, names):
        steps = [{"action": f"{participant.url}/{name}",
                  "compensate": f"{participant.url}/{name}-undo"} for name in names]
        reply = sagad.dtm("submit", gid=gid, trans_type="saga", steps=steps,
                          payloads=[""] * len(steps))
        self.assertEqual(200, reply.status, reply.text)

    def test_of_a_released_one_only_what_was_reached(self):
        participant, gid, other = self.participant(), self.gid(), self.stack["sagad2"]
        participant.rules["/b"] = Answer(425, b"")
        self.start_saga(self.sagad, participant, gid, "abc")
        wait_for(lambda: self.is_released(gid), "it waits in the store")
        self.abort(gid, other)
        self.assertEqual(["/a", "/b", "/b-undo", "/a-undo"], participant.paths())
        self.assertNotIn("doubt", self.record(gid))

    def test_of_one_that_a_clean_stop_gave_away_only_what_was_reached(self):
        participant, gid, stopped = self.participant(), self.gid(), self.stack["sagad2"]
        participant.rules["/b"] = Answer(425, b"")
        self.start_saga(stopped, participant, gid, "abc")
        wait_for(lambda: participant.count("/b") == 1, "it has reached the second branch")
        self.assertEqual(0, stopped.process.stop())
        try:
            self.assertTrue(self.is_released(gid))
            self.abort(gid, self.sagad)
        finally:
            stopped.start()
        self.assertEqual(["/a", "/b", "/b-undo", "/a-undo"], participant.paths())


class CrowdTest(TakeoverCase):
    """Thousands that a dead owner left behind."""

    COUNT, REFUSED_EACH = 5000, 10
    # What is slow here are the participants: no call and no lease may end meanwhile.
    stack_options = {"services": (), "settings": {"sagad": {"lease": "60s",
                                                            "request_timeout": "60s"}}}

    def leave_behind(self, participant):
        """{gid: names of its branches}; every tenth will be refused by /x."""
        crowd = {self.gid(): "ab" if i % self.REFUSED_EACH else "ax" for i in range(self.COUNT)}
        answers = self.redis.client.pipeline([
            self.creation(gid, participant, names, due_ms=-1) for gid, names in crowd.items()])
        self.assertEqual({"OK"}, {answer[0] for answer in answers})
        return crowd

    @staticmethod
    def calls_of(gid, names):
        """What must be called, each once. The second half is refused, all are undone."""
        calls = [(gid, "01", "action"), (gid, "02", "action")]
        undone = [(gid, "02", "compensate"), (gid, "01", "compensate")]
        return calls + (undone if "x" in names else [])

    def ended(self):
        metrics = self.sagad.metrics()
        return tuple(metrics[f'sagad_transactions_total{{type="saga",status="{status}"}}']
                     for status in ("succeed", "failed"))

    def test_all_end_and_nothing_is_done_twice(self):
        participant = self.participant()
        participant.rules["/x"] = Answer(409, "no")
        self.sagad.kill()
        crowd = self.leave_behind(participant)
        refused = self.COUNT // self.REFUSED_EACH
        started = time.monotonic()
        self.sagad.start()
        while (count := sum(self.ended())) < self.COUNT:
            wait_for(lambda c=count: sum(self.ended()) > c, "it goes on")
        print(f"{self.COUNT} taken over and ended in {time.monotonic() - started:.1f} s",
              file=sys.stderr)
        self.assertEqual((self.COUNT - refused, refused), self.ended())
        called = collections.Counter(
            (query["gid"], query["branch_id"], query["op"])
            for query in (dict(call.query) for call in participant.calls))
        expected = collections.Counter(
            call for gid, names in crowd.items() for call in self.calls_of(gid, names))
        self.assert_empty("called too often", called - expected)
        self.assert_empty("not called", expected - called)
        self.assert_records(crowd)

    def assert_empty(self, what, wrong):
        """Not assertEqual: to find the differences of thousands takes it minutes."""
        if wrong:
            self.fail(f"{len(wrong)} {what}: {list(wrong)[:5]}")

    def assert_records(self, crowd):
        """In Redis as well: ended, taken once, nothing is due."""
        records = self.redis.client.pipeline([
            ("HMGET", self.keys(gid)[0], "status", "doubt", "lease") for gid in crowd])
        wrong = [(gid, record) for (gid, names), record in zip(crowd.items(), records)
                 if record[:2] != ["failed" if "x" in names else "succeed", "1"]
                 or not re.fullmatch(r"2\.\d+", record[2])]
        self.assert_empty("stored wrongly", wrong)
        self.assertEqual([], self.redis.client.keys("saga:{*}:due"))
        self.assertEqual(0, self.sagad.metrics()["sagad_live_transactions"])


if __name__ == "__main__":
    unittest.main()
