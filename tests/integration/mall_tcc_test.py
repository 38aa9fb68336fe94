#!/usr/bin/env python3
"""Orders that are paid with points: a declared TCC over order, product and score, through the order
API and through DTM's."""
import unittest

from harness import mall
from harness.case import StackCase
from harness.process import wait_for
from harness.wire import CONFLICT, ERROR, FAILURE, SUCCESS, Message, encode

BRANCHES = ("01", "02", "03")
CONFIRMED = {**{(b, op): "succeed" for b in BRANCHES for op in ("try", "confirm")},
             **{(b, "cancel"): "prepared" for b in BRANCHES}}
PRICE, POINTS, STOCK = 5, 100, 10


class TccCase(StackCase):
    shards = 1

    def setUp(self):
        self.buyer, self.buyer_token = self.register_user()
        self.grant(POINTS - 10)  # ten are there from the registration
        self.pid = self.make_product(STOCK, PRICE)
        self.id_ = self.gid()

    def grant(self, points):
        with self.stack["score"].wire() as client:
            reply = client.call(mall.SAVE_SCORE, mall.score_message(self.buyer, points),
                                gid=self.gid() + "-grant")
            self.assertEqual(SUCCESS, reply.result, reply)

    # ---- the transaction ----

    def buy(self, num=1, gid=None, points=None, order_id=None, **options):
        """Submits the TCC; (order id, reply)."""
        order_id = order_id or self.new_order_id(self.buyer)
        fields = mall.points_order(order_id, self.buyer, self.pid, num, PRICE * num, points)
        return order_id, self.sagad.dtm("submit", gid=gid or self.id_, **fields, **options)

    def buy_and_wait(self, num=1, **options):
        return self.buy(num, wait_result=True, wait_timeout=30, **options)

    def assert_refused(self, code, reply):
        self.assertEqual((409, "FAILURE"), (reply.status, reply.body.get("dtm_result")), reply.text)
        self.assertIn(f"return failed: {code}: ", reply.body["message"])

    # ---- what became of it ----

    def pieces(self):
        """(in stock, frozen) as the API tells."""
        detail = self.post("product", "detail", id=self.pid).body
        return detail["stock"], detail["frozen"]

    def points(self):
        """(to spend, frozen) as the API tells."""
        detail = self.post("score", "detail", token=self.buyer_token).body
        return detail["total"], detail["frozen"]

    def status(self, order_id):
        return self.order(order_id, self.shards).get("status")

    def assert_paid(self, order_id, num=1):
        self.assertEqual("1", self.status(order_id))
        self.assertEqual((STOCK - num, 0), self.pieces())
        self.assertEqual((POINTS - PRICE * num, 0), self.points())
        self.assertEqual(mall.rows_confirmed(self.id_), self.rows(self.id_))
        self.assert_all_books()

    def assert_nothing_taken(self):
        self.assertEqual((STOCK, 0), self.pieces())
        self.assertEqual((POINTS, 0), self.points())
        self.assert_all_books()

    def assert_all_books(self, stock=STOCK):
        self.assert_books({self.pid: stock})
        self.assertEqual([], mall.score_imbalances(self.redis.client))

    # ---- one service holds still ----

    def hold(self, name):
        """It gets its calls and does nothing until it is let go."""
        process = self.stack[name].process
        process.freeze()
        self.addCleanup(process.thaw)
        return process.thaw


