#!/usr/bin/env python3
"""What cannot go on by itself is parked: seen by people, told to them, and brought back by them."""
import json
import unittest

from harness import mall
from harness.dtm import ModeCase, TwoCoordinators
from harness.process import wait_for
from harness.web import Answer, Participant
from harness.wire import CONFLICT, SUCCESS

PARK_AFTER, ALERT_AFTER = 4, 3
SETTINGS = {"park_after": PARK_AFTER, "alert_retry_limit": ALERT_AFTER, "retry_interval": "20ms",
            "retry_interval_max": "40ms", "request_timeout": "20s"}
BROKEN = Answer(500, "the till is \"broken\"")
CONFLICTING = Answer(409, "was cancelled before", headers={"Saga-Result": "CONFLICT"})


class ParkedCase(TwoCoordinators):
    stack_options = {"services": (), "coordinators": 2, "settings": {"sagad": SETTINGS}}
    trans_type = "saga"

    @classmethod
    def before_start(cls):
        cls.hook = Participant()
        cls.addClassCleanup(cls.hook.close)
        for name in ("sagad1", "sagad2"):
            cls.stack[name].settings["alert_webhook"] = f"{cls.hook.url}/hook"

    def setUp(self):
        super().setUp()
        self.hook.rules = {}
        self.web.rules = {"/pay": Answer(409, "no money"), "/put-back": BROKEN}

    def url(self, name):
        return f"{self.web.url}/{name}"

    # ---- a saga that cannot be undone ----

    def start_saga(self, gid=None):
        steps = [{"action": self.url("take"), "compensate": self.url("put-back")},
                 {"action": self.url("pay"), "compensate": self.url("refund")}]
        return self.submit(gid=gid, steps=steps, payloads=["{}", "{}"])

    def parked(self, gid=None, sagad=None):
        return self.transaction(gid, sagad).get("parked")

    def await_parked(self, gid=None, sagad=None):
        return wait_for(lambda: self.parked(gid, sagad), f"{gid or self.id_} is parked")

    def park(self, gid=None):
        self.start_saga(gid)
        return self.await_parked(gid)

    def mend(self):
        self.web.rules = {"/pay": Answer(409, "no money")}

    def keys(self, gid=None):
        return self.sagad.query(gid or self.id_)["keys"]

    def places(self, gid=None):
        """(in the due set, in the parked one)"""
        keys = self.keys(gid)
        return tuple(self.redis.ask("ZSCORE", keys[name], gid or self.id_) is not None
                     for name in ("due", "parked"))

    def listed(self, sagad=None, **parameters):
        query = "&".join(f"{k}={v}" for k, v in {"parked": "true", **parameters}.items())
        reply = (sagad or self.sagad).get(f"/api/dtmsvr/all?{query}")
        self.assertEqual(200, reply.status, reply.text)
        return [txn["gid"] for txn in reply.body["transactions"]]

    # ---- what people are told ----

    def alerts(self, gid=None):
        bodies = [json.loads(call.body) for call in list(self.hook.calls)]
        return [body for body in bodies if body["gid"] == (gid or self.id_)]

    def await_alert(self, reason, gid=None):
        return wait_for(lambda: next((a for a in self.alerts(gid) if a["reason"] == reason), None),
                        f"an alert because of {reason}")


