#!/usr/bin/env python3
"""Constant load with everything kept for seconds only: memory stays flat.

    soak.py [--minutes M] [--rate N]     default: 40 s, 60 rounds of work a second

Each round has a saga, one with eight steps, one that is refused and undone, a tcc, one that is
cancelled, a message, and sagas over HTTP; nothing of it leaves business data behind. Then the last
third of the time is compared with the middle third: memory and number of keys in Redis, resident
memory of each process. What is kept for a second is more when more is done in a second, so a machine that is
busy now and then makes it grow, too: then once more, up to four times. What leaks does so each time.
Exit code 0: flat, 1: not.
"""
import argparse
import base64
import http.client
import itertools
import json
import pathlib
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness import mall, web, wire  # pylint: disable=wrong-import-position
from harness.process import wait_for  # pylint: disable=wrong-import-position
from harness.stack import SECRET, Stack  # pylint: disable=wrong-import-position

KEPT = "1s"  # records of transactions
BARRIERS_KEPT = "5s"  # which must outlive them, also on a machine that is busy: else they are parked
DECR = tuple(f"tcp://product/{method}" for method in (mall.DECR, mall.DECR_REVERT))
TCC = tuple(f"tcp://product/{method}" for method in mall.STOCK_TCC)
THREADS = 4
PERCENT = 5
PERIODS_MAX = 4
# What may be more besides: buffers, a page here and there; a leak of 0.1 keys or 100 bytes for each
# transaction is far more, even in the short form.
SLACK = {"keys": 200, "used_memory": 200 << 10, "rss": 512 << 10}


class Work:
    """One thread that does all kinds of work, at its share of the rate."""

    def __init__(self, stack, number, full, empty, rate):
        self.sagad, self.full, self.empty = stack["sagad1"], full, empty
        self.client = self.sagad.wire()
        self.http = http.client.HTTPConnection("127.0.0.1", self.sagad.http.number, timeout=30)
        self.gids = (f"soak-{number}-{i}" for i in itertools.count())
        self.pause_s = THREADS / rate
        self.done = 0
        self.error = None
        self.thread = threading.Thread(target=self.run)

    def saga(self, *products, ends="succeed"):
        steps = [(*DECR, mall.decr_message(pid)) for pid in products]
        self.expect(ends, self.client.submit(next(self.gids), steps, wait=True,
                                             wait_timeout_ms=30000).status)

    def tcc(self, *products, ends="succeed"):
        steps = [dict(zip(("try_url", "confirm", "cancel"), TCC), payload=mall.decr_message(pid))
                 for pid in products]
        self.expect(ends, self.client.ask(wire.SUBMIT, next(self.gids), "tcc", steps,
                                          wait_timeout_ms=30000).status)

    def message(self):
        step = {"action": DECR[0], "payload": mall.decr_message(self.full)}
        self.expect("succeed", self.client.ask(wire.SUBMIT, next(self.gids), "msg", [step],
                                               wait_timeout_ms=30000).status)

    def over_http(self):
        payload = base64.b64encode(mall.decr_message(self.full)).decode()
        body = {"gid": next(self.gids), "trans_type": "saga", "wait_result": True,
                "steps": [{"action": DECR[0], "compensate": DECR[1]}], "bin_payloads": [payload]}
        self.http.request("POST", "/api/dtmsvr/submit", json.dumps(body),
                          {"Content-Type": "application/json"})
        response = self.http.getresponse()
        text = response.read()
        self.expect((200, 0), (response.status, 0 if response.status == 200 else text))

    def expect(self, want, got):
        if want != got:
            raise AssertionError(f"{got} instead of {want}")
        self.done += 1

    def round(self):
        self.saga(self.full)
        self.saga(*[self.full] * 8)
        self.saga(self.full, self.empty, ends="failed")
        self.tcc(self.full, self.full)
        self.tcc(self.full, self.empty, ends="failed")
        self.message()
        self.over_http()

    def run(self):
        due = time.monotonic()
        try:
            while not self.ending.is_set():
                self.round()
                due = max(due + self.pause_s, time.monotonic() - 1)
                self.ending.wait(max(0, due - time.monotonic()))
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    ending = threading.Event()


def resident(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def sample(stack):
    # Before the rest: this removes what has expired, for which a busy Redis has no time by itself.
    keys = len(stack.redis.ask("SCAN", 0, "COUNT", 10**7)[1])
    info = dict(line.split(":", 1) for line in stack.redis.ask("INFO", "memory").splitlines()
                if ":" in line)
    values = {("redis", "keys"): keys, ("redis", "used_memory"): int(info["used_memory"])}
    for name, process in [("redis", stack.redis.process)] + \
            [(name, program.process) for name, program in stack.programs.items()]:
        values[(name, "rss")] = resident(process.pid)
    return values


def compare(samples):
    """Prints the thirds; returns what has grown."""
    third = len(samples) // 3
    grown = []
    for name, what in samples[0]:
        middle, last = (statistics.median(s[(name, what)] for s in part)
                        for part in (samples[third:2 * third], samples[2 * third:]))
        print(f"{name:8} {what:12} middle third {middle:12.0f}  last third {last:12.0f}  "
              f"{100 * (last / middle - 1) if middle else 0:+.1f} %")
        if last > middle * (1 + PERCENT / 100) + SLACK[what]:
            grown.append(f"{name} {what}: {middle:.0f} → {last:.0f}")
    return grown


def one_period(stack, works, seconds):
    """What has grown meanwhile."""
    samples, before = [], sum(work.done for work in works)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not any(work.error for work in works):
        samples.append(sample(stack))
        Work.ending.wait(0.5)
    print(f"{sum(work.done for work in works) - before} transactions in {seconds:.0f} s")
    return [] if any(work.error for work in works) else compare(samples)


def soak(stack, seconds, rate):
    token = web.token(SECRET, 1)
    full, empty = (stack["product"].post("/api/product/create", {
        "name": "p", "desc": "p", "amount": 1, "status": 0, "stock": stock},
        token=token).body["id"] for stock in (10**9, 0))
    works = [Work(stack, i, full, empty, rate) for i in range(THREADS)]
    for work in works:
        work.thread.start()
    for _ in range(PERIODS_MAX):
        grown = one_period(stack, works, seconds)
        if not grown:
            break
    Work.ending.set()
    for work in works:
        work.thread.join()
        work.client.close()
        work.http.close()
    grown += [str(work.error) for work in works if work.error]
    keys = len(stack.redis.client.keys("saga:*:tx:*"))
    try:  # nothing of them stays
        wait_for(lambda: not stack.redis.client.keys("saga:*:tx:*")
                 and not stack.redis.client.keys("saga:*:log:*")
                 and not stack.redis.client.keys("saga:*:recent")
                 and not stack.redis.client.keys("saga:*:due")
                 and not stack.redis.client.keys("*:br:*"), "all has expired")
        print(f"{keys} records of transactions, and all else about them, have expired")
    except AssertionError as error:
        left = stack.redis.client.keys("*")
        grown.append(f"{error}: {len(left)} are left, of these {left[:10]}")
    return grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30 / 60)
    parser.add_argument("--rate", type=float, default=60)
    options = parser.parse_args()
    settings = {"sagad": {"retention": KEPT, "partitions": 2}, "product": {"barrier_ttl": BARRIERS_KEPT}}
    stack = Stack(services=("product",), settings=settings)
    try:
        wrong = soak(stack.start(), options.minutes * 60, options.rate)
        if wrong:
            print(stack.tails(), file=sys.stderr)
    finally:
        ended = stack.end()
    wrong += ended
    for text in wrong:
        print(f"soak: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