class OutcomeTest(TccCase):
    def test_all_tries_succeed_and_all_are_confirmed(self):
        order_id, reply = self.buy_and_wait(2)
        self.assertEqual((200, "SUCCESS"), (reply.status, reply.body["dtm_result"]), reply.text)
        self.assertEqual("succeed", self.sagad.status(self.id_))
        self.assertEqual(CONFIRMED, self.sagad.branches(self.id_))
        self.assert_paid(order_id, 2)
        history = self.sagad.history(self.id_)
        self.assertEqual({f"{b}.try" for b in BRANCHES},
                         {op for op in history if op.endswith(".try")})
        self.assertEqual(["03.confirm", "02.confirm", "01.confirm", "succeed"], history[-4:])

    def test_spent_points_stand_in_the_ledger(self):
        self.buy_and_wait(2)
        detail = self.post("score", "detail", token=self.buyer_token).body
        newest = detail["ledger"][0]
        self.assertEqual((-2 * PRICE, self.id_, "03"),
                         tuple(newest[f] for f in ("score", "gid", "branch_id")))
        self.assertEqual((3, 3), (detail["count"], len(detail["ledger"])))

    def test_what_is_frozen_is_seen_and_the_order_is_fixed(self):
        let_go = self.hold("score")
        order_id, reply = self.buy(3)
        self.assertEqual(200, reply.status, reply.text)
        wait_for(lambda: self.pieces() == (STOCK - 3, 3) and self.status(order_id) == "2",
                 "stock and order are tried")
        self.assertEqual("prepared", self.sagad.status(self.id_))
        detail = self.post("order", "detail", token=self.buyer_token, id=order_id)
        self.assertEqual(2, detail.body["status"])
        for action, code in (("update", "not_unpaid"), ("remove", "order_pending")):
            refused = self.post("order", action, token=self.buyer_token, id=order_id)
            self.assertEqual((409, code), (refused.status, refused.body["code"]))
        with self.stack["order"].wire() as client:
            paid = client.call("order.Order/Paid", encode((1, order_id)))
            self.assertEqual((FAILURE, "order_pending"),
                             (paid.result, paid.message.partition(":")[0]))
        let_go()
        self.await_status(self.id_, "succeed")
        self.assert_paid(order_id, 3)

    def test_frozen_pieces_are_sold_to_nobody_else(self):
        let_go = self.hold("score")
        order_id, _ = self.buy(STOCK)
        wait_for(lambda: self.pieces() == (0, STOCK), "all pieces are frozen")
        other = self.post("order", "create", pid=self.pid)
        self.assertEqual((409, "stock_exhausted"), (other.status, other.body["code"]))
        let_go()
        self.await_status(self.id_, "succeed")
        self.assert_paid(order_id, STOCK)

    def test_a_second_submit_takes_nothing_more(self):
        order_id, _ = self.buy_and_wait()
        _, again = self.buy_and_wait(order_id=order_id)
        self.assertEqual(200, again.status, again.text)
        self.assert_paid(order_id)