class ParkTest(ParkedCase):
    def test_after_so_many_failures_nobody_is_called_any_more(self):
        before = self.sagad.metrics()
        parked = self.park()
        self.assertEqual(("attempts", ["01.compensate"]), (parked["reason"], parked["ops"]))
        self.assertRegex(parked["since"], r"^\d{4}-\d\d-\d\dT")
        self.assertEqual(PARK_AFTER, self.web.count("/put-back"))
        self.assertEqual((False, True), self.places())  # no due time: it is tried by nobody
        self.assertEqual("aborting", self.sagad.status(self.id_))
        self.assertIn("parked", self.sagad.history(self.id_))
        record = self.redis.ask("HGET", self.keys()["tx"], "parked")
        self.assertRegex(record, r"^\d{13} attempts 01\.compensate$")
        self.assertIn(self.id_, self.listed())
        name = 'sagad_parkings_total{reason="attempts"}'
        after = self.sagad.metrics()
        self.assertEqual(before[name] + 1, after[name])
        self.assertGreaterEqual(after["sagad_parked_transactions"], 1)

    def test_alerts_have_the_fields_of_dtm_and_more(self):
        self.hook.rules["/hook"] = [Answer(500), Answer(drop=True), Answer(200)]
        self.park()
        alert = self.await_alert("attempts")
        self.assertEqual(
            {"gid": self.id_, "status": "aborting", "branch": self.url("put-back"),
             "retry_count": PARK_AFTER, "reason": "attempts", "branch_id": "01",
             "op": "compensate"},
            {name: value for name, value in alert.items() if name not in ("error", "time")})
        self.assertEqual('status 500: the till is "broken"', alert["error"])
        self.assertRegex(alert["time"], r"^\d{4}-\d\d-\d\dT")
        wait_for(lambda: len(self.alerts()) >= 4, "the two that failed come again")
        self.assertEqual({("retry", ALERT_AFTER), ("attempts", PARK_AFTER)},
                         {(a["reason"], a["retry_count"]) for a in self.alerts()})
        self.assertTrue(self.sagad.process.has_logged(
            f'level=warn mod=alerts msg="a transaction is parked" alert=1 gid="{self.id_}"'))

    def test_alerts_are_counted(self):
        def sent():
            return self.sagad.metrics()['sagad_alerts_total{result="sent"}']
        before = sent()
        self.hook.rules["/hook"] = [Answer(500), Answer(200)]
        self.park()
        wait_for(lambda: sent() >= before + 2, "both were delivered in the end")

    def test_a_hook_that_hangs_delays_nothing(self):
        gate = self.gated()
        self.hook.rules["/hook"] = Answer(gate=gate)
        for _ in range(5):
            self.park(self.gid())
        gate.set()

    def test_a_retry_brings_it_back(self):
        self.park()
        self.mend()
        self.retry_now()
        self.assert_ended("failed")
        self.assertEqual(PARK_AFTER + 1, self.web.count("/put-back"))
        self.assertEqual((False, False), self.places())
        self.assertNotIn(self.id_, self.listed())
        self.assertIsNone(self.redis.ask("HGET", self.keys()["tx"], "parked"))
        history = self.sagad.history(self.id_)
        self.assertEqual(["parked", "retry", "01.compensate", "failed"], history[-4:])

    def test_a_workflow_that_is_resumed_in_vain_is_parked_and_its_client_may_end_it(self):
        workflow = {"trans_type": "workflow", "custom_data": '{"name":"trip","data":""}',
                    "query_prepared": self.url("resume")}
        self.assertEqual(200, self.send("prepareWorkflow", **self.body(**workflow)).status)
        parked = self.await_parked()
        self.assertEqual(("attempts", ["00.resume"]), (parked["reason"], parked["ops"]))
        self.assertEqual(PARK_AFTER, self.web.count("/resume"))  # each answered 200
        self.ok("submit", **self.body(trans_type="workflow", req_extra={"status": "succeed"}))
        self.assert_ended("succeed")
        self.assertEqual((False, False), self.places())

    def test_a_retry_in_vain_is_parked_after_as_many_failures_again(self):
        first = self.park()
        self.retry_now()
        wait_for(lambda: self.web.count("/put-back") == 2 * PARK_AFTER, "it was tried again")
        second = wait_for(lambda: (self.parked() or first)["since"] > first["since"] and
                          self.parked(), "it is parked again")
        self.assertEqual(first["ops"], second["ops"])
        self.assertEqual((False, True), self.places())

    def test_all_at_once_at_another_coordinator_while_the_first_is_dead(self):
        gids = [self.gid() for _ in range(7)]
        for gid in gids:
            self.start_saga(gid)
        for gid in gids:
            self.await_parked(gid)
        self.kill_first()
        self.mend()
        self.assertLessEqual(set(gids), set(self.listed()))
        position, count = "", 0
        while True:
            reply = self.sagad.post(f"/api/dtmsvr/retryParked?limit=3&position={position}", {})
            self.assertEqual(200, reply.status, reply.text)
            count += reply.body["succeed_count"]
            position = reply.body["next_position"]
            self.assertEqual([], reply.body["failed"])
            if not position:
                break
        self.assertGreaterEqual(count, len(gids))
        for gid in gids:
            self.assert_ended("failed", gid)

    def test_it_stays_parked_through_kill_9_of_everybody(self):
        self.park()
        count = self.web.count("/put-back")
        for name in ("sagad1", "sagad2"):
            self.stack[name].restart()
        other = self.gid()
        self.submit(gid=other, steps=[{"action": self.url("x")}], payloads=["{}"])
        self.assert_ended("succeed", other)
        self.assertEqual((False, True), self.places())
        self.assertEqual(count, self.web.count("/put-back"))
        self.mend()
        self.retry_now()
        self.assert_ended("failed")

    def test_a_take_over_that_dies_leaves_it_to_be_parked_again(self):
        self.park()
        keys = self.keys()
        # What a coordinator leaves behind that has taken it and dies: due, with an owner.
        lease = self.redis.ask("HGET", keys["tx"], "lease")
        epoch, revision = lease.split(".")
        self.redis.ask("HSET", keys["tx"], "lease", f"{int(epoch) + 1}.{revision} gone/1/x")
        self.redis.ask("ZREM", keys["parked"], self.id_)
        self.redis.ask("ZADD", keys["due"], 1, self.id_)
        wait_for(lambda: self.places() == (False, True), "it is parked again")
        self.assertEqual(PARK_AFTER, self.web.count("/put-back"))

    def test_what_waits_by_itself_is_not_retried_with_all_parked(self):
        self.web.rules = {"/take": Answer(500)}
        self.submit(steps=[{"action": self.url("take")}], payloads=["{}"], retry_interval=600)
        self.called("/take")
        self.assertEqual(200, self.sagad.post("/api/dtmsvr/retryParked", {}).status)
        self.assertNotIn("takeover", self.sagad.history(self.id_))

    def test_an_action_waits_for_people_too_unless_it_has_an_end(self):
        self.web.rules = {"/a": BROKEN}
        steps = [{"action": self.url("a"), "compensate": self.url("a-undo")}]
        self.submit(steps=steps, payloads=["{}"])
        self.assertEqual(["01.action"], self.await_parked()["ops"])
        ended = self.gid()
        self.submit(gid=ended, steps=steps, payloads=["{}"], timeout_to_fail=2)
        self.assert_ended("failed", ended)
        self.abort()  # a parked saga can be turned round
        self.assert_ended("failed")
        self.assertNotIn("retry", self.sagad.history(self.id_))

    def test_force_stop_ends_it(self):
        self.park()
        self.ok("forceStop", gid=self.id_)
        self.assertEqual("failed", self.sagad.status(self.id_))
        self.assertEqual((False, False), self.places())

    def test_who_waits_is_told_that_it_goes_on(self):
        self.web.rules["/pay"] = CONFLICTING
        reply = self.submit(steps=[{"action": self.url("pay")}], payloads=["{}"], wait_result=True)
        self.assertEqual((425, "ONGOING"), (reply.status, reply.body["dtm_result"]))

    def test_bad_parameters(self):
        self.assertEqual(400, self.sagad.get("/api/dtmsvr/all?parked=maybe").status)
        self.assertEqual(400, self.sagad.post("/api/dtmsvr/retryParked?limit=0", {}).status)
        self.assertEqual(400, self.sagad.post("/api/dtmsvr/retryParked?position=x", {}).status)
        self.assertEqual(405, self.sagad.get("/api/dtmsvr/retryParked").status)


