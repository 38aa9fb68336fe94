#!/usr/bin/env python3
"""TCC over HTTP: the client calls the tries and tells how they ended, as DTM's SDKs do; and declared
TCC, where the coordinator calls the tries too."""
import json
import threading
import time
import unittest

from harness.dtm import PATIENT, SLACK_S, ModeCase, TwoCoordinators
from harness.process import wait_for
from harness.web import Answer


class Tcc:
    trans_type = "tcc"

    def branch(self, name, branch_id, gid=None, **fields):
        """A flat map of strings, as the Go SDK sends it."""
        url = self.web.url
        return {"gid": gid or self.id_, "trans_type": "tcc", "branch_id": branch_id,
                "data": json.dumps({"of": name}), "confirm": f"{url}/{name}-confirm",
                "cancel": f"{url}/{name}-cancel", "try": f"{url}/{name}-try", "status": "prepared",
                **fields}

    def register(self, *names, gid=None, first=1):
        for i, name in enumerate(names, first):
            self.ok("registerBranch", **self.branch(name, f"{i:02d}", gid))

    def begin(self, *names, gid=None, **fields):
        self.prepare(gid=gid, **fields)
        self.register(*names, gid=gid)

    def steps(self, *names):
        """A declared TCC."""
        url = self.web.url
        return {"steps": [{"try": f"{url}/{n}-try", "confirm": f"{url}/{n}-confirm",
                           "cancel": f"{url}/{n}-cancel"} for n in names],
                "payloads": [json.dumps({"of": n}) for n in names]}


