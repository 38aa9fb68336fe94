#!/usr/bin/env python3
"""A Redis that fails over: sagad and libsaga follow the master that the sentinels name."""
import shutil
import sys
import tempfile
import unittest

from harness.load import LoadCase
from harness.process import wait_for
from harness.sentinel import SentinelGroup


class SentinelCase(LoadCase):
    """sagad on a group with sentinels; the services have a Redis that stays."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="sagad-test-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.group = SentinelGroup(folder)
        cls.addClassCleanup(cls.end_group)
        cls.group.start()
        cls.stack_options = {**LoadCase.stack_options, "fsync": "everysec", "coordinators": 2,
                             "settings": cls.settings()}
        super().setUpClass()

    @classmethod
    def settings(cls):
        sagad = LoadCase.stack_options["settings"]["sagad"]
        return {"sagad": {**sagad, "redis": cls.group.address}}

    @classmethod
    def end_group(cls):
        wrong = cls.group.end()
        if wrong:
            raise AssertionError(wrong)

    def run(self, result=None):
        before = len(result.errors) + len(result.failures)
        super().run(result)
        if len(result.errors) + len(result.failures) > before:
            print(self.group.tails(), file=sys.stderr)

    def records(self):
        return self.group.master.client


class FailoverTest(SentinelCase):
    def other(self):
        master = self.group.master
        return next(server for server in self.group.servers if server is not master)

    def all_end(self):
        """A master that is replaced while it runs may lose what it has acknowledged (operations.md):
        books are not compared."""
        self.load.stop()
        for sagad in self.coordinators():
            wait_for(lambda s=sagad: s.metrics().get("sagad_due_transactions") == 0, "all end")

    def test_kill_9_of_the_master_and_of_the_next_one(self):
        for _ in range(2):
            dead = self.group.kill_master()
            self.group.revive(dead)  # the new master takes writes when it has a replica
            self.load.await_more(100)
        self.settle()
        for sagad in self.coordinators():
            self.assertEqual(1, sagad.metrics()["sagad_redis_connections"])

    def test_a_master_that_hangs_is_left(self):
        hung, other = self.group.master, self.other()
        hung.process.freeze()
        try:
            self.group.await_switch(other)
        finally:
            hung.process.thaw()
        wait_for(lambda: self.group.is_replica(hung), "the old master follows")
        self.load.await_more(100)
        self.all_end()

    def test_a_planned_failover(self):
        master, other = self.group.master, self.other()
        self.assertEqual(["OK"], self.group.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster"))
        wait_for(lambda: self.group.role(other)[0] == "master", "the replica is promoted")
        for sagad in self.coordinators():  # long before the old master learns that it is none
            wait_for(lambda s=sagad: s.process.has_logged(
                f"connected\" addr={other.port.address}"), "it follows", deadline_s=5)
        wait_for(lambda: self.group.is_replica(master), "the roles are changed")
        self.load.await_more(100)
        self.all_end()

    def test_sentinels_that_are_gone_do_no_harm_while_the_master_lives(self):
        for sentinel in self.group.sentinels[:2]:
            sentinel.process.kill()
        try:
            for sagad in self.coordinators():
                sagad.restart()  # the third one is asked
            self.load.await_more(50)
        finally:
            for sentinel in self.group.sentinels[:2]:
                sentinel.launch()
        wait_for(self.group.is_complete, "the sentinels know each other again")
        self.settle()


class ServiceTest(SentinelCase):
    """A service of libsaga on the group."""

    @classmethod
    def settings(cls):
        return {"product": {"redis": cls.group.address}}

    def setUp(self):
        pass  # no load

    def create(self):
        return self.post("product", "create", name="a", desc="b", stock=1, amount=1,
                         status=0).status == 200

    def test_it_follows_the_master(self):
        self.assertTrue(self.create())
        self.group.revive(self.group.kill_master())
        wait_for(self.create, "products are created again")


if __name__ == "__main__":
    unittest.main()
