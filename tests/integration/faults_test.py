#!/usr/bin/env python3
"""Every named fault point of sagad and of libsaga × {kill, error, delay}: afterwards every
transaction has one of its two legal ends, nothing happened twice, and the books balance.

    faults_test.py [--passes N] [--stacks N] [NAME …]

--passes: the fault comes at the first, second, … Nth time that its point is passed (2); --stacks: so
many systems at a time (3); NAME: these points only. It needs a build with SAGAD_FAULTS.
"""
import argparse
import http.client
import itertools
import os
import queue
import subprocess
import sys
import threading
import time
import traceback

from harness import mall, web
from harness.process import wait_for
from harness.stack import BUILD, SECRET, Stack
from harness.web import Answer
from harness.wire import SUCCESS, WireClient, WireError, encode

ACTIONS = ("kill", "error", "delay")
ORDERS, STOCK = 5, 3  # sagas of both ends
LOST = (OSError, EOFError, WireError, http.client.HTTPException)
# Who is killed or told lies, and where its program is. libsaga is in all four services.
TARGETS = {"sagad1": "coordinator/sagad", "order": "services/order/orderd"}
# What another coordinator might do first.
ALONE = ("recovery.", "outbox.")


def points_of(program):
    done = subprocess.run([os.path.join(BUILD, program), "--list-faults"], capture_output=True,
                          text=True, check=True)
    return done.stdout.split()


class System:
    """One stack for many cases."""

    def __init__(self):
        self.stack = Stack(coordinators=2, settings={"sagad": {
            "request_timeout": "2s", "store_timeout": "1s", "drain_timeout": "200ms"}})
        self.stack.start()
        self.redis = self.stack.redis
        self.participant = web.Participant()
        self.numbers = itertools.count(1)
        self.uid = self.register_user()
        self.token = web.token(SECRET, self.uid)

    def register_user(self):
        reply = self.stack["user"].post("/api/user/register", {
            "name": "ving", "gender": 1, "mobile": "15200000001", "password": "secret-1"})
        return reply.body["id"]

    def make_product(self, stock):
        reply = self.stack["product"].post("/api/product/create", {
            "name": "apple", "desc": "red", "stock": stock, "amount": 5, "status": 0},
            token=self.token)
        return reply.body["id"]

    def end(self):
        self.participant.close()
        return self.stack.end()