class ClientDrivenTest(Tcc, ModeCase):
    def test_submit_confirms_in_reverse_order(self):
        self.begin("a", "b", "c")
        self.assertEqual("prepared", self.sagad.status(self.id_))
        self.assertEqual([], self.web.calls)  # the tries are the client's
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual(["/c-confirm", "/b-confirm", "/a-confirm"], self.web.paths())
        self.assertEqual("succeed", self.sagad.status(self.id_))

    def test_what_a_participant_sees(self):
        self.begin("a", branch_headers={"X-Tenant": "t1"})
        self.submit(wait_result=True)
        call = self.web.calls[0]
        self.assertEqual({"gid": self.id_, "trans_type": "tcc", "branch_id": "01", "op": "confirm"},
                         self.params(call))
        self.assertEqual(("POST", b'{"of": "a"}', "application/json", "t1"),
                         (call.method, call.body, call.headers["Content-Type"],
                          call.headers["X-Tenant"]))

    def test_what_query_shows(self):
        self.begin("a", "b")
        shown = [(b["branch_id"], b["op"], b["status"]) for b in
                 self.sagad.query(self.id_)["branches"]]
        self.assertEqual([("01", "cancel", "prepared"), ("01", "confirm", "prepared"),
                          ("02", "cancel", "prepared"), ("02", "confirm", "prepared")], shown)
        self.submit(wait_result=True)
        branches = self.sagad.branches(self.id_)
        self.assertEqual(("succeed", "prepared"), (branches["01", "confirm"],
                                                   branches["01", "cancel"]))
        self.assertIn("finish_time", self.transaction())

    def test_without_wait_the_answer_comes_at_once(self):
        gate = self.gated("/a-confirm")
        self.begin("a")
        self.assert_reply(200, "SUCCESS", self.submit())
        self.assertEqual("submitted", self.sagad.status(self.id_))
        gate.set()
        self.assert_ended("succeed")

    def test_abort_cancels_in_reverse_order(self):
        self.begin("a", "b", "c")
        self.assert_reply(200, "SUCCESS", self.abort(rollback_reason="out of stock"))
        self.assert_ended("failed")
        self.assertEqual(["/c-cancel", "/b-cancel", "/a-cancel"], self.web.paths())
        self.assertEqual("out of stock", self.transaction()["rollback_reason"])
        self.assertEqual({"gid": self.id_, "trans_type": "tcc", "branch_id": "03", "op": "cancel"},
                         self.params(self.web.calls[0]))

    def test_abort_with_wait_result_answers_after_the_cancels(self):
        self.begin("a", "b")
        reply = self.abort(wait_result=True)
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual("failed", reply.body["status"])
        self.assertEqual(["/b-cancel", "/a-cancel"], self.web.paths())
        other = self.gid()
        self.begin("c", gid=other, retry_interval=1)
        self.web.rules["/c-cancel"] = [Answer(500, ""), Answer()]
        self.assert_reply(425, "ONGOING", self.abort(gid=other, wait_result=True))
        self.assert_ended("failed", other)
        third = self.gid()
        self.web.rules["/d-confirm"] = Answer(500, "")
        self.begin("d", gid=third, retry_interval=1)
        self.submit(gid=third)
        self.called("/d-confirm")
        self.assert_reply(409, "FAILURE", self.abort(gid=third, wait_result=True))
        self.web.rules.clear()
        self.assert_ended("succeed", third)

    def test_what_redis_has_lost_is_stored_again_whatever_the_ids_of_its_branches(self):
        self.prepare(retry_interval=1)
        self.ok("registerBranch", **self.branch("a", "0101"))
        self.ok("registerBranch", **self.branch("b", "01"))
        self.web.rules["/a-confirm"] = Answer(500, "")
        self.submit()
        self.called("/b-confirm", "/a-confirm")
        key, = self.redis.client.keys(f"saga:*:tx:{self.id_}")
        lost = self.redis.client.hash(key)
        self.redis.ask("DEL", key)
        anew = wait_for(lambda: self.redis.client.hash(key), "it is stored again")
        self.assertEqual([lost[f] for f in ("0101", "01", "branches")],
                         [anew[f] for f in ("0101", "01", "branches")])
        branches = self.sagad.branches(self.id_)
        self.assertEqual(("succeed", "prepared"), (branches["01", "confirm"],
                                                   branches["0101", "confirm"]))
        self.web.rules.clear()
        self.assert_ended("succeed")
        self.assertEqual(1, self.web.paths().count("/b-confirm"))

    def test_force_stop_of_a_prepared_one_calls_nobody(self):
        self.begin("a")
        self.ok("forceStop", gid=self.id_)
        self.assertEqual("failed", self.sagad.status(self.id_))
        self.assert_message(409, "current status 'failed', cannot submit. FAILURE", self.submit())
        self.assertEqual([], self.web.calls)

    def test_without_branches_there_is_nothing_to_do(self):
        self.begin()
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        other = self.gid()
        self.begin(gid=other)
        self.ok("abort", **self.body(other))
        self.assert_ended("failed", other)
        self.assertEqual([], self.web.calls)

    def test_an_empty_url_is_not_called(self):
        self.prepare()
        self.ok("registerBranch", **self.branch("a", "01", confirm="", cancel=""))
        self.register("b", first=2)
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual(["/b-confirm"], self.web.paths())

    def test_nested_branch_ids(self):
        self.prepare()
        for branch_id, name in (("01", "a"), ("0101", "b"), ("010101", "c"), ("02", "d")):
            self.ok("registerBranch", **self.branch(name, branch_id))
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual(["02", "010101", "0101", "01"],
                         [self.params(call)["branch_id"] for call in self.web.calls])

    def test_many_branches_registered_at_once(self):
        self.prepare()
        self.in_threads(20, lambda i: self.ok("registerBranch", **self.branch(f"p{i}", f"{i:02d}1")))
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual({f"/p{i}-confirm" for i in range(20)}, set(self.web.paths()))
        self.assertEqual(20, len(self.web.calls))

    def test_there_is_a_most_of_branches(self):
        self.begin(*(f"p{i}" for i in range(100)))
        reply = self.send("registerBranch", **self.branch("late", "0199"))
        self.assert_reply(409, "FAILURE", reply)
        self.assertIn("100", reply.body["message"])
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True, wait_timeout=30))
        self.assertEqual(100, len(self.web.calls))


