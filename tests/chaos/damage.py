"""Ways to spoil a clean run. Each takes the log and the dump, changes copies of what it touches, and
names the rule of the checker that must find it.

DAMAGES: {name: (rule, function(run) → None)}; `plant(name, log, dump, chance)` → (log, dump)."""
import copy
import re

from harness import mall
from record import State


class Run:
    """Log and dump that can be changed without touching the originals."""

    def __init__(self, log, dump, chance, state):
        self.log, self.keys = list(log), dict(dump["keys"])
        self.state, self.chance = state, chance

    def value(self, key):
        """Of a key, to be changed."""
        self.keys[key] = copy.deepcopy(self.keys[key])
        return self.keys[key]["value"]

    def put(self, key, kind, value):
        self.keys[key] = {"type": kind, "ttl": -1, "value": value}

    def pick(self, found):
        """One that fits; a run without is too short to be worth anything."""
        found = list(found)
        assert found, "the run has nothing of this kind"
        return self.chance.choice(found)

    def txn(self, trans_type, status, told=None):
        """A transaction of this kind that a client has asked for, and of which somebody was told so."""
        before = next(line["setup"]["gids"] for line in self.log if "setup" in line)
        gids = {line.get("gid") for line in self.log if told is None or line.get("told") == told}
        return self.pick(txn for txn in self.state.txns.values() if txn.type == trans_type
                         and txn.status == status and txn.gid not in before
                         and (told is None or txn.gid in gids))

    def sale(self, status):
        return self.pick(txn for txn in self.state.txns.values() if txn.status == status
                         and txn.gid in self.state.changes)

    def resource(self, status):
        """Of an xa, its record at the desk."""
        return self.pick(key for key in self.keys if re.match(r"\{dsk:\d+\}:x:", key)
                         and self.state.txns[key.split(":")[3]].status == status)

    def key_of(self, suffix):
        return self.pick(key for key in self.keys if key.endswith(suffix))

    def key_like(self, pattern):
        return self.pick(key for key in self.keys if re.fullmatch(pattern, key))

    def barrier(self, gid, branch):
        return self.key_of(f":br:{gid}:{branch}")

    def order(self, status, trans_type="saga"):
        return self.pick(
            key for key, entry in self.keys.items() if key.startswith("{ord:") and "}:o:" in key
            and entry["value"]["status"] == status
            and self.state.txns[entry["value"]["gid"]].type == trans_type)

    def line(self, **wanted):
        """The number of a line like this."""
        return self.pick(n for n, line in enumerate(self.log)
                         if all(line.get(name) == value for name, value in wanted.items()))

    def tell(self, n, **changes):
        self.log[n] = {**self.log[n], **changes}

    def say(self, **line):
        n = max(line["n"] for line in self.log) + 1
        self.log.append({"n": n, "since": n - 1, **line})


def rewrite(run, txn, before, after):
    """The history of a record that is otherwise as it was."""
    record = run.value(txn.key)
    assert before in record["history"], record["history"]
    record["history"] = record["history"].replace(before, after)


# ---- a loss ----

def lose_record(run):
    del run.keys[run.txn("saga", "succeed", "submitted").key]


def lose_all_of_it(run):
    gid = run.txn("saga", "succeed", "succeed").gid
    for key in [key for key in run.keys if gid in key]:
        del run.keys[key]


def lose_what_was_there_before(run):
    gid = run.pick(gid for line in run.log if "setup" in line for gid in line["setup"]["gids"])
    del run.keys[run.state.txns[gid].key]


def lose_user(run):
    del run.keys[run.key_like(r"\{usr:.*:u:\d+")]


def lose_product(run):
    del run.keys[run.key_like(r"\{prd:\d+\}:h")]


def lose_account(run):
    """And keep its ledger."""
    del run.keys[run.pick(key.replace("}:l:", "}:a:") for key, entry in run.keys.items()
                          if re.match(r"\{scr:.*\}:l:", key) and entry["value"])]


def lose_index_of_an_entry(run):
    key = run.pick(key for key, entry in run.keys.items()
                   if re.fullmatch(r"\{scr:.*\}:i", key) and entry["value"])
    run.value(key).pop(run.pick(run.keys[key]["value"]))


def lose_order(run):
    del run.keys[run.order("0")]


def lose_ledger_entry(run):
    key = run.key_like(r"\{scr:.*:l:\d+")
    run.value(key).pop(run.pick(run.keys[key]["value"]))


