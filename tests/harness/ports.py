"""Ports that stay ours while a server is down, so that it comes back on the same one."""
import random
import socket

# As tests/harness/test_port.c: below 32768, where Linux begins with ports of its own choice, and above
# those of scripts/stack.sh; the name of an abstract socket can be bound once in the machine and goes
# with its process.
FIRST, COUNT, TRIES = 16000, 16000, 10000


class Port:
    def __init__(self):
        for _ in range(TRIES):
            self.number = FIRST + random.randrange(COUNT)
            self.guard = socket.socket(socket.AF_UNIX)
            try:
                self.guard.bind(f"\0test_port_{self.number}")
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", self.number))
                return
            except OSError:
                self.guard.close()
        raise RuntimeError("no free port")

    @property
    def address(self):
        return f"127.0.0.1:{self.number}"

    def release(self):
        self.guard.close()
