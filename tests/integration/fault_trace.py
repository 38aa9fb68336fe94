#!/usr/bin/env python3
"""fault_trace.py with|without FILE …: the programs have the fault points of lib/base/fault.h, or
nothing of them: no name of a point, no variable, no section, no function."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACES = ("SAGAD_FAULT", "sagad_faults", "fault_pass", "list_faults", "fault point")


def points():
    """All names in the sources."""
    found = set()
    for folder in ("lib", "coordinator", "sdk", "services"):
        for path in (ROOT / folder).rglob("*.c"):
            found.update(re.findall(r'FAULT\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    return found


def main():
    wanted, names, wrong = sys.argv[1] == "with", points(), []
    assert len(names) > 10, names
    everything = b"".join(pathlib.Path(path).read_bytes() for path in sys.argv[2:])
    for text in sorted({*names, *TRACES}):
        if (text.encode() in everything) != wanted:
            wrong.append(f"'{text}' is {'not ' * wanted}in {' '.join(sys.argv[2:])}")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
