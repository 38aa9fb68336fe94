#!/usr/bin/env python3
"""The outbox: a message exists if and only if the change does that left it."""
import os
import tempfile
import threading
import time
import unittest

from harness import web
from harness.case import StackCase
from harness.process import wait_for
from harness.redis import RedisServer
from harness.stack import ROOT
from harness.web import Answer

GROUP = "sagad"
STREAM, OTHER = "{t:0}:outbox", "{t:1}:outbox"
TAKE = """return barrier(function(keys, args)
  if tonumber(redis.call('GET', keys[1]) or 0) < 1 then return fail('sold out') end
  outbox(keys[2], args[1], args[2], args[3])
  redis.call('DECR', keys[1])
  return ok()
end)"""


def gated(body):
    """As libsaga composes it."""
    parts = [(ROOT / "lua" / "barrier" / name).read_text() for name in ("gate.lua", "outbox.lua")]
    return "\n".join([*parts, body])


class OutboxCase(StackCase):
    # Nobody is called twice because the machine is slow, so calls can be counted.
    stack_options = {"services": (), "fsync": "always", "settings": {"sagad": {
        "outbox.t": "{t:0..1}:outbox", "store_timeout": "2s", "lease": "6s",
        "request_timeout": "30s"}}}
    has_user = False

    def setUp(self):
        self.web = self.participant()
        self.redis.ask("DEL", f"{STREAM}:dead")

    def take(self, gid, redis=None):
        """Sells one piece under the barrier of `gid`, and leaves the message gid-sold."""
        redis = redis or self.redis.client
        return redis.ask("EVAL", gated(TAKE), 3, f"{{t:0}}:br:{gid}:01", "{t:0}:stock", STREAM,
                         "saga", gid, "01", "action", "01", "100000", "0",
                         f"{gid}-sold", f"{self.web.url}/sold", gid)

    def add(self, gid, stream=STREAM, other=None):
        fields = {"gid": gid, "trans_type": "msg", "01.action": f"{self.web.url}/sold",
                  "01.payload": gid} | (other or {})
        flat = [word for pair in fields.items() for word in pair]
        return self.redis.ask("XADD", stream, "*", *flat)

    def subscribe(self, topic, *paths, sagad=None):
        for path in paths:
            reply = (sagad or self.sagad).dtm("subscribe", topic=topic, url=self.web.url + path)
            self.assertEqual(200, reply.status, reply.text)

    def dead_letters(self, redis=None):
        """[{field: value}] of the stream."""
        return [dict(zip(f[::2], f[1::2]))
                for _, f in (redis or self.redis).ask("XRANGE", f"{STREAM}:dead", "-", "+")]

    def delivered(self):
        """{payload: how often}"""
        bodies = [call.body.decode() for call in list(self.web.calls)]
        return {body: bodies.count(body) for body in bodies}

    def await_delivered(self, *gids):
        wait_for(lambda: set(gids) <= set(self.delivered()), f"{gids[:3]} … arrive")
        return self.delivered()

    def await_empty(self, *streams, redis=None):
        redis = redis or self.redis
        for stream in streams or (STREAM,):
            wait_for(lambda s=stream: redis.ask("XLEN", s) == 0, f"{stream} is empty")
            self.assertEqual(0, redis.ask("XPENDING", stream, GROUP)[0])

    def record(self, gid):
        """What stands in Redis about it."""
        keys = [key for key in self.redis.ask("KEYS", "saga:*:tx:*") if key.endswith(f":{gid}")]
        flat = self.redis.ask("HGETALL", keys[0])
        return dict(zip(flat[::2], flat[1::2]))

    def metric(self, name):
        return sum(p.metrics()[f"sagad_outbox_{name}"] for name_, p in self.stack.programs.items()
                   if name_.startswith("sagad") and p.process.is_up())


