#!/usr/bin/env python3
"""sagabench in each of its modes, on a small stack."""
import json
import os
import subprocess
import unittest

from harness.case import StackCase
from harness.stack import BUILD

KEYS = ["mode", "sagas", "concurrency", "sagas_per_s", "p50_ms", "p95_ms", "p99_ms", "p999_ms",
        "errors", "errors_by_kind", "books_balanced", "scripts_per_saga", "redis_bytes_per_saga"]


class BenchTest(StackCase):
    stack_options = {"services": ("order", "product")}
    has_user = False

    def setUp(self):
        self.env = os.path.join(self.stack.dir, "env")
        with open(self.env, "w", encoding="utf-8") as env:
            env.write(f"SAGA_HTTP=http://{self.sagad.http.address}\nSAGA_TCP={self.sagad.rpc.address}\n"
                      f"ORDER_RPC={self.stack['order'].rpc.address}\n"
                      f"PRODUCT_RPC={self.stack['product'].rpc.address}\n"
                      f"REDIS='unix:{self.redis.path}'\n")

    def bench(self, *options, code=0):
        done = subprocess.run([os.path.join(BUILD, "bench/sagabench"), "-n", "200", "-c", "16",
                               *options], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done

    def report(self, *options):
        return json.loads(self.bench("--json", "--env", self.env, *options).stdout)

    def test_every_mode_ends_with_its_books_balanced(self):
        for mode in ("saga", "tcc", "msg"):
            with self.subTest(mode):
                report = self.report("--mode", mode)
                self.assertEqual(KEYS, list(report))
                self.assertEqual((mode, 200, 0, True), (report["mode"], report["sagas"],
                                                        report["errors"], report["books_balanced"]))
                self.assertGreater(report["scripts_per_saga"], 1)
        self.assertEqual([], list(self.redis.client.keys("{bench:*}:n")))

    def test_messages_through_the_outbox(self):
        for options in ([], ["--noop"]):
            with self.subTest(options=options):
                report = self.report("--mode", "outbox", *options)
                self.assertEqual(("outbox", 200, 0), (report["mode"], report["sagas"], report["errors"]))
                self.assertEqual(None if options else True, report["books_balanced"])
        self.assertEqual(0, self.redis.ask("XLEN", "{ord:0}:outbox"))

    def test_messages_that_nobody_takes_are_told(self):
        self.redis.ask("CONFIG", "SET", "maxmemory", "1")  # nothing can be left
        try:
            report = json.loads(self.bench("--mode", "outbox", "--json", "--settle", "1", "--env",
                                           self.env, code=1).stdout)
        finally:
            self.redis.ask("CONFIG", "SET", "maxmemory", "0")
        self.assertEqual(200, report["errors_by_kind"]["unfinished"])

    def test_participants_that_do_nothing_over_both_transports(self):
        for mode in ("saga", "tcc", "msg"):
            for options in (["--noop"], ["--noop", "--http"]):
                with self.subTest(mode=mode, options=options):
                    report = self.report("--mode", mode, *options)
                    self.assertEqual((0, None), (report["errors"], report["books_balanced"]))

    def test_the_text_names_the_mode(self):
        text = self.bench("--mode", "tcc", "--env", self.env).stdout
        self.assertRegex(text, r"^\d+ tccs/s \(200 at concurrency 16, counters behind barriers\)\n")
        self.assertIn("books           balanced: 400 branches counted, 0 held", text)

    def test_wrong_usage(self):
        self.assertIn("'xa' is not saga, tcc, msg or outbox", self.bench("--mode", "xa", code=2).stderr)
        self.assertIn("--http needs --noop", self.bench("--http", "--env", self.env, code=2).stderr)
        self.assertIn("--http: a message is left in the outbox", self.bench(
            "--mode", "outbox", "--noop", "--http", "--env", self.env, code=2).stderr)
        self.assertIn("REDIS is not known", self.bench(
            "--mode", "tcc", "--tcp", self.sagad.rpc.address, code=3).stderr)


if __name__ == "__main__":
    unittest.main()