class Case:
    """One fault, and a few transactions of each kind around it."""

    def __init__(self, system, target, point, action, nth):
        self.system, self.stack, self.redis = system, system.stack, system.redis
        self.target = self.stack[target]
        self.point, self.action, self.nth = point, action, nth
        self.name = f"{point}:{action}:{nth}"
        self.gid = f"f{next(system.numbers)}"
        self.pid, self.shop_pid = system.make_product(STOCK), system.make_product(10)
        self.shop_ids = []
        with self.stack["order"].wire() as client:
            self.order_ids = mall.new_order_ids(client, system.uid, ORDERS)
        self.acknowledged, self.failures = {}, []
        self.lock = threading.Lock()

    # ---- the fault ----

    def begin(self):
        alone, other = self.point.startswith(ALONE), self.stack["sagad2"]
        if alone and other.process.is_up():
            other.process.stop()
        elif not alone and not other.process.is_up():
            other.start()
        self.target.process.stop()
        self.target.env = {"SAGAD_FAULT": self.name}
        self.target.launch()
        self.target.env = {}
        # not by a request, which might pass the point
        self.target.process.await_ready(lambda: self.target.process.has_logged(r"msg=\"?ready"))

    def has_struck(self):
        return self.target.process.has_logged(f"fault point.* name={self.point}")

    def recover(self):
        wait_for(self.has_struck, f"{self.name} is passed")
        if self.action == "kill":
            wait_for(lambda: not self.target.process.is_up(), f"{self.name} kills")
            self.target.process.killed = True
            self.target.start()

    # ---- the work: each is repeated until it is acknowledged ----

    def persist(self, what, work):
        """work(attempt) until it answers something; the second attempt goes elsewhere."""
        attempts = itertools.count()

        def once():
            try:
                return work(next(attempts))
            except LOST as error:
                if isinstance(error, WireError) and error.code not in ("BUSY", "UNAVAILABLE"):
                    raise AssertionError(f"{what}: {error}") from error
                return None
        return wait_for(once, what, pause_s=0.03)

    def coordinator(self, attempt):
        """The one under test first; then whoever runs."""
        other = self.stack["sagad2"]
        return other if attempt % 2 and other.process.is_up() else self.stack["sagad1"]

    def submit(self, gid, steps, **options):
        def work(attempt):
            with WireClient(self.coordinator(attempt).rpc.address, timeout_s=10) as client:
                return client.submit(gid, steps, **options).status
        status = self.persist(f"{gid} is acknowledged", work)
        with self.lock:
            self.acknowledged[gid] = status

    def dtm(self, call, **fields):
        def work(attempt):
            reply = self.coordinator(attempt).dtm(call, timeout_s=10, **fields)
            return reply if reply.status == 200 else None
        self.persist(f"{call} of {fields['gid']}", work)
        with self.lock:
            self.acknowledged[fields["gid"]] = "submitted"

    def work_saga(self, i):
        steps = mall.order_steps(self.order_ids[i], self.system.uid, self.pid)
        self.submit(f"{self.gid}-saga-{i}", steps, wait=i % 2 == 0,
                    wait_timeout_ms=3000 * (i % 2 == 0))

    def work_tcc(self, i):
        url, gid = self.system.participant.url, f"{self.gid}-tcc-{i}"
        tcc = {"gid": gid, "trans_type": "tcc"}
        self.dtm("prepare", **tcc)
        self.dtm("registerBranch", **tcc, branch_id="01", confirm=f"{url}/{gid}/confirm",
                 cancel=f"{url}/{gid}/cancel", data="{}")
        self.dtm("submit", **tcc)

    def work_shop(self, i):
        """An order through the page, paid: a message out of the outbox."""
        def create(_):
            reply = self.stack["order"].post(
                "/api/order/create", {"pid": self.shop_pid}, token=self.system.token, timeout_s=10,
                headers={"Idempotency-Key": f"{self.gid}-{i}"})
            return reply.body["id"] if reply.status == 200 else None

        def pay(_):
            with self.stack["order"].wire() as client:
                paid = client.call("order.Order/Paid", encode((1, self.shop_ids[i])))
                return paid.result == SUCCESS
        self.shop_ids.append(self.persist("an order is created", create))
        self.persist("an order is paid", pay)

    def work_retry(self, i):
        """Left to the store until its retry, longer than a lease."""
        gid = f"{self.gid}-retry-{i}"
        self.system.participant.rules[f"/{gid}"] = [Answer(status=500), Answer()]
        self.submit(gid, [(f"{self.system.participant.url}/{gid}", "", b"{}")],
                    retry_interval_ms=1500)

    def work_all(self):
        """Each kind as often as the point must be passed."""
        kinds = [(self.work_saga, ORDERS), (self.work_tcc, self.nth), (self.work_shop, self.nth)]
        if self.point.startswith("recovery."):
            kinds.append((self.work_retry, self.nth))
        threads = [threading.Thread(target=self.guarded, args=(self.repeat, *kind))
                   for kind in kinds]
        for thread in threads:
            thread.start()
        return threads

    @staticmethod
    def repeat(work, times):
        for i in range(times):
            work(i)

    def guarded(self, work, *args):
        try:
            work(*args)
        except BaseException:  # pylint: disable=broad-except
            self.failures.append(traceback.format_exc())

    # ---- what must be true afterwards ----

    def settle(self):
        sagad = self.stack["sagad1"]
        wait_for(lambda: sagad.metrics().get("sagad_due_transactions") == 0, "all have ended")
        wait_for(lambda: self.redis.ask("XLEN", "{ord:0}:outbox") == 0, "the outbox is empty")
        wait_for(lambda: sagad.metrics().get("sagad_due_transactions") == 0, "its messages too")

    def statuses(self):
        records = self.redis.client.hashes(f"saga:*:tx:{self.gid}-*")
        return {key.partition(":tx:")[2]: record["status"] for key, record in records.items()}

    def wrong(self):
        """What is not as it must be."""
        found, statuses = list(self.failures), self.statuses()
        found += [f"{gid}: acknowledged, but lost" for gid in self.acknowledged if gid not in statuses]
        found += [f"{gid} is {status}" for gid, status in statuses.items()
                  if status not in ("succeed", "failed")]
        found += [f"{gid} was told {told}, is {statuses[gid]}"
                  for gid, told in self.acknowledged.items()
                  if told in ("succeed", "failed") and told != statuses.get(gid)]
        found += mall.Books(self.redis.client, {self.pid: STOCK, self.shop_pid: 10}).imbalances()
        found += mall.score_imbalances(self.redis.client)
        return found + self.wrong_sagas(statuses) + self.wrong_others(statuses)

    def wrong_sagas(self, statuses):
        found = []
        sagas = {gid: s for gid, s in statuses.items() if "-saga-" in gid}
        if list(sagas.values()).count("succeed") > STOCK:
            found.append(f"more than {STOCK} of {sagas} succeeded")
        for gid, status in sagas.items():
            rows = mall.barrier_rows(self.redis.client, gid)
            legal = [mall.rows_done(gid)] if status == "succeed" else [
                mall.rows_refused(gid), mall.rows_failed_afterwards(gid),
                mall.rows(gid, ("01", "action", "compensate"), ("02", "action", "compensate"))
                | mall.rows_undone(gid)]
            if rows not in legal:
                found.append(f"{gid} {status}: barrier {rows}")
        return found

    def wrong_others(self, statuses):
        found, paths = [], self.system.participant.paths()
        for gid in (f"{self.gid}-tcc-{i}" for i in range(self.nth)):
            if statuses.get(gid) != "succeed" or f"/{gid}/confirm" not in paths:
                found.append(f"{gid}: {statuses.get(gid)}, called {paths}")
            if f"/{gid}/cancel" in paths:
                found.append(f"{gid}: confirmed and cancelled")
        orders = [o["status"] for o in mall.Books(self.redis.client, {}).orders()
                  if o["pid"] == str(self.shop_pid) and o["status"] != "9"]
        if orders != ["1"] * self.nth:
            found.append(f"{self.nth} paid orders, not {orders}")
        for order in self.shop_ids:
            message = self.redis.client.hashes(f"saga:*:tx:order-paid-{order}")
            if [m["status"] for m in message.values()] != ["succeed"]:
                found.append(f"one message of order {order}, not {message}")
        return found

    def play(self):
        self.begin()
        threads = self.work_all()
        self.guarded(self.recover)
        for thread in threads:
            thread.join()
        self.guarded(self.settle)
        return self.wrong()