class ConflictTest(ParkedCase):
    """A TCC as the Go SDK runs it, whose participant says that it cannot be confirmed any more."""

    trans_type = "tcc"

    def setUp(self):
        super().setUp()
        self.web.rules = {"/confirm": CONFLICTING}
        self.prepare(timeout_to_fail=60)
        for branch in ("01", "02"):
            name = "confirm" if branch == "01" else "keep"
            self.ok("registerBranch", gid=self.id_, trans_type="tcc", branch_id=branch, data="{}",
                    confirm=self.url(name), cancel=self.url("cancel"))

    def resolve(self, **fields):
        return self.send("resolve", **{"gid": self.id_, "branch_id": "01", "op": "confirm",
                                       "as": "succeed", "reason": "booked by hand", **fields})

    def test_a_conflict_is_parked_at_once(self):
        self.ok("submit", **self.body())
        parked = self.await_parked()
        self.assertEqual(("conflict", ["01.confirm"]), (parked["reason"], parked["ops"]))
        self.assertEqual(["/keep", "/confirm"], self.web.paths())
        alert = self.await_alert("conflict")
        self.assertEqual((1, "status 409: was cancelled before"),
                         (alert["retry_count"], alert["error"]))

    def test_what_sdks_of_dtm_answer_is_no_conflict(self):
        self.web.rules = {"/confirm": [Answer(409, '{"error":"CONFLICT"}'), Answer(500, "CONFLICT"),
                                       Answer(200)]}
        self.ok("submit", **self.body(wait_result=True, wait_timeout=30))
        self.assertEqual(3, self.web.count("/confirm"))

    def test_an_operator_resolves_it(self):
        self.ok("submit", **self.body())
        self.await_parked()
        self.assert_reply(200, "SUCCESS", self.resolve())
        self.assert_ended("succeed")
        self.assertEqual(1, self.web.count("/confirm"))
        notes = {line["op"]: line["note"] for line in self.sagad.query(self.id_)["history"]}
        self.assertEqual("01.confirm as succeed: booked by hand", notes["resolved"])
        self.assertEqual("succeed", self.sagad.branches(self.id_)["01", "confirm"])
        self.assertTrue(self.sagad.process.has_logged('msg="an operator resolved an op"'))

    def test_what_cannot_be_resolved(self):
        self.assert_message(409, "it is not parked FAILURE", self.resolve())  # prepared
        self.ok("submit", **self.body())
        self.await_parked()
        for fields, says in (({"branch_id": "07"}, "it has no branch 07"),
                             ({"op": "compensate"}, "branch 01 has no op compensate"),
                             ({"as": "failed"}, "field 'as': must be succeed"),
                             ({"reason": ""}, "field 'reason': must be a text"),
                             ({"branch_id": 1}, "field 'branch_id': must be a string")):
            self.assert_refused(says, self.resolve(**fields))
        for fields, says in (({"branch_id": "02"}, "02.confirm is done already"),
                             ({"op": "cancel"}, "01.cancel is not parked")):
            self.assert_message(409, says + " FAILURE", self.resolve(**fields))
        self.assertEqual((False, True), self.places())  # all of that left it where it was
        self.assertEqual(404, self.resolve(gid=self.gid()).status)
        self.assert_reply(200, "SUCCESS", self.resolve())
        self.assert_ended("succeed")
        self.assert_message(409, "it has ended already FAILURE", self.resolve())

    def test_two_coordinators_agree(self):
        self.ok("submit", **self.body())
        self.await_parked()
        self.assertEqual(self.parked(), self.parked(sagad=self.stack["sagad2"]))
        self.web.rules = {}
        self.retry_now(sagad=self.stack["sagad2"])
        self.assert_ended("succeed")


