#!/usr/bin/env python3
"""The flows A to E of the mall, as its users play them, with the exact barrier rows."""
import unittest

from harness import mall
from harness.case import StackCase

DONE = {("01", "action"): "succeed", ("01", "compensate"): "prepared",
        ("02", "action"): "succeed", ("02", "compensate"): "prepared"}
UNDONE = {("01", "action"): "succeed", ("01", "compensate"): "succeed",
          ("02", "action"): "failed", ("02", "compensate"): "succeed"}
TIMELINE_DONE = ["submitted", "01.action", "02.action", "succeed"]
TIMELINE_UNDONE = ["submitted", "01.action", "02.action", "aborting", "02.compensate",
                   "01.compensate", "failed"]
FAULT = {"fault": "failure", "fault_method": mall.DECR}


class FlowCase(StackCase):
    def assert_transaction(self, gid, status, branches, timeline, rows):
        self.assertEqual(status, self.sagad.status(gid))
        self.assertEqual(branches, self.sagad.branches(gid))
        self.assertEqual(timeline, self.sagad.history(gid))
        self.assertEqual(rows, self.rows(gid))

    def assert_done(self, gid):
        self.assert_transaction(gid, "succeed", DONE, TIMELINE_DONE, mall.rows_done(gid))

    def assert_undone(self, gid, rows):
        self.assert_transaction(gid, "failed", UNDONE, TIMELINE_UNDONE, rows)
        self.assertTrue(self.sagad.query(gid)["transaction"]["rollback_reason"])

    def score(self, uid):
        return self.redis.client.hash(f"{{scr:0}}:a:{uid}")

    def ledger(self, uid):
        return self.redis.client.hash(f"{{scr:0}}:l:{uid}")

    def register(self, **fields):
        mobile = f"153{self.number():08d}"
        reply = self.stack["user"].post("/api/user/register", {
            "name": "nina", "gender": 1, "mobile": mobile, "password": "secret-2", **fields})
        return mobile, reply


class OrderFlowTest(FlowCase):
    def order_one(self, pid):
        return self.post("order", "create", pid=pid, num=1, amount=5)

    def test_a_b_c_in_sequence(self):
        pid = self.make_product(1)
        made = self.product(pid)

        # A: the order takes the last piece
        a = self.order_one(pid)
        self.assertEqual((200, "succeed"), (a.status, a.body["status"]))
        order = self.order(a.body["id"])
        self.assertEqual((str(self.uid), str(pid), "1", "5", "0", a.body["gid"]),
                         tuple(order[f] for f in ("uid", "pid", "num", "amount", "status", "gid")))
        sold = self.product(pid)
        self.assertEqual("0", sold["stock"])
        self.assertGreater(int(sold["utime"]), int(made["utime"]))
        self.assertGreater(int(sold["ver"]), int(made["ver"]))
        self.assert_done(a.body["gid"])

        # B: no stock is left; the order is undone, the stock was never touched
        b = self.order_one(pid)
        self.assertEqual((409, "stock_exhausted", "failed"),
                         (b.status, b.body["code"], b.body["status"]))
        self.assertEqual("9", self.order(b.body["id"])["status"])
        self.assertEqual("0", self.order(a.body["id"])["status"])
        self.assertEqual(sold, self.product(pid))  # with its update time and version
        self.assert_undone(b.body["gid"], mall.rows_refused(b.body["gid"]))

        # C: product fails after its barrier has committed; the stock is given back
        self.assertEqual(200, self.post("product", "setstock", id=pid, stock=100).status)
        before = self.product(pid)
        self.stack["product"].restart(**FAULT)
        c = self.order_one(pid)
        self.stack["product"].restart()
        self.assertEqual((409, "injected_fault", "failed"),
                         (c.status, c.body["code"], c.body["status"]))
        self.assertEqual("9", self.order(c.body["id"])["status"])
        after = self.product(pid)
        self.assertEqual("100", after["stock"])
        self.assertGreater(int(after["utime"]), int(before["utime"]))
        self.assertEqual(int(before["ver"]) + 2, int(after["ver"]))
        self.assert_undone(c.body["gid"], mall.rows_failed_afterwards(c.body["gid"]))

        # three orders, ten rows, all in all
        orders = [self.order(reply.body["id"])["status"] for reply in (a, b, c)]
        self.assertEqual(["0", "9", "9"], orders)
        gids = {reply.body["gid"] for reply in (a, b, c)}
        self.assertEqual(10, len({row for gid in gids for row in self.rows(gid)}))
        self.assert_books({pid: 101})  # 1 sold, 100 set


class RegistrationFlowTest(FlowCase):
    def test_d_a_new_user_gets_ten_points(self):
        mobile, reply = self.register()
        self.assertEqual((200, "succeed", "nina", 1, mobile),
                         tuple([reply.status] + [reply.body[f] for f in
                                                 ("status", "name", "gender", "mobile")]))
        uid = reply.body["id"]
        self.assertEqual("nina", self.redis.client.hash(f"{{usr:0}}:u:{uid}")["name"])
        self.assertEqual(str(uid), self.redis.ask("GET", f"{{usr:0}}:m:{mobile}"))
        self.assertEqual({"total": "10", "count": "1"}, self.score(uid))
        self.assertEqual([f"10|{reply.body['gid']}|02"],
                         [entry.rpartition("|")[0] for entry in self.ledger(uid).values()])
        self.assert_done(reply.body["gid"])

    def assert_no_user(self, mobile, gid):
        self.assertIsNone(self.redis.ask("GET", f"{{usr:0}}:m:{mobile}"))
        self.assertNotIn(gid, [u.get("gid") for u in
                               self.redis.client.hashes("{usr:*}:u:*").values()])
        login = self.stack["user"].post("/api/user/login",
                                        {"mobile": mobile, "password": "secret-2"})
        self.assertEqual(401, login.status)
        self.assertEqual([], mall.score_imbalances(self.redis.client))
        self.assertFalse(any(f"|{gid}|" in entry for ledger in
                             self.redis.client.hashes("{scr:*}:l:*").values()
                             for entry in ledger.values()))

    def test_e_a_refused_score_undoes_the_registration(self):
        self.stack["score"].restart(grant_max=5)
        mobile, reply = self.register()
        self.stack["score"].restart()
        self.assertEqual((409, "bad_score", "failed"),
                         (reply.status, reply.body["code"], reply.body["status"]))
        gid = reply.body["gid"]
        self.assert_undone(gid, mall.rows_refused(gid))
        self.assert_no_user(mobile, gid)
        _, again = self.register(mobile=mobile)  # the number is free
        self.assertEqual(200, again.status)

    def test_e_post_a_granted_score_is_taken_back(self):
        self.stack["score"].restart(fault="failure", fault_method=mall.SAVE_SCORE)
        mobile, reply = self.register()
        self.stack["score"].restart()
        self.assertEqual((409, "injected_fault"), (reply.status, reply.body["code"]))
        gid = reply.body["gid"]
        self.assert_undone(gid, mall.rows_failed_afterwards(gid))
        self.assert_no_user(mobile, gid)


class OrderFlowWithAclTest(OrderFlowTest):
    """The same when each program may touch its own keys only (scripts/redis-acl.sh)."""

    stack_options = {"acl": True}


class RegistrationFlowWithAclTest(RegistrationFlowTest):
    stack_options = {"acl": True}


if __name__ == "__main__":
    unittest.main()
