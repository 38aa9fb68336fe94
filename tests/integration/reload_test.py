#!/usr/bin/env python3
"""SIGHUP: new settings, and the log opened anew, while a coordinator works."""
import os
import resource
import signal
import unittest

from harness import web
from harness.dtm import ModeCase
from harness.names import NameServer
from harness.process import wait_for
from harness.web import Answer
from harness.wire import WireClient, WireError

BUSY = Answer(status=500)
STREAM = "{t:0}:outbox"


class ReloadCase(ModeCase):
    """The settings of the test stand in a file; those of the harness on the command line."""

    trans_type = "saga"
    workers = 1

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.stack.dir, "sagad.conf")
        self.log = os.path.join(self.stack.dir, "sagad.log")
        for name in ("retry_interval", "retry_interval_max", "request_timeout", "lease"):
            self.sagad.settings.pop(name, None)
        self.restart()

    def restart(self, **settings):
        """With these in its file."""
        self.sagad.process.stop()
        self.write(**settings)
        names = NameServer("known.test")  # and no other
        self.addCleanup(names.close)
        before = len(self.logged("msg=ready")) if os.path.exists(self.log) else 0
        self.sagad.start(config=self.path, workers=self.workers, dns_server=names.address)
        wait_for(lambda: len(self.logged("msg=ready")) == before + self.workers, "all are ready")

    def write(self, **settings):
        """Besides those that are said, calls take as long as they like."""
        settings = {"log_file": self.log, "lease": "1s", "request_timeout": "10m", **settings}
        with open(self.path, "w", encoding="ascii") as file:
            file.writelines(f"{name.replace('__', '.')} = {value}\n"
                            for name, value in settings.items())

    def logged(self, text, path=None):
        with open(path or self.log, encoding="utf-8") as file:
            return [line for line in file if text in line]

    def hang_up(self, says="msg=reloaded", path=None):
        """By every process of it, the parent of workers too."""
        path = path or self.log
        processes = self.workers + (self.workers > 1)
        before = len(self.logged(says, path)) if os.path.exists(path) else 0
        self.sagad.process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: os.path.exists(path) and
                 len(self.logged(says, path)) >= before + processes, f"it says {says}")

    def reload(self, **settings):
        self.write(**settings)
        self.hang_up()

    def submit_to(self, url, **fields):
        return self.submit(steps=[{"action": url}], payloads=["{}"], **fields)


class ReloadTest(ReloadCase):
    """With workers too: below."""

    def test_token(self):
        self.reload(token="s3cret")
        path = "/api/dtmsvr/newGid"
        self.assertEqual(401, self.sagad.get(path).status)
        headers = {"Authorization": "Bearer s3cret"}
        self.assertEqual(200, web.ask(self.sagad.http.number, "GET", path, headers=headers).status)
        with self.assertRaises(WireError) as denied, WireClient(self.sagad.rpc.address) as client:
            client.submit("denied", [("", "", b"")])
        self.assertEqual("DENIED", denied.exception.code)
        with WireClient(self.sagad.rpc.address, token="s3cret") as client:
            client.submit(self.id_, [("", "", b"")])
        self.reload()
        self.assertEqual(200, self.sagad.get(path).status)

    def test_resolver(self):
        reply = self.submit_to("http://shop/a", wait_result=True, retry_interval=1)
        self.assertEqual(425, reply.status, reply.text)
        self.reload(resolver__shop=f"127.0.0.1:{self.web.port}")
        self.assert_ended("succeed")
        self.assertEqual(["/a"], self.web.paths())
        self.reload()
        reply = self.submit_to("http://shop/a", gid=self.gid(), wait_result=True)
        self.assertEqual(425, reply.status, reply.text)

    def test_log_level(self):
        self.write(log_level="warn", partitions=7)
        self.hang_up("changes with a restart only")  # a warning
        self.assertTrue(self.logged("option=log_level"))
        before = len(self.logged("level=info"))
        self.write(log_level="debug", partitions=7)
        self.hang_up("changes with a restart only")
        self.hang_up()
        self.assertGreater(len(self.logged("level=info")), before)

    def test_a_log_that_was_moved_away(self):
        moved = self.log + ".1"
        os.rename(self.log, moved)
        self.hang_up()
        self.assertTrue(self.logged("msg=ready", moved))
        self.assertFalse(self.logged("msg=ready"))
        self.assertEqual("", self.sagad.process.log())  # nothing on standard error

    def test_wrong_settings_leave_the_old_ones(self):
        self.reload(resolver__shop=f"127.0.0.1:{self.web.port}")
        for text in ("retry_interval = often", "retry_intervall = 1s", "retry_interval = 1h",
                     "resolver.shop = nowhere"):
            with open(self.path, "w", encoding="ascii") as file:
                file.write(f"log_level = debug\n{text}\n")
            self.hang_up("the new settings are wrong, the old ones stay")
        last = self.logged("the new settings are wrong")[-1]
        self.assertIn("level=error", last)
        self.assertIn("resolver.shop", last)
        self.assert_reply(200, "SUCCESS", self.submit_to("http://shop/a", wait_result=True))

    def test_retention_below_the_lease_that_stays(self):
        self.restart(lease="1m")
        self.write(lease="1s", retention="2s")
        self.hang_up("the new settings are wrong, the old ones stay")
        self.assertIn("retention = 2000ms: must not be below lease = 60000ms",
                      self.logged("the new settings are wrong")[-1])

    def test_what_needs_a_restart_is_said(self):
        self.reload(partitions=7, drain_timeout="1s")
        said = self.logged("this setting changes with a restart only")
        self.assertTrue(said and all("option=partitions" in line for line in said), said)
        self.assertTrue(self.logged('msg="setting changed" option=drain_timeout'))
        self.assert_reply(200, "SUCCESS", self.submit_to("", wait_result=True))


