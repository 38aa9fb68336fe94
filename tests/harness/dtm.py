"""What the SDKs of DTM send, for every mode, against participants that a test scripts."""
import base64
import json
import threading
import time
import urllib.parse

from harness import web
from harness.case import StackCase
from harness.process import wait_for
from harness.web import Answer


# How late something may be on a busy machine; what the tests look for is later by far.
SLACK_S = 5
# A call, or a command of Redis, that takes long because the machine or its disk is busy is no timeout.
PATIENT = {"request_timeout": "20s", "store_timeout": "20s"}


class ModeCase(StackCase):
    """sagad (one or more) and a participant; each test has a gid of its own, self.id_."""

    stack_options = {"services": (), "settings": {"sagad": PATIENT}}
    has_user = False

    def setUp(self):
        self.web = self.participant()
        self.id_ = self.gid()

    def gid(self):
        return "g-" + self.sagad.get("/api/dtmsvr/newGid").body["gid"]

    # ---- requests ----

    def steps(self, *names):
        """Of a saga: each is /NAME at the participant, its undo /NAME-undo."""
        return {"steps": [{"action": f"{self.web.url}/{n}", "compensate": f"{self.web.url}/{n}-undo"}
                          for n in names], "payloads": ["{}"] * len(names)}

    def body(self, gid=None, **fields):
        """What every request of the Go SDK carries."""
        return {"gid": gid or self.id_, "trans_type": self.trans_type, "concurrent": False,
                "protocol": "", **fields}

    def send(self, call, sagad=None, **fields):
        """To one of the calls under /api/dtmsvr, by self.sagad or another one."""
        return (sagad or self.sagad).dtm(call, **fields)

    def ok(self, call, sagad=None, **fields):
        """The same, and it must be fine."""
        reply = self.send(call, sagad, **fields)
        self.assert_reply(200, "SUCCESS", reply)
        return reply

    def prepare(self, **fields):
        return self.ok("prepare", **self.body(**fields))

    def submit(self, sagad=None, **fields):
        return self.send("submit", sagad, **self.body(**fields))

    def abort(self, sagad=None, **fields):
        return self.send("abort", sagad, **self.body(**fields))

    # ---- what came of it ----

    def assert_reply(self, status, result, reply):
        self.assertEqual((status, result), (reply.status, reply.body.get("dtm_result")), reply.text)
        self.assertEqual("application/json; charset=utf-8", reply.headers["Content-Type"])

    def assert_message(self, status, message, reply):
        """The exact text, which SDKs show to their users."""
        self.assertEqual((status, message), (reply.status, reply.body["message"]))
        self.assertEqual("FAILURE" if status == 409 else None, reply.body.get("dtm_result"))

    def assert_refused(self, says, reply):
        """400, and the message says what is wrong."""
        self.assertEqual(400, reply.status, reply.text)
        self.assertIn(says, reply.body["message"])
        self.assertNotIn("dtm_result", reply.body)

    def assert_ended(self, status, gid=None, sagad=None):
        gid, sagad = gid or self.id_, sagad or self.sagad
        wait_for(lambda: sagad.status(gid) in ("succeed", "failed"),
                 f"{gid} ends, is {sagad.status(gid)}")
        self.assertEqual(status, sagad.status(gid))

    def transaction(self, gid=None, sagad=None):
        return (sagad or self.sagad).query(gid or self.id_)["transaction"]

    def called(self, *paths):
        wait_for(lambda: set(paths) <= set(self.web.paths()), f"{paths} were called")

    def params(self, call):
        return dict(call.query)

    def call_of(self, path):
        return next(call for call in list(self.web.calls) if call.path == path)

    def gated(self, *paths):
        """The calls of these paths wait until the event that is returned is set."""
        gate = threading.Event()
        self.addCleanup(gate.set)
        for path in paths:
            self.web.rules[path] = Answer(gate=gate)
        return gate

    def retry_now(self, gid=None, sagad=None):
        self.ok("resetNextCronTime", sagad, gid=gid or self.id_)

    # ---- recovery ----

    def kill_first(self):
        """kill -9 of sagad1; what was asked of it is asked of sagad2 from now on."""
        self.sagad.kill()
        self.addCleanup(self.sagad.start)
        self.sagad = self.stack["sagad2"]

    def kill_while(self, *paths):
        """kill -9 while these are called; afterwards they answer at once."""
        gate = self.gated(*paths)

        def kill():
            self.called(*paths)
            self.kill_first()
            for path in paths:
                del self.web.rules[path]
            gate.set()
        return kill


class TwoCoordinators(ModeCase):
    """The second goes on where the first was killed."""

    stack_options = {**ModeCase.stack_options, "coordinators": 2}


def b64(data):
    return base64.b64encode(data).decode()
