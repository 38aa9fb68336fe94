"""Clients of the mall and of sagad, who write down every question and every answer.

Each kind of load is a method `do_…` of Client; WEIGHTS says how often it occurs. A client asks again,
elsewhere, until it gets an answer that says something, a few times; then it goes on with what it does
not know."""
import base64
import collections
import http.client
import json
import random
import threading
import time

from harness import mall, web
from harness.stack import SECRET
from harness.wire import PREPARE, SUBMIT, WireClient, WireError

TIMEOUT_S = 3  # of one request
WAIT_MS = 1500  # for the end of a transaction
TRIES = 4
USERS, ALL_STOCK, SCARCE, SCARCE_STOCK = 4, 1_000_000, 3, 150
PRICE = 5
LOST = (OSError, EOFError, ValueError, IndexError, http.client.HTTPException)

WEIGHTS = {"saga": 26, "scarce": 12, "concurrent": 12, "tcc": 12, "message": 8, "pay": 8,
           "order_api": 6, "client_tcc": 8, "abort": 5, "audit": 8, "sale": 10,
           "xa": 8, "workflow": 8}
TCC_STEPS = (mall.ORDER_TCC, mall.STOCK_TCC, mall.SCORE_TCC)
SERVICE_OF = {"order.Order": "order", "product.Product": "product", "score.UserScore": "score",
              "desk.Desk": "desk"}
CHECK = "tcp://desk/desk.Desk/Check"
RESUME = "tcp://desk/desk.Desk/Order"
END = "desk.Desk/End"


class Log:
    """Append-only lines of JSON, with the number of each."""

    def __init__(self, path):
        self.lines, self.lock = [], threading.Lock()
        self.file = open(path, "w", encoding="utf-8", buffering=1)  # pylint: disable=consider-using-with
        self.counts = collections.Counter()

    def now(self):
        """For `since`: whatever was written until now was known when the question was asked."""
        return len(self.lines) - 1

    def write(self, **line):
        with self.lock:
            line = {"n": len(self.lines), **line}
            self.lines.append(line)
            self.file.write(json.dumps(line) + "\n")
            if "told" in line:
                self.counts[line["told"]] += 1

    def close(self):
        self.file.close()


