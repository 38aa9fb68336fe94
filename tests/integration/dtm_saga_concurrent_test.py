#!/usr/bin/env python3
"""Concurrent sagas over HTTP: all actions at once, but for the orders between them."""
import json
import threading
import time
import unittest

from harness.dtm import SLACK_S, ModeCase, TwoCoordinators
from harness.process import wait_for
from harness.web import Answer


class Saga:
    trans_type = "saga"

    def saga(self, *names, orders=None, gid=None, **fields):
        """What the Go SDK sends: the orders in custom_data, `concurrent` twice."""
        url = self.web.url
        custom = {"concurrent": True}
        if orders:
            custom["orders"] = {str(step): after for step, after in orders.items()}
        return self.body(gid, **{
            "steps": [{"action": f"{url}/{n}", "compensate": f"{url}/{n}-undo"} for n in names],
            "payloads": [json.dumps({"of": n}) for n in names], "concurrent": True,
            "custom_data": json.dumps(custom), **fields})

    def submit(self, *names, sagad=None, **fields):
        return self.send("submit", sagad, **self.saga(*names, **fields))

    def assert_before(self, *paths):
        """Each was called before the next."""
        seen = self.web.paths()
        places = [seen.index(path) for path in paths]
        self.assertEqual(sorted(places), places, seen)

    def undone(self):
        return [path for path in self.web.paths() if path.endswith("-undo")]


class ForwardTest(Saga, ModeCase):
    def test_all_at_once(self):
        together = threading.Barrier(4, timeout=20)
        for name in "abcd":
            self.web.rules[f"/{name}"] = Answer(run=lambda call: together.wait())
        self.assert_reply(200, "SUCCESS", self.submit(*"abcd", wait_result=True))
        self.assertEqual(["/a", "/b", "/c", "/d"], sorted(self.web.paths()))
        self.assertEqual("succeed", self.sagad.status(self.id_))
        self.assertTrue(self.transaction()["concurrent"])
        call = self.call_of("/b")
        self.assertEqual({"gid": self.id_, "trans_type": "saga", "branch_id": "02", "op": "action"},
                         self.params(call))
        self.assertEqual(b'{"of": "b"}', call.body)

    def test_orders_are_kept(self):
        gate = self.gated("/a")
        self.submit(*"abcd", orders={2: [0, 1], 3: [2]}, request_timeout=20)
        self.called("/a", "/b")
        wait_for(lambda: self.sagad.branches(self.id_)["02", "action"] == "succeed", "b is done")
        self.assertEqual(2, len(self.web.calls))  # c waits for a as well
        gate.set()
        self.assert_ended("succeed")
        self.assert_before("/a", "/c", "/d")
        self.assert_before("/b", "/c")

    def test_without_the_word_it_is_one_after_the_other(self):
        """`concurrent` alone is sent with every saga; orders mean nothing without it."""
        reply = self.submit(*"abc", custom_data='{"orders":{"0":[2]}}', wait_result=True)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual(["/a", "/b", "/c"], self.web.paths())

    def test_one_that_must_be_tried_again_holds_up_only_what_comes_after(self):
        self.web.rules["/a"] = [Answer(500, ""), Answer(425, ""), Answer()]
        reply = self.submit(*"abc", orders={2: [0]}, wait_result=True, wait_timeout=30)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual(3, self.web.count("/a"))
        self.assertEqual((1, 1), (self.web.count("/b"), self.web.count("/c")))
        self.assertEqual("/c", self.web.paths()[-1])

    def test_hundred_steps_in_a_chain_and_at_once(self):
        names = [f"p{i}" for i in range(100)]
        reply = self.submit(*names, wait_result=True, wait_timeout=30)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual({f"/{n}" for n in names}, set(self.web.paths()))
        self.web.calls.clear()
        chain = {i: [i + 1] for i in range(99)}
        reply = self.submit(*names, gid=self.gid(), orders=chain, wait_result=True, wait_timeout=30)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual([f"/{n}" for n in reversed(names)], self.web.paths())

    def test_empty_urls_in_between(self):
        url = self.web.url
        steps = [{"action": f"{url}/a"}, {"action": ""}, {"action": f"{url}/c"}]
        reply = self.submit(*"abc", steps=steps, orders={1: [0], 2: [1]}, wait_result=True)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual(["/a", "/c"], self.web.paths())