class WorkersReloadTest(ReloadTest):
    """The same with several workers: each reloads, and those that are started later have it too."""

    workers = 2

    def test_a_worker_that_is_started_later(self):
        self.reload(resolver__shop=f"127.0.0.1:{self.web.port}")
        pids = [int(line.split(" pid=")[1].split()[0]) for line in self.logged("msg=ready")]
        before = len(pids)
        for pid in pids[-self.workers:]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(self.logged("msg=ready")) == before + self.workers, "two others")
        for _ in range(8):  # either takes connections
            self.assert_reply(200, "SUCCESS", self.submit_to("http://shop/a", gid=self.gid(),
                                                             wait_result=True))


class EffectTest(ReloadCase):
    """What can change does change: lint.reload wants a test_NAME of each option."""

    def test_retention(self):
        self.reload(retention="10m")
        self.assert_reply(200, "SUCCESS", self.submit_to("", wait_result=True))
        key = self.redis.client.keys(f"saga:*:tx:{self.id_}")[0]
        self.assertLessEqual(self.redis.ask("PTTL", key), 600_000)

    def test_timeout_to_fail(self):
        self.reload(timeout_to_fail="50ms")
        self.ok("prepare", gid=self.id_, trans_type="tcc")
        self.assert_ended("failed")

    def test_retry_interval(self):
        self.reload(retry_interval="20ms")
        self.web.rules["/a"] = [BUSY] * 3 + [Answer()]
        self.submit_to(f"{self.web.url}/a")
        self.assert_ended("succeed")

    def test_retry_interval_max(self):
        """Doubled each time, the pauses would take minutes."""
        self.restart(retry_interval="20ms")
        self.reload(retry_interval="20ms", retry_interval_max="20ms")
        self.web.rules["/a"] = [BUSY] * 14 + [Answer()]
        self.submit_to(f"{self.web.url}/a")
        self.assert_ended("succeed")

    def test_park_after(self):
        often = {"retry_interval": "20ms", "retry_interval_max": "20ms"}
        self.restart(**often)
        self.reload(**often, park_after=3)
        self.web.rules["/a"] = BUSY
        self.submit_to(f"{self.web.url}/a")
        wait_for(lambda: self.transaction().get("parked"), "it is parked")
        self.assertEqual(3, self.web.count("/a"))

    def test_request_timeout(self):
        self.reload(retry_interval="20ms", request_timeout="100ms")
        self.gated("/a")
        self.submit_to(f"{self.web.url}/a")
        wait_for(lambda: self.web.count("/a") >= 2, "it is called again")

    def test_live_max(self):
        self.reload(live_max=1)
        self.gated("/a")
        self.submit_to(f"{self.web.url}/a")
        self.called("/a")
        self.assertEqual(429, self.submit_to("", gid=self.gid()).status)
        self.reload()
        self.assert_reply(200, "SUCCESS", self.submit_to("", gid=self.gid(), wait_result=True))

    def test_live_max_of_what_outboxes_read(self):
        outbox = {"outbox__t": STREAM}
        self.restart(**outbox, live_max=1)
        gate = self.gated("/sold")
        for _ in range(3):
            self.redis.ask("XADD", STREAM, "*", "gid", self.gid(), "trans_type", "msg",
                           "01.action", f"{self.web.url}/sold", "01.payload", "")
        self.called("/sold")
        self.assertEqual(1, self.web.count("/sold"))
        self.reload(**outbox, live_max=3)
        wait_for(lambda: self.web.count("/sold") == 3, "all are delivered at a time")
        gate.set()

    def test_calls_max(self):
        """Whoever was made to wait by the old limit does not wait for it any more."""
        other = self.participant()
        self.reload(calls_max=1)
        self.gated("/a")
        self.submit_to(f"{self.web.url}/a")
        self.called("/a")
        self.submit_to(f"{other.url}/b", gid=self.gid())
        wait_for(lambda: self.sagad.metrics()["sagad_branch_calls_waiting"] == 1, "it waits")
        self.assertEqual(0, other.count("/b"))
        self.reload()
        wait_for(lambda: other.count("/b") == 1, "it is called")

    def test_more_calls_may_have_more_files(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
        self.restart(connections_max=10, calls_max=10)
        self.reload(connections_max=10, calls_max=1000)
        allowed, _ = resource.prlimit(self.sagad.process.popen.pid, resource.RLIMIT_NOFILE)
        self.assertEqual(min(1120, hard), allowed)

    def test_calls_waiting_max(self):
        self.restart(http_calls_max=1)
        self.reload(http_calls_max=1, calls_waiting_max=0)
        self.gated("/a")
        self.submit_to(f"{self.web.url}/a")
        self.called("/a")
        reply = self.submit_to(f"{self.web.url}/b", gid=self.gid(), wait_result=True)
        self.assertEqual(425, reply.status, reply.text)
        self.assertEqual(0, self.web.count("/b"))

    def test_drain_timeout(self):
        self.addCleanup(self.restart)
        self.restart(drain_timeout="10m")
        self.reload(drain_timeout="100ms")
        self.gated("/a")
        self.submit_to(f"{self.web.url}/a")
        self.called("/a")
        self.assertEqual(0, self.sagad.process.stop())
        self.assertTrue(self.logged("drain_timeout is over"))

    def test_log_file(self):
        self.write(log_file=self.log + ".2")
        self.hang_up(path=self.log + ".2")
        self.reload()


if __name__ == "__main__":
    unittest.main()