class Shop:
    """What the clients share: users, products, order numbers, and what is known to have ended."""

    def __init__(self, world, log):
        self.world, self.log = world, log
        self.known = collections.deque(maxlen=2000)  # gids that somebody was told of
        self.lock = threading.Lock()
        self.users = []
        masters = world.masters()
        try:
            self._open(masters)
        finally:
            for redis in masters:
                redis.close()

    def _open(self, masters):
        """Before anything breaks: users, products, and some points."""
        programs = self.world.programs
        for n in range(USERS):
            reply = programs["user"].post("/api/user/register", {
                "name": "ving", "gender": 1, "mobile": f"152{n:08d}", "password": "secret-1"})
            self.users.append(reply.body["id"])
        # Clocks will be stepped: the tokens are good for long, and were issued long ago.
        self.tokens = {uid: web.token(SECRET, uid, 10 * 86400, iat=int(time.time()) - 86400)
                       for uid in self.users}
        products = [self._product(stock) for stock in [ALL_STOCK] + [SCARCE_STOCK] * SCARCE]
        self.product, self.scarce = products[0], products[1:]
        with programs["order"].wire() as client:
            self.orders = {uid: iter(mall.new_order_ids(client, uid, 1_000_000 // USERS))
                           for uid in self.users}
        gids = [key.partition(":tx:")[2] for redis in masters for key in redis.keys("saga:{*}:tx:*")]
        records = {record["id"]: record for redis in masters
                   for record in redis.hashes("{prd:*}:h").values()}
        stock = {pid: {"stock": int(records[pid]["stock"]), "ver": int(records[pid]["ver"])}
                 for pid in map(str, products)}
        self.log.write(setup={"stock": stock, "gids": gids})

    def _product(self, stock):
        reply = self.world.programs["product"].post(
            "/api/product/create", {"name": "apple", "desc": "red", "stock": stock,
                                    "amount": PRICE, "status": 0},
            token=self.tokens[self.users[0]])
        return reply.body["id"]

    def order_id(self, uid):
        with self.lock:
            return next(self.orders[uid])


class Client(threading.Thread):
    """One of them; its random numbers are its own."""

    def __init__(self, shop, number, seed, pace, ending):
        super().__init__(name=f"client {number}", daemon=True)
        self.shop, self.world, self.log = shop, shop.world, shop.log
        self.number, self.pace, self.ending = number, pace, ending
        self.chance = random.Random(f"{seed}/{number}")
        self.count = 0
        self.lines = {}  # program → WireClient
        self.error = None  # a fault of the driver itself

    def run(self):
        kinds, weights = zip(*WEIGHTS.items())
        try:
            while not self.ending.is_set():
                kind = self.chance.choices(kinds, weights)[0]
                getattr(self, f"do_{kind}")()
                self.ending.wait(self.pace.pause_s())
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error
            raise
        finally:
            for line in self.lines.values():
                line.close()

    # ---- asking ----

    def gid(self, kind):
        self.count += 1
        return f"{kind}-{self.number}-{self.count}"

    def ask(self, gid, trans_type, branches, **more):
        """branches: [({op: url}, payload)]"""
        self.log.write(ask="submit", gid=gid, type=trans_type, **more,
                       branches=[[f"{n:02}", urls, payload.hex()]
                                 for n, (urls, payload) in enumerate(branches, 1)])

    def tell(self, told, since, **line):
        self.log.write(told=told, since=since, **line)
        if "gid" in line and told in ("succeed", "failed", "submitted", "aborting"):
            self.shop.known.append(line["gid"])
        return told

    def line(self, program):
        """A connection that stays, until it fails."""
        if program not in self.lines:
            self.lines[program] = WireClient(self.world.rpc[program], timeout_s=TIMEOUT_S)
        return self.lines[program]

    def drop(self, program):
        if program in self.lines:
            self.lines.pop(program).close()

    def over_wire(self, program, question):
        """(told, answer): question(client) → answer; told is unknown or refused, or None."""
        try:
            return None, question(self.line(program))
        except WireError as error:
            if error.code in ("BUSY", "UNAVAILABLE"):
                return "unknown", str(error)
            return "conflict" if error.code == "CONFLICT" else "refused", str(error)
        except LOST as error:
            self.drop(program)
            return "unknown", f"{type(error).__name__}: {error}"

    def over_http(self, program, path, body, **options):
        """(told, reply) likewise."""
        port = int(self.world.http[program].rpartition(":")[2])
        try:
            reply = web.ask_json(port, path, body, timeout_s=TIMEOUT_S, **options)
        except LOST as error:
            return "unknown", f"{type(error).__name__}: {error}"
        if reply.status in (429, 503):
            return "unknown", reply.text.decode()
        if reply.status in (400, 401, 404, 405, 413, 500) or reply.body is None:
            return "refused", f"{reply.status} {reply.text.decode()}"
        return None, reply

    def until_told(self, gid, once):
        """once(coordinator) → told; again at another one as long as that is unknown."""
        names = self.world.coordinators
        first = self.chance.randrange(len(names))
        for n in range(TRIES):
            told = once(names[(first + n) % len(names)])
            if told != "unknown" or self.ending.is_set():
                return told
            self.ending.wait(self.chance.uniform(0.02, 0.4))
        return told

    def submit_wire(self, gid, trans_type, steps, wait, **more):
        """steps as WireClient.ask wants them."""
        def once(name):
            since = self.log.now()
            told, answer = self.over_wire(name, lambda client: client.ask(
                SUBMIT, gid, trans_type, steps, wait_timeout_ms=WAIT_MS * wait, **more))
            if told:
                return self.tell(told, since, gid=gid, text=answer)
            return self.tell(answer.status, since, gid=gid)
        return self.until_told(gid, once)

    def submit_http(self, gid, body, wait):
        def once(name):
            since = self.log.now()
            told, reply = self.over_http(name, "/api/dtmsvr/submit", {
                "gid": gid, "wait_result": wait, "wait_timeout": WAIT_MS / 1000 * wait, **body})
            if told:
                return self.tell(told, since, gid=gid, text=reply)
            return self.tell(self.status_of(reply), since, gid=gid, text=reply.text.decode())
        return self.until_told(gid, once)

    @staticmethod
    def status_of(reply):
        """What an answer of the HTTP API says about the transaction."""
        if reply.status == 200:
            return reply.body["status"]
        message = reply.body.get("message", "")
        for status in ("prepared", "submitted", "aborting", "failed", "succeed"):
            if f"current status '{status}'" in message:
                return status
        if reply.status == 425:
            return "stored"  # more is not known
        return "refused" if "trans_type" in message else "failed"

    # ---- what they want ----

    def buyer(self):
        uid = self.chance.choice(self.shop.users)
        return uid, self.shop.order_id(uid)

    def order_steps(self, pid, num):
        """(order, steps, branches)"""
        uid, order = self.buyer()
        steps = [{"action": action, "compensate": compensate, "payload": payload}
                 for action, compensate, payload in mall.order_steps(order, uid, pid, num, PRICE * num)]
        return order, steps, [({op: s[op] for op in ("action", "compensate")}, s["payload"])
                              for s in steps]

    def order_something(self, kind, pid, wait):
        """(order, gid, told)"""
        gid = self.gid(kind)
        order, steps, branches = self.order_steps(pid, self.chance.randint(1, 3))
        self.ask(gid, "saga", branches)
        return order, gid, self.submit_wire(gid, "saga", steps, wait)

    def do_saga(self):
        self.order_something("saga", self.shop.product, self.chance.random() < 0.5)

    def do_scarce(self):
        """Soon there is nothing left, and each is refused."""
        self.order_something("scarce", self.chance.choice(self.shop.scarce),
                             self.chance.random() < 0.5)

    def do_concurrent(self):
        """Order, stock and a grant of points at once, over HTTP."""
        gid, pid = self.gid("all"), self.chance.choice([self.shop.product] * 2 + self.shop.scarce)
        uid, order = self.buyer()
        branches = [(mall.CREATE, mall.CREATE_REVERT, mall.order_message(order, uid, pid, 1, PRICE)),
                    (mall.DECR, mall.DECR_REVERT, mall.decr_message(pid, 1)),
                    (mall.SAVE_SCORE, mall.SAVE_SCORE_REVERT, mall.score_message(uid, 3))]
        steps = [{"action": self.url(method), "compensate": self.url(undo)}
                 for method, undo, _ in branches]
        self.ask(gid, "saga", [(step, payload) for step, (_, _, payload) in zip(steps, branches)])
        self.submit_http(gid, {
            "trans_type": "saga", "concurrent": True, "custom_data": '{"concurrent":true}',
            "steps": steps,
            "bin_payloads": [base64.b64encode(payload).decode() for _, _, payload in branches]},
            self.chance.random() < 0.5)

    @staticmethod
    def url(method):
        return f"tcp://{SERVICE_OF[method.partition('/')[0]]}/{method}"

    def tcc_branches(self):
        """[(methods, payload)] of an order that is paid with points."""
        uid, order = self.buyer()
        pid, num = self.chance.choice([self.shop.product] * 2 + self.shop.scarce), 1
        payloads = (mall.order_message(order, uid, pid, num, PRICE), mall.decr_message(pid, num),
                    mall.score_message(uid, PRICE))
        return list(zip(TCC_STEPS, payloads))

    def do_tcc(self):
        """A declared one."""
        gid, branches = self.gid("tcc"), self.tcc_branches()
        steps = [dict(zip(mall.TCC_OPS, map(self.url, methods))) for methods, _ in branches]
        self.ask(gid, "tcc", [(step, payload) for step, (_, payload) in zip(steps, branches)])
        wait = self.chance.random() < 0.5
        if self.chance.random() < 0.5:
            self.submit_wire(gid, "tcc", [
                {"try_url": step["try"], "confirm": step["confirm"], "cancel": step["cancel"],
                 "payload": payload} for step, (_, payload) in zip(steps, branches)], wait)
        else:
            self.submit_http(gid, {
                "trans_type": "tcc",
                "steps": steps,
                "bin_payloads": [base64.b64encode(p).decode() for _, p in branches]}, wait)

    def do_message(self):
        gid = self.gid("msg")
        payload = mall.score_message(self.chance.choice(self.shop.users), self.chance.randint(1, 9))
        self.ask(gid, "msg", [({"action": self.url(mall.SAVE_SCORE)}, payload)])
        self.submit_wire(gid, "msg", [{"action": self.url(mall.SAVE_SCORE), "payload": payload}],
                         self.chance.random() < 0.3)

    def do_pay(self):
        """An order, then its payment, which leaves a message in the outbox."""
        order, gid, told = self.order_something("pay", self.shop.product, True)
        if told != "succeed":
            return
        self.log.write(ask="pay", order=order, gid=gid)
        for _ in range(TRIES):
            since = self.log.now()
            told, answer = self.over_wire("order", lambda client: client.call(
                "order.Order/Paid", mall.id_message(order)))
            if not told:
                told = {"SUCCESS": "paid", "FAILURE": "refused"}.get(answer.result, "unknown")
            self.tell(told, since, order=order, gid=gid, text=str(answer))
            if told != "unknown":
                return
            self.ending.wait(self.chance.uniform(0.02, 0.4))

    def do_order_api(self):
        """What a shop's page does."""
        uid, num = self.chance.choice(self.shop.users), self.chance.randint(1, 2)
        pid = self.chance.choice([self.shop.product] + self.shop.scarce)
        key = self.gid("key")
        self.log.write(ask="order", key=key, uid=uid, pid=pid, num=num, amount=PRICE * num)
        # Until there is an answer; and some ask again, as who loads a page anew.
        answers = self.chance.choice((1, 1, 2))
        while answers and not self.ending.is_set():
            since = self.log.now()
            told, reply = self.over_http(
                "order", "/api/order/create", {"pid": pid, "num": num},
                token=self.shop.tokens[uid], headers={"Idempotency-Key": key})
            if told:
                self.tell(told, since, key=key, text=reply)
            else:
                told = self.tell(reply.body["status"], since, key=key, gid=reply.body["gid"],
                                 order=reply.body["id"])
            answers -= told != "unknown"
            self.ending.wait(self.chance.uniform(0.02, 0.4) if answers else 0)

    def do_abort(self):
        """Somebody changes his mind."""
        _, gid, told = self.order_something("abort", self.shop.product, False)
        if told not in ("submitted", "unknown"):
            return

        def once(name):
            since = self.log.now()
            told, reply = self.over_http(name, "/api/dtmsvr/abort",
                                         {"gid": gid, "trans_type": "saga"})
            if told == "refused" and reply.startswith("404"):
                told = "absent"
            if told:
                return self.tell(told, since, gid=gid, text=reply)
            return self.tell(self.status_of(reply), since, gid=gid, text=reply.text.decode())
        self.log.write(ask="abort", gid=gid)
        self.until_told(gid, once)

    def do_audit(self):
        """Does it still stand?"""
        if self.shop.known:
            gid = self.chance.choice(list(self.shop.known))
            self.query(gid, self.chance.choice(self.world.coordinators))

    def query(self, gid, coordinator, **more):
        since = self.log.now()
        told, answer = self.over_wire(coordinator, lambda client: client.query(gid))
        if told:
            return self.tell(told, since, gid=gid, text=answer, **more)
        return self.tell(answer.status if answer.found else "absent", since, gid=gid, **more)

    # ---- a tcc or xa whose client calls the tries, or has the first phase done ----

    def do_client_tcc(self):
        self.drive(self.gid("own"), "tcc", self.tcc_branches(), self.try_it)

    def do_xa(self):
        """Seats of the desk, twice. Nobody gets four."""
        seats = self.chance.choices((1, 2, 3, 4), (3, 3, 3, 1), k=2)
        self.drive(self.gid("xa"), "xa", [((None, END, END), b"%d" % n) for n in seats], self.hold)

    def drive(self, gid, trans_type, branches, first_phase):
        ops = ("confirm", "cancel") if trans_type == "tcc" else ("commit", "rollback")
        self.ask(gid, trans_type, [(dict(zip(ops, map(self.url, methods[1:]))), payload)
                                   for methods, payload in branches], client=True)
        # A short time ends it while the first phase is on its way.
        if self.prepare(gid, trans_type, timeout_to_fail_ms=self.chance.choice((0, 0, 100, 1000))) \
                != "prepared":
            return
        vanishes_at = self.chance.randrange(3) if self.chance.random() < 0.1 else None
        for n, (methods, payload) in enumerate(branches):
            if n == vanishes_at:
                return
            if self.register(gid, trans_type, f"{n + 1:02}", methods, payload) != "registered" or \
                    not first_phase(gid, f"{n + 1:02}", methods[0], payload):
                self.turn_back(gid)
                return
        self.submit_wire(gid, trans_type, [], self.chance.random() < 0.5)

    def prepare(self, gid, trans_type, **more):
        def once(name):
            since = self.log.now()
            told, answer = self.over_wire(name, lambda client: client.ask(
                PREPARE, gid, trans_type, **more))
            return self.tell(told or answer.status, since, gid=gid)
        return self.until_told(gid, once)

    def register(self, gid, trans_type, branch, methods, payload):
        def once(name):
            since = self.log.now()
            told, answer = self.over_wire(name, lambda client: client.register(
                gid, trans_type, branch, self.url(methods[1]), self.url(methods[2]), payload))
            return self.tell(told or "registered", since, gid=gid, branch=branch)
        return self.until_told(gid, once)

    def try_it(self, gid, branch, method, payload):
        """Whether it has answered SUCCESS."""
        return self.succeeds(method, payload, gid=gid, branch_id=branch, op="try", trans_type="tcc",
                             timeout_ms=1000, started_ms=int(time.time() * 1000))

    def hold(self, gid, branch, _, payload):
        return self.succeeds("desk.Desk/Hold", b"%s %s" % (payload, f"{branch} {gid}".encode()))

    def succeeds(self, method, payload, **call):
        service = SERVICE_OF[method.partition("/")[0]]
        for _ in range(2):
            _, answer = self.over_wire(service, lambda client: client.call(method, payload, **call))
            result = getattr(answer, "result", None)
            if result in ("SUCCESS", "FAILURE"):
                return result == "SUCCESS"
        return False

    def turn_back(self, gid):
        def once(name):
            since = self.log.now()
            told, answer = self.over_wire(name, lambda client: client.abort(gid, "no"))
            if told:
                return self.tell(told, since, gid=gid, text=answer)
            return self.tell(answer.status, since, gid=gid)
        self.log.write(ask="abort", gid=gid)
        self.until_told(gid, once)

    # ---- a message that is prepared, and asked for when its client vanishes ----

    def do_sale(self):
        """Seats of the desk, and a message about them. Nobody gets four."""
        gid, seats = self.gid("sale"), self.chance.randint(1, 4)
        payload = mall.score_message(self.chance.choice(self.shop.users), seats)
        message = {"steps": [{"action": self.url(mall.SAVE_SCORE), "payload": payload}],
                   "query_prepared": CHECK,
                   "timeout_to_fail_ms": self.chance.choice((100, 500, 3000))}
        self.ask(gid, "msg", [({"action": self.url(mall.SAVE_SCORE)}, payload)], client=True,
                 query=CHECK, seats=seats)
        if self.prepare(gid, "msg", **message) != "prepared" or self.chance.random() < 0.1:
            return
        told = self.sell(gid, seats)
        if told == "unknown" or self.chance.random() < 0.3:
            return  # the coordinator asks the desk
        if told == "sold":
            self.submit_wire(gid, "msg", wait=self.chance.random() < 0.3, **message)
        else:
            self.turn_back(gid)

    def sell(self, gid, seats):
        for _ in range(TRIES):
            since = self.log.now()
            told, answer = self.over_wire("desk", lambda client: client.call(
                "desk.Desk/Sell", f"{seats} {gid}".encode()))
            if not told:
                told = {"SUCCESS": "sold", "FAILURE": "unsold"}.get(answer.result, "unknown")
            self.tell(told, since, gid=gid, text=str(answer))
            if told != "unknown":
                return told
            self.ending.wait(self.chance.uniform(0.02, 0.4))
        return told


    # ---- a workflow ----

    def do_workflow(self):
        """An order, step by step, by the desk."""
        uid, order = self.buyer()
        gid, pid = f"flow-{order}", self.chance.choice([self.shop.product] * 2 + self.shop.scarce)
        payload = mall.order_message(order, uid, pid, 2, 2 * PRICE)
        self.ask(gid, "workflow", [({"action": self.url(mall.CREATE)}, payload),
                                   ({"action": self.url(mall.DECR)}, mall.decr_message(pid, 2))],
                 query=RESUME)
        for _ in range(self.chance.randint(1, TRIES)):
            since = self.log.now()
            told, answer = self.over_wire("desk", lambda client: client.call(
                "desk.Desk/Order", payload))
            result = None
            if not told:
                is_known = answer.result == "SUCCESS"
                told, _, result = (answer.payload.decode() if is_known else "unknown").partition(" ")
            self.tell(told, since, gid=gid, result=result, text=str(answer))
            if told != "unknown":
                return
            self.ending.wait(self.chance.uniform(0.02, 0.4))


class Pace:
    """So many a second from all clients together."""

    def __init__(self, clients, rate):
        self.mean_s = clients / rate
        self.chance = random.Random(1)

    def pause_s(self):
        return self.chance.uniform(0, 2 * self.mean_s)


class Crowd:
    def __init__(self, shop, seed, count, rate):
        self.ending = threading.Event()
        pace = Pace(count, rate)
        self.clients = [Client(shop, n, seed, pace, self.ending) for n in range(count)]

    def start(self):
        for client in self.clients:
            client.start()

    def end(self):
        """None goes on; the errors of the driver itself, if any."""
        self.ending.set()
        for client in self.clients:
            client.join(60)
        return [f"{client.name}: {client.error!r}" for client in self.clients
                if client.error or client.is_alive()]


def ask_all_again(shop, seed):
    """When all is over: every transaction that somebody knows of, once more, until it is told."""
    auditor = Client(shop, "audit", seed, Pace(1, 1), threading.Event())
    gids = {line["gid"] for line in shop.log.lines if line.get("gid") and "told" in line
            and line["told"] != "unknown"}
    for gid in sorted(gids):
        auditor.until_told(gid, lambda name, gid=gid: auditor.query(gid, name, audit=True))
    for line in auditor.lines.values():
        line.close()
