#!/usr/bin/env python3
"""XA and workflows over HTTP: the client does the work, the coordinator keeps its word."""
import json
import threading
import time
import unittest

from harness.dtm import ModeCase, TwoCoordinators, b64
from harness.process import DEADLINE, wait_for
from harness.web import Answer


class Xa:
    trans_type = "xa"

    def branch(self, name, branch_id, gid=None, **fields):
        """As a resource manager of the Go SDK registers itself: one url for both."""
        return {"gid": gid or self.id_, "trans_type": "xa", "branch_id": branch_id,
                "url": f"{self.web.url}/{name}", "data": "", **fields}

    def begin(self, *names, gid=None, **fields):
        self.prepare(gid=gid, **fields)
        for i, name in enumerate(names, 1):
            self.ok("registerBranch", **self.branch(name, f"{i:02d}", gid))

    def ops(self):
        return [(call.path, self.params(call)["op"]) for call in list(self.web.calls)]


class XaTest(Xa, ModeCase):
    def test_submit_commits_in_order(self):
        self.begin("a", "b", "c")
        self.assertEqual([], self.web.calls)
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual([("/a", "commit"), ("/b", "commit"), ("/c", "commit")], self.ops())
        self.assertEqual({("01", "rollback"): "prepared", ("01", "commit"): "succeed"},
                         {key: value for key, value in self.sagad.branches(self.id_).items()
                          if key[0] == "01"})

    def test_abort_rolls_back_in_order(self):
        self.begin("a", "b")
        self.ok("abort", **self.body(rollback_reason="no"))
        self.assert_ended("failed")
        self.assertEqual([("/a", "rollback"), ("/b", "rollback")], self.ops())
        self.assertEqual("no", self.transaction()["rollback_reason"])

    def test_what_a_resource_manager_sees(self):
        """A POST, also without a body."""
        self.begin("a")
        self.submit(wait_result=True)
        call = self.web.calls[0]
        self.assertEqual(("POST", b""), (call.method, call.body))
        self.assertEqual({"gid": self.id_, "trans_type": "xa", "branch_id": "01", "op": "commit"},
                         self.params(call))

    def test_timeout_rolls_back(self):
        self.in_time(1, lambda: self.begin("a", timeout_to_fail=1))
        self.assert_ended("failed")
        self.assertEqual([("/a", "rollback")], self.ops())
        self.assertEqual("Timeout after 1 seconds", self.transaction()["rollback_reason"])

    def test_a_commit_has_no_choice(self):
        self.web.rules["/a"] = [Answer(409, "no"), Answer(500, ""), Answer()]
        self.begin("a", "b")
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True, wait_timeout=30))
        self.assertEqual([("/a", "commit")] * 3 + [("/b", "commit")], self.ops())

    def test_asked_twice_while_a_commit_fails(self):
        self.web.rules["/a"] = Answer(500, "")
        self.begin("a", retry_interval=1)
        self.assert_reply(425, "ONGOING", self.submit(wait_result=True))
        self.assert_reply(200, "SUCCESS", self.submit())
        self.assert_message(409, "trans type: 'xa' current status 'submitted', cannot abort. "
                            "FAILURE", self.abort())
        self.web.rules.clear()
        self.assert_ended("succeed")
        self.assertEqual({("/a", "commit")}, set(self.ops()))

    def test_the_old_name_and_a_branch_that_registers_twice(self):
        self.prepare()
        for _ in range(2):
            self.ok("registerXaBranch", **self.branch("a", "01"))
        self.assert_reply(409, "FAILURE", self.send("registerBranch", **self.branch("b", "01")))
        self.submit(wait_result=True)
        self.assertEqual([("/a", "commit")], self.ops())

    def test_register_when_it_is_too_late(self):
        self.begin("a")
        self.submit(wait_result=True)
        self.assert_reply(409, "FAILURE", self.send("registerBranch", **self.branch("b", "02")))

    def test_bad_input(self):
        self.prepare()
        for change, says in (({"url": "nowhere"}, "url"), ({"url": 7}, "url"),
                             ({"branch_id": ""}, "branch_id")):
            with self.subTest(str(change)):
                self.assert_refused(says, self.send("registerBranch",
                                                    **{**self.branch("a", "01"), **change}))
        self.assert_refused("steps", self.send("prepare", **self.body(
            steps=[{"action": "http://h/x"}], payloads=[""])))
        reply = self.submit(gid="never seen")
        self.assertEqual((404, "no transaction with gid: never seen"),
                         (reply.status, reply.body["message"]))


