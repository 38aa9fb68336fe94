#!/usr/bin/env python3
"""sagactl with transactions of every type, against a real coordinator."""
import json
import os
import re
import subprocess
import threading
import unittest

from harness import web
from harness.case import StackCase
from harness.dtm import PATIENT, b64
from harness.process import wait_for
from harness.stack import BUILD
from harness.web import Answer
from harness.wire import SUBMIT, WireClient, encode

PROGRAM = os.path.join(BUILD, "cli/sagactl")


class CliCase(StackCase):
    stack_options = {"services": (), "settings": {"sagad": {**PATIENT, "timeout_to_fail": "60s"}}}
    has_user = False

    def setUp(self):
        self.web = self.participant()
        self.id_ = self.gid()

    def run_ctl(self, *words, file=None, http=None):
        """`file` is a document for standard input, `http` another coordinator."""
        return subprocess.run(
            [PROGRAM, *words, "--http", http or f"http://{self.sagad.http.address}"],
            input=json.dumps(file) if file is not None else "", capture_output=True, text=True,
            timeout=60, check=False)

    def ctl(self, *words, code=0, stdout=False, **options):
        """Standard output, of a failure the errors."""
        done = self.run_ctl(*words, **options)
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


class CliTest(CliCase):
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
        self.assertRegex(self.ctl("get", self.id_, code=4, stdout=True),
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

    def test_a_watch_ends_when_somebody_must_act(self):
        self.park()
        said = (r"\nparked: since \d{4}-\S+, conflict 01\.confirm; nobody tries it any more. "
                f"sagactl get {self.id_} tells why; then: sagactl retry, resolve, ")
        self.assertRegex(self.ctl("watch", self.id_, code=4, stdout=True), said)
        waited = self.ctl("submit", "-", "--wait", "--gid", self.id_, code=4, stdout=True,
                          file={"trans_type": "tcc"})
        self.assertTrue(waited.startswith(self.id_ + "\n"), waited)
        self.assertRegex(waited, said)
        document = json.loads(self.ctl("watch", self.id_, "--json", code=4, stdout=True))
        self.assertEqual(["01.confirm"], document["transaction"]["parked"]["ops"])
        self.web.rules = {}
        self.ctl("retry", self.id_)
        self.ctl("watch", self.id_)  # it is not parked any more when the retry is answered
        self.assert_status(self.id_, "succeed")

    def assert_status(self, gid, status):
        self.assertEqual(status, self.sagad.status(gid))

    def await_attempts(self, gid, count):
        wait_for(lambda: self.sagad.history(gid).count("01.action") >= count, "it was tried")

    def test_a_gid_that_is_none_is_refused(self):
        for gid in ("", 7, None):
            self.assertIn("field 'gid'", self.ctl("submit", "-", code=2, file={**self.saga(), "gid": gid}))
        self.assertEqual([], self.web.paths())

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
        self.assertIn("req_extra", self.ctl("submit", "-", "--gid", self.id_, code=2,
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
        self.assertIn("query_prepared", self.ctl("prepare", "-", code=2, file={
            "trans_type": "msg", "steps": [{"action": self.url("a")}], "payloads": ["{}"]}))
        self.ctl("register", "-", "--gid", "nobody", code=1, file=self.branch("01"))
        self.ctl("prepare", code=2)

    def test_an_exit_code_means_the_same_in_all_commands(self):
        tcc = {"trans_type": "tcc"}
        for code, words, file in (
                (1, ["submit", "-", "--gid", "nobody"], tcc), (1, ["retry", "nobody"], None),
                (1, ["force-stop", "nobody"], None), (1, ["get", "nobody"], None),
                (2, ["submit", "-"], {"trans_type": "dance"}),
                (2, ["prepare", "-"], {"trans_type": "dance"}),
                (2, ["register", "-", "--gid", "x"], {"trans_type": "saga"}),
                (2, ["list", "--status", "odd"], None), (2, ["get", ""], None),
                (2, ["resolve", "x", "--branch", "01", "--op", "a", "--as", "failed", "--reason",
                     "r"], None)):
            with self.subTest(words):
                self.ctl(*words, code=code, file=file)
        nowhere = f"http://{self.sagad.http.address}/nowhere"  # 404, and not of a transaction
        for words, file in ((["get", "x"], None), (["retry", "x"], None), (["list"], None),
                            (["services"], None), (["retry-all"], None), (["topics"], None),
                            (["retry", "--all-parked"], None),
                            (["submit", "-", "--gid", "x"], self.saga())):
            with self.subTest(words):
                self.ctl(*words, code=3, file=file, http=nowhere)

    def test_an_option_of_another_command_is_refused(self):
        self.web.rules["/a"] = Answer(500)
        self.ctl("submit", "-", "--gid", self.id_, file=self.saga(retry_interval=600))
        self.await_attempts(self.id_, 1)
        for words, says in (
                (["force-stop", self.id_, "--branch", "02", "--op", "compensate"],
                 "force-stop has no option --branch; it has --http --json"),
                (["abort", self.id_, "--branch", "02"],
                 "abort has no option --branch; it has --reason --http --json"),
                (["retry-all", "--limit", "1", "--type", "saga"],
                 "retry-all has no option --type; it has --http --json"),
                (["--wait", "watch", self.id_], "watch has no option --wait; it has"),
                (["list", "--all-parked"], "list has no option --all-parked; it has --status "
                                           "--type --limit --parked --http --json"),
                (["unsubscribe", "t", "--reason", "r"], "unsubscribe has no option --reason; it "
                                                        "has --url --http --json")):
            with self.subTest(words):
                self.assertEqual(f"sagactl: {says}", self.ctl(*words, code=2)[:9 + len(says)])
        self.assertEqual(1, self.web.count("/a"))
        self.assert_status(self.id_, "submitted")

    def test_each_command_takes_its_options(self):
        """What is refused behind them is refused by the command."""
        self.addCleanup(web.ask, self.sagad.http.number, "DELETE",
                        f"/api/dtmsvr/topic/{self.id_}")
        for words, code in ((["list", "--status", "failed", "--type", "saga", "--limit", "1",
                              "--parked", "--json"], 0),
                            (["abort", "nobody", "--reason", "r"], 1),
                            (["resolve", "nobody", "--branch", "01", "--op", "action", "--as",
                              "succeed", "--reason", "r"], 1),
                            (["subscribe", self.id_, "--url", self.url("a"), "--reason", "r"], 0),
                            (["unsubscribe", self.id_, "--url", self.url("a")], 0)):
            with self.subTest(words):
                self.ctl(*words, code=code)

    def test_a_nul_in_a_text_hides_nothing(self):
        """JSON has a word for it, which few readers take; over TCP it may come in custom_data."""
        with WireClient(self.sagad.rpc.address) as client:
            client.receive(client.send(SUBMIT, encode(
                (1, self.id_), (2, "saga"), (3, [encode((3, b"x"))]), (5, True),
                (8, '\\u0000 and \0'))))
        self.assertIn("\\u0000", self.ctl("get", self.id_, "--json"))
        self.assertIn(self.id_, self.ctl("get", self.id_))
        self.assertIn(self.id_, self.ctl("list"))
        self.assertIn("succeed", self.ctl("watch", self.id_))

    def test_a_gid_of_null_is_named_before_one_is_made(self):
        errors = self.ctl("submit", "-", code=2, file=self.saga(gid=None))
        self.assertEqual("sagactl: -: field 'gid': must be a text of 1 to 128 characters; or "
                         "leave it out\n", errors)

    def test_the_address_may_end_in_a_slash(self):
        self.ctl("list", http=f"http://{self.sagad.http.address}/")


class UnclearTest(CliCase):
    """Who does not learn what became of a submit can ask for it, or repeat it under the same gid."""

    MADE = "made-by-sagad"

    def coordinator(self, **answers):
        """One that a test scripts; `answers` by the last part of the path."""
        coordinator = self.participant()
        answers.setdefault("newGid", Answer(200, json.dumps({"gid": self.MADE})))
        coordinator.rules = {f"/api/dtmsvr/{name}": answer for name, answer in answers.items()}
        return coordinator

    def test_the_gid_is_told_before_anything_is_sent(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        coordinator = self.coordinator(submit=Answer(gate=gate))
        with subprocess.Popen([PROGRAM, "submit", "-", "--http", coordinator.url], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdin.write(json.dumps(self.saga()))
            process.stdin.close()
            self.assertEqual(f"sagactl: the gid is {self.MADE}\n", process.stderr.readline())
            wait_for(lambda: coordinator.count("/api/dtmsvr/submit"), "it is submitted")
            self.assertIsNone(process.poll())
            gate.set()
            self.assertEqual(self.MADE + "\n", process.stdout.read())
            self.assertEqual(0, process.wait(60))
        self.assertEqual(self.MADE, json.loads(coordinator.calls[-1].body)["gid"])

    def test_without_a_clear_answer_the_gid_to_repeat_is_told(self):
        for answer in (Answer(503, '{"message":"Redis is away"}'), Answer(500, "?"),
                       Answer(drop=True)):
            for command in ("submit", "prepare"):
                for words, gid in (([], self.MADE), (["--gid", "mine"], "mine"),
                                   (["--gid", "mine", "--json"], "mine")):
                    with self.subTest(command, status=answer.status, drop=answer.drop, words=words):
                        coordinator = self.coordinator(**{command: answer})
                        errors = self.ctl(command, "-", *words, code=3, file=self.saga(),
                                          http=coordinator.url)
                        self.assertIn("whether it was stored is not known: repeat it with the "
                                      f"same gid, {gid}, ", errors)

    def test_an_answer_that_is_no_json_tells_nothing(self):
        coordinator = self.coordinator(query=Answer(200, "<html>"), all=Answer(200, ""))
        for words in (["get", "g"], ["watch", "g"], ["keys", "g"], ["list"]):
            with self.subTest(words):
                errors = self.ctl(*words, code=3, http=coordinator.url)
                self.assertEqual("sagactl: the coordinator answered 200, but no JSON; is it sagad? "
                                 "(--http URL)\n", errors)

    def test_what_was_turned_away_is_not_called_unclear(self):
        for status in (401, 429):
            coordinator = self.coordinator(submit=Answer(status, '{"message":"no"}'))
            errors = self.ctl("submit", "-", "--gid", "mine", code=3, file=self.saga(),
                              http=coordinator.url)
            self.assertEqual(f"sagactl: the coordinator answered {status}: no\n", errors)

    def test_what_is_not_decided_yet_is_accepted(self):
        self.web.rules["/a"] = Answer(500)
        done = self.run_ctl("submit", "-", file=self.saga(wait_result=True, retry_interval=600))
        gid = done.stdout.strip()
        self.assertEqual((0, f"sagactl: the gid is {gid}\nsagactl: accepted, and not decided yet: "
                             f"sagactl watch {gid}\n"), (done.returncode, done.stderr))
        self.assertEqual("submitted", self.sagad.status(gid))

    def test_a_wait_goes_on_when_it_is_not_decided_yet(self):
        self.web.rules["/a"] = [Answer(500), Answer(200)]
        text = self.ctl("submit", "-", "--wait", "--gid", self.id_,
                        file=self.saga(wait_result=True, retry_interval=1))
        self.assertTrue(text.startswith(self.id_ + "\n"), text)
        self.assertRegex(text, r"ERROR[^\n]+\n[^\n]+01\.action +SUCCESS[^\n]+\n[^\n]+succeed")

    def test_a_repeat_with_the_gid_doubles_nothing(self):
        """The first answer is lost behind the coordinator that a test scripts."""
        def pass_on(call):
            self.sagad.post(call.path, json.loads(call.body))
        coordinator = self.coordinator(newGid=Answer(200, json.dumps({"gid": self.id_})),
                                       submit=Answer(drop=True, run=pass_on))
        errors = self.ctl("submit", "-", code=3, file=self.saga(), http=coordinator.url)
        gid = re.search(r"with the same gid, (\S+),", errors).group(1)
        self.await_status(gid, "succeed")
        self.ctl("submit", "-", "--gid", gid, file=self.saga())
        self.assertEqual(["/a"], self.web.paths())


if __name__ == "__main__":
    unittest.main()
