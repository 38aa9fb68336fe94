"""The whole system in a folder of its own."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse

from harness import web
from harness.ports import Port
from harness.process import Process, wait_for
from harness.redis import RedisServer
from harness.wire import WireClient

SERVICES = ("user", "product", "score", "order")
PLACES = {"desk": "tests/chaos/desk"}  # of programs that are no service of the mall
SECRET = "a secret of the tests that is long enough"
ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("SAGAD_BUILD", str(ROOT / "build" / "dev"))
# Short pauses: a test waits for what a person would not.
SAGAD_DEFAULTS = {"retry_interval": "100ms", "retry_interval_max": "1s", "lease": "1s"}
PAID_SCORE = 5  # points for a paid order
PROGRAMS_WITH_ACL = ("OPS", "SAGAD", "ORDER", "PRODUCT", "USER", "SCORE")


def is_sanitized():
    """Sanitizers make programs slow, keep what was freed, and get on with no other preloaded library."""
    return b"__asan_init" in pathlib.Path(BUILD, "coordinator/sagad").read_bytes()


class Program:
    """sagad or a service: an HTTP port, a port of the wire protocol, settings."""

    def __init__(self, stack, name, binary, settings):
        self.stack, self.name, self.binary = stack, name, binary
        self.settings = settings
        self.env = {}  # what it finds in its environment, besides ours
        self.http, self.rpc = Port(), Port()
        self.process = Process(name, os.path.join(stack.dir, f"{name}.log"))

    def launch(self, **settings):
        """With these settings too, this time only; whether it serves is not awaited."""
        options = {**self.settings, **settings}
        self.process.start([os.path.join(BUILD, self.binary),
                            *(f"--{name}={value}" for name, value in options.items())], self.env)

    def start(self, **settings):
        self.launch(**settings)
        self.process.await_ready(self.is_healthy)

    def is_healthy(self):
        try:
            return web.ask(self.http.number, "GET", "/api/ping", timeout_s=5).status == 200
        except OSError:
            return False

    def restart(self, **settings):
        self.process.kill()
        self.start(**settings)

    def kill(self):
        self.process.kill()

    def wire(self, **options):
        return WireClient(("127.0.0.1", self.rpc.number), **options)

    def post(self, path, document, **options):
        return web.ask_json(self.http.number, path, document, **options)

    def get(self, path):
        return web.ask(self.http.number, "GET", path)

    def metrics(self):
        text = self.get("/api/metrics").text.decode()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")}

    def end(self):
        wrong = self.process.end()
        self.http.release()
        self.rpc.release()
        return wrong


class Coordinator(Program):
    """DTM's API."""

    def dtm(self, name, timeout_s=60, **fields):
        return self.post(f"/api/dtmsvr/{name}", fields, timeout_s=timeout_s)

    def query(self, gid):
        """Asked again while it answers that Redis does not, as just after Redis was away."""
        path = "/api/dtmsvr/query?gid=" + urllib.parse.quote(gid, safe="")
        return wait_for(lambda: (reply := self.get(path)).status != 503 and reply, "it answers").body

    def status(self, gid):
        found = self.query(gid)["transaction"]
        return found and found["status"]

    def branches(self, gid):
        """{(branch, op): status}"""
        return {(b["branch_id"], b["op"]): b["status"] for b in self.query(gid)["branches"]}

    def history(self, gid):
        return [line["op"] for line in self.query(gid)["history"]]


class Stack:
    """Redis, sagad1, sagad2, … and the services asked for.

    settings: {"sagad": {…}, "order": {…}, "all": {…}} on top of what the stack itself needs; "all"
    concerns the services. acl: each program logs in as its own user, as scripts/stack.sh does.
    cluster: Redis is a cluster of one node. redis: RedisCluster, for one of several.
    directory: where it lives, and stays when it ends; without, in a new one that goes with it.
    """

    def __init__(self, coordinators=1, services=SERVICES, settings=None, fsync="everysec",
                 cluster=False, acl=False, redis=None, directory=None):
        self.dir = directory or tempfile.mkdtemp(prefix="sagad-test-")
        self.keeps_dir = directory is not None
        self.asked = settings or {}
        self.passwords = {name: f"secret of {name}" for name in PROGRAMS_WITH_ACL} if acl else {}
        acl_file, password = self._write_acl() if acl else None, self.passwords.get("OPS")
        self.redis = (redis(self.dir, fsync, acl_file=acl_file, password=password) if redis
                      else RedisServer(self.dir, fsync, cluster, acl_file, password))
        self.programs, self.services = {}, services
        durability = {"no": "memory"}.get(fsync, fsync)
        for name in services:
            self.programs[name] = Program(self, name, f"{PLACES.get(name, f'services/{name}')}/{name}d", {})
        for i in range(1, coordinators + 1):
            name = f"sagad{i}"
            self.programs[name] = Coordinator(self, name, "coordinator/sagad",
                                              {**SAGAD_DEFAULTS, "durability": durability})
        for program in self.programs.values():
            self._configure(program)

    def _write_acl(self):
        env = {f"{name}_PASSWORD": value for name, value in self.passwords.items()}
        done = subprocess.run([ROOT / "scripts" / "redis-acl.sh"], env={**os.environ, **env},
                              check=True, capture_output=True)
        path = os.path.join(self.dir, "users.acl")
        pathlib.Path(path).write_bytes(done.stdout)
        return path

    def _configure(self, program):
        service = program.name if program.name in self.services else None
        program.settings |= {"listen_http": program.http.address, "redis": self.redis.address}
        if self.passwords:
            user = service or "sagad"
            program.settings |= {"redis_user": user, "redis_password": self.passwords[user.upper()]}
        if service:
            program.settings |= {"listen_rpc": program.rpc.address, "jwt_secret": SECRET,
                                 **self.asked.get("all", {}), **self.asked.get(service, {})}
            if "sagad1" in self.programs:
                program.settings["coordinator"] = self.programs["sagad1"].rpc.address
        else:
            program.settings |= {"listen_tcp": program.rpc.address}
            if "order" in self.programs:
                shards = {**self.asked.get("all", {}), **self.asked.get("order", {})}.get("shards", 1)
                program.settings["outbox.order"] = f"{{ord:0..{int(shards) - 1}}}:outbox"
            for name in self.services:
                program.settings[f"resolver.{name}"] = self.programs[name].rpc.address
            program.settings |= self.asked.get("sagad", {})
        if service == "order":
            program.settings = {"paid_score": PAID_SCORE, **program.settings}
            for peer in ("user", "product"):
                if peer in self.programs:
                    program.settings[f"{peer}_rpc"] = self.programs[peer].rpc.address

    def __getitem__(self, name):
        return self.redis if name == "redis" else self.programs[name]

    def start(self):
        self.redis.start()
        for name in sorted(self.programs, key=lambda name: not name.startswith("sagad")):
            self.programs[name].start()
        return self

    def tails(self):
        processes = self.redis.processes + [p.process for p in self.programs.values()]
        return "\n".join(p.tail() for p in processes if p.popen)

    def end(self):
        """Ends everything; returns what was wrong about how the programs ran."""
        wrong = [program.end() for name, program in self.programs.items() if name in self.services]
        wrong += [program.end() for name, program in self.programs.items() if name not in self.services]
        wrong.append(self.redis.end())
        if not self.keeps_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        return [text for text in wrong if text]
