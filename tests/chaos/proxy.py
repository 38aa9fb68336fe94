#!/usr/bin/env python3
"""The bad network: forwards bytes between programs, link by link, as well as it is told to.

A process of its own, so that the load's Python does not slow it down. Commands are lines of JSON on
stdin, each is answered with one line on stdout; it ends with its stdin.

    {"do": "link", "name": "sagad1>redis", "listen": "127.0.0.1:4000", "target": "unix:/run/redis.sock"}
    {"do": "rule", "names": ["sagad1>redis"], "rule": {"kind": "delay", "ms": 50}}

Rules of a link (what each connects to is "up", what comes back is "down"):

    open                     as fast as it can
    delay   ms               each byte is late by so much
    slow    bytes_per_s      and comes in small pieces
    silent  up, down         in these directions nothing comes through, and nobody is told; both:
                             a partition; one: half-open. What was sent meanwhile comes through when
                             the rule ends, unless the next rule says "reset": true
    cut                      connections are reset, new ones too

With "only": "replicas" a rule concerns those connections by which a replica of Redis follows its
master, and no other.

Whatever the rule, bytes come in the order they were sent, once, unchanged; a connection may end at
any byte."""
import asyncio
import collections
import json
import os
import socket
import struct
import sys

BACKLOG_BYTES = 256 * 1024  # of one direction, before its sender has to wait
PIECES_PER_S = 50  # of a slow link
OPEN = {"kind": "open"}
HANDSHAKE = 6  # so early a replica says what it is
UP, DOWN = "up", "down"


def reset(transport):
    """Ends it with an RST where there is such a thing."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_INET and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class End(asyncio.Protocol):
    """One socket of a connection. What arrives at it goes `way`, to the other end."""

    def __init__(self, connection, way):
        self.connection, self.link, self.way = connection, connection.link, way
        self.transport = self.other = None
        self.waiting = collections.deque()  # (due, bytes)
        self.waiting_bytes = 0
        self.timer = None
        self.ended = False  # nothing more will arrive here
        self.is_full = False  # its own peer does not read

    def connection_made(self, transport):
        self.transport = transport
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.made(self)

    def data_received(self, data):
        if self.other.ended:
            return  # nobody is there any more
        if self.way == UP and self.connection.unknown > 0:
            self.connection.look(data)
        if self.other.transport and not self.waiting and self.connection.rule["kind"] == "open" \
                and not self.other.is_full:
            self.link.bytes += len(data)
            self.other.transport.write(data)
            return
        self.waiting.extend(self.link.pieces(data, self.waiting, self.connection.rule))
        self.waiting_bytes += len(data)
        self.pump()

    def pump(self):
        """Passes on what is due, as far as the rule allows."""
        now = self.link.loop.time()
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if self.other.ended:
            self.waiting.clear()
        is_silent = self.connection.is_silent(self.way)
        blocked = self.other.transport is None or is_silent or self.other.is_full
        while self.waiting and not blocked and self.waiting[0][0] <= now:
            _, data = self.waiting.popleft()
            self.waiting_bytes -= len(data)
            self.link.bytes += len(data)
            self.other.transport.write(data)
            blocked = self.other.is_full
        if self.waiting and not blocked:
            self.timer = self.link.loop.call_at(self.waiting[0][0], self.pump)
        if self.ended:
            if not self.waiting and not is_silent:
                self.other.close()
        elif self.other.transport is None or is_silent or self.other.is_full \
                or self.waiting_bytes > BACKLOG_BYTES:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def hurry(self):
        """What waits is due now: the rule has changed."""
        self.waiting = collections.deque((0, data) for _, data in self.waiting)
        if self.transport:
            self.pump()

    def pause_writing(self):
        self.is_full = True
        if self.other.transport:
            self.other.pump()

    def resume_writing(self):
        self.is_full = False
        if self.other.transport:
            self.other.pump()

    def connection_lost(self, _):
        self.ended = True
        self.pump()

    def close(self):
        if self.transport:
            self.transport.close()
        self.connection.forget()


class Connection:
    """Two ends. The upper one is connected as soon as bytes may go up."""

    def __init__(self, link):
        self.link = link
        self.is_replica, self.unknown = False, HANDSHAKE
        self.client, self.server = End(self, UP), End(self, DOWN)
        self.client.other, self.server.other = self.server, self.client
        self.connecting = None

    def look(self, data):
        """At what a client says first."""
        self.unknown -= 1
        if b"replconf" in data.lower():
            self.is_replica, self.unknown = True, 0

    @property
    def rule(self):
        rule = self.link.rule
        return OPEN if rule.get("only") == "replicas" and not self.is_replica else rule

    def is_silent(self, way):
        return self.rule["kind"] == "silent" and self.rule.get(way, False)

    def made(self, end):
        """What follows waits for the next turn: Python 3.11.2 begins to read after this, also
        when reading was paused in it."""
        if end is self.client:
            self.link.connections.add(self)
            self.link.loop.call_soon(self.begin)
        else:
            self.link.loop.call_soon(self.hurry)

    def begin(self):
        self.client.pump()
        self.advance()

    def advance(self):
        """The link's rule may have changed."""
        if self.rule["kind"] == "cut":
            self.reset()
        elif self.server.transport is None:
            if self.connecting is None and not self.is_silent(UP):
                self.connecting = self.link.loop.create_task(self.connect())
        else:
            self.hurry()

    async def connect(self):
        try:
            await self.link.dial(lambda: self.server)
        except OSError:
            self.reset()

    def hurry(self):
        self.client.hurry()
        self.server.hurry()

    def reset(self):
        if self.connecting:
            self.connecting.cancel()
        for end in (self.client, self.server):
            end.waiting.clear()
            if end.transport:
                reset(end.transport)
        self.forget()

    def forget(self):
        self.link.connections.discard(self)


