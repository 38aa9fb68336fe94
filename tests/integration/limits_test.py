#!/usr/bin/env python3
"""Every limit of sagad, on real processes: what happens at it, and that it goes on afterwards."""
import http.client
import json
import select
import socket
import threading
import unittest

from harness import wire
from harness.case import StackCase
from harness.dtm import PATIENT
from harness.process import wait_for
from harness.web import Answer
from harness.wire import NEW_GID, WireClient, WireError


class LimitCase(StackCase):
    """sagad with the limits of the test, and a participant whose path /wait answers when the gate
    opens."""

    stack_options = {"services": (), "settings": {"sagad": PATIENT}}
    has_user = False
    limits = {}

    @classmethod
    def before_start(cls):
        cls.stack["sagad1"].settings |= cls.limits

    def setUp(self):
        self.web = self.participant()
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)
        self.web.rules["/wait"] = Answer(gate=self.gate)
        self.waiting = []

    def url(self, path="/wait"):
        return self.web.url + path

    def submit(self, gid=None, path="/wait", payload="{}", steps=1, **fields):
        """A saga, over HTTP; not waited for."""
        url = self.url(path)
        return self.sagad.dtm("submit", gid=gid or self.gid(), trans_type="saga",
                              steps=[{"action": url, "compensate": url}] * steps,
                              payloads=[payload] * steps, **fields)

    def submit_waiting(self, **fields):
        """One that is accepted and waits at its participant."""
        gid = self.gid()
        reply = self.submit(gid, **fields)
        self.assertEqual(200, reply.status, reply.text)
        self.waiting.append(gid)
        return gid

    def open_gate(self):
        self.gate.set()
        for gid in self.waiting:
            self.await_status(gid, "succeed")

    def assert_refused(self, status, says, reply):
        self.assertEqual(status, reply.status, reply.text)
        self.assertEqual("1", reply.headers["Retry-After"])
        self.assertIn(says, reply.text.decode())

    def assert_busy(self, says, ask):
        with self.assertRaises(WireError) as caught:
            ask()
        self.assertEqual("BUSY", caught.exception.code)
        self.assertEqual(1000, caught.exception.retry_after_ms)
        self.assertIn(says, caught.exception.text)

    def await_metrics(self, **want):
        def fits():
            metrics = self.sagad.metrics()
            return all(metrics.get(f"sagad_{name}") == value for name, value in want.items())
        wait_for(fits, f"{want}")


class LiveTest(LimitCase):
    limits = {"live_max": 2}

    def test_transactions_in_memory(self):
        client = self.wire("sagad1")
        for _ in range(2):
            self.submit_waiting()
        refused = self.gid()
        self.assert_refused(429, "too many transactions", self.submit(refused))
        self.assert_busy("too many transactions",
                         lambda: client.submit(refused, [(self.url(), self.url(), b"")]))
        self.assertIsNone(self.sagad.status(refused), "it was stored all the same")
        self.open_gate()
        self.await_metrics(live_transactions=0)
        self.assertEqual(200, self.submit(refused, wait_result=True).status)


class LiveMemoryTest(LimitCase):
    limits = {"live_memory_max": "1mb"}

    def test_bytes_of_transactions_in_memory(self):
        large = json.dumps("x" * 250000)
        self.submit_waiting(payload=large, steps=4)
        self.submit_waiting(payload=large, steps=1)  # there was room yet when it came
        self.assert_refused(429, "too many transactions", self.submit())
        self.open_gate()
        self.await_metrics(live_transactions=0)
        self.assertEqual(200, self.submit(wait_result=True).status)


class CallsTest(LimitCase):
    limits = {"http_calls_max": 2, "calls_waiting_max": 3}

    def test_calls_of_a_participant_over_http_in_flight_and_in_line(self):
        for _ in range(5):
            self.submit_waiting()
        self.await_metrics(branch_calls_in_flight=2, branch_calls_waiting=3)
        wait_for(lambda: self.web.count("/wait") == 2, "two are called")
        over = self.submit_waiting()  # accepted: it is tried again
        wait_for(lambda: self.sagad.metrics()[
            'sagad_branch_calls_total{op="action",result="ERROR"}'] >= 1, "its call is refused")
        other = self.participant()  # with a line of its own
        reply = self.sagad.dtm("submit", gid=self.gid(), trans_type="saga", wait_result=True,
                               steps=[{"action": other.url + "/do"}], payloads=["{}"])
        self.assertEqual(200, reply.status, reply.text)
        self.open_gate()
        history = json.dumps(self.sagad.query(over)["history"])
        self.assertIn("too many calls to", history)
        self.await_metrics(branch_calls_in_flight=0, branch_calls_waiting=0)


