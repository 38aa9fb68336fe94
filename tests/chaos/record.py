"""What Redis held when a run was over, as transactions, branches, effects and data.

A dump is {"keys": {key: {"type": …, "ttl": ms, "value": …}}}; a value is a dict (hash; zset: member →
score), a list of [id, {field: value}] (stream) or a text. Texts are bytes read as Latin-1."""
import functools
import json
import re

from harness.mall import CREATE, DECR, decr_message
from harness.wire import Message

ENDS = ("succeed", "failed")
STATUS_EVENT = re.compile(r"(?:\+\d+ )?(prepared|submitted|aborting|succeed|failed)(?::.*)?$", re.S)
AT_EVENT = re.compile(r"\+(\d+) ")
TURN_EVENT = re.compile(r"(?:\+\d+ )?(?:aborting|failed): (.*)$", re.S)
REFUSED_EVENT = re.compile(r"(?:\+\d+ )?\d+\.(?:action|try|msg) FAILURE \d+ms: (.*)$", re.S)
OP_EVENT = re.compile(r"(?:\+\d+ )?(\w+)\.(\w+) SUCCESS \d+ms")
FORWARD = {"saga": "action", "msg": "action", "tcc": "confirm", "xa": "commit"}
TRIMMED_AT = 1000  # entries of its stream; of a longer history the beginning may be gone
OPS = ("action", "compensate", "try", "confirm", "cancel", "commit", "rollback")
BACK = {"saga": "compensate", "tcc": "cancel", "xa": "rollback"}


def read_dump(path):
    with open(path, encoding="ascii") as file:
        return json.load(file)


class Effect:
    """What a branch does, by its method and payload: `what` is order, stock, grant, spend,
    user or seats."""

    METHODS = {"Create": "order", "DecrStock": "stock", "saveUserScore": "grant",
               "Deduct": "spend", "saveUser": "user", "End": "seats"}

    def __init__(self, method, payload):
        name = re.sub(r"^(Try|Confirm|Cancel)", "", method.rpartition("/")[2])
        self.what = self.METHODS.get(name, method)
        if self.what == "seats":
            self.num = int(payload)  # the desk takes plain text
            return
        message = Message(payload)
        if self.what == "order":
            self.uid, self.pid, self.amount = (message.int(n) for n in (1, 2, 3))
            self.order, self.num = message.int(5), message.int(6) or 1
        elif self.what == "stock":
            self.pid, self.num = message.int(1), message.int(2)
        elif self.what == "grant":
            self.uid, self.score = message.int(1), message.int(2)
        elif self.what == "spend":
            self.uid, self.score = message.int(1), -message.int(2)
        elif self.what == "user":
            self.uid = int(message.text(1))


class Branch:
    """Of a record; its barrier tells what was done."""

    def __init__(self, gid, number, text, rows):
        self.gid, self.number = gid, number
        head, _, payload = text.partition("payload ")
        self.payload = payload.encode("latin-1")
        words = head.split(" ")
        self.urls = {words[i]: words[i + 1] for i in range(0, len(words) - 1, 2) if words[i] in OPS}
        url = next((self.urls[op] for op in ("action", "try", "confirm", "commit") if op in self.urls),
                   "")
        self.method = "/".join(url.split("/")[-2:])
        self.effect = Effect(self.method, self.payload)
        self.rows = rows

    def asked(self):
        """As its client has written it down."""
        return [self.number, self.urls, self.payload.hex()]

    @property
    def state(self):
        """done; held (tried and neither confirmed nor cancelled); undone; barred (its undo came
        first or alone); none; or what contradicts itself, as text."""
        known = {
            (): "none",
            (("action", "action"),): "done",
            (("action", "action"), ("compensate", "compensate")): "undone",
            (("action", "compensate"), ("compensate", "compensate")): "barred",
            (("try", "try"),): "held",
            (("confirm", "confirm"), ("try", "try")): "done",
            (("cancel", "cancel"), ("try", "try")): "undone",
            (("cancel", "cancel"), ("try", "cancel")): "barred",
        }
        rows = tuple(sorted((op, writer) for op, (writer, _) in self.rows.items()))
        return known.get(rows, f"rows {dict(rows)}")

    def journal(self):
        """What its action or try has noted for its undo."""
        _, journal = self.rows.get("action") or self.rows.get("try") or ("", "")
        return journal


class Txn:
    def __init__(self, gid, partition, key, fields, ttl):
        self.gid, self.partition, self.key, self.fields, self.ttl = gid, partition, key, fields, ttl
        self.status, self.type = fields.get("status"), fields.get("type")
        self.query = fields.get("00", "").removeprefix("query ").partition(" ")[0]  # its check-back
        self.branches = []
        self.log = []  # texts of its stream

    def events(self):
        text = " | ".join(self.log + [self.fields.get("history", "")])
        return [event for event in text.split(" | ") if event]

    def statuses(self):
        """Those that its history tells, in order."""
        return [found.group(1) for found in map(STATUS_EVENT.match, self.events()) if found]

    def is_trimmed(self):
        return len(self.log) >= TRIMMED_AT

    def turn(self):
        """Of the moment in which it was given up: (ms since its creation, why, with which words
        participants had refused it until then); None when its history does not tell."""
        at_ms, refusals = 0, []
        for event in self.events():
            found = AT_EVENT.match(event)
            at_ms = int(found.group(1)) if found else at_ms
            found = TURN_EVENT.match(event)
            if found:
                return at_ms, found.group(1), refusals
            refusals += [found.group(1) for found in [REFUSED_EVENT.match(event)] if found]
        return None

    def succeeded_ops(self):
        """{(branch, op)} that its history tells."""
        return {found.groups() for found in map(OP_EVENT.match, self.events()) if found}


