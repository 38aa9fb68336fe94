#!/usr/bin/env python3
"""The faults of the systems that the mall is modelled on, R1 to R20: none may come back.

R10 and R11 concern the pay service, which does not exist; R17 is recovery_test.py.
"""
import re
import threading
import unittest

from harness import mall
from harness.case import PASSWORD, StackCase
from harness.process import wait_for
from harness.stack import SECRET
from harness.web import Answer, token
from harness.wire import (CONFLICT, ERROR, FAILURE, SUBMIT, SUCCESS, Message, WireParticipant, encode,
                          submit_body)


class OrderTest(StackCase):
    def test_r1_of_two_orders_of_one_user_only_the_failed_one_is_void(self):
        sold_out, on_stock = self.make_product(0), self.make_product(20)
        ids = mall.new_order_ids(self.wire("order"), self.uid, 40)
        client = self.wire("sagad1")
        gids = [self.gid() for _ in ids]
        sent = []
        for gid, order_id, pid in zip(gids, ids, [sold_out, on_stock] * 20):
            steps = mall.order_steps(order_id, self.uid, pid)
            sent.append(client.send(SUBMIT, submit_body(gid, steps, wait=True,
                                                        wait_timeout_ms=30000)))
        statuses = [client.receive(request).status for request in sent]
        self.assertEqual(["failed", "succeed"] * 20, statuses)
        self.assertEqual(["9", "0"] * 20, [self.order(i)["status"] for i in ids])
        self.assertEqual((0, 0), (self.stock(sold_out), self.stock(on_stock)))

    def test_r1_the_order_of_another_saga_is_never_undone(self):
        mine, other = mall.new_order_ids(self.wire("order"), self.uid, 2)
        gids, client = [self.gid(), self.gid()], self.wire("order")
        for gid, order_id in zip(gids, (mine, other)):
            client.call(mall.CREATE, mall.order_message(order_id, self.uid, 1), gid=gid)
        # the payload names an order that this branch did not make
        wrong = client.call(mall.CREATE_REVERT, mall.order_message(other, self.uid, 1), gid=gids[0],
                            op="compensate")
        self.assertEqual(ERROR, wrong.result)
        self.assertEqual(["0", "0"], [self.order(i)["status"] for i in (mine, other)])
        # the order has become somebody else's
        self.redis.ask("HSET", f"{{ord:0}}:o:{mine}", "gid", "another")
        undone = client.call(mall.CREATE_REVERT, mall.order_message(mine, self.uid, 1), gid=gids[0],
                             op="compensate")
        self.assertEqual((SUCCESS, "0"), (undone.result, self.order(mine)["status"]))
        wait_for(lambda: self.stack["order"].process.has_logged(f'alert=1 gid="{gids[0]}"'),
                 "an alert is logged")

    def test_r2_the_number_of_pieces_counts(self):
        pid, gid = self.make_product(5), self.gid()
        client = self.wire("product")
        self.assertEqual(SUCCESS, client.call(mall.DECR, mall.decr_message(pid, 3), gid=gid).result)
        self.assertEqual(2, self.stock(pid))
        # the journal says 3, whatever the payload claims
        undone = client.call(mall.DECR_REVERT, mall.decr_message(pid, 2), gid=gid, op="compensate")
        self.assertEqual((SUCCESS, 5), (undone.result, self.stock(pid)))
        for num in (0, -1, 1000001):
            reply = client.call(mall.DECR, mall.decr_message(pid, num), gid=self.gid())
            self.assertEqual((num, FAILURE), (num, reply.result))
            self.assertIn("bad_num", reply.message)
        self.assertEqual(5, self.stock(pid))

    def test_r3_an_unknown_product_has_its_own_reason(self):
        client, pid = self.wire("product"), self.make_product(1)
        reasons = []
        for target, num in ((10 ** 9, 1), (pid, 2)):
            reply = client.call(mall.DECR, mall.decr_message(target, num), gid=self.gid())
            self.assertEqual(FAILURE, reply.result)
            reasons.append(reply.message.partition(":")[0])
        self.post("product", "update", id=pid, status=1)
        reasons.append(client.call(mall.DECR, mall.decr_message(pid), gid=self.gid()).message)
        self.post("product", "remove", id=pid)
        reasons.append(client.call(mall.DECR, mall.decr_message(pid), gid=self.gid()).message)
        self.assertEqual(["no_product", "stock_exhausted",
                          "not_on_sale: the product is off the shelf",
                          "no_product: there is no such product"], reasons)
        reply = self.post("order", "create", pid=10 ** 9)
        self.assertEqual((404, "no_product"), (reply.status, reply.body["code"]))

    def test_r2_r3_a_removed_product_gets_its_pieces_back(self):
        pid, gid, client = self.make_product(5), self.gid(), self.wire("product")
        client.call(mall.DECR, mall.decr_message(pid, 2), gid=gid)
        self.post("product", "remove", id=pid)
        undone = client.call(mall.DECR_REVERT, mall.decr_message(pid, 2), gid=gid, op="compensate")
        self.assertEqual((SUCCESS, "5", "9"), (undone.result, self.product(pid)["stock"],
                                               self.product(pid)["status"]))

    def test_r4_an_unknown_user_has_no_order(self):
        pid = self.make_product(3)
        before = self.redis.client.keys("{ord:*}:o:*")
        reply = self.post("order", "create", token=token(SECRET, 777777), pid=pid)
        self.assertEqual((404, "no_user"), (reply.status, reply.body["code"]))
        self.assertEqual(before, self.redis.client.keys("{ord:*}:o:*"))
        self.assertEqual(3, self.stock(pid))

    def test_r5_the_compensation_ends_though_the_user_is_gone(self):
        uid, _ = self.register_user()
        pid, order_id, gid = self.make_product(1), self.new_order_id(uid), self.gid()
        participant = self.participant()
        participant.rules["/refuse"] = Answer(
            409, "no", run=lambda _: self.redis.ask("DEL", f"{{usr:0}}:u:{uid}"))
        steps = [*mall.order_steps(order_id, uid, pid), (participant.url + "/refuse", "", b"")]
        reply = self.wire("sagad1").submit(gid, steps, wait=True)
        self.assertEqual("failed", reply.status)
        self.assertEqual({}, self.redis.client.hash(f"{{usr:0}}:u:{uid}"))
        self.assertEqual(("9", 1), (self.order(order_id)["status"], self.stock(pid)))

    def test_r6_the_answer_tells_gid_id_and_outcome(self):
        pid = self.make_product(1)
        good = self.post("order", "create", pid=pid)
        self.assertEqual((200, {"gid", "id", "status"}), (good.status, set(good.body)))
        bad = self.post("order", "create", pid=pid)
        self.assertEqual((409, {"gid", "id", "status", "code", "message"}),
                         (bad.status, set(bad.body)))
        self.assertEqual(("stock_exhausted", "0 left, 1 wanted"),
                         (bad.body["code"], bad.body["message"]))
        for reply, status in ((good, "succeed"), (bad, "failed")):
            self.assertEqual(status, reply.body["status"])
            self.assertEqual(status, self.sagad.status(reply.body["gid"]))
            self.assertEqual(reply.body["gid"], self.order(reply.body["id"])["gid"])

    def test_r7_an_idempotency_key_makes_one_order(self):
        pid, key = self.make_product(10), {"Idempotency-Key": f"ké y/{self.number()}"}
        key["Idempotency-Key"] = key["Idempotency-Key"].encode().decode("latin-1")
        replies = [None] * 8

        def work(i):
            replies[i] = self.post("order", "create", headers=key, pid=pid, num=2)

        self.in_threads(len(replies), work)
        self.assertEqual({200}, {r.status for r in replies}, [r.text for r in replies])
        self.assertEqual(1, len({(r.body["id"], r.body["gid"]) for r in replies}))
        self.assertEqual(8, self.stock(pid))
        again = self.post("order", "create", headers=key, pid=pid, num=2)
        self.assertEqual(replies[0].body, again.body)
        other = self.post("order", "create", headers=key, pid=pid, num=3)
        self.assertEqual((409, "key_reused"), (other.status, other.body["code"]))
        _, foreign = self.register_user()
        own = self.post("order", "create", token=foreign, headers=key, pid=pid)
        self.assertEqual(200, own.status)
        self.assertNotEqual(own.body["gid"], again.body["gid"])
        self.assertEqual(7, self.stock(pid))

    def test_r7_a_failed_order_stays_failed_for_its_key(self):
        pid, key = self.make_product(0), {"Idempotency-Key": f"k{self.number()}"}
        first = self.post("order", "create", headers=key, pid=pid)
        self.post("product", "setstock", id=pid, stock=5)
        again = self.post("order", "create", headers=key, pid=pid)
        self.assertEqual((409, first.body), (again.status, again.body))
        self.assertEqual(5, self.stock(pid))

    def test_r8_a_paid_order_never_becomes_void(self):
        order_id, gid, client = self.new_order_id(), self.gid(), self.wire("order")
        payload = mall.order_message(order_id, self.uid, 1)
        client.call(mall.CREATE, payload, gid=gid)
        paid = client.call("order.Order/Paid", encode((1, order_id), (2, 5)))
        self.assertEqual((SUCCESS, "1"), (paid.result, self.order(order_id)["status"]))
        undone = client.call(mall.CREATE_REVERT, payload, gid=gid, op="compensate")
        self.assertEqual((SUCCESS, "1"), (undone.result, self.order(order_id)["status"]))
        wait_for(lambda: self.stack["order"].process.has_logged(rf'paid.*alert=1 gid="{gid}"'),
                 "an alert is logged")

    def test_r9_a_void_order_cannot_be_paid(self):
        pid = self.make_product(0)
        order_id = self.post("order", "create", pid=pid).body["id"]
        client = self.wire("order")
        for amount in (0, 5):
            reply = client.call("order.Order/Paid", encode((1, order_id), (2, amount)))
            self.assertEqual(FAILURE, reply.result)
            self.assertIn("order_invalid", reply.message)
        self.assertEqual("9", self.order(order_id)["status"])
        good = self.post("order", "create", pid=self.make_product(1)).body["id"]
        wrong = client.call("order.Order/Paid", encode((1, good), (2, 4)))
        self.assertEqual(FAILURE, wrong.result)
        self.assertIn("amount_differs", wrong.message)
        self.assertEqual("0", self.order(good)["status"])

    def test_r14_the_stock_can_be_set_to_0(self):
        pid = self.make_product(7)
        self.assertEqual(200, self.post("product", "setstock", id=pid, stock=0).status)
        self.assertEqual(0, self.post("product", "detail", id=pid).body["stock"])
        self.assertEqual(409, self.post("order", "create", pid=pid).status)

    def test_r15_fifty_orders_for_the_last_piece(self):
        pid = self.make_product(1)
        replies = [None] * 50

        def work(i):
            replies[i] = self.post("order", "create", pid=pid)

        self.in_threads(len(replies), work)
        self.assertEqual([200] + [409] * 49, sorted(r.status for r in replies))
        statuses = [self.order(r.body["id"])["status"] for r in replies]
        self.assertEqual(["0"] + ["9"] * 49, sorted(statuses))
        self.assertEqual(0, self.stock(pid))


