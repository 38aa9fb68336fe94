#!/usr/bin/env python3
"""scripts/redis-acl.sh by itself."""
import os
import re
import subprocess
import unittest

from harness.stack import PROGRAMS_WITH_ACL, ROOT

PASSWORDS = {f"{name}_PASSWORD": f"secret of {name}" for name in PROGRAMS_WITH_ACL}
HASH_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class AclTest(unittest.TestCase):
    def acl(self, passwords):
        env = {name: value for name, value in os.environ.items() if name not in PASSWORDS}
        return subprocess.run([ROOT / "scripts" / "redis-acl.sh"], env={**env, **passwords},
                              capture_output=True, text=True, timeout=60, check=False)

    def test_each_user_has_a_password_of_its_own(self):
        done = self.acl(PASSWORDS)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        users = dict(re.findall(r"(?m)^user (\w+) on #([0-9a-f]{64}) ", done.stdout))
        self.assertEqual({"default", "ops", "sagad", "order", "product", "user", "score"},
                         set(users))
        self.assertEqual(6, len(set(users.values())))  # default has that of ops
        self.assertNotIn(HASH_OF_NOTHING, users.values())

    def test_without_one_password_there_is_no_file_at_all(self):
        for name in PASSWORDS:
            for passwords in ({key: value for key, value in PASSWORDS.items() if key != name},
                              {**PASSWORDS, name: ""}):
                with self.subTest(name, passwords=len(passwords)):
                    done = self.acl(passwords)
                    self.assertNotEqual(0, done.returncode)
                    self.assertEqual("", done.stdout)
                    self.assertIn(f"redis-acl.sh: {name} is not set", done.stderr)


if __name__ == "__main__":
    unittest.main()
