#!/usr/bin/env python3
"""What clients were told, and what Redis holds when all is over: do they agree?

    checker.py LOG DUMP        prints each violation; ends with 1 when there is one, with 2 when it
                               cannot read them

A pure function: check(log, dump) → [Violation]. The log is a list of lines (dicts), in the order in
which they were written; "n" is the number of a line:

    {"n", "setup": {"stock": {pid: {"stock", "ver"}}, "gids": […]}}    what there was before the load
    {"n", "ask": "submit", "gid", "type", "branches": [[number, {op: url}, payload as hex]]}
        with "client" when that is prepared, and what comes next is up to the client; with "query", its
        url, when it is checked back or resumed; with "seats" when it is the message of a sale
    {"n", "ask": "abort", "gid"}                                 by its client
    {"n", "ask": "order", "key", "uid", "pid", "num", "amount"}  the order API, with an idempotency key
    {"n", "ask": "pay", "order"}                                 order.Order/Paid
    {"n", "told": …, "since": line of the question, "gid", "key" or both; "order" with "gid" or "key"}

    {"n", "left"}       how many had not ended a minute after everything was healed

A "told" of a workflow may have its "result"; when all is over, each gid is asked for with "audit".

told: a status (prepared, submitted, aborting, succeed, failed), "stored" (and no status), "registered"
(with "branch"), "paid", "sold" and "unsold" (the desk), "absent" (no such transaction), "refused" (the
request is called wrong), "conflict" (it does not fit the status), "unknown" (no answer). What was told
as unknown may be either way, but not half."""
import collections
import json
import re
import sys

from harness.mall import SAVE_SCORE, order_steps, score_message
from harness.stack import PAID_SCORE
from record import BACK, ENDS, FORWARD, State, read_dump

Violation = collections.namedtuple("Violation", "rule subject text")
# What a client may rely on: the transaction is stored.
KNOWN = ("prepared", "submitted", "aborting", "succeed", "failed", "registered", "stored")
# What may be told of it after that, to whom asks later.
AFTER = {**{told: KNOWN for told in KNOWN}, "aborting": ("aborting", "failed", "stored"),
         "succeed": ("succeed",), "failed": ("failed",)}
# Of these "submitted" is the decision to commit.
DECIDED = ("tcc", "msg", "xa")
AFTER_COMMIT = {**AFTER, "submitted": ("submitted", "succeed", "stored")}

# What the desk may report of an order; a refused one is undone.
DONE, REFUSED = {"01.action": "succeed"}, {"01.action": "failed"}
UNDONE = {"01.compensate": "succeed", "02.compensate": "succeed"}
# Of the services of this load, in their own words. Whatever else somebody answers is unclear (I9).
REFUSALS = ("stock_exhausted: ", "not_enough_score: ", "the change was not made")
WORKFLOW_STEPS = {"succeed": [{**DONE, "02.action": "succeed"}],
                  "failed": [{**DONE, "02.action": "failed", **UNDONE}, {**REFUSED, **UNDONE}]}


class Story:
    """The log, taken apart."""

    def __init__(self, log):
        self.setup = {"stock": {}, "gids": []}
        self.asked = {}  # gid → line
        self.keys = {}  # idempotency key → line
        self.told = {}  # gid → lines
        self.told_of_key = {}
        self.answers = []  # lines, of whatever
        self.paid = {}  # order → line that says so
        self.left = None  # how many had not ended in time
        self.pays = set()  # orders that somebody wanted to pay
        self.aborts = set()  # gids that their client wanted to abort
        for line in log:
            self._take(line)

    def _take(self, line):
        if "setup" in line:
            self.setup = line["setup"]
        elif line.get("ask") == "submit":
            self.asked[line["gid"]] = line
        elif line.get("ask") == "order":
            self.keys[line["key"]] = line
        elif line.get("ask") == "abort":
            self.aborts.add(line["gid"])
        elif line.get("ask") == "pay":
            self.pays.add(line["order"])
        elif "left" in line:
            self.left = line["left"]
        elif "told" in line:
            self.answers.append(line)
            if line["told"] == "paid":
                self.paid[line["order"]] = line
            if line.get("gid"):
                self.told.setdefault(line["gid"], []).append(line)
            if line.get("key"):
                self.told_of_key.setdefault(line["key"], []).append(line)

    def sales(self):
        """{gid: seats}"""
        return {gid: ask["seats"] for gid, ask in self.asked.items() if "seats" in ask}

    def type_of(self, gid):
        return self.asked[gid]["type"] if gid in self.asked else None


