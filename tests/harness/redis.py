"""A private redis-server, and a client of a few lines."""
import os
import pathlib
import shutil
import socket

from harness.ports import Port
from harness.process import DEADLINE, Process, wait_for

CONF = pathlib.Path(__file__).resolve().parents[2] / "conf" / "redis.conf"


SYNC_AT_ONCE = ["--repl-diskless-sync-delay", "0"]  # else a master lets a new replica wait for 5 s


class RedisError(Exception):
    """An error reply."""


class RedisClient:
    """One connection. Values come as str where they are UTF-8, else as bytes."""

    def __init__(self, path, user=None, password=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.file = self.socket.makefile("rb")
        try:
            self.socket.connect(path)
            if password:
                self.ask("AUTH", *([user] if user else []), password)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _bytes(word):
        return word if isinstance(word, bytes) else str(word).encode()

    def _send(self, words):
        words = [self._bytes(word) for word in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

    def _value(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self._value() for _ in range(int(rest))] if rest != b"-1" else None
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.file.read(int(rest) + 2)[:-2]
            try:
                return data.decode()
            except UnicodeDecodeError:
                return data
        if kind == b":":
            return int(rest)
        return RedisError(rest.decode()) if kind == b"-" else rest.decode()

    def ask(self, *words):
        return self.pipeline([words])[0]

    def pipeline(self, commands):
        self.socket.sendall(b"".join(self._send(words) for words in commands))
        replies = [self._value() for _ in commands]
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    def hash(self, key):
        flat = self.ask("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2]))

    def keys(self, pattern):
        return sorted(self.ask("KEYS", pattern), key=str)

    def hashes(self, pattern):
        """Every hash whose key fits, in one round trip."""
        keys = self.keys(pattern)
        flat = self.pipeline([("HGETALL", key) for key in keys]) if keys else []
        return {key: dict(zip(f[::2], f[1::2])) for key, f in zip(keys, flat)}

    def close(self):
        self.file.close()
        self.socket.close()


class RedisServer:
    """conf/redis.conf in a folder of its own. fsync: always, everysec, or no (no AOF)."""

    def __init__(self, folder, fsync="everysec", cluster=False, acl_file=None, password=None,
                 slots=True, extra=()):
        self.extra = list(extra)  # further words of the command line
        self.slots = slots  # of a cluster: whether this node serves them all
        self.dir = os.path.join(folder, "redis")
        os.makedirs(self.dir)
        self.port = Port()
        self.bus = Port() if cluster else None  # for the nodes of a cluster among themselves
        self.announced = (self.port.number, self.bus.number if cluster else None)
        self.path = os.path.join(folder, "redis.sock")
        self.acl_file, self.password = acl_file, password
        self.fsync, self.cluster = fsync, cluster
        self.process = Process("redis", os.path.join(folder, "redis.log"))
        self.client = None

    def announce(self, port, bus=None):
        """Where others are told that it is, from its start on: a proxy, say."""
        self.announced = (port, bus)
        kind = "cluster" if self.cluster else "replica"
        self.extra += [f"--{kind}-announce-ip", "127.0.0.1", f"--{kind}-announce-port", str(port)]
        if bus:
            self.extra += ["--cluster-announce-bus-port", str(bus)]

    def launch(self, *options):
        """With these options too, this time only; whether it answers is not awaited."""
        conf = os.path.join(self.dir, "redis.conf")
        if not os.path.exists(conf):  # sentinels have it rewritten
            shutil.copyfile(CONF, conf)
        argv = [os.environ.get("REDIS_SERVER", "redis-server"), conf, "--port",
                str(self.port.number), "--bind", "127.0.0.1", "--unixsocket", self.path, "--dir",
                self.dir, "--appendonly", "no" if self.fsync == "no" else "yes", "--appendfsync",
                "everysec" if self.fsync == "no" else self.fsync]
        if self.acl_file:
            argv += ["--aclfile", self.acl_file]
        if self.cluster:
            argv += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus.number),
                     "--cluster-require-full-coverage", "no"]
        self.process.start(argv + self.extra + list(options))

    def start(self):
        self.launch()
        self.process.await_ready(self.connect)
        if self.cluster and self.slots:
            if "cluster_slots_assigned:0" in self.ask("CLUSTER", "INFO"):
                self.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            self.process.await_ready(lambda: "cluster_state:ok" in self.ask("CLUSTER", "INFO"))

    @property
    def address(self):
        """For programs; clients of a cluster do not come by a socket."""
        return self.port.address if self.cluster else f"unix:{self.path}"

    @property
    def processes(self):
        return [self.process]

    def connect(self):
        """Whether it answers."""
        try:
            client = RedisClient(self.path, "default", self.password)
        except OSError:
            return False
        if self.client:
            self.client.close()
        try:
            client.ask("PING")
        except (OSError, RedisError):  # -LOADING
            client.close()
            return False
        self.client = client
        return True

    def new_client(self):
        return RedisClient(self.path, "default", self.password)

    def ask(self, *words):
        return self.client.ask(*words)

    def kill(self):
        self.process.kill()
        self.client.close()

    def await_replica(self):
        """Until a replica has confirmed all that was written so far, by whomever."""
        offset = self.ask("ROLE")[1]
        wait_for(lambda: any(int(confirmed) >= offset for _, _, confirmed in self.ask("ROLE")[2]),
                 "a replica has it all")

    def bring_in_step(self):
        """It takes no writes any more, and a replica has all that it took: Redis answers before it
        replicates, and promises nothing about what it alone has."""
        self.ask("CLIENT", "PAUSE", 4 * DEADLINE * 1000, "WRITE")
        self.await_replica()

    def end(self):
        if self.client:
            self.client.close()
        wrong = self.process.end()
        for port in (self.port, self.bus):
            if port:
                port.release()
        return wrong
