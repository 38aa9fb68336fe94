#!/usr/bin/env python3
"""Several instances of a participant: found, balanced, left when they die, found again."""
import json
import os
import subprocess
import unittest

from harness import mall
from harness.case import StackCase
from harness.load import Load
from harness.names import NameServer
from harness.process import wait_for
from harness.stack import BUILD, SERVICES, Program

STOCK = 1000000
# A normal retry comes so late that nobody could take it for a move to another instance.
LATE = {"retry_interval": "30s", "retry_interval_max": "30s", "request_timeout": "20s"}
PATIENCE_MS = 10000  # less than either


class InstancesCase(StackCase):
    """A second instance of the order service, "order2", on the same Redis; not started."""

    stack_options = {"settings": {"sagad": LATE}}

    @classmethod
    def before_start(cls):
        order = cls.stack["order"]
        second = Program(cls.stack, "order2", order.binary, dict(order.settings))
        second.settings |= {"listen_http": second.http.address, "listen_rpc": second.rpc.address}
        cls.configure(cls.stack["sagad1"], order, second)
        cls.stack.seconds = {"order2": second}

    @classmethod
    def _end(cls):
        wrong = cls.stack.seconds["order2"].end()
        super()._end()
        if wrong:
            raise AssertionError(wrong)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        reply = cls.stack["product"].post(
            "/api/product/create",
            {"name": "apple", "desc": "red", "stock": STOCK, "amount": 5, "status": 0},
            token=cls.token)
        assert reply.status == 200, reply.text
        cls.pid = reply.body["id"]

    @property
    def second(self):
        return self.stack.seconds["order2"]

    def setUp(self):
        if not self.second.process.is_up():
            self.second.start()

    def services(self):
        """{(name, address): instance}"""
        return {(service["name"], instance["address"]): instance
                for service in self.sagad.get("/api/services").body["services"]
                for instance in service["instances"]}

    def is_listed(self, program):
        return ("order", program.rpc.address) in self.services()

    @staticmethod
    def called(program):
        """Branch calls that it has served."""
        return sum(value for name, value in program.metrics().items() if "branch" in name)

    def submit(self, count=1):
        """So many orders, one after the other; each succeeds."""
        with self.sagad.wire() as client, self.stack["order"].wire() as order:
            for order_id in mall.new_order_ids(order, self.uid, count):
                gid = f"{self.gid()}"
                steps = mall.order_steps(order_id, self.uid, self.pid)
                self.assertEqual("succeed", client.submit(gid, steps, wait=True,
                                                          wait_timeout_ms=PATIENCE_MS).status)

    def assert_swift_and_whole(self, load):
        """Nothing failed, nothing waited for a normal retry."""
        acknowledged = load.stop()
        wait_for(lambda: self.sagad.metrics().get("sagad_due_transactions") == 0,
                 "no transaction is open", deadline_s=20)
        records = self.redis.client.hashes(f"saga:*:tx:load-{self.pid}-*")
        self.assertGreaterEqual(len(records), len(acknowledged))
        for key, record in records.items():
            self.assertEqual("succeed", record["status"], key)
            took_ms = int(record["finished"]) - int(record["created"])
            self.assertLess(took_ms, PATIENCE_MS, f"{key} {record}")
        self.assert_books({self.pid: STOCK})


class MapTest(InstancesCase):
    """Two addresses in the resolver map."""

    @classmethod
    def configure(cls, sagad, order, second):
        sagad.settings["resolver.order"] = f"{order.rpc.address}, {second.rpc.address}"

    def test_calls_are_shared(self):
        before = [self.called(p) for p in (self.stack["order"], self.second)]
        self.submit(20)
        after = [self.called(p) for p in (self.stack["order"], self.second)]
        for was, now in zip(before, after):
            self.assertGreaterEqual(now - was, 5)

    def test_an_instance_is_killed_under_load_and_comes_back(self):
        load = Load(self, self.pid, threads=6)
        self.addCleanup(load.stop)
        load.await_more(100)
        for _ in range(3):
            self.second.kill()
            load.await_more(100)
            self.second.start()
            before = self.called(self.second)
            wait_for(lambda b=before: self.called(self.second) > b, "it gets calls again")
            load.await_more(50)
        self.assertGreater(self.sagad.metrics()["sagad_branch_calls_moved_total"], 0)
        self.assert_swift_and_whole(load)

    def test_a_clean_stop_under_load(self):
        load = Load(self, self.pid, threads=6)
        self.addCleanup(load.stop)
        load.await_more(100)
        self.assertEqual(0, self.second.process.stop())
        load.await_more(100)
        self.assert_swift_and_whole(load)

    def test_the_overview_tells_who_rests(self):
        key = ("order", self.second.rpc.address)
        self.second.kill()
        wait_for(lambda: self.submit() or self.services()[key]["state"] == "resting", "it rests")
        self.assertEqual(1, self.sagad.metrics()["sagad_service_instances_resting"])
        self.second.start()
        wait_for(lambda: self.submit() or self.services()[key]["state"] == "ready", "it is back")
        self.assertEqual(0, self.sagad.metrics()["sagad_service_instances_resting"])