class OneTest(OutboxCase):
    def test_a_change_and_its_message(self):
        gid = self.gid()
        self.redis.ask("SET", "{t:0}:stock", 1)
        self.assertEqual("OK", self.take(gid)[0])
        self.assertEqual({gid: 1}, self.await_delivered(gid))
        self.await_status(f"{gid}-sold", "succeed")
        self.assertEqual("0", self.redis.ask("GET", "{t:0}:stock"))
        self.await_empty()

    def test_a_repeated_change_leaves_one_message(self):
        gid = self.gid()
        self.redis.ask("SET", "{t:0}:stock", 5)
        self.assertEqual(["OK", "DUP", "DUP"], [self.take(gid)[0] for _ in range(3)])
        self.await_delivered(gid)
        self.await_empty()
        self.assertEqual({gid: 1}, self.delivered())

    def test_a_refused_change_leaves_none(self):
        gid = self.gid()
        self.redis.ask("SET", "{t:0}:stock", 0)
        before = self.redis.ask("XINFO", "STREAM", STREAM)
        self.assertEqual(["FAIL", "sold out"], self.take(gid))
        self.assertEqual(before, self.redis.ask("XINFO", "STREAM", STREAM))
        self.assertIsNone(self.sagad.status(f"{gid}-sold"))

    def test_the_same_entry_again_is_no_second_message(self):
        gid = self.gid()
        self.add(gid)
        self.await_delivered(gid)
        self.await_status(gid, "succeed")
        self.add(gid)
        self.await_empty()
        self.await_status(gid, "succeed")
        self.assertEqual({gid: 1}, self.delivered())

    def test_written_while_no_coordinator_runs(self):
        gids = [self.gid() for _ in range(300)]
        self.redis.ask("SET", "{t:0}:stock", len(gids))
        self.sagad.kill()
        for gid in gids:
            self.assertEqual("OK", self.take(gid)[0])
        self.assertEqual(len(gids), self.redis.ask("XLEN", STREAM))
        self.sagad.start()
        self.await_delivered(*gids)
        self.await_empty()
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())

    def test_many_that_a_dead_reader_has_are_taken_over_one_look_after_the_other(self):
        """As many are left behind when the store was away, or when many readers have died."""
        gids = [self.gid() for _ in range(1500)]
        self.await_empty()
        self.sagad.kill()
        ids = [self.add(gid) for gid in gids]
        self.redis.ask("XREADGROUP", "GROUP", GROUP, "dead", "COUNT", len(ids), "STREAMS", STREAM,
                       ">")
        self.redis.ask("XCLAIM", STREAM, GROUP, "dead", 0, *ids, "IDLE", 3600000, "JUSTID")
        self.sagad.start()
        self.await_delivered(*gids)
        self.await_empty()
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())

    def test_poison_stands_in_nobodys_way(self):
        dead, consumed = self.metric("dead_total"), self.metric("consumed_total")
        long, good = self.gid(), self.gid()
        wrong = [
            ({"gid": ""}, "gid"), ({"trans_type": "saga"}, "trans_type"),
            ({"gid": "x" * 129}, "gid"), ({"gid": b"\xff"}, "gid"),
            ({"01.action": "ftp://x/y"}, "action"), ({"01.action": ""}, "01.action"),
            ({"more": "1"}, "more"), ({"02.action": f"{self.web.url}/x"}, "02.payload"),
            ({"01.payload": "x" * 300000}, "payload"), ({"01.action": "topic://a/b"}, "a/b"),
        ]
        ids = [self.add(long, other=fields) for fields, _ in wrong]
        ids.append(self.redis.ask("XADD", STREAM, "*", "hello", "world"))
        ids.append(self.redis.ask("XADD", STREAM, "*", *[str(i) for i in range(3000)]))
        self.add(good)
        self.assertEqual({good: 1}, self.await_delivered(good))
        self.await_empty()
        letters = {letter["id"]: letter for letter in self.dead_letters()}
        self.assertEqual(set(ids), set(letters))
        for (_, word), id_ in zip(wrong, ids):
            self.assertIn(word, letters[id_]["reason"])
        self.assertEqual("world", letters[ids[-2]]["hello"])
        self.assertEqual(dead + len(ids), self.metric("dead_total"))
        self.assertEqual(consumed + 1, self.metric("consumed_total"))
        self.assertIsNone(self.sagad.status(long))
        self.assertTrue(self.sagad.process.has_logged(r'level=error.*msg="dead letter" alert=1'))

    def test_redis_comes_back(self):
        gids = [self.gid() for _ in range(4)]
        self.add(gids[0])
        self.await_delivered(gids[0])
        self.redis.kill()
        self.redis.start()
        self.add(gids[1])
        self.await_delivered(gids[1])
        self.await_empty()
        self.redis.ask("DEL", STREAM)  # and with it the group
        self.add(gids[2])
        self.add(gids[3], OTHER)
        self.await_delivered(*gids[2:])
        self.await_empty(STREAM, OTHER)
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())

    def test_a_stream_that_is_none_holds_up_no_other(self):
        gid = self.gid()
        self.redis.ask("DEL", STREAM)
        self.redis.ask("SET", STREAM, "a text")
        self.addCleanup(self.redis.ask, "DEL", STREAM)
        wait_for(lambda: self.sagad.process.has_logged("cannot use the outbox.*WRONGTYPE"),
                 "it says so")
        self.add(gid, OTHER)
        self.await_delivered(gid)
        self.redis.ask("DEL", STREAM)
        again = self.gid()
        self.add(again)
        self.await_delivered(again)
        self.await_empty(STREAM, OTHER)

    def test_what_waits_is_measured(self):
        self.await_empty()
        gate = threading.Event()
        self.redis.process.thaw()
        self.sagad.kill()
        for _ in range(3):
            self.add(self.gid())
        self.sagad.start(live_max=1)
        self.web.rules["/sold"] = Answer(gate=gate)
        wait_for(lambda: self.metric("entries") >= 2, "two wait")
        gate.set()
        wait_for(lambda: self.metric("entries") == 0, "none waits")
        self.await_empty()
        self.sagad.restart()

    def test_more_than_the_engine_may_hold(self):
        gids, gate = [self.gid() for _ in range(200)], threading.Event()
        self.web.rules["/sold"] = Answer(gate=gate)
        self.sagad.restart(live_max=10)
        for gid in gids:
            self.add(gid)
        wait_for(lambda: self.sagad.metrics()["sagad_live_transactions"] == 10, "it is full")
        gate.set()
        self.await_delivered(*gids)
        self.await_empty()
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())
        self.sagad.restart()

    def test_options_go_with_the_message(self):
        gid, gate = self.gid(), threading.Event()
        body = ("return outbox(KEYS[1], ARGV[1], {concurrent = true, delay_ms = 700, "
                "request_timeout_ms = 20000, retry_interval_ms = 40000, "
                "branch_headers = {['X-Tenant'] = 'seven'}}, ARGV[2], 'one', ARGV[3], 'two')")
        script = (ROOT / "lua" / "barrier" / "outbox.lua").read_text() + body
        self.web.rules["/first"] = Answer(gate=gate)
        begun = time.monotonic()
        self.redis.ask("EVAL", script, 1, STREAM, gid, self.web.url + "/first",
                       self.web.url + "/second")
        self.await_delivered("two")  # while the first one has not answered
        gate.set()
        self.await_status(gid, "succeed")
        self.assertGreaterEqual(self.web.calls[0].at - begun, 0.7)
        self.assertEqual({"seven"}, {call.headers["X-Tenant"] for call in self.web.calls})
        record = self.record(gid)
        self.assertEqual(("1", "700", "20000", "40000"),
                         tuple(record[name] for name in ("concurrent", "delay_ms",
                                                         "request_timeout_ms",
                                                         "retry_interval_ms")))

    def test_wrong_options_are_dead_letters(self):
        gid, good = self.gid(), self.gid()
        flat = ["gid", gid, "trans_type", "msg", "delay_ms", "soon", "01.action",
                self.web.url + "/sold", "01.payload", ""]
        id_ = self.redis.ask("XADD", STREAM, "*", *flat)
        self.add(good)
        self.await_delivered(good)
        self.await_empty()
        letter = next(letter for letter in self.dead_letters() if letter["id"] == id_)
        self.assertEqual("field 'delay_ms': is 'soon', must be a whole number from 0 to "
                         "31622400000", letter["reason"])
        self.assertEqual({good: 1}, self.delivered())

    def test_a_topic_is_sent_to_its_subscribers(self):
        gid, topic = self.gid(), self.gid()
        self.subscribe(topic, "/a", "/b")
        self.add(gid, other={"01.action": f"topic://{topic}", "02.action": self.web.url + "/c",
                             "02.payload": "two"})
        self.await_status(gid, "succeed")
        self.await_empty()
        self.assertEqual({("/a", "01-01", gid), ("/b", "01-02", gid), ("/c", "02", "two")},
                         {(call.path, dict(call.query)["branch_id"], call.body.decode())
                          for call in self.web.calls})

    def test_an_unknown_topic_is_a_dead_letter_and_can_be_sent_again(self):
        lost, good, topic = self.gid(), self.gid(), self.gid()
        id_ = self.add(lost, other={"01.action": f"topic://{topic}"})
        self.add(good)
        self.await_delivered(good)
        self.await_empty()
        letter = next(letter for letter in self.dead_letters() if letter["id"] == id_)
        self.assertEqual(f"topic not found: {topic}", letter["reason"])
        self.assertIsNone(self.sagad.status(lost))
        self.subscribe(topic, "/late")
        again = {name: letter[name] for name in letter if name not in ("reason", "id")}
        self.redis.ask("XADD", STREAM, "*", *[word for pair in again.items() for word in pair])
        self.await_status(lost, "succeed")
        self.assertEqual(["/sold", "/late"], self.web.paths())

    def test_a_topic_that_was_left_by_all(self):
        gid, topic = self.gid(), self.gid()
        self.subscribe(topic, "/a")
        self.sagad.dtm("unsubscribe", topic=topic, url=self.web.url + "/a")
        id_ = self.add(gid, other={"01.action": f"topic://{topic}"})
        wait_for(lambda: id_ in [letter["id"] for letter in self.dead_letters()], "it is dead")
        self.assertIsNone(self.sagad.status(gid))

    def test_a_known_message_outlives_its_topic(self):
        """It is taken again after its acknowledgement was lost, say."""
        gid, topic = self.gid(), self.gid()
        entry = {"01.action": f"topic://{topic}"}
        self.subscribe(topic, "/a")
        self.add(gid, other=entry)
        self.await_status(gid, "succeed")
        self.await_empty()
        web.ask(self.sagad.http.number, "DELETE", f"/api/dtmsvr/topic/{topic}")
        self.add(gid, other=entry)
        self.await_empty()
        self.assertEqual(([], ["/a"]), (self.dead_letters(), self.web.paths()))

    def test_a_clean_stop_leaves_nothing_behind(self):
        gids = [self.gid() for _ in range(500)]
        for gid in gids:
            self.add(gid)
        self.assertEqual(0, self.sagad.process.stop())
        self.sagad.start()
        self.await_delivered(*gids)
        self.await_empty()
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())


