#!/usr/bin/env python3
"""Compares conf/PROGRAM.conf with what the built program says about itself.

Usage: conf_samples.py --conf DIR PROGRAM...    (paths of built programs)

Each option of `PROGRAM --help-config` must stand in the sample, with the same default, and the sample
must name no other. Exit 1 names each difference. `--self-test` plants differences and expects them
to be found.
"""
import argparse
import pathlib
import re
import subprocess
import sys

# "#name = value", "#name.KEY = value" or "name = value": an option, commented out or not.
OPTION = re.compile(r"#?([a-z][a-z0-9_]*)(?:\.\w+)? =[ \t]*(.*)$")


def lines(text):
    """(name, default); prose has a blank after '#', so it never looks like an option."""
    found = (OPTION.match(line) for line in text.splitlines())
    return [(match.group(1), match.group(2).strip()) for match in found if match]


def options(text):
    return dict(lines(text))


def differences(name, sample, generated):
    """What is wrong with the sample, a line each."""
    has, wants = options(sample), options(generated)
    if not wants:
        yield f"{name}: --help-config shows no option; is the pattern of this test still right?"
    names = [option for option, _ in lines(generated)]
    for option in sorted({option for option in names if names.count(option) > 1}):
        yield f"{name}: option {option} is there twice"
    for option in sorted(wants.keys() - has.keys()):
        yield f"conf/{name}.conf: option {option} is missing"
    for option in sorted(has.keys() - wants.keys()):
        yield f"conf/{name}.conf: {name} has no option {option}"
    for option in sorted(wants.keys() & has.keys()):
        if has[option] != wants[option]:
            yield f"conf/{name}.conf: {option} is '{has[option]}', the default is '{wants[option]}'"


def check(conf, program):
    name = pathlib.Path(program).name
    done = subprocess.run([program, "--help-config"], capture_output=True, text=True, check=True)
    sample = conf / f"{name}.conf"
    if not sample.exists():
        return [f"conf/{name}.conf is missing: write it with {name} --help-config"]
    return list(differences(name, sample.read_text(), done.stdout))


def self_test():
    generated = "# Text.\n#one = 1\n\n# Of a map.\n#two.KEY =\n"
    assert not list(differences("p", generated, generated))
    assert list(differences("p", "#one = 1\n", generated)) == ["conf/p.conf: option two is missing"]
    assert list(differences("p", generated + "#old = 3\n", generated)) == [
        "conf/p.conf: p has no option old"]
    assert list(differences("p", generated.replace("= 1", "= 2"), generated)) == [
        "conf/p.conf: one is '2', the default is '1'"]
    assert list(differences("p", generated, generated + "#one = 1\n")) == [
        "p: option one is there twice"]
    assert list(differences("p", "", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conf", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2] / "conf")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("programs", nargs="*")
    args = parser.parse_args()
    if args.self_test:
        self_test()
        return
    if not args.programs:
        parser.error("name at least one program")
    found = [line for program in args.programs for line in check(args.conf, program)]
    if found:
        print("\n".join(found))
        sys.exit(1)


if __name__ == "__main__":
    main()
