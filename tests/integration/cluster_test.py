#!/usr/bin/env python3
"""R16: every script stays in one slot of a Redis Cluster, and a moving slot costs a retry only."""
import unittest

from harness import mall
from harness.case import StackCase
from harness.process import wait_for
from harness.redis import RedisServer
from harness.wire import ERROR, FAILURE, SUCCESS


class FlowsOnCluster:
    """The flows A, B and D, and everything else that runs a script, on a cluster."""

    shards = 1
    has_user = True

    def shard_of(self, number):
        return number % self.shards

    def test_a_b_d(self):
        uids = [self.uid] + [self.register_user()[0] for _ in range(3)]
        for uid in uids:
            self.assertEqual("10", self.redis.ask(
                "HGET", f"{{scr:{self.shard_of(uid)}}}:a:{uid}", "total"))
            self.assertEqual("ving", self.redis.ask(
                "HGET", f"{{usr:{self.shard_of(uid)}}}:u:{uid}", "name"))
        pid = self.make_product(1)
        good = self.post("order", "create", pid=pid, headers={"Idempotency-Key": "a"})
        self.assertEqual((200, "succeed"), (good.status, good.body["status"]))
        self.assertEqual(self.shard_of(self.uid), self.shard_of(good.body["id"]))
        self.assertEqual("0", self.order(good.body["id"], self.shards)["status"])
        self.assertEqual(mall.rows_done(good.body["gid"]), self.rows(good.body["gid"]))
        bad = self.post("order", "create", pid=pid)
        self.assertEqual((409, "stock_exhausted"), (bad.status, bad.body["code"]))
        self.assertEqual("9", self.order(bad.body["id"], self.shards)["status"])
        self.assertEqual(mall.rows_refused(bad.body["gid"]), self.rows(bad.body["gid"]))
        self.assertEqual([good.body["id"], bad.body["id"]],
                         sorted(o["id"] for o in self.post("order", "list").body))
        self.assertEqual(200, self.post("order", "update", id=good.body["id"], amount=5).status)
        self.assertEqual(200, self.post("order", "remove", id=bad.body["id"]).status)
        self.assertEqual(200, self.post("product", "update", id=pid, amount=7).status)
        self.assertEqual(10, self.post("score", "detail").body["total"])
        listed = self.sagad.get("/api/dtmsvr/all").body["transactions"]
        self.assertLessEqual({good.body["gid"], bad.body["gid"]}, {t["gid"] for t in listed})
        self.assert_no_crossslot()

    def assert_no_crossslot(self):
        for program in self.stack.programs.values():
            self.assertNotIn("CROSSSLOT", program.process.log(whole=True), program.name)
        for node in self.nodes():
            self.assertNotIn("CROSSSLOT", node.ask("INFO", "errorstats"))

    def nodes(self):
        return [self.redis]


class FlowsOnOneNode(FlowsOnCluster):
    def slot_of(self, pid):
        return self.redis.ask("CLUSTER", "KEYSLOT", f"{{prd:{pid}}}:h")

    def test_a_slot_that_nobody_serves_delays_the_saga_and_no_more(self):
        pid, gid = self.make_product(1), self.gid()
        order_id = self.new_order_id()
        slot = self.slot_of(pid)
        self.redis.ask("CLUSTER", "DELSLOTS", slot)
        try:
            self.wire("sagad1").submit(gid, mall.order_steps(order_id, self.uid, pid))
            wait_for(lambda: self.sagad.history(gid).count("02.action") >= 3, "it is tried again")
            self.assertEqual("submitted", self.sagad.status(gid))
        finally:
            self.redis.ask("CLUSTER", "ADDSLOTS", slot)
        self.await_status(gid, "succeed")
        self.assertEqual((0, mall.rows_done(gid)), (self.stock(pid), self.rows(gid)))


class OneShardTest(FlowsOnOneNode, StackCase):
    stack_options = {"cluster": True}


class SixtyFourShardsTest(FlowsOnOneNode, StackCase):
    shards = 64
    stack_options = {"cluster": True, "settings": {"all": {"shards": 64}}}


class MovingSlotTest(StackCase):
    """A second node takes over a slot: MOVED, ASK and TRYAGAIN are temporary, never a FAILURE."""

    stack_options = {"cluster": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = RedisServer(cls.stack.dir + "/other", cluster=True, slots=False)
        cls.addClassCleanup(cls.other.end)
        cls.other.start()
        cls.redis.ask("CLUSTER", "MEET", "127.0.0.1", cls.other.port.number,
                      cls.other.bus.number)
        ids = [node.ask("CLUSTER", "MYID") for node in (cls.redis, cls.other)]
        for node in (cls.redis, cls.other):
            wait_for(lambda n=node: all(i in n.ask("CLUSTER", "NODES") for i in ids)
                     and "handshake" not in n.ask("CLUSTER", "NODES"), "the nodes know each other")
        cls.here, cls.there = ids

    def decr(self, pid, gid):
        return self.client.call(mall.DECR, mall.decr_message(pid), gid=gid)

    def setUp(self):
        self.client = self.wire("product")

    def slot_of(self, pid):
        return self.redis.ask("CLUSTER", "KEYSLOT", f"{{prd:{pid}}}:h")

    def test_tryagain_while_the_slot_moves(self):
        pid, gid = self.make_product(1), self.gid()
        slot, order_id = self.slot_of(pid), self.new_order_id()
        self.redis.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.there)
        try:
            reply = self.decr(pid, self.gid())  # the product is here, the barrier is not
            self.assertEqual(ERROR, reply.result)
            self.assertIn("TRYAGAIN", reply.message)
            self.wire("sagad1").submit(gid, mall.order_steps(order_id, self.uid, pid))
            wait_for(lambda: self.sagad.history(gid).count("02.action") >= 2, "it is tried again")
        finally:
            self.redis.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        self.await_status(gid, "succeed")
        self.assertEqual((0, "0"), (self.stock(pid), self.order(order_id)["status"]))

    def test_ask_and_moved(self):
        pid = 4711 + self.number()  # of which there are no keys
        slot = self.slot_of(pid)
        for state, word in ((("MIGRATING", self.there), "ASK"), (("NODE", self.there), "MOVED")):
            self.redis.ask("CLUSTER", "SETSLOT", slot, *state)
            reply = self.decr(pid, self.gid())
            self.assertEqual((word, ERROR), (word, reply.result))
            self.assertIn(word, reply.message)
            revert = self.client.call(mall.DECR_REVERT, mall.decr_message(pid), gid=self.gid(),
                                      op="compensate")
            self.assertEqual((word, ERROR), (word, revert.result))
        self.redis.ask("CLUSTER", "SETSLOT", slot, "NODE", self.here)
        self.assertEqual(FAILURE, self.decr(pid, self.gid()).result)  # there is no such product
        self.assertEqual(SUCCESS, self.client.call(mall.DECR_REVERT, mall.decr_message(pid),
                                                   gid=self.gid(), op="compensate").result)


if __name__ == "__main__":
    unittest.main()