class ClusterTest(OutboxCase):
    """Streams of different slots."""

    stack_options = {**OutboxCase.stack_options, "cluster": True}

    def test_each_stream_is_read(self):
        gids = [self.gid() for _ in range(100)]
        for i, gid in enumerate(gids):
            self.add(gid, (STREAM, OTHER)[i % 2])
        self.await_delivered(*gids)
        self.await_empty(STREAM, OTHER)
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())
        self.assertNotIn("CROSSSLOT", self.redis.ask("INFO", "errorstats"))
        self.assertNotIn("cannot use", self.sagad.process.log())


class FarCase(OutboxCase):
    """The outbox is on a Redis of its own, where sagad has the rights that docs/outbox.md tells."""

    PASSWORD, ADMIN = "p@ss/wo%rd: 1", "x" * 8
    coordinators, place_options = 1, ""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory(prefix="sagad-test-")
        acl = os.path.join(cls.dir.name, "users.acl")
        with open(acl, "w", encoding="utf-8") as file:
            file.write(f"user default on >{cls.ADMIN} ~* &* +@all\n"
                       f"user sagad on #{cls.digest(cls.PASSWORD)} resetchannels ~{{t:*}}:outbox* "
                       "-@all +@read +@write +@scripting +@connection +time -@dangerous\n")
        cls.far = RedisServer(cls.dir.name, acl_file=acl, password=cls.ADMIN)
        cls.far.start()
        cls.addClassCleanup(cls.end_far)
        cls.stack_options = {
            **OutboxCase.stack_options, "coordinators": cls.coordinators, "settings": {"sagad": {
                **OutboxCase.stack_options["settings"]["sagad"], "wait_timeout": "300ms",
                "outbox.t": f"redis://sagad:p%40ss%2Fwo%25rd%3a%201@{cls.far.port.address}"
                            f"/{{t:0..1}}:outbox{cls.place_options}"}}}
        super().setUpClass()

    @staticmethod
    def digest(password):
        import hashlib  # pylint: disable=import-outside-toplevel
        return hashlib.sha256(password.encode()).hexdigest()

    @classmethod
    def end_far(cls):
        wrong = cls.far.end()
        cls.dir.cleanup()
        if wrong:
            raise AssertionError(wrong)

    def add(self, gid, stream=STREAM, other=None):
        action = (other or {}).get("01.action", f"{self.web.url}/sold")
        return self.far.ask("XADD", stream, "*", "gid", gid, "trans_type", "msg", "01.action",
                            action, "01.payload", gid)

    def consumers(self):
        """{name: pending} of the readers of the stream."""
        rows = [dict(zip(row[::2], row[1::2]))
                for row in self.far.ask("XINFO", "CONSUMERS", STREAM, GROUP)]
        return {row["name"]: row["pending"] for row in rows}


