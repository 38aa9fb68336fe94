#!/usr/bin/env python3
"""R17: any process may die, any may be away for seconds; nothing acknowledged is lost or done twice."""
import collections
import http.client
import threading
import time
import unittest

from harness import mall
from harness.case import StackCase
from harness.process import wait_for
from harness.web import Answer
from harness.wire import WireClient, WireError

STOCK = 300  # less than the load wants: sagas of both ends
LOST = (OSError, EOFError, WireError, http.client.HTTPException)


class Load:
    """Threads that submit orders with gids of their own, each again and again until it is acknowledged.

    After stop(): `acknowledged` has every gid whose submit was answered, with the answered status.
    """

    def __init__(self, case, pid, threads=8, coordinators=None):
        self.case, self.pid = case, pid
        self.coordinators = coordinators or [case.sagad]
        self.ending = threading.Event()
        self.acknowledged = {}
        self.errors = collections.Counter()
        self.lock = threading.Lock()
        with case.stack["order"].wire() as client:
            self.ids = iter(mall.new_order_ids(client, case.uid, 100000))
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def next_order(self):
        with self.lock:
            return next(self.ids)

    def submit_once(self, i, gid, steps):
        sagad = self.coordinators[i % len(self.coordinators)]
        with WireClient(sagad.rpc.address, timeout_s=10) as client:
            wait = i % 2 == 0
            return client.submit(gid, steps, wait=wait, wait_timeout_ms=5000 * wait).status

    def run(self, i):
        while not self.ending.is_set():
            order_id = self.next_order()
            gid = f"load-{self.pid}-{order_id}"
            steps = mall.order_steps(order_id, self.case.uid, self.pid)
            attempt = i
            while gid not in self.acknowledged and not self.ending.is_set():
                try:
                    status = self.submit_once(attempt, gid, steps)
                    with self.lock:
                        self.acknowledged[gid] = status
                except LOST as error:
                    if isinstance(error, WireError) and error.code not in ("BUSY", "UNAVAILABLE"):
                        self.ending.set()  # nobody may say this to a good submit
                    with self.lock:
                        self.errors[f"{type(error).__name__}: {error}"] += 1
                    self.ending.wait(0.02)  # not a busy loop while nobody listens
                    attempt += len(self.coordinators) > 1

    def await_more(self, count):
        """Until `count` further ones are acknowledged."""
        goal = len(self.acknowledged) + count
        try:
            wait_for(lambda: len(self.acknowledged) >= goal, "the load goes on")
        except AssertionError as error:
            raise AssertionError(f"{error}; so far {dict(self.errors)}") from None

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        wrong = [text for text in self.errors if text.startswith("WireError: ")
                 and not text.startswith(("WireError: BUSY", "WireError: UNAVAILABLE"))]
        self.case.assertEqual([], wrong)
        return self.acknowledged


class RecoveryCase(StackCase):
    stack_options = {"fsync": "always",
                     "settings": {"sagad": {"request_timeout": "1s", "store_timeout": "1s"}}}

    def setUp(self):
        self.pid = self.make_product(STOCK)
        self.load = Load(self, self.pid, coordinators=self.coordinators())
        self.addCleanup(self.load.stop)
        self.load.await_more(50)

    def coordinators(self):
        return [p for name, p in self.stack.programs.items() if name.startswith("sagad")]

    def settle(self, more=50):
        """The load goes on, then ends; everything is decided and the books balance."""
        self.load.await_more(more)
        acknowledged = self.load.stop()
        for sagad in self.coordinators():
            # metrics count what the store has, of all coordinators
            wait_for(lambda s=sagad: s.metrics().get("sagad_due_transactions") == 0,
                     "no transaction is open")
        self.assert_outcomes(acknowledged)

    def assert_outcomes(self, acknowledged):
        """Status, orders, stock and barrier rows tell the same story."""
        records = self.redis.client.hashes(f"saga:*:tx:load-{self.pid}-*")
        statuses = {key.partition(":tx:")[2]: record["status"] for key, record in records.items()}
        self.assertEqual(set(), set(acknowledged) - set(statuses), "acknowledged, but lost")
        self.assertLessEqual(set(statuses.values()), {"succeed", "failed"})
        for gid, answered in acknowledged.items():
            if answered in ("succeed", "failed"):
                self.assertEqual(answered, statuses[gid], gid)
        orders = {o["gid"]: o["status"] for o in mall.Books(self.redis.client, {}).orders()
                  if o["pid"] == str(self.pid)}
        self.assertEqual({gid: "0" if status == "succeed" else "9"
                          for gid, status in statuses.items() if status == "succeed" or gid in orders},
                         orders)
        self.assert_books({self.pid: STOCK})
        rows = mall.barrier_rows(self.redis.client, None)
        by_gid = {}
        for row in rows:
            by_gid.setdefault(row[1], set()).add(row)
        for gid, status in statuses.items():
            allowed = [mall.rows_done(gid)] if status == "succeed" else [
                mall.rows_refused(gid), mall.rows_failed_afterwards(gid),
                mall.rows(gid, ("01", "action", "compensate"), ("02", "action", "compensate"))
                | mall.rows_undone(gid)]
            self.assertIn(by_gid.get(gid, set()), allowed, f"{gid} {status}")
        self.assertGreater(list(statuses.values()).count("succeed"), 0)


