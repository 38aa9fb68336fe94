#!/usr/bin/env python3
"""The checker passes a clean run and finds each planted damage, by the rule that it breaks."""
import ast
import inspect
import json
import pathlib
import random
import subprocess
import tempfile
import unittest

import checker
from clients import CHECK, END, RESUME
from damage import DAMAGES, plant
from harness import mall
from harness.stack import PAID_SCORE
from record import State


OPS = {"saga": ("action", "compensate"), "tcc": ("try", "confirm", "cancel"), "msg": ("action",),
       "xa": ("commit", "rollback"), "workflow": ("action",)}


def steps_of(trans_type, *steps):
    """steps: (methods, payload) → [({op: url}, payload)]"""
    return [({op: f"tcp://{method.partition('.')[0]}/{method}"
              for op, method in zip(OPS[trans_type], methods)}, payload) for methods, payload in steps]


class World:
    """A small clean run, written down by hand: what Redis holds and what clients were told."""

    STOCK, UID, PID = 100, 1, 1

    def __init__(self):
        self.log, self.keys = [], {}
        self.product = {"id": "1", "stock": "100", "frozen": "0", "ver": "1"}
        self.account = {"total": "0", "frozen": "0", "count": "0"}
        self.put("{prd:1}:h", "hash", self.product)
        self.put("{scr:0}:a:1", "hash", self.account)
        self.ledger = self.put("{scr:0}:l:1", "hash", {})
        self.owners = self.put("{scr:0}:i", "hash", {})
        self.recent = self.put("saga:{3}:recent", "zset", {})
        self.seats = self.put("{dsk:0}:s", "hash", {})
        self.put("{ord:0}:outbox", "stream", [])
        self.say(setup={"stock": {"1": {"stock": 100, "ver": 1}}, "gids": ["u1"]})
        self.user("u1")

    def put(self, key, kind, value, ttl=-1):
        self.keys[key] = {"type": kind, "ttl": ttl, "value": value}
        return value

    def say(self, **line):
        self.log.append({"n": len(self.log), "since": len(self.log) - 1, **line})

    def add(self, name, field, amount):
        record = getattr(self, name)
        record[field] = str(int(record.get(field, 0)) + amount)

    # ---- a transaction: its record, and what clients said and heard ----

    def record(self, gid, trans_type, steps, status, ops, history):
        """steps: [({op: url}, payload)]"""
        fields = {"type": trans_type, "status": status, "lease": "1.2", "finished": "5",
                  "history": history}
        for n, (urls, payload) in enumerate(steps, 1):
            head = "".join(f"{op} {url} " for op, url in urls.items())
            fields[f"{n:02}"] = head + "payload " + payload.decode("latin-1")
        fields.update(ops)
        self.put(f"saga:{{3}}:tx:{gid}", "hash", fields, 1000)
        self.recent[gid] = "1"

    def ask(self, gid, trans_type, steps, **more):
        self.say(ask="submit", gid=gid, type=trans_type, **more,
                 branches=[[f"{n:02}", urls, payload.hex()]
                           for n, (urls, payload) in enumerate(steps, 1)])

    def barrier(self, tag, gid, branch, **rows):
        self.put(f"{tag}:br:{gid}:{branch}", "hash",
                 {f"{op}:01": f"{writer}|1|t|{journal}" for op, (writer, journal) in rows.items()})

    def order(self, number, gid, num, status, ver):
        self.put(f"{{ord:0}}:o:{number}", "hash", {
            "id": str(number), "uid": "1", "pid": "1", "num": str(num), "amount": "5",
            "status": status, "gid": gid, "ver": str(ver)})

    def entry(self, gid, branch, score):
        number = str(len(self.owners) + 1)
        self.ledger[number] = f"{score}|{gid}|{branch}|1"
        self.owners[number] = "1"
        self.add("account", "count", 1)
        self.add("account", "total", score)

    # ---- kinds ----

    def user(self, gid):
        """Registered before the load."""
        steps = steps_of("saga", ((mall.SAVE_USER, mall.SAVE_USER_REVERT), mall.user_message(1)),
                         ((mall.SAVE_SCORE, mall.SAVE_SCORE_REVERT), mall.score_message(1, 10)))
        self.record(gid, "saga", steps, "succeed", {"01.action": "succeed", "02.action": "succeed"},
                    "+1 01.action SUCCESS 0ms | 02.action SUCCESS 0ms | succeed")
        self.put("{usr:0}:u:1", "hash", {"id": "1", "gid": gid})
        self.barrier("{usr:0}", gid, "01", action=("action", "1"))
        self.entry(gid, "02", 10)
        self.barrier("{scr:0}", gid, "02", action=("action", "1|10"))

    def saga(self, number, status, told, ask=True, gid=None):
        gid = gid or f"s{number}"
        order = mall.order_message(number, 1, 1, 2)
        steps = steps_of("saga", ((mall.CREATE, mall.CREATE_REVERT), order),
                         ((mall.DECR, mall.DECR_REVERT), mall.decr_message(1, 2)))
        if ask:
            self.ask(gid, "saga", steps)
        journal = str(number)
        if status == "succeed":
            self.record(gid, "saga", steps, status,
                        {"01.action": "succeed", "02.action": "succeed"},
                        "+1 01.action SUCCESS 0ms | 02.action SUCCESS 0ms | succeed")
            self.barrier("{ord:0}", gid, "01", action=("action", journal))
            self.barrier("{prd:1}", gid, "02", action=("action", "2"))
            self.order(number, gid, 2, "0", 1)
            self.add("product", "stock", -2)
            self.add("product", "ver", 1)
        else:
            self.record(gid, "saga", steps, status,
                        {"01.action": "succeed", "02.action": "failed", "01.compensate": "succeed",
                         "02.compensate": "succeed"},
                        "+1 01.action SUCCESS 0ms | 02.action FAILURE 0ms: stock_exhausted: 0 left | "
                        "aborting: url:x return failed: stock_exhausted | +1 02.compensate SUCCESS 0ms "
                        "| 01.compensate SUCCESS 0ms | failed: url:x")
            self.barrier("{ord:0}", gid, "01", action=("action", journal),
                         compensate=("compensate", ""))
            self.barrier("{prd:1}", gid, "02", action=("compensate", ""),
                         compensate=("compensate", ""))
            self.order(number, gid, 2, "9", 2)
        for text in told:
            self.say(gid=gid, told=text)

    def tcc(self, number, status, told, why="Timeout after 5 seconds"):
        gid = f"t{number}"
        steps = steps_of("tcc", (mall.ORDER_TCC, mall.order_message(number, 1, 1, 1)),
                         (mall.STOCK_TCC, mall.decr_message(1, 1)),
                         (mall.SCORE_TCC, mall.score_message(1, 5)))
        self.ask(gid, "tcc", steps)
        last = "confirm" if status == "succeed" else "cancel"
        numbers = ("01", "02", "03")
        self.record(gid, "tcc", steps, status, {f"{n}.{last}": "succeed" for n in numbers},
                    f"+0 prepared | +5001 {'submitted' if last == 'confirm' else f'aborting: {why}'} | "
                    + " | ".join(f"{n}.{last} SUCCESS 0ms" for n in numbers) + f" | {status}")
        self.keys[f"saga:{{3}}:tx:{gid}"]["value"]["timeout_to_fail_ms"] = "5000"
        for tag, n, journal in (("{ord:0}", "01", str(number)), ("{prd:1}", "02", "1"),
                                ("{scr:0}", "03", "5")):
            self.barrier(tag, gid, n, **{"try": ("try", journal), last: (last, "")})
        self.order(number, gid, 1, "1" if last == "confirm" else "9", 2)
        self.add("product", "ver", 2)
        if last == "confirm":
            self.add("product", "stock", -1)
            self.entry(gid, "03", -5)
        for text in told:
            self.say(gid=gid, told=text)

    def message(self, gid, ask=True, score=10):
        steps = steps_of("msg", ((mall.SAVE_SCORE,), mall.score_message(1, score)))
        if ask:
            self.ask(gid, "msg", steps)
            self.say(gid=gid, told="submitted")
        self.record(gid, "msg", steps, "succeed", {"01.action": "succeed"},
                    "+0 01.action SUCCESS 0ms | succeed")
        self.entry(gid, "01", score)
        self.barrier("{scr:0}", gid, "01", action=("action", f"{len(self.owners)}|{score}"))

    def sale(self, gid, seats, told):
        """0 seats: they were refused, or never asked for."""
        steps = steps_of("msg", ((mall.SAVE_SCORE,), mall.score_message(1, 3)))
        self.ask(gid, "msg", steps, client=True, query=CHECK, seats=seats or 4)
        self.say(gid=gid, told="prepared")
        self.put(f"{{dsk:0}}:br:{gid}:00", "hash",
                 {"msg:01": ("msg" if seats else "rollback") + "|1|msg|"})
        if seats:
            self.record(gid, "msg", steps, "succeed", {"01.action": "succeed"},
                        "+0 prepared | submitted | 01.action SUCCESS 0ms | succeed")
            self.barrier("{scr:0}", gid, "01", action=("action", "7|3"))
            self.entry(gid, "01", 3)
            self.seats[gid] = str(seats)
        else:
            self.record(gid, "msg", steps, "failed", {},
                        "+0 prepared | 00.msg FAILURE 0ms: the change was not made | failed: url:x")
        self.keys[f"saga:{{3}}:tx:{gid}"]["value"]["00"] = f"query {CHECK}"
        for text in told:
            self.say(gid=gid, told=text)

    def xa(self, gid, status, told):
        steps = steps_of("xa", ((END, END), b"2"), ((END, END), b"3"))
        self.ask(gid, "xa", steps, client=True)
        op = "commit" if status == "succeed" else "rollback"
        if op == "rollback":
            self.say(ask="abort", gid=gid)
        self.record(gid, "xa", steps, status,
                    {f"{n}.{op}": "succeed" for n in ("01", "02")},
                    f"+0 prepared | {'submitted' if op == 'commit' else 'aborting: no'} | "
                    f"01.{op} SUCCESS 0ms | 02.{op} SUCCESS 0ms | {status}")
        for n, seats in ("01", "2"), ("02", "3"):
            self.put(f"{{dsk:0}}:x:{gid}:{n}", "hash",
                     {op: "1", **({"sold": seats} if op == "commit" else {})})
        for text in told:
            self.say(gid=gid, told=text)

    def workflow(self, number, status):
        """With the effects of a saga."""
        gid, order = f"flow-{number}", mall.order_message(number, 1, 1, 2)
        self.ask(gid, "workflow", steps_of("workflow", ((mall.CREATE,), order),
                                           ((mall.DECR,), mall.decr_message(1, 2))), query=RESUME)
        self.saga(number, status, [], ask=False, gid=gid)
        fields = {"00": f"query {RESUME} payload " + order.decode("latin-1"),
                  "type": "workflow", "status": status, "lease": "1.2", "finished": "5",
                  "01.action": "succeed \x08\x01", "history": f"+0 prepared | +4 {status}"}
        if status == "succeed":
            fields |= {"02.action": "succeed ", "result": str(number)}
        else:
            fields |= {"02.action": "failed stock_exhausted: 0 left", "01.compensate": "succeed ",
                       "02.compensate": "succeed "}
        self.put(f"saga:{{3}}:tx:{gid}", "hash", fields, 1000)
        self.say(gid=gid, told=status, result=fields.get("result"))

    def paid(self, number):
        self.saga(number, "succeed", ["succeed"])
        self.say(ask="pay", order=number)
        self.say(order=number, told="paid")
        self.keys[f"{{ord:0}}:o:{number}"]["value"].update(status="1", ver="2")
        self.message(f"order-paid-{number}", ask=False, score=PAID_SCORE)

    def api(self, number):
        gid = f"order:1:{number}:key{number}"
        self.say(ask="order", key=f"key{number}", uid=1, pid=1, num=2, amount=5)
        self.saga(number, "succeed", [], ask=False, gid=gid)
        self.say(key=f"key{number}", gid=gid, order=number, told="succeed")

    def audit(self):
        """When all is over, and again when the test has said more."""
        self.log = [line for line in self.log if "left" not in line and not line.get("audit")]
        self.say(left=0)
        for gid in {line["gid"]: 0 for line in self.log if line.get("gid") and "told" in line
                    and line["told"] != "unknown"}:
            record = next((entry["value"] for key, entry in self.keys.items()
                           if key.endswith("}:tx:" + gid)), {"status": "absent"})
            self.say(gid=gid, told=record["status"], audit=True)

    def dump(self):
        return {"keys": self.keys}


