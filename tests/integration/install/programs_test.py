"""Installs everything into an empty folder: the programs run from there, and manual, samples and
units are where they belong and name what is installed."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
ARGS = argparse.Namespace()
PROGRAMS = {"sagad": "sbin", "sagactl": "bin", "sagabench": "bin", "orderd": "bin",
            "productd": "bin", "userd": "bin", "scored": "bin"}
DAEMONS = ("sagad", "orderd", "productd", "userd", "scored")
SECRETS = {f"{name.upper()}_JWT_SECRET": "0123456789abcdef0123456789abcdef" for name in DAEMONS[1:]}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60,
                          check=False, **options)


class ProgramsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="sagad_install_"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.prefix = cls.dir / "prefix"
        done = run("cmake", "--install", ARGS.build, "--prefix", cls.prefix)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        cls.examples = cls.prefix / "share/doc/sagad/examples"
        cls.units = cls.prefix / "lib/systemd/system"

    def page(self, name, section):
        path = self.prefix / f"share/man/man{section}/{name}.{section}"
        self.assertTrue(path.is_file(), f"no {path}")
        return path

    def test_the_programs_run(self):
        for name, folder in PROGRAMS.items():
            done = run(self.prefix / folder / name, "--help")
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn(name, done.stdout)

    def test_the_version_is_the_one_of_the_project(self):
        version = re.search(r"project\(sagad VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
        for name in (*DAEMONS, "sagactl"):
            done = run(self.prefix / PROGRAMS[name] / name, "--version")
            self.assertEqual((0, f"{name} {version.group(1)}\n"), (done.returncode, done.stdout))

    def test_each_program_has_its_page(self):
        for name in PROGRAMS:
            page = self.page(name, 8 if name in DAEMONS else 1)
            target = re.fullmatch(r"\.so (man8/\w+\.8)\n", page.read_text())
            if target:  # a page of several programs
                page = self.prefix / "share/man" / target.group(1)
            self.assertRegex(page.read_text(), rf"(?m)^\.Nm {name}\b", f"{page} is about others")
        self.page("sagad.conf", 5)
        self.page("libsaga", 3)

    def test_the_units_name_what_is_installed(self):
        self.assertEqual(sorted(f"{name}.service" for name in DAEMONS),
                         sorted(path.name for path in self.units.iterdir()))
        for name in DAEMONS:
            text = (self.units / f"{name}.service").read_text()
            for command in re.findall(r"(?m)^ExecStart(?:Pre)?=(\S+)", text):
                self.assertEqual(self.prefix / PROGRAMS[name] / name, pathlib.Path(command))
            for page, section in re.findall(r"(?m)^Documentation=man:([\w.]+)\((\d)\)", text):
                self.page(page, section)

    def test_the_programs_take_their_samples(self):
        for name in DAEMONS:
            done = run(self.prefix / PROGRAMS[name] / name, "--config",
                       self.examples / f"{name}.conf", "--check-config",
                       env={**os.environ, **SECRETS})
            self.assertEqual(0, done.returncode, done.stderr)

    def test_redis_has_its_samples(self):
        self.assertTrue((self.examples / "redis.conf").is_file())
        users = {f"{name}_PASSWORD": "x" for name in
                 ("OPS", "SAGAD", "ORDER", "PRODUCT", "USER", "SCORE")}
        done = run(self.examples / "redis-acl.sh", env={**os.environ, **users})
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^user sagad on #[0-9a-f]{64} ")

    def test_a_package_can_be_staged(self):
        """DESTDIR moves the files, not the paths that the units name."""
        stage = self.dir / "stage"
        done = run("cmake", "--install", ARGS.build, "--prefix", "/usr",
                   env={**os.environ, "DESTDIR": str(stage)})
        self.assertEqual(0, done.returncode, done.stderr)
        unit = (stage / "usr/lib/systemd/system/sagad.service").read_text()
        self.assertIn("\nExecStart=/usr/sbin/sagad ", unit)
        self.assertTrue((stage / "usr/sbin/sagad").is_file())

    def test_programs_come_without_the_rest(self):
        """As the container image takes them."""
        only = self.dir / "only"
        done = run("cmake", "--install", ARGS.build, "--prefix", only, "--component", "sagad")
        self.assertEqual(0, done.returncode, done.stderr)
        files = {path.name for path in only.rglob("*") if path.is_file()}
        self.assertEqual(set(PROGRAMS), files)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
