"""What a service of the mall looks at before it serves: its settings, and the shards in its Redis."""
import os
import subprocess
import unittest

from harness.case import StackCase
from harness.process import DEADLINE, wait_for
from harness.stack import BUILD, SECRET, SERVICES
from harness.wire import FAILURE, WireError, encode

TAGS = {"user": "usr", "score": "scr", "order": "ord"}  # ids of products have no shard


def binary(name):
    return os.path.join(BUILD, f"services/{name}/{name}d")


class Settings(unittest.TestCase):
    """--check-config sees what the start sees; systemd asks it first."""

    def run_once(self, name, *options, **environment):
        done = subprocess.run([binary(name), *options], capture_output=True, text=True, timeout=30,
                              check=False, env={**os.environ, **environment})
        return done.returncode, done.stdout, done.stderr

    def check(self, name, *options, **environment):
        return self.run_once(name, "--check-config", *options, **environment)

    def test_good_ones_are_valid(self):
        for name in SERVICES:
            secret = {f"{name.upper()}D_JWT_SECRET": SECRET}
            valid = (0, f"{name}d: configuration is valid\n", "")
            self.assertEqual(valid, self.check(name, **secret))
            self.assertEqual(valid, self.check(name, "--shards", "64", **secret))
            self.assertEqual(valid, self.check(name, "--mode=dev"))
            self.assertEqual(valid, self.run_once(name, "--mode=dev", "--check_config"))

    def test_bad_ones_are_named_by_the_check_and_by_the_start(self):
        for name in SERVICES:
            for options, says in (((), "jwt_secret: 32 characters or more"),
                                  (("--mode=dev", "--jwt_secret=short"), "jwt_secret: 32 char"),
                                  (("--mode=dev", "--shards=3"), "shards: 3 is not a power of two"),
                                  (("--mode=dev", "--shards=0"), "shards"),
                                  (("--mode=dev", "--timeout=soon"), "timeout")):
                for run in (self.check, self.run_once):
                    code, out, error = run(name, *options)
                    self.assertEqual((3, ""), (code, out), (name, options))
                    self.assertIn(says, error)


    def refused(self, says, name, *options):
        code, out, error = self.check(name, "--mode=dev", *options)
        self.assertEqual((3, ""), (code, out), (name, options))
        self.assertIn(says, error, (name, options))

    def test_addresses_that_cannot_work_are_named(self):
        where = "must be host:port, [v6]:port or unix:/path"
        for name in SERVICES:
            for option in ("listen_http", "listen_rpc", "coordinator", "advertise"):
                for value in ("foo", ":8000", "h:", "h:65536", "::1:80", "h h:1", "unix:"):
                    self.refused(f"{option} = '{value}': {where}", name, f"--{option}={value}")
            self.refused("coordinator = 'h:0': " + where, name, "--coordinator=h:0")
            for value in ("0.0.0.0:1", "[::]:1"):
                self.refused(f"advertise = '{value}': {where}, with the host at which others reach it",
                             name, f"--advertise={value}")
            self.refused("advertise = 'h:0': listen_rpc has no port", name, "--advertise=h:0",
                         "--listen_rpc=unix:/run/x.sock")
        for option in ("user_rpc", "product_rpc"):
            for value in ("bar", "h:0", ""):
                self.refused(f"{option} = '{value}': {where}", "order", f"--{option}={value}")

    def test_branches_that_sagad_cannot_call_are_named(self):
        for name, peers in (("order", ("order", "product", "score")), ("user", ("user", "score"))):
            for peer in peers:
                for value in ("http", "http://order", "tcp://", "tcp://order/", "tcp://or der",
                              "tcp://h:0", "tcp://:9002", "tcp://unix:/x"):
                    self.refused(f"{peer}_branch = '{value}': must be tcp://NAME or tcp://host:port",
                                 name, f"--{peer}_branch={value}")

    def test_a_registry_that_is_not_used_is_named(self):
        for name in SERVICES:
            self.refused("registry_db = 1: is the database of registry, which is empty", name,
                         "--registry_db=1")
            self.refused("registry: ", name, "--registry=cluster://h:1", "--registry_db=1")

    def test_addresses_that_can(self):
        for name, *options in (
                ("score", "--listen_http=unix:/run/x", "--listen_rpc=[::1]:0", "--coordinator="),
                ("score", "--advertise=10.0.0.7:0", "--registry=h:6379", "--registry_db=3"),
                ("score", "--advertise=unix:/run/x", "--coordinator=unix:/run/sagad"),
                ("order", "--user_rpc=[::1]:9000", "--product_rpc=unix:/run/x",
                 "--order_branch=tcp://10.0.0.7:9002", "--score_branch=tcp://[::1]:9003",
                 "--product_branch=tcp://prod-1.example"),
                ("user", "--user_branch=tcp://user_2")):
            self.assertEqual((0, f"{name}d: configuration is valid\n", ""),
                             self.check(name, "--mode=dev", *options))


