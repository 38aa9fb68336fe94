#!/usr/bin/env python3
"""Checks protocol.pml with spin, exhaustively.

  check.py NAME --work DIR [--expect WORD] [-D …]   one variant of the model
  check.py --rules                                  its references to the code, and docs/model.md
  check.py --self-test                              what pan may say, and what is made of it

Without --expect spin must find nothing, having seen every state. With it (half, doubled, early,
turned, conflict: assertions; cycle: a run that never ends) spin must find that, and a model that
does not compile or that outgrows its memory is no success. Ends with 77 (skipped) without spin.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODEL = HERE / "protocol.pml"
SKIPPED = 77
MEMORY_MB = 2000
DEPTH = 10000
# What pan says when it has not seen everything, though it found no error.
INCOMPLETE = ("max search depth too small", "out of memory", "MEMLIM", "Search not completed",
              "VECTORSZ", "aborting", "interrupted")


def run(command, cwd):
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)


def build(work, defines, compiler):
    """The checker of this variant, or what went wrong."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    made = run(["spin", "-a", *defines, str(MODEL)], work)
    if made.returncode != 0 or not (work / "pan.c").exists():
        return f"spin cannot read the model:\n{made.stdout}"
    kind = ["-DNOREDUCE"] if "-DPROGRESS" in defines else ["-DSAFETY"]
    flags = ["-O1", "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", *kind]
    compiled = run([compiler, *flags, "-o", "pan", "pan.c"], work)
    return f"pan.c does not compile:\n{compiled.stdout}" if compiled.returncode != 0 else ""


def search(work, defines):
    found = run(["./pan", f"-m{DEPTH}", *(["-a"] if "-DPROGRESS" in defines else [])], work)
    return found.stdout


def error_of(output):
    """The word for the first error that was found; "" without one."""
    match = re.search(r"^pan:1: (?:assertion violated +(.*?) \(at depth|(acceptance cycle))", output,
                      re.M)
    if not match:
        return ""
    words = re.findall(r"half|doubled|early|turned|conflict", match.group(1) or "")
    return "cycle" if match.group(2) else words[0] if words else match.group(1)


def judge(output, expect):
    """Why this is not what was expected; "" when it is."""
    counted = re.search(r"errors: (\d+)", output)
    error = error_of(output)
    if not counted:
        return "pan did not end its search"
    if expect:
        return "" if error == expect else f"expected spin to find '{expect}', found '{error}'"
    if counted.group(1) != "0":
        return f"spin found an error: {error or 'of an unknown kind'}"
    missed = [text for text in INCOMPLETE if text in output]
    return f"the search is not complete: {missed[0]}" if missed else ""


def trail(work, defines):
    """The run that leads to the error, in the words of the model."""
    told = run(["spin", "-t", "-k", str(work / f"{MODEL.name}.trail"), *defines, str(MODEL)], work)
    return re.sub(r"(?m)^(?!\s*(coordinator|store|barrier)[ \w]*:).*\n?", "", told.stdout)


def check_variant(args, defines):
    for tool in ("spin", args.compiler):
        if not shutil.which(tool):
            print(f"skipped: model.{args.name}: {tool} is not installed: scripts/deps.sh does it")
            return SKIPPED
    fault = build(args.work, defines, args.compiler)
    if fault:
        print(fault)
        return 1
    output = search(args.work, defines)
    fault = judge(output, args.expect)
    print(*re.findall(r"(?m)^.*(?:pan:1:|State-vector|states, stored).*$", output), sep="\n")
    if (args.work / f"{MODEL.name}.trail").exists():
        print(trail(args.work, defines))
    if fault:
        print(f"model.{args.name}: {fault}\n{output if not args.expect else ''}")
    return 1 if fault else 0


def references(text):
    """{(rule, file, word)} of the lines "@rule file: words"; words may stand in quotes."""
    found = set()
    for rule, path, words in re.findall(r"@(\w+) ([\w/.]+): (.*?)(?: \*/)?$", text, re.M):
        for quoted, bare in re.findall(r'"([^"]+)"|(\S+)', words):
            found.add((rule, path, quoted or bare))
    return found


def check_rules():
    """Each word stands in its file, and docs/model.md has each rule with its files, no others."""
    refs = references("\n".join(path.read_text() for path in sorted(HERE.glob("*.pml"))))
    faults = [] if len(refs) > 30 else [f"only {len(refs)} references: is the pattern still right?"]
    for rule, path, word in sorted(refs):
        text = (ROOT / path).read_text() if (ROOT / path).exists() else None
        if text is None:
            faults.append(f"{rule}: there is no {path}")
        elif not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text):
            faults.append(f"{rule}: {path} has no '{word}' any more")
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$",
                           (ROOT / "docs/model.md").read_text(), re.M))
    for rule in sorted({ref[0] for ref in refs} | set(rows)):
        files = {ref[1] for ref in refs if ref[0] == rule}
        told = set(re.findall(r"`([\w/]+\.\w+)`", rows.get(rule, "")))
        if files != told:
            faults.append(f"{rule}: the model names {sorted(files)}, docs/model.md {sorted(told)}")
    print(*faults, sep="\n")
    return 1 if faults else 0


def self_test():
    """A search that saw only a part, or found something else, is never taken for what it is not."""
    ended = "State-vector 140 byte, depth reached 60, errors: 0\n"
    half = "pan:1: assertion violated  !(half) (at depth 9)\n" + ended.replace("0\n", "1\n")
    cycle = half.replace("assertion violated  !(half)", "acceptance cycle")
    cut = "Warning: Search not completed\n" + ended
    cases = [(ended, "", True), (half, "", False), (cycle, "", False), ("", "", False),
             (cut, "", False), ("error: max search depth too small\n" + ended, "", False),
             ("pan: out of memory\n" + ended, "", False), (half, "half", True),
             (half, "doubled", False), (cycle, "half", False), (cycle, "cycle", True),
             (ended, "half", False), (cut, "half", False), ("", "half", False),
             (half.replace("!(half)", "!(other)"), "half", False)]
    wrong = [case for case in cases if (judge(case[0], case[1]) == "") != case[2]]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--expect", default="")
    parser.add_argument("--compiler", default="cc")
    args, defines = parser.parse_known_args()
    if args.rules or args.self_test:
        return check_rules() if args.rules else self_test()
    if not args.name or not args.work or [d for d in defines if not d.startswith("-D")]:
        parser.error("a variant needs its name and --work; all else are definitions -D…")
    args.work = args.work.resolve()
    return check_variant(args, defines)


if __name__ == "__main__":
    sys.exit(main())