def lose_piece(run):
    product = run.value(run.pick(k for k in run.keys if k.startswith("{prd:") and k.endswith(":h")))
    product["stock"] = str(int(product["stock"]) - 1)


def lose_message(run):
    del run.keys[run.pick(t.key for t in run.state.txns.values() if t.gid.startswith("order-paid-"))]


def lose_branch(run):
    del run.value(run.txn("saga", "succeed").key)["02"]


# ---- something twice ----

def grant_twice(run):
    key = run.key_like(r"\{scr:.*:l:\d+")
    run.value(key)["999999"] = run.pick(run.keys[key]["value"].values())


def change_order_twice(run):
    order = run.value(run.order("0"))
    order["ver"] = str(int(order["ver"]) + 1)


def revert_order_twice(run):
    order = run.value(run.order("9"))
    order["ver"] = str(int(order["ver"]) + 1)


def take_and_give_back_once_more(run):
    """The stock is right in the end."""
    product = run.value(run.pick(k for k in run.keys if k.startswith("{prd:") and k.endswith(":h")))
    product["ver"] = str(int(product["ver"]) + 2)


def take_another_number(run):
    branch = run.pick(branch for _, branch in run.state.branches()
                      if branch.effect.what == "stock" and branch.state == "done")
    rows = run.value(run.barrier(branch.gid, branch.number))
    op = "action:01" if "action:01" in rows else "try:01"
    rows[op] = f"{rows[op].rpartition('|')[0]}|{branch.effect.num + 1}"


def change_an_order(run):
    order = run.value(run.order("0"))
    order["uid"] = str(int(order["uid"]) + 1)


def spend_twice(run):
    uid, entry, score = run.pick(e for (gid, _), entries in run.state.entries.items()
                                 for e in entries if e[2] < 0)
    ledger = run.value(run.key_of(f"}}:l:{uid}"))
    account = run.value(run.key_of(f"}}:a:{uid}"))
    ledger["888888"] = ledger[entry]
    account["total"] = str(int(account["total"]) + score)
    account["count"] = str(int(account["count"]) + 1)
    run.value(run.key_of(f"}}:a:{uid}").partition("}")[0] + "}:i")["888888"] = str(uid)


# ---- half an end ----

def undo_one_branch(run):
    rows = run.value(run.barrier(run.txn("saga", "succeed").gid, "02"))
    rows["compensate:01"] = "compensate|1|saga|"


def forget_one_undo(run):
    txn = run.pick(t for t in run.state.txns.values() if t.type == "saga" and t.status == "failed"
                   and t.branches[0].state == "undone")
    del run.value(run.barrier(txn.gid, "01"))["compensate:01"]


def confirm_one_not(run):
    del run.value(run.barrier(run.txn("tcc", "succeed").gid, "01"))["confirm:01"]


def confirm_and_cancel(run):
    rows = run.value(run.barrier(run.txn("tcc", "succeed").gid, "02"))
    rows["cancel:01"] = "cancel|1|tcc|"


def act_under_another_number(run):
    rows = run.value(run.barrier(run.txn("saga", "succeed").gid, "02"))
    rows["action:02"] = rows["action:01"]


def never_call_one(run):
    del run.keys[run.barrier(run.txn("saga", "succeed").gid, "02")]


def fail_a_message(run):
    plain = {line["gid"] for line in run.log if line.get("ask") == "submit" and "seats" not in line}
    run.value(run.pick(t.key for t in run.state.txns.values() if t.type == "msg"
                       and t.gid in plain))["status"] = "failed"


# ---- an xa ----

def call_no_commit(run):
    run.value(run.resource("succeed")).pop("commit")


def call_no_rollback(run):
    del run.keys[run.resource("failed")]


def commit_what_is_rolled_back(run):
    run.value(run.resource("failed"))["commit"] = "1"


def commit_twice(run):
    record = run.value(run.resource("succeed"))
    record["sold"] = str(2 * int(record["sold"]))


def keep_seats_held(run):
    run.value(run.resource("failed"))["held"] = "2"


# ---- a workflow ----

def forget_a_step(run):
    del run.value(run.txn("workflow", "succeed").key)["02.action"]


def forget_the_result(run):
    del run.value(run.txn("workflow", "succeed").key)["result"]


def tell_another_result(run):
    run.say(gid=run.txn("workflow", "succeed").gid, told="succeed", result="1234567890")


