#!/usr/bin/env python3
"""Two-phase messages over HTTP: prepared, then submitted, or checked back with their sender."""
import json
import threading
import time
import unittest

from harness.dtm import SLACK_S, ModeCase, TwoCoordinators
from harness.process import wait_for
from harness.web import Answer


class Msg:
    trans_type = "msg"

    def message(self, *names, gid=None, **fields):
        """To /name each, and how its sender is asked."""
        url = self.web.url
        return self.body(gid, **{"steps": [{"action": f"{url}/{n}"} for n in names],
                                 "payloads": [json.dumps({"to": n}) for n in names],
                                 "query_prepared": f"{url}/query?app=7", **fields})

    def prepare(self, *names, **fields):
        return self.ok("prepare", **self.message(*names, **fields))

    def submit(self, *names, sagad=None, **fields):
        return self.send("submit", sagad, **self.message(*names, **fields))

    def counted(self):
        metrics = self.sagad.metrics()
        return [metrics[f'sagad_transactions_total{{type="msg",status="{status}"}}']
                for status in ("submitted", "succeed", "failed")]

    def delivered(self):
        return [path for path in self.web.paths() if path != "/query"]


class SubmitTest(Msg, ModeCase):
    def test_prepare_and_submit(self):
        self.prepare("a", "b", "c")
        self.assertEqual(("prepared", []), (self.sagad.status(self.id_), self.web.calls))
        self.assert_reply(200, "SUCCESS", self.submit("a", "b", "c", wait_result=True))
        self.assertEqual(["/a", "/b", "/c"], self.web.paths())
        self.assertEqual("succeed", self.sagad.status(self.id_))

    def test_who_waits_is_counted_when_it_is_stored(self):
        gate = self.gated("/a")
        before = self.counted()
        for gid, prepare in (self.gid(), False), (self.gid(), True):
            if prepare:
                self.prepare("a", gid=gid)
            waiting = threading.Thread(target=self.submit, args="a", kwargs={
                "gid": gid, "wait_result": True})
            waiting.start()
            self.addCleanup(waiting.join)
            wait_for(lambda: self.counted() == [before[0] + 1 + prepare, *before[1:]],
                     "it is counted")
            self.submit("a", gid=gid)
        gate.set()
        wait_for(lambda: self.counted() == [before[0] + 2, before[1] + 2, before[2]], "both end")

    def test_submit_alone(self):
        self.assert_reply(200, "SUCCESS", self.submit("a", "b", wait_result=True))
        other = self.gid()  # without any check-back
        self.assert_reply(200, "SUCCESS", self.submit("c", gid=other, query_prepared="",
                                                      wait_result=True))
        self.assertEqual(["/a", "/b", "/c"], self.web.paths())

    def test_what_a_receiver_sees(self):
        self.submit("a", "b", wait_result=True, branch_headers={"X-Tenant": "t1"})
        call = self.web.calls[1]
        self.assertEqual({"gid": self.id_, "trans_type": "msg", "branch_id": "02", "op": "action"},
                         self.params(call))
        self.assertEqual(("POST", b'{"to": "b"}', "t1"),
                         (call.method, call.body, call.headers["X-Tenant"]))

    def test_without_wait_the_answer_comes_at_once(self):
        gate = self.gated("/a")
        self.assert_reply(200, "SUCCESS", self.submit("a"))
        self.assertEqual("submitted", self.sagad.status(self.id_))
        gate.set()
        self.assert_ended("succeed")

    def test_once_submitted_it_never_fails(self):
        for answer in (Answer(409, "no"), Answer(200, "FAILURE"), Answer(500, ""), Answer(425, "")):
            self.web.calls.clear()
            self.web.rules["/b"] = [answer, Answer()]
            gid = self.gid()
            self.assert_reply(425, "ONGOING", self.submit("a", "b", "c", gid=gid, wait_result=True,
                                                          retry_interval=600, timeout_to_fail=1))
            self.assertEqual(["/a", "/b"], self.web.paths())  # the next one waits for this one
            self.retry_now(gid)
            self.assert_ended("succeed", gid)
            self.assertEqual(["/a", "/b", "/b", "/c"], self.web.paths())

    def test_concurrent_delivery(self):
        together = threading.Barrier(3, timeout=20)
        for name in "abc":
            self.web.rules[f"/{name}"] = Answer(run=lambda call: together.wait())
        self.assert_reply(200, "SUCCESS", self.submit("a", "b", "c", concurrent=True,
                                                      wait_result=True))
        self.assertEqual(["/a", "/b", "/c"], sorted(self.web.paths()))

    def test_concurrent_delivery_goes_on_beside_one_that_fails(self):
        self.web.rules["/a"] = Answer(500, "")
        self.prepare("a", "b", concurrent=True, retry_interval=600)
        self.assert_reply(425, "ONGOING", self.submit("a", "b", wait_result=True))
        self.assertEqual("succeed", self.sagad.branches(self.id_)["02", "action"])
        self.web.rules.clear()
        self.retry_now()
        self.assert_ended("succeed")
        self.assertEqual((2, 1), (self.web.count("/a"), self.web.count("/b")))

    def test_delay(self):
        started = time.monotonic()
        reply = self.submit("a", custom_data='{"delay":1}', wait_result=True)
        self.assert_reply(425, "ONGOING", reply)
        self.assert_ended("succeed")
        took = self.web.calls[0].at - started
        self.assertTrue(1 <= took < 1 + SLACK_S, took)

    def test_delay_of_a_prepared_one_comes_with_its_submit(self):
        self.prepare("a")
        started = time.monotonic()
        self.assert_reply(200, "SUCCESS", self.submit("a", custom_data='{"delay":1}'))
        self.assertEqual("submitted", self.sagad.status(self.id_))
        self.assert_ended("succeed")
        took = self.web.calls[0].at - started
        self.assertTrue(1 <= took < 1 + SLACK_S, took)

    def test_delay_of_one_that_its_check_back_lets_go(self):
        self.prepare("a", timeout_to_fail=1, custom_data='{"delay":1}')
        self.assert_ended("succeed")
        check, delivery = self.web.calls[0], self.web.calls[-1]
        self.assertEqual(["/query", "/a"], self.web.paths())
        took = delivery.at - check.at
        self.assertTrue(1 <= took < 1 + SLACK_S, took)

    def test_submit_again(self):
        gate = self.gated("/a")
        self.prepare("a", "b")
        self.assert_reply(200, "SUCCESS", self.submit("a", "b"))
        for _ in range(3):
            self.assert_reply(200, "SUCCESS", self.submit("a", "b"))
        gate.set()
        self.assert_reply(200, "SUCCESS", self.submit("a", "b", wait_result=True, wait_timeout=30))
        self.assertEqual(["/a", "/b"], self.web.paths())

    def test_many_submits_at_once(self):
        self.prepare("a", "b")
        self.in_threads(16, lambda i: self.assert_reply(
            200, "SUCCESS", self.submit("a", "b", wait_result=True, wait_timeout=30)))
        self.assertEqual(["/a", "/b"], self.web.paths())

    def test_prepare_again(self):
        for _ in range(2):
            self.prepare("a")
        self.assert_reply(200, "SUCCESS", self.submit("a", wait_result=True))
        self.assert_message(409, "current status 'succeed', cannot prepare. FAILURE",
                            self.send("prepare", **self.message("a")))

    def test_what_was_prepared_is_what_is_sent(self):
        self.prepare("a")
        self.assert_reply(200, "SUCCESS", self.submit("b", wait_result=True))
        self.assertEqual(["/a"], self.web.paths())

    def test_gid_and_type_are_enough_for_a_prepared_one(self):
        bare = {"gid": self.id_, "trans_type": "msg", "wait_result": True}
        self.assert_message(404, f"no transaction with gid: {self.id_}",
                            self.send("submit", **bare))
        self.assertIsNone(self.transaction())
        self.prepare("a", "b")
        for _ in range(2):
            self.assert_reply(200, "SUCCESS", self.send("submit", **bare))
        self.assertEqual(["/a", "/b"], self.web.paths())


