#!/usr/bin/env python3
"""The commands of "Backup" in docs/operations.md, as they stand there: what they copy, they bring
back."""
import os
import re
import shutil
import signal
import subprocess
import unittest

from harness.case import StackCase
from harness.dtm import PATIENT
from harness.process import wait_for
from harness.redis import CONF
from harness.stack import ROOT
from harness.web import Answer


def recipes():
    """Of the backup, and of the restore."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("\n## Backup\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.S)


class BackupTest(StackCase):
    # What has been copied is due when it is restored; nobody tries it before the participant is well.
    stack_options = {"services": (), "acl": True,
                     "settings": {"sagad": {**PATIENT, "retry_interval": "10m",
                                            "retry_interval_max": "10m"}}}
    has_user = False

    def setUp(self):
        self.web = self.participant()
        self.dir = os.path.join(self.stack.dir, "backup")
        os.makedirs(self.dir)
        self.conf = os.path.join(self.dir, "redis.conf")
        shutil.copyfile(CONF, self.conf)
        with open(self.conf, "a", encoding="utf-8") as conf:
            conf.write(f"port 0\nunixsocket {self.redis.path}\naclfile {self.redis.acl_file}\n"
                       f"pidfile {self.dir}/pid\n")

    def follow(self, recipe):
        """Where redis-cli finds Redis is what is ours; it ends at the first command that fails."""
        words = f'redis-cli() {{ command redis-cli -s "{self.redis.path}" "$@"; }}\n' \
                f'redis-server() {{ "{os.environ.get("REDIS_SERVER", "redis-server")}" "$@"; }}\n'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", words + recipe], cwd=self.dir, capture_output=True,
            text=True, timeout=60, check=False,
            env={**os.environ, "conf": self.conf, "data": self.redis.dir,
                 "REDISCLI_AUTH": self.stack.passwords["OPS"]})
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def end_left_over(self):
        """The Redis of a restore that has failed."""
        try:
            with open(os.path.join(self.dir, "pid"), encoding="ascii") as file:
                os.kill(int(file.read()), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass

    def submit(self, name):
        gid = self.gid()
        reply = self.sagad.dtm("submit", gid=gid, trans_type="saga", payloads=["{}"], steps=[
            {"action": f"{self.web.url}/{name}", "compensate": f"{self.web.url}/undo"}])
        self.assertEqual(200, reply.status, reply.text)
        return gid

    def stop(self):
        self.assertEqual(0, self.sagad.process.stop())
        self.assertEqual(0, self.redis.process.stop())

    def test_what_was_copied_is_restored_and_lasts(self):
        backup, restore = recipes()
        self.web.rules["/away"] = Answer(500)
        finished, unfinished = self.submit("well"), self.submit("away")
        self.await_status(finished, "succeed")
        wait_for(lambda: "01.action" in self.sagad.history(unfinished), "it was tried")
        self.follow(backup)
        later = self.submit("well")
        self.await_status(later, "succeed")
        self.stop()
        self.addCleanup(self.end_left_over)
        keys = re.search(r"PONG\n(\d+)\n", self.follow(restore)).group(1)
        self.redis.start()
        self.assertEqual(int(keys), self.redis.ask("DBSIZE"))
        self.assertIn("aof_enabled:1", self.redis.ask("INFO", "persistence"))
        self.redis.kill()  # it is on disk, not in memory alone
        self.redis.start()
        self.web.rules = {}
        self.sagad.start()
        self.assertEqual("succeed", self.sagad.status(finished))
        self.assertIsNone(self.sagad.status(later))
        self.assertEqual("submitted", self.sagad.status(unfinished))
        self.assertEqual(200, self.sagad.dtm("resetNextCronTime", gid=unfinished).status)
        self.await_status(unfinished, "succeed")


if __name__ == "__main__":
    unittest.main()