class TcpCallsTest(LimitCase):
    """A participant over TCP that takes calls and answers when it is told."""

    limits = {"tcp_calls_max": 2}

    def test_calls_of_a_participant_over_tcp_in_flight(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        url = "tcp://127.0.0.1:%d/a.B/C" % listener.getsockname()[1]
        client = self.wire("sagad1")
        gids = [self.gid() for _ in range(5)]
        for gid in gids:
            client.submit(gid, [(url, "", b"")])
        self.await_metrics(branch_calls_in_flight=2, branch_calls_waiting=3)
        connection, _ = listener.accept()
        self.addCleanup(connection.close)
        peer = WireClient.of(connection)
        self.addCleanup(peer.file.close)
        peer.send_frame(wire.encode((wire.HELLO, wire.encode((1, 1), (2, "p/1")))))
        peer.read_frame()  # the hello
        for _ in gids:
            call = peer.read_frame()
            self.assertLessEqual(self.sagad.metrics()["sagad_branch_calls_in_flight"], 2)
            peer.send_frame(wire.encode((1, call.int(1)), (31, wire.encode((1, 1)))))
        for gid in gids:
            self.await_status(gid, "succeed")


class AllCallsTest(LimitCase):
    limits = {"calls_max": 3}

    def test_calls_of_all_participants(self):
        second = self.participant()
        second.rules["/wait"] = self.web.rules["/wait"]
        for url in (self.web.url, second.url) * 3:
            gid = self.gid()
            self.sagad.dtm("submit", gid=gid, trans_type="saga",
                           steps=[{"action": url + "/wait"}], payloads=["{}"])
            self.waiting.append(gid)
        self.await_metrics(branch_calls_in_flight=3, branch_calls_waiting=3)
        self.open_gate()


class ConnectionsTest(LimitCase):
    limits = {"connections_max": 5, "connections_per_client": 3}

    def connect(self, port, source):
        """Returns when it is counted."""
        counted = self.refused_or_in()
        connection = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
        self.addCleanup(connection.close)
        wait_for(lambda: self.refused_or_in() > counted, "the connection is accepted")
        return connection

    def refused_or_in(self):
        """Asked over the API that is not under test."""
        text = self.ask_metrics()
        return (text["sagad_connections"] + text["sagad_connections_refused_total"])

    def ask_metrics(self):
        self.keeper.request("GET", "/api/metrics")
        text = self.keeper.getresponse().read().decode()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")}

    def setUp(self):
        super().setUp()
        wait_for(lambda: self.sagad.metrics()["sagad_connections"] == 1, "all have gone")
        self.keeper = http.client.HTTPConnection("127.0.0.1", self.sagad.http.number, timeout=10,
                                                 source_address=("127.0.0.9", 0))
        self.addCleanup(self.keeper.close)
        self.keeper.connect()

    def http_refusal(self, source):
        connection = self.connect(self.sagad.http.number, source)
        response = http.client.HTTPResponse(connection)
        response.begin()
        text = response.read()
        self.assertEqual(b"", connection.recv(1))
        return response, text

    def test_http_connections_of_one_client_and_of_all(self):
        first = [self.connect(self.sagad.http.number, "127.0.0.1") for _ in range(3)]
        response, text = self.http_refusal("127.0.0.1")
        self.assertEqual((429, "1"), (response.status, response.headers["Retry-After"]))
        self.assertIn("from this address", json.loads(text)["message"])
        for connection in first[1:]:
            connection.close()
        wait_for(lambda: self.ask_metrics()["sagad_connections"] == 2, "they have gone")
        for _ in range(3):  # of another client; with the keeper these are all
            self.connect(self.sagad.http.number, "127.0.0.2")
        response, text = self.http_refusal("127.0.0.3")
        self.assertEqual((503, "1"), (response.status, response.headers["Retry-After"]))
        self.assertIn("too many connections", json.loads(text)["message"])
        first[0].sendall(b"GET /api/ping HTTP/1.1\r\nHost: x\r\n\r\n")  # who is in is served
        self.assertIn(b"200 OK", first[0].recv(4096))

    def test_tcp_connections_of_one_client_and_of_all(self):
        port = self.sagad.rpc.number
        first = [self.connect(port, "127.0.0.1") for _ in range(3)]
        with WireClient(("127.0.0.1", port)) as client:
            self.assert_busy("from this address", client.new_gid)
        first[0].close()
        wait_for(lambda: self.ask_metrics()["sagad_connections"] == 3, "it has gone")
        with WireClient(("127.0.0.1", port)) as client:
            self.assertTrue(client.new_gid())
            for _ in range(2):
                self.connect(port, "127.0.0.2")
            refused = self.connect(port, "127.0.0.3")
            peer = WireClient.of(refused)
            self.assert_busy("too many connections", lambda: peer.receive(1))
            peer.file.close()
            self.assertTrue(client.new_gid())


class RequestsTest(LimitCase):
    limits = {"tcp_requests_max": 2}

    def test_requests_of_one_connection(self):
        client = self.wire("sagad1")
        body = wire.submit_body
        gids = [self.gid(), self.gid()]
        sent = [client.send(wire.SUBMIT, body(gid, [(self.url(), "", b"")], wait=True,
                                              wait_timeout_ms=30000)) for gid in gids]
        third = client.send(NEW_GID, b"")
        wait_for(lambda: self.web.count("/wait") == 2, "both are called")
        with self.sagad.wire() as other:
            self.assertTrue(other.new_gid())  # other connections are read
        client.socket.settimeout(0.2)
        with self.assertRaises(OSError):
            client.receive(third)
        client.socket.settimeout(30)
        client.file.close()
        client.file = client.socket.makefile("rb")
        self.gate.set()
        for request in sent:
            self.assertEqual("succeed", client.receive(request).status)
        self.assertTrue(client.receive(third))


class StoreQueueTest(LimitCase):
    limits = {"store_queue_max": 100, "store_timeout": "20s"}

    def test_commands_that_wait_for_redis(self):
        client = self.wire("sagad1")
        self.redis.process.freeze()
        self.addCleanup(self.redis.process.thaw)
        gids = [self.gid() for _ in range(200)]
        sent = {client.send(wire.SUBMIT, wire.submit_body(gid, [(self.url(), "", b"")])): gid
                for gid in gids}
        again = []

        def receive(request):
            try:
                client.receive(request)
            except WireError as error:
                self.assertEqual(("UNAVAILABLE", 1000), (error.code, error.retry_after_ms))
                self.assertIn("too many commands for Redis", error.text)
                again.append(sent[request])

        for request in sorted(sent)[100:]:  # there is no room for these, Redis or not
            receive(request)
        self.assertEqual(100, len(again))
        self.assert_refused(503, "ask again with the same gid", self.submit())
        self.redis.process.thaw()
        for request in sorted(sent)[:100]:
            receive(request)
        self.assertLess(len(again), 150)
        self.gate.set()
        wait_for(lambda: self.submit().status == 200, "there is room again")
        for gid in again:
            client.submit(gid, [(self.url(), "", b"")])
        for gid in gids:
            self.await_status(gid, "succeed")


class ClientsMemoryTest(LimitCase):
    limits = {"clients_memory_max": "1mb", "http_timeout": "20s"}

    def test_bytes_of_requests(self):
        head = b"POST /api/dtmsvr/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
        hogs = []
        for _ in range(3):  # 2.4 MB that will not be complete
            hog = socket.create_connection(("127.0.0.1", self.sagad.http.number), 10)
            self.addCleanup(hog.close)
            try:
                hog.sendall(head + b"x" * 800000)
            except OSError:
                pass  # refused while it was sending
            hogs.append(hog)
        for _ in range(2):  # there is room for one of them
            readable, _, _ = select.select(hogs, [], [], 10)
            self.assertIn(b"HTTP/1.1 503 ", readable[0].recv(4096))
            hogs.remove(readable[0])
        counted = self.sagad.metrics()
        self.assertEqual(2, counted.get(
            'sagad_http_requests_total{path="other",status="503"}'))
        self.assertEqual(200, self.submit(path="/do", wait_result=True).status)  # small ones go
        client = self.wire("sagad1")
        self.assertTrue(client.new_gid())
        large = [(self.url("/do"), "", b"x" * 250000)] * 4
        self.assert_busy("too much memory", lambda: client.submit(self.gid(), large))
        hogs[0].close()
        wait_for(lambda: self.submit(path="/do", payload=json.dumps("x" * 250000), steps=3,
                                     wait_result=True).status == 200, "there is room again")


if __name__ == "__main__":
    unittest.main()