class XaRecoveryTest(Xa, TwoCoordinators):
    def test_prepared(self):
        self.begin("a")
        self.kill_first()
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual([("/a", "commit")], self.ops())

    def test_committing(self):
        self.begin("a", "b")
        kill = self.kill_while("/a")
        self.submit()
        kill()
        self.assert_ended("succeed")
        self.assertEqual([("/a", "commit"), ("/a", "commit"), ("/b", "commit")], self.ops())

    def test_rolling_back(self):
        self.begin("a", "b")
        kill = self.kill_while("/a")
        self.ok("abort", **self.body())
        kill()
        self.assert_ended("failed")
        self.assertEqual([("/a", "rollback"), ("/a", "rollback"), ("/b", "rollback")], self.ops())


class Workflow:
    trans_type = "workflow"

    def workflow(self, gid=None, **fields):
        """What the Go SDK sends with prepareWorkflow."""
        data = json.dumps({"name": "transfer", "data": b64(b'{"amount":30}')})
        return self.body(gid, **{"custom_data": data, "query_prepared": self.web.url + "/resume",
                                 **fields})

    def begin(self, **fields):
        return self.send("prepareWorkflow", **self.workflow(**fields))

    def report(self, branch_id, op="action", status="succeed", data="", sagad=None, **fields):
        return self.send("registerBranch", sagad, gid=self.id_, trans_type="workflow",
                         branch_id=branch_id, op=op, status=status, data=data, **fields)

    def finish(self, status="succeed", reason="", result=b"", sagad=None, **fields):
        extra = {"status": status, "rollback_reason": reason, "result": b64(result)}
        return self.send("submit", sagad, **self.body(req_extra=extra, **fields))


