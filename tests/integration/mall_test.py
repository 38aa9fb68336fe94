#!/usr/bin/env python3
"""The mall through its HTTP APIs: what is no saga, and what every request has in common."""
import concurrent.futures
import functools
import http.client
import json
import threading
import time
import unittest

from harness import web
from harness.case import PASSWORD, StackCase
from harness.process import wait_for
from harness.stack import PAID_SCORE, SECRET
from harness.wire import ERROR, FAILURE, SUCCESS, Message, encode

SERVICE_PATHS = {
    "user": ["register", "login", "userinfo"],
    "product": ["create", "detail", "update", "remove", "setstock"],
    "order": ["create", "detail", "list", "update", "remove"],
    "score": ["detail"],
}
OPEN = {"register", "login"}


class MallCase(StackCase):
    def assert_error(self, status, code, reply, says=""):
        self.assertEqual((status, code), (reply.status, reply.body and reply.body.get("code")),
                         reply.text)
        self.assertLessEqual({"code", "message"}, set(reply.body))
        self.assertIn(says, reply.body["message"])
        self.assertTrue(reply.headers["Content-Type"].startswith("application/json"))


class UserTest(MallCase):
    def user(self, action, token=None, **fields):
        return self.stack["user"].post(f"/api/user/{action}", fields, token=token)

    def test_register_login_userinfo(self):
        ving = {"name": "ving", "gender": 1, "mobile": "15212230311"}
        made = self.user("register", password="123456", **ving)
        self.assertEqual(200, made.status, made.text)
        self.assertEqual(ving, {name: made.body[name] for name in ving})
        self.assert_error(409, "mobile_taken", self.user("register", password="123456", **ving))
        login = self.user("login", mobile="15212230311", password="123456")
        self.assertEqual((200, {"accessToken", "accessExpire"}), (login.status, set(login.body)))
        self.assertAlmostEqual(time.time() + 86400, login.body["accessExpire"], delta=30)
        info = self.user("userinfo", token=login.body["accessToken"])
        self.assertEqual((200, {"id": made.body["id"], **ving}), (info.status, info.body))
        unknown = self.user("login", mobile="15212230399", password="123456")
        wrong = self.user("login", mobile="15212230311", password="1234567")
        self.assert_error(401, "bad_login", unknown)
        self.assertEqual(unknown.body, wrong.body)  # nobody learns which numbers are registered

    def test_the_password_is_stored_as_a_salted_hash(self):
        users = [self.redis.client.hash(f"{{usr:0}}:u:{self.register_user()[0]}") for _ in range(2)]
        self.assertNotEqual(users[0]["pass"], users[1]["pass"])  # the same password
        everything = json.dumps([self.redis.client.hash(key)
                                 for key in self.redis.client.keys("*:u:*")
                                 + self.redis.client.keys("saga:*:tx:*")])
        self.assertNotIn(PASSWORD, everything)

    def test_idempotency_key(self):
        mobile, key = f"155{self.number():08d}", {"Idempotency-Key": "once"}
        body = {"name": "a", "gender": 0, "mobile": mobile, "password": PASSWORD}
        first, second = [self.stack["user"].post("/api/user/register", body, headers=key)
                         for _ in range(2)]
        self.assertEqual((200, 200, first.body), (first.status, second.status, second.body))
        for field, value in (("name", "b"), ("gender", 1), ("password", PASSWORD + "x")):
            other = self.stack["user"].post("/api/user/register", {**body, field: value},
                                            headers=key)
            self.assert_error(409, "key_reused", other)
        self.assertEqual("10", self.redis.ask("HGET", f"{{scr:0}}:a:{first.body['id']}", "total"))

    def test_register_over_rpc(self):
        mobile = f"157{self.number():08d}"
        message = encode((1, "a"), (2, 1), (3, mobile), (4, PASSWORD))
        client = self.wire("user")
        made = client.call("user.User/Register", message)
        self.assertEqual((SUCCESS, mobile), (made.result, Message(made.payload).text(4)))
        again = client.call("user.User/Register", message)
        self.assertEqual((FAILURE, "mobile_taken"), (again.result, again.message.partition(":")[0]))

    def test_fields_of_register(self):
        good = {"name": "a", "gender": 0, "mobile": "15500000000", "password": PASSWORD}
        for field, value in (("name", None), ("name", ""), ("name", "x" * 300), ("name", 7),
                             ("name", "a\u0007"), ("gender", -1), ("gender", 256), ("gender", "1"),
                             ("gender", 1.5), ("mobile", "12"), ("mobile", "abc"),
                             ("mobile", "1" * 40), ("mobile", None), ("password", "12345"),
                             ("password", "x" * 1000), ("password", None)):
            body = {**good, field: value}
            if value is None:
                del body[field]
            self.assert_error(400, "invalid", self.user("register", **body), field)
        self.assertEqual(404, self.user("userinfo", token=web.token(SECRET, 999999)).status)


