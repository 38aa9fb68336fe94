#!/usr/bin/env python3
"""The TCP API with transactions of every type, spoken by hand; participants over HTTP."""
import threading
import time
import unittest

from harness.case import StackCase
from harness.dtm import PATIENT
from harness.process import DEADLINE, wait_for
from harness.wire import PREPARE, SUBMIT, WireError, WireParticipant
from harness.web import Answer

WAIT_MS = 10000


class NativeCase(StackCase):
    stack_options = {"services": (), "settings": {"sagad": PATIENT}}
    has_user = False

    def setUp(self):
        self.web = self.participant()
        self.id_ = self.gid()
        self.client = self.connect()

    def connect(self):
        client = self.sagad.wire()
        self.addCleanup(client.close)
        return client

    def url(self, name):
        return f"{self.web.url}/{name}"

    def register(self, branch_id, name, trans_type="tcc", **fields):
        return self.client.register(self.id_, trans_type, branch_id, self.url(name + "-yes"),
                                    self.url(name + "-no"), b"{}", **fields)

    def refused(self, code, work, *arguments, **fields):
        with self.assertRaises(WireError) as caught:
            work(*arguments, **fields)
        self.assertEqual(code, caught.exception.code, caught.exception.text)
        return caught.exception


class TccTest(NativeCase):
    def prepare(self, **fields):
        reply = self.client.ask(PREPARE, self.id_, "tcc", **fields)
        self.assertEqual("prepared", reply.status)

    def end(self, **fields):
        return self.client.ask(SUBMIT, self.id_, "tcc", wait_timeout_ms=WAIT_MS, **fields)

    def test_registered_branches_are_confirmed_in_reverse(self):
        self.prepare()
        self.register("01", "a")
        self.register("02", "b")
        self.assertEqual([], self.web.paths())
        self.assertEqual("succeed", self.end().status)
        self.assertEqual(["/b-yes", "/a-yes"], self.web.paths())
        call = self.web.calls[0]
        self.assertEqual({"gid": self.id_, "branch_id": "02", "op": "confirm",
                          "trans_type": "tcc"}, dict(call.query))

    def test_an_abort_cancels_what_was_registered(self):
        self.prepare()
        self.register("01", "a")
        reply = self.client.abort(self.id_, "changed my mind")
        self.assertEqual(("aborting", "changed my mind"), (reply.status, reply.rollback_reason))
        self.await_status(self.id_, "failed")
        self.assertEqual(["/a-no"], self.web.paths())
        self.assertIn(self.client.abort(self.id_).status, ("aborting", "failed"))

    def test_what_is_neither_submitted_nor_aborted_is_cancelled(self):
        while not self.is_registered_in_time(timeout_to_fail_ms=200):
            self.id_ = self.gid()
        self.await_status(self.id_, "failed")
        self.assertEqual(["/a-no"], self.web.paths())

    def is_registered_in_time(self, **fields):
        """A machine that is busy may be too slow for it."""
        self.prepare(**fields)
        try:
            self.register("01", "a")
        except WireError as error:
            self.assertEqual("CONFLICT", error.code)
            return False
        return True

    def test_registering_is_repeatable_and_bound_to_the_state(self):
        self.refused("NOT_FOUND", self.register, "01", "a")
        self.prepare()
        self.register("01", "a")
        self.register("01", "a")
        self.refused("CONFLICT", self.register, "01", "b")
        self.refused("CONFLICT", self.register, "02", "a", trans_type="xa")
        self.assertEqual("branch_id", self.refused("INVALID", self.register, "00", "a").field)
        self.end()
        self.assertEqual(["/a-yes"], self.web.paths())
        self.refused("CONFLICT", self.register, "02", "b")
        self.refused("CONFLICT", self.client.ask, PREPARE, self.id_, "tcc")
        self.refused("CONFLICT", self.client.abort, self.id_)

    def test_a_second_submit_loses_no_confirm(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        self.web.rules["/a-yes"] = [Answer(500), Answer(500), Answer(200, gate=gate)]
        self.prepare()
        self.register("01", "a")
        for _ in range(2):
            reply = self.client.ask(SUBMIT, self.id_, "tcc")
            self.assertEqual("submitted", reply.status)
        gate.set()
        self.await_status(self.id_, "succeed")
        self.assertEqual(["/a-yes"] * 3, self.web.paths())

    def test_declared_tries_are_called_at_once_and_one_refusal_cancels_all(self):
        steps = [{"try_url": self.url(f"{n}-try"), "confirm": self.url(f"{n}-yes"),
                  "cancel": self.url(f"{n}-no"), "payload": b"{}"} for n in ("a", "b")]
        self.assertEqual("succeed", self.end(steps=steps).status)
        self.assertEqual({"/a-try", "/b-try"}, set(self.web.paths()[:2]))
        self.assertEqual(["/b-yes", "/a-yes"], self.web.paths()[2:])
        self.id_ = self.gid()
        self.web.calls.clear()
        self.web.rules["/b-try"] = Answer(409)
        self.assertEqual("failed", self.end(steps=steps).status)
        self.assertEqual(["/b-no", "/a-no"], self.web.paths()[2:])

    def test_one_that_was_not_prepared_cannot_be_submitted(self):
        self.refused("NOT_FOUND", self.end)

    def test_a_killed_coordinator_forgets_no_branch(self):
        self.prepare()
        self.register("01", "a")
        self.sagad.kill()
        self.sagad.start()
        self.client = self.connect()
        self.register("02", "b")
        self.assertEqual("succeed", self.end().status)
        self.assertEqual(["/b-yes", "/a-yes"], self.web.paths())


class XaTest(NativeCase):
    def test_phase_two_in_order(self):
        for verb, status, path in (("submit", "succeed", "yes"), ("abort", "failed", "no")):
            with self.subTest(verb):
                self.id_ = self.gid()
                self.web.calls.clear()
                self.client.ask(PREPARE, self.id_, "xa")
                self.register("01", "a", trans_type="xa")
                self.register("02", "b", trans_type="xa")
                if verb == "submit":
                    self.client.ask(SUBMIT, self.id_, "xa")
                else:
                    self.client.abort(self.id_)
                self.await_status(self.id_, status)
                self.assertEqual([f"/a-{path}", f"/b-{path}"], self.web.paths())


class MessageTest(NativeCase):
    def message(self, kind, **fields):
        return self.client.ask(kind, self.id_, "msg",
                               steps=[{"action": self.url("a"), "payload": b"{}"}], **fields)

    def test_it_is_sent_when_it_is_submitted(self):
        self.message(PREPARE, query_prepared=self.url("check"))
        self.assertEqual("succeed", self.message(SUBMIT, query_prepared=self.url("check"),
                                                 wait_timeout_ms=WAIT_MS).status)
        self.assertEqual(["/a"], self.web.paths())

    def test_the_check_back_decides_when_nobody_does(self):
        for answer, status, calls in ((200, "succeed", ["/check", "/a"]), (409, "failed", ["/check"])):
            with self.subTest(status):
                self.id_ = self.gid()
                self.web.calls.clear()
                self.web.rules["/check"] = Answer(answer)
                self.message(PREPARE, query_prepared=self.url("check"), timeout_to_fail_ms=100)
                self.await_status(self.id_, status)
                self.assertEqual(calls, self.web.paths())

    def test_a_prepared_one_needs_its_check_back(self):
        self.assertEqual("query_prepared", self.refused("INVALID", self.message, PREPARE).field)

    def subscribe(self, topic, name):
        reply = self.sagad.dtm("subscribe", topic=topic, url=self.url(name), remark="")
        self.assertEqual(200, reply.status, reply.text)

    def publish(self, kind, topic, **fields):
        return self.client.ask(kind, self.id_, "msg", steps=[
            {"action": f"topic://{topic}", "payload": b"{}"}], **fields)

    def test_a_topic_stands_for_its_subscribers(self):
        self.subscribe("paid", "a")
        self.subscribe("paid", "b")
        self.assertEqual("succeed", self.publish(SUBMIT, "paid", wait_timeout_ms=WAIT_MS).status)
        self.assertEqual(["/a", "/b"], self.web.paths())
        self.assertEqual([("01-01", "action", "succeed"), ("01-02", "action", "succeed")],
                         self.client.query(self.id_).branches)

    def test_what_was_prepared_is_sent_though_its_topic_is_gone(self):
        self.subscribe("short", "a")
        self.publish(PREPARE, "short", query_prepared=self.url("check"))
        self.assertEqual(200, self.sagad.dtm("unsubscribe", topic="short",
                                             url=self.url("a")).status)
        self.assertEqual("succeed", self.publish(SUBMIT, "short", wait_timeout_ms=WAIT_MS,
                                                 query_prepared=self.url("check")).status)
        self.assertEqual(["/a"], self.web.paths())

    def test_a_topic_that_nobody_knows(self):
        self.assertIn("nowhere", self.refused("NOT_FOUND", self.publish, SUBMIT, "nowhere").text)
        self.assertFalse(self.client.query(self.id_).found)

    def test_a_delayed_one_waits(self):
        began = time.monotonic()
        self.assertEqual("submitted", self.message(SUBMIT, delay_ms=400).status)
        self.await_status(self.id_, "succeed")
        self.assertGreaterEqual(self.web.calls[0].at - began, 0.4)


class WorkflowTest(NativeCase):
    """The client does the steps; the coordinator remembers them, and wakes it up."""

    def setUp(self):
        super().setUp()
        self.host = WireParticipant()
        self.addCleanup(self.host.close)

    def begin(self, client=None, **fields):
        return (client or self.client).workflow(self.id_, "trip", b"to Rome", **{
            "resume": self.host.url + "/trip.Trip/Resume", "retry_interval_ms": 600000, **fields})

    def test_begin_tells_what_is_known(self):
        first = self.begin()
        self.assertEqual(("prepared", []), (first.status, first.branches))
        self.assertEqual("prepared", self.client.report(self.id_, "01", b"room\0 7").status)
        self.client.report(self.id_, "02", b"full", status="failed")
        self.client.report(self.id_, "01", op="compensate")
        for known in (self.begin(), self.client.query(self.id_)):
            self.assertEqual([("01", "action", "succeed"), ("01", "compensate", "succeed"),
                              ("02", "action", "failed")], sorted(known.branches))
            self.assertEqual({("01", "action"): b"room\0 7", ("01", "compensate"): b"",
                              ("02", "action"): b"full"}, known.results)
        self.assertEqual("failed", self.client.finish(self.id_, "failed", "no flight").status)
        self.assertEqual(("failed", "no flight"), (self.begin().status,
                                                   self.begin().rollback_reason))

    def test_the_end_is_kept_and_does_not_turn(self):
        self.begin()
        for _ in range(2):
            self.assertEqual("succeed", self.client.finish(self.id_, result=b"all\xff").status)
        self.refused("CONFLICT", self.client.finish, self.id_, "failed")
        self.refused("CONFLICT", self.client.report, self.id_, "01")
        known = self.client.query(self.id_)
        self.assertEqual(("succeed", b"all\xff"), (known.status, known.result))

    def test_a_report_is_repeatable_and_does_not_turn(self):
        self.refused("NOT_FOUND", self.client.report, self.id_, "01")
        self.refused("NOT_FOUND", self.client.finish, self.id_)
        self.begin()
        for _ in range(2):
            self.client.report(self.id_, "01", b"x")
        self.refused("CONFLICT", self.client.report, self.id_, "01", b"y")
        self.refused("CONFLICT", self.client.report, self.id_, "01", b"x", status="failed")
        self.client.finish(self.id_)

    def test_it_is_resumed_by_a_call(self):
        """Its data and its name come back; what was done is skipped."""
        reported = threading.Event()

        def resume(call):
            reported.wait(DEADLINE)
            with self.sagad.wire() as client:
                known = self.begin(client)
                if ("02", "action") not in known.results:
                    client.report(self.id_, "02", b"flight")
                client.finish(self.id_, result=b"done")
            return 1

        self.host.rules["trip.Trip/Resume"] = resume
        self.begin(retry_interval_ms=100)
        self.client.report(self.id_, "01", b"room")
        reported.set()
        self.client.close()  # nobody is there any more
        self.await_status(self.id_, "succeed")
        call = self.host.calls[0]
        self.assertEqual((self.id_, "00", "trip", "workflow", b"to Rome"),
                         (call.gid, call.branch_id, call.op, call.trans_type, call.payload))
        with self.sagad.wire() as client:
            self.assertEqual({("01", "action"): b"room", ("02", "action"): b"flight"},
                             client.query(self.id_).results)
        self.assertEqual("trip", self.sagad.query(self.id_)["transaction"]["workflow"])

    def test_what_is_reported_fits_into_an_answer(self):
        self.begin()
        for i in range(1, 5):
            self.client.report(self.id_, f"0{i}", b"x" * (256 * 1024 - 10))
        found = self.refused("CONFLICT", self.client.report, self.id_, "05", b"x" * 1000)
        self.assertIn("bytes together", found.text)
        self.assertEqual(4, len(self.begin().results))
        self.client.finish(self.id_, result=b"x" * 256 * 1024)
        self.assertEqual(256 * 1024, len(self.begin().result))

    def test_undos_have_room_of_their_own(self):
        self.begin()
        for i in range(1, 101):
            self.client.report(self.id_, f"{i:02}")
        self.assertIn("it has 100 branches",
                      self.refused("CONFLICT", self.client.report, self.id_, "101").text)
        for i in range(1, 201):
            self.client.report(self.id_, f"{i:02}", op="compensate" if i < 101 else "rollback")
        self.assertIn("it has 200 undos", self.refused("CONFLICT", self.client.report, self.id_,
                                                       "201", op="cancel").text)
        self.assertEqual(300, len(self.begin().results))
        self.client.finish(self.id_)

    def test_what_is_not_its_own_is_refused(self):
        self.client.ask(PREPARE, self.id_, "tcc")
        self.refused("CONFLICT", self.begin)
        self.refused("CONFLICT", self.client.report, self.id_, "01")
        self.refused("CONFLICT", self.client.finish, self.id_)
        self.client.abort(self.id_)
        self.id_ = self.gid()
        self.begin()
        self.refused("CONFLICT", self.client.abort, self.id_)
        self.refused("CONFLICT", self.register, "01", "a")
        for kind in (PREPARE, SUBMIT):
            self.assertEqual("trans_type", self.refused("INVALID", self.client.ask, kind, self.id_,
                                                        "workflow").field)
        self.client.finish(self.id_)


class ConcurrentSagaTest(NativeCase):
    def steps(self, *orders):
        return [{"action": self.url(f"{i}"), "compensate": self.url(f"{i}-undo"), "after": after}
                for i, after in enumerate(orders)]

    def submit(self, *orders):
        return self.client.ask(SUBMIT, self.id_, "saga", self.steps(*orders), concurrent=True,
                               wait_timeout_ms=WAIT_MS)

    def test_orders_hold_forward_and_backward(self):
        self.assertEqual("succeed", self.submit([1, 2], [], [1]).status)
        self.assertEqual(["/1", "/2", "/0"], self.web.paths())
        self.id_ = self.gid()
        self.web.calls.clear()
        self.web.rules["/0"] = Answer(409)
        self.assertEqual("failed", self.submit([1, 2], [], [1]).status)
        self.assertEqual(["/1", "/2", "/0", "/0-undo", "/2-undo", "/1-undo"], self.web.paths())

    def test_steps_without_order_overlap(self):
        self.web.rules["/0"] = Answer(200, run=lambda call: wait_for(
            lambda: "/1" in self.web.paths(), "both are called"))
        self.web.rules["/1"] = Answer(200, run=lambda call: wait_for(
            lambda: "/0" in self.web.paths(), "both are called"))
        self.assertEqual("succeed", self.submit([], []).status)

    def test_circles_and_unknown_indices_are_refused(self):
        for orders in (([1], [0]), ([0],), ([5], [])):
            self.assertEqual("orders", self.refused("INVALID", self.submit, *orders).field)


if __name__ == "__main__":
    unittest.main()