class UserTest(StackCase):
    def user_and_score(self, uid):
        return (self.redis.client.hash(f"{{usr:0}}:u:{uid}"),
                self.redis.client.hash(f"{{scr:0}}:a:{uid}"),
                self.redis.client.hash(f"{{scr:0}}:l:{uid}"))

    def test_r12_a_taken_mobile_number_leaves_its_owner_alone(self):
        before = self.user_and_score(self.uid)
        reply = self.stack["user"].post("/api/user/register", {
            "name": "thief", "gender": 0, "mobile": before[0]["mobile"], "password": "secret-3"})
        self.assertEqual((409, "mobile_taken"), (reply.status, reply.body["code"]))
        self.assertEqual(before, self.user_and_score(self.uid))
        login = self.stack["user"].post("/api/user/login", {"mobile": before[0]["mobile"],
                                                            "password": PASSWORD})
        self.assertEqual(200, login.status)

    def test_r12_a_taken_id_leaves_its_owner_alone(self):
        before, gid = self.user_and_score(self.uid), self.gid()
        steps = [(f"tcp://user/{mall.SAVE_USER}", f"tcp://user/{mall.SAVE_USER_REVERT}",
                  mall.user_message(self.uid)),
                 (f"tcp://score/{mall.SAVE_SCORE}", f"tcp://score/{mall.SAVE_SCORE_REVERT}",
                  mall.score_message(self.uid))]
        reply = self.wire("sagad1").submit(gid, steps, wait=True)
        self.assertEqual("failed", reply.status)
        self.assertIn("user_exists", reply.rollback_reason)
        self.assertEqual(before, self.user_and_score(self.uid))
        self.assertEqual(mall.rows(gid, ("01", "action", "compensate"),
                                   ("01", "compensate", "compensate")), self.rows(gid))

    def test_r12_two_at_once_for_one_mobile_number(self):
        mobile, replies = f"154{self.number():08d}", [None] * 4

        def work(i):
            replies[i] = self.stack["user"].post("/api/user/register", {
                "name": f"n{i}", "gender": 0, "mobile": mobile, "password": "secret-3"})

        self.in_threads(4, work)
        self.assertEqual([200, 409, 409, 409], sorted(r.status for r in replies))
        winner = next(r.body for r in replies if r.status == 200)
        self.assertEqual(str(winner["id"]), self.redis.ask("GET", f"{{usr:0}}:m:{mobile}"))
        self.assertEqual("10", self.user_and_score(winner["id"])[1]["total"])
        self.assertEqual([], mall.score_imbalances(self.redis.client))

    def test_r13_a_grant_counts_once_and_its_undo_takes_only_itself(self):
        uid, client, gids = 555000 + self.number(), self.wire("score"), [self.gid(), self.gid()]
        for gid, points in zip(gids, (10, 7)):
            for _ in range(3):
                reply = client.call(mall.SAVE_SCORE, mall.score_message(uid, points), gid=gid)
                self.assertEqual((SUCCESS, mall.score_message(uid, points)),
                                 (reply.result, reply.payload))
        self.assertEqual({"total": "17", "count": "2"}, self.user_and_score(uid)[1])
        for _ in range(3):
            client.call(mall.SAVE_SCORE_REVERT, mall.score_message(uid, 10), gid=gids[0],
                        op="compensate")
        _, account, ledger = self.user_and_score(uid)
        self.assertEqual({"total": "7", "count": "1"}, account)
        self.assertEqual([f"7|{gids[1]}|01"], [e.rpartition("|")[0] for e in ledger.values()])


