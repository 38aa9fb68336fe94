"""What the services' branches answer to calls that no script ever sees or that it must not fail, over
the wire, with ids spread over four shards; and what of all that stands in their metrics."""
import unittest

from harness import mall
from harness.case import StackCase
from harness.wire import ERROR, FAILURE, SUCCESS, Message, encode

SHARDS = 4


class Branches(StackCase):
    stack_options = {"coordinators": 0, "settings": {"all": {"shards": SHARDS}}}
    has_user = False

    def refused(self, reply, code):
        self.assertEqual((FAILURE, code), (reply.result, reply.message.partition(":")[0]), reply)

    def ended(self, client, method, payload, gid, op="compensate"):
        """The undo of what was refused: it ends, each time, and bars the action."""
        for _ in range(2):
            reply = client.call(method, payload, gid=gid, op=op)
            self.assertEqual(SUCCESS, reply.result, reply)

    def test_order_ids_must_be_allocated_for_their_user(self):
        orders = self.wire("order")
        for order_id, uid, pid in ((6, 1, 1), (0, 1, 1), (-4, 4, 1), (5, 0, 1), (5, 1, 0)):
            gid, payload = self.gid(), mall.order_message(order_id, uid, pid)
            for _ in range(2):
                self.refused(orders.call(mall.CREATE, payload, gid=gid), "bad_id")
            self.ended(orders, mall.CREATE_REVERT, payload, gid)
            gid = self.gid()
            self.refused(orders.call(mall.ORDER_TCC[0], payload, gid=gid, op="try"), "bad_id")
            self.ended(orders, mall.ORDER_TCC[2], payload, gid, op="cancel")
        reply = orders.call(mall.CREATE, mall.order_message(5, 1, 1), gid=self.gid())
        self.assertEqual(SUCCESS, reply.result, reply)
        self.assertEqual(["{ord:1}:o:5"], sorted(self.redis.client.keys("{ord:*}:o:*")))

    def test_undo_of_a_refused_score_ends(self):
        scores, gid = self.wire("score"), self.gid()
        for uid in (0, -3):
            gid, payload = self.gid(), mall.score_message(uid)
            self.refused(scores.call(mall.SAVE_SCORE, payload, gid=gid), "bad_user")
            self.ended(scores, mall.SAVE_SCORE_REVERT, payload, gid)
            gid = self.gid()
            self.refused(scores.call(mall.SCORE_TCC[0], payload, gid=gid, op="try"), "bad_user")
            reply = scores.call(mall.SCORE_TCC[1], payload, gid=gid, op="confirm")
            self.assertEqual(ERROR, reply.result)  # nobody may confirm what was refused
            self.ended(scores, mall.SCORE_TCC[2], payload, gid, op="cancel")

    def test_undo_of_a_refused_user_ends(self):
        users = self.wire("user")
        for user_id, mobile in (("x", ""), ("", ""), ("0", ""), ("5", "no digits"), ("5", "12")):
            gid = self.gid()
            payload = encode((1, user_id), (2, "n"), (3, "1"), (4, mobile))
            self.refused(users.call(mall.SAVE_USER, payload, gid=gid), "bad_user")
            self.ended(users, mall.SAVE_USER_REVERT, payload, gid)
        self.assertEqual([], self.redis.client.keys("{usr:*}:u:*"))

    def test_payload_that_is_no_message(self):
        for service, action, undo in (("order", mall.CREATE, mall.CREATE_REVERT),
                                      ("product", mall.DECR, mall.DECR_REVERT),
                                      ("user", mall.SAVE_USER, mall.SAVE_USER_REVERT),
                                      ("score", mall.SAVE_SCORE, mall.SAVE_SCORE_REVERT)):
            client, gid = self.wire(service), self.gid()
            self.refused(client.call(action, b"{\"id\":1}", gid=gid), "bad_payload")
            reply = client.call(undo, b"{\"id\":1}", gid=gid, op="compensate")
            self.assertEqual(ERROR, reply.result)  # a person must look: nobody knows what it undoes

    def test_confirm_and_cancel_without_the_record_want_a_look(self):
        products = self.wire("product")
        for op, method in (("confirm", mall.STOCK_TCC[1]), ("cancel", mall.STOCK_TCC[2])):
            before = self.alerts()
            gid, payload = self.gid(), mall.decr_message(78)
            self.redis.client.ask("HSET", "{prd:78}:h", "id", "78", "stock", "5", "status", "0",
                                  "ver", "1", "amount", "1")
            products.call(mall.STOCK_TCC[0], payload, gid=gid, op="try")
            self.redis.client.ask("DEL", "{prd:78}:h")
            self.assertEqual(SUCCESS, products.call(method, payload, gid=gid, op=op).result)
            self.assertEqual(before + 1, self.alerts())

    def alerts(self):
        return self.stack["product"].metrics().get('mall_alerts_total{service="productd"}', 0)

    def test_new_ids_lie_in_the_shard_of_their_owner(self):
        orders = self.wire("order")
        for uid in (4, 5, 6, 7):
            reply = orders.call("order.Order/NewId", encode((1, uid), (2, 3)), gid="", op="")
            answer = Message(reply.payload)
            self.assertEqual((uid % SHARDS, SHARDS, 3),
                             (answer.int(1) % SHARDS, answer.int(2), answer.int(3)))
        self.refused(orders.call("order.Order/NewId", encode((1, 0)), gid="", op=""), "bad_request")

    def test_calls_and_alerts_are_counted(self):
        products, gid, alerts = self.wire("product"), self.gid(), self.alerts()
        payload = mall.decr_message(77)
        self.redis.client.ask("HSET", "{prd:77}:h", "id", "77", "stock", "5", "status", "0",
                              "ver", "1", "amount", "1")
        for _ in range(2):
            products.call(mall.DECR, payload, gid=gid)
        self.redis.client.ask("DEL", "{prd:77}:h")
        products.call(mall.DECR_REVERT, payload, gid=gid, op="compensate")
        text = self.stack["product"].get("/api/metrics").text
        for line in ('mall_branch_calls_total{service="productd",method="product.Product/DecrStock",'
                     'verdict="OK"} 1',
                     'mall_branch_calls_total{service="productd",method="product.Product/DecrStock",'
                     'verdict="DUP"} 1',
                     'mall_branch_calls_total{service="productd",'
                     'method="product.Product/DecrStockRevert",verdict="OK"} 1'):
            self.assertIn(line + "\n", text.decode())
        self.assertEqual(alerts + 1, self.alerts())