# ---- rules: (story, state) → violations ----

def rule_lost(story, state):
    """Who was told that it is stored finds it for ever."""
    for gid, lines in story.told.items():
        known = [line["told"] for line in lines if line["told"] in KNOWN]
        if known and gid not in state.txns:
            yield gid, f"told {known}, and nothing is stored"
    for gid in story.setup["gids"]:
        if gid not in state.txns:
            yield gid, "stored before the load, and gone"


def rule_audited(story, state):
    """When all is over, each that somebody was told of is asked for once more, and answered for."""
    for gid, lines in story.told.items():
        if all(line["told"] == "unknown" for line in lines):
            continue
        status = state.txns[gid].status if gid in state.txns else "absent"
        told = [line["told"] for line in lines if line.get("audit")]
        if told[-1:] != [status]:
            yield gid, f"asked for when all was over, told {told}, and it is {status}"


def rule_unfinished(story, state):
    """Everything ends, in time."""
    if story.left != 0:
        yield "all", f"{story.left} had not ended when it was time"
    for gid, txn in state.txns.items():
        if txn.status not in ENDS:
            yield gid, f"status {txn.status}"


def rule_lie(story, state):
    """What was told is true, and stays true."""
    for gid, lines in story.told.items():
        if gid in state.txns:
            yield from _lies_of(gid, story.type_of(gid), lines, state.txns[gid])
        yield from _turns_of(gid, story.type_of(gid), lines)
    for order, _ in story.paid.items():
        status = state.orders.get(order, {}).get("status")
        if status != "1":
            yield f"order {order}", f"told that it is paid, and its status is {status}"


def _lies_of(gid, trans_type, lines, txn):
    for line in lines:
        told = line["told"]
        end = {"succeed": "succeed", "failed": "failed", "aborting": "failed"}.get(told)
        if told == "submitted" and trans_type in DECIDED:
            end = "succeed"  # what is decided to commit is committed
        if end and end != txn.status and txn.status in ENDS:
            yield gid, f"told {told} in line {line['n']}, and it is {txn.status}"
        if told == "registered" and line["branch"] not in [b.number for b in txn.branches]:
            yield gid, f"told that branch {line['branch']} is registered, and it is not there"


def _turns_of(gid, trans_type, lines):
    """Who asks later must not be told less than was told before, nor of another decision."""
    after = AFTER_COMMIT if trans_type in DECIDED else AFTER
    firsts = {}  # told → the first line that says so
    for line in lines:
        told = line["told"]
        if told not in KNOWN + ("absent",):
            continue
        for before, first in firsts.items():
            if line["since"] >= first["n"] and told not in after[before]:
                yield gid, f"told {before} in line {first['n']}, then {told} in line {line['n']}"
        if told in KNOWN:
            firsts.setdefault(told, line)


def rule_refused(story, _):
    """No request of ours is wrong. A client that calls the tries itself may come too late."""
    for line in story.answers:
        ask = story.asked.get(line.get("gid"), {})
        if line["told"] == "refused" or line["told"] == "conflict" and not ask.get("client"):
            yield (line.get("gid") or line.get("key") or f"order {line['order']}",
                   f"{line['told']}: {line.get('text')}")


