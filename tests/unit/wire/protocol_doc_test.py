"""Every message, field and enum number of saga.proto stands in docs/protocol.md, and nothing else.

usage: protocol_doc_test.py SOURCE_DIR
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))


def proto_tables(text):
    """{message or enum: {name: number}} of a proto file; nested oneofs belong to their message."""
    tables = {}
    current = None
    for line in text.splitlines():
        line = line.split("//")[0].strip()
        head = re.match(r"(message|enum) (\w+) \{(\})?", line)
        field = re.match(r"(?:[\w.]+ )*(\w+) = (\d+);", line)
        if head:
            current = tables.setdefault(head.group(2), {})
        elif field and current is not None:
            current[field.group(1)] = int(field.group(2))
    return tables


def document_tables(text):
    """The same of the tables whose head is "| Name | number |" (Frame: "| field | number |")."""
    tables = {}
    current = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            current = None
        elif len(cells) > 1 and cells[1] == "number":
            current = tables.setdefault("Frame" if cells[0] == "field" else cells[0], {})
        elif current is not None and cells[0].startswith("`"):
            current[cells[0].strip("`")] = int(cells[1])
    return tables


class ProtocolDocument(unittest.TestCase):
    def test_every_field_is_documented_with_its_number(self):
        proto = proto_tables((ROOT / "proto/saga/v1/saga.proto").read_text(encoding="utf-8"))
        proto = {name: fields for name, fields in proto.items() if fields}
        document = document_tables((ROOT / "docs/protocol.md").read_text(encoding="utf-8"))
        self.assertIn("Submit", proto)
        self.assertEqual(sorted(document), sorted(proto))
        for name, fields in proto.items():
            self.assertEqual(document[name], fields, name)


if __name__ == "__main__":
    unittest.main()