class OrderApiTest(TccCase):
    """POST /api/order/create with "pay": "points"."""

    def create(self, headers=None, **fields):
        reply = self.post("order", "create", token=self.buyer_token, headers=headers,
                          **{"pid": self.pid, "pay": "points", **fields})
        self.id_ = reply.body.get("gid")
        return reply

    def assert_no_order(self, status, code, says, reply):
        self.assertEqual((status, code), (reply.status, reply.body["code"]), reply.text)
        self.assertIn(says, reply.body["message"])
        self.assertNotIn("gid", reply.body)
        self.assert_nothing_taken()

    def test_paid(self):
        reply = self.create(num=2, amount=2 * PRICE)
        self.assertEqual((200, "succeed"), (reply.status, reply.body["status"]), reply.text)
        self.assertEqual(CONFIRMED, self.sagad.branches(self.id_))
        self.assert_paid(reply.body["id"], 2)
        refused = self.post("order", "remove", token=self.buyer_token, id=reply.body["id"])
        self.assertEqual((409, "order_paid"), (refused.status, refused.body["code"]))

    def test_refused_by_stock_and_by_score(self):
        for num, code, branch in ((STOCK + 1, "stock_exhausted", "02"),
                                  (2, "not_enough_score", "03")):
            if branch == "03":
                self.post("product", "update", id=self.pid, amount=POINTS)
            reply = self.create(num=num)
            self.assertEqual((409, code, "failed"), (reply.status, reply.body["code"],
                                                     reply.body["status"]), reply.text)
            self.assertEqual(mall.rows_cancelled(self.id_, branch), self.rows(self.id_))
            self.assertEqual("9", self.status(reply.body["id"]))
            self.assert_nothing_taken()

    def test_what_cannot_be_paid_with_points(self):
        for pay in ("money", "", 5, True):
            self.assert_no_order(400, "invalid", "field 'pay'", self.create(pay=pay))
        self.assert_no_order(400, "bad_amount", "5 × 1 is 5", self.create(amount=4))
        self.post("product", "update", id=self.pid, amount=0)
        self.assert_no_order(400, "bad_pay", "costs nothing", self.create())
        plain = self.create(pay=None)  # null is as absent: a saga, to be paid later
        self.assertEqual((200, "0"), (plain.status, self.status(plain.body["id"])))
        self.assertEqual((POINTS, 0), self.points())

    def test_who_does_not_wait_is_answered_at_once(self):
        let_go = self.hold("score")
        reply = self.create(wait=False)
        self.assertEqual((202, "prepared"), (reply.status, reply.body["status"]), reply.text)
        wait_for(lambda: self.status(reply.body["id"]) == "2", "the order is pending")
        let_go()
        self.await_status(self.id_, "succeed")
        self.assert_paid(reply.body["id"])

    def test_a_score_service_that_is_away_for_longer_than_the_request_waits(self):
        self.stack["order"].restart(wait="500ms")
        self.addCleanup(self.stack["order"].restart)
        self.stack["score"].kill()
        reply = self.create()
        self.assertEqual((202, "prepared"), (reply.status, reply.body["status"]), reply.text)
        self.stack["score"].start()
        self.await_status(self.id_, "succeed")
        self.assert_paid(reply.body["id"])

    def test_idempotency_key(self):
        key = {"Idempotency-Key": "once"}
        first = self.create(headers=key)
        again = self.create(headers=key)
        self.assertEqual((200, 200, first.body), (first.status, again.status, again.body))
        for fields in ({"pay": None}, {"num": 2}):
            other = self.create(headers=key, **fields)
            self.assertEqual((409, "key_reused"), (other.status, other.body["code"]), other.text)
        self.id_ = first.body["gid"]
        self.assert_paid(first.body["id"])


class RefusalTest(TccCase):
    def refused(self, code, branch, order="9", **options):
        order_id, reply = self.buy_and_wait(**options)
        self.assert_refused(code, reply)
        self.assertEqual("failed", self.sagad.status(self.id_))
        self.assertEqual(mall.rows_cancelled(self.id_, branch), self.rows(self.id_))
        self.assertEqual("failed", self.sagad.branches(self.id_)[(branch, "try")])
        self.assertEqual(["03.cancel", "02.cancel", "01.cancel", "failed"],
                         self.sagad.history(self.id_)[-4:])
        self.assertEqual(order, self.status(order_id))

    def test_stock(self):
        self.refused("stock_exhausted", "02", num=STOCK + 1)
        self.assert_nothing_taken()

    def test_score(self):
        self.refused("not_enough_score", "03", num=1, points=POINTS + 1)
        self.assert_nothing_taken()

    def test_points_that_another_order_holds(self):
        let_go = self.hold("product")
        self.buy(4, gid=self.id_ + "-first")
        wait_for(lambda: self.points() == (POINTS - 20, 20), "points are frozen")
        order_id, _ = self.buy(points=POINTS - 19)
        wait_for(lambda: self.sagad.status(self.id_) == "aborting", "the second is refused")
        let_go()
        self.await_status(self.id_, "failed")
        self.await_status(self.id_ + "-first", "succeed")
        self.assertEqual("9", self.status(order_id))
        self.assertEqual(((STOCK - 4, 0), (POINTS - 20, 0)), (self.pieces(), self.points()))
        self.assert_all_books()

    def test_numbers(self):
        self.refused("bad_score", "03", points=0)
        self.assert_nothing_taken()

    def test_product_off_the_shelf_or_gone(self):
        self.post("product", "update", id=self.pid, status=1)
        self.refused("not_on_sale", "02")
        self.assertEqual(200, self.post("product", "remove", id=self.pid).status)
        self.id_ = self.gid()
        self.refused("no_product", "02")
        self.assertEqual((POINTS, 0), self.points())

    def test_order_id_that_is_taken(self):
        order_id, _ = self.buy_and_wait()
        first, self.id_ = self.id_, self.gid()
        self.refused("order_exists", "01", order="1", order_id=order_id)
        self.id_ = first
        self.assert_paid(order_id)

    def test_order_for_another_shard_or_nobody(self):
        fields = mall.points_order(0, self.buyer, self.pid)
        reply = self.sagad.dtm("submit", gid=self.id_, wait_result=True, wait_timeout=30, **fields)
        self.assert_refused("bad_id", reply)
        self.assert_nothing_taken()

    def test_a_try_that_failed_after_its_work_is_undone(self):
        self.stack["product"].restart(fault="failure", fault_method=mall.STOCK_TCC[0])
        order_id, reply = self.buy_and_wait()
        self.stack["product"].restart()
        self.assert_refused("injected_fault", reply)
        self.assertEqual(mall.rows_cancelled(self.id_), self.rows(self.id_))
        self.assertEqual("9", self.status(order_id))
        self.assert_nothing_taken()


