#!/usr/bin/env python3
"""How fast two coordinators pick up what nobody has looked after, and how new submits fare meanwhile.

    overdue_load.py [--count 100000] [--preset release]

Stores overdue sagas of two branches with the script that sagad uses (branches without a url: what is
measured is the store's and the coordinators' work), starts both, and tells the rate, the latency of
submits meanwhile, and whether the oldest ended first. Ends with 1 when one did not succeed.
"""
import argparse
import binascii
import itertools
import os
import pathlib
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTITIONS, BATCH, SUBMIT_PAUSE_S = 16, 1000, 0.005


def partition_of(gid):
    return binascii.crc_hqx(gid.encode(), 0) % PARTITIONS


def create_all(client, count):
    """Overdue by 1 s and more, the first ones longest."""
    sha = client.ask("SCRIPT", "LOAD", (ROOT / "lua/coordinator/txn_create.lua").read_text())
    commands = []
    for i in range(count):
        gid = f"overdue-{i}"
        prefix = f"saga:{{{partition_of(gid)}}}:"
        commands.append(("EVALSHA", sha, 4, f"{prefix}tx:{gid}", f"{prefix}log:{gid}",
                         f"{prefix}due", f"{prefix}recent", gid, "1.0", "submitted", "saga", 0,
                         -1000 - (count - i), 86400000, "", "01", "", "02", ""))
        if len(commands) == BATCH or i == count - 1:
            client.pipeline(commands)
            commands = []


def due_count(client):
    return sum(client.pipeline([("ZCARD", f"saga:{{{p}}}:due") for p in range(PARTITIONS)]))


def submit_meanwhile(wire_client, address, ending, latencies):
    with wire_client(address) as client:
        for i in itertools.count():
            if ending.wait(SUBMIT_PAUSE_S):
                return
            began = time.monotonic()
            client.submit(f"new-{i}", [("", "", b"")], wait=True)
            latencies.append((time.monotonic() - began) * 1000)


def finished_at(client, count):
    """When the overdue ones ended, in their order."""
    keys = [f"saga:{{{partition_of(gid)}}}:tx:{gid}"
            for gid in (f"overdue-{i}" for i in range(count))]
    times = []
    for at in range(0, count, BATCH):
        for status, finished in client.pipeline(
                [("HMGET", key, "status", "finished") for key in keys[at:at + BATCH]]):
            if status != "succeed":
                sys.exit(f"one is {status}")
            times.append(int(finished))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--preset", default="release")
    args = parser.parse_args()
    os.environ["SAGAD_BUILD"] = str(ROOT / "build" / args.preset)
    sys.path.insert(0, str(ROOT / "tests"))
    from harness.process import wait_for  # pylint: disable=import-outside-toplevel
    from harness.stack import Stack  # pylint: disable=import-outside-toplevel
    from harness.wire import WireClient  # pylint: disable=import-outside-toplevel
    stack = Stack(coordinators=2, services=(), settings={"sagad": {"lease": "3s"}})
    try:
        stack.redis.start()
        client = stack.redis.client
        create_all(client, args.count)
        for program in stack.programs.values():
            program.launch()
        for program in stack.programs.values():
            program.process.await_ready(lambda p=program: p.process.has_logged("msg=ready"))
        began, left = time.monotonic(), due_count(client)
        ending, latencies = threading.Event(), []
        thread = threading.Thread(target=submit_meanwhile, args=(
            WireClient, stack["sagad1"].rpc.address, ending, latencies))
        thread.start()
        wait_for(lambda: due_count(client) <= 1, "all have ended", deadline_s=600, pause_s=0.02)
        took = time.monotonic() - began
        ending.set()
        thread.join()
        times = finished_at(client, args.count)
        tenth = args.count // 10
        latencies.sort()
        print(f"{left / took:.0f} a second ({left} in {took:.1f} s); {len(latencies)} submits "
              f"meanwhile: p50 {statistics.median(latencies):.1f} ms, "
              f"p99 {latencies[len(latencies) * 99 // 100]:.1f} ms, max {latencies[-1]:.0f} ms; the "
              f"oldest tenth ended {statistics.mean(times[-tenth:]) - statistics.mean(times[:tenth]):.0f}"
              " ms before the newest")
    finally:
        print("\n".join(stack.end()), end="")


if __name__ == "__main__":
    main()