def rule_asked(story, state):
    """What is stored is what somebody asked for, and nothing else."""
    for gid, txn in state.txns.items():
        ask = story.asked.get(gid)
        if not ask and gid.startswith("order:") and gid.split(":", 3)[3] in story.keys:
            ask = _order_of(gid, story.keys[gid.split(":", 3)[3]])
        elif not ask and gid.startswith("order-paid-") and int(gid[11:]) in story.pays:
            ask = _message_of(state.orders.get(int(gid[11:]), {}))
        if ask and not _is_asked(txn, ask):
            stored = [branch.asked() for branch in txn.branches]
            yield gid, (f"asked for {ask['type']} {ask['branches']} {ask.get('query', '')}, stored is "
                        f"{txn.type} {stored} {txn.query}")
        if not ask and gid not in story.setup["gids"]:
            yield gid, "nobody asked for it"
    yield from _keys(story, state)


def _keys(story, state):
    """An idempotency key stands for one order, whatever its client was told."""
    orders = {key: {line["order"] for line in lines if line.get("order")}
              for key, lines in story.told_of_key.items()}
    for gid in state.txns:
        if gid.startswith("order:"):
            _, _, number, key = gid.split(":", 3)
            orders.setdefault(key, set()).add(int(number))
    for key, numbers in orders.items():
        if len(numbers) > 1:
            yield f"key {key}", f"stands for the orders {sorted(numbers)}"


def _is_asked(txn, ask):
    """All of it: type, urls and payloads."""
    stored, wanted = [branch.asked() for branch in txn.branches], ask["branches"]
    fits = stored == wanted
    if ask.get("client") and txn.type != "msg":  # they are registered one by one
        fits = all(branch in wanted for branch in stored)
    return fits and txn.type == ask["type"] and txn.query == ask.get("query", "")


def _order_of(gid, ask):
    """What the order API must make of a request."""
    order = int(gid.split(":")[2])
    steps = order_steps(order, ask["uid"], ask["pid"], ask["num"], ask["amount"])
    return {"type": "saga", "branches": [
        [f"{n:02}", {"action": action, "compensate": compensate}, payload.hex()]
        for n, (action, compensate, payload) in enumerate(steps, 1)]}


def _message_of(order):
    """What the payment of an order must put into the outbox."""
    payload = score_message(int(order.get("uid", 0)), PAID_SCORE)
    return {"type": "msg", "branches": [["01", {"action": f"tcp://score/{SAVE_SCORE}"}, payload.hex()]]}


def rule_half(_, state):
    """All branches are done, or none of them."""
    for txn, branch in state.branches():
        if txn.type == "xa":
            continue  # it has no barriers
        allowed = {"succeed": ("done",), "failed": ("none", "undone", "barred")}.get(txn.status)
        if allowed and branch.state not in allowed:
            yield txn.gid, f"{txn.status}, but branch {branch.number} ({branch.method}): {branch.state}"


def rule_phase2(_, state):
    """Each branch of an xa is told how it ended, once or more, and never the other way."""
    for txn, branch in state.branches():
        if txn.type != "xa" or txn.status not in ENDS:
            continue
        found = state.resources.get((txn.gid, branch.number), {})
        told = {op for op in ("commit", "rollback") if found.get(op)}
        left = {name: found[name] for name in ("held", "sold") if name in found}
        wanted, effect = ("commit", {"sold": branch.effect.num}) if txn.status == "succeed" \
            else ("rollback", {})
        if told != {wanted} or left != effect:
            yield txn.gid, f"{txn.status}, and branch {branch.number} at the desk: {found}"


def rule_workflow(story, state):
    """What was reported of its steps, and its result, are kept, and fit its end."""
    for gid, txn in state.txns.items():
        if txn.type != "workflow" or txn.status not in ENDS:
            continue
        steps = {name: value.partition(" ")[0] for name, value in txn.fields.items()
                 if re.match(r"\d\d\.", name)}
        if steps not in WORKFLOW_STEPS[txn.status]:
            yield gid, f"{txn.status}, and its steps are {steps}"
        result = str(txn.branches[0].effect.order) if txn.status == "succeed" else ""
        told = [line["result"] for line in story.told.get(gid, []) if line.get("result")]
        for found in {txn.fields.get("result", ""), *told} - {result}:
            yield gid, f"{txn.status}, and its result is, or was told as, '{found}'"