class KillTest(RecoveryCase):
    """kill -9 in the middle of load, and a start again."""

    def kill_twice(self, name):
        for _ in range(2):
            self.stack[name].kill()
            self.stack[name].start()
            self.load.await_more(50)
        self.settle()

    def test_sagad(self):
        self.kill_twice("sagad1")

    def test_order(self):
        self.kill_twice("order")

    def test_product(self):
        self.kill_twice("product")

    def test_redis(self):
        self.kill_twice("redis")

    def test_all_of_them(self):
        names = ("redis", "sagad1", "order", "product")
        for name in names:
            self.stack[name].kill()
        for name in names:
            self.stack[name].start()
        self.settle()

    def test_script_flush(self):
        for _ in range(5):
            self.redis.ask("SCRIPT", "FLUSH")
            self.load.await_more(20)
        self.settle()
        self.assertEqual({}, dict(self.load.errors))


class AwayTest(RecoveryCase):
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


class TwoCoordinatorsTest(RecoveryCase):
    stack_options = {**RecoveryCase.stack_options, "coordinators": 2}

    def test_one_dies_and_the_other_takes_over(self):
        self.stack["sagad1"].kill()
        self.load.await_more(50)
        self.stack["sagad1"].start()
        self.stack["sagad2"].kill()
        self.load.await_more(50)
        self.stack["sagad2"].start()
        self.settle()


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
        self.assertLessEqual(took, self.LEASE_S + 1)

    def test_a_living_owner_is_not_robbed(self):
        participant, gid, gate = self.hang()
        hanging_since = time.monotonic()
        wait_for(lambda: time.monotonic() - hanging_since > 2 * self.LEASE_S, "two leases are over",
                 3 * self.LEASE_S)
        self.assertEqual(1, participant.count("/b"))
        gate.set()
        self.await_status(gid, "succeed", self.stack["sagad2"])
        self.assertEqual(["/a", "/b"], participant.paths())

    def test_a_clean_stop_gives_the_work_away(self):
        participant, gid = self.participant(), self.gid()
        participant.rules["/a"] = [Answer(500, ""), Answer()]
        self.sagad.dtm("submit", gid=gid, trans_type="saga", retry_interval=2, wait_result=True,
                       steps=[{"action": participant.url + "/a"}], payloads=[""])
        self.assertEqual(0, self.sagad.process.stop())
        try:
            self.await_status(gid, "succeed", self.stack["sagad2"])
        finally:
            self.sagad.start()

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
        self.assertEqual(0, self.sagad.process.has_logged("panic") is not None)
        again = self.sagad.dtm("submit", gid=gid, trans_type="saga", wait_result=True,
                               steps=[{"action": participant.url + "/a"}], payloads=[""])
        self.assertEqual(409, again.status)
        self.assertEqual(1, participant.count("/a"))


if __name__ == "__main__":
    unittest.main()