class AbortTest(Msg, ModeCase):
    def test_abort_of_a_prepared_one(self):
        self.prepare("a")
        reply = self.abort(rollback_reason="no change")
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual(("failed", "no change"), (self.transaction()["status"],
                                                   self.transaction()["rollback_reason"]))
        self.assert_reply(200, "SUCCESS", self.abort())
        self.assert_message(409, "current status 'failed', cannot submit. FAILURE",
                            self.submit("a"))
        self.assert_message(409, "no change FAILURE", self.submit("a", wait_result=True))
        self.assertEqual([], self.web.calls)

    def test_abort_of_a_submitted_one(self):
        self.web.rules["/a"] = Answer(500, "")
        self.submit("a", wait_result=True, retry_interval=1)
        self.assert_message(409, "trans type: 'msg' current status 'submitted', cannot abort. "
                            "FAILURE", self.abort())
        self.web.rules.clear()
        self.assert_ended("succeed")
        self.assert_message(409, "trans type: 'msg' current status 'succeed', cannot abort. "
                            "FAILURE", self.abort())


class CheckBackTest(Msg, ModeCase):
    """The client was prepared and then was not heard of."""

    def test_success_sends_it(self):
        started = time.monotonic()
        self.prepare("a", "b", timeout_to_fail=1, branch_headers={"X-Tenant": "t1"})
        self.assert_ended("succeed")
        self.assertEqual(["/query", "/a", "/b"], self.web.paths())
        call = self.web.calls[0]
        self.assertTrue(1 <= call.at - started < 1 + SLACK_S, call.at - started)
        self.assertEqual(("GET", b"", "t1"), (call.method, call.body, call.headers["X-Tenant"]))
        self.assertEqual({"app": "7", "gid": self.id_, "trans_type": "msg", "branch_id": "00",
                          "op": "msg"}, self.params(call))

    def test_it_is_counted_as_submitted(self):
        before = self.counted()
        self.prepare("a", timeout_to_fail=1)
        self.assert_ended("succeed")
        self.web.rules["/query"] = Answer(409, "rolled back")
        gid = self.gid()
        self.prepare("a", gid=gid, timeout_to_fail=1)
        self.assert_ended("failed", gid)
        self.assertEqual([before[0] + 1, before[1] + 1, before[2] + 1], self.counted())

    def test_failure_ends_it(self):
        for answer in (Answer(409, "rolled back"), Answer(200, '{"dtm_result":"FAILURE"}')):
            self.web.calls.clear()
            self.web.rules["/query"] = answer
            gid = self.gid()
            self.prepare("a", gid=gid, timeout_to_fail=1)
            self.assert_ended("failed", gid)
            self.assertEqual(["/query"], self.web.paths())
            self.assertIn("return failed: " + answer.body.decode(),
                          self.transaction(gid)["rollback_reason"])

    def test_ongoing_is_asked_again_at_a_steady_pace(self):
        self.web.rules["/query"] = [Answer(425, ""), Answer(200, "ONGOING"), Answer()]
        self.prepare("a", timeout_to_fail=1, retry_interval=1)
        self.assert_ended("succeed")
        self.assertEqual(["/query"] * 3 + ["/a"], self.web.paths())
        asked = [call.at for call in self.web.calls[:3]]
        for earlier, later in zip(asked, asked[1:]):
            self.assertTrue(0.9 <= later - earlier < 1 + SLACK_S, asked)

    def test_errors_are_asked_again(self):
        self.web.rules["/query"] = [Answer(500, ""), Answer(404, ""), Answer(409, "no")]
        self.prepare("a", timeout_to_fail=1)
        self.assert_ended("failed")
        self.assertEqual(["/query"] * 3, self.web.paths())

    def test_submit_and_abort_while_it_is_checked(self):
        for call, status, paths in (("submit", "succeed", ["/query", "/a"]),
                                    ("abort", "failed", ["/query"])):
            self.web.calls.clear()
            gate = self.gated("/query")
            gid = self.gid()
            self.prepare("a", gid=gid, timeout_to_fail=1, request_timeout=20)
            self.called("/query")
            self.ok(call, **self.message("a", gid=gid))
            gate.set()
            self.assert_ended(status, gid)
            self.assertEqual(paths, self.web.paths())

    def test_a_submit_in_time_is_not_checked(self):
        def submit():
            self.prepare("a", timeout_to_fail=1)
            self.assert_reply(200, "SUCCESS", self.submit("a", wait_result=True))
        self.in_time(1, submit)
        other = self.gid()
        self.prepare("b", gid=other, timeout_to_fail=1)
        self.assert_ended("succeed", other)  # by then the time of the first one is over as well
        self.assertEqual(["/a", "/query", "/b"], self.web.paths())

    def test_many_hanging_check_backs_do_not_delay_another(self):
        gate = self.gated("/query")
        self.in_threads(8, lambda i: [self.prepare("x", gid=self.gid(), timeout_to_fail=1,
                                                   request_timeout=30) for _ in range(25)])
        wait_for(lambda: self.web.count("/query") >= 100, "the check-backs hang")
        other = self.participant()
        started = time.monotonic()
        reply = self.submit("a", steps=[{"action": other.url + "/a"}], query_prepared="",
                            wait_result=True)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertLess(time.monotonic() - started, SLACK_S)
        gate.set()