class BackwardTest(Saga, ModeCase):
    def test_failure_waits_for_calls_in_flight(self):
        gate = self.gated("/a")
        self.web.rules["/b"] = Answer(409, "no")
        self.submit(*"abc", request_timeout=20)
        wait_for(lambda: self.sagad.status(self.id_) == "aborting", "the decision is stored")
        self.called("/a", "/c")
        self.assertEqual([], self.undone())  # a may still come through
        gate.set()
        self.assert_ended("failed")
        self.assertEqual({"/a-undo", "/b-undo", "/c-undo"}, set(self.undone()))
        self.assertEqual(f"url:{self.web.url}/b return failed: no",
                         self.transaction()["rollback_reason"])

    def test_a_call_in_flight_is_awaited_no_longer_than_its_deadline(self):
        self.gated("/a")
        self.web.rules["/b"] = Answer(409, "no")
        started = time.monotonic()
        reply = self.submit("a", "b", request_timeout=1, wait_result=True, wait_timeout=30)
        self.assert_reply(409, "FAILURE", reply)
        took = time.monotonic() - started
        self.assertTrue(0.9 <= took < 1 + SLACK_S, took)
        self.assertEqual({"/a-undo", "/b-undo"}, set(self.undone()))

    def test_compensates_against_the_orders(self):
        self.web.rules["/d"] = Answer(409, "no")
        reply = self.submit(*"abcd", orders={2: [0, 1], 3: [2]}, wait_result=True)
        self.assert_reply(409, "FAILURE", reply)
        self.assert_before("/d-undo", "/c-undo", "/a-undo")
        self.assert_before("/c-undo", "/b-undo")
        self.assertEqual(4, len(self.undone()))

    def test_compensates_in_parallel_where_no_order_forbids(self):
        together = threading.Barrier(3, timeout=20)
        self.web.rules["/d"] = Answer(409, "no")
        for name in "abc":
            self.web.rules[f"/{name}-undo"] = Answer(run=lambda call: together.wait())
        self.assert_reply(409, "FAILURE", self.submit(*"abcd", wait_result=True, wait_timeout=30))

    def test_what_did_not_succeed_is_compensated_before_what_did(self):
        self.web.rules = {"/b": Answer(409, "no"),
                          "/b-undo": [Answer(500, ""), Answer(500, ""), Answer()]}
        reply = self.submit(*"abc", wait_result=True, wait_timeout=30)
        self.assert_reply(409, "FAILURE", reply)
        self.assertEqual(["/b-undo"] * 3, self.undone()[:3])
        self.assertEqual(["/a-undo", "/c-undo"], sorted(self.undone()[3:]))

    def test_what_was_not_reached_is_not_compensated(self):
        self.web.rules["/a"] = Answer(409, "no")
        reply = self.submit(*"abcd", orders={2: [0], 3: [2]}, wait_result=True)
        self.assert_reply(409, "FAILURE", reply)
        self.assertEqual(["/a", "/b"], sorted(set(self.web.paths()) - set(self.undone())))
        self.assertEqual(["/a-undo", "/b-undo"], sorted(self.undone()))

    def test_a_compensation_that_fails_holds_up_only_what_comes_before(self):
        self.web.rules = {"/c": Answer(409, "no"),
                          "/b-undo": [Answer(409, "FAILURE"), Answer(500, ""), Answer()]}
        reply = self.submit(*"abc", orders={1: [0], 2: [0]}, wait_result=True, wait_timeout=30)
        self.assert_reply(409, "FAILURE", reply)
        self.assertEqual((1, 3, 1), tuple(self.web.count(f"/{n}-undo") for n in "abc"))
        self.assertEqual("/a-undo", self.web.paths()[-1])

    def test_abort_and_timeout(self):
        gate = self.gated("/a")
        self.submit(*"ab", request_timeout=20)
        self.called("/a", "/b")
        self.ok("abort", **self.body(rollback_reason="enough"))
        self.assertEqual([], self.undone())
        gate.set()
        self.assert_ended("failed")
        self.assertEqual({"/a-undo", "/b-undo"}, set(self.undone()))
        self.web.calls.clear()
        self.web.rules = {"/a": Answer(500, "")}
        reply = self.submit(*"ab", gid=self.gid(), timeout_to_fail=1, retry_interval=600,
                            wait_result=True, wait_timeout=30)
        self.assert_message(409, "Timeout after 1 seconds FAILURE", reply)
        self.assertEqual({"/a-undo", "/b-undo"}, set(self.undone()))


class BadInputTest(Saga, ModeCase):
    def test_orders(self):
        table = [({0: [0]}, "another one"), ({0: [1], 1: [0]}, "wait for one another"),
                 ({0: [1], 1: [2], 2: [0]}, "3 steps wait for one another"),
                 ({3: [0]}, "orders has '3'"), ({-1: [0]}, "orders has '-1'"),
                 ({"x": [0]}, "orders has 'x'"), ({0: [3]}, "steps from 0 to 2"),
                 ({0: [-1]}, "steps from 0 to 2"), ({0: [1.5]}, "steps from 0 to 2"),
                 ({0: ["1"]}, "steps from 0 to 2"), ({0: 1}, "with an array"),
                 ({0: [1] * 4}, "each once")]
        for orders, says in table:
            with self.subTest(str(orders)):
                self.assert_refused(says, self.submit(*"abc", orders=orders))
        self.assert_refused("orders", self.submit(
            *"abc", custom_data='{"concurrent":true,"orders":[]}'))
        self.assertEqual(([], None), (self.web.calls, self.transaction()))