class BarrierTest(ModeCase):
    """The conflict of a real barrier, over the wire protocol."""

    trans_type = "tcc"
    stack_options = {"settings": {"sagad": {"retry_interval": "20ms"}}}
    has_user = True

    def test_a_confirm_after_a_cancel(self):
        pid = self.make_product(10)
        methods = dict(zip(mall.TCC_OPS, mall.STOCK_TCC))
        self.prepare(timeout_to_fail=60)
        self.ok("registerBranch", gid=self.id_, trans_type="tcc", branch_id="01",
                data=mall.decr_message(pid).decode(),
                confirm=f"tcp://product/{methods['confirm']}",
                cancel=f"tcp://product/{methods['cancel']}")
        with self.stack["product"].wire() as client:  # a coordinator that knew of another decision
            for op in ("try", "cancel"):
                reply = client.call(methods[op], mall.decr_message(pid), gid=self.id_, op=op,
                                    trans_type="tcc")
                self.assertEqual(SUCCESS, reply.result, reply)
            late = client.call(methods["confirm"], mall.decr_message(pid), gid=self.id_,
                               op="confirm", trans_type="tcc")
            self.assertEqual((CONFLICT, "cancel came before confirm"), (late.result, late.message))
        self.ok("submit", **self.body())
        parked = wait_for(lambda: self.transaction().get("parked"), "it is parked")
        self.assertEqual(("conflict", ["01.confirm"]), (parked["reason"], parked["ops"]))
        self.assertEqual(1, self.sagad.history(self.id_).count("01.confirm"))
        self.assertEqual(10, self.stock(pid))


if __name__ == "__main__":
    unittest.main()
