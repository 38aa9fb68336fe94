"""Every script of the mall against a real redis-server: each one twice, every answer, wrong input."""
import hashlib
import re
import unittest

from mall_redis import Mall, RedisError, body, is_gated, names, text

GID = "a {x}:|/ \u00fc\\ \"'"  # any UTF-8 may stand in a gid
OTHER = "other"


def setUpModule():
    global mall, redis
    mall = Mall()
    redis = mall.redis


def tearDownModule():
    mall.stop()


class Base(unittest.TestCase):
    def setUp(self):
        redis("FLUSHALL")

    def twice(self, run, first, again=None):
        """Runs it twice: the second answer is `again`, and changes nothing when that is told."""
        self.assertEqual(run(), first)
        before = mall.dump()
        self.assertEqual(run(), again or first)
        if again:
            self.assertEqual(mall.dump(), before)

    def refused(self, run, word):
        """Refused twice by this reason; nothing was written."""
        before = mall.dump()
        for _ in range(2):
            verdict, why = run()
            self.assertEqual((verdict, why.split(":")[0]), ("FAIL", word))
            self.assertGreater(len(why), len(word) + 2)
        self.assertEqual(mall.dump(), before)

    def broken(self, run, pattern):
        """An error reply; nothing was written."""
        before = mall.dump()
        self.assertRaisesRegex(RedisError, pattern, run)
        self.assertEqual(mall.dump(), before)


class Texts(Base):
    def test_all_scripts_are_known_and_compile(self):
        self.assertEqual(len(names()), 26)
        for name in names():
            digest = hashlib.sha1(text(name).encode()).hexdigest().encode()
            self.assertEqual(redis("SCRIPT", "LOAD", text(name)), digest, name)

    def test_header_tells_keys_args_returns_and_repeats(self):
        for name in names():
            self.assertTrue(body(name).startswith("-- " + name + ":"), name)
            self.assertRegex(body(name), r"(?m)^-- KEYS: \d$", name)
            for word in ("ARGV", "Returns", "Repeat"):
                self.assertRegex(body(name), r"(?m)^-- " + word, name)

    def test_plain_scripts_refuse_a_wrong_number_of_keys_and_arguments_by_name(self):
        plain = [name for name in names() if not is_gated(name)]
        self.assertEqual(len(plain), 11)
        for name in plain:
            keys = int(re.search(r"(?m)^-- KEYS: (\d)$", body(name)).group(1))
            for k, a in ((0, 0), (keys - 1, 1), (keys + 1, 1), (keys, 12)):
                self.broken(lambda n=name, k=k, a=a: mall.plain(
                    n, ["{t}%d" % i for i in range(k)], ["1"] * a), name + ": wants")

    def test_gated_scripts_write_nothing_when_keys_or_arguments_are_missing(self):
        """What is left out shows as an error, and the barrier has no row of it."""
        ops = {"revert": "compensate", "try": "try", "confirm": "confirm", "cancel": "cancel"}
        for name in filter(is_gated, names()):
            op = ops.get(name.rpartition("_")[2], "action")
            redis("FLUSHALL")
            if op not in ("action", "try"):  # something to look back on, else the body does not run
                first = "action" if op == "compensate" else "try"
                redis("HSET", "{t}:br:g:01", first + ":01", first + "|1|saga|1|1")
            self.broken(lambda n=name, o=op: mall.gated(n, o, "{t}", "g", "01", [], []), ".")

    def test_gated_scripts_refuse_a_key_of_another_slot(self):
        for name in filter(is_gated, names()):
            self.broken(lambda n=name: mall.gated(n, "action", "{t}", "g", "01", ["{u}:x"], ["1"]),
                        "must begin with the tag")


