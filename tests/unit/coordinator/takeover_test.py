#!/usr/bin/env python3
"""What a coordinator makes of transactions that another one had: with the program itself, a
private Redis and participants over HTTP."""
import binascii
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
            fields += [f"{number:02d}.action", f"prepared {url}",
                       f"{number:02d}.compensate", f"prepared {url}-undo"]
        keys = self.keys(gid)
        return ("EVALSHA", self.digest, len(keys), *keys, gid, owner, 1, 0, "submitted", "saga", 0,
                due_ms, DAY_MS, *fields)

    def store(self, gid, *args, **options):
        self.assertEqual("OK", self.redis.ask(*self.creation(gid, *args, **options))[0])

    def record(self, gid):
        return self.redis.client.hash(self.keys(gid)[0])


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
        self.assertTrue(self.record(gid)["01.action"].startswith("prepared "))
        self.abort(gid, self.sagad)
        self.assertEqual(["/c-undo", "/b-undo", "/a-undo"], participant.paths())
        self.assertEqual("1", self.record(gid)["doubt"])

    def test_of_an_owner_that_was_killed(self):
        participant, gid, victim = self.participant(), self.gid(), self.stack["sagad2"]
        participant.rules["/a"] = Answer(425, b"")
        self.start_saga(victim, participant, gid, "abc")
        wait_for(lambda: self.record(gid).get("owner") == "", "it waits in the store")
        participant.rules["/a"] = Answer(run=lambda _: victim.process.kill(), drop=True)
        self.assertEqual(200, victim.dtm("resetNextCronTime", gid=gid).status)
        wait_for(lambda: not victim.process.is_up(), "it is dead")
        try:
            self.assertNotEqual("", self.record(gid)["owner"])
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
        wait_for(lambda: self.record(gid).get("owner") == "", "it waits in the store")
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
            self.assertEqual("", self.record(gid)["owner"])
            self.abort(gid, self.sagad)
        finally:
            stopped.start()
        self.assertEqual(["/a", "/b", "/b-undo", "/a-undo"], participant.paths())


if __name__ == "__main__":
    unittest.main()