def clean_world():
    world = World()
    for number, (status, told) in enumerate((
            ("succeed", ["submitted", "succeed"]), ("succeed", ["unknown", "submitted"]),
            ("failed", ["submitted", "failed"]), ("failed", ["aborting"])), 1):
        world.saga(number, status, told)
    world.message("m1")
    world.message("m2")
    world.sale("d1", 2, ["sold", "submitted"])
    world.sale("d2", 3, ["sold"])
    world.sale("d3", 0, ["unsold", "failed"])
    world.sale("d4", 0, ["unknown"])
    world.tcc(11, "succeed", ["submitted", "succeed"])
    world.tcc(12, "failed", ["prepared", "failed"])
    world.xa("x1", "succeed", ["prepared", "submitted"])
    world.xa("x2", "failed", ["prepared", "aborting"])
    world.workflow(41, "succeed")
    world.workflow(42, "failed")
    world.paid(21)
    world.api(31)
    world.audit()
    return world


def yields_of(module):
    """[(line, its text)]"""
    source = inspect.getsource(module)
    lines = source.splitlines()
    return sorted((node.lineno, lines[node.lineno - 1].strip()) for node in ast.walk(ast.parse(source))
                  if isinstance(node, (ast.Yield, ast.YieldFrom)))


def lines_of(generator):
    """Those in which it stands, and those that it takes from."""
    lines = set()
    while generator:
        lines.add(generator.gi_frame.f_lineno)
        generator = generator.gi_yieldfrom
    return lines


class CheckerTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.world = clean_world()
        self.state = State(self.world.dump())

    def check(self):
        self.world.audit()
        return checker.check(self.world.log, self.world.dump())

    def test_a_clean_run_passes(self):
        self.assertEqual([], self.check())

    def test_each_damage_is_found_by_its_rule(self):
        for name, (rule, _) in DAMAGES.items():
            for seed in range(5):
                with self.subTest(damage=name, seed=seed):
                    spoilt = plant(name, self.world.log, self.world.dump(), random.Random(seed))
                    found = checker.check(*spoilt)
                    self.assertIn(rule, {violation.rule for violation in found}, found)

    def test_each_finding_of_the_checker_is_the_only_one_of_some_damage(self):
        """So each `yield` is needed: without it a damage would not be found by the rule it breaks."""
        needed = set()
        for name, (rule, _) in DAMAGES.items():
            for seed in range(5):
                needed |= self.only_yields_of(name, rule, seed)
        needless = [f"line {line}: {text}" for line, text in yields_of(checker) if line not in needed]
        self.assertEqual([], needless)

    def only_yields_of(self, name, rule, seed):
        """The lines through which all findings of this damage come, by the rule that it breaks."""
        spoilt = plant(name, self.world.log, self.world.dump(), random.Random(seed), self.state)
        findings = checker.RULES[rule](checker.Story(spoilt[0]), State(spoilt[1]))
        found = [lines_of(findings) for _ in findings]
        return set.intersection(*found) if found else set()

    def test_each_rule_has_a_damage(self):
        self.assertEqual(set(checker.RULES), {rule for rule, _ in DAMAGES.values()})

    def test_damage_leaves_the_original_alone(self):
        for name in DAMAGES:
            plant(name, self.world.log, self.world.dump(), random.Random(1))
        self.assertEqual([], self.check())

    def test_an_answer_that_was_on_its_way_is_no_lie(self):
        """The question came before the end was told to another client."""
        gid = "s1"
        end = next(line for line in self.world.log if line.get("gid") == gid
                   and line.get("told") == "succeed")
        self.world.log.append({"n": 900, "since": end["n"] - 1, "gid": gid, "told": "submitted"})
        self.assertEqual([], self.check())
        self.world.log.append({"n": 901, "since": end["n"], "gid": gid, "told": "submitted"})
        self.assertEqual(["lie"], [violation.rule for violation in self.check()])

    def test_after_a_decision_nobody_is_told_of_an_earlier_state(self):
        for gid, decision, then, is_lie in (
                ("s4", "aborting", "submitted", True), ("s4", "aborting", "prepared", True),
                ("s4", "aborting", "stored", False), ("s4", "aborting", "failed", False),
                ("s1", "submitted", "prepared", False), ("t11", "submitted", "prepared", True),
                ("x1", "submitted", "registered", True), ("m1", "submitted", "prepared", True),
                ("t11", "submitted", "succeed", False)):
            with self.subTest(gid=gid, then=then):
                self.world = clean_world()
                told = [line for line in self.world.log if line.get("gid") == gid and "told" in line]
                at = next(n for n, line in enumerate(told) if line["told"] == decision)
                self.world.log = [line for line in self.world.log if line not in told[at + 1:]]
                self.world.log = [line for line in self.world.log if not line.get("audit")]
                self.assertEqual([], self.check())
                self.world.say(gid=gid, told=then, branch="01")
                found = [(violation.rule, violation.subject) for violation in self.check()]
                self.assertEqual([("lie", gid)] * is_lie, found)

    def test_unknown_may_be_absent_but_not_half(self):
        self.world.say(ask="submit", gid="gone", type="saga", branches=[])
        self.world.say(gid="gone", told="unknown")
        self.assertEqual([], self.check())
        self.world.barrier("{prd:1}", "gone", "02", action=("action", "2"))
        self.assertEqual(["orphan"], [violation.rule for violation in self.check()])

    def test_what_was_never_called_may_fail_at_once_and_what_was_may_not(self):
        steps = steps_of("saga", ((mall.DECR, mall.DECR_REVERT), mall.decr_message(1, 2)))
        self.world.ask("a1", "saga", steps)
        self.world.say(ask="abort", gid="a1")
        self.world.record("a1", "saga", steps, "failed", {}, "+1 failed: aborted by request")
        self.assertEqual([], self.check())
        record = self.world.keys["saga:{3}:tx:s3"]["value"]
        turn = " | aborting: url:x return failed: stock_exhausted"
        record["history"] = record["history"].replace(turn, "")
        self.assertEqual(["history"], [violation.rule for violation in self.check()])

    def test_a_long_history_is_read_from_its_stream_first(self):
        record = self.world.keys["saga:{3}:tx:s3"]["value"]
        first, last = record["history"].split(" | +1 ")
        record["history"] = "+1 " + last
        self.world.put("saga:{3}:log:s3", "stream", [["1-1", {"events": first}]], 1000)
        self.assertEqual([], self.check())
        del self.world.keys["saga:{3}:log:s3"]
        self.assertEqual({"history", "reason"}, {violation.rule for violation in self.check()})

    def test_of_a_history_whose_beginning_is_gone_nobody_asks_why(self):
        record = self.world.keys["saga:{3}:tx:s3"]["value"]
        first, last = record["history"].split(" | aborting")
        record["history"] = "aborting" + last
        more = [[f"{n}-1", {"events": "+1 01.action ERROR 1ms: no answer"}] for n in range(999)]
        self.world.put("saga:{3}:log:s3", "stream", more, 1000)
        self.assertEqual(["reason"], [violation.rule for violation in self.check()])
        more.append(["999-1", {"events": "+2 01.action ERROR 1ms: no answer"}])
        self.assertEqual([], self.check())


