"""Orders without end, and what must be true when they have ended."""
import collections
import http.client
import threading

from harness import mall
from harness.case import StackCase
from harness.process import wait_for
from harness.wire import WireClient, WireError

STOCK = 300  # less than the load wants, for sagas of both ends
LOST = (OSError, EOFError, WireError, http.client.HTTPException)


class Load:
    """Threads that submit orders with gids of their own, each again until it is acknowledged.

    After stop(): `acknowledged` has every gid whose submit was answered, with the answered status.
    """

    # What may be said to a good submit: it is repeated.
    passing = ("BUSY", "UNAVAILABLE")

    def __init__(self, case, pid, threads=8, coordinators=None):
        self.case, self.pid = case, pid
        self.coordinators = coordinators or [case.sagad]
        self.ending = threading.Event()
        self.acknowledged = {}
        self.errors = collections.Counter()
        self.lock = threading.Lock()
        with case.stack["order"].wire() as client:
            self.ids = iter(mall.new_order_ids(client, case.uid, 100000))
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def next_order(self):
        with self.lock:
            return next(self.ids)

    def submit_once(self, i, gid, steps):
        sagad = self.coordinators[i % len(self.coordinators)]
        with WireClient(sagad.rpc.address, timeout_s=10) as client:
            wait = i % 2 == 0
            return client.submit(gid, steps, wait=wait, wait_timeout_ms=5000 * wait).status

    def run(self, i):
        while not self.ending.is_set():
            order_id = self.next_order()
            gid = f"load-{self.pid}-{order_id}"
            steps = mall.order_steps(order_id, self.case.uid, self.pid)
            attempt = i
            while gid not in self.acknowledged and not self.ending.is_set():
                try:
                    status = self.submit_once(attempt, gid, steps)
                    with self.lock:
                        self.acknowledged[gid] = status
                except LOST as error:
                    if isinstance(error, WireError) and error.code not in self.passing:
                        self.ending.set()  # nobody may say this to a good submit
                    with self.lock:
                        self.errors[f"{type(error).__name__}: {error}"] += 1
                    self.ending.wait(0.02)  # not a busy loop while nobody listens
                    attempt += len(self.coordinators) > 1

    def await_more(self, count):
        """Until `count` further ones are acknowledged."""
        goal = len(self.acknowledged) + count
        try:
            wait_for(lambda: len(self.acknowledged) >= goal, "the load goes on")
        except AssertionError as error:
            raise AssertionError(f"{error}; so far {dict(self.errors)}") from None

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        wrong = [text for text in self.errors if text.startswith("WireError: ")
                 and not text.startswith(tuple(f"WireError: {code}" for code in self.passing))]
        self.case.assertEqual([], wrong)
        return self.acknowledged


class LoadCase(StackCase):
    """Each test runs under load, of all coordinators."""

    stack_options = {"fsync": "always",
                     "settings": {"sagad": {"request_timeout": "1s", "store_timeout": "1s"}}}

    def setUp(self):
        self.pid = self.make_product(STOCK)
        self.load = self.make_load(self, self.pid, coordinators=self.coordinators())
        self.addCleanup(self.load.stop)
        self.load.await_more(50)

    make_load = Load

    def coordinators(self):
        return [p for name, p in self.stack.programs.items() if name.startswith("sagad")]

    def records(self):
        """Where the transactions are."""
        return self.redis.client

    def settle(self, more=50):
        """The load goes on, then ends; everything is decided and the books balance."""
        self.load.await_more(more)
        acknowledged = self.load.stop()
        for sagad in self.coordinators():
            # metrics count what the store has, of all coordinators
            wait_for(lambda s=sagad: s.metrics().get("sagad_due_transactions") == 0,
                     "no transaction is open")
        self.assert_outcomes(acknowledged)

    def assert_outcomes(self, acknowledged):
        """Status, orders, stock and barrier rows tell the same story."""
        records = self.records().hashes(f"saga:*:tx:load-{self.pid}-*")
        statuses = {key.partition(":tx:")[2]: record["status"] for key, record in records.items()}
        self.assertEqual(set(), set(acknowledged) - set(statuses), "acknowledged, but lost")
        self.assertLessEqual(set(statuses.values()), {"succeed", "failed"})
        for gid, answered in acknowledged.items():
            if answered in ("succeed", "failed"):
                self.assertEqual(answered, statuses[gid], gid)
        orders = {o["gid"]: o["status"] for o in mall.Books(self.redis.client, {}).orders()
                  if o["pid"] == str(self.pid)}
        self.assertEqual({gid: "0" if status == "succeed" else "9"
                          for gid, status in statuses.items()
                          if status == "succeed" or gid in orders},
                         orders)
        self.assert_books({self.pid: STOCK})
        rows = mall.barrier_rows(self.redis.client, None)
        by_gid = {}
        for row in rows:
            by_gid.setdefault(row[1], set()).add(row)
        for gid, status in statuses.items():
            allowed = [mall.rows_done(gid)] if status == "succeed" else [
                mall.rows_refused(gid), mall.rows_failed_afterwards(gid),
                mall.rows(gid, ("01", "action", "compensate"), ("02", "action", "compensate"))
                | mall.rows_undone(gid)]
            self.assertIn(by_gid.get(gid, set()), allowed, f"{gid} {status}")
        self.assertGreater(list(statuses.values()).count("succeed"), 0)