def rule_message(story, state):
    """Nobody can refuse a message."""
    sales = story.sales()
    for gid, txn in state.txns.items():
        if txn.type == "msg" and txn.status == "failed" and gid not in sales:
            yield gid, "a message that failed"


def rule_reason(story, state):
    """What failed was refused by a participant, aborted by its client, or not decided in time. That an
    answer was unclear is no reason (I9)."""
    for gid, txn in state.txns.items():
        if txn.status == "failed" and not txn.is_trimmed() and not _has_reason(story, txn):
            yield gid, f"failed, and nobody has refused or aborted it: {txn.events()}"


def _has_reason(story, txn):
    if txn.type == "workflow":
        steps = [text.partition(" ")[2] for name, text in txn.fields.items()
                 if name.endswith(".action") and text.startswith("failed ")]
        return any(step.startswith(REFUSALS) for step in steps)
    at_ms, why, refusals = txn.turn() or (0, "", [])
    if why.startswith("url:"):
        return any(refusal.startswith(REFUSALS) for refusal in refusals)
    if why.startswith("Timeout after "):
        limit_ms = int(txn.fields.get("timeout_to_fail_ms", 0))
        return txn.type in ("tcc", "xa") and 0 < limit_ms <= at_ms
    return txn.gid in story.aborts


def rule_announced(story, state):
    """A prepared message is sent if and only if its change was made."""
    for gid in story.sales():
        made = state.changes.get(gid, False)
        status = state.txns[gid].status if gid in state.txns else "not there"
        if made != (status == "succeed"):
            yield gid, f"the change was {'' if made else 'not '}made, and the message is {status}"
        if gid in state.txns and state.txns[gid].statuses()[:1] != ["prepared"]:
            yield gid, "it was not prepared first"
        for line in story.told.get(gid, []):
            if line["told"] == ("unsold" if made else "sold"):
                yield gid, f"told {line['told']} in line {line['n']}, and that is not so"


def rule_orphan(_, state):
    """Nothing was done for a transaction, or a branch, that is not stored."""
    known = {(branch.gid, branch.number) for _, branch in state.branches()}
    for gid, branch in state.barriers:
        if (gid, branch) not in known:
            yield gid, f"branch {branch} was called, and is not stored"
    for gid, branch in state.resources.keys() - known:
        yield gid, f"branch {branch} was held at the desk, and is not stored"
    for gid in state.changes.keys() | state.seats.keys():
        if gid not in state.txns:
            yield gid, "the desk was asked for a message that is not stored"
    for order, fields in state.orders.items():
        if fields.get("gid") not in state.txns:
            yield f"order {order}", f"made by {fields.get('gid')}, which is not stored"
    for (gid, branch), entries in state.entries.items():
        if (gid, branch) not in known:
            yield gid, f"branch {branch}, which is not stored, has the ledger entries {entries}"


def rule_effect(story, state):
    """What was done has had its effect once, and nothing else has one."""
    for gid, seats in story.sales().items():
        wanted, found = seats * state.changes.get(gid, False), state.seats.get(gid, 0)
        if found != wanted:
            yield gid, f"{found} seats are sold, {wanted} would be right"
    for txn, branch in state.branches():
        what = branch.effect.what
        if what == "order":
            yield from _order_effect(txn, branch, state)
        elif what in ("grant", "spend"):
            yield from _score_effect(branch, state)
        elif what == "stock" and branch.state in ("done", "undone", "held"):
            if branch.journal() != str(branch.effect.num):
                yield txn.gid, f"{branch.effect.num} pieces were asked for, {branch.journal()} taken"
        elif what == "user" and branch.state == "done":
            if state.users.get(branch.effect.uid, {}).get("gid") != txn.gid:
                yield txn.gid, f"user {branch.effect.uid} is not there"


