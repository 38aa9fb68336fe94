"""Random deliveries of the mall's branch calls (any order, any number of times) keep the books:

    initial stock + adjustments = stock + sum of num of the valid orders
    total of a user             = sum of the ledger

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
                args += ["3", self.pid, self.num, "0"]
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


if __name__ == "__main__":
    if "--seed" in sys.argv:
        at = sys.argv.index("--seed")
        SEEDS = [int(sys.argv[at + 1])]
        del sys.argv[at:at + 2]
    unittest.main()