class BadInputTest(Msg, ModeCase):
    def test_bad_input(self):
        self.assert_refused("query_prepared: is empty", self.send(
            "prepare", **self.message("a", query_prepared="")))
        self.assert_refused("query_prepared: is empty", self.send(
            "prepare", **self.message("a", query_prepared=None)))
        table = [({"query_prepared": "gopher://x"}, "query_prepared"),
                 ({"query_prepared": 7}, "query_prepared"), ({"steps": []}, "steps"),
                 ({"payloads": []}, "payloads"), ({"steps": [{"action": "x://"}]}, "action"),
                 ({"custom_data": '{"delay":-1}'}, "delay"),
                 ({"custom_data": '{"delay":"soon"}'}, "delay"),
                 ({"custom_data": '{"delay":1e12}'}, "delay"), ({"concurrent": 1}, "concurrent"),
                 ({"custom_data": 7}, "custom_data")]
        for change, says in table:
            for call in ("prepare", "submit"):
                with self.subTest(call, change=str(change)):
                    self.assert_refused(says, self.send(call, **{**self.message("a"), **change}))
        self.assertIsNone(self.transaction())
        self.assert_refused("tcc, xa or workflow", self.send(
            "registerBranch", gid=self.id_, trans_type="msg", branch_id="01", data=""))