class Order(Base):
    tag, key, list, seq = "{ord:0}", "{ord:0}:o:7", "{ord:0}:u:3", "{ord:0}:seq"
    outbox = "{ord:0}:outbox"

    def create(self, gid=GID, op="action", num="2", amount="10", order="7"):
        return mall.gated("order_create", op, self.tag, gid, "01",
                          ["{ord:0}:o:" + order, self.list],
                          [order, "3", "1", num, amount, "2" if op == "try" else "0"])

    def revert(self, gid=GID, order="7", op="compensate"):
        return mall.gated("order_create_revert", op, self.tag, gid, "01", ["{ord:0}:o:" + order],
                          [order])

    def confirm(self, gid=GID, order="7"):
        return mall.gated("order_create_confirm", "confirm", self.tag, gid, "01",
                          ["{ord:0}:o:" + order], [order])

    def paid(self, amount="", message=None):
        return mall.plain("order_paid", [self.key, self.outbox], [amount, *(message or [""] * 3)])

    def update(self, amount="12", ver="1"):
        return mall.plain("order_update", [self.key], [ver, amount])

    def remove(self, uid="3"):
        return mall.plain("order_remove", [self.key, self.list], [uid, "7"])

    def status(self, order="7"):
        return mall.hash("{ord:0}:o:" + order).get("status")

    def test_created_once(self):
        self.twice(self.create, ("OK", ""), ("DUP", ""))
        record = mall.hash(self.key)
        self.assertEqual([record[f] for f in ("id", "uid", "pid", "num", "amount", "status", "gid",
                                              "ver")], ["7", "3", "1", "2", "10", "0", GID, "1"])
        self.assertNotIn("utime", record)  # it has not changed since ctime
        self.assertEqual(redis("ZRANGE", self.list, 0, -1, "WITHSCORES"), [b"7", b"7"])
        self.assertEqual(mall.rows(self.tag, GID, "01"), {"action": "action"})

    def test_id_that_is_taken_is_refused(self):
        self.create()
        self.refused(lambda: self.create(gid=OTHER), "order_exists")
        self.assertEqual(mall.rows(self.tag, OTHER, "01"), {})

    def test_numbers_out_of_range_are_refused(self):
        for num in ("0", "-1", "1000001", "1.5", "x", "", "nan", "inf", "9223372036854775807", "1e3",
                    "2000000", "01", " 1", "0x1"):
            self.refused(lambda n=num: self.create(num=n), "bad_num")
        for amount in ("-1", "4294967296", "0.5", "x", "", "nan", "10000000000", "1e3", "5 ", "0x5"):
            self.refused(lambda a=amount: self.create(amount=a), "bad_amount")
        self.assertEqual(self.create(num="1000000", amount="4294967295")[0], "OK")
        self.assertEqual(self.create(order="8", gid=OTHER, amount="0")[0], "OK")

    def test_undone_once(self):
        self.create()
        self.twice(self.revert, ("OK", "9"), ("DUP", "9"))
        record = mall.hash(self.key)
        self.assertEqual((record["status"], record["ver"]), ("9", "2"))
        self.assertEqual(mall.rows(self.tag, GID, "01"),
                         {"action": "action", "compensate": "compensate"})

    def test_undo_of_a_paid_order_leaves_it_and_says_so(self):
        self.create()
        self.assertEqual(self.paid(), ("OK", "1"))
        before = mall.hash(self.key)
        self.twice(self.revert, ("OK", "paid"), ("DUP", "paid"))
        self.assertEqual(mall.hash(self.key), before)

    def test_undo_of_an_order_that_is_gone_ends(self):
        self.create()
        redis("DEL", self.key)
        self.twice(self.revert, ("OK", "absent"), ("DUP", "absent"))
        self.assertEqual(redis("EXISTS", self.key), 0)

    def test_undo_never_touches_the_order_of_another_transaction(self):
        self.create()
        redis("HSET", self.key, "gid", OTHER)
        self.twice(self.revert, ("OK", "absent"), ("DUP", "absent"))
        self.assertEqual(self.status(), "0")

    def test_undo_whose_payload_names_another_order_is_an_error(self):
        self.create()
        self.create(gid=OTHER, order="8")
        self.broken(lambda: self.revert(order="8"), "the journal says order 7, the payload 8")
        self.assertEqual((self.status("7"), self.status("8")), ("0", "0"))
        self.assertEqual(self.revert(), ("OK", "9"))

    def test_undo_of_a_void_order_changes_nothing(self):
        self.create()
        redis("HSET", self.key, "status", "9")
        before = mall.hash(self.key)
        self.assertEqual(self.revert(), ("OK", "9"))
        self.assertEqual(mall.hash(self.key), before)

    def test_undo_without_action_keeps_the_action_out(self):
        self.twice(self.revert, ("NULL", ""), ("DUP", ""))
        self.assertEqual(self.create()[0], "VOID")
        self.assertEqual(redis("EXISTS", self.key), 0)
        self.assertEqual(mall.rows(self.tag, GID, "01"),
                         {"action": "compensate", "compensate": "compensate"})

    def test_of_two_orders_of_one_user_only_the_own_one_is_undone(self):
        self.create()
        self.create(gid=OTHER, order="8")
        self.assertEqual(self.revert(gid=OTHER, order="8"), ("OK", "9"))
        self.assertEqual((self.status("7"), self.status("8")), ("0", "9"))

    def test_paid(self):
        self.refused(self.paid, "no_order")
        self.create()
        self.refused(lambda: self.paid("9"), "amount_differs")
        self.twice(lambda: self.paid("10"), ("OK", "1"), ("OK", "1"))
        self.assertEqual((self.status(), mall.hash(self.key)["ver"]), ("1", "2"))

    def test_paid_with_a_message(self):
        message = ["order-paid-7", "tcp://score/score.UserScore/saveUserScore", "\b\x03\x10\x05"]
        self.refused(lambda: self.paid("10", message), "no_order")
        self.create()
        self.refused(lambda: self.paid("9", message), "amount_differs")
        self.broken(lambda: self.paid("10", [message[0], "no url", ""]), "outbox: 01.action must")
        self.assertEqual(redis("EXISTS", self.outbox), 0)
        self.twice(lambda: self.paid("10", message), ("OK", "1"), ("OK", "1"))
        entries = redis("XRANGE", self.outbox, "-", "+")
        self.assertEqual([[f.decode() for f in fields] for _, fields in entries],
                         [["gid", message[0], "trans_type", "msg", "01.action", message[1],
                           "01.payload", message[2]]])

    def test_void_or_removed_order_cannot_be_paid(self):
        self.create()
        self.revert()
        self.refused(self.paid, "order_invalid")
        self.remove()
        self.refused(self.paid, "no_order")

    def test_update(self):
        self.refused(self.update, "changed_meanwhile")
        self.create()
        for ver in ("2", "0", "", "1.0", "none"):
            self.refused(lambda v=ver: self.update(ver=v), "changed_meanwhile")
        self.assertEqual(self.update(), ("OK", "2"))
        self.refused(self.update, "changed_meanwhile")
        self.assertEqual(self.update("4294967295", ver="2"), ("OK", "3"))
        self.assertEqual(mall.hash(self.key)["amount"], "4294967295")

    def test_update_to_no_amount_is_an_error(self):
        self.create()
        for amount in ("-1", "4294967296", "1.5", "x", "", "0x5", "nan"):
            self.broken(lambda a=amount: self.update(a), "order_update: ARGV.2. .amount.")

    def test_whatever_changes_an_order_outdates_what_was_read(self):
        for change in (self.paid, self.revert, self.remove, self.update):
            redis("FLUSHALL")
            self.create()
            change()
            self.refused(self.update, "changed_meanwhile")

    def test_remove(self):
        self.refused(self.remove, "no_order")
        self.create()
        self.refused(lambda: self.remove(uid="4"), "no_order")
        self.assertEqual(self.remove(), ("OK", ""))
        self.refused(self.remove, "no_order")
        self.assertEqual(redis("EXISTS", self.list), 0)
        self.assertEqual(mall.hash(self.key)["removed"], "1")

    def test_paid_order_cannot_be_removed(self):
        self.create()
        self.paid()
        self.refused(self.remove, "order_paid")

    def test_late_undo_still_finds_a_removed_order(self):
        self.create()
        self.remove()
        self.assertEqual(self.revert(), ("OK", "9"))

    def test_tried_order_is_pending_and_confirmed_once(self):
        self.twice(lambda: self.create(op="try"), ("OK", ""), ("DUP", ""))
        self.assertEqual(self.status(), "2")
        self.assertEqual(redis("ZRANGE", self.list, 0, -1), [b"7"])
        self.twice(self.confirm, ("OK", "1"), ("DUP", "1"))
        self.assertEqual((self.status(), mall.hash(self.key)["ver"]), ("1", "2"))
        self.assertEqual(self.revert(op="cancel")[0], "CONFLICT")
        self.assertEqual(mall.rows(self.tag, GID, "01"), {"try": "try", "confirm": "confirm"})

    def test_tried_order_is_cancelled_once(self):
        self.create(op="try")
        self.twice(lambda: self.revert(op="cancel"), ("OK", "9"), ("DUP", "9"))
        self.assertEqual(self.status(), "9")
        self.assertEqual(self.confirm()[0], "CONFLICT")
        self.assertEqual(self.status(), "9")

    def test_cancel_without_try_keeps_the_try_out(self):
        self.twice(lambda: self.revert(op="cancel"), ("NULL", ""), ("DUP", ""))
        self.assertEqual(self.create(op="try")[0], "VOID")
        self.assertEqual(redis("EXISTS", self.key), 0)

    def test_confirm_without_its_try_is_an_error(self):
        self.broken(self.confirm, "order_create_confirm: there is no try")
        self.create(op="try")
        self.create(gid=OTHER, op="try", order="8")
        self.broken(lambda: self.confirm(order="8"), "the journal says order 7, the payload 8")
        self.broken(lambda: self.confirm(gid="third"), "there is no try")
        self.assertEqual((self.status("7"), self.status("8")), ("2", "2"))

    def test_confirm_leaves_what_is_not_its_pending_order(self):
        for damage, text, status in ((("DEL", self.key), "absent", None),
                                     (("HSET", self.key, "gid", OTHER), "absent", "2"),
                                     (("HSET", self.key, "status", "9"), "9", "9")):
            redis("FLUSHALL")
            self.create(op="try")
            redis(*damage)
            self.twice(self.confirm, ("OK", text), ("DUP", text))
            self.assertEqual(self.status(), status)

    def test_pending_order_cannot_be_paid_or_removed(self):
        self.create(op="try")
        self.refused(self.paid, "order_pending")
        self.refused(self.remove, "order_pending")
        self.confirm()
        self.assertEqual(self.paid(), ("OK", "1"))
        self.refused(self.remove, "order_paid")

    def test_new_ids_are_never_given_twice(self):
        run = lambda count: mall.plain("id_block", [self.seq], [count])
        self.assertEqual([run("1"), run("1"), run("5"), run("1000000"), run("1")],
                         [("OK", "1"), ("OK", "2"), ("OK", "3"), ("OK", "8"), ("OK", "1000008")])
        for count in ("0", "-1", "1000001", "1.5", "x", ""):
            self.broken(lambda c=count: run(c), "id_block: ARGV.1. .count.")

    def test_new_ids_of_a_large_counter_are_whole_numbers(self):
        redis("SET", self.seq, 2 ** 52)
        self.assertEqual(mall.plain("id_block", [self.seq], ["1"]), ("OK", str(2 ** 52 + 1)))

    def test_number_of_shards_never_changes(self):
        run = lambda shards: mall.plain("id_shards", ["{ord:meta}"], [shards])
        self.twice(lambda: run("4"), ("OK", "4"), ("OK", "4"))
        self.twice(lambda: run("8"), ("OK", "4"), ("OK", "4"))
        self.assertEqual(mall.hash("{ord:meta}"), {"shards": "4"})
        for shards in ("0", "-1", "1.5", "x", ""):
            self.broken(lambda s=shards: run(s), "id_shards: ARGV.1. .shards.")

    def test_reserved_id_is_found_again(self):
        key = "{ord:0}:k:3:\u00fc {x}"

        def run(asked, kept="10", life="60000", key=key):
            return mall.plain("id_reserve", [self.seq, key], [asked, kept, life])
        self.refused(lambda: run("1|2", life=""), "no_key")
        self.twice(lambda: run("1|2"), ("OK", "1", "10"), ("OK", "1", "10"))
        for life in ("60000", ""):
            self.assertEqual(run("1|2", "12", life), ("OK", "1", "10"))
            self.refused(lambda l=life: run("1|3", life=l), "key_reused")
        self.assertEqual(run("1|2", key="{ord:0}:k:3:b"), ("OK", "2", "10"))
        self.assertTrue(50000 < redis("PTTL", key) <= 60000)