class Link:
    def __init__(self, loop, target):
        self.loop, self.target = loop, target
        self.rule = OPEN
        self.connections = set()
        self.bytes = 0

    async def listen(self, address):
        make = lambda: Connection(self).client
        if address.startswith("unix:"):
            await self.loop.create_unix_server(make, address[5:])
        else:
            host, _, port = address.rpartition(":")
            await self.loop.create_server(make, host, int(port), backlog=1024)

    async def dial(self, make):
        if self.target.startswith("unix:"):
            await self.loop.create_unix_connection(make, self.target[5:])
        else:
            host, _, port = self.target.rpartition(":")
            await self.loop.create_connection(make, host, int(port))

    def pieces(self, data, waiting, rule):
        """[(due, bytes)] of what has just arrived behind what waits."""
        now = self.loop.time()
        if rule["kind"] == "delay":
            return [(now + rule["ms"] / 1000, data)]
        if rule["kind"] == "slow":
            size = max(1, rule["bytes_per_s"] // PIECES_PER_S)
            due, found = max(now, waiting[-1][0] if waiting else 0), []
            for at in range(0, len(data), size):
                due += 1 / PIECES_PER_S
                found.append((due, data[at:at + size]))
            return found
        return [(now, data)]

    def set_rule(self, rule):
        self.rule = rule
        for connection in list(self.connections):
            if rule.get("reset"):
                connection.reset()
            else:
                connection.advance()


class Proxy:
    def __init__(self, loop):
        self.loop = loop
        self.links = {}

    async def obey(self, command):
        if command["do"] == "link":
            link = Link(self.loop, command["target"])
            await link.listen(command["listen"])
            self.links[command["name"]] = link
            return {}
        if command["do"] == "rule":
            for name in command["names"]:
                self.links[name].set_rule(command["rule"])
            return {}
        return {"bytes": sum(link.bytes for link in self.links.values()),
                "cpu_s": sum(os.times()[:2])}

    async def serve(self):
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            try:
                answer = await self.obey(json.loads(line))
            except (OSError, KeyError, ValueError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


async def main():
    await Proxy(asyncio.get_running_loop()).serve()


if __name__ == "__main__":
    asyncio.run(main())