class CommandTest(unittest.TestCase):
    """scripts/chaos.sh --check FOLDER."""

    SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "chaos.sh"

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sagad-check-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)

    def check(self, *words):
        """(exit code, standard output, errors)"""
        done = subprocess.run([self.SCRIPT, "--check", *words], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertNotIn("Traceback", done.stderr)
        return done.returncode, done.stdout, done.stderr

    def write(self, log, dump):
        (self.dir / "clients.jsonl").write_text(log, encoding="utf-8")
        (self.dir / "dump.json").write_text(dump, encoding="utf-8")

    def test_no_folder_and_one_that_no_run_left_are_wrong_usage(self):
        for words in ((), ("/nonexist",), (self.dir,)):
            code, out, errors = self.check(*words)
            self.assertEqual((2, ""), (code, out), errors)
            self.assertIn("needs the folder of a run, with clients.jsonl and dump.json", errors)

    def test_half_a_file_is_named(self):
        self.write('{"n": 1, "ask', "{}")
        code, _, errors = self.check(self.dir)
        self.assertEqual(2, code, errors)
        self.assertIn(f"checker.py: {self.dir}/clients.jsonl: is not what a run leaves", errors)

    def test_a_run_is_checked_and_a_violation_ends_with_1(self):
        world = clean_world()
        log = "".join(json.dumps(line) + "\n" for line in world.log)
        self.write(log, json.dumps({"keys": world.keys}))
        self.assertEqual((0, "0 violations\n", ""), self.check(self.dir))
        world.seats["a1"] = "2"
        self.write(log, json.dumps({"keys": world.keys}))
        code, out, _ = self.check(self.dir)
        self.assertEqual(1, code, out)


if __name__ == "__main__":
    unittest.main()
