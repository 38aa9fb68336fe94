#!/usr/bin/env python3
"""kill -9 of one process after the other while sagabench runs, over and over.

    kill_load.py --rounds 20 [--preset release] [--sagas 20000] [--seed S]

Each round starts sagabench on a running stack (two coordinators, durability always), kills one
process in the middle (redis, a coordinator, order or product, in turn), starts it again, and expects
sagabench to end well: every acknowledged transaction ended, the books balance. Ends with 1 at the
first round that does not, and says which; the seed repeats the moments of the kills.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
STACK = ROOT / "scripts/stack.sh"
VICTIMS = ("redis", "sagad1", "order", "sagad2", "product")


def stack(*words):
    subprocess.run([STACK, *words], check=True, stdout=subprocess.DEVNULL)


def one_round(args, directory, victim, after_s):
    bench = subprocess.Popen(
        [ROOT / f"build/{args.preset}/bench/sagabench", "-n", str(args.sagas), "-c", "64", "--env",
         f"{directory}/env", "--retry", "200", "--json", "--quiet"], stdout=subprocess.PIPE, text=True)
    threading.Event().wait(after_s)  # the moment of the kill, not a wait for a condition
    in_flight = bench.poll() is None
    stack("kill", victim, "--dir", directory)
    stack("start", victim, "--dir", directory)
    out, _ = bench.communicate(timeout=300)
    return in_flight, bench.returncode, json.loads(out) if out else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--preset", default="release")
    parser.add_argument("--sagas", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    chance = random.Random(args.seed)
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="sagad-kill.") as directory:
        stack("up", "--dir", directory, "--coordinators", "2", "--durability", "always", "--preset",
              args.preset)
        try:
            for number in range(args.rounds):
                victim = VICTIMS[number % len(VICTIMS)]
                after_s = chance.uniform(0.2, 1.5)
                in_flight, code, report = one_round(args, directory, victim, after_s)
                print(f"round {number + 1:2}: killed {victim:8} after {after_s:.2f} s"
                      f"{'' if in_flight else ' (too late, the load was over)'}: exit {code}, "
                      f"{report.get('sagas_per_s', 0):.0f} sagas/s, books "
                      f"{report.get('books_balanced')}, {report.get('errors_by_kind')}", flush=True)
                if code != 0:
                    sys.exit(1)
        finally:
            stack("down", "--dir", directory)


if __name__ == "__main__":
    main()