class TimeToLiveTest(StackCase):
    """R18: after a barrier record has expired nobody knows whether its action happened."""

    stack_options = {"settings": {"all": {"barrier_ttl": "1s"}}}

    def now_ms(self):
        seconds, micros = self.redis.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def test_r18_a_late_compensation_is_refused_with_an_alert(self):
        pid, gid, client = self.make_product(5), self.gid(), self.wire("product")
        started = self.now_ms()
        call = {"gid": gid, "started_ms": started}
        client.call(mall.DECR, mall.decr_message(pid), **call)
        key = f"{{prd:{pid}}}:br:{gid}:01"
        self.assertEqual(1, self.redis.ask("EXISTS", key))
        wait_for(lambda: self.redis.ask("EXISTS", key) == 0, "the record expires", 5)
        reply = client.call(mall.DECR_REVERT, mall.decr_message(pid), op="compensate", **call)
        self.assertEqual(CONFLICT, reply.result)
        self.assertIn("may have expired", reply.message)
        self.assertEqual((4, 0), (self.stock(pid), self.redis.ask("EXISTS", key)))
        wait_for(lambda: self.stack["product"].process.has_logged(f'alert: .*gid="{gid}"'),
                 "an alert is logged")
        # one that began just now has nothing to fear
        fresh = client.call(mall.DECR_REVERT, mall.decr_message(pid), op="compensate",
                            gid=self.gid(), started_ms=self.now_ms())
        self.assertEqual(SUCCESS, fresh.result)

    def test_r18_the_transaction_is_never_taken_for_undone(self):
        pid, gid, participant = self.make_product(5), self.gid(), self.participant()
        refuse = threading.Event()
        self.addCleanup(refuse.set)
        participant.rules["/later"] = Answer(409, "no", gate=refuse)
        _, product = mall.order_steps(1, self.uid, pid)
        self.wire("sagad1").submit(gid, [product, (participant.url + "/later", "", b"")],
                                   request_timeout_ms=20000)
        wait_for(lambda: participant.calls, "the second branch is called")
        key = f"{{prd:{pid}}}:br:{gid}:01"
        wait_for(lambda: self.redis.ask("EXISTS", key) == 0, "it expires", 5)
        refuse.set()
        wait_for(lambda: self.sagad.query(gid)["transaction"].get("parked"), "it is parked")
        self.assertEqual(("aborting", 4), (self.sagad.status(gid), self.stock(pid)))
        self.assertEqual(200, self.sagad.dtm("forceStop", gid=gid).status)
        self.assertEqual("failed", self.sagad.status(gid))


