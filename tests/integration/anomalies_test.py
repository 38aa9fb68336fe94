#!/usr/bin/env python3
"""What can go wrong between coordinator and participants: N1 to N10 of the mall's list."""
import threading
import time
import unittest

from harness import mall
from harness.case import StackCase
from harness.dtm import PATIENT
from harness.process import wait_for
from harness.web import Answer
from harness.wire import (CALL, ERROR, FAILURE, SUBMIT, SUCCESS, Message, WireClient, call_body,
                          submit_body)

BOTH_COMPENSATE = (("02", "action", "compensate"), ("02", "compensate", "compensate"))


class BranchCase(StackCase):
    """Calls branches as a coordinator would."""

    def setUp(self):
        self.products = self.wire("product")
        self.orders = self.wire("order")
        self.branch_gid = self.gid()

    def decr(self, pid, num=1, gid=None, client=None):
        return (client or self.products).call(
            mall.DECR, mall.decr_message(pid, num), branch_id="02", gid=gid or self.branch_gid,
            op="action")

    def revert(self, pid, num=1, gid=None, client=None):
        return (client or self.products).call(
            mall.DECR_REVERT, mall.decr_message(pid, num), branch_id="02",
            gid=gid or self.branch_gid, op="compensate")


class DeliveryTest(BranchCase):
    def test_n1_a_repeated_call_has_its_effect_once(self):
        pid = self.make_product(10)
        order_id = self.new_order_id()
        payload = mall.order_message(order_id, self.uid, pid)
        gid = self.branch_gid
        replies = [self.orders.call(mall.CREATE, payload, gid=gid) for _ in range(3)]
        self.assertEqual([SUCCESS] * 3, [r.result for r in replies])
        self.assertEqual(1, len({r.payload for r in replies}))  # the first answer, each time
        self.assertEqual(order_id, Message(replies[0].payload).int(1))
        self.assertEqual([SUCCESS] * 3, [self.decr(pid).result for _ in range(3)])
        self.assertEqual(9, self.stock(pid))
        self.assertEqual(mall.rows_done(gid), self.rows(gid))
        changed = self.product(pid)
        self.assertEqual([SUCCESS] * 3, [self.revert(pid).result for _ in range(3)])
        self.assertEqual(10, self.stock(pid))
        self.assertEqual(int(changed["ver"]) + 1, int(self.product(pid)["ver"]))
        undone = [self.orders.call(mall.CREATE_REVERT, payload, gid=gid, op="compensate").result
                  for _ in range(3)]
        self.assertEqual([SUCCESS] * 3, undone)
        self.assertEqual(("9", "2"), tuple(self.order(order_id)[f] for f in ("status", "ver")))
        self.assertEqual(mall.rows_failed_afterwards(gid), self.rows(gid))

    def test_n2_n3_a_compensation_without_its_action_bars_it(self):
        pid = self.make_product(10)
        before = self.product(pid)
        self.assertEqual(SUCCESS, self.revert(pid).result)
        expected = mall.rows(self.branch_gid, *BOTH_COMPENSATE)
        self.assertEqual(expected, self.rows(self.branch_gid))
        late = self.decr(pid)
        self.assertEqual(FAILURE, late.result)
        self.assertIn("compensate came before action", late.message)
        self.assertEqual(SUCCESS, self.revert(pid).result)
        self.assertEqual(FAILURE, self.decr(pid).result)
        self.assertEqual(expected, self.rows(self.branch_gid))
        self.assertEqual(before, self.product(pid))

    def test_n3_also_for_orders_users_and_scores(self):
        order_id = self.new_order_id()
        calls = [("order", mall.CREATE, mall.CREATE_REVERT,
                  mall.order_message(order_id, self.uid, 1)),
                 ("user", mall.SAVE_USER, mall.SAVE_USER_REVERT, mall.user_message(987654)),
                 ("score", mall.SAVE_SCORE, mall.SAVE_SCORE_REVERT, mall.score_message(987654))]
        for service, action, compensate, payload in calls:
            client, gid = self.wire(service), self.gid()
            undone = client.call(compensate, payload, gid=gid, op="compensate")
            self.assertEqual(SUCCESS, undone.result, undone)
            self.assertEqual(FAILURE, client.call(action, payload, gid=gid).result)
            self.assertEqual(mall.rows(gid, ("01", "action", "compensate"),
                                       ("01", "compensate", "compensate")), self.rows(gid))
        self.assertEqual({}, self.order(order_id))
        self.assertEqual({}, self.redis.client.hash("{usr:0}:u:987654"))
        self.assertEqual({}, self.redis.client.hash("{scr:0}:a:987654"))

    def test_n4_a_lost_reply_is_answered_again_though_the_stock_is_0_now(self):
        pid = self.make_product(1)
        self.stack["product"].restart(fault="drop", fault_method=mall.DECR)
        with self.stack["product"].wire() as client:
            with self.assertRaises(ConnectionError):
                self.decr(pid, client=client)
        self.assertEqual(0, self.stock(pid))
        self.stack["product"].restart()
        with self.stack["product"].wire() as client:
            self.assertEqual(SUCCESS, self.decr(pid, client=client).result)
            self.assertEqual(FAILURE, self.decr(pid, gid=self.gid(), client=client).result)
        self.assertEqual(0, self.stock(pid))
        self.assertEqual(mall.rows(self.branch_gid, ("02", "action", "action")),
                         self.rows(self.branch_gid))

    def test_n4_through_the_coordinator(self):
        pid = self.make_product(1)
        self.stack["product"].restart(fault="drop", fault_method=mall.DECR)
        try:
            reply = self.post("order", "create", pid=pid)
        finally:
            self.stack["product"].restart()
        # the drop hits the call that commits only; the repeat is a duplicate and gets its answer
        self.assertEqual((200, "succeed"), (reply.status, reply.body["status"]))
        self.assertEqual(0, self.stock(pid))
        gid = reply.body["gid"]
        self.assertEqual(mall.rows_done(gid), self.rows(gid))
        self.assertEqual(["submitted", "01.action", "02.action", "02.action", "succeed"],
                         self.sagad.history(gid))

    def test_n5_concurrent_action_and_compensation(self):
        pid = self.make_product(100)
        barrier = threading.Barrier(2)
        gids = [self.gid() for _ in range(50)]
        results = {gid: {} for gid in gids}

        def play(i):
            name = ("action", "compensate")[i]
            with self.stack["product"].wire() as client:
                for gid in gids:
                    barrier.wait()
                    call = self.decr if i == 0 else self.revert
                    results[gid][name] = call(pid, gid=gid, client=client).result

        self.in_threads(2, play)
        for gid in gids:
            self.assertEqual(SUCCESS, results[gid]["compensate"])
            first = "action" if results[gid]["action"] == SUCCESS else "compensate"
            self.assertEqual(mall.rows(gid, ("02", "action", first),
                                       ("02", "compensate", "compensate")), self.rows(gid))
        self.assertEqual(100, self.stock(pid))

    def test_n8_a_branch_call_without_metadata_is_refused(self):
        pid = self.make_product(10)
        before = self.product(pid)
        payload = mall.decr_message(pid)
        plain = self.products.call(mall.DECR, payload)
        self.assertEqual(ERROR, plain.result)
        self.assertIn("gid is missing", plain.message)
        for missing in ("branch_id", "op", "trans_type"):
            reply = self.products.call(mall.DECR, payload, gid=self.branch_gid, **{missing: ""})
            self.assertEqual((missing, ERROR), (missing, reply.result))
            self.assertIn(f"{missing} is missing", reply.message)
        for wrong in ({"gid": "x" * 129}, {"gid": "a\nb"}, {"gid": "g", "op": "nonsense"},
                      {"gid": "g", "branch_id": "a:b"}):
            self.assertEqual(ERROR, self.products.call(mall.DECR, payload, **wrong).result, wrong)
        plain_only = self.products.call("product.Product/Detail", mall.id_message(pid),
                                        gid=self.branch_gid)
        self.assertEqual(ERROR, plain_only.result)
        self.assertEqual(before, self.product(pid))
        self.assertEqual(set(), self.rows(self.branch_gid) | self.rows("g"))