class WorkflowTest(Workflow, ModeCase):
    def test_prepare_tells_what_is_known(self):
        first = self.begin()
        self.assertEqual(200, first.status)
        self.assertEqual((self.id_, "prepared", []),
                         (first.body["transaction"]["gid"], first.body["transaction"]["status"],
                          first.body["progresses"]))
        self.assert_reply(200, "SUCCESS", self.report("01", data="made"))
        self.assert_reply(200, "SUCCESS", self.report("02", status="failed", data="broke"))
        self.assert_reply(200, "SUCCESS", self.report("01", op="rollback"))
        known = [(p["branch_id"], p["op"], p["status"], p["bin_data"])
                 for p in self.begin().body["progresses"]]
        self.assertEqual([("01", "action", "succeed", b64(b"made")),
                          ("01", "rollback", "succeed", ""),
                          ("02", "action", "failed", b64(b"broke"))], sorted(known))
        self.finish()

    def test_submit_tells_how_it_ended(self):
        self.begin()
        self.assert_reply(200, "SUCCESS", self.finish(result=b"\x00all\xff"))
        found = self.begin().body["transaction"]
        self.assertEqual(("succeed", b64(b"\x00all\xff")), (found["status"], found["result"]))
        self.assertIn("finish_time", found)
        other = self.gid()
        self.begin(gid=other)
        self.assert_reply(200, "SUCCESS", self.finish("failed", "too poor", gid=other))
        found = self.begin(gid=other).body["transaction"]
        self.assertEqual(("failed", "too poor"), (found["status"], found["rollback_reason"]))
        self.assertEqual([], self.web.calls)

    def test_submit_again(self):
        self.begin()
        for _ in range(2):  # a client that got no answer asks again
            self.assert_reply(200, "SUCCESS", self.finish(result=b"1"))
        self.assert_message(409, "current status 'succeed', cannot submit. FAILURE",
                            self.finish("failed"))
        self.finish(result=b"2")
        self.assertEqual(b64(b"1"), self.transaction()["result"])

    def test_report_again_and_too_late(self):
        self.begin()
        for _ in range(2):
            self.assert_reply(200, "SUCCESS", self.report("01", data="x"))
        self.assert_reply(409, "FAILURE", self.report("01", data="y"))
        self.finish()
        reply = self.report("02")
        self.assert_reply(409, "FAILURE", reply)
        self.assertIn("succeed", reply.body["message"])
        self.assertEqual(1, len(self.begin().body["progresses"]))

    def test_it_cannot_be_aborted_from_outside(self):
        self.begin()
        self.assert_message(409, "trans type: 'workflow' current status 'prepared', cannot abort. "
                            "FAILURE", self.abort())
        self.assertEqual("prepared", self.sagad.status(self.id_))
        self.finish()

    def test_force_stop(self):
        self.begin()
        self.ok("forceStop", gid=self.id_)
        self.assertEqual("failed", self.begin().body["transaction"]["status"])
        self.assert_message(409, "current status 'failed', cannot submit. FAILURE", self.finish())

    def test_unknown_and_of_another_type(self):
        reply = self.finish()
        self.assertEqual((404, f"no transaction with gid: {self.id_}"),
                         (reply.status, reply.body["message"]))
        self.assert_reply(409, "FAILURE", self.report("01"))
        self.ok("prepare", gid=self.id_, trans_type="tcc")
        self.assert_message(409, "trans_type is 'tcc' FAILURE", self.finish())
        self.assert_message(409, "trans_type is 'tcc' FAILURE", self.report("01"))
        self.assertEqual("prepared", self.sagad.status(self.id_))
        self.assert_reply(409, "FAILURE", self.begin())

    def test_bad_input(self):
        for change, says in (({"trans_type": "saga"}, "workflow"), ({"trans_type": "x"}, "x"),
                             ({"custom_data": ""}, "custom_data"),
                             ({"custom_data": "{"}, "custom_data"),
                             ({"custom_data": '{"data":""}'}, "name"),
                             ({"custom_data": '{"name":"n","data":"?"}'}, "base64"),
                             ({"query_prepared": "nowhere"}, "query_prepared"), ({"gid": ""}, "gid")):
            with self.subTest(str(change)):
                fields = self.workflow()
                if change.get("trans_type") == "saga":
                    fields |= {"steps": [{"action": ""}], "payloads": [""]}
                self.assert_refused(says, self.send("prepareWorkflow", **{**fields, **change}))
        for other, says in (("saga", "steps: has 0 entries; must have 1 to 100"),
                            ("tcc", "field 'trans_type': must be workflow")):
            with self.subTest(other):
                self.assert_message(400, says, self.send("prepareWorkflow",
                                                         **self.workflow(trans_type=other)))
        self.assertIsNone(self.transaction())
        self.begin()
        for extra in (None, "x", {}, {"status": "prepared"}, {"status": 7},
                      {"status": "succeed", "result": "?"},
                      {"status": "succeed", "result": b64(b"x" * (256 * 1024 + 1))}):
            with self.subTest(str(extra)[:40]):
                self.assert_refused("", self.send("submit", **self.body(req_extra=extra)))
        for change in ({"op": ""}, {"op": "a b"}, {"op": "x" * 33}, {"status": ""},
                       {"status": "prepared"}, {"branch_id": "00"}, {"branch_id": "x"},
                       {"data": "x" * (256 * 1024 + 1)}):
            with self.subTest(str(change)[:40]):
                self.assert_refused(next(iter(change)), self.report(**{"branch_id": "01", **change}))
        self.finish()


