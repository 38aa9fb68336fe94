"""lua/coordinator/txn_register.lua against a real redis-server: every answer, each twice."""
import unittest

from coordinator_redis import RedisError, Server, script

TX = "saga:{3}:tx:gid"
BRANCH = "confirm tcp://a/b.C/D cancel tcp://a/b.C/E payload 1"


def setUpModule():
    global server, redis
    server = Server()
    redis = server.client


def tearDownModule():
    redis.close()
    server.stop()


def register(kind="tcc", name="01", value=BRANCH, most=100, bytes_most=100000, keys=(TX,),
             counter="branches"):
    return redis("EVAL", script("txn_register"), len(keys), *keys, kind, name, value, most,
                 bytes_most, counter)


def report(name, data="", **limits):
    return register("workflow", name, "succeed " + data, **limits)


class Register(unittest.TestCase):
    def setUp(self):
        redis("FLUSHALL")

    def prepared(self, *fields, kind="tcc", status="prepared", lease="1.0"):
        redis("HSET", TX, "type", kind, "status", status, "lease", lease, *fields)

    def field(self, name):
        value = redis("HGET", TX, name)
        return value and value.decode()

    def assert_conflict(self, part, **call):
        before = redis("HGETALL", TX)
        for _ in range(2):
            reply = register(**call)
            self.assertEqual(reply[0], b"CONFLICT")
            self.assertIn(part, reply[2].decode())
        self.assertEqual(redis("HGETALL", TX), before)

    def test_branches_are_numbered_in_the_order_of_registration(self):
        self.prepared()
        self.assertEqual(register(name="02")[0], b"OK")
        self.assertEqual(register(name="01")[0], b"OK")
        self.assertEqual(self.field("02"), "seq 1 " + BRANCH)
        self.assertEqual(self.field("01"), "seq 2 " + BRANCH)
        self.assertEqual(self.field("branches"), "2 %d" % (2 * len(BRANCH)))

    def test_the_same_branch_again_writes_nothing(self):
        self.prepared()
        register()
        before = redis("HGETALL", TX)
        self.assertEqual(register()[0], b"OK")
        self.assertEqual(redis("HGETALL", TX), before)

    def test_another_content_under_the_same_name_is_refused(self):
        self.prepared()
        register()
        self.assert_conflict("another content", value=BRANCH + "2")

    def test_times_are_those_of_redis(self):
        self.prepared()
        seconds, _ = redis("TIME")
        self.assertLess(abs(register()[1] - int(seconds) * 1000), 2000)

    def test_nobody_registers_with_what_is_not_there(self):
        self.assertEqual(register()[0], b"NOT_FOUND")
        self.assertEqual(redis("DBSIZE"), 0)

    def test_only_while_it_is_prepared(self):
        for status in ("submitted", "aborting", "succeed", "failed"):
            self.prepared(status=status)
            self.assert_conflict("current status '%s'" % status)

    def test_only_with_a_transaction_of_the_same_type(self):
        self.prepared(kind="xa")
        self.assert_conflict("trans_type is 'xa'")

    def test_not_while_a_coordinator_drives_it(self):
        self.prepared(lease="2.1 sagad-1")
        self.assert_conflict("a coordinator drives it now")
        self.prepared(lease="2.2")
        self.assertEqual(register()[0], b"OK")

    def test_not_when_its_branches_were_declared(self):
        self.prepared("declared", "1")
        self.assert_conflict("were declared")

    def test_a_workflow_reports_steps_without_a_number_also_while_it_is_resumed(self):
        self.prepared(kind="workflow", lease="2.1 sagad-1")
        for _ in range(2):
            self.assertEqual(register("workflow", "01.action", "succeed x")[0], b"OK")
        self.assertEqual(self.field("01.action"), "succeed x")
        self.assertEqual(self.field("branches"), "1 1")

    def test_there_are_at_most_so_many(self):
        self.prepared()
        register(name="01", most=1)
        self.assert_conflict("it has 1 branches", name="02", most=1)
        self.assertEqual(register(name="01", most=1)[0], b"OK")

    def test_they_have_at_most_so_many_bytes_together(self):
        self.prepared(kind="workflow")
        for name, size in (("01.action", 60), ("02.action", 40)):
            self.assertEqual(report(name, "x" * size, bytes_most=100)[0], b"OK")
        self.assert_conflict("its branches would have 101 bytes together; at most 100",
                             kind="workflow", name="03.action", value="succeed x", bytes_most=100)
        self.assertEqual(report("02.action", "x" * 40, bytes_most=100)[0], b"OK")

    def test_a_report_without_data_has_room_whatever_was_kept(self):
        self.prepared(kind="workflow")
        self.assertEqual(report("01.action", "x" * 100, bytes_most=100)[0], b"OK")
        for value in ("failed ", "failed", "succeed "):
            name = value.strip() + "-%d.action" % len(value)
            self.assertEqual(register("workflow", "0" + name, value, bytes_most=100)[0], b"OK")
        self.assertEqual(self.field("branches"), "4 100")

    def test_undos_have_room_of_their_own(self):
        self.prepared(kind="workflow")
        self.assertEqual(report("01.action", "a", most=1)[0], b"OK")
        self.assert_conflict("it has 1 branches", kind="workflow", name="02.action",
                             value="succeed ", most=1)
        undo = {"counter": "second_phase", "most": 2}
        for _ in range(2):
            self.assertEqual(report("01.compensate", "b", **undo)[0], b"OK")
        self.assertEqual(report("02.compensate", "", **undo)[0], b"OK")
        self.assert_conflict("it has 2 undos, confirms and commits", kind="workflow",
                             name="03.compensate", value="succeed ", **undo)
        self.assertEqual((self.field("branches"), self.field("second_phase")), ("1 2", "2"))

    def test_a_count_without_bytes_is_one_of_an_older_version(self):
        self.prepared("branches", "2")
        register()
        self.assertEqual(self.field("branches"), "3 %d" % len(BRANCH))

    def test_wrong_keys_and_arguments_are_named(self):
        self.prepared()
        for call in ({"keys": ()}, {"keys": (TX, TX)}, {"name": "status"}, {"most": "x"},
                     {"bytes_most": "x"}, {"counter": "x"}):
            with self.assertRaisesRegex(RedisError, "ERR txn_register: "):
                register(**call)
        with self.assertRaisesRegex(RedisError, "ERR txn_register: wants 1 KEYS and 6 ARGV"):
            redis("EVAL", script("txn_register"), 1, TX, "tcc", "01", BRANCH)
        self.assertEqual(redis("HLEN", TX), 3)


if __name__ == "__main__":
    unittest.main()
