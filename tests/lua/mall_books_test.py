"""Random deliveries of the mall's branch calls (any order, any number of times) keep the books:

    initial stock + adjustments = stock + frozen + sum of num of the valid orders
    total + frozen of a user    = sum of the ledger

The seed is printed when a case fails; `--seed N` runs that one alone."""
import random
import sys
import unittest

from mall_redis import Mall

CASES = 40
SEEDS = range(CASES)


def setUpModule():
    global mall, redis
    mall = Mall()
    redis = mall.redis


def tearDownModule():
    mall.stop()


class Saga:
    """One order: its calls can be delivered at any time; what was answered decides, as in sagad."""

    def __init__(self, number, pid, num):
        self.id, self.gid, self.pid, self.num = str(number), "g%d" % number, pid, str(num)
        self.answers = {}  # (branch, op) → first verdict

    def deliver(self, branch, op):
        if branch == "01":
            keys, args = ["{ord:0}:o:" + self.id], [self.id]
            name = "order_create_revert"
            if op == "action":
                keys.append("{ord:0}:u:3")
                args += ["3", self.pid, self.num, "0", "0"]
                name = "order_create"
            verdict, _ = mall.gated(name, op, "{ord:0}", self.gid, "01", keys, args)
        else:
            name = "product_decr_stock" + ("" if op == "action" else "_revert")
            verdict, _ = mall.gated(name, op, "{prd:%s}" % self.pid, self.gid, "02",
                                    ["{prd:%s}:h" % self.pid], [self.num])
        self.answers.setdefault((branch, op), verdict)
        return verdict

    def valid(self):
        return redis("HGET", "{ord:0}:o:" + self.id, "status") in (b"0", b"1")

    def holds_stock(self):
        """Whether its pieces are out of stock now, told by the barrier alone."""
        rows = mall.rows("{prd:%s}" % self.pid, self.gid, "02")
        return rows.get("action") == "action" and "compensate" not in rows