class PrepareTest(Tcc, ModeCase):
    def test_prepare_again(self):
        self.begin("a")
        self.prepare(branch_headers={"X": "ignored"})  # nothing is changed
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual(["/a-confirm"], self.web.paths())
        self.assertNotIn("X", self.web.calls[0].headers)
        self.assert_message(409, "current status 'succeed', cannot prepare. FAILURE",
                            self.send("prepare", **self.body()))

    def test_register_again(self):
        self.prepare()
        for _ in range(3):  # a client that got no answer asks again
            self.register("a")
        reply = self.send("registerBranch", **self.branch("other", "01"))
        self.assert_message(409, "branch 01 is registered already, with another content FAILURE",
                            reply)
        self.submit(wait_result=True)
        self.assertEqual(["/a-confirm"], self.web.paths())

    def test_null_is_absence_and_unknown_fields_do_not_matter(self):
        """As the Python SDK sends it."""
        nothing = {"steps": None, "payloads": None, "custom_data": None, "query_prepared": None,
                   "branch_headers": None, "rollback_reason": None, "timeout_to_fail": None,
                   "retry_interval": None, "wait_result": None, "passthrough_headers": [],
                   "protocol": None, "of_the_future": {"x": [1]}}
        self.prepare(**nothing)
        self.ok("registerBranch", **self.branch("a", "01", extra="x", op=None))
        self.assert_reply(200, "SUCCESS", self.submit(**nothing))
        self.assert_ended("succeed")
        other = self.gid()
        self.prepare(gid=other, **nothing)
        self.ok("abort", **self.body(other, **nothing))
        self.assert_ended("failed", other)

    def test_the_old_names_of_register(self):
        self.prepare()
        self.ok("registerTccBranch", **self.branch("a", "01"))
        self.submit(wait_result=True)
        self.assertEqual(["/a-confirm"], self.web.paths())

    def test_register_when_it_is_too_late(self):
        late = self.branch("late", "09")
        self.assert_message(409, f"no trans with gid: {self.id_} status: prepared found FAILURE",
                            self.send("registerBranch", **late))
        self.web.rules["/a-confirm"] = Answer(500, "")
        self.begin("a", retry_interval=600)
        self.submit(wait_result=True)
        reply = self.send("registerBranch", **late)
        self.assert_reply(409, "FAILURE", reply)
        self.assertIn("submitted", reply.body["message"])
        self.web.rules.clear()
        self.retry_now()
        self.assert_ended("succeed")
        self.assert_reply(409, "FAILURE", self.send("registerBranch", **late))
        other = self.gid()
        self.begin("a", gid=other)
        self.ok("abort", **self.body(other))
        self.assert_reply(409, "FAILURE", self.send("registerBranch", **{**late, "gid": other}))
        self.assertNotIn("/late-confirm", self.web.paths())

    def test_register_of_another_type(self):
        self.prepare()
        reply = self.send("registerBranch", gid=self.id_, trans_type="xa", branch_id="01", data="",
                          url=self.web.url + "/x")
        self.assert_message(409, "trans_type is 'tcc' FAILURE", reply)

    def test_submit_and_abort_of_another_type(self):
        self.begin("a")
        for trans_type, fields in (("xa", {}), ("saga", {"steps": [{"action": "http://h/x"}],
                                                         "payloads": [""]})):
            reply = self.send("submit", **self.body(trans_type=trans_type, **fields))
            self.assert_reply(409, "FAILURE", reply)
            self.assertIn("tcc", reply.body["message"])
        self.assertEqual("prepared", self.sagad.status(self.id_))
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assert_message(409, "trans type: 'tcc' current status 'succeed', cannot abort. FAILURE",
                            self.abort())

    def test_a_gid_that_has_ended_is_of_one_type_too(self):
        self.begin("a")
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        steps = {"steps": [{"action": "http://h/x"}], "payloads": [""]}
        for trans_type in ("saga", "msg"):
            reply = self.send("submit", **self.body(trans_type=trans_type, **steps))
            self.assert_message(409, "trans_type is 'tcc' FAILURE", reply)

    def test_a_gid_of_another_type_cannot_be_prepared(self):
        self.prepare()
        reply = self.send("prepare", **self.body(
            trans_type="msg", query_prepared="http://h/c", steps=[{"action": "http://h/x"}],
            payloads=[""]))
        self.assert_message(409, "trans_type is 'tcc' FAILURE", reply)

    def test_submit_and_abort_of_an_unknown_gid(self):
        for reply in (self.submit(), self.submit(wait_result=True), self.abort()):
            self.assertEqual((404, f"no transaction with gid: {self.id_}"),
                             (reply.status, reply.body["message"]))
        self.assertIsNone(self.transaction())

    def test_bad_input(self):
        good = self.branch("a", "01")
        self.prepare()
        table = [
            ({"gid": ""}, "gid"), ({"gid": None}, "gid"), ({"gid": "x" * 129}, "at most 128"),
            ({"trans_type": "nonsense"}, "tcc, xa or workflow"), ({"trans_type": "saga"}, "steps"),
            ({"trans_type": None}, "trans_type"), ({"branch_id": ""}, "branch_id"),
            ({"branch_id": None}, "branch_id"), ({"branch_id": "00"}, "not be 00"),
            ({"branch_id": "a"}, "begin with a digit"), ({"branch_id": "01.confirm"}, "01.confirm"),
            ({"branch_id": "0" * 65}, "1 to 64"), ({"branch_id": 1}, "branch_id"),
            ({"branch_id": "01\n"}, "branch_id"), ({"data": 1}, "data"), ({"data": {}}, "data"),
            ({"data": "x" * (256 * 1024 + 1)}, "at most 262144"),
            ({"confirm": "gopher://x"}, "confirm"), ({"confirm": 7}, "confirm"),
            ({"cancel": "http://h/a b"}, "cancel"), ({"cancel": "http://h/" + "x" * 2048}, "2048"),
        ]
        for change, says in table:
            with self.subTest(str(change)[:60]):
                self.assert_refused(says, self.send("registerBranch", **{**good, **change}))
        for change, says in (({"trans_type": "dance"}, "dance"), ({"gid": ""}, "gid"),
                             ({"timeout_to_fail": -1}, "timeout_to_fail")):
            for call in ("prepare", "submit"):
                with self.subTest(call, change=str(change)):
                    self.assert_refused(says, self.send(call, **{**self.body(), **change}))
        self.assertEqual([], self.sagad.query(self.id_)["branches"])


