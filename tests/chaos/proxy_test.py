#!/usr/bin/env python3
"""The proxy does what its rules say, and never changes, doubles or reorders a byte."""
import os
import random
import socket
import tempfile
import threading
import time
import unittest

from harness.process import wait_for
from network import Network


class Echo:
    """Sends back what comes; remembers it by connection."""

    def __init__(self, path=None):
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen(50)
            self.address = f"unix:{path}"
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.heard = []
        self.ends = []  # of each connection: None while it lives, then "end" or "reset"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.heard.append(b"")
            self.ends.append(None)
            threading.Thread(target=self._serve, args=(connection, len(self.heard) - 1),
                             daemon=True).start()

    def _serve(self, connection, number):
        try:
            while data := connection.recv(65536):
                self.heard[number] += data
                connection.sendall(data)
            self.ends[number] = "end"
        except OSError:
            self.ends[number] = "reset"
        connection.close()

    def close(self):
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
            self.listener.close()


class ProxyTest(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.network = Network()
        self.address = self.network.link("a>b", self.echo.address)
        self.addCleanup(self.echo.close)
        self.addCleanup(self.network.close)

    def dial(self):
        host, _, port = self.address.rpartition(":")
        client = socket.create_connection((host, int(port)), 10)
        self.addCleanup(client.close)
        return client

    def rule(self, kind, **how):
        self.network.rule(["a>b"], kind, **how)

    def take(self, client, size):
        data = b""
        while len(data) < size:
            piece = client.recv(size - len(data))
            if not piece:
                raise ConnectionError("ended")
            data += piece
        return data

    def assert_silent(self, client):
        client.settimeout(0.15)
        with self.assertRaises(TimeoutError):
            client.recv(1)
        client.settimeout(10)

    def assert_reset(self, client):
        with self.assertRaises(ConnectionResetError):
            client.recv(1)

    def assert_nobody_there(self):
        with self.assertRaises(ConnectionResetError):
            self.dial().recv(1)  # either of the two

    def test_bytes_come_back_as_they_went_whatever_the_rules(self):
        chance = random.Random(7)
        sent = chance.randbytes(600_000)
        client = self.dial()
        got = bytearray()

        def read():
            while len(got) < len(sent):
                try:
                    got.extend(client.recv(65536))
                except TimeoutError:
                    continue  # the time-out is for send()

        reader = threading.Thread(target=read)
        reader.start()
        rules = [("open", {}), ("delay", {"ms": 30}), ("slow", {"bytes_per_s": 2_000_000}),
                 ("silent", {"up": True}), ("silent", {"up": True, "down": True}),
                 ("silent", {"down": True})]
        at = 0
        client.settimeout(0.02)
        while at < len(sent):
            kind, how = chance.choice(rules)
            self.rule(kind, **how)
            size = chance.randint(1, 60_000)
            for _ in range(50):
                if size <= 0:
                    break
                try:
                    count = client.send(sent[at:at + size])
                except TimeoutError:
                    break  # the link is silent, and all buffers are full
                at, size = at + count, size - count
        client.settimeout(10)
        self.rule("open")
        reader.join(20)
        self.assertEqual(sent, bytes(got))
        self.assertEqual(sent, self.echo.heard[0])

    def test_a_rule_may_concern_replicas_only(self):
        client, replica = self.dial(), self.dial()
        for sock, words in ((client, b"PING"), (replica, b"PING"), (replica, b"REPLCONF port")):
            sock.sendall(words)
            self.assertEqual(words, self.take(sock, len(words)))
        self.rule("silent", down=True, only="replicas")
        for sock in (client, replica):
            sock.sendall(b"more")
        self.assertEqual(b"more", self.take(client, 4))
        self.assert_silent(replica)
        self.rule("open")
        self.assertEqual(b"more", self.take(replica, 4))

    def test_unix_sockets_at_both_sides(self):
        with tempfile.TemporaryDirectory() as folder:
            echo = Echo(os.path.join(folder, "echo"))
            self.addCleanup(echo.close)
            path = os.path.join(folder, "link")
            self.network.link("c>d", echo.address, listen=f"unix:{path}")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(path)
                client.sendall(b"hello")
                self.assertEqual(b"hello", self.take(client, 5))

    def test_delay(self):
        client = self.dial()
        self.rule("delay", ms=100)
        begun = time.monotonic()
        client.sendall(b"x")
        self.take(client, 1)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)  # there and back

    def test_slow(self):
        client = self.dial()
        self.rule("slow", bytes_per_s=10_000)
        begun = time.monotonic()
        client.sendall(b"x" * 2000)
        self.take(client, 2000)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)

    def test_a_partition_keeps_what_was_sent_and_a_late_peer_hears_of_it(self):
        client = self.dial()
        client.sendall(b"1")
        self.take(client, 1)
        self.rule("silent", up=True, down=True)
        client.sendall(b"2")
        late = self.dial()
        late.sendall(b"3")
        self.assert_silent(client)
        self.assertEqual([b"1"], self.echo.heard)
        self.rule("open")
        self.assertEqual(b"2", self.take(client, 1))
        self.assertEqual(b"3", self.take(late, 1))

    def test_a_peer_that_goes_during_a_partition_is_noticed_when_it_is_over(self):
        client = self.dial()
        client.sendall(b"1")
        self.take(client, 1)
        self.rule("silent", up=True, down=True)
        client.sendall(b"2")
        client.close()
        witness = self.dial()
        self.assert_silent(witness)
        self.assertEqual([None], self.echo.ends)
        self.rule("open")
        wait_for(lambda: self.echo.ends[0], "the end comes through")
        self.assertEqual(b"12", self.echo.heard[0])

    def test_half_open_the_request_arrives_and_its_answer_does_not(self):
        client = self.dial()
        client.sendall(b"1")
        self.take(client, 1)
        self.rule("silent", down=True)
        client.sendall(b"2")
        wait_for(lambda: self.echo.heard[0] == b"12", "it goes up")
        self.assert_silent(client)
        self.rule("open")
        self.assertEqual(b"2", self.take(client, 1))

    def test_a_partition_can_end_with_a_reset(self):
        client = self.dial()
        client.sendall(b"1")
        self.take(client, 1)
        self.rule("silent", up=True, down=True)
        client.sendall(b"2")
        self.rule("open", reset=True)
        self.assert_reset(client)
        wait_for(lambda: self.echo.ends[0] == "reset", "the other side is told")
        self.assertEqual(b"1", self.echo.heard[0])

    def test_cut_resets_what_is_there_and_what_comes(self):
        client = self.dial()
        client.sendall(b"1")
        self.take(client, 1)
        self.rule("cut")
        self.assert_reset(client)
        wait_for(lambda: self.echo.ends[0] == "reset", "the other side is told")
        self.assert_nobody_there()
        self.rule("open")
        again = self.dial()
        again.sendall(b"2")
        self.assertEqual(b"2", self.take(again, 1))

    def test_nobody_listens_behind_it(self):
        self.echo.close()
        self.assert_nobody_there()

    def test_a_reader_that_does_not_read_stops_the_sender(self):
        client = self.dial()
        client.settimeout(0.2)
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 1 << 30:
                sent += client.send(b"x" * 65536)
        self.assertLess(sent, 64 << 20)


if __name__ == "__main__":
    unittest.main()