def order_something_else(run):
    record = run.value(run.txn("workflow", "succeed").key)
    record["00"] = record["00"][:-1] + "\x07"


def leave_a_step_done(run):
    txn = run.pick(t for t in run.state.txns.values() if t.type == "workflow"
                   and t.status == "failed" and t.branches[0].state == "undone")
    del run.value(run.barrier(txn.gid, "01"))["compensate:01"]


# ---- a message and its change ----

def send_without_its_change(run):
    run.value(run.barrier(run.sale("succeed").gid, "00"))["msg:01"] = "rollback|1|msg|"


def change_without_its_message(run):
    run.value(run.sale("succeed").key)["status"] = "failed"


def prepare_it_never(run):
    record = run.value(run.pick(t.key for t in run.state.txns.values() if not t.log
                                and t.gid in run.state.changes))
    record["history"] = record["history"].replace("prepared", "submitted", 1)


def sell_twice(run):
    gid = run.sale("succeed").gid
    key = run.pick(key for key in run.keys if re.fullmatch(r"\{dsk:\d+\}:s", key)
                   and gid in run.keys[key]["value"])
    run.value(key)[gid] = str(2 * int(run.keys[key]["value"][gid]))


def lie_about_a_sale(run):
    run.say(gid=run.sale("failed").gid, told="sold")


def announce_nothing(run):
    run.put("{dsk:0}:br:nobodys:00", "hash", {"msg:01": "msg|1|msg|"})


# ---- a lie to one who has asked early: it differs from the truth, not from what was told before ----

def tell_success_of_a_failure(run):
    run.say(gid=run.txn("saga", "failed").gid, told="succeed", since=0)


def tell_failure_of_a_success(run):
    run.say(gid=run.txn("tcc", "succeed").gid, told="failed", since=0)


def turn_after_the_abort(run):
    run.say(gid=run.txn("saga", "succeed").gid, told="aborting", since=0)


def cancel_after_the_commit(run):
    run.say(gid=run.txn("tcc", "failed").gid, told="submitted", since=0)


def know_less_than_before(run):
    gid = run.txn("saga", "succeed", "succeed").gid
    run.say(gid=gid, told="submitted")


def forget_the_abort(run):
    """As a failover would that loses the decision."""
    run.say(gid=run.txn("saga", "failed", "aborting").gid, told="submitted")


def forget_the_commit(run):
    run.say(gid=run.txn("tcc", "succeed", "submitted").gid, told="prepared")


def know_nothing_any_more(run):
    run.say(gid=run.txn("saga", "succeed", "succeed").gid, told="absent")


def lie_about_a_payment(run):
    run.say(order=int(run.keys[run.order("0")]["value"]["id"]), told="paid")


def refuse_a_payment(run):
    run.say(order=run.pick(line["order"] for line in run.log if line.get("ask") == "pay"),
            told="conflict", text="CONFLICT")


def tell_nothing_in_the_end(run):
    run.tell(run.pick(n for n, line in enumerate(run.log) if line.get("audit")), told="unknown")


def ask_no_more_in_the_end(run):
    del run.log[run.pick(n for n, line in enumerate(run.log) if line.get("audit"))]


def refuse_a_good_request(run):
    run.say(gid=run.txn("saga", "succeed").gid, told="refused", text="INVALID")


def register_nothing(run):
    run.say(gid=run.txn("tcc", "failed").gid, told="registered", branch="77", since=0)


# ---- no reason ----

def refused_by(run, trans_type, op):
    """One that failed because this op was refused."""
    return run.pick(t for t in run.state.txns.values() if t.type == trans_type
                    and t.status == "failed" and not t.log
                    and re.search(rf"\.{op} FAILURE ", t.fields["history"]))


def turn_round_by_an_error(run):
    rewrite(run, refused_by(run, "saga", "action"), " FAILURE ", " ERROR ")


def send_not_because_of_an_error(run):
    rewrite(run, refused_by(run, "msg", "msg"), " FAILURE ", " ERROR ")


def refuse_by_an_error(run):
    """A participant says FAILURE, and does not know."""
    rewrite(run, refused_by(run, "saga", "action"), "stock_exhausted: ", "redis: no reply in ")


def be_refused_too_late(run):
    """By an answer that came after the decision."""
    txn = refused_by(run, "saga", "action")
    refusal = re.search(r"[^|]* \d\d\.action FAILURE [^|]*\|", txn.fields["history"]).group(0)
    rewrite(run, txn, refusal, "")
    record = run.value(txn.key)
    record["history"] = record["history"].replace(" | failed", f" |{refusal} failed", 1)