class RegisteredTest(InstancesCase):
    """Nothing in the map: instances register themselves."""

    LEASE_S = 3  # a third of it may pass without a renewal, and another one on a busy machine

    @classmethod
    def configure(cls, sagad, order, second):
        del sagad.settings["resolver.order"]
        for program in (order, second):
            program.settings |= {"advertise": "127.0.0.1:0", "registry_lease": f"{cls.LEASE_S}s"}

    def setUp(self):
        super().setUp()
        for program in (self.stack["order"], self.second):
            wait_for(lambda p=program: self.is_listed(p), f"{program.name} is listed")

    def test_an_instance_that_appears_gets_calls(self):
        self.assertEqual(0, self.second.process.stop())
        wait_for(lambda: not self.is_listed(self.second), "it has left")
        self.submit(5)
        self.second.start()
        wait_for(lambda: self.is_listed(self.second), "it is listed")
        self.submit(10)
        self.assertGreaterEqual(self.called(self.second), 4)

    def test_one_whose_lease_ends_gets_none(self):
        self.second.process.freeze()  # its port still takes connections
        wait_for(lambda: not self.is_listed(self.second), "its lease has ended")
        self.submit(10)  # each would wait for the deadline there
        self.second.process.thaw()
        wait_for(lambda: self.is_listed(self.second), "it is back")

    def test_killed_under_load(self):
        load = Load(self, self.pid, threads=6)
        self.addCleanup(load.stop)
        load.await_more(100)
        self.second.kill()
        load.await_more(100)
        wait_for(lambda: not self.is_listed(self.second), "its lease has ended")
        load.await_more(50)
        self.second.start()
        before = self.called(self.second)
        wait_for(lambda: self.called(self.second) > before, "it gets calls again")
        self.assert_swift_and_whole(load)

    def registered(self):
        """As Redis has it now."""
        return {member.partition("://")[2]
                for member in self.redis.ask("ZRANGE", "saga:services", 0, -1)}

    def await_registered(self, *programs):
        want = {program.rpc.address for program in programs}
        wait_for(lambda: self.registered() == want, f"{want} are registered")

    def test_stopped_cleanly_it_leaves_at_once(self):
        self.second.process.stop()
        self.await_registered(self.stack["order"])
        self.second.start(registry_lease="10m")
        self.await_registered(self.stack["order"], self.second)
        self.assertEqual(0, self.second.process.stop())
        self.assertNotIn(self.second.rpc.address, self.registered())

    def test_redis_forgets_and_they_come_back(self):
        self.redis.ask("DEL", "saga:services")
        self.await_registered(self.stack["order"], self.second)
        for program in (self.stack["order"], self.second):  # it may have read that there is nobody
            wait_for(lambda p=program: self.is_listed(p), f"{program.name} is listed again")
        self.submit(2)

    def test_a_member_that_cannot_be_read_disturbs_nobody(self):
        for member in ("nonsense", "order tcp://", "order tcp://h:99999", "order ftp://h:1"):
            self.redis.ask("ZADD", "saga:services", 10**15, member)
        self.addCleanup(self.redis.ask, "ZREM", "saga:services", "nonsense", "order tcp://",
                        "order tcp://h:99999", "order ftp://h:1")
        wait_for(lambda: self.sagad.process.has_logged("nonsense"), "it is logged")
        self.submit(2)
        self.assertLessEqual({name for name, _ in self.services()}, set(SERVICES))

    def test_sagactl_lists_them(self):
        sagactl = [os.path.join(BUILD, "cli", "sagactl"), "--http",
                   f"http://{self.sagad.http.address}"]
        text = subprocess.run([*sagactl, "services"], capture_output=True, text=True, check=True).stdout
        for program in (self.stack["order"], self.second):
            self.assertRegex(text, rf"order +registered +tcp://{program.rpc.address} .*[0-9.]+ s\n")
        self.assertRegex(text, rf"product +map +tcp://{self.stack['product'].rpc.address}")
        raw = subprocess.run([*sagactl, "--json", "services"], capture_output=True, check=True).stdout
        found = {service["name"]: service for service in json.loads(raw)["services"]}
        self.assertEqual("registered", found["order"]["source"])
        self.assertLessEqual(found["order"]["instances"][0]["lease_left_ms"],
                             1000 * self.LEASE_S)