def _order_effect(txn, branch, state):
    effect = branch.effect
    order = state.orders.get(effect.order)
    mine = order is not None and order.get("gid") == txn.gid
    if branch.state in ("done", "undone") and not mine:
        yield txn.gid, f"order {effect.order} is not there"
        return
    if not mine:
        return
    wanted = tuple(str(n) for n in (effect.uid, effect.pid, effect.num, effect.amount))
    found = tuple(order.get(name) for name in ("uid", "pid", "num", "amount"))
    if found != wanted:
        yield txn.gid, f"order {effect.order} is {found}, asked for was {wanted}"
    # Each change raises the version: a second one shows, also when it set the same status.
    states = {"done": [("1", "2")] if txn.type == "tcc" else [("0", "1"), ("1", "2")],
              "undone": [("9", "2")]}.get(branch.state, [])
    if (order.get("status"), order.get("ver")) not in states:
        yield txn.gid, (f"branch {branch.number} is {branch.state}, and order {effect.order} has status "
                        f"{order.get('status')} at version {order.get('ver')}")


def _score_effect(branch, state):
    entries = state.entries.get((branch.gid, branch.number), [])
    wanted = [(branch.effect.uid, branch.effect.score)] if branch.state == "done" else []
    if [(uid, score) for uid, _, score in entries] != wanted:
        yield branch.gid, f"branch {branch.number} is {branch.state}, and the ledger has {entries}"


def rule_books(story, state):
    """Pieces and points are neither lost nor made."""
    taken, ordered, changes = (collections.Counter() for _ in range(3))
    for txn, branch in state.branches():
        if branch.effect.what == "stock":
            taken[branch.effect.pid] += branch.effect.num * (branch.state == "done")
            two = txn.type == "tcc" or branch.state == "undone"
            changes[branch.effect.pid] += (branch.state in ("done", "undone")) * (2 if two else 1)
    for order in state.orders.values():
        ordered[int(order["pid"])] += int(order["num"]) * (order["status"] in ("0", "1"))
    for pid, first in story.setup["stock"].items():
        yield from _stock(int(pid), first, state, taken[int(pid)], ordered[int(pid)],
                          changes[int(pid)])
    for uid, account in state.accounts.items():
        yield from _account(uid, account, state.ledgers.get(uid, {}))
    for uid in set(state.ledgers) - set(state.accounts):
        yield f"user {uid}", "a ledger without an account"
    entries = sorted(entry for ledger in state.ledgers.values() for entry in ledger)
    if entries != sorted(entry for _, entry in state.entry_owners):
        yield "ledger", "the index of its entries does not fit"


def _stock(pid, first, state, taken, ordered, changes):
    product = state.products.get(pid)
    if product is None:
        yield f"product {pid}", "is gone"
        return
    stock, frozen, ver = (int(product.get(name, 0)) for name in ("stock", "frozen", "ver"))
    if frozen:
        yield f"product {pid}", f"{frozen} pieces are frozen, and all transactions have ended"
    if stock < 0 or stock + frozen + ordered != first["stock"] or taken != ordered:
        yield f"product {pid}", (f"{first['stock']} at first; {stock} in stock + {frozen} frozen + "
                                 f"{ordered} in valid orders; {taken} taken")
    if ver - first["ver"] != changes:
        yield f"product {pid}", f"was changed {ver - first['ver']} times, {changes} would be right"


def _account(uid, account, ledger):
    total, frozen, count = (int(account.get(name, 0)) for name in ("total", "frozen", "count"))
    entries = sum(int(text.partition("|")[0]) for text in ledger.values())
    if frozen or total != entries or count != len(ledger):
        yield f"user {uid}", (f"total {total}, frozen {frozen}, count {count}; the ledger has "
                              f"{len(ledger)} entries with {entries} points")