class UserBranchTest(StackCase):
    """A first branch that asks another service and has no compensation."""

    def steps(self, uid, pid, order_id):
        return [(f"tcp://user/{mall.CHECK}", "", mall.id_message(uid)),
                *mall.order_steps(order_id, uid, pid)]

    def test_n6_the_saga_waits_for_a_service_that_is_down(self):
        pid, order_id, gid = self.make_product(5), self.new_order_id(), self.gid()
        sagad = self.wire("sagad1")
        self.stack["user"].kill()
        try:
            reply = sagad.submit(gid, self.steps(self.uid, pid, order_id))
            self.assertEqual("submitted", reply.status)
            wait_for(lambda: self.sagad.history(gid).count("01.action") >= 3, "three attempts")
            self.assertEqual("submitted", self.sagad.status(gid))
            self.assertEqual(set(), self.rows(gid))
            self.assertEqual(5, self.stock(pid))
        finally:
            self.stack["user"].start()
        self.await_status(gid, "succeed")
        self.assertEqual(mall.rows(gid, ("02", "action", "action"), ("03", "action", "action")),
                         self.rows(gid))
        self.assertEqual((4, "0"), (self.stock(pid), self.order(order_id)["status"]))

    def test_n7_an_unknown_user_fails_the_saga(self):
        pid, order_id, gid = self.make_product(5), self.new_order_id(), self.gid()
        reply = self.wire("sagad1").submit(gid, self.steps(424242, pid, order_id), wait=True)
        self.assertEqual("failed", reply.status)
        self.assertIn("no_user", reply.rollback_reason)
        self.assertEqual(set(), self.rows(gid))
        self.assertEqual((5, {}), (self.stock(pid), self.order(order_id)))

    def test_n7_an_unknown_user_in_a_later_branch_rolls_back(self):
        pid, order_id, gid = self.make_product(5), self.new_order_id(), self.gid()
        order, product = mall.order_steps(order_id, self.uid, pid)
        check = (f"tcp://user/{mall.CHECK}", "", mall.id_message(424242))
        reply = self.wire("sagad1").submit(gid, [order, product, check], wait=True)
        self.assertEqual("failed", reply.status)
        self.assertEqual(mall.rows_failed_afterwards(gid), self.rows(gid))
        self.assertEqual((5, "9"), (self.stock(pid), self.order(order_id)["status"]))
        self.assertEqual(["submitted", "01.action", "02.action", "03.action", "aborting",
                          "02.compensate", "01.compensate", "failed"], self.sagad.history(gid))


