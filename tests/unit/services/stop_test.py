"""A service that is told to stop, once or twice, with work under way ends cleanly: exit 0, every client gets
an answer or the end of its connection, and nothing freed is touched (seen when built with asan).

Usage: stop_test.py USERD PRODUCTD"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import unittest

SECRET = "the secret of this test, long enough"


class SilentRedis:
    """Takes connections, and answers nothing but how many shards there are."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(20)
        self.address = "127.0.0.1:%d" % self.server.getsockname()[1]
        self.connection = None

    def wait_command(self, word):
        """Until a command that holds `word` came: then the request hangs in Redis."""
        if not self.connection:
            self.connection = self.server.accept()[0]
            self.connection.settimeout(20)
        got = b""
        while word not in got:
            part = self.connection.recv(65536)
            assert part, got
            got += part

    def tell_shards(self):
        self.wait_command(b":meta}\r\n$1\r\n1\r\n")
        self.connection.sendall(b"*2\r\n$2\r\nOK\r\n$1\r\n1\r\n")

    def close(self):
        self.server.close()
        if self.connection:
            self.connection.close()


class Service:
    def __init__(self, program, redis, timeout="600s"):
        name = os.path.basename(program).upper()
        environment = dict(os.environ, **{
            name + "_LISTEN_HTTP": "127.0.0.1:0", name + "_LISTEN_RPC": "127.0.0.1:0",
            name + "_REDIS": redis, name + "_TIMEOUT": timeout, name + "_JWT_SECRET": SECRET})
        self.process = subprocess.Popen([program], env=environment, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.port = None

    def wait_ready(self):
        self.port = int(self.wait_line(r"msg=\"?ready\"? .*http=(\d+)").group(1))

    def wait_line(self, pattern):
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError("".join(self.lines))

    def post(self, path, body):
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        text = json.dumps(body).encode()
        client.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                       % (path.encode(), len(text), text))
        return client

    def stop(self, twice=True):
        """Both signals; the second once the first has shown. Or the first alone."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_line(r"msg=\"?stopping")
        if twice:
            self.process.send_signal(signal.SIGTERM)
        rest = self.process.communicate(timeout=30)[1]
        return self.process.returncode, "".join(self.lines) + rest

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def read_all(client):
    got = b""
    with client:
        try:
            while part := client.recv(65536):
                got += part
        except ConnectionResetError:
            pass
    return got


class Stop(unittest.TestCase):
    def launch(self, program, **options):
        self.redis = SilentRedis()
        self.addCleanup(self.redis.close)
        service = Service(program, self.redis.address, **options)
        self.addCleanup(service.kill)
        return service

    def start(self, program):
        service = self.launch(program)
        if program != PRODUCTD:  # it has no shards
            self.redis.tell_shards()
        service.wait_ready()
        return service

    def ends_cleanly(self, service, **how):
        code, errors = service.stop(**how)
        self.assertEqual(code, 0, errors)
        self.assertNotIn("Sanitizer", errors)

    def test_idle(self):
        self.ends_cleanly(self.start(PRODUCTD))

    def test_while_it_waits_for_redis(self):
        service = self.launch(USERD)
        self.redis.wait_command(b"{usr:meta}")
        self.ends_cleanly(service)
        service = self.launch(USERD, timeout="50ms")
        service.wait_line("waiting for Redis")
        self.ends_cleanly(service)

    def test_requests_that_wait_for_redis_are_answered(self):
        service = self.start(USERD)
        clients = [service.post("/api/user/login", {"mobile": "123%d" % i, "password": "secret"})
                   for i in range(3)]
        self.redis.wait_command(b"GET")
        self.ends_cleanly(service)
        for client in clients:
            self.assertRegex(read_all(client), rb"^$|^HTTP/1.1 503 ")

    def test_a_request_that_takes_longer_than_the_stop_is_answered(self):
        service = self.start(USERD)
        client = service.post("/api/user/login", {"mobile": "1234", "password": "secret"})
        self.redis.wait_command(b"GET")
        self.ends_cleanly(service, twice=False)
        self.assertRegex(read_all(client), rb"^HTTP/1.1 503 ")

    def test_passwords_that_are_being_hashed_are_given_up(self):
        service = self.start(USERD)
        clients = [service.post("/api/user/register",
                                {"name": "n", "mobile": "123%d" % i, "password": "secret"})
                   for i in range(8)]
        self.ends_cleanly(service)
        for client in clients:
            self.assertRegex(read_all(client), rb"^$|^HTTP/1.1 503 ")


if __name__ == "__main__":
    USERD, PRODUCTD = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
