"""scripts/stack.sh and scripts/demo.py: a system in the background that is started, broken, mended
and stopped. They use build/PRESET; ends with 77 (skipped) for a build folder anywhere else."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

from harness.process import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
STACK, DEMO = ROOT / "scripts/stack.sh", ROOT / "scripts/demo.py"
SKIPPED = 77
TIMEOUT_S = 120
BUILD = pathlib.Path(os.environ["SAGAD_BUILD"]).resolve()
NAMES = ["redis", "sagad1", "sagad2", "user", "product", "score", "order"]
ENV = {"SAGA_HTTP", "SAGA_TCP", "SAGA_HTTP_2", "SAGA_TCP_2", "REDIS_CLI", "ORDER_API", "PRODUCT_API",
       "USER_API", "SCORE_API"}


def stack(*words):
    return subprocess.run([STACK, *words], capture_output=True, text=True, timeout=TIMEOUT_S,
                          check=False, stdin=subprocess.DEVNULL)


def processes_of(directory):
    """Every process whose command line names the folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(directory).encode() in word for word in words):
            found.append(b" ".join(words).decode())
    return found


def cores_of(answer):
    """{0, 1} of the list "0-1" in the last line"""
    ranges = (part.partition("-") for part in answer.splitlines()[-1].split(","))
    return {core for first, _, last in ranges for core in range(int(first), int(last or first) + 1)}


