#!/usr/bin/env python3
"""House rules that a machine can check. Usage: lint.py RULE [--root DIR]; exit 1 names each breach.

Rules: layers, lengths, banned, lua_headers, options, names, format, shell, lua
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

# A folder may include the folders named here, and itself. Lowest first; docs/architecture.md draws it.
LAYERS = {
    "lib/base": [],
    "lib/net": ["lib/base"],
    "lib/redis": ["lib/base", "lib/net"],
    "lib/wire": ["lib/base", "lib/net"],
    "sdk": ["lib/base", "lib/net", "lib/redis", "lib/wire"],
    "coordinator": ["lib/base", "lib/net", "lib/redis", "lib/wire"],
    "services": ["lib/base", "lib/net", "lib/redis", "lib/wire", "sdk"],
    "cli": ["lib/base", "lib/net", "lib/redis", "lib/wire", "sdk"],
    "bench": ["lib/base", "lib/net", "lib/redis", "lib/wire", "sdk"],
}
PREFIXES = {"base": "lib/base", "net": "lib/net", "redis": "lib/redis", "wire": "lib/wire",
            "saga.h": "sdk", "coordinator": "coordinator", "services": "services", "cli": "cli",
            "bench": "bench", "sdk": "sdk"}
# Libraries stay behind their wrapper.
WRAPPED = {"event2/": ["lib/net", "lib/redis"], "hiredis": ["lib/redis"], "pb.h": ["lib/wire"],
           "pb_decode.h": ["lib/wire"], "pb_encode.h": ["lib/wire"], "cjson/": ["lib/wire"],
           "saga/v1/saga.pb.h": ["lib/wire"]}
BANNED = {r"\bv?sprintf\s*\(": "use snprintf or buf_printf", r"\bstr(cpy|cat|ncpy|ncat|tok)\s*\(":
          "use slice or buf", r"\bato[ilf]l?\s*\(": "use slice_to_int64", r"\bgets\s*\(": "never",
          r"\balloca\s*\(": "use mem_alloc", r"\bu?sleep\s*\(": "wait for an event",
          r"\bmemcmp\s*\([^)]*(token|secret|password)": "use slice_eq_secret"}
FUNCTION_MAX, SOURCE_MAX, HEADER_MAX = 70, 700, 250


def sources(root, *suffixes):
    for top in ("lib", "sdk", "coordinator", "services", "cli", "bench", "tests", "scripts", "lua"):
        for path in sorted((root / top).rglob("*")):
            if path.is_file() and path.suffix in suffixes:
                yield path


def folder_of(root, path):
    parts = path.relative_to(root).parts
    return "/".join(parts[:2]) if parts[0] == "lib" else parts[0]


def pure_sources(root):
    """The files of sagad_core, rules and engine: they know no I/O."""
    found = re.search(r"add_library\(sagad_core STATIC([^)]*)\)",
                      (root / "coordinator/CMakeLists.txt").read_text())
    stems = {name[:-2] for name in found.group(1).split()} | {"store", "caller", "engine_impl"}
    return {f"{stem}{suffix}" for stem in stems for suffix in (".c", ".h")}


def rule_layers(root):
    pure_names = pure_sources(root)
    for path in sources(root, ".c", ".h"):
        layer = folder_of(root, path)
        if layer not in LAYERS:
            continue
        pure = layer == "coordinator" and path.name in pure_names
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#include ["<]([^">]+)[">]', line)
            if not found:
                continue
            name = found.group(1)
            target = PREFIXES.get(name.split("/")[0]) if "/" in name or name == "saga.h" else None
            where = f"{path.relative_to(root)}:{number}"
            if target and target != layer and target not in LAYERS[layer]:
                yield f"{where}: {layer} must not include {target} ({name})"
            for library, allowed in WRAPPED.items():
                if name.startswith(library) and layer not in allowed:
                    yield f"{where}: {name} only in {', '.join(allowed)}"
            if pure and target and target not in ("lib/base", "coordinator"):
                yield f"{where}: rules and engine do no I/O ({name})"


def functions(text):
    """(line, name, length) of each function body; relies on our format: '{' and '}' in column 0."""
    start, name = None, ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line == "{" and start is None:
            head = " ".join(lines[max(0, number - 8):number - 1])
            found = re.findall(r"(\w+)\s*\(", head)
            start, name = number, found[0] if found else "?"
        elif line == "}" and start is not None:
            yield start, name, number - start - 1
            start = None


def rule_lengths(root):
    for path in sources(root, ".c", ".h"):
        text = path.read_text()
        limit = HEADER_MAX if path.suffix == ".h" else SOURCE_MAX
        lines = text.count("\n")
        if lines > limit:
            yield f"{path.relative_to(root)}: {lines} lines, allowed {limit}"
        for line, name, length in functions(text):
            if length > FUNCTION_MAX:
                yield f"{path.relative_to(root)}:{line}: {name} has {length} lines, allowed {FUNCTION_MAX}"


def strip_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', re.sub(r"//[^\n]*", "", text))


def rule_banned(root):
    for path in sources(root, ".c", ".h"):
        for number, line in enumerate(strip_comments(path.read_text()).splitlines(), 1):
            for pattern, instead in BANNED.items():
                if re.search(pattern, line):
                    yield f"{path.relative_to(root)}:{number}: {line.strip()[:60]} — {instead}"


def rule_lua_headers(root):
    """Each script says what it is for, its KEYS, ARGV and returns, and why a repeat is harmless."""
    for path in sources(root, ".lua"):
        if path.parts[len(root.parts)] != "lua":
            continue
        comment = "\n".join(line for line in path.read_text().split("\n\n")[0].splitlines()
                            if line.startswith("--"))
        name = path.relative_to(root)
        for word in ("KEYS", "ARGV", "Returns", "Repeat"):
            if not re.search(word, comment, re.I):
                yield f"{name}: the header comment does not speak of {word}"


def rule_options(root):
    """Every option of every program stands in its sample configuration and in the docs."""
    for source, sample, doc in (("coordinator/settings.c", "conf/sagad.conf", "docs/operations.md"),):
        text = (root / source).read_text()
        names = re.findall(r'(?:\.name = |\{\s*)"([a-z][a-z0-9_]*)"', text)
        if len(names) < 10:
            yield f"{source}: found only {len(names)} options; is the pattern of this rule still right?"
        for name in names:
            for place in (sample, doc):
                if not re.search(rf"\b{name}\b", (root / place).read_text()):
                    yield f"{source}: option {name} is not in {place}"


def rule_reload(root):
    """What SIGHUP changes is what the docs promise, and each such option has a test of its effect."""
    source, doc, tests = ("coordinator/settings.c", "docs/operations.md",
                          "tests/integration/reload_test.py")
    listed = re.search(r"reloadable\[\] = \{(.*?)NULL", (root / source).read_text(), re.S)
    promised = re.search(r"These can change: (.*?)\. Each", (root / doc).read_text(), re.S)
    if not (listed and promised):
        yield f"{source}, {doc}: found no list; are the patterns of this rule still right?"
        return
    has = set(re.findall(r'"(\w+)"', listed.group(1)))
    says = set(re.findall(r"`(\w+)(?:\.NAME)?`", promised.group(1)))
    tested = set(re.findall(r"def test_(\w+)", (root / tests).read_text()))
    for name in sorted(has ^ says):
        yield f"{name}: {source} {'takes' if name in has else 'refuses'} it, {doc} says otherwise"
    for name in sorted(has - tested):
        yield f"{name}: {tests} has no test_{name}"


def rule_names(root):
    """Nothing that is committed names a machine's paths; no unfinished work hides in comments."""
    tracked = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True)
    files = tracked.stdout.split() if tracked.returncode == 0 else []
    for name in files:
        path = root / name
        if path.suffix in (".png", ".bin") or "corpus" in name or name == "tests/lint/lint.py":
            continue
        try:
            text = path.read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line):
                yield f"{name}:{number}: unfinished: {line.strip()[:80]}"
            if re.search(r"(?<![\w.])/(work|root|home/\w+)/", line):
                yield f"{name}:{number}: a path of one machine: {line.strip()[:80]}"