class State:
    """The dump, taken apart."""

    def __init__(self, dump):
        self.keys = dump["keys"]
        self.txns = {}
        self.barriers = {}  # (gid, branch) → {op: (writer, journal)}
        self.changes = {}  # gid of a prepared message → whether its change was made
        self.seats = {}  # gid → how many the desk has sold
        self.resources = {}  # (gid, branch) of an xa → its record at the desk, numbers
        self.orders, self.products, self.accounts, self.users = {}, {}, {}, {}
        self.ledgers = {}  # uid → {entry: text}
        self.entry_owners = {}
        self.queues = {}  # key → members of due, parked, outboxes, dead letters
        self.recent = {}  # partition → members
        self.logs = {}  # (partition, gid) → time to live of the stream
        logs = {}
        for key, entry in self.keys.items():
            self._sort(key, entry, logs)
        for txn in self.txns.values():
            self._complete(txn, logs.get((txn.partition, txn.gid), []))

    def _sort(self, key, entry, logs):
        value = entry["value"]
        tag, _, rest = key.partition("}:")
        kind, _, name = rest.partition(":")
        if key.startswith("saga:{"):
            partition = tag[6:]
            if kind == "tx":
                self.txns[name] = Txn(name, partition, key, value, entry["ttl"])
            elif kind == "log":
                self.logs[partition, name] = entry["ttl"]
                logs[partition, name] = [fields.get("events", "") for _, fields in value]
            elif kind == "recent":
                self.recent[partition] = value
            else:
                self.queues[key] = value
        elif kind == "br":
            gid, _, branch = name.rpartition(":")
            rows = self._rows(value)
            if set(rows) == {"msg"}:
                self.changes[gid] = rows["msg"][0] == "msg"
            else:
                self.barriers[gid, branch] = rows
        elif kind.startswith("outbox"):
            self.queues[key] = value
        elif tag.startswith("{ord") and kind == "o":
            self.orders[int(name)] = value
        elif tag.startswith("{prd") and kind == "h":
            self.products[int(value["id"])] = value
        elif tag.startswith("{scr") and kind in ("a", "l"):
            (self.accounts if kind == "a" else self.ledgers)[int(name)] = value
        elif tag.startswith("{scr") and kind == "i":
            self.entry_owners.update({(tag, entry): int(uid) for entry, uid in value.items()})
        elif tag.startswith("{usr") and kind == "u":
            self.users[int(name)] = value
        elif tag.startswith("{dsk") and kind == "s":
            self.seats.update({gid: int(seats) for gid, seats in value.items()})
        elif tag.startswith("{dsk") and kind == "x":
            gid, _, branch = name.rpartition(":")
            self.resources[gid, branch] = {field: int(number) for field, number in value.items()}

    @staticmethod
    def _rows(fields):
        """All but the replies that are kept. Nobody of this load uses another number than 01."""
        rows = {}
        for field, value in fields.items():
            op, _, number = field.partition(":")
            if op != "r":
                writer, _, _, journal = value.split("|", 3)
                rows[op if number == "01" else field] = (writer, journal)
        return rows

    def _complete(self, txn, log):
        txn.log = log
        if txn.type == "workflow":
            self._complete_workflow(txn)
            return
        for field, text in txn.fields.items():
            if re.fullmatch(r"\d\d", field) and field != "00":
                rows = self.barriers.get((txn.gid, field), {})
                txn.branches.append(Branch(txn.gid, field, text, rows))

    def _complete_workflow(self, txn):
        """What its steps are follows from its data: an order."""
        data = txn.fields["00"].partition("payload ")[2]
        order = Effect(CREATE, data.encode("latin-1"))
        stock = decr_message(order.pid, order.num).decode("latin-1")
        for number, method, payload in (("01", CREATE, data), ("02", DECR, stock)):
            rows = self.barriers.get((txn.gid, number), {})
            text = f"action tcp://{method.partition('.')[0]}/{method} payload {payload}"
            txn.branches.append(Branch(txn.gid, number, text, rows))

    @functools.cached_property
    def entries(self):
        """{(gid, branch): [(uid, entry, score)]} of all ledgers."""
        found = {}
        for uid, ledger in self.ledgers.items():
            for entry, text in ledger.items():
                score, rest = text.split("|", 1)
                gid, branch, _ = rest.rsplit("|", 2)
                found.setdefault((gid, branch), []).append((uid, entry, int(score)))
        return found

    def branches(self):
        for txn in self.txns.values():
            for branch in txn.branches:
                yield txn, branch