class StackDirCase(unittest.TestCase):
    """Each test has a folder; what runs in it is stopped at the end."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sagad_stack_"))
        self.addCleanup(self.remove)
        self.token = None

    def remove(self):
        stack("down", "--dir", self.dir)
        left = processes_of(self.dir)
        shutil.rmtree(self.dir)
        self.assertEqual([], left)

    def up(self, *words):
        done = stack("up", "--dir", self.dir, "--preset", BUILD.name, *words)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done

    def run_stack(self, *words):
        done = stack(*words, "--dir", self.dir)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def states(self):
        """{name: (up or down, place)}"""
        lines = [line.split() for line in self.run_stack("status").splitlines()]
        return {name: (state, place) for name, state, place in lines}

    def env(self):
        """As a shell reads it."""
        done = subprocess.run(["env", "-i", "bash", "-c", f"set -a; . {self.dir}/env; env -0"],
                              capture_output=True, text=True, check=True)
        return dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)

    def redis(self, *words):
        done = subprocess.run([*shlex.split(self.env()["REDIS_CLI"]), *words], capture_output=True,
                              text=True, check=True, timeout=TIMEOUT_S)
        return done.stdout.strip()

    def post(self, url, **fields):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(url, json.dumps(fields).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def register(self):
        status, user = self.post(self.env()["USER_API"] + "/api/user/register", name="ann", gender=1,
                                 mobile="15500000001", password="secret-1")
        self.assertEqual((200, "succeed"), (status, user.get("status")), user)
        return user

    def log_in(self):
        status, answer = self.post(self.env()["USER_API"] + "/api/user/login", mobile="15500000001",
                                   password="secret-1")
        self.assertEqual(200, status, answer)
        self.token = answer["accessToken"]


class StackTest(StackDirCase):
    """The commands of stack.sh."""

    def test_killed_processes_come_back_where_they_were(self):
        self.up("--coordinators", "2", "--durability", "always")
        before = self.states()
        self.assertEqual(NAMES, list(before))
        self.register()
        for name in NAMES:
            self.run_stack("kill", name)
            self.assertEqual({**before, name: ("down", before[name][1])}, self.states())
            self.run_stack("start", name)
            self.assertEqual(before, self.states())
        self.log_in()

    @unittest.skipIf(len(os.sched_getaffinity(0)) == 1, "there is one core for all")
    def test_redis_stays_on_one_core(self):
        self.up()
        all_of_us = os.sched_getaffinity(0)
        pid = int((self.dir / "run/redis.pid").read_text().split()[0])
        self.assertEqual({min(all_of_us)}, os.sched_getaffinity(pid))
        others = [int(task) for task in os.listdir(f"/proc/{pid}/task") if int(task) != pid]
        self.assertTrue(others)
        self.assertEqual({frozenset(all_of_us)},
                         {frozenset(os.sched_getaffinity(task)) for task in others})
        self.assertEqual(all_of_us, cores_of(self.redis("config", "get", "aof_rewrite_cpulist")))

    def test_the_environment_says_where_everything_is(self):
        self.up("--coordinators", "2")
        env = self.env()
        self.assertLessEqual(ENV, env.keys())
        for name in ENV:
            if name.endswith("_API") or name.startswith("SAGA_HTTP"):
                self.assertRegex(env[name], r"^http://127\.0\.0\.1:\d+$")
                with urllib.request.urlopen(env[name] + "/api/ping", timeout=TIMEOUT_S) as answer:
                    self.assertEqual(200, answer.status)
            elif name.startswith("SAGA_TCP"):
                self.assertRegex(env[name], r"^127\.0\.0\.1:\d+$")
        self.assertEqual("PONG", self.redis("ping"))
        self.assertNotIn("SAGA_HTTP_1", env)

    def test_data_survive_down_and_up(self):
        self.up()
        user = self.register()
        keys = int(self.redis("dbsize"))
        self.run_stack("down")
        self.assertEqual([], processes_of(self.dir))
        self.assertEqual({"down"}, {state for state, _ in self.states().values()})
        self.up()
        self.assertEqual(keys, int(self.redis("dbsize")))
        self.assertEqual("succeed", self.redis("hget", self.transaction_key(user["gid"]), "status"))
        self.log_in()

    def transaction_key(self, gid):
        return self.redis("--scan", "--pattern", f"saga:*:tx:{gid}")

    def test_durability_is_what_redis_does(self):
        for mode, wanted in (("memory", "no everysec"), ("everysec", "yes everysec"),
                             ("always", "yes always")):
            with self.subTest(mode=mode):
                self.up("--durability", mode)
                settings = [self.redis("config", "get", name).split("\n")[1]
                            for name in ("appendonly", "appendfsync")]
                self.assertEqual(wanted, " ".join(settings))
                self.register_once()
                self.run_stack("down")

    def register_once(self):
        """The services take work; a number that is there already is fine (data survive)."""
        status, _ = self.post(self.env()["USER_API"] + "/api/user/register", name="ann", gender=1,
                              mobile="15500000001", password="secret-1")
        self.assertIn(status, (200, 409))

    def test_settings_are_kept_until_they_are_taken_back(self):
        self.up("--set", "score.grant_max=5")
        self.assertEqual(409, self.try_register())
        self.run_stack("kill", "score")
        self.run_stack("start", "score")
        self.assertEqual(409, self.try_register())
        self.run_stack("kill", "score")
        self.run_stack("start", "score", "--set", "grant_max=")
        self.assertEqual(200, self.try_register())

    def try_register(self):
        return self.post(self.env()["USER_API"] + "/api/user/register", name="ann", gender=1,
                         mobile="15500000001", password="secret-1")[0]

    def test_the_base_of_the_ports_can_be_given(self):
        self.up()
        first = min(int(place.rpartition(":")[2]) for name, (_, place) in self.states().items()
                    if name != "redis")
        self.run_stack("down")
        other = pathlib.Path(tempfile.mkdtemp(prefix="sagad_stack_"))
        self.addCleanup(shutil.rmtree, other)
        self.addCleanup(stack, "down", "--dir", other)
        done = stack("up", "--dir", other, "--preset", BUILD.name, "--port-base", str(first - 1))
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn(f"127.0.0.1:{first}\n", done.stdout)

    def test_a_program_that_cannot_start_is_named(self):
        done = stack("up", "--dir", self.dir, "--preset", BUILD.name, "--set", "product.log_level=no")
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, r"stack\.sh: product ended while starting; its log is \S+")
        self.assertIn("log_level", done.stderr)


class WrongUseTest(StackDirCase):
    """Wrong use says what is wrong and what would be right; nothing is started."""

    def check(self, words, code, message):
        done = stack(*words)
        self.assertEqual(code, done.returncode, done.stderr)
        self.assertRegex(done.stdout + done.stderr, message)
        self.assertEqual([], processes_of(self.dir))

    def test_the_command_line(self):
        here = ("--dir", str(self.dir))
        for words, code, message in (
                ((), 2, r"stack\.sh up\|?"),
                (("--help",), 0, r"stack\.sh down --dir D"),
                (("up", "--help"), 0, r"stack\.sh down --dir D"),
                (("dance", *here), 2, r"stack\.sh down --dir D"),
                (("up",), 1, r"--dir D is missing"),
                (("up", "--dir"), 1, r"--dir needs a value"),
                (("up", *here, "--port-base"), 1, r"--port-base needs a value"),
                (("up", *here, "--wrong", "1"), 1, r"unknown option --wrong; see --help"),
                (("up", *here, "--coordinators", "0"), 1, r"--coordinators: '0' is not a number"),
                (("up", *here, "--coordinators", "10"), 1, r"--coordinators: '10' is not a number"),
                (("up", *here, "--port-base", "many"), 1, r"--port-base: 'many' is not"),
                (("up", *here, "--port-base", "80000"), 1, r"--port-base: '80000' is not"),
                (("up", *here, "--preset", "none"), 1, r"--preset: no preset 'none'"),
                (("up", *here, "--set", "nobody.x=1"), 1, r"--set nobody\.x=1: no such process"),
                (("up", *here, "--set", "product"), 1, r"--set product: must be"),
                (("up", *here, "--durability", "some"), 1, r"--durability: memory, everysec or always"),
                (("down", *here), 1, r"is not a stack; make one with: stack\.sh up"),
                (("status", *here), 1, r"is not a stack"),
                (("kill", "redis", *here), 1, r"is not a stack"),
                (("kill", *here), 1, r"kill needs the NAME of a process"),
                (("start", *here), 1, r"start needs the NAME of a process")):
            with self.subTest(words=words):
                self.check(words, code, message)

    def test_a_running_stack(self):
        self.up()
        here = ("--dir", str(self.dir))
        for words, message in (
                (("up", *here), r"is up already; stop it with: stack\.sh down"),
                (("start", "order", *here), r"order runs already"),
                (("start", "nobody", *here), r"no such process: nobody"),
                (("start", "sagad2", *here), r"no such process: sagad2"),
                (("kill", "nobody", *here), r"no such process: nobody")):
            with self.subTest(words=words):
                done = stack(*words)
                self.assertEqual(1, done.returncode)
                self.assertRegex(done.stderr, message)
        self.run_stack("kill", "order")
        done = stack("kill", "order", *here)
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, "order does not run")
        self.assertEqual(["order"], [name for name, (state, _) in self.states().items()
                                     if state == "down"])


class DemoTest(StackDirCase):
    """The flows, as demo.sh plays them."""

    def test_all_flows_go_as_they_should(self):
        self.up()
        done = subprocess.run([sys.executable, "-B", DEMO, "--dir", self.dir], capture_output=True,
                              text=True, timeout=TIMEOUT_S, check=False)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertEqual(list("ABCDEFGHI"), re.findall(r"(?m)^Flow (\w):", done.stdout))
        self.assertNotIn("BAD", done.stdout)
        wait_for(lambda: set(self.states()) and {state for state, _ in self.states().values()} == {"up"},
                 "everything runs again")


if __name__ == "__main__":
    if BUILD.parent != ROOT / "build" or f'"name": "{BUILD.name}"' not in (
            ROOT / "CMakePresets.json").read_text():
        print(f"skipped: e2e.stack: stack.sh runs build/PRESET, not {BUILD}")
        sys.exit(SKIPPED)
    unittest.main()