class TimeoutTest(Tcc, ModeCase):
    stack_options = {"services": (), "settings": {"sagad": {**PATIENT, "timeout_to_fail": "1500ms"}}}

    def test_a_prepared_one_is_cancelled_in_time(self):
        def begin():
            self.began = time.monotonic()
            self.begin("a", "b", timeout_to_fail=1)
        self.in_time(1, begin)
        self.assert_ended("failed")
        took = self.web.calls[0].at - self.began
        self.assertEqual(["/b-cancel", "/a-cancel"], self.web.paths())
        self.assertEqual("Timeout after 1 seconds", self.transaction()["rollback_reason"])
        self.assertTrue(1 <= took < 1 + SLACK_S, took)
        self.assert_message(409, "current status 'failed', cannot submit. FAILURE", self.submit())

    def test_the_setting_counts_when_the_client_gives_none(self):
        self.in_time(1.5, lambda: self.begin("a"))
        self.assert_ended("failed")
        self.assertEqual("Timeout after 1.500 seconds", self.transaction()["rollback_reason"])

    def test_being_called_overdue_does_not_keep_branches_out(self):
        """Whatever resets due times: nobody takes what is its client's."""
        self.begin("a", timeout_to_fail=30)
        key, = self.redis.client.keys(f"saga:*:tx:{self.id_}")
        due = key.partition(":tx:")[0] + ":due"
        at = self.redis.ask("ZSCORE", due, self.id_)
        for i in range(2, 12):
            self.redis.ask("ZADD", due, "1", self.id_)
            self.register(f"p{i}", first=i)
            wait_for(lambda: self.redis.ask("ZSCORE", due, self.id_) == at, "it waits again")
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual(11, len(self.web.calls))

    def test_what_was_submitted_is_never_cancelled(self):
        self.web.rules["/a-confirm"] = Answer(500, "")

        def submit():
            self.begin("a", timeout_to_fail=1, retry_interval=600)
            self.assert_reply(425, "ONGOING", self.submit(wait_result=True))
        self.in_time(1, submit)
        other = self.gid()
        self.prepare(gid=other, timeout_to_fail=1)
        self.assert_ended("failed", other)  # by then the time of the first one is over as well
        self.assertEqual("submitted", self.sagad.status(self.id_))
        self.web.rules.clear()
        self.retry_now()
        self.assert_ended("succeed")
        self.assertNotIn("/a-cancel", self.web.paths())