class Product(Base):
    tag, key = "{prd:5}", "{prd:5}:h"

    def create(self, stock="5", status="0"):
        return mall.plain("product_create", [self.key],
                          ["5", "Apfel \u00fc", "rot", stock, "30", status])

    def decr(self, num="1", gid=GID):
        return mall.gated("product_decr_stock", "action", self.tag, gid, "02", [self.key], [num])

    def revert(self, gid=GID, num="1"):
        """The service gives the payload's num to both scripts."""
        return mall.gated("product_decr_stock_revert", "compensate", self.tag, gid, "02",
                          [self.key], [num])

    def reserve(self, op, num="2", gid=GID):
        """try, confirm or cancel; the service gives the payload's num to all three."""
        return mall.gated("product_decr_stock_" + op, op, self.tag, gid, "02", [self.key], [num])

    def update(self, *pairs, ver=""):
        return mall.plain("product_update", [self.key], [ver, *pairs])

    def set_stock(self, stock):
        return mall.plain("product_set_stock", [self.key], [stock])

    def remove(self):
        return mall.plain("product_remove", [self.key], [])

    def stock(self):
        return mall.hash(self.key).get("stock")

    def pieces(self):
        """(in stock, frozen)"""
        record = mall.hash(self.key)
        return int(record["stock"]), int(record.get("frozen", 0))

    def test_created_once(self):
        self.assertEqual(self.create(), ("OK", "5"))
        self.refused(self.create, "product_exists")
        record = mall.hash(self.key)
        self.assertEqual([record[f] for f in ("id", "name", "desc", "stock", "amount", "status",
                                              "ver")],
                         ["5", "Apfel \u00fc", "rot", "5", "30", "0", "1"])

    def test_new_ids(self):
        run = lambda: mall.plain("product_new_id", ["{prd:seq}:n"], [])
        self.assertEqual([run(), run()], [("OK", "1"), ("OK", "2")])

    def test_stock_is_taken_once(self):
        self.create()
        self.twice(lambda: self.decr("3"), ("OK", ""), ("DUP", ""))
        self.assertEqual((self.stock(), mall.hash(self.key)["ver"]), ("2", "2"))

    def test_lost_reply_of_the_last_piece_is_no_failure(self):
        self.create(stock="1")
        self.twice(self.decr, ("OK", ""), ("DUP", ""))
        self.assertEqual(self.stock(), "0")

    def test_each_refusal_has_its_reason(self):
        self.refused(self.decr, "no_product")
        self.create()
        for num in ("0", "-1", "1000001", "1.5", "x", "", "nan", "inf", "1e0", "2000000", "01", " 1"):
            self.refused(lambda n=num: self.decr(n), "bad_num")
        self.refused(lambda: self.decr("6"), "stock_exhausted")
        self.assertEqual(self.decr("6")[1], "stock_exhausted: 5 left, 6 wanted")
        self.update("status", "1")
        self.refused(self.decr, "not_on_sale")
        self.remove()
        self.refused(self.decr, "no_product")
        self.assertEqual(mall.rows(self.tag, GID, "02"), {})

    def test_exactly_the_stock_can_be_taken(self):
        self.create()
        self.assertEqual(self.decr("5"), ("OK", ""))
        self.refused(lambda: self.decr(gid=OTHER), "stock_exhausted")

    def test_given_back_once_and_by_the_journal(self):
        self.create()
        self.decr("3")
        self.twice(lambda: self.revert(num="1"), ("OK", ""), ("DUP", ""))
        self.assertEqual(self.stock(), "5")

    def test_refused_action_has_nothing_to_give_back(self):
        self.create(stock="0")
        before = mall.hash(self.key)
        self.decr()
        self.twice(self.revert, ("NULL", ""), ("DUP", ""))
        self.assertEqual(mall.hash(self.key), before)
        self.set_stock("9")
        self.assertEqual(self.decr()[0], "VOID")
        self.assertEqual(self.stock(), "9")
        self.assertEqual(mall.rows(self.tag, GID, "02"),
                         {"action": "compensate", "compensate": "compensate"})

    def test_removed_and_off_the_shelf_products_get_their_stock_back(self):
        for change in (self.remove, lambda: self.update("status", "1")):
            redis("FLUSHALL")
            self.create()
            self.decr("2")
            change()
            self.twice(self.revert, ("OK", ""), ("DUP", ""))
            self.assertEqual(self.stock(), "5")

    def test_tried_pieces_are_frozen_and_confirmed_once(self):
        self.create()
        self.twice(lambda: self.reserve("try"), ("OK", ""), ("DUP", ""))
        self.assertEqual((self.pieces(), mall.hash(self.key)["ver"]), ((3, 2), "2"))
        self.twice(lambda: self.reserve("confirm", num="1"), ("OK", ""), ("DUP", ""))
        self.assertEqual((self.pieces(), mall.hash(self.key)["ver"]), ((3, 0), "3"))
        self.assertEqual(self.reserve("cancel")[0], "CONFLICT")
        self.assertEqual(self.pieces(), (3, 0))

    def test_tried_pieces_are_given_back_once(self):
        self.create()
        self.reserve("try")
        self.reserve("try", "1", gid=OTHER)
        self.assertEqual(self.pieces(), (2, 3))
        self.twice(lambda: self.reserve("cancel", num="1"), ("OK", ""), ("DUP", ""))
        self.assertEqual(self.pieces(), (4, 1))
        self.assertEqual(self.reserve("confirm")[0], "CONFLICT")
        self.assertEqual(self.pieces(), (4, 1))

    def test_each_refusal_of_a_try_has_its_reason(self):
        self.refused(lambda: self.reserve("try"), "no_product")
        self.create()
        for num in ("0", "-1", "1000001", "1.5", "x", "", "nan", "inf", "1e3", "0x5", "05"):
            self.refused(lambda n=num: self.reserve("try", n), "bad_num")
        self.reserve("try", "4", gid=OTHER)
        self.refused(lambda: self.reserve("try"), "stock_exhausted")  # frozen ones are nobody else's
        self.assertEqual(self.reserve("try")[1], "stock_exhausted: 1 left, 2 wanted")
        self.refused(lambda: self.decr("2"), "stock_exhausted")
        self.update("status", "1")
        self.refused(lambda: self.reserve("try", "1"), "not_on_sale")
        self.remove()
        self.refused(lambda: self.reserve("try", "1"), "no_product")
        self.assertEqual(mall.rows(self.tag, GID, "02"), {})

    def test_lost_reply_of_the_last_try_is_no_failure(self):
        self.create(stock="2")
        self.twice(lambda: self.reserve("try"), ("OK", ""), ("DUP", ""))
        self.assertEqual(self.pieces(), (0, 2))

    def test_cancel_of_what_was_never_tried_keeps_the_try_out(self):
        self.create()
        before = mall.hash(self.key)
        self.twice(lambda: self.reserve("cancel"), ("NULL", ""), ("DUP", ""))
        self.assertEqual(self.reserve("try")[0], "VOID")
        self.assertEqual(self.reserve("confirm")[0], "CONFLICT")
        self.assertEqual(mall.hash(self.key), before)
        self.assertEqual(mall.rows(self.tag, GID, "02"), {"try": "cancel", "cancel": "cancel"})

    def test_confirm_of_what_was_never_tried_is_an_error(self):
        self.create()
        self.broken(lambda: self.reserve("confirm"), "product_decr_stock_confirm: there is no try")

    def test_frozen_pieces_outlive_removal_and_a_new_count(self):
        for op, change, left in (("confirm", self.remove, (3, 0)), ("cancel", self.remove, (5, 0)),
                                 ("confirm", lambda: self.set_stock("9"), (9, 0)),
                                 ("cancel", lambda: self.set_stock("9"), (11, 0))):
            redis("FLUSHALL")
            self.create()
            self.reserve("try")
            change()
            self.twice(lambda o=op: self.reserve(o), ("OK", ""), ("DUP", ""))
            self.assertEqual(self.pieces(), left)

    def test_confirm_and_cancel_end_when_the_record_is_gone(self):
        for op in ("confirm", "cancel"):
            redis("FLUSHALL")
            self.create()
            self.reserve("try")
            redis("DEL", self.key)
            self.twice(lambda o=op: self.reserve(o), ("OK", "absent"), ("DUP", "absent"))
            self.assertEqual(redis("EXISTS", self.key), 0)

    def test_undo_ends_when_the_record_is_gone(self):
        self.create()
        self.decr()
        redis("DEL", self.key)
        self.twice(self.revert, ("OK", "absent"), ("DUP", "absent"))
        self.assertEqual(redis("EXISTS", self.key), 0)

    def test_update(self):
        self.refused(lambda: self.update("name", "x"), "no_product")
        self.create()
        self.assertEqual(self.update("name", "Birne", "desc", "", "amount", "0", "status", "1",
                                     ver="1"), ("OK", "2"))
        record = mall.hash(self.key)
        self.assertEqual([record[f] for f in ("name", "desc", "amount", "status", "stock")],
                         ["Birne", "", "0", "1", "5"])
        self.refused(lambda: self.update("name", "x", ver="1"), "changed_meanwhile")
        self.assertEqual([self.update("name", "x"), self.update("name", "x")],
                         [("OK", "3"), ("OK", "4")])

    def test_numbers_of_a_product_out_of_range_are_an_error(self):
        for number in ("-1", "4294967296", "1.5", "x", "", "0x5", "nan"):
            self.broken(lambda n=number: self.create(stock=n), "product_create: ARGV.4.")
            self.broken(lambda n=number: self.create(status=n), "product_create: ARGV.6.")
        self.create()
        for number in ("-1", "4294967296", "1.5", "x", "", "0x5", "nan"):
            for field in ("amount", "status"):
                self.broken(lambda f=field, n=number: self.update(f, n), "must be a whole number")

    def test_update_sets_no_other_field(self):
        self.create()
        for field in ("stock", "id", "ver", "ctime", "", "Name"):
            self.broken(lambda f=field: self.update("name", "x", f, "1"), "cannot be set here")
        self.broken(lambda: self.update("name"), "wants 1 key")
        self.broken(lambda: self.update(*["name", "x"] * 5), "wants 1 key")

    def test_set_stock(self):
        self.refused(lambda: self.set_stock("3"), "no_product")
        self.create()
        self.assertEqual([self.set_stock("0"), self.set_stock("0")], [("OK", "5"), ("OK", "0")])
        self.assertEqual((self.stock(), mall.hash(self.key)["ver"]), ("0", "3"))

    def test_stock_that_is_no_number_in_range_is_an_error(self):
        self.create()
        for stock in ("-1", "4294967296", "1.5", "x", "", "nan"):
            self.broken(lambda s=stock: self.set_stock(s), "product_set_stock: ARGV.1. .stock.")
        self.assertEqual(self.set_stock("4294967295"), ("OK", "5"))

    def test_removed_for_good_and_the_record_stays(self):
        self.refused(self.remove, "no_product")
        self.create()
        self.assertEqual(self.remove(), ("OK", ""))
        self.refused(self.remove, "no_product")
        self.refused(lambda: self.update("status", "0"), "no_product")
        self.refused(lambda: self.set_stock("1"), "no_product")
        record = mall.hash(self.key)
        self.assertEqual((record["status"], record["stock"]), ("9", "5"))