class TwoTest(FarCase):
    """Two coordinators."""

    coordinators = 2

    def test_both_share_the_streams(self):
        gids, consumed = [self.gid() for _ in range(1000)], self.metric("consumed_total")
        for i, gid in enumerate(gids):
            self.add(gid, (STREAM, OTHER)[i % 2])
        self.await_delivered(*gids)
        self.await_empty(STREAM, OTHER, redis=self.far)
        self.assertEqual({1}, set(self.delivered().values()))
        self.assertEqual(consumed + len(gids), self.metric("consumed_total"))

    def test_a_topic_that_another_coordinator_has_just_heard_of(self):
        gid, topic = self.gid(), self.gid()
        self.subscribe(topic, "/sold", sagad=self.stack["sagad1"])
        self.stack["sagad1"].kill()
        self.add(gid, other={"01.action": f"topic://{topic}"})
        self.await_delivered(gid)
        self.await_empty(redis=self.far)
        self.assertEqual([], self.dead_letters(self.far))
        self.stack["sagad1"].start()

    def test_topics_that_cannot_be_read_keep_the_message(self):
        gid, topic = self.gid(), self.gid()
        self.subscribe(topic, "/sold", sagad=self.stack["sagad1"])
        self.stack["sagad1"].kill()
        self.redis.process.freeze()
        try:
            self.add(gid, other={"01.action": f"topic://{topic}"})
            wait_for(lambda: any(row[2] > 1500 for row in
                                 self.far.ask("XPENDING", STREAM, GROUP, "-", "+", 10)),
                     "it was read, and store_timeout is over")
            self.assertEqual([], self.dead_letters(self.far))
        finally:
            self.redis.process.thaw()
        self.await_delivered(gid)
        self.await_empty(redis=self.far)
        self.assertEqual([], self.dead_letters(self.far))
        self.stack["sagad1"].start()

    def test_killed_between_the_read_and_the_acknowledgement(self):
        """The store hangs, so what was read cannot be submitted; then the reader dies."""
        gids = [self.gid() for _ in range(20)]
        self.redis.process.freeze()
        try:
            for gid in gids:
                self.add(gid)
            wait_for(lambda: sum(self.consumers().values()) == len(gids), "they are read")
            readers = [name for name, pending in self.consumers().items() if pending]
            for program in self.killed(readers):
                program.kill()
        finally:
            self.redis.process.thaw()
        for program in (self.stack["sagad1"], self.stack["sagad2"]):
            if not program.process.is_up():
                program.start()
        self.await_delivered(*gids)
        self.await_empty(redis=self.far)
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())

    def test_killed_between_the_submit_and_the_acknowledgement(self):
        gids = [self.gid() for _ in range(20)]
        self.far.ask("ACL", "SETUSER", "sagad", "-xack")
        try:
            for gid in gids:
                self.add(gid)
            for gid in gids:  # by now nothing of them is called again
                self.await_status(gid, "succeed")
            self.assertEqual(len(gids), self.far.ask("XPENDING", STREAM, GROUP)[0])
            for program in (self.stack["sagad1"], self.stack["sagad2"]):
                program.kill()
        finally:
            self.far.ask("ACL", "SETUSER", "sagad", "+xack")
        for program in (self.stack["sagad1"], self.stack["sagad2"]):
            program.start()
        self.await_empty(redis=self.far)
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())

    def killed(self, readers):
        """The coordinators that go by these names, host/pid/word."""
        pids = {int(name.split("/")[-2]) for name in readers}
        found = [p for p in self.stack.programs.values() if p.process.pid in pids]
        self.assertEqual(len(pids), len(found))
        return found

    def test_the_outbox_is_away_for_a_while(self):
        first, second = self.gid(), self.gid()
        self.add(first)
        self.await_delivered(first)
        self.far.kill()
        self.assertEqual(200, self.sagad.dtm("submit", gid=self.gid(), trans_type="msg",
                                             steps=[{"action": self.web.url + "/else"}],
                                             payloads=["{}"]).status)
        self.far.start()
        self.add(second)
        self.await_delivered(second)
        self.assertEqual(1, self.delivered()[second])

    def test_the_password_is_in_no_log(self):
        for name in ("sagad1", "sagad2"):
            log = self.stack[name].process.log(whole=True)
            self.assertIn("msg=\"consumes\" outbox=t", log)
            self.assertNotIn("wo%", log)