class TwiceTest(Tcc, ModeCase):
    """What is asked a second time, while it is not done yet (DTM loses the confirms)."""

    def test_second_submit_while_a_confirm_fails(self):
        self.web.rules["/b-confirm"] = Answer(500, "broken")
        self.begin("a", "b", retry_interval=600)
        self.assert_reply(425, "ONGOING", self.submit(wait_result=True))
        for _ in range(3):
            self.assert_reply(200, "SUCCESS", self.submit())
            self.assert_reply(425, "ONGOING", self.submit(wait_result=True))
        self.assertEqual("submitted", self.sagad.status(self.id_))
        self.web.rules.clear()
        self.retry_now()
        self.assert_ended("succeed")
        self.assertEqual(["/b-confirm", "/a-confirm"], self.web.paths()[-2:])
        self.assertEqual(1, self.web.count("/a-confirm"))
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))

    def test_abort_while_a_confirm_fails(self):
        self.web.rules["/a-confirm"] = Answer(500, "")
        self.begin("a", retry_interval=1)
        self.submit(wait_result=True)
        message = "trans type: 'tcc' current status 'submitted', cannot abort. FAILURE"
        self.assert_message(409, message, self.abort())
        self.web.rules.clear()
        self.assert_ended("succeed")
        self.assertEqual({"/a-confirm"}, set(self.web.paths()))

    def test_second_abort_and_submit_while_a_cancel_fails(self):
        self.web.rules["/b-cancel"] = Answer(500, "")
        self.begin("a", "b", retry_interval=1)
        self.ok("abort", **self.body(rollback_reason="first"))
        self.called("/b-cancel")
        self.ok("abort", **self.body(rollback_reason="second"))
        self.assert_message(409, "current status 'aborting', cannot submit. FAILURE", self.submit())
        self.assertEqual("first", self.transaction()["rollback_reason"])
        self.web.rules.clear()
        self.assert_ended("failed")
        self.assertEqual("/a-cancel", self.web.paths()[-1])
        self.ok("abort", **self.body())  # done long ago
        self.assertNotIn("/a-confirm", self.web.paths())

    def test_confirms_and_cancels_have_no_choice(self):
        for answer in (Answer(409, "no"), Answer(200, "FAILURE"), Answer(425, ""), Answer(500, "")):
            self.web.calls.clear()
            self.web.rules["/a-confirm"] = [answer, Answer()]
            gid = self.gid()
            self.begin("a", gid=gid, retry_interval=600)
            reply = self.send("submit", **self.body(gid, wait_result=True))
            self.assert_reply(425, "ONGOING", reply)
            self.retry_now(gid)
            self.assert_ended("succeed", gid)
            self.assertEqual(["/a-confirm"] * 2, self.web.paths())

    def test_wait_timeout_waits_for_the_real_end(self):
        self.web.rules["/a-confirm"] = [Answer(409, "no"), Answer(500, ""), Answer()]
        self.begin("a")
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True, wait_timeout=30))
        self.assertEqual(["/a-confirm"] * 3, self.web.paths())

    def test_many_submits_at_once(self):
        self.begin("a", "b")
        self.in_threads(16, lambda i: self.assert_reply(
            200, "SUCCESS", self.submit(wait_result=True, wait_timeout=30)))
        self.assertEqual(["/b-confirm", "/a-confirm"], self.web.paths())

    def test_submit_against_abort(self):
        for _ in range(10):
            gid, replies = self.gid(), {}
            self.web.calls.clear()
            self.begin("a", "b", gid=gid)

            def work(i, gid=gid, replies=replies):
                call = ("submit", "abort")[i]
                replies[call] = self.send(call, **self.body(gid)).status

            self.in_threads(2, work)
            status = self.await_end(gid)
            kind = "confirm" if status == "succeed" else "cancel"
            self.assertEqual([f"/b-{kind}", f"/a-{kind}"], self.web.paths())
            self.assertEqual({"submit": 200, "abort": 409} if status == "succeed"
                             else {"submit": 409, "abort": 200}, replies)


