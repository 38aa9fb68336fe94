"""A Redis Cluster of three masters with a replica each."""
import binascii
import contextlib
import os
import re
import subprocess

from harness.process import DEADLINE, wait_for
from harness.redis import SYNC_AT_ONCE, RedisError, RedisServer

MASTERS = 3
SLOTS = 16384


def key_slot(key):
    """Of a key with a hash tag."""
    return binascii.crc_hqx(key[key.index("{") + 1:key.index("}")].encode(), 0) % SLOTS


class ClusterClient:
    """As RedisClient, on all masters."""

    def __init__(self, cluster):
        self.cluster = cluster

    def ask(self, *words):
        """The command of one key; a node that does not have it says who does."""
        node = self.cluster.masters()[0]
        for _ in range(5):
            try:
                return node.ask(*words)
            except RedisError as error:
                moved = re.fullmatch(r"MOVED \d+ .*:(\d+)", str(error))
                if not moved:
                    raise
                node = self.cluster.by_port(int(moved.group(1)))
        raise RedisError("moved too often")

    def hash(self, key):
        flat = self.ask("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2]))

    def keys(self, pattern):
        return sorted({key for node in self.cluster.masters() for key in node.client.keys(pattern)},
                      key=str)

    def hashes(self, pattern):
        found = {}
        for node in self.cluster.masters():
            found |= node.client.hashes(pattern)
        return found


class RedisCluster:
    """nodes[0…2] begin as masters of a third of the slots each, nodes[i + 3] replicates nodes[i]."""

    TIMEOUT_MS = 1500  # of a node, until others take it for dead

    def __init__(self, folder, fsync="everysec", acl_file=None, password=None):
        extra = ["--cluster-node-timeout", str(self.TIMEOUT_MS),
                 "--cluster-require-full-coverage", "yes", *SYNC_AT_ONCE]
        if password:  # replicas log in to their masters
            extra += ["--masterauth", password]
        self.nodes = [RedisServer(os.path.join(folder, f"node{i}"), fsync, cluster=True,
                                  acl_file=acl_file, password=password, slots=False, extra=extra)
                      for i in range(2 * MASTERS)]
        self.client = ClusterClient(self)

    @property
    def address(self):
        """A replica and a master as seeds."""
        return "cluster://" + ",".join(f"127.0.0.1:{self.nodes[n].announced[0]}" for n in (3, 0))

    @property
    def processes(self):
        return [node.process for node in self.nodes]

    def ask(self, *words):
        return self.client.ask(*words)

    def start(self):
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for node in self.nodes[1:]:
            first.ask("CLUSTER", "MEET", "127.0.0.1", *node.announced)
        for i, node in enumerate(self.nodes[:MASTERS]):
            node.ask("CLUSTER", "ADDSLOTSRANGE", SLOTS * i // MASTERS,
                     SLOTS * (i + 1) // MASTERS - 1)
        wait_for(lambda: all(self.knows_all(node) for node in self.nodes),
                 "the nodes know each other")
        for i, node in enumerate(self.nodes[MASTERS:]):
            node.ask("CLUSTER", "REPLICATE", self.nodes[i].ask("CLUSTER", "MYID"))
        wait_for(self.is_whole, "the cluster is complete")

    def knows_all(self, node):
        text = node.ask("CLUSTER", "NODES")
        return len(text.splitlines()) == len(self.nodes) and "handshake" not in text

    def is_whole(self):
        """Every node is up, sees a good cluster with a replica for each master."""
        try:
            return self._looks_whole()
        except RedisError:  # -LOADING: a replica takes over what its master sent
            return False

    def _looks_whole(self):
        for node in self.nodes:
            if not (node.process.is_up() and node.connect()):
                return False
            lines = [line.split() for line in node.ask("CLUSTER", "NODES").splitlines()]
            if ("cluster_state:ok" not in node.ask("CLUSTER", "INFO")
                    or len({line[3] for line in lines if "slave" in line[2]}) != MASTERS
                    or any("fail" in line[2] for line in lines)):
                return False
            role = node.ask("ROLE")
            if role[0] == "slave" and role[3] != "connected":
                return False
        return True

    def masters(self):
        """Those that are up and have slots, as one of them sees it."""
        up = [node for node in self.nodes if node.process.is_up() and node.connect()]
        for node in up:
            if node.ask("ROLE")[0] == "master":
                ports = {int(row[2][1]) for row in node.ask("CLUSTER", "SLOTS")}
                return [n for n in up if n.announced[0] in ports]
        return []

    def by_port(self, port):
        return next(node for node in self.nodes if node.announced[0] == port)

    def replica_of(self, master):
        own = master.ask("CLUSTER", "MYID")
        for node in self.nodes:
            if node is not master and node.process.is_up():
                mine = next(line.split() for line in node.ask("CLUSTER", "NODES").splitlines()
                            if "myself" in line)
                if mine[3] == own:
                    return node
        raise AssertionError("it has no replica")

    def kill(self, master):
        """kill -9 when its replica is in step; returns when that has taken over and the others
        agree."""
        replica = self.replica_of(master)
        master.bring_in_step()
        master.kill()
        wait_for(lambda: replica.connect() and replica.ask("ROLE")[0] == "master",
                 "the replica is promoted")
        wait_for(lambda: all("cluster_state:ok" in node.ask("CLUSTER", "INFO")
                             for node in self.nodes if node.process.is_up() and node.connect()),
                 "the cluster serves again")

    def revive(self, node):
        node.start()
        wait_for(self.is_whole, "the cluster is complete again")

    def reshard(self, source, target, slots):
        """Moves so many slots, the lowest ones first, with all that is in them."""
        done = subprocess.run(
            ["redis-cli", "--cluster", "reshard", source.port.address, "--cluster-from",
             source.ask("CLUSTER", "MYID"), "--cluster-to", target.ask("CLUSTER", "MYID"),
             "--cluster-slots", str(slots), "--cluster-yes"], check=False, capture_output=True,
            text=True, timeout=4 * DEADLINE)
        if done.returncode != 0:
            raise AssertionError(done.stdout[-2000:] + done.stderr)

    def owner_of(self, slot):
        """The master that has it, as one of them sees it."""
        rows = self.masters()[0].ask("CLUSTER", "SLOTS")
        return self.by_port(next(row[2][1] for row in rows if row[0] <= slot <= row[1]))

    def move_slot(self, slot, keys_at_once):
        """To the next master, with all that is in it; returns when the replicas of both know it. No
        node may fail meanwhile: then Redis needs the hand of an operator."""
        with self.moving_slot(slot, keys_at_once):
            pass

    @contextlib.contextmanager
    def moving_slot(self, slot, keys_at_once, first=()):
        """As move_slot, but after the keys `first` the rest moves when the block ends."""
        masters = sorted(self.masters(), key=lambda node: node.announced)
        source = self.owner_of(slot)
        target = masters[(masters.index(source) + 1) % len(masters)]
        ids = {node: node.ask("CLUSTER", "MYID") for node in (source, target)}

        def migrate(keys):
            source.ask("MIGRATE", "127.0.0.1", target.announced[0], "", 0, 10_000, "KEYS", *keys)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        if first:
            migrate(first)
        yield
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, keys_at_once):
            migrate(keys)
        target.await_replica()
        target.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        source.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    def end(self):
        wrong = [text for node in self.nodes if (text := node.end())]
        return "; ".join(wrong) or None