class DeliveryTest(TccCase):
    """Calls as a coordinator would make them, twice, too late or too early."""

    def setUp(self):
        super().setUp()
        self.order_id = self.new_order_id(self.buyer)
        self.clients = {name: self.wire(name) for name in ("order", "product", "score")}

    def branch(self, service, methods, branch_id, payload):
        def call(op):
            return self.clients[service].call(methods[mall.TCC_OPS.index(op)], payload,
                                              gid=self.id_, branch_id=branch_id, op=op,
                                              trans_type="tcc")
        return call

    def branches(self):
        return [self.branch("order", mall.ORDER_TCC, "01",
                            mall.order_message(self.order_id, self.buyer, self.pid)),
                self.branch("product", mall.STOCK_TCC, "02", mall.decr_message(self.pid)),
                self.branch("score", mall.SCORE_TCC, "03", mall.score_message(self.buyer, PRICE))]

    def test_every_call_twice(self):
        for op in ("try", "confirm"):
            for call in self.branches():
                replies = [call(op) for _ in range(3)]
                self.assertEqual([SUCCESS] * 3, [r.result for r in replies], replies)
                self.assertEqual(1, len({r.payload for r in replies}))
        self.assert_paid(self.order_id)
        for call in self.branches():  # whoever confirmed cancels no more
            reply = call("cancel")
            self.assertEqual(CONFLICT, reply.result)
            self.assertIn("confirm came before cancel", reply.message)
        self.assert_paid(self.order_id)

    def test_cancelled_twice(self):
        for op in ("try", "cancel", "cancel"):
            self.assertEqual([SUCCESS] * 3, [call(op).result for call in self.branches()])
        self.assertEqual("9", self.status(self.order_id))
        self.assert_nothing_taken()
        self.assertEqual([CONFLICT] * 3, [call("confirm").result for call in self.branches()])
        self.assertEqual(mall.rows_cancelled(self.id_), self.rows(self.id_))
        self.assert_nothing_taken()

    def test_a_cancel_before_its_try_is_empty_and_bars_it(self):
        for call in self.branches():
            self.assertEqual(SUCCESS, call("cancel").result)
            late = call("try")
            self.assertEqual(FAILURE, late.result)
            self.assertIn("cancel came before try", late.message)
            self.assertEqual(SUCCESS, call("cancel").result)
        self.assertEqual(mall.rows_cancelled(self.id_, *BRANCHES), self.rows(self.id_))
        self.assertIsNone(self.status(self.order_id))
        self.assert_nothing_taken()

    def test_a_confirm_without_its_try_changes_nothing(self):
        for call in self.branches():
            reply = call("confirm")
            self.assertEqual(ERROR, reply.result)
            self.assertIn("there is no try to confirm", reply.message)
        self.assertEqual(set(), self.rows(self.id_))
        self.assert_nothing_taken()

    def test_a_payload_that_is_no_message(self):
        for service, methods in (("order", mall.ORDER_TCC), ("product", mall.STOCK_TCC),
                                 ("score", mall.SCORE_TCC)):
            call = self.branch(service, methods, "01", b"{}")
            self.assertEqual([FAILURE, ERROR, ERROR],
                             [call(op).result for op in ("try", "confirm", "cancel")])

    def test_a_branch_wants_its_transaction(self):
        for service, methods in (("order", mall.ORDER_TCC), ("product", mall.STOCK_TCC),
                                 ("score", mall.SCORE_TCC)):
            for method in methods:
                reply = self.clients[service].call(method, b"", gid="", branch_id="", op="",
                                                   trans_type="")
                self.assertEqual(ERROR, reply.result, reply)

    def test_detail_over_rpc(self):
        for call in self.branches():
            call("try")
        detail = Message(self.clients["product"].call("product.Product/Detail",
                                                      mall.id_message(self.pid)).payload)
        self.assertEqual((STOCK - 1, 1), (detail.int(4), detail.int(8)))
        detail = Message(self.clients["score"].call("score.UserScore/Detail",
                                                    mall.id_message(self.buyer)).payload)
        self.assertEqual((POINTS - PRICE, PRICE), (detail.int(1), detail.int(4)))
        for call in self.branches():
            call("cancel")