class ProductTest(MallCase):
    def test_create_detail_update_remove(self):
        apple = {"name": "苹果", "desc": "好吃的苹果", "stock": 100, "amount": 5, "status": 0}
        made = self.post("product", "create", **apple)
        self.assertEqual((200, {"id"}), (made.status, set(made.body)))
        pid = made.body["id"]
        detail = self.post("product", "detail", id=pid)
        self.assertEqual((200, {**apple, "frozen": 0, "id": pid, "ver": 1}),
                         (detail.status, detail.body))
        update = self.post("product", "update", id=pid, name="pear", amount=0, ver=1)
        self.assertEqual((200, {}), (update.status, update.body))
        self.assert_error(409, "changed_meanwhile", self.post("product", "update", id=pid, amount=9,
                                                              ver=1))
        detail = self.post("product", "detail", id=pid)
        self.assertEqual({**apple, "frozen": 0, "name": "pear", "amount": 0, "id": pid, "ver": 2},
                         detail.body)
        self.assertEqual(200, self.post("product", "remove", id=pid).status)
        for action, more in (("detail", {}), ("update", {"amount": 1}), ("setstock", {"stock": 1}),
                             ("remove", {})):
            self.assert_error(404, "no_product", self.post("product", action, id=pid, **more))
        self.assertEqual(("100", "9"), tuple(self.product(pid)[f] for f in ("stock", "status")))

    def test_stock_is_set_on_its_own(self):
        pid = self.make_product(5)
        self.assert_error(400, "invalid", self.post("product", "update", id=pid, stock=6),
                          "setstock")
        for stock in (0, 4294967295, 3):
            self.assertEqual(200, self.post("product", "setstock", id=pid, stock=stock).status)
            self.assertEqual(stock, self.stock(pid))
        for stock in (-1, 4294967296, "1", 1.5, None):
            self.assert_error(400, "invalid", self.post("product", "setstock", id=pid, stock=stock),
                              "stock")
        self.assertEqual(3, self.stock(pid))

    def test_fields(self):
        good = {"name": "x", "desc": "", "stock": 1, "amount": 1}
        for field, value in (("name", ""), ("name", "x" * 256), ("name", 1), ("desc", "x" * 256),
                             ("stock", -1), ("stock", "many"), ("amount", -1), ("amount", 1e300),
                             ("status", 9), ("status", 2)):
            reply = self.post("product", "create", **{**good, field: value})
            self.assert_error(400, "invalid", reply, field)
        for missing in ("name", "stock", "amount"):
            body = {name: value for name, value in good.items() if name != missing}
            self.assert_error(400, "invalid", self.post("product", "create", **body), missing)
        for bad in (0, -1, "1", None, 10 ** 30):
            self.assert_error(400, "invalid", self.post("product", "detail", id=bad), "id")