def rule_history(_, state):
    """History and record tell the same."""
    for gid, txn in state.txns.items():
        if txn.status not in ENDS:
            continue
        statuses = txn.statuses()
        turns = [s for s in statuses if s in ("aborting",) + ENDS]
        wanted = [["succeed"]] if txn.status == "succeed" else [["aborting", "failed"]]
        if txn.type == "workflow":
            wanted = [[txn.status]]  # only its client knows that it has turned round
        if all(branch.state == "none" for branch in txn.branches) or txn.type == "msg":
            wanted.append([txn.status])  # there is nothing to undo
        if turns not in wanted:
            yield gid, f"{txn.status}, and its history tells {statuses}"
        if txn.type != "workflow":
            yield from _ops(txn)


def _ops(txn):
    """Each op of the way it took is told as succeeded, in the record and in the history."""
    told = txn.succeeded_ops()
    for field, value in txn.fields.items():
        branch, _, op = field.partition(".")
        ends = ("compensate", "cancel", "confirm", "commit", "rollback")
        if op in ends and value == "succeed" and (branch, op) not in told:
            yield txn.gid, f"{field} succeeded, and the history does not tell it"
    way = FORWARD.get(txn.type) if txn.status == "succeed" else BACK.get(txn.type)
    for branch in txn.branches:
        stored = txn.fields.get(f"{branch.number}.{way}")
        if txn.status == "succeed" and (stored != "succeed" or (branch.number, way) not in told):
            yield txn.gid, f"succeed, and {branch.number}.{way} is {stored}"
        if txn.status == "failed" and branch.state == "undone" and stored != "succeed":
            yield txn.gid, f"branch {branch.number} is undone, and {way} is {stored}"


def rule_record(_, state):
    """What has ended is marked so, will be forgotten some day, and can be found in the list."""
    for gid, txn in state.txns.items():
        if txn.status in ENDS:
            if "finished" not in txn.fields or txn.ttl <= 0:
                yield gid, f"{txn.status}, finished {txn.fields.get('finished')}, ttl {txn.ttl}"
            if state.logs.get((txn.partition, gid), 1) <= 0:
                yield gid, f"{txn.status}, and the older part of its history is kept for ever"
            if " " in txn.fields.get("lease", " "):
                yield gid, f"{txn.status}, and has the lease '{txn.fields.get('lease')}'"
        if gid not in state.recent.get(txn.partition, {}):
            yield gid, "is not in the list"
    for partition, gid in state.logs:
        if gid not in state.txns or state.txns[gid].partition != partition:
            yield gid, "has a history, and no record"


def rule_left(_, state):
    """Nothing waits any more."""
    for key, members in state.queues.items():
        if members:
            names = list(members) if isinstance(members, dict) else [entry[1] for entry in members]
            yield key, f"holds {len(names)}: {names[:3]}"


def rule_outbox(_, state):
    """An order was paid if and only if its message was delivered."""
    sagas = {f"order-paid-{number}" for number, order in state.orders.items()
             if order["status"] == "1" and order.get("gid") in state.txns
             and state.txns[order["gid"]].type == "saga"}
    messages = {gid for gid in state.txns if re.fullmatch(r"order-paid-\d+", gid)}
    for gid in sorted(sagas ^ messages):
        yield gid, "the order is paid without a message" if gid in sagas else "the order is not paid"


RULES = {name[5:]: rule for name, rule in list(globals().items()) if name.startswith("rule_")}


def check(log, dump):
    story, state = Story(log), State(dump)
    return [Violation(name, subject, text) for name, rule in RULES.items()
            for subject, text in rule(story, state)]


def read_log(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read(reader, path):
    """1 is for violations: what cannot be read ends with 2."""
    try:
        return reader(path)
    except OSError as error:
        fault = error.strerror
    except ValueError as error:
        fault = f"is not what a run leaves: {error}"
    print(f"checker.py: {path}: {fault}", file=sys.stderr)
    sys.exit(2)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    violations = check(read(read_log, sys.argv[1]), read(read_dump, sys.argv[2]))
    for violation in violations:
        print(f"{violation.rule}: {violation.subject}: {violation.text}")
    print(f"{len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