def fail_a_step_by_an_error(run):
    record = run.value(run.txn("workflow", "failed").key)
    step = next(name for name in ("01.action", "02.action") if record[name].startswith("failed "))
    record[step] = "failed redis: no reply in time"


def time_out_too_early(run):
    txn = run.pick(t for t in run.state.txns.values() if not t.log and t.status == "failed"
                   and (t.turn() or (0, ""))[1].startswith("Timeout after "))
    run.value(txn.key)["timeout_to_fail_ms"] = "600000"


def time_out_what_has_all_the_time(run):
    txn = refused_by(run, "saga", "action")
    rewrite(run, txn, " aborting: url:", " +9999 aborting: Timeout after 1 seconds; ")
    run.value(txn.key)["timeout_to_fail_ms"] = "1000"


def abort_unasked(run):
    aborts = {line["gid"] for line in run.log if line.get("ask") == "abort"}
    txn = run.pick(t for t in run.state.txns.values() if t.gid in aborts and t.status == "failed"
                   and not t.turn()[1].startswith(("url:", "Timeout after ")))
    run.log = [line for line in run.log if line.get("ask") != "abort" or line["gid"] != txn.gid]


# ---- not ended ----

def end_never(run):
    txn = run.txn("saga", "failed")
    run.value(txn.key).update(status="aborting", lease="3.4")


def end_too_late(run):
    """All has ended, but not in time."""
    run.tell(run.line(left=0), left=1)


def keep_due(run):
    run.put("saga:{3}:due", "zset", {run.txn("saga", "succeed").gid: "1"})


def park(run):
    run.put("saga:{3}:parked", "zset", {run.txn("saga", "failed").gid: "1"})


def keep_outbox(run):
    run.put("{ord:0}:outbox", "stream", [["1-1", {"gid": "order-paid-1"}]])


def bury_message(run):
    run.put("{ord:0}:outbox:dead", "stream", [["1-1", {"reason": "no gid"}]])


def keep_pieces_frozen(run):
    product = run.value(run.key_like(r"\{prd:\d+\}:h"))
    product.update(stock=str(int(product["stock"]) - 2), frozen="2")


def keep_frozen(run):
    account = run.value(run.key_like(r"\{scr:.*:a:\d+"))
    account.update(total=str(int(account["total"]) - 5), frozen="5")


# ---- not asked for, not told, not marked ----

def invent(run):
    txn = run.txn("saga", "succeed")
    run.keys[txn.key.replace(txn.gid, "nobodys")] = run.keys[txn.key]


def hold_for_nobody(run):
    run.put("{dsk:0}:x:nobodys:01", "hash", {"held": "2"})


def order_for_nobody(run):
    key = run.order("0")
    tag, _, number = key.rpartition(":")
    run.put(f"{tag}:{int(number) + 900_000_000}", "hash", {**run.keys[key]["value"], "gid": "nobodys"})


def grant_to_nobody(run):
    run.value(run.key_like(r"\{scr:.*:l:\d+"))["777777"] = "10|nobodys|01|1"


def act_for_nobody(run):
    run.put("{prd:1}:br:nobodys:02", "hash", {"action:01": "action|1|saga|1"})


def change(run, txn, field, before, after):
    """A part of a stored branch."""
    record = run.value(txn.key)
    assert before in record[field], record[field]
    record[field] = record[field].replace(before, after)


def change_undo(run):
    change(run, run.txn("saga", "succeed", "submitted"), "01", "CreateRevert", "Create")


def change_confirm(run):
    change(run, run.txn("tcc", "succeed"), "02", "/ConfirmDecrStock", "/CancelDecrStock")


def change_rollback(run):
    change(run, run.txn("xa", "succeed"), "01", "rollback tcp://desk/desk.Desk/End",
           "rollback tcp://desk/desk.Desk/Sell")


def change_check(run):
    change(run, run.sale("succeed"), "00", "Check", "End")


def change_what_an_order_does(run):
    """Of one that was made by the order API."""
    txn = run.pick(t for t in run.state.txns.values() if t.gid.startswith("order:"))
    change(run, txn, "02", "DecrStockRevert", "DecrStock")


