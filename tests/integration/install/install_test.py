"""Installs libsaga into an empty folder and uses it as a stranger would: once by pkg-config, once by
find_package. The participant of docs/sdk.md is built, started on a Redis of its own and called."""

import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ARGS = argparse.Namespace()
DEADLINE_S = 20


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


# ---- the wire protocol, written from docs/protocol.md and proto/saga/v1/saga.proto ----

def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def read_varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return number, at


def fields(data):
    out, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, at = read_varint(data, at)
        if tag & 7 == 2:
            out[tag >> 3] = data[at:at + number]
            at += number
        else:
            out[tag >> 3] = number
    return out


class Caller:
    """One connection that says hello and calls branches."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.data = b""
        self.last_id = 0
        self.send(field(2, field(1, 1) + field(2, "test")))
        assert 2 in self.receive(), "no hello came back"

    def close(self):
        self.socket.close()

    def send(self, frame):
        self.socket.sendall(varint(len(frame)) + frame)

    def receive(self):
        while True:
            head = re.match(rb"[\x80-\xff]*[\x00-\x7f]", self.data)
            if head:
                length, at = read_varint(self.data, 0)
                if len(self.data) >= at + length:
                    frame, self.data = self.data[at:at + length], self.data[at + length:]
                    return fields(frame)
            more = self.socket.recv(65536)
            assert more, "the participant closed the connection"
            self.data += more

    def call(self, gid, operation, payload):
        """Returns (result, payload, message)."""
        self.last_id += 1
        call = (field(1, gid) + field(2, "01") + field(3, operation) + field(4, "saga")
                + field(5, "stock.Stock/Take") + field(6, payload) + field(7, 5000))
        self.send(field(1, self.last_id) + field(30, call))
        reply = self.receive()
        assert reply[1] == self.last_id
        body = fields(reply[31])
        return body.get(1, 0), body.get(2, b"").decode(), body.get(3, b"").decode()


SUCCESS, FAILURE = 1, 2


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="saga_install_"))
        cls.processes = []
        try:
            cls.prefix = cls.dir / "moved"
            run("cmake", "--install", ARGS.build, "--prefix", cls.dir / "prefix",
                "--component", "sdk")
            (cls.dir / "prefix").rename(cls.prefix)  # an installed tree may be moved
            cls.env = dict(os.environ, PKG_CONFIG_PATH=str(cls.libdir() / "pkgconfig"))
            cls.start_redis()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        for process in cls.processes:
            process.kill()
            process.communicate()
        shutil.rmtree(cls.dir, ignore_errors=True)

    @classmethod
    def libdir(cls):
        return next(cls.prefix.rglob("libsaga.a")).parent

    @classmethod
    def start_redis(cls):
        cls.redis = cls.dir / "redis.sock"
        cls.processes.append(subprocess.Popen(
            [ARGS.redis, "--port", "0", "--unixsocket", str(cls.redis), "--save", "",
             "--dir", str(cls.dir)], stdout=subprocess.DEVNULL))
        until = time.monotonic() + DEADLINE_S
        while True:
            try:
                cls.ask_redis("PING")
                return
            except OSError:
                assert time.monotonic() < until, "redis does not start"

    @classmethod
    def ask_redis(cls, *words):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(DEADLINE_S)
            link.connect(str(cls.redis))
            parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
            link.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            return link.recv(1000)

    def play(self, program):
        """A call, its repeat, a refusal and the undo."""
        self.ask_redis("FLUSHALL")
        self.ask_redis("SET", "{stock}:n", "5")
        process = subprocess.Popen([str(program), "127.0.0.1:0", f"unix:{self.redis}"],
                                   stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        port = int(re.fullmatch(r"listening on (\d+)\n", process.stdout.readline()).group(1))
        caller = Caller(port)
        self.assertEqual(caller.call("g", "action", "2"), (SUCCESS, "left 3", ""))
        self.assertEqual(caller.call("g", "action", "2"), (SUCCESS, "left 3", ""))
        self.assertEqual(caller.call("h", "action", "4"), (FAILURE, "", "stock is 3"))
        self.assertEqual(caller.call("g", "compensate", "2"), (SUCCESS, "", ""))
        self.assertEqual(caller.call("h", "compensate", "4"), (SUCCESS, "", ""))
        self.assertEqual(caller.call("h", "action", "4")[0], FAILURE)
        caller.close()
        process.terminate()
        self.assertEqual(process.wait(DEADLINE_S), 0)

    def check_initiator(self, program):
        """Without a coordinator it says so and does not hang."""
        done = subprocess.run([str(program), "127.0.0.1:1"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("not known yet: cannot connect", done.stderr)

    def check_workflow(self, program):
        """It is played on a coordinator by workflow_test.py; here it only starts and stops."""
        url = "tcp://127.0.0.1:1/stock.Stock/Take"
        process = subprocess.Popen([str(program), "127.0.0.1:0", "127.0.0.1:1", url, url, "g"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.processes.append(process)
        self.assertIn("cannot connect", process.stdout.readline())
        process.terminate()
        self.assertEqual(process.wait(DEADLINE_S), 0)

    def test_pkg_config(self):
        for name in ("participant", "initiator", "workflow"):
            flags = run("pkg-config", "--cflags", "--libs", "--static", "saga", env=self.env)
            run(ARGS.cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", self.dir / name,
                HERE / f"{name}.c", *flags.split(), *ARGS.flags.split())
        self.play(self.dir / "participant")
        self.check_initiator(self.dir / "initiator")
        self.check_workflow(self.dir / "workflow")

    def test_find_package(self):
        source, build = self.dir / "consumer", self.dir / "consumer-build"
        source.mkdir()
        shutil.copy(HERE / "consumer.cmake", source / "CMakeLists.txt")
        for name in ("participant.c", "initiator.c", "workflow.c"):
            shutil.copy(HERE / name, source)
        run("cmake", "-G", "Ninja", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}",
            f"-DCMAKE_C_COMPILER={ARGS.cc}", f"-DCMAKE_C_FLAGS={ARGS.flags}")
        run("cmake", "--build", build)
        self.play(build / "participant")
        self.check_initiator(build / "initiator")
        self.check_workflow(build / "workflow")

    def test_only_these_headers_are_installed(self):
        headers = sorted(path.name for path in self.prefix.rglob("*.h"))
        self.assertEqual(headers, ["saga.h", "saga_advert.h", "saga_initiator.h", "saga_msg.h",
                                   "saga_workflow.h"])

    def test_the_library_exports_what_the_headers_declare(self):
        header = "".join(path.read_text() for path in self.prefix.rglob("*.h"))
        code = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
        declared = set(re.findall(r"\b(saga_\w+)\(", code))
        symbols = run("nm", "--defined-only", "-g", self.libdir() / "libsaga.a")
        exported = set(re.findall(r" [A-Z] (\w+)$", symbols, flags=re.M))
        self.assertEqual(exported, declared)

    def test_the_headers_are_those_of_cplusplus_too(self):
        compiler = shutil.which("c++")
        if not compiler:
            self.skipTest("no C++ compiler here")
        for header in self.prefix.rglob("*.h"):
            run(compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c++", header)

    def test_the_guide_shows_these_programs(self):
        guide = (ROOT / "docs" / "sdk.md").read_text()
        for name in ("participant.c", "initiator.c", "workflow.c"):
            self.assertIn(f"```c\n{(HERE / name).read_text()}```\n", guide,
                          f"docs/sdk.md must show {name} as it is")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--flags", default="", help="further flags of the compiler")
    parser.add_argument("--redis", default=os.environ.get("REDIS_SERVER", "redis-server"))
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