class KillTest(TccCase):
    """kill -9 in each phase."""

    # always: what a killed process has answered is not taken back
    stack_options = {"fsync": "always"}

    def test_product_between_try_and_confirm(self):
        let_go = self.hold("score")
        order_id, _ = self.buy(2)
        wait_for(lambda: self.pieces() == (STOCK - 2, 2), "pieces are frozen")
        self.stack["product"].kill()
        let_go()
        wait_for(lambda: self.sagad.branches(self.id_)[("03", "confirm")] == "succeed",
                 "points are spent")
        self.assertEqual(("submitted", "2"), (self.sagad.status(self.id_), self.status(order_id)))
        self.stack["product"].start()
        self.await_status(self.id_, "succeed")
        self.assert_paid(order_id, 2)

    def test_product_between_try_and_cancel(self):
        let_go = self.hold("score")
        order_id, _ = self.buy(2, points=POINTS + 1)
        wait_for(lambda: self.pieces() == (STOCK - 2, 2), "pieces are frozen")
        self.stack["product"].kill()
        let_go()
        self.await_status(self.id_, "aborting")
        self.stack["product"].start()
        self.await_status(self.id_, "failed")
        self.assertEqual(mall.rows_cancelled(self.id_, "03"), self.rows(self.id_))
        self.assertEqual("9", self.status(order_id))
        self.assert_nothing_taken()

    def test_each_service_after_its_commit_and_before_its_answer(self):
        for name, methods in (("order", mall.ORDER_TCC), ("product", mall.STOCK_TCC),
                              ("score", mall.SCORE_TCC)):
            for method in methods[:2]:  # the fault hits no cancel
                with self.subTest(method=method):
                    self.setUp()
                    order_id = self.new_order_id(self.buyer)
                    self.stack[name].restart(fault="exit", fault_method=method)
                    self.buy(order_id=order_id)
                    process = self.stack[name].process
                    wait_for(lambda p=process: not p.is_up(), f"{name} ended in {method}")
                    process.killed = True  # by its fault
                    self.stack[name].start()
                    self.await_status(self.id_, "succeed")
                    self.assert_paid(order_id)

    def test_sagad_while_tries_are_under_way(self):
        """Only the owner knew what came back: after a restart all are tried again."""
        let_go = self.hold("score")
        order_id, _ = self.buy(2)
        wait_for(lambda: self.pieces() == (STOCK - 2, 2) and self.status(order_id) == "2",
                 "stock and order are tried")
        self.sagad.restart()
        let_go()
        self.assertEqual("succeed", self.await_end(self.id_))
        self.assert_paid(order_id, 2)

    def test_sagad_while_confirms_are_under_way(self):
        let_go = self.hold("score")
        order_id, _ = self.buy(2)
        wait_for(lambda: self.pieces() == (STOCK - 2, 2), "pieces are frozen")
        self.stack["product"].kill()
        let_go()
        wait_for(lambda: self.points() == (POINTS - 2 * PRICE, 0), "points are spent")
        self.sagad.restart()
        self.stack["product"].start()
        self.await_status(self.id_, "succeed")
        self.assert_paid(order_id, 2)

    def test_redis_while_orders_run(self):
        ids = [f"{self.id_}-{i}" for i in range(8)]
        for gid in ids:
            self.assertEqual(200, self.buy(gid=gid)[1].status)
        self.stack["redis"].kill()
        self.stack["redis"].start()
        for gid in ids:
            self.assertEqual("succeed", self.await_end(gid))
        self.assertEqual(((STOCK - 8, 0), (POINTS - 8 * PRICE, 0)), (self.pieces(), self.points()))
        self.assert_all_books()