def pay_for_too_much(run):
    """The message of a payment grants more points than there are for one."""
    txn = run.pick(t for t in run.state.txns.values() if t.gid.startswith("order-paid-"))
    record = run.value(txn.key)
    record["01"] = record["01"][:-1] + "\x4d"


def change_payload(run):
    record = run.value(run.txn("saga", "succeed", "submitted").key)
    record["02"] = record["02"][:-1] + "\x07"


def tell_another_history(run):
    record = run.value(run.txn("saga", "failed").key)
    record["history"] = record.get("history", "") + " | succeed"


def forget_an_attempt(run):
    txn = run.pick(t for t in run.state.txns.values() if t.type == "saga" and t.status == "succeed"
                   and not t.log)
    rewrite(run, txn, "01.action SUCCESS", "01.action ERROR")


def forget_an_undo(run):
    """In the history."""
    txn = run.pick(t for t in run.state.txns.values() if not t.log and t.status == "failed"
                   and "01.compensate SUCCESS" in t.fields.get("history", ""))
    rewrite(run, txn, "01.compensate SUCCESS", "01.compensate ERROR")


def forget_what_is_undone(run):
    """In the record."""
    txn = run.pick(t for t in run.state.txns.values() if t.type == "saga" and t.status == "failed"
                   and t.branches[0].state == "undone")
    del run.value(txn.key)["01.compensate"]


def keep_the_lease(run):
    run.value(run.txn("saga", "succeed").key)["lease"] = "1.2 somebody"


def keep_for_ever(run):
    txn = run.txn("saga", "succeed")
    run.keys[txn.key] = {**run.keys[txn.key], "ttl": -1}


def keep_history_for_ever(run):
    txn = run.txn("saga", "failed")
    events = run.value(txn.key).pop("history", "")
    run.put(txn.key.replace(":tx:", ":log:"), "stream", [["1-1", {"events": events}]])


def keep_history_of_nobody(run):
    run.put("saga:{3}:log:nobodys", "stream", [["1-1", {"events": "+0 prepared"}]])


def unlist(run):
    txn = run.txn("saga", "succeed")
    del run.value(f"saga:{{{txn.partition}}}:recent")[txn.gid]


def give_two_orders_for_one_key(run):
    line = run.log[run.pick(n for n, line in enumerate(run.log)
                            if line.get("key") and line.get("order"))]
    run.say(key=line["key"], gid=line["gid"], order=line["order"] + 1, told=line["told"])


def order_twice_for_one_key(run):
    """Its client was told of one of them, or of none."""
    txn = run.pick(t for t in run.state.txns.values() if t.gid.startswith("order:"))
    effect = txn.branches[0].effect
    _, uid, number, key = txn.gid.split(":", 3)
    other = f"order:{uid}:{int(number) + 1}:{key}"
    payload = mall.order_message(effect.order + 1, effect.uid, effect.pid, effect.num, effect.amount)
    head = txn.fields["01"].partition("payload ")[0]
    record = {**txn.fields, "01": f"{head}payload {payload.decode('latin-1')}"}
    run.put(txn.key.replace(txn.gid, other), "hash", record)


