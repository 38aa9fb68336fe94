#!/usr/bin/env python3
"""JSON-RPC as DTM has it: the endpoint for clients, and branches that are called by it."""
import json
import unittest

from harness import web
from harness.case import StackCase
from harness.dtm import PATIENT
from harness.web import Answer

FAILURE, ONGOING = -32901, -32902


class RpcCase(StackCase):
    has_user = False
    stack_options = {"services": (), "settings": {"sagad": {**PATIENT, "retry_interval_max": "10s"}}}

    def setUp(self):
        self.web = self.participant()

    def send(self, document, **options):
        return self.sagad.post("/api/json-rpc", document, **options)

    def call(self, method, id_="7", **params):
        """The result."""
        reply = self.send({"jsonrpc": "2.0", "method": method, "params": params, "id": id_})
        self.assertEqual(200, reply.status, reply.text)
        self.assertEqual({"error", "id", "jsonrpc", "result"}, set(reply.body))
        self.assertEqual((None, id_, "2.0"),
                         tuple(reply.body[name] for name in ("error", "id", "jsonrpc")))
        return reply.body["result"]

    def fault(self, code, document, status=200):
        """The message of the error."""
        reply = self.send(document)
        self.assertEqual((status, code), (reply.status, reply.body["error"]["code"]), reply.text)
        self.assertNotIn("result", reply.body)
        return reply.body["error"]["message"]

    def call_fault(self, code, method, **params):
        return self.fault(code, {"jsonrpc": "2.0", "method": method, "params": params, "id": "8"})

    def saga(self, gid, *urls, **fields):
        return {"gid": gid, "trans_type": "saga", "steps": [{"action": url} for url in urls],
                "payloads": ['{"amount":30}'] * len(urls), **fields}


class EndpointTest(RpcCase):
    def test_new_gid_and_a_saga(self):
        gid = self.call("newGid")["gid"]
        self.assertRegex(gid, r"^\w{22}$")
        result = self.call("submit", **self.saga(gid, self.web.url + "/a", wait_result=True))
        self.assertEqual({"dtm_result": "SUCCESS", "status": "succeed"}, result)
        self.assertEqual(["/a"], self.web.paths())

    def test_new_gid_needs_no_params(self):
        reply = self.send({"jsonrpc": "2.0", "method": "newGid", "id": "x"})
        self.assertIn("gid", reply.body["result"])

    def test_a_tcc_from_prepare_to_the_end(self):
        for how, path in (("submit", "/confirm"), ("abort", "/cancel")):
            self.web.calls.clear()
            gid = self.gid()
            common = {"gid": gid, "trans_type": "tcc"}
            self.assertEqual({"dtm_result": "SUCCESS"}, self.call("prepare", **common))
            self.call("registerBranch", branch_id="01", data="{}", **common,
                      confirm=self.web.url + "/confirm", cancel=self.web.url + "/cancel")
            self.call(how, **common)
            self.await_end(gid)
            self.assertEqual([path], self.web.paths())

    def test_outcomes_are_error_codes(self):
        self.web.rules = {"/no": Answer(409, "no money"), "/later": Answer(425, "")}
        text = self.call_fault(FAILURE, "submit",
                               **self.saga(self.gid(), self.web.url + "/no", wait_result=True))
        self.assertEqual(f"url:{self.web.url}/no return failed: no money FAILURE", text)
        text = self.call_fault(ONGOING, "submit",
                               **self.saga(self.gid(), self.web.url + "/later", wait_result=True))
        self.assertTrue(text.endswith("ONGOING"), text)
        gid = self.gid()
        self.call("submit", **self.saga(gid, "", wait_result=True))
        self.assertIn("cannot abort", self.call_fault(FAILURE, "abort", gid=gid))
        self.assertIn("no transaction with gid", self.call_fault(-32603, "abort", gid="nobody"))
        self.assertEqual("topic not found: t FAILURE",
                         self.call_fault(FAILURE, "submit", **{**self.saga(self.gid(), "topic://t"),
                                                               "trans_type": "msg"}))

    def test_bad_params_are_named(self):
        self.assertIn("gid: is empty", self.call_fault(-32600, "submit"))
        self.assertIn("field 'trans_type'",
                      self.call_fault(-32600, "prepare", gid="g", trans_type="dance"))
        self.assertIn("branch_id", self.call_fault(-32600, "registerBranch", gid="g",
                                                   trans_type="tcc", branch_id="x"))

    def test_bad_requests(self):
        good = {"jsonrpc": "2.0", "method": "newGid", "id": "1"}
        for change, text in (({"jsonrpc": "1.0"}, "'jsonrpc'"), ({"jsonrpc": None}, "'jsonrpc'"),
                             ({"id": 5}, "'id'"), ({"id": ""}, "'id'"), ({"id": None}, "'id'"),
                             ({"method": 1}, "'method'"), ({"params": [1]}, "'params'")):
            self.assertIn(text, self.fault(-32600, {**good, **change}))
        self.assertIn("batch requests are not supported", self.fault(-32600, [good, good]))
        self.assertIn("must be an object", self.fault(-32600, "newGid"))
        for method in ("", "query", "NewGid"):
            self.assertIn("'method'", self.fault(-32601, {**good, "method": method}))

    def test_what_is_not_json(self):
        port = self.sagad.http.number
        reply = web.ask(port, "POST", "/api/json-rpc", b'{"jsonrpc":')
        self.assertEqual((400, -32700, None),
                         (reply.status, reply.body["error"]["code"], reply.body["id"]))
        self.assertEqual(405, web.ask(port, "GET", "/api/json-rpc").status)

    def test_the_id_comes_back(self):
        for id_ in ("1", "ü \" \\", "x" * 1000):
            self.call("newGid", id_=id_)