class DeclaredTest(Tcc, ModeCase):
    """Ours: all branches in one submit; the coordinator calls the tries and decides."""

    def test_tries_in_parallel_then_confirms(self):
        together = threading.Barrier(3, timeout=20)
        for name in "abc":
            self.web.rules[f"/{name}-try"] = Answer(run=lambda call: together.wait())
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True, **self.steps(*"abc")))
        self.assertEqual({"/a-try", "/b-try", "/c-try"}, set(self.web.paths()[:3]))
        self.assertEqual(["/c-confirm", "/b-confirm", "/a-confirm"], self.web.paths()[3:])
        call = self.call_of("/b-try")
        self.assertEqual({"gid": self.id_, "trans_type": "tcc", "branch_id": "02", "op": "try"},
                         self.params(call))
        self.assertEqual(b'{"of": "b"}', call.body)

    def test_one_failure_cancels_those_started(self):
        gate = self.gated("/a-try")
        self.web.rules["/b-try"] = Answer(409, "no stock")
        self.submit(request_timeout=20, **self.steps("a", "b", "c"))
        wait_for(lambda: self.sagad.status(self.id_) == "aborting", "the decision is stored")
        self.called("/a-try", "/c-try")
        self.assertEqual(3, len(self.web.calls))  # the call in flight ends first
        gate.set()
        self.assert_ended("failed")
        self.assertEqual(["/c-cancel", "/b-cancel", "/a-cancel"], self.web.paths()[3:])
        reason = self.transaction()["rollback_reason"]
        self.assertEqual(f"url:{self.web.url}/b-try return failed: no stock", reason)

    def test_wait_result_tells_the_reason_after_the_cancels(self):
        self.web.rules["/a-try"] = Answer(409, "no")
        reply = self.submit(wait_result=True, **self.steps("a", "b"))
        self.assert_message(409, f"url:{self.web.url}/a-try return failed: no FAILURE", reply)
        self.assertEqual(["/b-cancel", "/a-cancel"], self.web.paths()[-2:])

    def test_nothing_is_confirmed_before_every_try_succeeded(self):
        self.web.rules["/b-try"] = [Answer(500, ""), Answer(425, ""), Answer()]
        reply = self.submit(wait_result=True, wait_timeout=30, **self.steps("a", "b"))
        self.assert_reply(200, "SUCCESS", reply)
        paths = self.web.paths()
        self.assertEqual((1, 3), (paths.count("/a-try"), paths.count("/b-try")))
        self.assertEqual(["/b-confirm", "/a-confirm"], paths[-2:])

    def test_timeout_and_retry_limit_cancel(self):
        for fields, says in (({"timeout_to_fail": 1}, "Timeout after 1 seconds"),
                             ({"retry_limit": 2}, "RetryLimit: 2")):
            self.web.calls.clear()
            self.web.rules["/b-try"] = Answer(500, "")
            reply = self.submit(gid=self.gid(), wait_result=True, wait_timeout=30,
                                **self.steps("a", "b"), **fields)
            self.assert_reply(409, "FAILURE", reply)
            self.assertIn(says, reply.body["message"])
            self.assertEqual(["/b-cancel", "/a-cancel"], self.web.paths()[-2:])

    def test_submit_again_runs_nothing_twice(self):
        gate = self.gated("/a-try")
        body = self.body(**self.steps("a", "b"))
        for _ in range(3):
            self.ok("submit", **body)
        gate.set()
        self.assert_ended("succeed")
        self.assertEqual(200, self.send("submit", **body, wait_result=True).status)
        self.assertEqual(4, len(self.web.calls))

    def test_abort_while_it_tries(self):
        gate = self.gated("/a-try")
        self.submit(request_timeout=20, **self.steps("a", "b"))
        self.called("/a-try", "/b-try")
        self.ok("abort", **self.body(rollback_reason="enough"))
        self.assertEqual(2, len(self.web.calls))
        gate.set()
        self.assert_ended("failed")
        self.assertEqual(["/b-cancel", "/a-cancel"], self.web.paths()[2:])
        self.assertEqual("enough", self.transaction()["rollback_reason"])

    def test_its_branches_cannot_be_added_to(self):
        gate = self.gated("/a-try")
        self.submit(**self.steps("a"))
        self.assert_message(409, "its branches were declared FAILURE",
                            self.send("registerBranch", **self.branch("x", "02")))
        gate.set()
        self.assert_ended("succeed")

    def test_what_query_shows(self):
        self.submit(wait_result=True, **self.steps("a"))
        self.assertEqual({("01", "cancel"): "prepared", ("01", "confirm"): "succeed",
                          ("01", "try"): "succeed"}, self.sagad.branches(self.id_))
        self.assertEqual(["prepared", "01.try", "submitted", "01.confirm", "succeed"],
                         self.sagad.history(self.id_))

    def test_bad_input(self):
        good = self.steps("a")
        table = [({"payloads": []}, "payloads"), ({"steps": [{"try": "ftp://x"}]}, "steps[0].try"),
                 ({"steps": [{"try": "http://h/t", "confirm": 7}]}, "steps[0]"),
                 ({"steps": [{"try": "http://h/t", "cancel": "nowhere"}]}, "steps[0].cancel")]
        for change, says in table:
            with self.subTest(str(change)):
                self.assert_refused(says, self.submit(**{**good, **change}))
        # It does not wait for a second call, so there is nothing to prepare.
        self.assert_refused("steps", self.send("prepare", **self.body(**good)))
        self.assertIsNone(self.transaction())


