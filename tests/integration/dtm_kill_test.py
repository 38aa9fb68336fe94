#!/usr/bin/env python3
"""All modes at once, over HTTP, while coordinators are killed: nothing is lost and nothing is half.

The clients do as the SDKs do and ask again when they get no answer; some of them die in the middle.
What each transaction must come to is known from its number.
"""
import collections
import http.client
import itertools
import json
import threading
import unittest

from harness.dtm import PATIENT, TwoCoordinators
from harness.process import wait_for
from harness.web import Answer

BRANCHES = 3
REFUSED = Answer(409, "no")
UNCLEAR = Answer(500, "")


class KillTest(TwoCoordinators):
    stack_options = {**TwoCoordinators.stack_options,
                     "settings": {"sagad": {**PATIENT, "timeout_to_fail": "4s"}}}
    trans_type = None
    THREADS, KILLS = 6, 4

    def setUp(self):
        self.web = self.participant()
        self.done = collections.Counter()  # (gid, branch, op): calls that were answered with success
        self.lock = threading.Lock()
        self.plans = {}  # gid: (kind, whether it is meant to succeed; None: that is open)
        self.errors = []
        self.ending = threading.Event()
        self.tick = itertools.count()
        self.web.serve = self.serve  # instead of rules: by the number in the gid

    # ---- the participant ----

    def serve(self, handler):
        path, _, query = handler.path.partition("?")
        params = dict(pair.split("=", 1) for pair in query.split("&"))
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        answer = self.answer(path, params)
        if answer.status == 200:
            with self.lock:
                self.done[params["gid"], params["branch_id"], params["op"]] += 1
        handler.send_response(answer.status)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def answer(self, path, params):
        kind, well = self.plans[params["gid"]]
        if path == "/query":
            return Answer() if well else REFUSED
        if next(self.tick) % 7 == 0:
            return UNCLEAR
        refuses = params["op"] in ("action", "try") and params["branch_id"] == "02"
        return REFUSED if refuses and not well and kind in ("saga", "declared") else Answer()

    # ---- the clients ----

    def ask(self, call, n, **fields):
        """Until there is an answer, of the one or the other; None at the end."""
        for i in itertools.count(n):
            if self.ending.is_set():
                return None
            try:
                reply = self.stack[f"sagad{i % 2 + 1}"].dtm(call, **fields)
            except (OSError, http.client.HTTPException):
                self.ending.wait(0.02)
                continue
            if reply.status not in (429, 503):
                return reply
            self.ending.wait(0.02)

    def expect(self, reply, *statuses):
        if reply is not None and reply.status not in statuses:
            self.errors.append((reply.status, reply.text))
        return reply is not None and reply.status == 200

    def steps(self, *ops):
        return {"steps": [{op: self.web.url + "/x" for op in ops}] * BRANCHES,
                "payloads": ["{}"] * BRANCHES}

    def run_saga(self, n, gid, well):
        self.plans[gid] = ("saga", well)
        self.expect(self.ask("submit", n, gid=gid, trans_type="saga",
                             custom_data='{"concurrent":true,"orders":{"2":[0]}}',
                             **self.steps("action", "compensate")), 200, 409)

    def run_declared(self, n, gid, well):
        self.plans[gid] = ("declared", well)
        self.expect(self.ask("submit", n, gid=gid, trans_type="tcc", timeout_to_fail=60,
                             **self.steps("try", "confirm", "cancel")), 200, 409)

    def run_tcc(self, n, gid, well):
        """Every third is neither submitted nor aborted."""
        self.plans[gid] = ("tcc", None)
        body = {"gid": gid, "trans_type": "tcc"}
        self.expect(self.ask("prepare", n, **body), 200, 409)
        for i in range(1, BRANCHES + 1):
            if not self.expect(self.ask("registerBranch", n + i, **body, branch_id=f"{i:02d}",
                                        data="{}", confirm=self.web.url + "/x",
                                        cancel=self.web.url + "/x"), 200, 409):
                return  # its time was over
        if n % 3 == 0:
            self.plans[gid] = ("tcc", False)
        elif self.expect(self.ask("submit" if well else "abort", n, **body), 200, 409):
            self.plans[gid] = ("tcc", well)

    def run_msg(self, n, gid, well):
        """`well`: its own change was made. Every third is not heard of afterwards."""
        self.plans[gid] = ("msg", well)
        body = {"gid": gid, "trans_type": "msg", "query_prepared": self.web.url + "/query",
                "timeout_to_fail": 2, **self.steps("action")}
        if self.expect(self.ask("prepare", n, **body), 200) and n % 3:
            self.expect(self.ask("submit" if well else "abort", n, **body), 200)

    def client(self, number):
        modes = (self.run_saga, self.run_declared, self.run_tcc, self.run_msg)
        for n in itertools.count(number, self.THREADS):
            if self.ending.is_set():
                return
            modes[n // 2 % len(modes)](n, f"{self.id().rpartition('.')[2]}-{n}", n % 5 != 0)

    # ---- the books ----

    def ends(self):
        ended = {gid: self.stack["sagad2"].status(gid) for gid in list(self.plans)}
        return all(status in (None, "succeed", "failed") for status in ended.values()) and ended

    def calls(self, gid, op):
        return [i for i in range(1, BRANCHES + 1) if self.done[gid, f"{i:02d}", op]]

    def check_one(self, gid, status):
        kind, well = self.plans[gid]
        forth, back = {"saga": ("action", "compensate"), "msg": ("action", "action"),
                       "tcc": ("confirm", "cancel"), "declared": ("confirm", "cancel")}[kind]
        every, nobody = [1, 2, 3], []
        if well is not None:
            self.assertEqual("succeed" if well else "failed", status)
        if status == "succeed":
            self.assertEqual(every, self.calls(gid, forth))
            self.assertEqual(nobody, self.calls(gid, back) if kind != "msg" else nobody)
        elif kind == "saga":
            self.assertLessEqual(set(self.calls(gid, "action")), set(self.calls(gid, back)))
        else:
            self.assertEqual(nobody, self.calls(gid, forth))
        if status == "failed" and kind == "declared":
            self.assertLessEqual(set(self.calls(gid, "try")), set(self.calls(gid, back)))
        if status == "failed" and kind == "tcc" and well is False:
            self.assertEqual(every, self.calls(gid, back))

    def test_all_modes(self):
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.THREADS)]
        for thread in threads:
            thread.start()
        try:
            for i in range(self.KILLS):
                goal = len(self.plans) + 60
                wait_for(lambda goal=goal: len(self.plans) >= goal or self.errors, "the load goes on")
                self.stack[f"sagad{i % 2 + 1}"].restart()
        finally:
            self.ending.set()
            for thread in threads:
                thread.join()
        self.assertEqual([], self.errors)
        ended = wait_for(self.ends, "all end", deadline_s=60, pause_s=0.2)
        for gid, status in ended.items():
            if status:  # its client died before it had asked for anything
                with self.subTest(gid, plan=json.dumps(self.plans[gid]), status=status):
                    self.check_one(gid, status)
        self.assertEqual({"saga", "declared", "tcc", "msg"},
                         {self.plans[gid][0] for gid, status in ended.items() if status})


if __name__ == "__main__":
    unittest.main()