class ReplicaTest(FarCase):
    """What a failover would lose, the change and its entry, has not become a message before."""

    place_options = "?wait_replicas=1"

    @classmethod
    def before_start(cls):
        cls.replica_dir = tempfile.TemporaryDirectory(prefix="sagad-test-")
        cls.replica = RedisServer(cls.replica_dir.name)
        cls.replica.start()
        cls.addClassCleanup(cls.replica_dir.cleanup)
        cls.addClassCleanup(cls.replica.end)  # before its folder; the master ends later
        cls.replica.ask("CONFIG", "SET", "masterauth", cls.ADMIN)
        cls.replica.ask("REPLICAOF", "127.0.0.1", cls.far.port.number)

    def setUp(self):
        super().setUp()
        wait_for(lambda: self.far.ask("WAIT", 1, 100) == 1, "the replica is in step")

    def await_reads(self, count):
        """Until the only entry was read so often: by a reader, then by who took it over."""
        def reads():
            pending = self.far.ask("XPENDING", STREAM, GROUP, "-", "+", 1)
            return pending and pending[0][3]
        wait_for(lambda: (reads() or 0) >= count, f"it is read {count} times")

    def test_an_entry_is_a_message_once_the_replica_has_it(self):
        gids = [self.gid() for _ in range(50)]
        for i, gid in enumerate(gids):
            self.add(gid, (STREAM, OTHER)[i % 2])
        self.await_delivered(*gids)
        self.await_empty(STREAM, OTHER, redis=self.far)
        self.assertEqual({gid: 1 for gid in gids}, self.delivered())

    def test_without_the_replica_it_stays_where_it_is(self):
        gid = self.gid()
        self.replica.process.freeze()
        self.addCleanup(self.replica.process.thaw)
        self.add(gid)
        self.await_reads(2)  # the first has waited in vain
        self.assertTrue(self.sagad.process.has_logged("only 0 of 1 replicas have confirmed it"))
        self.assertIsNone(self.sagad.status(gid))
        self.assertEqual({}, self.delivered())
        self.replica.process.thaw()
        self.await_delivered(gid)
        self.await_empty(redis=self.far)
        self.assertEqual({gid: 1}, self.delivered())


if __name__ == "__main__":
    unittest.main()