# ---- all of them ----

def run_cases(cases, failures, lock):
    """One system plays what is in the queue; a new one after a failure."""
    system = None
    while True:
        try:
            target, point, action, nth = cases.get_nowait()
        except queue.Empty:
            break
        system = system or System()
        name, began = f"{target} {point}:{action}:{nth}", time.monotonic()
        try:
            wrong = Case(system, target, point, action, nth).play()
        except BaseException:  # pylint: disable=broad-except
            wrong = [traceback.format_exc()]
        with lock:
            print(f"{name}: {'wrong' if wrong else 'ok'} {time.monotonic() - began:.1f} s", flush=True)
        if wrong:
            with lock:
                failures.append("\n".join([f"==== {name}", *wrong, system.stack.tails()]))
            system.end()
            system = None
    if system:
        wrong = system.end()
        with lock:
            failures.extend(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--stacks", type=int, default=3)
    args = parser.parse_args()
    cases, count = queue.Queue(), 0
    for target, program in TARGETS.items():
        for point in points_of(program):
            for action, nth in itertools.product(ACTIONS, range(1, args.passes + 1)):
                if not args.names or point in args.names:
                    cases.put((target, point, action, nth))
                    count += 1
    assert count > 0, "no fault point has such a name"
    failures, lock = [], threading.Lock()
    workers = [threading.Thread(target=run_cases, args=(cases, failures, lock))
               for _ in range(args.stacks)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("\n".join([*failures, f"{count} cases, {len(failures)} went wrong"]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