class Shards(StackCase):
    """The number of shards is fixed with the first start, because ids tell by it where they lie."""

    # always: a Redis that is killed may lose its last second, and the number with it, under everysec
    stack_options = {"coordinators": 0, "fsync": "always", "settings": {"all": {"shards": 4}}}
    has_user = False

    def refused(self, name, shards, **settings):
        """The start with another number."""
        program = self.stack[name]
        program.launch(shards=shards, **settings)
        self.assertEqual(3, program.process.popen.wait(DEADLINE), program.process.log())
        self.assertRegex(program.process.log(), rf"(?m)^{name}d: shards: {shards} is set, but the "
                         r"data in Redis are spread over 4.*: set shards = 4, or use a Redis")
        self.assertNotIn("ready", program.process.log())

    def test_another_number_is_refused(self):
        for name, tag in TAGS.items():
            meta = f"{{{tag}:meta}}"
            self.assertEqual({"shards": "4"}, self.redis.client.hash(meta))
            self.stack[name].kill()
            for shards in (1, 2, 8):
                self.refused(name, shards)
            self.assertEqual({"shards": "4"}, self.redis.client.hash(meta))
            self.stack[name].start()

    def test_another_database_is_another_start(self):
        for name in TAGS:
            self.stack[name].restart(shards=8, redis_db=1)
            self.stack[name].restart()

    def test_products_have_no_shards(self):
        self.stack["product"].restart(shards=8)
        self.assertEqual([], self.redis.client.keys("{prd:*}"))
        self.stack["product"].restart()

    def test_until_redis_answers_nothing_is_served(self):
        orders, scores = self.stack["order"], self.stack["score"]
        for program in (orders, scores):
            program.kill()
        self.redis.kill()
        try:
            orders.launch(timeout="200ms")
            wait_for(lambda: orders.process.has_logged("waiting for Redis"), "the service waits")
            for path in ("/api/ping", "/api/metrics", "/api/order/list", "/nowhere"):
                reply = orders.post(path, {})
                self.assertEqual((503, "unavailable", "1"), (
                    reply.status, reply.body["code"], reply.headers["Retry-After"]), path)
            # What is not there goes to another instance; a FAILURE would undo transactions.
            with orders.wire() as client:
                with self.assertRaisesRegex(WireError, "UNAVAILABLE .*starting"):
                    client.call("order.Order/NewId", encode((1, 4)))
                with self.assertRaisesRegex(WireError, "UNAVAILABLE .*starting"):
                    client.call("order.Order/Create", gid=self.gid())
            scores.launch(shards=8, timeout="200ms")
            wait_for(lambda: scores.process.has_logged("waiting for Redis"), "the service waits")
        finally:
            self.redis.start()
        wait_for(orders.is_healthy, "the service serves")
        with orders.wire() as client:  # an ERROR, where Redis needs more than the 200 ms
            wait_for(lambda: client.call("order.Order/Create", gid=self.gid()).result == FAILURE,
                     "it is refused")
        self.assertEqual(3, scores.process.popen.wait(DEADLINE), scores.process.log())
        scores.start()

    def test_what_redis_says_is_logged(self):
        score = self.stack["score"]
        score.kill()
        score.launch(redis_user="nobody", redis_password="wrong")
        wait_for(lambda: score.process.has_logged('waiting for Redis.*AUTH refused: WRONGPASS'),
                 "the log says why")
        self.assertFalse(score.is_healthy())
        self.redis.ask("ACL", "SETUSER", "nobody", "on", ">wrong", "~*", "+@all")
        wait_for(score.is_healthy, "the service serves")
        score.restart()


if __name__ == "__main__":
    unittest.main()