class User(Base):
    tag, seq = "{usr:0}", "{usr:0}:seq"

    def keys(self, user, mobile):
        return ["{usr:0}:u:" + user] + (["{usr:0}:m:" + mobile] if mobile else [])

    def save(self, gid=GID, user="7", mobile="123"):
        return mall.gated("user_save", "action", self.tag, gid, "01", self.keys(user, mobile),
                          [user, "n", "1", mobile, "scrypt$x"])

    def revert(self, gid=GID, user="7", mobile="123"):
        return mall.gated("user_save_revert", "compensate", self.tag, gid, "01",
                          self.keys(user, mobile), [user, mobile])

    def exists(self, user="7"):
        return redis("EXISTS", "{usr:0}:u:" + user) == 1

    def test_saved_once(self):
        self.twice(self.save, ("OK", "7"), ("DUP", "7"))
        record = mall.hash("{usr:0}:u:7")
        del record["ctime"]
        self.assertEqual(record, {"id": "7", "name": "n", "gender": "1", "mobile": "123",
                                  "pass": "scrypt$x", "gid": GID})
        self.assertEqual(redis("GET", "{usr:0}:m:123"), b"7")

    def test_saved_without_a_mobile_number(self):
        self.twice(lambda: self.save(mobile=""), ("OK", "7"), ("DUP", "7"))
        self.assertEqual(redis("KEYS", "*:m:*"), [])
        self.twice(lambda: self.revert(mobile=""), ("OK", "deleted"), ("DUP", "deleted"))
        self.assertFalse(self.exists())

    def test_taken_id_or_number_fails_and_its_undo_leaves_the_other_user(self):
        self.save()
        kept = mall.hash("{usr:0}:u:7")
        self.refused(lambda: self.save(gid=OTHER, mobile="456"), "user_exists")
        self.refused(lambda: self.save(gid=OTHER, user="8"), "mobile_taken")
        self.twice(lambda: self.revert(gid=OTHER, user="7", mobile="456"), ("NULL", ""), ("DUP", ""))
        self.assertEqual(mall.hash("{usr:0}:u:7"), kept)
        self.assertEqual(redis("GET", "{usr:0}:m:123"), b"7")
        self.assertFalse(self.exists("8"))

    def test_undone_once_with_its_index(self):
        self.save()
        self.save(gid=OTHER, user="8", mobile="456")
        self.twice(self.revert, ("OK", "deleted"), ("DUP", "deleted"))
        self.assertFalse(self.exists())
        self.assertEqual(redis("EXISTS", "{usr:0}:m:123"), 0)
        self.assertTrue(self.exists("8"))
        self.assertEqual(self.save(), ("VOID", "compensate came after action"))
        self.assertFalse(self.exists())

    def test_undo_deletes_only_the_user_of_its_own_transaction(self):
        self.save()
        redis("HSET", "{usr:0}:u:7", "gid", OTHER)
        self.twice(self.revert, ("OK", "absent"), ("DUP", "absent"))
        self.assertTrue(self.exists())
        self.assertEqual(redis("GET", "{usr:0}:m:123"), b"7")

    def test_undo_ends_when_the_user_is_gone(self):
        self.save()
        redis("DEL", "{usr:0}:u:7")
        self.twice(self.revert, ("OK", "absent"), ("DUP", "absent"))

    def test_undo_keeps_an_index_that_names_another_user(self):
        self.save()
        redis("SET", "{usr:0}:m:123", "8")
        self.assertEqual(self.revert(), ("OK", "deleted"))
        self.assertFalse(self.exists())
        self.assertEqual(redis("GET", "{usr:0}:m:123"), b"8")

    def test_undo_whose_payload_names_another_user_is_an_error(self):
        self.save()
        self.save(gid=OTHER, user="8", mobile="456")
        self.broken(lambda: self.revert(user="8", mobile="456"), "the journal says 7.123, the payload")
        self.broken(lambda: self.revert(mobile="456"), "the journal says 7.123, the payload")
        self.broken(lambda: self.revert(mobile=""), "the journal says 7.123, the payload")

    def test_undo_without_action_keeps_the_action_out(self):
        self.twice(self.revert, ("NULL", ""), ("DUP", ""))
        self.assertEqual(self.save()[0], "VOID")
        self.assertFalse(self.exists())

    def test_new_ids(self):
        run = lambda count: mall.plain("id_block", [self.seq], [count])
        self.assertEqual([run("1"), run("3"), run("1")], [("OK", "1"), ("OK", "2"), ("OK", "5")])
        for count in ("0", "-1", "1000001", "1.5", "x", ""):
            self.broken(lambda c=count: run(c), "id_block: ARGV.1. .count.")

    def test_reserved_number_is_found_again(self):
        key = "{usr:0}:k:123:k"
        run = lambda asked: mall.plain("id_reserve", [self.seq, key], [asked, "", "60000"])
        self.twice(lambda: run("1|n"), ("OK", "1", ""), ("OK", "1", ""))
        self.refused(lambda: run("1|other"), "key_reused")
        self.assertEqual(redis("GET", self.seq), b"1")
        self.assertTrue(50000 < redis("PTTL", key) <= 60000)


