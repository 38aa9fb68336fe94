"""What runs: Redis, coordinators and the services, every connection through the network.

A mode is a topology and what its Redis promises. World has what all have in common; Single is the one
with one Redis, those with several are in replicated.py."""
import os
import pathlib
import shutil
import subprocess

from harness.redis import RedisClient, RedisError
from harness.stack import BUILD, SERVICES, Stack
from network import Network
from schedule import OF_SEVERAL, Targets

PARTICIPANTS = (*SERVICES, "desk")
# Small, so that a minute has many take-overs and retries.
SAGAD = {"request_timeout": "1s", "store_timeout": "1s", "timeout_to_fail": "5s",
         "drain_timeout": "1s", "redis_wait": "2s"}
SERVICE = {"timeout": "1s"}
FAKETIME = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
            "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1")


class Clocks:
    """The wall clocks of sagad and the services, each moved by a file of its own. The monotonic clock
    stays, as with any correction of the time."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "clocks")
        os.makedirs(self.folder, exist_ok=True)
        self.library = next((path for path in FAKETIME if os.path.exists(path)), None)
        self.missing = None if self.library else "libfaketime is not installed"
        sagad = pathlib.Path(BUILD, "coordinator/sagad")
        if self.library and b"__asan_init" in sagad.read_bytes():
            self.library, self.missing = None, "libfaketime and the sanitizers do not go together"

    def env_of(self, name):
        if not self.library:
            return {}
        self.step(name, 0)
        return {"LD_PRELOAD": self.library, "FAKETIME_TIMESTAMP_FILE": self._file(name),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1"}

    def _file(self, name):
        return os.path.join(self.folder, name)

    def step(self, name, seconds):
        new = self._file(name) + ".new"
        pathlib.Path(new).write_text(f"{seconds:+d}\n")
        os.rename(new, self._file(name))

    @staticmethod
    def forget(pid):
        """What the library leaves in shared memory when its process is killed."""
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            pathlib.Path("/dev/shm", name).unlink(missing_ok=True)


class Disk:
    """A tmpfs that can become full. It is mounted in a namespace of the driver's own, and goes with
    it."""

    SIZE = "4g"

    def __init__(self, path):
        self.path = path
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "chaos", path], check=True)

    def _resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    def fill(self):
        """No page more than there are. What is written meanwhile makes the smaller size wrong."""
        for _ in range(20):
            used = shutil.disk_usage(self.path).used
            if subprocess.run(["mount", "-o", f"remount,size={used}", self.path], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0:
                return

    def empty(self):
        self._resize(self.SIZE)

    def close(self):
        subprocess.run(["umount", self.path], check=False)


class World:
    """Programs, and what they speak through. A topology adds: stores (name → RedisServer), others that
    may be killed (watchers), which kinds of faults it is `without`, and what is below."""

    without = frozenset()
    one_at_a_time = ()  # names of which nothing else breaks while one is broken, or not yet mended
    watchers = {}
    workers = 1  # of each coordinator
    disk = None

    def __init__(self, directory, coordinators, settings, **stack):
        self.dir, self.settings = directory, settings["sagad"]
        self.network = Network()
        self.stack = Stack(coordinators, PARTICIPANTS, settings, directory=directory, **stack)
        self.clocks = Clocks(directory)
        self.programs = self.stack.programs
        for name, program in self.programs.items():
            program.env = self.clocks.env_of(name)
        self.stores = {}

    def _wire(self):
        """Whoever speaks with somebody speaks through a link of the two."""
        for name, program in self.programs.items():
            program.settings["redis"] = self._redis_for(name)
        for name in self.coordinators:
            for service in PARTICIPANTS:
                self._through(name, f"resolver.{service}", service)
        for service, coordinator in zip(PARTICIPANTS, self.coordinators * len(PARTICIPANTS)):
            self._through(service, "coordinator", coordinator)
        for who, peer in (("order", "user"), ("order", "product"), ("desk", "order"),
                          ("desk", "product")):
            self._through(who, f"{peer}_rpc", peer)
        self.rpc, self.http = {}, {}  # for clients: program → address
        for name, program in self.programs.items():
            self.rpc[name] = self.network.link(f"client>{name}", program.rpc.address)
        for name in self.coordinators + ["order"]:
            self.http[name] = self.network.link(f"http>{name}", self.programs[name].http.address)

    def _through(self, name, setting, peer):
        address = self.network.link(f"{name}>{peer}", self.programs[peer].rpc.address)
        self.programs[name].settings[setting] = address

    @property
    def coordinators(self):
        return [name for name in self.programs if name.startswith("sagad")]

    @property
    def parts(self):
        """Whatever is a process."""
        return {**self.programs, **self.watchers, **self.stores}

    def use_workers(self, count):
        """Before the start."""
        self.workers = count
        for name in self.coordinators:
            self.programs[name].settings["workers"] = count

    def targets(self):
        without = self.without | ({"worker_kill"} if self.workers == 1 else set())
        groups = {"coordinators": self.coordinators, "services": list(PARTICIPANTS),
                  "all": sorted(self.programs) + self._stores_that_fall_with_all()}
        return Targets(sorted(self.programs), sorted(self.stores), sorted(self.network.names), groups,
                       without, sorted(self.watchers), self.one_at_a_time)

    def start(self):
        self.stack.start()

    def settings_of_report(self):
        return {"coordinators": len(self.coordinators), "workers": self.workers, "lease": "1s",
                **self.settings}

    def promotions(self):
        """How often a replica has become a master."""
        return 0

    # ---- of a topology ----

    def _redis_for(self, name):
        """The address that a program is told."""
        raise NotImplementedError

    def _stores_that_fall_with_all(self):
        return []

    def masters(self):
        """A client of each server that holds data, past the network."""
        raise NotImplementedError

    def is_whole(self):
        """Every server of Redis is well, and has what it should have."""
        raise NotImplementedError

    def may_fall(self, name):
        """Of a server and those that have the same: one that may be killed, and come back."""
        return name

    def end(self):
        """Ends all; what was wrong about how the programs ran."""
        wrong = self.stack.end()
        self.network.close()
        return wrong


class Single(World):
    """One Redis for all."""

    def __init__(self, directory, fsync, coordinators, has_mounts):
        super().__init__(directory, coordinators, {"sagad": SAGAD, "all": SERVICE}, fsync=fsync)
        self.without = OF_SEVERAL if fsync == "always" else OF_SEVERAL | {"store_kill"}
        # Early rewrites, so that it is soon there again after a restart, however long the run has been.
        # With everysec none: after one, Redis 7.0 spoils its file when the disk is full (operations.md).
        self.stack.redis.extra += (["--auto-aof-rewrite-min-size", "16mb"] if fsync == "always" else
                                   ["--auto-aof-rewrite-percentage", "0"])
        self.disk = Disk(self.stack.redis.dir) if has_mounts else None
        self.stores = {"redis": self.stack.redis}
        self._wire()

    def _redis_for(self, name):
        listen = f"unix:{self.dir}/{name}.redis" if name in ("score", "user") else None
        return self.network.link(f"{name}>redis", f"unix:{self.stack.redis.path}", listen)

    def _stores_that_fall_with_all(self):
        return [] if "store_kill" in self.without else ["redis"]

    def masters(self):
        return [self.stack.redis.new_client()]

    def is_whole(self):
        try:
            client = RedisClient(self.stack.redis.path)
        except OSError:
            return False
        try:
            client.socket.settimeout(2)
            return client.ask("SET", "chaos:probe", "1", "PX", "1") == "OK"
        except (OSError, RedisError):  # -LOADING, -MISCONF
            return False
        finally:
            client.close()