class RecoveryTest(Msg, TwoCoordinators):
    """kill -9 in each phase; the other coordinator goes on."""

    def test_prepared(self):
        self.prepare("a")
        self.kill_first()
        self.assert_reply(200, "SUCCESS", self.submit("a", wait_result=True))
        self.assertEqual(["/a"], self.web.paths())

    def test_prepared_and_then_nothing(self):
        self.prepare("a", timeout_to_fail=1)
        self.kill_first()
        self.assert_ended("succeed")
        self.assertEqual(["/query", "/a"], self.web.paths())

    def test_while_it_is_checked_back(self):
        """With two coordinators it is open which of them asks: the one that is asking dies."""
        gate = self.gated("/query")
        self.stack["sagad2"].kill()
        self.prepare("a", timeout_to_fail=1, request_timeout=20)
        self.called("/query")
        self.stack["sagad2"].start()
        self.web.rules["/query"] = Answer(409, "rolled back")
        self.kill_first()
        gate.set()
        self.assert_ended("failed")
        self.assertEqual({"/query"}, set(self.web.paths()))

    def test_delivering(self):
        kill = self.kill_while("/b")
        self.assert_reply(200, "SUCCESS", self.submit("a", "b", "c"))
        kill()
        self.assert_ended("succeed")
        self.assertEqual("/c", self.web.paths()[-1])
        self.assertGreaterEqual(self.web.count("/b"), 2)

    def test_waiting_for_its_delay(self):
        started = time.monotonic()
        self.assert_reply(200, "SUCCESS", self.submit("a", custom_data='{"delay":3}'))
        self.kill_first()
        self.assert_ended("succeed")
        took = self.web.calls[0].at - started
        self.assertTrue(3 <= took < 4 + SLACK_S, took)
        self.assertEqual(1, len(self.web.calls))


if __name__ == "__main__":
    unittest.main()
