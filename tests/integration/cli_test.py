#!/usr/bin/env python3
"""sagactl with transactions of every type, against a real coordinator."""
import json
import os
import re
import subprocess
import unittest

from harness.case import StackCase
from harness.dtm import PATIENT, b64
from harness.process import wait_for
from harness.stack import BUILD
from harness.web import Answer


class CliTest(StackCase):
    stack_options = {"services": (), "settings": {"sagad": {**PATIENT, "timeout_to_fail": "60s"}}}
    has_user = False

    def setUp(self):
        self.web = self.participant()
        self.id_ = self.gid()

    def ctl(self, *words, code=0, file=None, stdout=False):
        """Standard output, of a failure the errors; `file` is a document for standard input."""
        done = subprocess.run(
            [os.path.join(BUILD, "cli/sagactl"), *words, "--http",
             f"http://{self.sagad.http.address}"],
            input=json.dumps(file) if file is not None else "", capture_output=True, text=True,
            timeout=60, check=False)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done.stdout if code == 0 or stdout else done.stderr

    def url(self, name):
        return f"{self.web.url}/{name}"

    def saga(self, **fields):
        return {"trans_type": "saga", "steps": [{"action": self.url("a"),
                                                 "compensate": self.url("a-undo")}],
                "payloads": ["{}"], **fields}

    def branch(self, branch_id, **fields):
        return {"trans_type": "tcc", "branch_id": branch_id, "confirm": self.url("confirm"),
                "cancel": self.url("cancel"), "data": "{}", **fields}

    def prepare_tcc(self):
        self.ctl("prepare", "-", "--gid", self.id_, file={"trans_type": "tcc"})
        self.ctl("register", "-", "--gid", self.id_, file=self.branch("01"))

    def test_topics(self):
        one, two = self.url("one"), self.url("two")
        self.ctl("subscribe", "news", "--url", one, "--reason", "the first")
        self.ctl("subscribe", "news", "--url", two)
        self.assertEqual(f"news\n  {one}  # the first\n  {two}\n", self.ctl("topics"))
        self.assertIn("this url exists", self.ctl("subscribe", "news", "--url", two, code=1))
        self.ctl("submit", "-", "--wait", file={"trans_type": "msg", "payloads": ["{}"],
                                                "steps": [{"action": "topic://news"}]})
        self.assertEqual(["/one", "/two"], self.web.paths())
        self.ctl("unsubscribe", "news", "--url", one)
        self.assertEqual(f"news\n  {two}\n", self.ctl("topics"))
        self.assertEqual("news", json.loads(self.ctl("topics", "--json"))["kv"][0]["k"])
        self.assertIn("no such a topic", self.ctl("unsubscribe", "none", "--url", one, code=1))
        self.assertIn("--url URL is missing", self.ctl("subscribe", "news", code=2))

    def test_retry_all(self):
        self.web.rules["/a"] = Answer(500)
        gids = [self.ctl("submit", "-", file=self.saga(retry_interval=600)).strip()
                for _ in range(3)]
        for gid in gids:
            self.await_attempts(gid, 1)
        self.web.rules["/a"] = Answer(200)
        # What other tests have left prepared is among them.
        self.assertRegex(self.ctl("retry-all"), r"^\d+ transactions are tried again now\n$")
        for gid in gids:
            self.await_status(gid, "succeed")

    def park(self):
        self.web.rules["/confirm"] = Answer(409, "no", headers={"Saga-Result": "CONFLICT"})
        self.ctl("submit", "-", "--gid", self.id_, file={
            "trans_type": "tcc", "payloads": ["{}"],
            "steps": [{"try": self.url("try"), "confirm": self.url("confirm"),
                       "cancel": self.url("cancel")}]})
        wait_for(lambda: "parked" in self.sagad.history(self.id_), "it is parked")

    def test_a_parked_one_is_listed_and_tried_again(self):
        self.park()
        self.assertRegex(self.ctl("list", "--parked"), f"submitted +{self.id_}  parked\n")
        self.assertRegex(self.ctl("get", self.id_),
                         r"\nparked +since \d{4}-\S+, conflict 01\.confirm\n")
        self.assertIn(":parked' '" + self.id_, self.ctl("keys", self.id_))
        self.assertNotIn(":due' '" + self.id_, self.ctl("keys", self.id_))
        self.web.rules = {}
        self.ctl("retry", self.id_)
        self.await_status(self.id_, "succeed")
        self.assertNotIn(self.id_, self.ctl("list", "--parked"))

    def test_all_parked_ones_are_tried_again(self):
        self.park()
        self.web.rules = {}
        self.assertEqual("1 parked transactions are tried again now\n",
                         self.ctl("retry", "--all-parked"))
        self.await_status(self.id_, "succeed")
        self.assertEqual('{"succeed_count":0,"failed_count":0}\n',
                         self.ctl("retry", "--all-parked", "--json"))
        for words in (["retry"], ["retry", self.id_, "--all-parked"]):
            self.assertIn("retry wants a gid, or --all-parked", self.ctl(*words, code=2))

    def test_a_parked_one_is_resolved(self):
        self.park()
        what = ["resolve", self.id_, "--op", "confirm", "--as", "succeed", "--reason", "by hand"]
        self.assertIn("resolve wants --branch", self.ctl(*what, code=2))
        self.assertIn("no branch 09", self.ctl(*what, "--branch", "09", code=2))
        self.ctl(*what, "--branch", "01")
        self.await_status(self.id_, "succeed")
        self.assertIn("01.confirm as succeed: by hand", self.ctl("get", self.id_))
        self.assertIn("ended already", self.ctl(*what, "--branch", "01", code=1))

    def await_attempts(self, gid, count):
        wait_for(lambda: self.sagad.history(gid).count("01.action") >= count, "it was tried")

    def test_a_file_without_gid_gets_a_new_one(self):
        gid = self.ctl("submit", "-", file=self.saga()).strip()
        self.assertEqual(22, len(gid))
        self.await_status(gid, "succeed")

    def test_submit_waits_to_the_end(self):
        text = self.ctl("submit", "-", "--wait", "--gid", self.id_, file=self.saga())
        self.assertTrue(text.startswith(self.id_ + "\n"))
        self.assertIn("succeed", text)
        self.web.rules["/a"] = Answer(409)
        self.ctl("submit", "-", "--wait", code=1, file=self.saga())

    def test_a_declared_tcc(self):
        self.ctl("submit", "-", "--wait", "--gid", self.id_, file={
            "trans_type": "tcc", "payloads": ["{}"],
            "steps": [{"try": self.url("try"), "confirm": self.url("confirm"),
                       "cancel": self.url("cancel")}]})
        self.assertEqual(["/try", "/confirm"], self.web.paths())
        self.assertRegex(self.ctl("get", self.id_), r"01  confirm +succeed")

    def test_a_tcc_is_prepared_registered_and_submitted(self):
        self.prepare_tcc()
        self.assertRegex(self.ctl("get", self.id_), r"status +prepared")
        self.assertEqual([], self.web.paths())
        self.ctl("submit", "-", "--wait", "--gid", self.id_, file={"trans_type": "tcc"})
        self.assertEqual(["/confirm"], self.web.paths())
        self.assertIn("prepared", self.ctl("register", "-", "--gid", self.id_, code=1,
                                           file=self.branch("02")))

    def test_a_tcc_is_aborted(self):
        self.prepare_tcc()
        self.ctl("abort", self.id_, "--reason", "changed my mind")
        self.await_status(self.id_, "failed")
        self.assertEqual(["/cancel"], self.web.paths())
        self.assertEqual("changed my mind",
                         self.sagad.query(self.id_)["transaction"]["rollback_reason"])
        self.ctl("watch", self.id_, code=1)

    def test_a_message_is_prepared_and_submitted_or_aborted(self):
        message = {"trans_type": "msg", "steps": [{"action": self.url("a")}], "payloads": ["{}"],
                   "query_prepared": self.url("check")}
        gid = self.ctl("prepare", "-", file=message).strip()
        self.assertIn(self.url("check"), self.ctl("get", gid))
        self.ctl("submit", "-", "--wait", "--gid", gid, file=message)
        self.assertEqual(["/a"], self.web.paths())
        gid = self.ctl("prepare", "-", file=message).strip()
        self.ctl("abort", gid)
        self.await_status(gid, "failed")
        self.assertIn("cannot abort", self.ctl("abort", self.ctl(
            "submit", "-", "--wait", file=message).split()[0], code=1))

    def test_an_xa_is_prepared_registered_and_ended(self):
        for end, path, code in (("submit", "/yes", 0), ("abort", "/no", 1)):
            with self.subTest(end):
                self.web.calls.clear()
                gid = self.ctl("prepare", "-", file={"trans_type": "xa"}).strip()
                self.ctl("register", "-", "--gid", gid, file={
                    "trans_type": "xa", "branch_id": "01", "url": self.url(path[1:]), "data": ""})
                if end == "submit":
                    self.ctl("submit", "-", "--gid", gid, file={"trans_type": "xa"})
                else:
                    self.ctl("abort", gid)
                self.ctl("watch", gid, code=code)
                self.assertEqual([path], self.web.paths())

    def test_a_workflow_is_prepared_told_of_and_ended(self):
        data = json.dumps({"name": "trip", "data": ""})
        self.ctl("prepare", "-", "--gid", self.id_, file={
            "trans_type": "workflow", "custom_data": data, "query_prepared": self.url("resume"),
            "retry_interval": 600})
        for branch_id, op, status, text in (("01", "action", "succeed", "room 7"),
                                            ("02", "action", "failed", "no\x1bseat"),
                                            ("01", "compensate", "succeed", "x" * 300)):
            self.ctl("register", "-", "--gid", self.id_, file={
                "trans_type": "workflow", "branch_id": branch_id, "op": op, "status": status,
                "data": text})
        self.assertIn("cannot abort", self.ctl("abort", self.id_, code=1))
        self.assertIn("req_extra", self.ctl("submit", "-", "--gid", self.id_, code=3,
                                            file={"trans_type": "workflow"}))
        end = {"trans_type": "workflow", "req_extra": {
            "status": "failed", "rollback_reason": "no seat", "result": b64(b"stayed at home")}}
        self.ctl("submit", "-", "--gid", self.id_, file=end)
        text = self.ctl("get", self.id_, code=1, stdout=True)
        for line in (r"workflow +trip", rf"resume +{re.escape(self.url('resume'))}",
                     r"reason +no seat", r"result +stayed at home",
                     r"\nsteps\n", r"  01  action +succeed +room 7\n",
                     r"  02  action +failed +no\?seat\n", r"  01  compensate +succeed +x{200}…\n"):
            self.assertRegex(text, line)

    def test_results_that_were_kept_are_shown(self):
        self.web.rules["/a"] = Answer(200, '{"id":7}')
        self.ctl("submit", "-", "--wait", "--gid", self.id_, file=self.saga(keep_results=True))
        self.assertRegex(self.ctl("get", self.id_), r'01  action +succeed +\S+/a  → {"id":7}\n')

    def test_json_is_what_the_coordinator_said(self):
        reply = json.loads(self.ctl("prepare", "-", "--json", "--gid", self.id_,
                                    file={"trans_type": "xa"}))
        self.assertEqual("SUCCESS", reply["dtm_result"])

    def test_what_is_wrong_is_said(self):
        self.assertIn("no gid", self.ctl("register", "-", code=2, file=self.branch("01")))
        self.assertIn("another gid", self.ctl("submit", "-", "--gid", "x", code=2,
                                              file=self.saga(gid="y")))
        self.assertIn("JSON object", self.ctl("prepare", "-", code=2, file=[]))
        self.assertIn("no transaction", self.ctl("abort", "nobody", code=1))
        self.assertIn("query_prepared", self.ctl("prepare", "-", code=3, file={
            "trans_type": "msg", "steps": [{"action": self.url("a")}], "payloads": ["{}"]}))
        self.ctl("register", "-", "--gid", "nobody", code=1, file=self.branch("01"))
        self.ctl("prepare", code=2)


if __name__ == "__main__":
    unittest.main()
