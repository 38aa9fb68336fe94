#!/usr/bin/env python3
"""Three masters and three replicas: everything runs spread over them, and goes on when a master dies
and while slots move."""
import unittest

from cluster_test import FlowsOnCluster
from harness.case import StackCase
from harness.load import LoadCase
from harness.process import wait_for
from harness.rediscluster import RedisCluster, key_slot
from outbox_test import OutboxCase


class FlowsTest(FlowsOnCluster, StackCase):
    """The flows of the mall, with 64 shards, each program under its own user."""

    shards = 64
    stack_options = {"redis": RedisCluster, "acl": True, "settings": {"all": {"shards": 64}}}

    def test_the_users_may_what_clients_of_sentinels_and_clusters_ask(self):
        node = self.redis.nodes[0]
        for user in ("sagad", "order", "product", "user", "score"):
            for words in (("ROLE",), ("CLUSTER", "SLOTS"), ("ASKING",), ("WAIT", "1", "1")):
                self.assertEqual("OK", node.ask("ACL", "DRYRUN", user, *words), (user, words))
            self.assertIn("no permissions",
                          node.ask("ACL", "DRYRUN", user, "CLUSTER", "FORGET", "x"))

    def test_the_look_at_redis_finds_the_one_master_that_is_set_up_wrong(self):
        victim = self.redis.masters()[1]
        victim.ask("CONFIG", "SET", "appendonly", "no")
        try:
            self.sagad.kill()
            self.sagad.launch()
            self.assertEqual(5, self.sagad.process.popen.wait(30))
            self.assertRegex(self.sagad.process.log(),
                             f"{victim.port.address}: durability = everysec needs an append-only")
            self.assertEqual(1, self.sagad.process.log().count("needs an append-only"))
        finally:
            victim.ask("CONFIG", "SET", "appendonly", "yes")
        wait_for(lambda: "aof_rewrite_in_progress:0" in victim.ask("INFO", "persistence"), "it saves")
        self.sagad.start()

    def nodes(self):
        return self.redis.nodes


class MovingSlotTest(StackCase):
    stack_options = {"redis": RedisCluster}

    def test_a_list_is_in_order_while_its_slot_moves(self):
        """What has moved already is answered later."""
        pid = self.make_product(5)
        made = [self.post("order", "create", pid=pid).body["id"] for _ in range(5)]
        keys = [f"{{ord:0}}:o:{order_id}" for order_id in made]
        with self.redis.moving_slot(key_slot(keys[0]), 100, first=keys[2:4]):
            listed = self.post("order", "list")
            self.assertEqual(made[::-1], [order["id"] for order in listed.body], listed.text)


class ClusterLoadCase(LoadCase):
    stack_options = {"redis": RedisCluster, "fsync": "everysec", "coordinators": 2, "settings": {
        **LoadCase.stack_options["settings"], "all": {"shards": 16}}}


class LoadTest(ClusterLoadCase):
    def test_the_partitions_are_spread(self):
        self.load.await_more(400)
        self.settle()
        counts = [len(node.client.keys("saga:*:tx:*")) for node in self.redis.masters()]
        self.assertEqual(3, len(counts))
        self.assertGreater(min(counts), sum(counts) / 8)
        for sagad in self.coordinators():
            self.assertEqual(1, sagad.metrics()["sagad_redis_connections"])

    def test_kill_9_of_one_master_after_the_other(self):
        for i in range(3):
            victim = self.redis.masters()[i]
            self.redis.kill(victim)
            self.load.await_more(100)
            self.redis.revive(victim)
        self.settle()

    def test_a_master_that_hangs_is_left(self):
        victim = self.redis.masters()[0]
        replica = self.redis.replica_of(victim)
        victim.bring_in_step()
        victim.process.freeze()
        try:
            wait_for(lambda: replica.connect() and replica.ask("ROLE")[0] == "master",
                     "the replica is promoted")
            self.load.await_more(100)
        finally:
            victim.process.thaw()
        wait_for(self.redis.is_whole, "it follows")
        victim.ask("CLIENT", "UNPAUSE")
        self.settle()

    def test_a_planned_failover(self):
        for master in self.redis.masters():
            replica = self.redis.replica_of(master)
            replica.ask("CLUSTER", "FAILOVER")
            wait_for(lambda r=replica: r.ask("ROLE")[0] == "master", "the roles are changed")
            self.load.await_more(50)
        wait_for(self.redis.is_whole, "the cluster is complete")
        self.settle()

    def test_slots_move(self):
        """There and back: the lower ones, with several partitions and shards in them."""
        source, target = self.redis.masters()[:2]
        self.redis.reshard(source, target, 300)
        self.load.await_more(50)
        self.redis.reshard(target, source, 300)
        self.settle()
        self.assertFalse({e for e in self.load.errors if "MOVED" in e or "ASK" in e})


class ClusterOutboxTest(OutboxCase):
    """The streams of a place are read from all masters."""

    STREAMS = [f"{{t:{i}}}:outbox" for i in range(16)]
    stack_options = {**OutboxCase.stack_options, "redis": RedisCluster, "fsync": "everysec",
                     "settings": {"sagad": {**OutboxCase.stack_options["settings"]["sagad"],
                                            "outbox.t": "{t:0..15}:outbox"}}}

    def add_all(self, count):
        gids = [self.gid() for _ in range(count)]
        for i, gid in enumerate(gids):
            self.add(gid, self.STREAMS[i % len(self.STREAMS)])
        return gids

    def test_a_master_dies(self):
        before = self.add_all(100)
        self.await_delivered(*before)
        victim = self.redis.masters()[0]
        self.redis.kill(victim)
        after = self.add_all(100)
        self.await_delivered(*after)
        wait_for(lambda: not any(self.redis.ask("XLEN", s) for s in self.STREAMS), "all are settled")
        self.assertEqual(set(before + after), set(self.delivered()))


if __name__ == "__main__":
    unittest.main()
