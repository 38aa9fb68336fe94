"""A private redis-server with conf/redis.conf and a small RESP client. Standard library only."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class RedisError(Exception):
    pass


class Server:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sagad-lua-")
        self.socket = os.path.join(self.dir, "redis.sock")
        self.process = subprocess.Popen(
            [os.environ.get("REDIS_SERVER", "redis-server"), os.path.join(ROOT, "conf/redis.conf"),
             "--port", "0", "--unixsocket", self.socket, "--dir", self.dir],
            stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            try:
                self.client = Client(self.socket)
                if self.client("PING") == b"PONG":
                    return
            except (OSError, RedisError):
                if time.monotonic() > end or self.process.poll() is not None:
                    self.stop()
                    raise
                os.sched_yield()

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Client:
    """client("SET", "a", 1) → the reply: bytes, int, list or None; an error reply is raised."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.socket.settimeout(20)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) +
                            b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        reply = self.read()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def read(self):
        line = self.file.readline()
        if not line:
            raise OSError("connection closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        count = int(rest)
        if count < 0:
            return None
        if kind == b"$":
            return self.file.read(count + 2)[:-2]
        return [self.read() for _ in range(count)]

    def close(self):
        self.file.close()
        self.socket.close()


def script(name):
    with open(os.path.join(ROOT, "lua", "coordinator", name + ".lua"), "rb") as file:
        return file.read()


def script_names():
    return sorted(f[:-4] for f in os.listdir(os.path.join(ROOT, "lua", "coordinator")))