class RegistryDbTest(StackCase):
    """The coordinators' data are in another database than those of the participants."""

    stack_options = {"services": ("score",), "settings": {"sagad": {"redis_db": 1}}}
    has_user = False

    @classmethod
    def before_start(cls):
        cls.stack["score"].settings |= {"advertise": "127.0.0.1:0", "registry": cls.stack.redis.address,
                                        "registry_db": 1}
        del cls.stack["sagad1"].settings["resolver.score"]

    def test_an_instance_registers_where_they_look(self):
        address = self.stack["score"].rpc.address
        wait_for(lambda: [i["address"] for s in self.sagad.get("/api/services").body["services"]
                          for i in s["instances"]] == [address], "it is listed")
        self.assertEqual(0, self.redis.ask("EXISTS", "saga:services"))  # of database 0


class DnsTest(InstancesCase):
    """A name with several addresses."""

    @classmethod
    def configure(cls, sagad, order, second):
        cls.names = NameServer("orders.test")
        cls.addClassCleanup(cls.names.close)
        cls.port = order.rpc.number
        cls.names.addresses = ["127.0.0.1"]
        second.settings["listen_rpc"] = f"127.0.0.2:{cls.port}"
        sagad.settings |= {"resolver.order": f"orders.test:{cls.port}", "dns_ttl": "100ms",
                           "dns_server": cls.names.address}

    def await_addresses(self, *addresses):
        want = {f"{address}:{self.port}" for address in addresses}
        self.names.addresses = list(addresses)
        wait_for(lambda: {a for n, a in self.services() if n == "order"} == want, f"{want} is known")

    def test_all_addresses_are_called(self):
        self.await_addresses("127.0.0.1", "127.0.0.2")
        before = self.called(self.second)
        self.submit(10)
        self.assertGreaterEqual(self.called(self.second) - before, 4)

    def test_changes_are_followed(self):
        self.await_addresses("127.0.0.1")
        before = self.called(self.second)
        self.submit(5)
        self.assertEqual(before, self.called(self.second))
        self.await_addresses("127.0.0.2")
        before = self.called(self.stack["order"])
        self.submit(5)
        self.assertEqual(before, self.called(self.stack["order"]))

    def test_dead_ones_are_avoided(self):
        self.await_addresses("127.0.0.1", "127.0.0.2", "127.0.0.3")  # nobody listens at the last
        load = Load(self, self.pid, threads=4)
        self.addCleanup(load.stop)
        load.await_more(50)
        self.second.kill()
        load.await_more(100)
        self.assert_swift_and_whole(load)

    def test_http_participants_are_asked_by_their_name(self):
        self.await_addresses("127.0.0.1")
        participant = self.participant()
        host = f"orders.test:{participant.port}"
        url = f"http://{host}/do"

        def submit():
            reply = self.sagad.dtm("submit", gid=self.gid(), trans_type="saga", wait_result=True,
                                   steps=[{"action": url, "compensate": url}], payloads=["{}"])
            self.assertEqual(200, reply.status, reply.text)
            return ("orders.test:%d" % participant.port, f"127.0.0.1:{participant.port}") in \
                self.services()

        wait_for(submit, "DNS has answered")
        submit()
        self.assertEqual({host}, {call.headers["Host"] for call in participant.calls})

    def test_what_is_known_stays_when_the_name_does_not_resolve(self):
        self.await_addresses("127.0.0.1", "127.0.0.2")
        self.names.addresses = []
        asked = self.names.asked
        wait_for(lambda: self.names.asked > asked + 3, "it is asked again")
        self.submit(5)
        self.assertEqual(2, sum(name == "order" for name, _ in self.services()))


if __name__ == "__main__":
    unittest.main()