class PreparedTest(Saga, ModeCase):
    """DTM prepares any type, so a saga too."""

    def test_prepare_and_submit(self):
        body = {**self.saga("a", "b"), "custom_data": None}
        self.ok("prepare", **body)
        self.assertEqual(("prepared", []), (self.sagad.status(self.id_), self.web.calls))
        self.assert_reply(200, "SUCCESS", self.send("submit", **body, wait_result=True))
        self.assertEqual(["/a", "/b"], self.web.paths())

    def test_prepare_and_abort(self):
        self.ok("prepare", **self.saga("a", "b"))
        self.ok("abort", **self.body())
        self.assert_ended("failed")
        self.assertEqual([], self.web.calls)

    def test_prepare_and_then_nothing(self):
        self.ok("prepare", **self.saga("a", "b", timeout_to_fail=1))
        self.assert_ended("failed")
        self.assertEqual([], self.web.calls)


class HangingTest(Saga, ModeCase):
    """One sick participant delays nobody else."""

    COUNT = 200

    def hang(self, **fields):
        """So many transactions whose calls do not come back."""
        self.web.rules["/hang"] = self.hanging = Answer(gate=threading.Event())
        self.addCleanup(self.hanging.gate.set)
        self.in_threads(8, lambda i: [self.ok("submit", **self.saga(
            "hang", gid=f"{self.id_}-{i}-{n}", request_timeout=30, **fields))
            for n in range(self.COUNT // 8)])

    def unrelated(self, well, **fields):
        url = well.url
        return self.submit("a", "b", gid=self.gid(), steps=[{"action": f"{url}/{n}"} for n in "ab"],
                           **fields)

    def test_an_unrelated_one_is_not_delayed(self):
        well = self.participant()
        self.hang()
        wait_for(lambda: self.web.count("/hang") >= 100, "the calls hang")
        for _ in range(5):
            started = time.monotonic()
            self.assert_reply(200, "SUCCESS", self.unrelated(well, wait_result=True))
            self.assertLess(time.monotonic() - started, SLACK_S)

    def test_nor_is_its_retry(self):
        well = self.participant()
        self.hang()
        wait_for(lambda: self.web.count("/hang") >= 100, "the calls hang")
        well.rules["/a"] = [Answer(500, "")] * 2 + [Answer()]
        started = time.monotonic()
        reply = self.unrelated(well, wait_result=True, wait_timeout=30)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertLess(time.monotonic() - started, SLACK_S)  # 0.1 s and 0.2 s of pauses

    def test_nor_is_its_recovery(self):
        well = self.participant()
        self.hang()
        gate = threading.Event()
        self.addCleanup(gate.set)
        well.rules["/a"] = Answer(gate=gate)
        reply = self.unrelated(well)
        self.assertEqual(200, reply.status)
        wait_for(lambda: well.count("/a") == 1, "it is called")
        self.sagad.kill()
        well.rules.clear()
        gate.set()
        self.sagad.start()
        started = time.monotonic()
        wait_for(lambda: well.count("/b") == 1, "it was taken up again")
        # the lease of the one that was killed, and the round of who looks for overdue ones
        self.assertLess(time.monotonic() - started, 2 + SLACK_S)


class RecoveryTest(Saga, TwoCoordinators):
    """kill -9 in each phase; the other coordinator goes on."""

    def test_acting(self):
        kill = self.kill_while("/a", "/b")
        self.submit(*"abc", orders={2: [0, 1]}, request_timeout=20)
        kill()
        self.assert_ended("succeed")
        self.assertEqual((2, 2, 1), tuple(self.web.count(f"/{n}") for n in "abc"))
        self.assertEqual("/c", self.web.paths()[-1])

    def test_acting_and_then_refused(self):
        kill = self.kill_while("/a", "/b")
        self.submit(*"abc", orders={2: [0, 1]}, request_timeout=20)
        self.called("/a", "/b")
        kill()
        self.web.rules["/b"] = Answer(409, "no")
        status = self.await_end(self.id_)
        if status == "failed":  # it may have been quicker than the rule
            self.assertLessEqual({"/a-undo", "/b-undo"}, set(self.undone()))
            self.assertNotIn("/c", self.web.paths())

    def test_between_the_failure_and_the_end_of_the_others(self):
        gate = self.gated("/a")
        self.web.rules["/b"] = Answer(409, "no")
        self.submit(*"abc", request_timeout=20)
        wait_for(lambda: self.sagad.status(self.id_) == "aborting", "the decision is stored")
        self.called("/a", "/c")
        self.kill_first()
        gate.set()
        self.assert_ended("failed")
        self.assertEqual({"/a-undo", "/b-undo", "/c-undo"}, set(self.undone()))
        self.assertEqual((1, 1, 1), tuple(self.web.count(f"/{n}") for n in "abc"))

    def test_compensating(self):
        self.web.rules["/c"] = Answer(409, "no")
        kill = self.kill_while("/b-undo")
        self.submit(*"abc", orders={1: [0], 2: [1]})
        kill()
        self.assert_ended("failed")
        self.assertEqual("/a-undo", self.web.paths()[-1])
        self.assertGreaterEqual(self.web.count("/b-undo"), 2)


if __name__ == "__main__":
    unittest.main()
