#!/usr/bin/env python3
"""sagad with several processes that share its ports: each is a coordinator of its own."""
import os
import pathlib
import signal
import unittest

from harness.load import LoadCase
from harness.process import wait_for


class WorkersTest(LoadCase):
    WORKERS = 3
    stack_options = {"settings": {"sagad": {"workers": WORKERS}}}

    def workers(self):
        pid = self.sagad.process.pid
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]

    @staticmethod
    def is_alive(pid):
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def test_they_share_the_work(self):
        self.assertEqual(self.WORKERS, len(self.workers()))
        self.load.await_more(200)
        metrics = self.sagad.metrics()
        self.assertEqual(self.WORKERS, metrics["sagad_workers"])
        ended = sum(metrics[f'sagad_transactions_total{{type="saga",status="{status}"}}']
                    for status in ("succeed", "failed"))
        self.assertGreater(ended, 200)  # of all of them, whichever was asked
        self.settle()

    def test_a_worker_that_dies_is_replaced(self):
        for _ in range(self.WORKERS):
            before = self.workers()
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda b=before: len(self.workers()) == self.WORKERS
                     and b[0] not in self.workers(), "another takes its place")
            self.load.await_more(50)
        self.settle()

    def test_nobody_is_left_when_the_parent_is_killed(self):
        before = self.workers()
        self.sagad.kill()
        wait_for(lambda: not any(self.is_alive(pid) for pid in before), "the workers are gone")
        self.sagad.start()
        self.settle()


if __name__ == "__main__":
    unittest.main()