def run_tool(tool, arguments, root=None):
    if not shutil.which(tool):
        return [f"{tool} is not installed: scripts/deps.sh installs it"]
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, cwd=root)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def rule_format(root):
    files = [str(path) for path in sources(root, ".c", ".h")]
    yield from run_tool("clang-format", ["--dry-run", "--Werror", *files])


def rule_shell(root):
    files = [str(path) for path in sources(root, ".sh")] + [str(root / ".ci/run")]
    yield from run_tool("shellcheck", files)


def rule_lua(root):
    files = [str(path) for path in sources(root, ".lua")]
    yield from run_tool("luacheck", ["--no-color", "-q", "--config", str(root / ".luacheckrc"), *files],
                        root)  # its patterns are relative to the folder that it runs in


def rule_man(root):
    files = [str(path) for path in sorted((root / "docs/man").glob("*.[1-8]"))]
    yield from run_tool("mandoc", ["-T", "lint", "-W", "warning", *files])


def main():
    rules = {name[5:]: fn for name, fn in globals().items() if name.startswith("rule_")}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rule", choices=sorted(rules))
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    args = parser.parse_args()
    breaches = list(rules[args.rule](args.root.resolve()))
    print("\n".join(breaches[:60]))
    sys.exit(1 if breaches else 0)


if __name__ == "__main__":
    main()
