#!/usr/bin/env python3
"""Plays the flows A to I against a stack that scripts/stack.sh started; demo.sh calls it.

A to E are sagas; F to H are orders that are paid with points, a TCC over three services; I is a message
through the outbox. After each flow the orders, the stock, the score, the barrier rows and the
transaction's timeline are shown; every expectation is checked. Exit code 1 when one does not hold.
"""
import argparse
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

PATIENCE_S = 60
COLOUR = sys.stdout.isatty()
STACK = pathlib.Path(__file__).with_name("stack.sh")


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


class Stack:
    """The running system, by its addresses."""

    def __init__(self, directory):
        self.dir = directory
        self.env = {}
        for line in (pathlib.Path(directory) / "env").read_text().splitlines():
            name, _, value = line.partition("=")
            self.env[name] = value.strip("'")
        self.token = None

    def post(self, api, path, **body):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.env[api] + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def query(self, gid):
        url = f"{self.env['SAGA_HTTP']}/api/dtmsvr/query?gid={gid}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def redis(self, *words):
        done = subprocess.run([*shlex.split(self.env["REDIS_CLI"]), "--json", *words],
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def kill(self, name):
        subprocess.run([STACK, "kill", name, "--dir", self.dir], check=True)

    def start(self, name, **settings):
        pairs = [word for option, value in settings.items() for word in ("--set", f"{option}={value}")]
        subprocess.run([STACK, "start", name, "--dir", self.dir, *pairs], check=True)

    def restart(self, name, **settings):
        """The process again, with these settings ("" takes one back)."""
        self.kill(name)
        self.start(name, **settings)

    def coordinators(self):
        return [f"sagad{i}" for i, name in enumerate(
            (name for name in self.env if name.startswith("SAGA_HTTP")), 1)]

    def call(self, api, method, *numbers):
        """A plain request over the wire protocol (docs/protocol.md) whose message has these numbers
        as its fields 1, 2, …; the result."""
        host, _, port = self.env[api].rpartition(":")
        payload = b"".join(varint(i << 3) + varint(n) for i, n in enumerate(numbers, 1))
        body = field(5, method.encode()) + field(6, payload)
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(frame(field(2, varint(8) + varint(1) + field(2, b"demo/1"))) +
                               frame(varint(8) + varint(1) + field(30, body)))
            answers = connection.makefile("rb")
            read_frame(answers)  # hello
            reply = read_frame(answers)
        # id = 1, then call_reply (field 31), whose first field is the result
        return {1: "SUCCESS", 2: "FAILURE"}.get(reply[reply.index(b"\xfa\x01") + 4], "ERROR")

    def barrier_rows(self, gid):
        """{(branch, op, who wrote it)} as a barrier table would show them."""
        rows = set()
        for key in self.redis("keys", f"*:br:{gid}:*"):
            branch = key.rsplit(":", 1)[1]
            for field, value in self.redis("hgetall", key).items():
                if field.count(":") == 1:  # the others are replies, r:<op>:<barrier id>
                    rows.add((branch, field.split(":")[0], value.split("|")[0]))
        return rows


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def frame(body):
    return varint(len(body)) + body


def read_frame(file):
    size = shift = 0
    while True:
        byte = file.read(1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return file.read(size)


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"demo.py: not within {PATIENCE_S} s: {what}")
        time.sleep(0.05)


class Flow:
    """One flow: what happens, and what must be true afterwards."""

    failures = 0

    def __init__(self, letter, title):
        print(paint(1, f"\nFlow {letter}: {title}"))

    def check(self, what, got, expected):
        good = got == expected
        print(f"  {paint(32, 'ok ') if good else paint(31, 'BAD')} {what}: {show(got)}"
              + ("" if good else paint(31, f"   expected {show(expected)}")))
        Flow.failures += not good

    def check_transaction(self, stack, gid, status, rows):
        document = stack.query(gid)
        self.check("transaction", document["transaction"]["status"], status)
        self.check("barrier rows", stack.barrier_rows(gid), rows)
        print("     timeline of", gid)
        for entry in document["history"]:
            result = f"{entry['result']:8} {entry['duration_ms']} ms" if entry["result"] else ""
            print(f"       {entry['time'][11:23]}  {entry['op']:14} {result}  {entry['note']}".rstrip())


def show(value):
    if isinstance(value, set):
        return "  ".join(f"({', '.join(row)})" for row in sorted(value)) or "none"
    return json.dumps(value, ensure_ascii=False)


TWO_ACTIONS = {("01", "action", "action"), ("02", "action", "action")}
BOTH_UNDONE = {("01", "compensate", "compensate"), ("02", "compensate", "compensate")}
REFUSED = {("01", "action", "action"), ("02", "action", "compensate")} | BOTH_UNDONE
FAILED_AFTERWARDS = TWO_ACTIONS | BOTH_UNDONE
BRANCHES = ("01", "02", "03")  # of the TCC: order, product, score
CONFIRMED = {(branch, op, op) for branch in BRANCHES for op in ("try", "confirm")}


def cancelled(refused):
    """All tries are cancelled; that of the branch which refused had written nothing."""
    return {(branch, op, "cancel" if branch == refused else op)
            for branch in BRANCHES for op in ("try", "cancel")}


def log_in(stack):
    stack.post("USER_API", "/api/user/register", name="demo", gender=1, mobile="15212230311",
               password="secret-1")
    _, answer = stack.post("USER_API", "/api/user/login", mobile="15212230311", password="secret-1")
    stack.token = answer["accessToken"]


def product(stack, pid):
    return stack.post("PRODUCT_API", "/api/product/detail", id=pid)[1]


def changed(stack, pid):
    return stack.redis("hget", f"{{prd:{pid}}}:h", "utime")


def order_status(stack, order):
    return stack.post("ORDER_API", "/api/order/detail", id=order)[1].get("status")


def flow_a(stack):
    flow = Flow("A", "an order takes the last piece")
    _, made = stack.post("PRODUCT_API", "/api/product/create", name="apple", desc="red", stock=1,
                         amount=5, status=0)
    status, order = stack.post("ORDER_API", "/api/order/create", pid=made["id"], num=1, amount=5)
    flow.check("answer", [status, order.get("status")], [200, "succeed"])
    flow.check("order status", order_status(stack, order["id"]), 0)
    flow.check("stock", product(stack, made["id"])["stock"], 0)
    flow.check_transaction(stack, order["gid"], "succeed", TWO_ACTIONS)
    return made["id"], order["id"]


def flow_b(stack, pid, first):
    flow = Flow("B", "no stock left: the order is undone, the stock was never touched")
    before = changed(stack, pid)
    status, order = stack.post("ORDER_API", "/api/order/create", pid=pid, num=1, amount=5)
    flow.check("answer", [status, order.get("code")], [409, "stock_exhausted"])
    flow.check("order status", order_status(stack, order["id"]), 9)
    flow.check("first order", order_status(stack, first), 0)
    flow.check("stock", product(stack, pid)["stock"], 0)
    flow.check("product untouched", changed(stack, pid) == before, True)
    flow.check_transaction(stack, order["gid"], "failed", REFUSED)


def flow_c(stack, pid):
    flow = Flow("C", "product fails after its work was done: the stock is given back")
    stack.post("PRODUCT_API", "/api/product/setstock", id=pid, stock=100)
    stack.restart("product", fault="failure", fault_method="product.Product/DecrStock")
    before = changed(stack, pid)
    status, order = stack.post("ORDER_API", "/api/order/create", pid=pid, num=1, amount=5)
    stack.restart("product", fault="", fault_method="")
    flow.check("answer", [status, order.get("code")], [409, "injected_fault"])
    flow.check("order status", order_status(stack, order["id"]), 9)
    flow.check("stock", product(stack, pid)["stock"], 100)
    flow.check("product changed and changed back", changed(stack, pid) != before, True)
    flow.check_transaction(stack, order["gid"], "failed", FAILED_AFTERWARDS)


def flow_d(stack):
    flow = Flow("D", "registration: the user gets 10 points")
    status, user = stack.post("USER_API", "/api/user/register", name="nina", gender=1,
                              mobile="15212230312", password="secret-2")
    flow.check("answer", [status, user.get("status")], [200, "succeed"])
    flow.check("user", stack.redis("hget", f"{{usr:0}}:u:{user['id']}", "name"), "nina")
    flow.check("score", stack.redis("hget", f"{{scr:0}}:a:{user['id']}", "total"), "10")
    flow.check_transaction(stack, user["gid"], "succeed", TWO_ACTIONS)


def flow_e(stack):
    flow = Flow("E", "the score is refused: the registration is undone")
    stack.restart("score", grant_max="5")
    status, answer = stack.post("USER_API", "/api/user/register", name="otto", gender=0,
                                mobile="15212230313", password="secret-3")
    stack.restart("score", grant_max="")
    flow.check("answer", [status, answer.get("code")], [409, "bad_score"])
    flow.check("mobile number is free again", stack.redis("exists", "{usr:0}:m:15212230313"), 0)
    login, _ = stack.post("USER_API", "/api/user/login", mobile="15212230313", password="secret-3")
    flow.check("login", login, 401)
    flow.check_transaction(stack, answer["gid"], "failed", REFUSED)


def order_with_points(stack, pid, num, points, **options):
    """Order, stock and points: a declared TCC. (order, gid, [status, what became of it])"""
    status, answer = stack.post("ORDER_API", "/api/order/create", pid=pid, num=num, amount=points,
                                pay="points", **options)
    return answer["id"], answer["gid"], [status, answer.get("code", answer["status"])]


def points(stack):
    detail = stack.post("SCORE_API", "/api/score/detail")[1]
    return {name: detail[name] for name in ("total", "frozen")}


def pieces(stack, pid):
    detail = product(stack, pid)
    return {name: detail[name] for name in ("stock", "frozen")}


def flow_f(stack):
    flow = Flow("F", "an order is paid with points; score is down for a moment: what is tried waits")
    _, made = stack.post("PRODUCT_API", "/api/product/create", name="pear", desc="green", stock=1,
                         amount=4, status=0)
    pid = made["id"]
    stack.kill("score")
    order, gid, answer = order_with_points(stack, pid, 1, 4, wait=False)
    flow.check("answer", answer, [202, "prepared"])
    wait_for("stock and order are tried",
             lambda: pieces(stack, pid)["frozen"] == 1 and order_status(stack, order) == 2)
    flow.check("order status meanwhile", order_status(stack, order), 2)
    flow.check("stock meanwhile", pieces(stack, pid), {"stock": 0, "frozen": 1})
    stack.start("score")
    stack.post("SAGA_HTTP", "/api/dtmsvr/resetNextCronTime", gid=gid)  # not at its next retry: now
    wait_for(f"{gid} ends", lambda: stack.query(gid)["transaction"]["status"] == "succeed")
    flow.check("order status", order_status(stack, order), 1)
    flow.check("stock", pieces(stack, pid), {"stock": 0, "frozen": 0})
    flow.check("points", points(stack), {"total": 6, "frozen": 0})
    newest = stack.post("SCORE_API", "/api/score/detail")[1]["ledger"][0]
    flow.check("ledger", [newest["score"], newest["gid"]], [-4, gid])
    flow.check_transaction(stack, gid, "succeed", CONFIRMED)
    return pid


def refused_order(flow, stack, pid, num, expected, stock):
    """An order with points that one branch refuses: nothing is left of it."""
    reason, branch = expected
    order, gid, answer = order_with_points(stack, pid, num, 4 * num)
    flow.check("answer", answer, [409, reason])
    flow.check("order status", order_status(stack, order), 9)
    flow.check("stock", pieces(stack, pid), {"stock": stock, "frozen": 0})
    flow.check("points", points(stack), {"total": 6, "frozen": 0})
    flow.check_transaction(stack, gid, "failed", cancelled(branch))


def flow_g(stack, pid):
    flow = Flow("G", "no stock left: the points are given back, the order is void")
    refused_order(flow, stack, pid, 1, ("stock_exhausted", "02"), 0)


def flow_h(stack, pid):
    flow = Flow("H", "not enough points: the stock is given back, the order is void")
    stack.post("PRODUCT_API", "/api/product/setstock", id=pid, stock=100)
    refused_order(flow, stack, pid, 2, ("not_enough_score", "03"), 100)


def granted(stack, gid):
    ledger = stack.post("SCORE_API", "/api/score/detail")[1]["ledger"]
    return [entry["score"] for entry in ledger if entry["gid"] == gid]


def outbox_length(stack):
    return stack.redis("xlen", "{ord:0}:outbox")


def flow_i(stack):
    flow = Flow("I", "an order is paid while every coordinator is down: the points come afterwards")
    _, made = stack.post("PRODUCT_API", "/api/product/create", name="pear", desc="green", stock=1,
                         amount=5, status=0)
    _, order = stack.post("ORDER_API", "/api/order/create", pid=made["id"], num=1, amount=5)
    gid = f"order-paid-{order['id']}"
    for name in stack.coordinators():
        stack.kill(name)
    flow.check("4 are paid, not 5", stack.call("ORDER_RPC", "order.Order/Paid", order["id"], 4),
               "FAILURE")
    flow.check("no change, no message", [order_status(stack, order["id"]), outbox_length(stack)],
               [0, 0])
    for _ in range(2):
        flow.check("5 are paid", stack.call("ORDER_RPC", "order.Order/Paid", order["id"], 5),
                   "SUCCESS")
        flow.check("one change, one message",
                   [order_status(stack, order["id"]), outbox_length(stack)], [1, 1])
    flow.check("points so far", granted(stack, gid), [])
    for name in stack.coordinators():
        stack.start(name)
    wait_for("the points arrive", lambda: granted(stack, gid))
    flow.check("points with the coordinators", granted(stack, gid), [5])
    wait_for("the outbox is empty", lambda: outbox_length(stack) == 0)
    wait_for(f"{gid} ends", lambda: stack.query(gid)["transaction"]["status"] == "succeed")
    flow.check_transaction(stack, gid, "succeed", {("01", "action", "action")})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", required=True, help="folder of the stack")
    stack = Stack(os.path.realpath(parser.parse_args().dir))
    log_in(stack)
    pid, first = flow_a(stack)
    flow_b(stack, pid, first)
    flow_c(stack, pid)
    flow_d(stack)
    flow_e(stack)
    pid = flow_f(stack)
    flow_g(stack, pid)
    flow_h(stack, pid)
    flow_i(stack)
    print()
    if Flow.failures:
        print(paint(31, f"{Flow.failures} expectations did not hold"))
        sys.exit(1)
    print(paint(32, "All flows went as they should."))


if __name__ == "__main__":
    main()