class Shop:
    """A few products and orders under random deliveries."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        redis("FLUSHALL")
        self.books = {}  # product → initial stock + adjustments
        for pid in ("1", "2", "3"):
            self.books[pid] = self.random.randint(0, 12)
            mall.plain("product_create", ["{prd:%s}:h" % pid],
                       [pid, "n", "", str(self.books[pid]), "1", "0"])
        self.sagas = [Saga(i, self.random.choice("123"), self.random.randint(1, 4))
                      for i in range(1, 9)]

    def count_stock(self, pid):
        new = self.random.randint(0, 12)
        verdict, former = mall.plain("product_set_stock", ["{prd:%s}:h" % pid], [str(new)])
        if verdict == "OK":
            self.books[pid] += new - int(former)

    def disturb(self):
        """What users and clerks do meanwhile."""
        pid, saga = self.random.choice("123"), self.random.choice(self.sagas)
        what = self.random.randrange(5)
        if what == 0:
            self.count_stock(pid)
        elif what == 1:
            mall.plain("product_update", ["{prd:%s}:h" % pid],
                       ["", "status", self.random.choice("01")])
        elif what == 2 and self.random.random() < 0.2:
            mall.plain("product_remove", ["{prd:%s}:h" % pid], [])
        elif what == 3:
            mall.plain("order_remove", ["{ord:0}:o:" + saga.id, "{ord:0}:u:3"], ["3", saga.id])
        elif what == 4:
            redis("SCRIPT", "FLUSH")

    def taken(self, pid):
        return sum(int(saga.num) for saga in self.sagas if saga.pid == pid and saga.holds_stock())

    def stock(self, pid):
        return int(redis("HGET", "{prd:%s}:h" % pid, "stock"))

    def check_step(self, case):
        for pid, books in self.books.items():
            case.assertEqual(books, self.stock(pid) + self.taken(pid))
            case.assertGreaterEqual(self.stock(pid), 0)

    def drive(self, saga):
        """What a coordinator does until the end, whatever was delivered before; each call once or
        more."""
        def until(branch, op):
            for _ in range(self.random.randint(0, 2)):
                saga.deliver(branch, op)
            return saga.deliver(branch, op)

        turned = [b for b in ("01", "02") if until(b, "action") not in ("OK", "DUP")][:1]
        compensated = [b for b in ("02", "01") if (b, "compensate") in saga.answers]
        if turned or compensated:
            for branch in ("02", "01"):
                until(branch, "compensate")
        for _ in range(4):  # what the network still held
            saga.deliver(*self.random.choice(list(saga.answers)))


class Books(unittest.TestCase):
    def test_any_interleaving_keeps_the_stock(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                shop = Shop(seed)
                for _ in range(60):
                    saga = shop.random.choice(shop.sagas)
                    saga.deliver(shop.random.choice(("01", "02")),
                                 shop.random.choice(("action", "action", "compensate")))
                    if shop.random.random() < 0.2:
                        shop.disturb()
                    shop.check_step(self)
                for saga in shop.sagas:
                    shop.drive(saga)
                shop.check_step(self)
                self.check_end(shop)

    def check_end(self, shop):
        """All have ended: now the orders themselves account for the stock."""
        for pid, books in shop.books.items():
            sold = sum(int(s.num) for s in shop.sagas if s.pid == pid and s.valid())
            self.assertEqual(books, shop.stock(pid) + sold)
        for saga in shop.sagas:
            self.assertEqual(saga.valid(), saga.holds_stock(), saga.gid)

    def test_cases_see_success_refusal_empty_undo_and_late_actions(self):
        """The random cases are worth something only when all of these occur."""
        seen = set()
        for seed in range(CASES):
            shop = Shop(seed)
            for saga in shop.sagas:
                for _ in range(3):
                    seen.add(saga.deliver("02", shop.random.choice(("action", "compensate"))))
        self.assertEqual(seen, {"OK", "DUP", "NULL", "FAIL", "VOID"})

    def test_total_is_the_sum_of_the_ledger(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                chance = random.Random(seed)
                redis("FLUSHALL")
                for _ in range(80):
                    self.deliver_grant(chance, chance.randint(1, 12))
                    for user in (1, 2):
                        self.check_account(user)

    def deliver_grant(self, chance, number):
        """The user and the points of a transaction are always the same."""
        gid, user, score = "g%d" % number, number % 2 + 1, str(number * 3)
        keys = ["{scr:0}:l:%d" % user, "{scr:0}:a:%d" % user, "{scr:0}:i"]
        if chance.random() < 0.6:
            mall.gated("score_save", "action", "{scr:0}", gid, "02", ["{scr:0}:seq"] + keys,
                       [str(user), score, "1000"])
        else:
            mall.gated("score_save_revert", "compensate", "{scr:0}", gid, "02", keys, [])

    def check_account(self, user):
        entries = mall.hash("{scr:0}:l:%d" % user)
        account = mall.hash("{scr:0}:a:%d" % user)
        self.assertEqual(int(account.get("total", 0)),
                         sum(int(entry.split("|")[0]) for entry in entries.values()))
        self.assertEqual(int(account.get("count", 0)), len(entries))
        gids = [entry.split("|")[1] for entry in entries.values()]
        self.assertEqual(len(gids), len(set(gids)))
        owners = mall.hash("{scr:0}:i")
        self.assertEqual({e for e, owner in owners.items() if owner == str(user)}, set(entries))


class Tcc:
    """An order that is paid with points. What a coordinator knows decides between confirm and
    cancel, once; calls come in any order and number, late tries too."""

    KEYS = {"01": "{ord:0}", "03": "{scr:0}"}

    def __init__(self, number, pid, num, points):
        self.id, self.gid, self.pid, self.num = str(number), "t%d" % number, pid, str(num)
        self.points = str(points)
        self.verdicts = {}  # branch → first verdict of its try
        self.decision = None

    def call_of(self, branch, op):
        """(script, tag, keys, args)"""
        if branch == "01":
            key = "{ord:0}:o:" + self.id
            if op == "try":
                return ("order_create", "{ord:0}", [key, "{ord:0}:u:3"],
                        [self.id, "3", self.pid, self.num, self.points, "2"])
            name = "order_create_confirm" if op == "confirm" else "order_create_revert"
            return name, "{ord:0}", [key], [self.id]
        if branch == "02":
            tag = "{prd:%s}" % self.pid
            return "product_decr_stock_" + op, tag, [tag + ":h"], [self.num]
        if op == "confirm":
            return ("score_deduct_confirm", "{scr:0}",
                    ["{scr:0}:seq", "{scr:0}:l:3", "{scr:0}:a:3", "{scr:0}:i"], ["3"])
        return "score_deduct_" + op, "{scr:0}", ["{scr:0}:a:3"], [self.points]

    def deliver(self, branch, op):
        name, tag, keys, args = self.call_of(branch, op)
        verdict, _ = mall.gated(name, op, tag, self.gid, branch, keys, args)
        if op == "try":
            self.verdicts.setdefault(branch, verdict)
        return verdict

    def step(self, chance):
        """One delivery; then the decision, when there is enough to know."""
        branch = chance.choice(("01", "02", "03"))
        verdict = self.deliver(branch, self.decision or "try")
        if self.decision and chance.random() < 0.3:
            self.deliver(branch, "try")  # late
        if not self.decision and ("FAIL" in self.verdicts.values() or chance.random() < 0.05):
            self.decision = "cancel"
        elif not self.decision and len(self.verdicts) == 3 and chance.random() < 0.5:
            self.decision = "confirm"
        return verdict

    def finish(self, chance):
        while not self.decision:
            self.step(chance)
        for branch in ("03", "02", "01"):
            self.deliver(branch, self.decision)

    def rows(self, branch):
        return mall.rows("{prd:%s}" % self.pid if branch == "02" else self.KEYS[branch], self.gid,
                         branch)

    def holds(self, branch):
        """"frozen", "taken" or None, told by the barrier alone."""
        rows = self.rows(branch)
        if rows.get("try") != "try" or "cancel" in rows:
            return None
        return "taken" if "confirm" in rows else "frozen"


class TccBooks(unittest.TestCase):
    """The same for orders that are paid with points, beside sagas on the same products."""

    POINTS = 30

    def play(self, seed):
        shop = Shop(seed)
        mall.gated("score_save", "action", "{scr:0}", "grant", "02",
                   ["{scr:0}:seq", "{scr:0}:l:3", "{scr:0}:a:3", "{scr:0}:i"],
                   ["3", str(self.POINTS), "1000"])
        chance = shop.random
        return shop, [Tcc(i, chance.choice("123"), chance.randint(1, 4), chance.randint(1, 12))
                      for i in range(101, 109)]

    def check(self, shop, tccs):
        for pid, books in shop.books.items():
            held = {what: sum(int(t.num) for t in tccs if t.pid == pid and t.holds("02") == what)
                    for what in ("frozen", "taken")}
            record = mall.hash("{prd:%s}:h" % pid)
            self.assertEqual(held["frozen"], int(record.get("frozen", 0)))
            self.assertEqual(books, int(record["stock"]) + held["frozen"] + held["taken"]
                             + shop.taken(pid))
        account = mall.hash("{scr:0}:a:3")
        frozen = sum(int(t.points) for t in tccs if t.holds("03") == "frozen")
        ledger = mall.hash("{scr:0}:l:3").values()
        self.assertEqual(frozen, int(account.get("frozen", 0)))
        self.assertEqual(int(account["total"]) + frozen,
                         sum(int(entry.split("|")[0]) for entry in ledger))
        self.assertEqual(int(account["count"]), len(ledger))
        self.assertGreaterEqual(int(account["total"]), 0)

    def test_any_interleaving_keeps_stock_and_points(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                shop, tccs = self.play(seed)
                for _ in range(60):
                    if shop.random.random() < 0.3:
                        shop.random.choice(shop.sagas).deliver(
                            "02", shop.random.choice(("action", "compensate")))
                    shop.random.choice(tccs).step(shop.random)
                    if shop.random.random() < 0.2:
                        shop.disturb()
                    self.check(shop, tccs)
                for tcc in tccs:
                    tcc.finish(shop.random)
                self.check(shop, tccs)
                self.check_end(tccs)

    def check_end(self, tccs):
        """All or nothing: each order is paid, with its pieces and its points taken, or void."""
        for tcc in tccs:
            done = tcc.decision == "confirm"
            status = redis("HGET", "{ord:0}:o:" + tcc.id, "status")
            self.assertIn(status, [b"1"] if done else [b"9", None], tcc.gid)
            self.assertEqual([tcc.holds("02"), tcc.holds("03")], ["taken" if done else None] * 2)

    def test_cases_see_success_refusal_empty_cancel_and_late_tries(self):
        seen, decisions = set(), set()
        for seed in range(CASES):
            shop, tccs = self.play(seed)
            for _ in range(60):
                seen.add(shop.random.choice(tccs).step(shop.random))
            for tcc in tccs:
                tcc.finish(shop.random)
                decisions.add(tcc.decision)
                seen.add(tcc.deliver("02", "try"))
        self.assertEqual(seen, {"OK", "DUP", "NULL", "FAIL", "VOID"})
        self.assertEqual(decisions, {"confirm", "cancel"})


if __name__ == "__main__":
    if "--seed" in sys.argv:
        at = sys.argv.index("--seed")
        SEEDS = [int(sys.argv[at + 1])]
        del sys.argv[at:at + 2]
    unittest.main()
