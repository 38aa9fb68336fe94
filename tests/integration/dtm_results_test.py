#!/usr/bin/env python3
"""Results of branches and options of a step, over HTTP (docs/results.md)."""
import time
import unittest

from harness.dtm import SLACK_S, TwoCoordinators, b64
from harness.web import Answer


class ResultsTest(TwoCoordinators):
    trans_type = "saga"

    def saga(self, *payloads, **fields):
        """The steps /a, /b, … with these payloads."""
        url = self.web.url
        names = "abcdefgh"[:len(payloads)]
        return self.body(**{
            "steps": [{"action": f"{url}/{n}", "compensate": f"{url}/{n}-undo"} for n in names],
            "payloads": list(payloads), "keep_results": True, **fields})

    def run_saga(self, *payloads, **fields):
        return self.send("submit", **self.saga(*payloads, **{"wait_result": True, **fields}))

    def test_a_later_step_gets_an_earlier_result(self):
        self.web.rules = {"/a": Answer(200, '{"id":7}'), "/b": Answer(200, b"\x00\xff${01.result}")}
        reply = self.run_saga("x", '{"order": ${01.result}}', "${02.result}|${01.result}")
        self.assert_reply(200, "SUCCESS", reply)
        self.assertEqual([b"x", b'{"order": {"id":7}}', b'\x00\xff${01.result}|{"id":7}'],
                         [call.body for call in self.web.calls])

    def test_query_shows_them(self):
        self.web.rules["/a"] = Answer(200, '{"id":7}')
        self.run_saga("x")
        found = {b["op"]: b for b in self.sagad.query(self.id_)["branches"]}
        self.assertEqual(b64(b'{"id":7}'), found["action"]["result"])
        self.assertNotIn("result", found["compensate"])

    def test_without_the_word_nothing_is_kept_and_payloads_are_left_alone(self):
        self.assert_reply(200, "SUCCESS", self.run_saga("x", "${01.result}", keep_results=False))
        self.assertEqual(b"${01.result}", self.web.calls[1].body)
        self.assertNotIn("result", self.sagad.query(self.id_)["branches"][1])

    def test_an_undo_gets_what_its_action_got(self):
        self.web.rules = {"/a": Answer(200, "seven"), "/b": Answer(409, "no")}
        self.assert_reply(409, "FAILURE", self.run_saga("x", "id=${01.result}"))
        self.assertEqual(b"id=seven", self.call_of("/b-undo").body)

    def test_one_that_is_too_large_turns_it_round(self):
        self.web.rules["/a"] = Answer(200, "x" * 4096)
        self.assert_reply(200, "SUCCESS", self.run_saga("x"))
        self.id_ = self.gid()
        self.web.rules["/a"] = Answer(200, "x" * 4097)
        reply = self.run_saga("x", "y")
        self.assert_reply(409, "FAILURE", reply)
        self.assertIn("the result is too large to be kept", reply.body["message"])
        self.assertIn("/a-undo", self.web.paths())

    def test_bad_references(self):
        for payloads in (["${01.result}"], ["${02.result}", "x"], ["x", "${03.result}"],
                         ["x", "${01.result}" * 17]):
            with self.subTest(str(payloads)[:40]):
                self.assert_refused("payloads[", self.run_saga(*payloads))
        custom = '{"concurrent":true,"orders":{"1":[0]}}'
        self.assert_refused("payloads[2]", self.run_saga("x", "${01.result}", "${01.result}",
                                                         custom_data=custom))
        self.assertIsNone(self.transaction())

    def test_results_survive_the_coordinator(self):
        self.web.rules["/a"] = Answer(200, "seven")
        kill = self.kill_while("/b")
        self.run_saga("x", "y", "${01.result}", wait_result=False)
        kill()
        self.assert_ended("succeed")
        self.assertEqual(b"seven", self.call_of("/c").body)

    def test_a_step_has_options_of_its_own(self):
        self.gated("/b")
        body = self.saga("x", "y", branch_headers={"X-Tenant": "all"}, wait_timeout=30,
                         timeout_to_fail=30)
        body["steps"][0]["branch_headers"] = {"X-Step": "first"}
        body["steps"][1] |= {"request_timeout": 1, "retry_interval": 600}
        started = time.monotonic()
        reply = self.send("submit", **{**body, "wait_result": True, "wait_timeout": None})
        self.assert_reply(425, "ONGOING", reply)
        took = time.monotonic() - started
        self.assertTrue(0.9 <= took < 1 + SLACK_S, took)
        first, second = self.web.calls[:2]
        self.assertEqual(("all", "first"), (first.headers["X-Tenant"], first.headers["X-Step"]))
        self.assertEqual(("all", None), (second.headers["X-Tenant"], second.headers["X-Step"]))
        self.ok("abort", **self.body())


if __name__ == "__main__":
    unittest.main()
