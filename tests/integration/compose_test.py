"""compose.yaml for real: the image is built, the system comes up, sells one apple, and keeps it sold
when Redis restarts. Needs a Docker engine with its compose command, and the two base images; ends
with 77 (skipped) and says why where one is missing."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

from harness.process import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77
IMAGES = ("debian:bookworm-slim", "redis:7-bookworm")
PORTS = (36789, 36791, 8000, 8001, 8002, 8003, 9000, 9001, 9002, 9003)
SERVICES = {"redis", "sagad", "sagad2", "user", "product", "order", "score"}
PROJECT = f"sagad-test-{os.getpid()}"
BUILD_S, ANSWER_S, HEALTHY_S = 780, 120, 90


def run(*command, timeout_s=ANSWER_S, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False,
                          stdin=subprocess.DEVNULL, **options)


def works(*command):
    return shutil.which(command[0]) is not None and run(*command).returncode == 0


def compose_command():
    """The words before the sub-command, or None."""
    for words in (("docker", "compose"), ("docker-compose",)):
        if works(*words, "version"):
            return words
    return None


def why_not():
    """Why the test cannot run here, or None."""
    if os.environ.get("SAGAD_TEST_COMPOSE") == "0":
        return "SAGAD_TEST_COMPOSE=0 is set"
    if not works("docker", "info"):
        return "no Docker engine answers"
    if not compose_command():
        return "neither docker compose nor docker-compose is installed"
    missing = [image for image in IMAGES if not works("docker", "image", "inspect", image)]
    return f"no image {', '.join(missing)} here; docker pull gets it" if missing else None


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class ComposeTest(unittest.TestCase):
    """One system for all tests, in a copy of the tree."""

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="sagad_compose_"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.tree = cls.dir / "tree"
        shutil.copytree(ROOT, cls.tree, ignore=shutil.ignore_patterns(
            "build", ".git", ".env", "__pycache__"))
        cls.adapt()
        cls.words = compose_command()
        cls.addClassCleanup(cls.remove)
        cls.compose("up", "--build", "-d", timeout_s=BUILD_S)
        cls.await_healthy()
        cls.token = None

    @classmethod
    def adapt(cls):
        """An image of its own, and ports that Docker chooses where the documented ones are taken (an
        override file cannot: lists of ports are joined)."""
        path = cls.tree / "compose.yaml"
        text = path.read_text()
        for port in PORTS:
            if f'"127.0.0.1:{port}:{port}"' not in text:
                raise AssertionError(f"compose.yaml does not publish the documented port {port}")
        if not all(is_free(port) for port in PORTS):
            text = re.sub(r'"127\.0\.0\.1:\d+:(\d+)"', r'"127.0.0.1::\1"', text)
        text, changed = re.subn(r"(?m)^  image: sagad$", f"  image: {PROJECT}", text)
        if changed != 1:
            raise AssertionError("compose.yaml does not name its image once")
        path.write_text(text)

    @classmethod
    def compose(cls, *words, timeout_s=ANSWER_S, check=True):
        done = run(*cls.words, *words, timeout_s=timeout_s, cwd=cls.tree,
                   env={**os.environ, "COMPOSE_PROJECT_NAME": PROJECT})
        if check and done.returncode != 0:
            raise AssertionError(f"compose {' '.join(words)}: {done.returncode}\n"
                                 f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done

    @classmethod
    def remove(cls):
        down = cls.compose("down", "-v", check=False)
        run("docker", "image", "rm", PROJECT)
        label = f"label=com.docker.compose.project={PROJECT}"
        left = [run("docker", *words, "-q", "--filter", label).stdout.split() for words in
                (("ps", "-a"), ("volume", "ls"), ("network", "ls"))]
        if down.returncode != 0 or any(left):
            raise AssertionError(f"down -v: {down.returncode} {down.stderr}; left: {left}")

    @classmethod
    def containers(cls):
        """{service: what docker knows of its container}; compose is too slow to be asked often"""
        ids = run("docker", "ps", "-aq", "--filter",
                  f"label=com.docker.compose.project={PROJECT}").stdout.split()
        found = json.loads(run("docker", "inspect", *ids).stdout) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    @classmethod
    def states(cls):
        """{service: health}"""
        return {service: one["State"].get("Health", {}).get("Status")
                for service, one in cls.containers().items()}

    @classmethod
    def await_healthy(cls):
        try:
            wait_for(lambda: cls.states() == dict.fromkeys(SERVICES, "healthy"), "all healthy",
                     deadline_s=HEALTHY_S, pause_s=0.5)
        except AssertionError as late:
            logs = cls.compose("logs", "--tail=20", check=False).stdout
            raise AssertionError(f"{late}: {cls.states()}\n{logs}") from late

    def inside(self, service, *command):
        return run("docker", "exec", self.containers()[service]["Id"], *command)

    def post(self, service, port, path, **fields):
        ports = self.containers()[service]["NetworkSettings"]["Ports"]
        where = "127.0.0.1:" + ports[f"{port}/tcp"][0]["HostPort"]
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"http://{where}{path}", json.dumps(fields).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def log_in(self):
        status, answer = self.post("user", 8000, "/api/user/login", mobile="15212230311",
                                   password="secret-1")
        self.assertEqual(200, status, answer)
        ComposeTest.token = answer["accessToken"]

    def order_status(self, order):
        return self.post("order", 8002, "/api/order/detail", id=order)[1].get("status")

    def stock(self, pid):
        return self.post("product", 8001, "/api/product/detail", id=pid)[1].get("stock")

    def test_an_order_is_kept_when_redis_restarts(self):
        status, user = self.post("user", 8000, "/api/user/register", name="ann", gender=1,
                                 mobile="15212230311", password="secret-1")
        self.assertEqual((200, "succeed"), (status, user.get("status")), user)
        self.log_in()
        status, product = self.post("product", 8001, "/api/product/create", name="apple", desc="red",
                                    stock=1, amount=5, status=0)
        self.assertEqual(200, status, product)
        pid = product["id"]
        status, first = self.post("order", 8002, "/api/order/create", pid=pid, num=1, amount=5)
        self.assertEqual((200, "succeed"), (status, first.get("status")), first)
        status, second = self.post("order", 8002, "/api/order/create", pid=pid, num=1, amount=5)
        self.assertEqual((409, "stock_exhausted"), (status, second.get("code")), second)
        after = (0, 0, 9)
        self.assertEqual(after, (self.stock(pid), self.order_status(first["id"]),
                                 self.order_status(second["id"])))

        self.compose("restart", "redis")
        self.await_healthy()
        self.log_in()
        self.assertEqual(after, (self.stock(pid), self.order_status(first["id"]),
                                 self.order_status(second["id"])))
        answer = self.inside("sagad2", "curl", "-fs",
                             f"http://127.0.0.1:36789/api/dtmsvr/query?gid={first['gid']}")
        self.assertEqual("succeed", json.loads(answer.stdout)["transaction"]["status"])

    def test_both_coordinators_answer(self):
        for name in ("sagad", "sagad2"):
            done = self.inside("order", "curl", "-fs", f"http://{name}:36789/api/dtmsvr/newGid")
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertEqual("SUCCESS", json.loads(done.stdout)["dtm_result"])

    def test_nobody_is_root_or_writes_beside_its_data(self):
        for service in SERVICES:
            done = self.inside(service, "id", "-u")
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertNotEqual("0", done.stdout.strip(), f"{service} runs as root")
            for folder in ("/", "/usr/local/bin"):
                done = self.inside(service, "touch", f"{folder}/x")
                self.assertIn("Read-only file system", done.stderr, service)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: e2e.compose: {reason}")
        sys.exit(SKIPPED)
    unittest.main()