DAMAGES = {
    "lose record": ("lost", lose_record), "lose all of it": ("lost", lose_all_of_it),
    "lose what was there before": ("lost", lose_what_was_there_before),
    "lose user": ("effect", lose_user), "lose product": ("books", lose_product),
    "lose account": ("books", lose_account),
    "lose index of an entry": ("books", lose_index_of_an_entry),
    "lose order": ("effect", lose_order), "lose ledger entry": ("effect", lose_ledger_entry),
    "lose piece": ("books", lose_piece), "lose message": ("outbox", lose_message),
    "lose branch": ("asked", lose_branch),
    "grant twice": ("effect", grant_twice), "spend twice": ("effect", spend_twice),
    "take another number": ("effect", take_another_number),
    "change an order": ("effect", change_an_order),
    "change order twice": ("effect", change_order_twice),
    "revert order twice": ("effect", revert_order_twice),
    "take and give back once more": ("books", take_and_give_back_once_more),
    "undo one branch": ("half", undo_one_branch), "forget one undo": ("half", forget_one_undo),
    "confirm one not": ("half", confirm_one_not), "confirm and cancel": ("half", confirm_and_cancel),
    "act under another number": ("half", act_under_another_number),
    "never call one": ("half", never_call_one), "fail a message": ("message", fail_a_message),
    "call no commit": ("phase2", call_no_commit), "call no rollback": ("phase2", call_no_rollback),
    "commit what is rolled back": ("phase2", commit_what_is_rolled_back),
    "commit twice": ("phase2", commit_twice), "keep seats held": ("phase2", keep_seats_held),
    "forget a step": ("workflow", forget_a_step),
    "forget the result": ("workflow", forget_the_result),
    "tell another result": ("workflow", tell_another_result),
    "order something else": ("asked", order_something_else),
    "leave a step done": ("half", leave_a_step_done),
    "send without its change": ("announced", send_without_its_change),
    "change without its message": ("announced", change_without_its_message),
    "prepare it never": ("announced", prepare_it_never),
    "lie about a sale": ("announced", lie_about_a_sale), "sell twice": ("effect", sell_twice),
    "announce nothing": ("orphan", announce_nothing),
    "tell success of a failure": ("lie", tell_success_of_a_failure),
    "tell failure of a success": ("lie", tell_failure_of_a_success),
    "turn after the abort": ("lie", turn_after_the_abort),
    "cancel after the commit": ("lie", cancel_after_the_commit),
    "know less than before": ("lie", know_less_than_before),
    "forget the abort": ("lie", forget_the_abort),
    "forget the commit": ("lie", forget_the_commit),
    "know nothing any more": ("lie", know_nothing_any_more),
    "lie about a payment": ("lie", lie_about_a_payment),
    "register nothing": ("lie", register_nothing),
    "tell nothing in the end": ("audited", tell_nothing_in_the_end),
    "ask no more in the end": ("audited", ask_no_more_in_the_end),
    "refuse a payment": ("refused", refuse_a_payment),
    "refuse a good request": ("refused", refuse_a_good_request),
    "turn round by an error": ("reason", turn_round_by_an_error),
    "send not because of an error": ("reason", send_not_because_of_an_error),
    "refuse by an error": ("reason", refuse_by_an_error),
    "be refused too late": ("reason", be_refused_too_late),
    "fail a step by an error": ("reason", fail_a_step_by_an_error),
    "time out too early": ("reason", time_out_too_early),
    "time out what has all the time": ("reason", time_out_what_has_all_the_time),
    "abort unasked": ("reason", abort_unasked),
    "end too late": ("unfinished", end_too_late),
    "end never": ("unfinished", end_never), "keep due": ("left", keep_due), "park": ("left", park),
    "keep outbox": ("left", keep_outbox), "bury message": ("left", bury_message),
    "keep pieces frozen": ("books", keep_pieces_frozen),
    "keep frozen": ("books", keep_frozen),
    "invent": ("asked", invent), "hold for nobody": ("orphan", hold_for_nobody),
    "order for nobody": ("orphan", order_for_nobody),
    "grant to nobody": ("orphan", grant_to_nobody), "act for nobody": ("orphan", act_for_nobody),
    "change undo": ("asked", change_undo), "change confirm": ("asked", change_confirm),
    "change rollback": ("asked", change_rollback), "change check": ("asked", change_check),
    "change what an order does": ("asked", change_what_an_order_does),
    "pay for too much": ("asked", pay_for_too_much),
    "change payload": ("asked", change_payload),
    "give two orders for one key": ("asked", give_two_orders_for_one_key),
    "order twice for one key": ("asked", order_twice_for_one_key),
    "tell another history": ("history", tell_another_history),
    "forget an attempt": ("history", forget_an_attempt),
    "keep history for ever": ("record", keep_history_for_ever),
    "keep history of nobody": ("record", keep_history_of_nobody),
    "forget an undo": ("history", forget_an_undo),
    "forget what is undone": ("history", forget_what_is_undone),
    "keep the lease": ("record", keep_the_lease),
    "keep for ever": ("record", keep_for_ever), "unlist": ("record", unlist),
}


def plant(name, log, dump, chance, state=None):
    """state: of this dump, when it is known already."""
    run = Run(log, dump, chance, state or State(dump))
    DAMAGES[name][1](run)
    return run.log, {**dump, "keys": run.keys}


def unnoticed(log, dump, chance, check):
    """The damages that `check` does not find by the rule that they break: [] when it is good."""
    missed, state = [], State(dump)
    for name, (rule, _) in DAMAGES.items():
        found = {violation.rule for violation in check(*plant(name, log, dump, chance, state))}
        if rule not in found:
            missed.append(f"{name}: {rule} expected, found {sorted(found)}")
    return missed
