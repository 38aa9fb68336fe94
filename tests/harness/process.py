"""Programs in the background."""
import ctypes
import os
import re
import signal
import subprocess
import threading
import time

DEADLINE = 30  # seconds; generous, because sanitizers and busy machines are slow
TAIL_LINES = 40
# What a sanitizer finds must not pass for an exit code of the program.
SANITIZERS = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=1:abort_on_error=0",
              "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99"}
FINDING = re.compile(
    r".*(AddressSanitizer|LeakSanitizer|runtime error:|level=fatal|BUG REPORT START).*")

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def wait_for(condition, what, deadline_s=DEADLINE, pause_s=0.01):
    """The value of condition() as soon as it is true; AssertionError after the deadline."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        pause.wait(pause_s)


def best_of(tries, within, measure):
    """The least of some figures that measure() gives: on a busy machine one try may come late, what
    is wrong comes late each time. No further one is made when one is `within` that."""
    best = measure()
    for _ in range(tries - 1):
        if best <= within:
            break
        best = min(best, measure())
    return best


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One program; its output goes to a file that all its starts share."""

    def __init__(self, name, log_path):
        self.name = name
        self.log_path = log_path
        self.popen = None
        self.killed = False
        self.seen = 0  # length of the log when it was started last

    def start(self, argv, env=None):
        assert not self.is_up(), f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.seen = log.tell()
            self.killed = False
            self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **SANITIZERS, **(env or {})}, preexec_fn=die_with_parent,
                process_group=0)  # its own: a test may signal all of it

    def is_up(self):
        return self.popen is not None and self.popen.poll() is None

    @property
    def pid(self):
        return self.popen.pid

    def log(self, whole=False):
        """What it wrote since its last start, or ever."""
        with open(self.log_path, "rb") as log:
            log.seek(0 if whole else self.seen)
            return log.read().decode("utf-8", "replace")

    def has_logged(self, pattern):
        return re.search(pattern, self.log())

    def await_ready(self, condition):
        def ready():
            if not self.is_up():
                raise AssertionError(f"{self.name} ended with {self.popen.returncode} while "
                                     f"starting:\n{self.log()}")
            return condition()
        wait_for(ready, f"{self.name} is ready")

    def kill(self):
        """kill -9; returns when it is gone."""
        assert self.is_up(), f"{self.name} has ended by itself"
        self.killed = True
        self.popen.kill()
        self.popen.wait(DEADLINE)

    def freeze(self):
        """It runs no more, but nobody sees it go."""
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.popen.send_signal(signal.SIGCONT)

    def stop(self):
        """SIGTERM; returns the exit code."""
        if self.is_up():
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(DEADLINE)

    def end(self):
        """Ends it in any case; returns what was wrong about how it ran, or None."""
        if self.popen is None:
            return None
        if self.killed:
            if self.is_up():
                self.kill()
            code = 0
        else:
            try:
                code = self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                return f"{self.name} did not end on SIGTERM within {DEADLINE} s"
        found = FINDING.search(self.log(whole=True))  # of all its starts
        if found:
            return f"{self.name} logged '{found.group()}'"
        return f"{self.name} ended with {code}" if code != 0 else None

    def tail(self):
        lines = self.log(whole=True).splitlines()[-TAIL_LINES:]
        return "\n".join([f"---- {self.name}: {self.log_path} ----", *lines])