def answer(**fields):
    return Answer(200, json.dumps({"jsonrpc": "2.0", "id": "x", **fields}))


OK = answer(result={"dtm_result": "SUCCESS"})


class BranchTest(RpcCase):
    def url(self, method, path="/rpc"):
        return f"{self.web.url}{path}?method={method}"

    def submit(self, *urls, gid=None, **fields):
        body = self.saga(gid or self.gid(), *urls, protocol="json-rpc", wait_result=True, **fields)
        return body["gid"], self.sagad.dtm("submit", **body)

    def test_call_is_a_json_rpc_request(self):
        self.web.rules["/rpc"] = OK
        gid, reply = self.submit(self.url("pay"), branch_headers={"x-tenant": "t1"})
        self.assertEqual(200, reply.status, reply.text)
        call, = self.web.calls
        self.assertEqual(("POST", [("method", "pay")], "application/json", "t1"),
                         (call.method, call.query, call.headers["Content-Type"],
                          call.headers["x-tenant"]))
        body = json.loads(call.body)
        self.assertTrue(body.pop("id"))
        self.assertEqual({"jsonrpc": "2.0", "method": "pay",
                          "params": {"amount": 30, "gid": gid, "trans_type": "saga",
                                     "branch_id": "01", "op": "action"}}, body)
        self.assertEqual("json-rpc", self.sagad.query(gid)["transaction"]["protocol"])

    def test_other_payloads(self):
        self.web.rules["/rpc"] = OK
        for payload, extra in (("", {}), ("null", {}), (" {} ", {}), ('"text"', {"data": '"text"'}),
                               ("no json", {"data": "no json"}), ('{"gid":"mine"}', {}),
                               ('{"big":9007199254740993}', {"big": 9007199254740993})):
            self.web.calls.clear()
            gid, reply = self.submit(self.url("pay"), payloads=[payload])
            self.assertEqual(200, reply.status, reply.text)
            params = json.loads(self.web.calls[0].body)["params"]
            self.assertEqual({"gid": gid, "trans_type": "saga", "branch_id": "01", "op": "action",
                              **extra}, params)

    def test_results(self):
        for rule, status in (
                (answer(error={"code": FAILURE, "message": "no"}), 409),
                (answer(error={"code": ONGOING, "message": "wait"}), 425),
                (answer(error={"code": -32603, "message": "FAILURE: no money"}), 409),
                (answer(result="ONGOING"), 425),
                (answer(error={"code": -32603, "message": "broken"}), 425),
                (answer(error="text"), 425),
                (Answer(200, "<html>"), 425), (Answer(204, ""), 425), (Answer(200, "[]"), 425),
                (Answer(500, json.dumps({"result": 1})), 425),
                (Answer(409, json.dumps({"result": 1})), 409),
                (answer(result=None, error=None), 200),
                (Answer(201, json.dumps({"result": 1})), 200)):
            self.web.rules["/rpc"] = rule
            _, reply = self.submit(self.url("pay"), retry_interval=600)
            self.assertEqual(status, reply.status, (rule.status, rule.body, reply.text))

    def test_undo_and_url_without_a_method(self):
        self.web.rules["/rpc"] = [OK, answer(error={"code": FAILURE, "message": "no"}), OK]
        gid = self.gid()
        steps = [{"action": self.url("pay"), "compensate": self.url("refund")},
                 {"action": self.web.url + "/plain", "compensate": ""},
                 {"action": self.url("ship%20it"), "compensate": ""}]
        reply = self.sagad.dtm("submit", gid=gid, trans_type="saga", protocol="json-rpc",
                               wait_result=True, payloads=["{}"] * 3, steps=steps)
        self.assertEqual(409, reply.status, reply.text)
        called = [json.loads(c.body).get("method") for c in self.web.calls]
        self.assertEqual(["pay", None, "ship it", "refund"], called)

    def test_registered_branches_and_the_check_back(self):
        self.web.rules["/rpc"] = OK
        gid = self.gid()
        common = {"gid": gid, "trans_type": "tcc", "protocol": "json-rpc"}
        self.sagad.dtm("prepare", **common)
        self.sagad.dtm("registerBranch", branch_id="01", data='{"a":1}', **common,
                       confirm=self.url("confirm"), cancel=self.url("cancel"))
        self.sagad.dtm("abort", **common)
        self.await_status(gid, "failed")
        body = json.loads(self.web.calls[-1].body)
        self.assertEqual(("cancel", 1, "cancel"),
                         (body["method"], body["params"]["a"], body["params"]["op"]))
        self.web.rules["/rpc"] = [answer(error={"code": ONGOING}), OK]
        gid = self.gid()
        self.sagad.dtm("prepare", **{**self.saga(gid, self.url("send")), "trans_type": "msg"},
                       query_prepared=self.url("check"), protocol="json-rpc", timeout_to_fail=1,
                       retry_interval=1)
        self.await_status(gid, "succeed")
        self.assertEqual(["check", "check", "send"],
                         [json.loads(c.body)["method"] for c in self.web.calls[-3:]])

    def test_it_survives_a_restart(self):
        self.web.rules["/rpc"] = Answer(500, "")
        gid = self.gid()
        self.submit(self.url("pay"), gid=gid, retry_interval=1)
        self.sagad.kill()
        self.web.rules["/rpc"] = OK
        self.sagad.start()
        self.await_status(gid, "succeed")
        self.assertEqual({"pay"}, {json.loads(c.body)["method"] for c in self.web.calls})

    def test_other_protocols(self):
        for protocol, status in (("", 200), ("http", 200), (None, 200), ("grpc", 400),
                                 ("smtp", 400), (5, 400)):
            reply = self.sagad.dtm("submit", **self.saga(self.gid(), self.web.url + "/a",
                                                         protocol=protocol))
            self.assertEqual(status, reply.status, reply.text)
            if status == 400:
                self.assertIn("protocol", reply.body["message"])


if __name__ == "__main__":
    unittest.main()