class VectorTest(StackCase):
    """R19: bytes of other protobuf libraries."""

    has_user = False

    def test_r19_the_vectors_arrive(self):
        self.token = token(SECRET, 1)
        self.assertEqual(1, self.make_product(3))
        order_id = self.new_order_id(1)
        order = bytes.fromhex("080110011805")
        without_id = self.wire("order").call(mall.CREATE, order, gid="vector")
        self.assertEqual(FAILURE, without_id.result)
        self.assertIn("bad_id", without_id.message)
        made = self.wire("order").call(mall.CREATE, order + encode((5, order_id)), gid="vector-2")
        self.assertEqual((SUCCESS, order_id), (made.result, Message(made.payload).int(1)))
        stored = self.order(order_id)
        self.assertEqual(("1", "1", "5", "1"),
                         tuple(stored[f] for f in ("uid", "pid", "amount", "num")))
        self.assertEqual(SUCCESS, self.wire("product").call(
            mall.DECR, bytes.fromhex("08011001"), gid="vector").result)
        self.assertEqual(2, self.stock(1))
        score = bytes.fromhex("0807100a")
        reply = self.wire("score").call(mall.SAVE_SCORE, score, gid="vector")
        self.assertEqual((SUCCESS, score), (reply.result, reply.payload))
        self.assertEqual("10", self.redis.ask("HGET", "{scr:0}:a:7", "total"))
        user = bytes.fromhex("0a013712016e1a0131")
        reply = self.wire("user").call(mall.SAVE_USER, user, gid="vector")
        self.assertEqual((SUCCESS, user), (reply.result, reply.payload))
        stored = self.redis.client.hash("{usr:0}:u:7")
        self.assertEqual(("7", "n", "1"), tuple(stored[f] for f in ("id", "name", "gender")))

    def test_r19_payloads_that_are_no_messages(self):
        for service, method in (("order", mall.CREATE), ("product", mall.DECR),
                                ("user", mall.SAVE_USER), ("score", mall.SAVE_SCORE)):
            for payload in (b"\xff", b"\x08", b"\x0a\x7f", bytes(1000)):
                reply = self.wire(service).call(method, payload, gid="junk")
                self.assertEqual((method, FAILURE), (method, reply.result), payload[:8])
        for service, method in (("order", mall.CREATE_REVERT), ("product", mall.DECR_REVERT)):
            reply = self.wire(service).call(method, b"\xff", gid="junk", op="compensate")
            self.assertEqual(ERROR, reply.result)  # an undo never fails; a person must look


