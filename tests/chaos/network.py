"""The links of a run, each named "who>whom", and the process that forwards them."""
import json
import os
import pathlib
import subprocess
import sys
import threading

from harness.ports import Port
from harness.process import die_with_parent

PROXY = pathlib.Path(__file__).with_name("proxy.py")


class Network:
    def __init__(self):
        self.lock = threading.Lock()
        self.ports = []
        self.names = []
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, "-B", str(PROXY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=die_with_parent)

    def _ask(self, **command):
        with self.lock:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        answer = json.loads(line or '{"error": "the proxy has ended"}')
        if "error" in answer:
            raise RuntimeError(f"proxy: {answer['error']} ({command})")
        return answer

    def link(self, name, target, listen=None):
        """Where to connect instead of `target`."""
        if listen is None:
            port = Port()
            self.ports.append(port)
            listen = port.address
        self._ask(do="link", name=name, listen=listen, target=target)
        self.names.append(name)
        return listen

    def links_of(self, program):
        """The names of all links that begin or end there."""
        return [name for name in self.names if program in name.split(">")]

    def rule(self, names, kind="open", **how):
        self._ask(do="rule", names=list(names), rule={"kind": kind, **how})

    def heal(self):
        self.rule(self.names)

    def stats(self):
        return self._ask(do="stats")

    @property
    def pid(self):
        return self.process.pid

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.kill(self.process.pid, 9)
            self.process.wait()
        self.process.stdout.close()
        for port in self.ports:
            port.release()