class CrashTest(StackCase):
    """N9: the final states are those of the flows A to E wherever a process dies."""

    stack_options = {"settings": {"sagad": PATIENT}}

    def test_n9_product_crashes_between_commit_and_reply(self):
        pid, order_id, gid = self.make_product(1), self.new_order_id(), self.gid()
        product = self.stack["product"]
        product.restart(fault="exit", fault_method=mall.DECR)
        self.wire("sagad1").submit(gid, mall.order_steps(order_id, self.uid, pid))
        wait_for(lambda: not product.process.is_up(), "product has crashed")
        self.assertEqual(70, product.process.popen.returncode)
        self.assertEqual(0, self.stock(pid))
        product.start()
        self.await_status(gid, "succeed")
        self.assertEqual(mall.rows_done(gid), self.rows(gid))
        self.assertEqual((0, "0"), (self.stock(pid), self.order(order_id)["status"]))

    def test_n9_order_crashes_between_commit_and_reply_and_stock_is_out(self):
        pid, order_id, gid = self.make_product(0), self.new_order_id(), self.gid()
        order = self.stack["order"]
        order.restart(fault="exit", fault_method=mall.CREATE)
        self.wire("sagad1").submit(gid, mall.order_steps(order_id, self.uid, pid))
        wait_for(lambda: not order.process.is_up(), "order has crashed")
        order.start()
        self.await_status(gid, "failed")
        self.assertEqual(mall.rows_refused(gid), self.rows(gid))
        self.assertEqual((0, "9"), (self.stock(pid), self.order(order_id)["status"]))

    def crash_sagad_at(self, at, answers, status, calls):
        """A saga of two HTTP branches; sagad is killed while the call `at` is being answered."""
        participant, gid = self.participant(), self.gid()
        reached, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        hang = Answer(run=lambda _: reached.set(), gate=go_on)
        normal = answers.get(at, Answer())
        participant.rules = {**answers, at: [hang, normal]}
        steps = [(f"{participant.url}/{n}", f"{participant.url}/{n}-undo", b"x") for n in "ab"]
        with self.stack["sagad1"].wire() as client:
            client.submit(gid, steps)
            self.assertTrue(reached.wait(20), at)
        self.sagad.kill()
        self.sagad.start()
        self.await_status(gid, status)
        self.assertEqual(calls, participant.paths())

    def test_n9_sagad_crashes_while_a_branch_is_called(self):
        refuse = {"/b": Answer(409, "out")}
        self.crash_sagad_at("/a", {}, "succeed", ["/a", "/a", "/b"])
        self.crash_sagad_at("/a", refuse, "failed", ["/a", "/a", "/b", "/b-undo", "/a-undo"])

    def test_n9_sagad_crashes_at_the_second_branch(self):
        # whether the success of /a had been stored yet is open: it may be called again
        participant, gid = self.participant(), self.gid()
        reached, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        participant.rules["/b"] = [Answer(run=lambda _: reached.set(), gate=go_on), Answer()]
        steps = [(f"{participant.url}/{n}", f"{participant.url}/{n}-undo", b"x") for n in "ab"]
        with self.stack["sagad1"].wire() as client:
            client.submit(gid, steps)
            self.assertTrue(reached.wait(20))
        self.sagad.restart()
        self.await_status(gid, "succeed")
        self.assertIn(participant.paths(), (["/a", "/b", "/b"], ["/a", "/b", "/a", "/b"]))

    def test_n9_sagad_crashes_while_it_undoes(self):
        refuse = {"/b": Answer(409, "out")}
        # the decision was stored before the first compensation: no action is called again
        self.crash_sagad_at("/b-undo", refuse, "failed",
                            ["/a", "/b", "/b-undo", "/b-undo", "/a-undo"])

    def test_n9_both_services_and_sagad_crash_in_one_saga(self):
        pid, order_id, gid = self.make_product(1), self.new_order_id(), self.gid()
        for name in ("order", "product"):
            self.stack[name].restart(fault="exit")
        with self.stack["sagad1"].wire() as client:
            client.submit(gid, mall.order_steps(order_id, self.uid, pid))
        for name in ("order", "product"):
            wait_for(lambda p=self.stack[name].process: not p.is_up(), f"{name} has crashed")
            self.sagad.kill()
            self.stack[name].start()
            self.sagad.start()
        self.await_status(gid, "succeed")
        self.assertEqual(mall.rows_done(gid), self.rows(gid))


