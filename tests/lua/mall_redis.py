"""The mall's scripts as the services run them: libsaga puts lua/barrier/gate.lua and one line end in
front of each gated body, and lua/barrier/outbox.lua in front of one that leaves messages
(sdk/src/script.c)."""
import functools
import os

from coordinator_redis import ROOT, RedisError, Server

FOLDERS = ("mall", "order", "product", "user", "score")
TTL_MS = 1000000


@functools.cache
def body(name):
    folder = name.split("_")[0].replace("id", "mall")  # id_block, id_reserve serve several services
    with open(os.path.join(ROOT, "lua", folder, name + ".lua"), encoding="utf-8") as file:
        return file.read()


def names():
    return sorted(f[:-4] for folder in FOLDERS for f in os.listdir(os.path.join(ROOT, "lua", folder)))


def is_gated(name):
    return "return barrier(function(" in body(name)


def barrier_text(name):
    with open(os.path.join(ROOT, "lua", "barrier", name), encoding="utf-8") as file:
        return file.read() + "\n"


GATE, OUTBOX = barrier_text("gate.lua"), barrier_text("outbox.lua")


@functools.cache
def text(name):
    gate = GATE if is_gated(name) else ""
    outbox = OUTBOX if "outbox(" in body(name) else ""
    return gate + outbox + body(name)


class Mall:
    """A Redis, and the calls that the services make of it."""

    def __init__(self):
        self.server = Server()
        self.redis = self.server.client

    def stop(self):
        self.redis.close()
        self.server.stop()

    def plain(self, name, keys, args):
        """{"OK", text} or {"FAIL", text} as a pair."""
        return decode(self.redis("EVAL", text(name), len(keys), *keys, *args))

    def gated(self, name, op, tag, gid, branch, keys, args, started_ms=0):
        """A branch call: of a saga (action, compensate) or a TCC. The verdict and its text."""
        record = "%s:br:%s:%s" % (tag, gid, branch)
        trans_type = "saga" if op in ("action", "compensate") else "tcc"
        return decode(self.redis("EVAL", text(name), len(keys) + 1, record, *keys, trans_type, gid,
                                 branch, op, "01", TTL_MS, started_ms, *args))

    def hash(self, key):
        flat = self.redis("HGETALL", key)
        return {n.decode(): v.decode() for n, v in zip(flat[::2], flat[1::2])}

    def dump(self):
        """All of Redis, to see that nothing has changed."""
        return sorted((key, self.redis("DUMP", key)) for key in self.redis("KEYS", "*"))

    def rows(self, tag, gid, branch):
        """The barrier rows of a branch: {op: reason}."""
        record = self.hash("%s:br:%s:%s" % (tag, gid, branch))
        return {field[:-3]: value.split("|")[0] for field, value in record.items()
                if field.count(":") == 1 and field.endswith(":01")}


def decode(reply):
    return tuple(part.decode() for part in reply)


__all__ = ["Mall", "RedisError", "body", "is_gated", "names", "text"]