class RecoveryTest(Tcc, TwoCoordinators):
    """kill -9 in each phase; the other coordinator goes on."""

    def test_prepared(self):
        self.begin("a")
        self.kill_first()
        self.register("b", first=2)
        self.assert_reply(200, "SUCCESS", self.submit(wait_result=True))
        self.assertEqual(["/b-confirm", "/a-confirm"], self.web.paths())

    def test_prepared_and_then_nothing(self):
        self.in_time(1, lambda: self.begin("a", timeout_to_fail=1))
        self.kill_first()
        self.assert_ended("failed")
        self.assertEqual(["/a-cancel"], self.web.paths())

    def test_confirming(self):
        self.begin("a", "b", "c")
        kill = self.kill_while("/b-confirm")
        self.submit()
        kill()
        self.assert_ended("succeed")
        self.assertGreaterEqual(self.web.count("/b-confirm"), 2)
        self.assertEqual("/a-confirm", self.web.paths()[-1])
        self.assertFalse([p for p in self.web.paths() if p.endswith("cancel")])

    def test_cancelling(self):
        self.begin("a", "b", "c")
        kill = self.kill_while("/b-cancel")
        self.ok("abort", **self.body())
        kill()
        self.assert_ended("failed")
        self.assertEqual("/a-cancel", self.web.paths()[-1])
        self.assertGreaterEqual(self.web.count("/b-cancel"), 2)
        self.assertFalse([p for p in self.web.paths() if p.endswith("confirm")])

    def test_trying(self):
        kill = self.kill_while("/b-try")
        self.submit(request_timeout=20, **self.steps("a", "b"))
        kill()
        self.assert_ended("succeed")
        self.assertEqual(["/b-confirm", "/a-confirm"], self.web.paths()[-2:])

    def test_trying_and_then_refused(self):
        kill = self.kill_while("/b-try")
        self.submit(request_timeout=20, **self.steps("a", "b"))
        self.called("/b-try")
        self.web.rules["/a-try"] = Answer(409, "no")
        kill()
        # "a" may have been stored as done before the kill; then it is not asked again.
        status = self.await_end(self.id_)
        kind = "confirm" if status == "succeed" else "cancel"
        self.assertEqual([f"/b-{kind}", f"/a-{kind}"], self.web.paths()[-2:])
        other = {"confirm": "cancel", "cancel": "confirm"}[kind]
        self.assertFalse([p for p in self.web.paths() if p.endswith(other)])

    def test_a_submit_at_the_other_coordinator(self):
        gate = self.gated("/a-confirm")
        self.begin("a")
        self.submit()
        self.called("/a-confirm")
        other = self.stack["sagad2"]
        self.assert_reply(200, "SUCCESS", self.submit(other))
        gate.set()
        self.assert_reply(200, "SUCCESS", self.submit(other, wait_result=True, wait_timeout=30))
        self.assertEqual("succeed", other.status(self.id_))

    def test_an_abort_at_the_other_coordinator(self):
        gate = self.gated("/a-try")
        self.submit(request_timeout=20, **self.steps("a"))
        self.called("/a-try")
        self.ok("abort", self.stack["sagad2"], **self.body())
        gate.set()
        self.assert_ended("failed")
        self.assertIn("/a-cancel", self.web.paths())
        self.assertNotIn("/a-confirm", self.web.paths())

    def test_the_same_one_starts_again(self):
        self.begin("a", "b")
        gate = self.gated("/b-confirm")
        self.submit()
        self.called("/b-confirm")
        self.stack["sagad2"].kill()
        self.addCleanup(self.stack["sagad2"].start)
        self.sagad.kill()
        self.web.rules.clear()
        gate.set()
        self.sagad.start()
        self.assert_ended("succeed")
        self.assertEqual(["/b-confirm", "/b-confirm", "/a-confirm"], self.web.paths())


if __name__ == "__main__":
    unittest.main()
