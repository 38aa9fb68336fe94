"""What a service of the mall looks at before it serves: its settings."""
import os
import subprocess
import unittest

from harness.stack import BUILD, SECRET, SERVICES


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


if __name__ == "__main__":
    unittest.main()