class TimeoutTest(TccCase):
    def test_a_service_that_stays_away_undoes_the_order(self):
        self.stack["score"].kill()
        order_id, reply = self.buy(2, timeout_to_fail=1)
        self.assertEqual(200, reply.status, reply.text)
        self.await_status(self.id_, "aborting")
        self.stack["score"].start()
        self.await_status(self.id_, "failed")
        self.assertEqual(mall.rows_cancelled(self.id_, "03"), self.rows(self.id_))
        self.assertEqual("9", self.status(order_id))
        self.assert_nothing_taken()

    def test_abort_gives_everything_back(self):
        self.stack["score"].kill()
        order_id, _ = self.buy(2)
        wait_for(lambda: self.pieces() == (STOCK - 2, 2) and self.status(order_id) == "2",
                 "stock and order are tried")
        self.assertEqual(200, self.sagad.dtm("abort", gid=self.id_).status)
        self.stack["score"].start()
        self.await_status(self.id_, "failed")
        self.assertEqual("9", self.status(order_id))
        self.assert_nothing_taken()


class CrowdTest(TccCase):
    """Many buyers, a stock and purses that do not suffice, sagas on the same product beside them."""

    THREADS, EACH = 6, 8

    def test_books_balance(self):
        outcomes = []

        def run(i):
            for n in range(self.EACH):
                gid = f"{self.id_}-{i}-{n}"
                _, reply = self.buy_and_wait(1 + (i + n) % 3, gid=gid, points=7 + i + n)
                outcomes.append((gid, reply.status))
                if n % 4 == 0:
                    outcomes.append((None, self.post("order", "create", pid=self.pid).status))
                elif n % 4 == 2:
                    paid = self.post("order", "create", token=self.buyer_token, pid=self.pid,
                                     pay="points")
                    outcomes.append((paid.body["gid"], paid.status))

        self.in_threads(self.THREADS, run)
        self.assertLessEqual({status for _, status in outcomes}, {200, 409})
        done = [gid for gid, status in outcomes if gid and status == 200]
        self.assertTrue(done)
        for gid, status in outcomes:
            if gid:
                self.assertEqual("succeed" if status == 200 else "failed", self.sagad.status(gid))
        self.assertEqual((0, 0), (self.pieces()[1], self.points()[1]))
        self.assertGreaterEqual(self.points()[0], 0)
        self.assert_all_books()
        orders = [o for o in mall.Books(self.redis.client, {}).orders() if o["gid"] in done]
        self.assertEqual({"1"}, {o["status"] for o in orders})
        self.assertEqual(len(done), len(orders))


class ShardsTest(TccCase):
    """The same with ids spread over four hash tags, each program confined to its own keys."""

    shards = 4
    stack_options = {"acl": True, "settings": {"all": {"shards": 4}}}

    def test_paid_and_refused(self):
        order_id, reply = self.buy_and_wait(2)
        self.assertEqual(200, reply.status, reply.text)
        self.assert_paid(order_id, 2)
        self.id_ = self.gid()
        order_id, reply = self.buy_and_wait(STOCK)
        self.assert_refused("stock_exhausted", reply)
        self.assertEqual("9", self.status(order_id))
        self.assertEqual(((STOCK - 2, 0), (POINTS - 2 * PRICE, 0)), (self.pieces(), self.points()))
        self.assert_all_books()


class ClusterTest(ShardsTest):
    """And on a Redis Cluster: no script looks at two slots."""

    stack_options = {"cluster": True, "settings": {"all": {"shards": 4}}}


if __name__ == "__main__":
    unittest.main()
