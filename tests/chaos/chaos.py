#!/usr/bin/env python3
"""The whole system under load and a random schedule of faults; then the proof that all is right.

    scripts/chaos.sh --minutes 20 --seed 7 --mode single-always [--dir D]

The folder has, in the end: clients.jsonl (every question and answer), faults.jsonl (what broke when),
dump.json (what Redis held), report.json and report.txt, the programs' logs. After a clean run it goes,
unless it was named."""
import argparse
import ctypes
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import checker
import damage
import schedule
from clients import Crowd, Log, Shop, ask_all_again
from faults import Performer
from harness.process import FINDING, wait_for
from replicated import MODES

SETTLE_S = 60  # for all transactions to end, when nothing is broken any more
TURN_S = 0.1
PROGRESS_S = 5
SHOWN = 20  # violations in the text


# ---- the machine ----

def own_mounts():
    """Whether this process may mount what nobody else sees, and what goes with it."""
    clone_newns = 0x00020000
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(clone_newns) != 0:
        return False
    with tempfile.TemporaryDirectory() as trial:
        return all(subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
                   for command in (["mount", "--make-rprivate", "/"],
                                   ["mount", "-t", "tmpfs", "-o", "size=1m", "trial", trial],
                                   ["umount", trial]))


# ---- what Redis holds ----

def text(value):
    return (value if isinstance(value, bytes) else value.encode()).decode("latin-1")


def pairs(flat):
    return {text(flat[i]): text(flat[i + 1]) for i in range(0, len(flat), 2)}