class TokenTest(StackCase):
    """R19: who is let in."""

    def ask(self, header):
        headers = {} if header is None else {"Authorization": header}
        return self.stack["user"].post("/api/user/userinfo", {}, headers=headers)

    def test_r19_good_tokens(self):
        mobile = self.redis.client.hash(f"{{usr:0}}:u:{self.uid}")["mobile"]
        login = self.stack["user"].post("/api/user/login", {"mobile": mobile, "password": PASSWORD})
        self.assertEqual(200, login.status)
        for header in (f"Bearer {login.body['accessToken']}", f"bearer {self.token}"):
            reply = self.ask(header)
            self.assertEqual((200, self.uid), (reply.status, reply.body["id"]))

    def test_r19_bad_tokens(self):
        good = token(SECRET, self.uid)
        head, body, signature = good.split(".")
        other_body = token(SECRET, self.uid + 1).split(".")[1]
        bad = {
            "none": None,
            "empty": "",
            "basic": "Basic dTpw",
            "no token": "Bearer ",
            "expired": "Bearer " + token(SECRET, self.uid, life_s=-1),
            "wrong secret": "Bearer " + token(SECRET[::-1], self.uid),
            "alg none": "Bearer " + token(SECRET, self.uid, algorithm="none"),
            "alg None": "Bearer " + token(SECRET, self.uid, algorithm="None"),
            "alg HS512": "Bearer " + token(SECRET, self.uid, algorithm="HS512"),
            "body of another": f"Bearer {head}.{other_body}.{signature}",
            "no signature": f"Bearer {head}.{body}.",
            "two parts": f"Bearer {head}.{body}",
            "junk": "Bearer a.b.c",
            "uid of text": "Bearer " + token(SECRET, str(self.uid)),
            "uid 0": "Bearer " + token(SECRET, 0),
            "from the future": "Bearer " + token(SECRET, self.uid, iat=4102444800, exp=4102448400),
            "no end": "Bearer " + token(SECRET, self.uid, exp=None),
        }
        for name, header in bad.items():
            reply = self.ask(header)
            self.assertEqual((name, 401), (name, reply.status))
            self.assertEqual(({"code", "message"}, "unauthorized"),
                             (set(reply.body), reply.body["code"]), name)
        for service, action in (("order", "create"), ("order", "list"), ("product", "create"),
                                ("product", "setstock"), ("score", "detail")):
            reply = self.post(service, action, token="x.y.z", pid=1)
            self.assertEqual((action, 401), (action, reply.status))