class IdempotencyKeys(StackCase):
    """A key that was forgotten (key_ttl has passed) and comes again is a new request: it must not be
    answered with the transaction of the first one."""

    def forget_keys(self):
        for key in self.redis.client.keys("{*}:k:*"):
            self.redis.client.ask("DEL", key)

    def test_order(self):
        pid = self.make_product(5)
        def order():
            reply = self.post("order", "create", headers={"Idempotency-Key": "k {x}:y"}, pid=pid)
            self.assertEqual(200, reply.status, reply.text)
            return reply.body["id"], reply.body["gid"]
        first = order()
        self.assertEqual(first, order())
        self.assertEqual(4, self.stock(pid))
        self.forget_keys()
        again = order()
        self.assertNotEqual(first[0], again[0])
        self.assertNotEqual(first[1], again[1])
        self.assertEqual(3, self.stock(pid))
        self.assertEqual("0", self.order(again[0])["status"])

    def test_registration(self):
        def register():
            return self.stack["user"].post(
                "/api/user/register", {"name": "n", "mobile": "5550001", "password": "secret"},
                headers={"Idempotency-Key": "k"})
        first = register()
        self.assertEqual((200, first.body), (first.status, register().body))
        self.forget_keys()
        again = register()
        self.assertEqual((409, "mobile_taken"), (again.status, again.body["code"]))


if __name__ == "__main__":
    unittest.main()