READ = {
    "hash": (lambda key: ("HGETALL", key), pairs),
    "zset": (lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"), pairs),
    "stream": (lambda key: ("XRANGE", key, "-", "+"),
               lambda entries: [[entry, pairs(fields)] for entry, fields in entries]),
    "string": (lambda key: ("GET", key), text),
}


def take_dump(masters):
    keys = {}
    for redis in masters:
        cursor = "0"
        while True:
            cursor, found = redis.ask("SCAN", cursor, "COUNT", 1000)
            if found:
                keys.update(_read_keys(redis, found))
            if cursor == "0":
                break
    return {"keys": keys}


def _read_keys(redis, found):
    kinds = redis.pipeline([("TYPE", key) for key in found])
    ttls = redis.pipeline([("PTTL", key) for key in found])
    there = [(key, kind, ttl) for key, kind, ttl in zip(found, kinds, ttls) if kind in READ]
    values = redis.pipeline([READ[kind][0](key) for key, kind, _ in there]) if there else []
    return {text(key): {"type": kind, "ttl": ttl, "value": READ[kind][1](value)}
            for (key, kind, ttl), value in zip(there, values)}


def open_work(masters):
    """How many transactions have not ended, or not begun: members of all due sets and outboxes."""
    count = 0
    for redis in masters:
        due, outboxes = redis.keys("saga:{*}:due"), redis.keys("*}:outbox")
        counts = [("ZCARD", key) for key in due] + [("XLEN", key) for key in outboxes]
        count += sum(redis.pipeline(counts)) if counts else 0
    return count


def settle(masters, within_s):
    """How many had not ended by then."""
    try:
        wait_for(lambda: open_work(masters) == 0, "all transactions end", within_s, 0.05)
        return 0
    except AssertionError:
        return max(1, open_work(masters))


# ---- one run ----

class Run:
    def __init__(self, args, directory):
        self.args, self.dir = args, directory
        self.world = MODES[args.mode](directory, args.coordinators, own_mounts())
        self.world.use_workers(args.workers)
        self.faults = schedule.draw(args.seed, args.seconds, self.world.targets())
        self.performer = Performer(self.world, directory)
        self.log = Log(os.path.join(directory, "clients.jsonl"))
        self.begun = self.settle_s = None
        self.driver_errors = []

    def play(self):
        """Load and faults; returns the dump, when all has settled."""
        self.world.start()
        shop = Shop(self.world, self.log)
        crowd = Crowd(shop, self.args.seed, self.args.clients, self.args.rate)
        self.begun = time.monotonic()
        crowd.start()
        try:
            self._play_schedule()
        finally:
            self.driver_errors += crowd.end()
        self.performer.heal()
        self._settle()
        dump = self._dump()  # at once: what ends from now on ends too late
        ask_all_again(shop, self.args.seed)
        return dump

    def offset_s(self):
        return time.monotonic() - self.begun

    def _play_schedule(self):
        moments = schedule.timeline(self.faults)
        progress_at = PROGRESS_S
        while self.offset_s() < self.args.seconds:
            while moments and moments[0][0] <= self.offset_s():
                _, what, fault = moments.pop(0)
                getattr(self.performer, what)(fault, self.offset_s())
            self.performer.look_after()
            if self.offset_s() >= progress_at:
                self._show_progress()
                progress_at += PROGRESS_S
            next_s = moments[0][0] - self.offset_s() if moments else TURN_S
            time.sleep(min(TURN_S, max(0, next_s)))

    def _show_progress(self):
        counts = self.log.counts
        now = ", ".join(f"{fault.kind} {fault.target}" for fault, _ in self.performer.active)
        print(f"[{self.offset_s():5.0f}/{self.args.seconds:.0f} s] told: {counts['succeed']} succeed, "
              f"{counts['failed']} failed, {counts['submitted']} submitted, {counts['unknown']} "
              f"unknown; faults: {sum(self.performer.done.values())}; now: {now or 'none'}", flush=True)

    def _settle(self):
        begun = time.monotonic()
        masters = self.world.masters()
        try:
            self.log.write(left=settle(masters, SETTLE_S))
        finally:
            self.settle_s = time.monotonic() - begun
            for redis in masters:
                redis.close()

    def _dump(self):
        masters = self.world.masters()
        dump = take_dump(masters)
        for redis in masters:
            redis.close()
        with open(os.path.join(self.dir, "dump.json"), "w", encoding="ascii") as file:
            json.dump(dump, file)
        return dump

    def end(self, keeps_data):
        """Ends all processes, and remembers what was wrong about them."""
        stats = self.world.network.stats()
        self.performer.close()
        self.log.close()
        wrong = self.world.end()
        if self.world.disk:
            if keeps_data:
                shutil.copytree(self.world.disk.path, os.path.join(self.dir, "redis-data"))
            self.world.disk.close()
        for path in pathlib.Path(self.dir).rglob("*.log"):
            found = FINDING.findall(path.read_text(errors="replace"))
            wrong += [f"{path.name}: {name}" for name in set(found)]
        self.driver_errors += sorted(set(wrong)) + self.performer.crashes
        return stats


# ---- the report ----

def numbers_of(run, log, dump):
    """Transactions and how long they took, in the times of Redis."""
    told, kinds, ends = {}, {}, {}
    quiet = schedule.Quiet(run.performer.covered)
    longest = {"life_ms": (0, ""), "recovery_ms": (0, "")}
    own = {line["gid"] for line in log if line.get("client")}
    for line in log:
        if "told" in line:
            told[line["told"]] = told.get(line["told"], 0) + 1
    for key, entry in dump["keys"].items():
        _, is_record, gid = key.partition("}:tx:")
        fields = entry["value"]
        if not is_record or not key.startswith("saga:{"):
            continue
        kinds[fields["type"]] = kinds.get(fields["type"], 0) + 1
        ends[fields["status"]] = ends.get(fields["status"], 0) + 1
        if "finished" in fields and gid not in own:  # these wait for their clients
            begin, end = int(fields["created"]), int(fields["finished"])
            longest["life_ms"] = max(longest["life_ms"], (end - begin, gid))
            longest["recovery_ms"] = max(longest["recovery_ms"],
                                         (round(quiet.between(begin, end)), gid))
    return {"answers": told, "transactions": {"total": sum(ends.values()), "by_type": kinds,
                                              "by_end": ends},
            "longest": {name: {"ms": ms, "gid": gid} for name, (ms, gid) in longest.items()}}


def make_report(run, log, dump, violations, stats):
    args = run.args
    takeovers = sum(entry["value"].get("history", "").count("takeover:") for key, entry in
                    dump["keys"].items() if "}:tx:" in key)
    return {"mode": args.mode, "seed": args.seed, "seconds": args.seconds, "clients": args.clients,
            "settings": run.world.settings_of_report(), **numbers_of(run, log, dump),
            "takeovers": takeovers, "faults": run.performer.done, "skipped": run.performer.skipped,
            "not_whole": run.performer.not_whole, "promotions": run.world.promotions(),
            "settle_ms": round(run.settle_s * 1000),
            "ended_by_themselves": {name: len(codes)
                                    for name, codes in run.performer.ended.items()},
            "network_mb": round(stats["bytes"] / 1e6, 1),
            "network_cpu": round(stats["cpu_s"] / args.seconds, 3),
            "violations": [violation._asdict() for violation in violations],
            "process_errors": run.driver_errors}


def as_text(report):
    txns, longest = report["transactions"], report["longest"]
    lines = [
        f"mode {report['mode']}, seed {report['seed']}, {report['seconds']:.0f} s, "
        f"{report['settings']['coordinators']} coordinators with {report['settings']['workers']} "
        f"workers, {report['clients']} clients",
        f"transactions  {txns['total']}: {txns['by_end']}, {txns['by_type']}",
        f"answers       {report['answers']}",
        f"faults        {sum(report['faults'].values())}: {report['faults']}",
        *(f"left out      {kind}: {why}" for kind, why in report["skipped"].items()),
        f"              {report['not_whole']} left out because Redis had not recovered; "
        f"{report['promotions']} replicas promoted",
        f"take-overs    {report['takeovers']}",
        f"recovery      longest {longest['recovery_ms']['ms']} ms without a fault "
        f"({longest['recovery_ms']['gid']}); longest life {longest['life_ms']['ms']} ms "
        f"({longest['life_ms']['gid']}); all had ended {report['settle_ms']} ms after the last fault",
        f"ended by themselves and started again: {report['ended_by_themselves'] or 'none'}",
        f"network       {report['network_mb']} MB, {report['network_cpu'] * 100:.0f} % of a core",
        f"violations    {len(report['violations'])}"]
    for violation in report["violations"][:SHOWN]:
        lines.append(f"  {violation['rule']}: {violation['subject']}: {violation['text']}")
    lines += [f"  process: {error}" for error in report["process_errors"]]
    return "\n".join(lines) + "\n"


def self_check(args, log, dump):
    """Damage of each kind, planted into what this run has left."""
    missed = damage.unnoticed(log, dump, random.Random(args.seed), checker.check)
    for line in missed:
        print(f"the checker does not find: {line}")
    print(f"planted damage: {len(damage.DAMAGES)} kinds, {len(missed)} not found")
    return missed


def one_run(args, directory):
    """Whether all is right."""
    run = Run(args, directory)
    print(f"mode {args.mode}, seed {args.seed}, {args.seconds:.0f} s, {len(run.faults)} faults, "
          f"{args.workers} workers, folder {directory}", flush=True)
    log, violations = None, None
    try:
        dump = run.play()
        log = run.log.lines
        violations = checker.check(log, dump)
    except BaseException:
        print(run.world.stack.tails(), file=sys.stderr)
        raise
    finally:
        stats = run.end(keeps_data=violations != [])
    report = make_report(run, log, dump, violations, stats)
    pathlib.Path(directory, "report.json").write_text(json.dumps(report, indent=1) + "\n")
    pathlib.Path(directory, "report.txt").write_text(as_text(report))
    print(as_text(report), end="", flush=True)
    missed = self_check(args, log, dump) if args.self_check and not violations else []
    return not violations and not report["process_errors"] and not missed


def parse(argv):
    parser = argparse.ArgumentParser(prog="chaos.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="of load (default 5)")
    parser.add_argument("--seconds", type=float, help="instead of --minutes")
    parser.add_argument("--seed", type=int, help="of the schedule; default: a new one")
    parser.add_argument("--mode", choices=sorted(MODES), default="single-everysec")
    parser.add_argument("--coordinators", type=int, default=2, choices=range(1, 10), metavar="1-9")
    parser.add_argument("--workers", type=int, choices=range(1, 5), metavar="1-4",
                        help="processes of each coordinator; default: 2 when the seed is odd, else 1")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--rate", type=float, default=200, help="transactions a second, at most, "
                        "from all clients together (default 200)")
    parser.add_argument("--dir", help="folder that stays; it must be new or empty")
    parser.add_argument("--self-check", action="store_true",
                        help="plant each kind of damage into the result, and expect to find it")
    args = parser.parse_args(argv)
    args.seconds = args.seconds or args.minutes * 60
    args.seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    args.workers = args.workers or 1 + args.seed % 2
    if args.seconds < 5 or args.clients < 1 or args.rate <= 0:
        parser.error("at least 5 seconds, 1 client and a rate above 0")
    if args.dir and os.path.isdir(args.dir) and os.listdir(args.dir):
        parser.error(f"--dir: {args.dir} is not empty")
    return args


def main():
    args = parse(sys.argv[1:])
    directory = os.path.abspath(args.dir or tempfile.mkdtemp(prefix="sagad-chaos-"))
    os.makedirs(directory, exist_ok=True)
    is_good = one_run(args, directory)
    if is_good and not args.dir:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"the folder stays: {directory}")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