class OrderTest(MallCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other_uid, cls.other = cls.register_user()

    def test_create_detail_update_list_remove(self):
        pid = self.make_product(10)
        made = self.post("order", "create", uid=self.uid, pid=pid, num=2, amount=10, status=1)
        self.assertEqual(200, made.status, made.text)
        order_id = made.body["id"]
        detail = self.post("order", "detail", id=order_id)
        expected = {"id": order_id, "uid": self.uid, "pid": pid, "num": 2, "amount": 10,
                    "status": 0, "ver": 1}
        self.assertEqual((200, expected),
                         (detail.status, {name: detail.body[name] for name in expected}))
        self.assertAlmostEqual(time.time() * 1000, detail.body["create_time_ms"], delta=60000)
        self.assertEqual(200, self.post("order", "update", id=order_id, amount=10, ver=1).status)
        self.assert_error(409, "changed_meanwhile",
                          self.post("order", "update", id=order_id, amount=10, ver=1))
        for field in ("uid", "pid", "num", "status"):
            self.assert_error(400, "invalid", self.post("order", "update", id=order_id, amount=10,
                                                        **{field: 1}), field)
        self.assertIn(order_id, [o["id"] for o in self.post("order", "list").body])
        self.assertEqual((200, {}), tuple(self.post("order", "remove", id=order_id)[:2]))
        self.assertNotIn(order_id, [o["id"] for o in self.post("order", "list").body])
        for action, more in (("detail", {}), ("update", {"amount": 1}), ("remove", {})):
            self.assert_error(404, "no_order", self.post("order", action, id=order_id, **more))
        self.assertEqual("1", self.order(order_id)["removed"])  # the books need it
        self.assert_books({pid: 10})

    def test_an_update_sets_what_the_order_costs_now(self):
        pid = self.make_product(10)
        order_id = self.post("order", "create", pid=pid, num=2).body["id"]

        def update(**fields):
            return self.post("order", "update", id=order_id, **fields)

        def price(amount, status=0):
            reply = self.post("product", "update", id=pid, amount=amount, status=status)
            self.assertEqual(200, reply.status, reply.text)

        for amount in (0, 5, 9, 4294967295):
            self.assert_error(400, "bad_amount", update(amount=amount), "5 × 2 is 10")
        for amount in (-1, 4294967296, "x", 1.5):
            self.assert_error(400, "invalid", update(amount=amount), "amount")
        self.assertEqual(("10", "1"), tuple(self.order(order_id)[f] for f in ("amount", "ver")))
        price(7)
        self.assert_error(400, "bad_amount", update(amount=10), "7 × 2 is 14")
        self.assertEqual((200, {}), tuple(update(amount=14, ver=1)[:2]))
        price(0)
        self.assertEqual(200, update().status)
        self.assertEqual(("0", "3"), tuple(self.order(order_id)[f] for f in ("amount", "ver")))
        price(4294967295)
        self.assert_error(400, "bad_num", update())
        price(8, status=1)
        self.assert_error(409, "not_on_sale", update())
        self.assertEqual(200, self.post("product", "remove", id=pid).status)
        self.assert_error(404, "no_product", update())
        self.assertEqual(("0", "3"), tuple(self.order(order_id)[f] for f in ("amount", "ver")))

    def test_another_number_of_pieces_is_another_order(self):
        pid = self.make_product(10)
        order_id = self.post("order", "create", pid=pid, num=2).body["id"]
        for more in ({}, {"amount": 15}):
            self.assert_error(400, "invalid", self.post("order", "update", id=order_id, num=3,
                                                        **more), "remove this one")
        self.assertEqual(("2", "10"), tuple(self.order(order_id)[f] for f in ("num", "amount")))
        self.assert_books({pid: 10})

    def test_updates_of_other_services_set_the_same(self):
        pid = self.make_product(10)
        order_id = self.post("order", "create", pid=pid).body["id"]
        client = self.wire("order")
        for fields, code in ((((2, self.uid), (4, 4)), "bad_amount"), (((4, 5),), "bad_update"),
                             (((2, self.uid), (4, -5)), "bad_amount"),
                             (((2, self.uid), (3, pid)), "bad_update"),
                             (((2, self.uid), (5, 1)), "bad_update"),
                             (((2, self.other_uid), (4, 5)), "no_order")):
            reply = client.call("order.Order/Update", encode((1, order_id), *fields))
            self.assertEqual((FAILURE, code), (reply.result, reply.message.partition(":")[0]))
        nobody = encode((1, order_id)) + b"\x10\x00"  # uid = 0, which encode leaves out
        reply = client.call("order.Order/Update", nobody)
        self.assertEqual((FAILURE, "bad_update"), (reply.result, reply.message.partition(":")[0]))
        self.assertEqual("1", self.order(order_id)["ver"])
        reply = client.call("order.Order/Update", encode((1, order_id), (2, self.uid), (4, 5)))
        self.assertEqual((SUCCESS, "2"), (reply.result, self.order(order_id)["ver"]))

    def test_list_pages(self):
        uid, token = self.register_user()
        self.assertEqual([], self.post("order", "list", token=token).body)
        pid = self.make_product(100, amount=1)
        made = [self.post("order", "create", token=token, pid=pid).body["id"] for _ in range(7)]
        listed, before = [], 0
        while True:
            page = self.post("order", "list", token=token, limit=3, before=before)
            self.assertLessEqual(len(page.body), 3)
            if not page.body:
                break
            listed += [o["id"] for o in page.body]
            before = listed[-1]
        self.assertEqual(sorted(made, reverse=True), listed)
        self.assertEqual(200, self.post("order", "list", token=token, uid=uid).status)
        for field, value in (("limit", 0), ("limit", 101), ("before", -1), ("limit", "x")):
            self.assert_error(400, "invalid", self.post("order", "list", **{field: value}), field)

    def test_orders_of_others(self):
        pid = self.make_product(5)
        order_id = self.post("order", "create", pid=pid).body["id"]
        for action, more in (("detail", {}), ("update", {"amount": 1}), ("remove", {})):
            reply = self.post("order", action, token=self.other, id=order_id, **more)
            self.assert_error(404, "no_order", reply)
        listed = self.post("order", "list", token=self.other, uid=self.uid)
        self.assert_error(403, "forbidden", listed)
        self.assert_error(400, "invalid", self.post("order", "create", token=self.other, pid=pid,
                                                    uid=self.uid), "uid")
        order = self.order(order_id)
        self.assertEqual(("5", "0", "1"), tuple(order[f] for f in ("amount", "status", "ver")))
        self.assertNotIn("removed", order)

    def test_paid_orders_are_fixed(self):
        order_id = self.post("order", "create", pid=self.make_product(5)).body["id"]
        client = self.wire("order")
        for _ in range(2):
            paid = client.call("order.Order/Paid", encode((1, order_id), (2, 5)))
            self.assertEqual(SUCCESS, paid.result)
        self.assert_error(409, "not_unpaid", self.post("order", "update", id=order_id, amount=1))
        self.assert_error(409, "order_paid", self.post("order", "remove", id=order_id))
        detail = Message(client.call("order.Order/Detail", encode((1, order_id))).payload)
        self.assertEqual((order_id, self.uid, 1), (detail.int(1), detail.int(2), detail.int(5)))
        self.assertEqual(FAILURE, client.call("order.Order/Detail", encode((1, 10 ** 9))).result)

    def points(self, **entry):
        entries = self.post("score", "detail").body["ledger"]
        return [e for e in entries if entry.items() <= e.items()]

    def test_a_paid_order_grants_points_once(self):
        order_id = self.post("order", "create", pid=self.make_product(5)).body["id"]
        gid, client = f"order-paid-{order_id}", self.wire("order")
        self.assertEqual(FAILURE, client.call("order.Order/Paid",
                                              encode((1, order_id), (2, 6))).result)
        self.assertIsNone(self.sagad.status(gid))
        for _ in range(3):
            self.assertEqual(SUCCESS, client.call("order.Order/Paid",
                                                  encode((1, order_id), (2, 5))).result)
        self.await_status(gid, "succeed")
        wait_for(lambda: self.redis.ask("XLEN", "{ord:0}:outbox") == 0, "it is acknowledged")
        self.assertEqual(1, len(self.points(gid=gid, score=PAID_SCORE)))
        self.assertEqual({("msg", gid, "01", "action", "01", "action")}, self.rows(gid))

    def test_fields_of_create(self):
        pid = self.make_product(5, amount=7)
        for field, value in (("pid", None), ("pid", 0), ("pid", "1"), ("num", 0), ("num", -1),
                             ("num", 1000001), ("num", 1.5), ("amount", -1), ("amount", "x"),
                             ("wait", "no"), ("wait", 1)):
            self.assert_error(400, "invalid",
                              self.post("order", "create", **{"pid": pid, field: value}), field)
        self.assert_error(400, "bad_amount", self.post("order", "create", pid=pid, num=2, amount=7),
                          "14")
        for key in ("", "x" * 65):
            self.assert_error(400, "invalid", self.post("order", "create", pid=pid,
                                                        headers={"Idempotency-Key": key}),
                              "Idempotency-Key")
        self.assertEqual(200, self.post("product", "update", id=pid, status=1).status)
        self.assert_error(409, "not_on_sale", self.post("order", "create", pid=pid))
        dear = self.make_product(5, amount=4294967295)
        self.assert_error(400, "bad_num", self.post("order", "create", pid=dear, num=2))
        self.assertEqual(5, self.stock(pid))

    def test_wait_false_returns_at_once(self):
        pid = self.make_product(1)
        self.stack["product"].restart(fault="delay", fault_delay="1500ms")
        try:
            reply = self.post("order", "create", pid=pid, wait=False)
            self.assertEqual((202, "submitted"), (reply.status, reply.body.get("status")),
                             reply.text)
            self.assertEqual({"gid", "id", "status"}, set(reply.body))
            self.assertEqual("submitted", self.sagad.status(reply.body["gid"]))
            self.await_status(reply.body["gid"], "succeed")
        finally:
            self.stack["product"].restart()
        self.assertEqual("0", self.order(reply.body["id"])["status"])


class RepeatTest(MallCase):
    """A request with an idempotency key that comes again has the outcome of the first, whatever has
    happened since to what is asked before the saga."""

    def key(self):
        return {"Idempotency-Key": f"key {self.number()}"}

    def create(self, key, **fields):
        return self.post("order", "create", headers=key, **fields)

    def change(self, pid, **fields):
        reply = self.post("product", "update", id=pid, **fields)
        self.assertEqual(200, reply.status, reply.text)

    def test_the_product_has_changed(self):
        for change in ({"status": 1}, {"amount": 6}, {"amount": 4294967295}, None):
            pid, key = self.make_product(5), self.key()
            body = {"pid": pid, "num": 2, "amount": 10}
            first = self.create(key, **body)
            self.assertEqual(200, first.status, first.text)
            if change:
                self.change(pid, **change)
            else:
                self.assertEqual(200, self.post("product", "remove", id=pid).status)
            for _ in range(2):
                again = self.create(key, **body)
                self.assertEqual((200, first.body), (again.status, again.body), change)
            self.assertEqual(3, self.stock(pid))
            for other in ({"num": 1}, {"amount": 12}, {"pid": pid + 1000}):
                self.assert_error(409, "key_reused", self.create(key, **{**body, **other}))

    def test_a_failure_stays_one_without_the_product(self):
        pid, key = self.make_product(1), self.key()
        first = self.create(key, pid=pid, num=2)
        self.assert_error(409, "stock_exhausted", first)
        self.assertEqual(200, self.post("product", "remove", id=pid).status)
        again = self.create(key, pid=pid, num=2)
        self.assertEqual((409, first.body), (again.status, again.body))

    def test_a_refusal_is_no_outcome(self):
        """Nothing came of it, so the key is still free."""
        pid, key = self.make_product(5), self.key()
        self.assert_error(400, "bad_amount", self.create(key, pid=pid, amount=6))
        self.assert_error(404, "no_product", self.create(key, pid=pid + 1000))
        self.change(pid, status=1)
        self.assert_error(409, "not_on_sale", self.create(key, pid=pid, amount=5))
        self.change(pid, status=0)
        self.assertEqual(200, self.create(key, pid=pid, amount=5).status)
        self.assertEqual(4, self.stock(pid))

    def test_many_at_once_while_the_product_comes_and_goes(self):
        pid, key, done = self.make_product(5), self.key(), threading.Event()
        outcomes = [[] for _ in range(8)]

        def flip():
            while not done.is_set():
                self.change(pid, status=1)
                self.change(pid, status=0)

        def repeat(i):
            for _ in range(20):
                reply = self.create(key, pid=pid)
                if "gid" in reply.body:  # the saga may fail too, when the product went just then
                    outcomes[i].append((reply.status, reply.body))
                else:
                    self.assert_error(409, "not_on_sale", reply)
                    self.assertEqual([], outcomes[i])  # what was there once stays

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            flips = pool.submit(flip)
            try:
                self.in_threads(len(outcomes), repeat)
            finally:
                done.set()
            flips.result()
        last = self.create(key, pid=pid)
        for outcome in sum(outcomes, []):
            self.assertEqual((last.status, last.body), outcome)
        self.assertEqual(4 if last.status == 200 else 5, self.stock(pid))

    def test_a_registration_stays_as_it_ended(self):
        """What refused or allowed it has changed since."""
        for most, then, status in ((5, 1000, 409), (1000, 5, 200)):
            body = {"name": "a", "mobile": f"156{self.number():08d}", "password": PASSWORD}
            key, register = self.key(), functools.partial(
                self.stack["user"].post, "/api/user/register", body)
            self.stack["score"].restart(grant_max=most)
            first = register(headers=key)
            self.assertEqual(status, first.status, first.text)
            self.stack["score"].restart(grant_max=then)
            again = register(headers=key)
            self.assertEqual((status, first.body), (again.status, again.body))
        self.stack["score"].restart()


class PeersTest(MallCase):
    """A peer that is away: 503 at once, nothing done."""

    # always: a Redis that is killed may lose its last second under everysec
    stack_options = {"fsync": "always", "settings": {"order": {"wait": "500ms"}}}

    def test_peers_that_are_down(self):
        pid = self.make_product(3)
        for name in ("user", "product"):
            self.stack[name].kill()
            reply = self.post("order", "create", pid=pid)
            self.assert_error(503, "unavailable", reply)
            self.assertEqual("1", reply.headers["Retry-After"])
            self.stack[name].start()
        self.sagad.kill()
        key = {"Idempotency-Key": "k"}
        self.assert_error(503, "unavailable", self.post("order", "create", pid=pid, headers=key))
        self.sagad.start()
        self.assertEqual(3, self.stock(pid))
        wait_for(lambda: self.post("order", "create", pid=pid, headers=key).status == 200,
                 "the repeat goes through")
        self.assertEqual(2, self.stock(pid))

    def test_a_repeat_needs_no_peer(self):
        pid, key = self.make_product(3), {"Idempotency-Key": "once"}

        def create():
            reply = self.post("order", "create", pid=pid, headers=key)
            return reply.status != 202 and reply  # which comes when it takes longer than the wait
        first = wait_for(create, "there is an order")
        self.assertEqual(200, first.status, first.text)
        for name in ("user", "product"):
            self.stack[name].kill()
            again = self.post("order", "create", pid=pid, headers=key)
            self.assertEqual((200, first.body), (again.status, again.body))
            self.assert_error(503, "unavailable", self.post("order", "create", pid=pid, headers={
                "Idempotency-Key": "new"}))
            self.stack[name].start()

    def test_what_was_not_submitted_keeps_its_price(self):
        """The coordinator was away between the id and the submit."""
        pid, key = self.make_product(3, amount=5), {"Idempotency-Key": "price"}
        self.sagad.kill()
        self.assert_error(503, "unavailable", self.post("order", "create", pid=pid, headers=key))
        self.assertEqual(200, self.post("product", "update", id=pid, amount=6).status)
        self.sagad.start()

        def again():
            reply = self.post("order", "create", pid=pid, headers=key)
            return reply.status == 200 and reply.body
        made = wait_for(again, "the repeat goes through")
        self.assertEqual("5", self.order(made["id"])["amount"])

    def test_the_saga_that_takes_longer_than_the_wait(self):
        pid = self.make_product(3)
        self.stack["product"].restart(fault="delay", fault_delay="1500ms")
        try:
            reply = self.post("order", "create", pid=pid)
            self.assertEqual((202, "submitted"), (reply.status, reply.body.get("status")),
                             reply.text)
            self.await_status(reply.body["gid"], "succeed")
        finally:
            self.stack["product"].restart()

    def test_the_registration_that_takes_longer_than_the_wait(self):
        self.stack["user"].restart(wait="500ms")
        self.stack["score"].process.freeze()
        message = encode((1, "a"), (3, f"158{self.number():08d}"), (4, PASSWORD))
        try:
            reply = self.wire("user").call("user.User/Register", message)
        finally:
            self.stack["score"].process.thaw()
        self.stack["user"].restart()
        self.assertEqual(ERROR, reply.result)
        self.assertIn("has not ended", reply.message)

    def test_redis_that_is_down(self):
        pid = self.make_product(3)
        self.redis.kill()
        try:
            for service, action in (("product", "detail"), ("order", "list"), ("score", "detail"),
                                    ("user", "userinfo")):
                self.assert_error(503, "unavailable", self.post(service, action, id=pid))
        finally:
            self.redis.start()
        wait_for(lambda: self.post("product", "detail", id=pid).status == 200, "it is back")


class ProtocolTest(MallCase):
    """What all four APIs have in common."""

    def test_paths_and_methods(self):
        for service, actions in SERVICE_PATHS.items():
            port = self.stack[service].http.number
            for action in actions:
                path = f"/api/{service}/{action}"
                for method in ("GET", "PUT", "DELETE"):
                    reply = web.ask(port, method, path)
                    self.assert_error(405, "method_not_allowed", reply)
                    self.assertEqual("POST", reply.headers["Allow"])
                if action not in OPEN:
                    self.assert_error(401, "unauthorized", web.ask_json(port, path, {}))
            for path in ("/", "/api", f"/api/{service}", f"/api/{service}/nope", "/api/pay/create"):
                self.assert_error(404, "not_found", web.ask_json(port, path, {}, self.token))
            self.assertEqual("pong", web.ask(port, "GET", "/api/ping").body["msg"])

    def test_bodies(self):
        headers = {"Authorization": f"Bearer {self.token}"}
        for service, action in (("order", "create"), ("product", "create"), ("user", "login"),
                                ("score", "detail")):
            port, path = self.stack[service].http.number, f"/api/{service}/{action}"
            for body in (b"{", b"[1]", b"7", b"\xff", b'{"a":' * 5000, b'{"a":1} x', b"nul"):
                reply = web.ask(port, "POST", path, body, headers)
                self.assert_error(400, "invalid", reply)
            self.assert_error(413, "too_large",
                              web.ask(port, "POST", path, b" " * (65 * 1024), headers))
            self.assert_error(413, "too_large", self.ask_with_length(port, path, 10 << 20))

    def ask_with_length(self, port, path, length):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.addCleanup(connection.close)
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {self.token}")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        response = connection.getresponse()
        return web.Reply(response.status, json.loads(response.read()), response.headers, b"")

    def test_keep_alive(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.stack["order"].http.number,
                                                timeout=20)
        self.addCleanup(connection.close)
        for status in (401, 200, 404, 200):
            headers = {"Authorization": f"Bearer {self.token}"} if status == 200 else {}
            path = "/api/order/nope" if status == 404 else "/api/order/list"
            connection.request("POST", path, b"{}", headers)
            response = connection.getresponse()
            response.read()
            self.assertEqual(status, response.status)

    def test_score(self):
        detail = self.post("score", "detail").body
        self.assertEqual((self.uid, 10, 1), tuple(detail[f] for f in ("userId", "total", "count")))
        entry = detail["ledger"][0]
        self.assertEqual((10, "02"), (entry["score"], entry["branch_id"]))
        self.assertEqual("succeed", self.sagad.status(entry["gid"]))
        nobody = self.post("score", "detail", token=web.token(SECRET, 888888)).body
        self.assertEqual((0, 0, []), tuple(nobody[f] for f in ("total", "count", "ledger")))


if __name__ == "__main__":
    unittest.main()