class TraceTest(StackCase):
    """R20: every branch call can be counted and traced."""

    TRACE = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

    def counts(self):
        return {name: value for name, value in self.sagad.metrics().items()
                if name.startswith("sagad_branch_calls_total")}

    def test_r20_branch_calls_are_counted_by_op_and_result(self):
        def key(op, result):
            return f'sagad_branch_calls_total{{op="{op}",result="{result}"}}'
        before = self.counts()
        pid = self.make_product(1)
        replies = [self.post("order", "create", pid=pid) for _ in range(2)]
        self.assertEqual([200, 409], [reply.status for reply in replies])
        after = self.counts()
        grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        self.assertEqual({key("action", "SUCCESS"): 3, key("action", "FAILURE"): 1,
                          key("compensate", "SUCCESS"): 2}, grown)
        metrics = self.sagad.metrics()
        for status in ("submitted", "succeed", "failed"):
            name = f'sagad_transactions_total{{type="saga",status="{status}"}}'
            self.assertGreater(metrics[name], 0)
        self.assertGreater(metrics['sagad_branch_call_duration_seconds_count{op="action"}'], 3)
        self.assertEqual(0, metrics["sagad_live_transactions"])

    def test_r20_the_services_count_what_their_barriers_said(self):
        def counts(name):
            return {key: value for key, value in self.stack[name].metrics().items()
                    if key.startswith(("mall_branch_calls_total", "mall_alerts_total"))}

        def key(name, method, verdict):
            return (f'mall_branch_calls_total{{service="{name}d",method="{method}",'
                    f'verdict="{verdict}"}}')
        before = {name: counts(name) for name in ("order", "product")}
        pid = self.make_product(1)
        replies = [self.post("order", "create", pid=pid) for _ in range(2)]
        self.assertEqual([200, 409], [reply.status for reply in replies])
        grown = {}
        for name, old in before.items():
            grown |= {k: v - old.get(k, 0) for k, v in counts(name).items() if v != old.get(k, 0)}
        self.assertEqual({key("order", mall.CREATE, "OK"): 2,
                          key("order", mall.CREATE_REVERT, "OK"): 1,
                          key("product", mall.DECR, "OK"): 1, key("product", mall.DECR, "FAIL"): 1,
                          key("product", mall.DECR_REVERT, "NULL"): 1}, grown)

    def test_r20_the_trace_reaches_participants_over_http_and_tcp(self):
        web_side, wire_side = self.participant(), WireParticipant()
        self.addCleanup(wire_side.close)
        web_side.rules["/b"] = Answer(409, "no")
        gid = self.gid()
        steps = [(wire_side.url + "/a.A/Do", wire_side.url + "/a.A/Undo", b"\x00\xff"),
                 (web_side.url + "/b", web_side.url + "/b-undo", b"body")]
        self.assertEqual("failed", self.wire("sagad1").submit(gid, steps, wait=True,
                                                              request_timeout_ms=7000).status)
        calls = [(c.gid, c.branch_id, c.op, c.trans_type, c.method, c.payload)
                 for c in wire_side.calls]
        self.assertEqual([(gid, "01", "action", "saga", "a.A/Do", b"\x00\xff"),
                          (gid, "01", "compensate", "saga", "a.A/Undo", b"\x00\xff")], calls)
        first = wire_side.calls[0]
        self.assertTrue(0 < first.timeout_ms <= 7000, first.timeout_ms)
        self.assertGreater(first.started_ms, 1600000000000)
        traces = [c.traceparent for c in wire_side.calls]
        traces += [c.headers["traceparent"] for c in web_side.calls]
        parsed = [self.TRACE.fullmatch(trace).groups() for trace in traces]
        self.assertEqual(4, len(parsed))
        self.assertEqual(1, len({trace_id for trace_id, _ in parsed}))  # one trace
        self.assertEqual(4, len({span_id for _, span_id in parsed}))    # of four calls

    def test_a_participant_that_speaks_nonsense_is_an_error(self):
        for answer in (b"\x00", b"\xff" * 100, b"\x02\x08\x01", b"HTTP/1.1 200 OK\r\n\r\n"):
            peer, gid = WireParticipant(), self.gid()
            self.addCleanup(peer.close)
            peer.rules["a.A/Do"] = answer
            client = self.wire("sagad1")
            client.submit(gid, [(peer.url + "/a.A/Do", "", b"")], request_timeout_ms=300)
            wait_for(lambda p=peer: len(p.calls) >= 2, "it is tried again")
            self.assertEqual("submitted", self.sagad.status(gid))
            peer.rules["a.A/Do"] = 1
            self.await_status(gid, "succeed")


if __name__ == "__main__":
    unittest.main()
