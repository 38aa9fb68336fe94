"""The test case of all integration tests."""
import itertools
import sys
import threading
import time
import unittest

from harness import mall, web
from harness.process import wait_for
from harness.stack import SECRET, Stack

PASSWORD = "secret-1"


class StackCase(unittest.TestCase):
    """One stack for the tests of a class. When one fails the programs' last lines are printed."""

    stack_options = {}
    has_user = True  # whether a user is registered, who orders

    _numbers = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(**cls.stack_options)
        cls.addClassCleanup(cls._end)
        cls.before_start()
        try:
            cls.stack.start()
            cls.sagad = cls.stack.programs.get("sagad1")
            cls.redis = cls.stack.redis
            cls.uid, cls.token = cls.register_user() if cls.has_user else (0, None)
        except BaseException:
            print(cls.stack.tails(), file=sys.stderr)
            raise

    @classmethod
    def before_start(cls):
        """The stack is made, nothing runs yet."""

    @classmethod
    def _end(cls):
        tails = cls.stack.tails()
        wrong = cls.stack.end()
        if wrong:
            raise AssertionError("; ".join(wrong) + "\n" + tails)

    def run(self, result=None):
        before = len(result.errors) + len(result.failures)
        super().run(result)
        if len(result.errors) + len(result.failures) > before:
            print(f"==== logs after {self.id()} ====\n{self.stack.tails()}", file=sys.stderr)

    # ---- shorthands ----

    @classmethod
    def number(cls):
        """Another number each time."""
        return next(cls._numbers)

    @classmethod
    def register_user(cls):
        """(uid, token) of a new user."""
        mobile = f"152{cls.number():08d}"
        reply = cls.stack["user"].post("/api/user/register", {
            "name": "ving", "gender": 1, "mobile": mobile, "password": PASSWORD})
        if reply.status != 200:
            raise AssertionError(f"register: {reply.status} {reply.text}")
        return reply.body["id"], web.token(SECRET, reply.body["id"])

    def gid(self):
        """Gids sort as they were made: those of one millisecond are listed by their bytes."""
        return f"{self.id().rpartition('.')[2]}-{self.number():06}"

    def post(self, service, action, token=None, headers=None, **fields):
        return self.stack[service].post(f"/api/{service}/{action}", fields,
                                        token=self.token if token is None else token,
                                        headers=headers)

    def make_product(self, stock, amount=5):
        reply = self.post("product", "create", name="apple", desc="red", stock=stock, amount=amount,
                          status=0)
        self.assertEqual(200, reply.status, reply.text)
        return reply.body["id"]

    def product(self, pid):
        return self.redis.client.hash(f"{{prd:{pid}}}:h")

    def stock(self, pid):
        return int(self.product(pid)["stock"])

    def order(self, order_id, shards=1):
        return self.redis.client.hash(f"{{ord:{order_id % shards}}}:o:{order_id}")

    def wire(self, name):
        client = self.stack[name].wire()
        self.addCleanup(client.close)
        return client

    def participant(self):
        participant = web.Participant()
        self.addCleanup(participant.close)
        return participant

    def new_order_id(self, uid=None):
        with self.stack["order"].wire() as client:
            return mall.new_order_ids(client, uid or self.uid)[0]

    def rows(self, gid):
        return mall.barrier_rows(self.redis.client, gid)

    def in_time(self, limit_s, work, tries=10):
        """work() with self.id_, with another one again until it took less than that: a machine that
        is busy may be too slow for what the test is about."""
        for _ in range(tries):
            began, failure = time.monotonic(), None
            try:
                work()
            except AssertionError as error:
                failure = error
            if time.monotonic() - began < limit_s:
                if failure:
                    raise failure
                return
            wait_for(lambda: self.sagad.status(self.id_) not in ("prepared", "aborting"), "it ends")
            self.id_ = self.gid()
            self.web.calls.clear()
        self.fail(f"not within {limit_s} s, {tries} times")

    def await_status(self, gid, status, sagad=None):
        sagad = sagad or self.sagad
        wait_for(lambda: sagad.status(gid) == status, f"{gid} is {status}, not {sagad.status(gid)}")

    def await_end(self, gid):
        def ended():
            status = self.sagad.status(gid)
            return status if status in ("succeed", "failed") else None
        return wait_for(ended, f"{gid} ends")

    def assert_books(self, stock_of):
        self.assertEqual([], mall.Books(self.redis.client, stock_of).imbalances())

    @staticmethod
    def in_threads(count, work):
        """work(i) in `count` threads; the first exception comes out."""
        failures = []

        def run(i):
            try:
                work(i)
            except BaseException as error:  # pylint: disable=broad-except
                failures.append(error)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