class CrowdTest(StackCase):
    """N10."""

    SAGAS, STOCK, THREADS = 1000, 100, 16

    def play(self, client, noise, gid, order_id, pid):
        """One saga; beside it each branch is delivered a second time, whenever that comes."""
        steps = mall.order_steps(order_id, self.uid, pid)
        submitted = client.send(SUBMIT, submit_body(gid, steps, wait=True, wait_timeout_ms=60000))
        echoes = [(noise[i], noise[i].send(CALL, call_body(method, steps[i][2], gid=gid,
                                                           branch_id=f"0{i + 1}")))
                  for i, method in enumerate((mall.CREATE, mall.DECR))]
        for connection, request_id in echoes:
            connection.receive(request_id)
        return client.receive(submitted).status

    def test_n10_a_thousand_sagas_for_a_hundred_pieces(self):
        pid = self.make_product(self.STOCK)
        ids = mall.new_order_ids(self.wire("order"), self.uid, self.SAGAS)
        gids = [f"crowd-{i}" for i in range(self.SAGAS)]
        statuses = [None] * self.SAGAS

        def work(thread):
            client = WireClient(self.sagad.rpc.address)
            noise = [self.stack[name].wire() for name in ("order", "product")]
            try:
                for i in range(thread, self.SAGAS, self.THREADS):
                    statuses[i] = self.play(client, noise, gids[i], ids[i], pid)
            finally:
                for connection in (client, *noise):
                    connection.close()

        started = time.monotonic()
        self.in_threads(self.THREADS, work)
        print(f"{self.SAGAS} sagas in {time.monotonic() - started:.1f} s")
        self.assertEqual((self.STOCK, self.SAGAS - self.STOCK),
                         (statuses.count("succeed"), statuses.count("failed")))
        orders = [self.order(i)["status"] for i in ids]
        self.assertEqual((self.STOCK, self.SAGAS - self.STOCK),
                         (orders.count("0"), orders.count("9")))
        self.assertEqual(["0" if s == "succeed" else "9" for s in statuses], orders)
        self.assertEqual(0, self.stock(pid))
        self.assert_books({pid: self.STOCK})
        rows = {row for row in mall.barrier_rows(self.redis.client) if row[1].startswith("crowd-")}
        self.assertEqual(2 * self.STOCK + 4 * (self.SAGAS - self.STOCK), len(rows))


if __name__ == "__main__":
    unittest.main()