class ResumeTest(Workflow, ModeCase):
    """The client died in the middle: its callback is asked to go on."""

    def test_what_the_client_sees(self):
        self.begin(retry_interval=1, branch_headers={"X-Tenant": "t1"})
        self.called("/resume")
        call = self.web.calls[0]
        self.assertEqual(("POST", b'{"amount":30}', "t1"),
                         (call.method, call.body, call.headers["X-Tenant"]))
        self.assertEqual({"gid": self.id_, "trans_type": "workflow", "branch_id": "00",
                          "op": "transfer"}, self.params(call))
        self.finish()

    def test_the_client_goes_on_inside_the_callback(self):
        """As the SDKs do it: prepareWorkflow again, the missing steps, submit."""
        reported = threading.Event()

        def run(call):
            reported.wait(DEADLINE)
            known = self.begin().body["progresses"]
            self.seen = [p["branch_id"] for p in known]
            self.report("02", data="second")
            self.finish(result=b"done")

        self.web.rules["/resume"] = Answer(run=run)
        self.begin(retry_interval=1)
        self.report("01", data="first")
        reported.set()
        self.assert_ended("succeed")
        self.assertEqual(["01"], self.seen)
        self.assertEqual(1, self.web.count("/resume"))
        self.assertEqual(b64(b"done"), self.transaction()["result"])

    def test_it_backs_off_until_it_has_ended(self):
        for answer in (Answer(500, ""), Answer(), Answer(409, "no"), Answer(425, "")):
            self.web.calls.clear()
            self.web.rules["/resume"] = answer
            self.id_ = self.gid()
            started = time.monotonic()
            self.begin()
            wait_for(lambda: self.web.count("/resume") >= 5, "it is resumed again and again")
            # 0.1 s, then 0.1, 0.2, 0.4 and 0.8 s, each up to 25 % less
            self.assertGreater(self.web.calls[4].at - started, 1.1, answer.status)
            self.assertEqual("prepared", self.sagad.status(self.id_))
            self.assert_reply(200, "SUCCESS", self.finish())
            before = self.web.count("/resume")
            self.assertEqual("succeed", self.sagad.status(self.id_))
            self.assertLessEqual(self.web.count("/resume"), before + 1)

    def test_without_a_callback_it_waits_for_its_client(self):
        self.begin(query_prepared="", retry_interval=1)
        other = self.gid()
        self.begin(gid=other, retry_interval=1)
        self.called("/resume")
        self.assertEqual("prepared", self.sagad.status(self.id_))
        self.assertEqual({other}, {self.params(call)["gid"] for call in self.web.calls})
        self.assert_reply(200, "SUCCESS", self.finish())
        self.finish(gid=other)

    def test_retry_now_resumes_now(self):
        self.begin(retry_interval=600)
        self.retry_now()
        self.called("/resume")
        self.finish()


class WorkflowRecoveryTest(Workflow, TwoCoordinators):
    """kill -9; the other coordinator knows all that was reported."""

    def test_prepared(self):
        self.begin(retry_interval=600)
        self.report("01", data="x")
        self.kill_first()
        self.assertEqual(["01"], [p["branch_id"] for p in self.begin().body["progresses"]])
        self.assert_reply(200, "SUCCESS", self.report("02"))
        self.assert_reply(200, "SUCCESS", self.finish(result=b"r"))
        self.assertEqual(b64(b"r"), self.begin().body["transaction"]["result"])

    def test_prepared_and_then_nothing(self):
        self.begin(retry_interval=1)
        self.kill_first()
        self.called("/resume")
        self.finish()
        self.assert_ended("succeed")

    def test_resuming(self):
        gate = self.gated("/resume")
        self.stack["sagad2"].kill()
        self.begin(retry_interval=1, request_timeout=20)
        self.called("/resume")
        self.stack["sagad2"].start()
        self.kill_first()
        wait_for(lambda: self.web.count("/resume") >= 2, "the other one resumes it")
        self.assert_reply(200, "SUCCESS", self.report("01"))
        self.assert_reply(200, "SUCCESS", self.finish())
        gate.set()
        self.assertEqual("succeed", self.sagad.status(self.id_))


if __name__ == "__main__":
    unittest.main()