class Score(Base):
    tag = "{scr:0}"
    ledger, account, owners = "{scr:0}:l:7", "{scr:0}:a:7", "{scr:0}:i"

    def save(self, gid=GID, score="10", most="1000"):
        return mall.gated("score_save", "action", self.tag, gid, "02",
                          ["{scr:0}:seq", self.ledger, self.account, self.owners],
                          ["7", score, most])

    def revert(self, gid=GID):
        return mall.gated("score_save_revert", "compensate", self.tag, gid, "02",
                          [self.ledger, self.account, self.owners], [])

    def deduct(self, op, score="4", gid=GID):
        keys = [self.account]
        if op == "confirm":
            keys = ["{scr:0}:seq", self.ledger, self.account, self.owners]
        return mall.gated("score_deduct_" + op, op, self.tag, gid, "03", keys,
                          ["7"] if op == "confirm" else [score])

    def total(self):
        return mall.hash(self.account)

    def test_granted_once(self):
        self.twice(self.save, ("OK", "1"), ("DUP", "1"))
        self.assertEqual(self.total(), {"total": "10", "count": "1"})
        entry = mall.hash(self.ledger)["1"]
        self.assertRegex(entry, "^10\\|" + re.escape(GID) + r"\|02\|\d{13}$")
        self.assertEqual(mall.hash(self.owners), {"1": "7"})

    def test_scores_out_of_range_are_refused(self):
        for score in ("0", "-1", "1001", "1.5", "x", "", "nan", "inf"):
            self.refused(lambda s=score: self.save(score=s), "bad_score")
        self.assertEqual(self.save(score="1000"), ("OK", "1"))

    def test_only_the_own_entry_is_removed(self):
        self.save(gid=OTHER, score="3")
        self.save()
        self.twice(self.revert, ("OK", "removed"), ("DUP", "removed"))
        self.assertEqual(self.total(), {"total": "3", "count": "1"})
        self.assertEqual(list(mall.hash(self.ledger)), ["1"])
        self.assertEqual(mall.hash(self.owners), {"1": "7"})

    def test_undo_ends_when_the_entry_is_gone(self):
        self.save()
        redis("HDEL", self.ledger, "1")
        before = self.total()
        self.twice(self.revert, ("OK", "absent"), ("DUP", "absent"))
        self.assertEqual(self.total(), before)

    def test_undo_may_go_below_zero(self):
        self.save()
        redis("HINCRBY", self.account, "total", -8)
        self.assertEqual(self.revert(), ("OK", "removed"))
        self.assertEqual(self.total()["total"], "-8")

    def test_tried_points_are_frozen_and_spent_once(self):
        self.save()
        self.twice(lambda: self.deduct("try"), ("OK", ""), ("DUP", ""))
        self.assertEqual(self.total(), {"total": "6", "frozen": "4", "count": "1"})
        self.assertEqual(list(mall.hash(self.ledger)), ["1"])  # nothing is spent yet
        self.twice(lambda: self.deduct("confirm"), ("OK", "2"), ("DUP", "2"))
        self.assertEqual(self.total(), {"total": "6", "frozen": "0", "count": "2"})
        self.assertRegex(mall.hash(self.ledger)["2"],
                         "^-4\\|" + re.escape(GID) + r"\|03\|\d{13}$")
        self.assertEqual(mall.hash(self.owners), {"1": "7", "2": "7"})
        self.assertEqual(self.deduct("cancel")[0], "CONFLICT")
        self.assertEqual(self.total()["total"], "6")

    def test_tried_points_are_given_back_once_and_by_the_journal(self):
        self.save()
        self.deduct("try")
        self.twice(lambda: self.deduct("cancel", score="1"), ("OK", ""), ("DUP", ""))
        self.assertEqual(self.total(), {"total": "10", "frozen": "0", "count": "1"})
        self.assertEqual(self.deduct("confirm")[0], "CONFLICT")
        self.assertEqual(list(mall.hash(self.ledger)), ["1"])

    def test_each_refusal_of_a_deduction_has_its_reason(self):
        self.refused(lambda: self.deduct("try"), "not_enough_score")
        self.save()
        for score in ("0", "-1", "4294967296", "1.5", "x", "", "nan", "inf", "1e3", "0x5", "05"):
            self.refused(lambda s=score: self.deduct("try", s), "bad_score")
        self.refused(lambda: self.deduct("try", "11"), "not_enough_score")
        self.deduct("try", "7", gid=OTHER)
        self.assertEqual(self.deduct("try"), ("FAIL", "not_enough_score: 3 points, 4 wanted"))
        self.assertEqual(mall.rows(self.tag, GID, "03"), {})

    def test_large_numbers_of_points(self):
        self.save(score="4294967295", most="4294967295")
        self.assertEqual(self.deduct("try", "4294967295"), ("OK", ""))
        self.assertEqual((self.total()["total"], self.total()["frozen"]), ("0", "4294967295"))
        self.assertEqual(self.deduct("confirm"), ("OK", "2"))
        self.assertEqual(self.total()["frozen"], "0")

    def test_cancel_without_try_keeps_the_try_out(self):
        self.save()
        self.twice(lambda: self.deduct("cancel"), ("NULL", ""), ("DUP", ""))
        self.assertEqual(self.deduct("try")[0], "VOID")
        self.assertEqual(self.total(), {"total": "10", "count": "1"})

    def test_confirm_without_its_try_is_an_error(self):
        self.save()
        self.broken(lambda: self.deduct("confirm"), "score_deduct_confirm: there is no try")

    def test_frozen_points_and_an_undone_grant(self):
        """The undo of the grant never fails; the ledger and the account stay in step."""
        self.save()
        self.deduct("try", "8")
        self.assertEqual(self.revert(), ("OK", "removed"))
        self.assertEqual(self.total(), {"total": "-8", "frozen": "8", "count": "0"})
        self.assertEqual(self.deduct("cancel"), ("OK", ""))
        self.assertEqual(self.total()["total"], "0")

    def test_undo_without_grant_keeps_the_grant_out(self):
        self.twice(self.revert, ("NULL", ""), ("DUP", ""))
        self.assertEqual(self.save()[0], "VOID")
        self.assertEqual(self.total(), {})


if __name__ == "__main__":
    unittest.main()
