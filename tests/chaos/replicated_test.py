#!/usr/bin/env python3
"""Which of several servers of Redis a fault may hit."""
import tempfile
import unittest

from harness.process import wait_for
from replicated import Cluster, Sentinel


class ReplicatedTest(unittest.TestCase):
    def world(self, mode):
        folder = tempfile.TemporaryDirectory(prefix="sagad-replicated-")
        self.addCleanup(folder.cleanup)
        world = mode(folder.name, 1)
        self.addCleanup(world.end)
        world.redis.start()
        wait_for(world.is_whole, "Redis is whole", 60, 0.1)
        return world

    def test_only_a_replica_is_killed_and_comes_back_at_once(self):
        for mode in (Sentinel, Cluster):
            with self.subTest(mode=mode.__name__):
                world = self.world(mode)
                for name in world.stores:
                    fallen = world.stores[world.may_fall(name)]
                    master = world.stores[world.master_of(name)]
                    self.assertEqual("slave", fallen.ask("ROLE")[0])
                    self.assertEqual("master", master.ask("ROLE")[0])
                    self.assertEqual(world.master_of(name),
                                     world.master_of(world.may_fall(name)))


if __name__ == "__main__":
    unittest.main()
