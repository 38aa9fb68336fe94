#!/usr/bin/env python3
"""Plants one breach of each rule in an empty tree and expects the rule to find it."""
import importlib.util
import pathlib
import tempfile
import unittest

SPEC = importlib.util.spec_from_file_location("lint", pathlib.Path(__file__).with_name("lint.py"))
lint = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lint)


class Planted(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.dir.name)
        self.addCleanup(self.dir.cleanup)
        (self.root / "coordinator").mkdir()
        (self.root / "coordinator/CMakeLists.txt").write_text(
            "add_library(sagad_core STATIC\n  engine.c txn.c)\n")

    def breaches(self, rule, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return list(rule(self.root))

    def test_upward_include(self):
        self.assertTrue(self.breaches(lint.rule_layers, "lib/base/a.c", '#include "net/loop.h"\n'))
        self.assertFalse(self.breaches(lint.rule_layers, "lib/base/a.c", '#include "base/err.h"\n'))

    def test_wrapped_library(self):
        self.assertTrue(self.breaches(lint.rule_layers, "sdk/src/a.c", "#include <hiredis/hiredis.h>\n"))

    def test_impure_engine(self):
        self.assertTrue(self.breaches(lint.rule_layers, "coordinator/engine.c", '#include "net/loop.h"\n'))

    def test_long_function(self):
        body = "".join(f"    f({i});\n" for i in range(71))
        self.assertTrue(self.breaches(lint.rule_lengths, "cli/a.c", "void g(void)\n{\n" + body + "}\n"))
        short = "void g(void)\n{\n    f();\n}\n"
        self.assertFalse(self.breaches(lint.rule_lengths, "cli/a.c", short))

    def test_long_file(self):
        self.assertTrue(self.breaches(lint.rule_lengths, "cli/a.h", "\n" * 251))

    def test_banned_call(self):
        self.assertTrue(self.breaches(lint.rule_banned, "cli/a.c", "x = atoi(y);\n"))
        self.assertFalse(self.breaches(lint.rule_banned, "cli/a.c", "/* atoi(y) */ \"sleep(1)\";\n"))

    def reload_breaches(self, listed, promised, tests):
        self.breaches(lint.rule_layers, "docs/operations.md",
                      f"These can change: {promised}. Each that did is logged.\n")
        self.breaches(lint.rule_layers, "tests/integration/reload_test.py", tests)
        return self.breaches(lint.rule_reload, "coordinator/settings.c",
                             "static const char *const reloadable[] = {%s NULL,\n};\n" % listed)

    def test_reload(self):
        tests = "    def test_token(self):\n    def test_shop(self):\n"
        self.assertFalse(self.reload_breaches('"token", "shop",', "`token`, `shop.NAME`", tests))
        self.assertTrue(self.reload_breaches('"token", "shop",', "`token`", tests))
        self.assertTrue(self.reload_breaches('"token",', "`token`, `shop.NAME`", tests))
        self.assertTrue(self.reload_breaches('"token", "lease",', "`token`, `lease`", tests))
        self.assertTrue(self.reload_breaches('"token",', "", tests))

    def test_lua_header(self):
        self.assertTrue(self.breaches(lint.rule_lua_headers, "lua/order/a.lua", "-- nothing said\n\nreturn 1\n"))


if __name__ == "__main__":
    unittest.main()
