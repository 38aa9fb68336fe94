"""Every script of the coordinator against a real redis-server with conf/redis.conf."""
import hashlib
import itertools
import re
import unittest

from coordinator_redis import RedisError, Server, script, script_names

HOUR = 3600 * 1000
RETENTION = 24 * HOUR
URL = "tcp://order.example:9002/order.Order/Create"
BRANCH = "action %s compensate %sRevert payload 0123456789" % (URL, URL)
FIELDS = ["01", BRANCH, "02", BRANCH]


def lease(epoch, rev, owner):
    return "%d.%d" % (epoch, rev) + (" " + owner if owner else "")


def setUpModule():
    global server, redis
    server = Server()
    redis = server.client


def tearDownModule():
    redis.close()
    server.stop()


def run(name, keys, args):
    return redis("EVAL", script(name), len(keys), *keys, *args)


class Base(unittest.TestCase):
    gid = "a {x} / \u00fc\\ \"'"

    def setUp(self):
        redis("FLUSHALL")
        self.tx, self.log = "saga:{3}:tx:" + self.gid, "saga:{3}:log:" + self.gid
        self.due, self.recent = "saga:{3}:due", "saga:{3}:recent"
        self.parked = "saga:{3}:parked"

    def create(self, owner="A", epoch=1, rev=0, status="submitted", due=1000, created=0,
               fields=FIELDS, event=""):
        return run("txn_create", [self.tx, self.log, self.due, self.recent],
                   [self.gid, lease(epoch, rev, owner), status, "saga", created, due, RETENTION,
                    event, *fields])

    def update(self, owner="A", epoch=1, rev=1, expect="submitted", status="submitted", due=1000,
               release=0, events="", sets=(), dels=()):
        after = "" if release or status in ("succeed", "failed") else owner
        return run("txn_update", [self.tx, self.log, self.due],
                   [self.gid, lease(epoch, rev - 1, owner), lease(epoch, rev, after), expect, status,
                    due, RETENTION, events, len(sets) // 2, *sets, *dels])

    def take(self, owner="B", force=0, due=1000):
        return run("txn_take", [self.tx, self.log, self.due, self.parked], [self.gid, owner, force, due])

    def park(self, owner="A", epoch=1, rev=1, expect="submitted", since=0,
             why="conflict 01.action", events="", sets=(), dels=()):
        return run("txn_park", [self.tx, self.log, self.due, self.parked],
                   [self.gid, lease(epoch, rev - 1, owner), lease(epoch, rev, ""), expect, since, why,
                    events, len(sets) // 2, *sets, *dels])

    def hash(self):
        flat = redis("HGETALL", self.tx)
        return dict(zip((n.decode() for n in flat[::2]), (v.decode() for v in flat[1::2])))

    def score(self, key):
        score = redis("ZSCORE", key, self.gid)
        return None if score is None else int(score)

    def dump(self):
        keys = sorted(redis("KEYS", "*"))
        return [(k, redis("DUMP", k)) for k in keys]


class Headers(unittest.TestCase):
    def test_server_computes_the_digest_of_the_build(self):
        for name in script_names():
            digest = hashlib.sha1(script(name)).hexdigest().encode()
            self.assertEqual(redis("SCRIPT", "LOAD", script(name)), digest, name)

    def test_header_tells_keys_args_returns_and_repeats(self):
        for name in script_names():
            text = script(name).decode("ascii")
            self.assertRegex(text, r"(?m)^-- KEYS: \d+$", name)
            for word in ("ARGV", "Returns", "Repeated"):
                self.assertIn("-- " + word, text, name)
            code = [line for line in text.splitlines() if line and not line.startswith("--")
                    and not line.startswith("local call")]
            self.assertIn("#KEYS ~= ", code[0], name)
            self.assertIn("#ARGV", code[0], name)
            self.assertNotIn("cjson", text, name)

    def test_wrong_number_of_keys_and_arguments_is_named(self):
        for name in script_names():
            keys = int(re.search(r"(?m)^-- KEYS: (\d+)$", script(name).decode()).group(1))
            for k, a in ((keys + 1, 4), (keys - 1, 4), (keys, 3 if name == "txn_take" else 2000)):
                if name in ("txn_update",) and k == keys:
                    continue
                with self.assertRaisesRegex(RedisError, name, msg=(name, k, a)):
                    run(name, ["{t}%d" % i for i in range(k)], ["x"] * a)

    def test_arguments_of_a_wrong_type_are_named_and_change_nothing(self):
        redis("FLUSHALL")
        wrong = {
            "due_list": (1, ["ten"]), "recent_list": (1, ["+inf", "-inf", "", "0"]),
            "meta_init": (1, ["many", "1"]),
            "txn_create": (4, ["g", "x.0 A", "submitted", "saga", "0", "1", "1", ""]),
            "txn_update": (3, ["g", "1.0 A", "1.1", "submitted", "failed", "1", "1", "", "1"]),
            "txn_take": (4, ["g", "A", "yes", "1"]),
            "txn_park": (4, ["g", "1.0 A", "1.1 A", "submitted", "0", "conflict 01.action", "", "0"]),
            "topic_change": (1, ["rename", "t", "u", "", "1", "1", "1"]),
            "due_reset": (65, ["g"] * 64 + ["soon"]), "recent_trim": (65, ["g"] * 64 + ["all"]),
        }
        for name, (keys, args) in wrong.items():
            with self.assertRaisesRegex(RedisError, "ERR " + name):
                run(name, ["{t}%d" % i for i in range(keys)], args)
        self.assertEqual(redis("DBSIZE"), 0)


class Create(Base):
    def test_record_reads_well(self):
        answer, now = self.create()
        self.assertEqual(answer, b"OK")
        self.assertEqual(list(self.hash().items())[:5], [
            ("type", "saga"), ("status", "submitted"), ("lease", "1.0 A"), ("created", str(now)),
            ("01", BRANCH)])
        self.assertNotIn("updated", self.hash())
        self.assertEqual(self.score(self.due), now + 1000)
        self.assertEqual(self.score(self.recent), now)
        self.assertEqual(redis("TTL", self.tx), -1)

    def test_repeat_tells_the_state_and_writes_nothing(self):
        self.create()
        self.update(status="aborting", sets=["rollback_reason", "no stock"])
        before = self.dump()
        self.assertEqual(self.create(owner="B")[0:1] + self.create()[2:],
                         [b"EXISTS", b"aborting", b"no stock", b"saga"])
        self.assertEqual(self.dump(), before)

    def test_lost_record_is_stored_again_as_it_was(self):
        _, now = self.create(epoch=4, rev=7, status="aborting", created=123456,
                             event="aborting: again")
        stored = self.hash()
        self.assertEqual(stored["updated"], str(now))
        self.assertEqual([stored[f] for f in ("lease", "status", "created")],
                         ["4.7 A", "aborting", "123456"])
        self.assertEqual(self.score(self.recent), 123456)
        self.assertRegex(stored["history"], r"^\+\d{10,} aborting: again$")
        self.assertEqual(self.update(epoch=4, rev=8, expect="aborting", status="failed")[0], b"OK")

    def test_finished_one_has_no_due_time_and_a_time_to_live(self):
        self.create(status="succeed", rev=3, owner="", event="succeed: again")
        self.assertIsNone(self.score(self.due))
        self.assertGreater(redis("PTTL", self.tx), RETENTION - 60000)

    def test_hundred_branches_with_large_payloads(self):
        fields = []
        for i in range(1, 101):
            fields += ["%02d" % i, "action " + URL + " payload " + "p" * 1000]
            fields += ["%02d.action" % i, "succeed", "%02d.compensate" % i, "succeed"]
        fields += list(itertools.chain(*(("header:h%d" % i, "v") for i in range(32))))
        self.assertEqual(self.create(fields=fields)[0], b"OK")
        self.assertEqual(redis("HLEN", self.tx), 4 + 300 + 32)


class Update(Base):
    def test_fencing_matrix(self):
        """Of all owners, epochs, revisions and statuses exactly one combination may write."""
        for owner, epoch, rev, expect in itertools.product(
                ("A", "B", ""), (1, 2, 3), (3, 4, 5, 6), ("submitted", "aborting", "succeed")):
            redis("FLUSHALL")
            self.create(owner="A", epoch=2, rev=4)
            before = self.dump()
            answer = self.update(owner=owner, epoch=epoch, rev=rev, expect=expect,
                                 status="aborting", sets=["rollback_reason", "x"])
            right = (owner, epoch, rev, expect) == ("A", 2, 5, "submitted")
            case = (owner, epoch, rev, expect)
            self.assertEqual(answer[0], b"OK" if right else b"FENCED", case)
            self.assertEqual(self.dump() == before, not right, case)
            if not right:
                self.assertEqual(answer[2], b"submitted", case)

    def test_same_revision_again_changes_nothing(self):
        for kind in ({"status": "submitted"}, {"status": "submitted", "release": 1},
                     {"status": "aborting"}, {"status": "succeed"}, {"status": "failed"}):
            redis("FLUSHALL")
            self.create()
            change = dict(kind, events="01.action SUCCESS 3ms",
                          sets=["01.action", "succeed"])
            self.assertEqual(self.update(**change)[0], b"OK", kind)
            before = self.dump()
            self.assertEqual(self.update(**change)[0], b"OK", kind)
            self.assertEqual(self.dump(), before, kind)
            self.assertEqual(self.update(**dict(change, owner="B"))[0],
                             b"OK" if kind["status"] in ("succeed", "failed")
                             or "release" in kind else b"FENCED", kind)
            self.assertEqual(self.update(**dict(change, epoch=2))[0], b"FENCED", kind)
            self.assertEqual(self.dump(), before, kind)

    def test_released_one_has_no_owner_and_takes_no_updates(self):
        self.create()
        _, now = self.update(release=1, due=5000)
        self.assertEqual(self.hash()["lease"], "1.1")
        self.assertEqual(self.score(self.due), now + 5000)
        self.assertEqual(self.update(rev=2)[0], b"FENCED")
        self.assertEqual(self.update(rev=2, owner="")[0], b"FENCED")

    def test_end_removes_what_nobody_needs(self):
        self.create(fields=FIELDS + ["attempts", "3"])
        self.update(status="succeed", dels=["attempts", "retries"],
                    events="succeed", sets=["02.action", "succeed"])
        stored = self.hash()
        self.assertEqual(stored["lease"], "1.1")
        self.assertNotIn("attempts", stored)
        self.assertEqual(stored["02.action"], "succeed")
        self.assertNotIn("updated", stored)
        self.assertIsNone(self.score(self.due))
        self.assertGreater(redis("PTTL", self.tx), RETENTION - 60000)

    def test_final_status_never_turns(self):
        for final in ("succeed", "failed"):
            redis("FLUSHALL")
            self.create()
            self.update(status=final)
            for status in ("submitted", "aborting", "succeed", "failed"):
                for owner in ("A", ""):
                    self.assertEqual(self.update(rev=2, owner=owner, expect=final,
                                                 status=status)[0], b"FENCED")

    def test_unknown_one(self):
        self.assertEqual(self.update()[0], b"NOT_FOUND")
        self.assertEqual(redis("DBSIZE"), 0)

    def test_history_is_a_field(self):
        self.create()
        self.update(events="01.action ERROR 3ms: reset: by peer")
        self.update(rev=2)
        self.assertRegex(self.hash()["history"], r"^\+\d+ 01\.action ERROR 3ms: reset: by peer$")
        self.update(rev=3, status="failed", events="01.action FAILURE 1ms: no stock | failed")
        self.assertEqual(redis("EXISTS", self.log), 0)
        self.assertRegex(self.hash()["history"],
                         r"^\+\d+ 01\.action ERROR 3ms: reset: by peer \| "
                         r"\+\d+ 01\.action FAILURE 1ms: no stock \| failed$")

    def test_history_begins_with_a_takeover_or_what_the_creation_said(self):
        self.create(due=-1)
        self.take()
        self.update(owner="B", epoch=2, status="succeed", events="succeed")
        self.assertRegex(self.hash()["history"],
                         r"^\+\d+ takeover: by B from A \| \+\d+ succeed$")
        redis("FLUSHALL")
        self.create(status="prepared", event="prepared")
        self.update(expect="prepared", status="failed", events="failed")
        self.assertRegex(self.hash()["history"], r"^\+0 prepared \| \+\d+ failed$")

    def test_what_is_too_long_for_the_field_goes_into_the_stream(self):
        self.create()
        for rev in range(1, 61):
            status = "failed" if rev == 60 else "submitted"
            self.update(rev=rev, status=status, events="n%02d: " % rev + "x" * 40)
        entries = [fields for _, fields in redis("XRANGE", self.log, "-", "+")]
        self.assertTrue(all(name == b"events" and len(text) > 480 for name, text in entries))
        told = b" | ".join([text for _, text in entries] + [self.hash().get("history", "").encode()])
        self.assertEqual([b"n%02d" % i for i in range(1, 61)], re.findall(rb"n\d\d", told))
        self.assertGreater(redis("PTTL", self.log), RETENTION - 60000)

    def test_one_long_event_and_a_takeover_after_it(self):
        self.create(due=-1)
        self.update(events="x" * 470, due=-1)
        self.assertEqual(redis("EXISTS", self.log), 0)
        self.take()
        self.assertNotIn("history", self.hash())
        self.assertRegex(redis("XRANGE", self.log, "-", "+")[0][1][1].decode(),
                         r"^\+\d+ x{470} \| \+\d+ takeover: by B from A$")
        self.update(owner="B", epoch=2, rev=2, events="y" * 481, status="failed")
        self.assertEqual(redis("XLEN", self.log), 2)
        self.assertNotIn("history", self.hash())

    def test_history_is_bounded(self):
        self.create()
        for rev in range(1, 1301):
            self.assertEqual(self.update(rev=rev, events="n" * 481)[0], b"OK")
        self.assertLess(redis("XLEN", self.log), 1100)
        self.assertGreaterEqual(redis("XLEN", self.log), 1000)


class Take(Base):
    def test_only_when_it_is_due(self):
        self.create(due=60000)
        before = self.dump()
        self.assertEqual(self.take()[0], b"NOT_DUE")
        self.assertEqual(self.dump(), before)

    def test_new_owner_shuts_out_the_old_one(self):
        self.create(due=-1)
        answer, now, flat = self.take(due=9000)
        self.assertEqual(answer, b"OK")
        self.assertEqual(dict(zip(flat[::2], flat[1::2]))[b"lease"], b"2.0 B")
        self.assertEqual((self.hash()["lease"], self.score(self.due)), ("2.0 B", now + 9000))
        self.assertEqual(self.update(owner="A", epoch=1)[0], b"FENCED")
        self.assertEqual(self.update(owner="B", epoch=2)[0], b"OK")
        self.assertRegex(self.hash()["history"], r"^\+\d+ takeover: by B from A$")

    def test_second_taker_comes_too_late(self):
        self.create(due=-1)
        self.assertEqual([self.take("B")[0], self.take("C")[0], self.take("B")[0]],
                         [b"OK", b"NOT_DUE", b"NOT_DUE"])

    def test_force_takes_what_is_not_due(self):
        self.create(due=60000)
        self.assertEqual(self.take(force=1)[0], b"OK")
        self.assertEqual(self.take(force=1)[0], b"OK")
        self.assertEqual(self.hash()["lease"], "3.0 B")

    def test_only_a_prepared_one_of_its_type(self):
        self.create(status="prepared", due=60000)
        answer, _, why = self.take(force="tcc")
        self.assertEqual((answer, why), (b"CONFLICT", b"trans_type is 'saga'"))
        self.assertEqual(self.take(force="saga")[0], b"OK")
        self.update(owner="B", epoch=2, expect="prepared", status="aborting",
                    sets=("rollback_reason", "no"))
        answer, _, status, reason, kind = self.take("C", force="saga")
        self.assertEqual((answer, status, reason, kind), (b"EXISTS", b"aborting", b"no", b"saga"))
        self.assertEqual(self.hash()["lease"], "2.1 B")
        self.update(owner="B", epoch=2, rev=2, expect="aborting", status="failed")
        self.assertEqual(self.take("C", force="saga")[0], b"FINISHED")

    def test_prepared_one_that_is_its_clients_is_left_alone_until_its_timeout(self):
        for kind, fields, taken in (("tcc", ["timeout_to_fail_ms", "60000"], False),
                                    ("xa", ["timeout_to_fail_ms", "60000"], False),
                                    ("tcc", ["timeout_to_fail_ms", "60000", "declared", "1"], True),
                                    ("msg", ["timeout_to_fail_ms", "60000"], True),
                                    ("tcc", ["timeout_to_fail_ms", "0"], True)):
            redis("FLUSHALL")
            _, now = run("txn_create", [self.tx, self.log, self.due, self.recent],
                         [self.gid, "1.0", "prepared", kind, 0, -1, RETENTION, "", *fields])
            answer = self.take()[0]
            self.assertEqual(answer, b"OK" if taken else b"NOT_DUE", (kind, fields))
            if not taken:
                self.assertEqual((self.hash()["lease"], self.score(self.due)),
                                 ("1.0", now + 60000))

    def test_released_one_is_taken_without_a_word_in_the_history(self):
        self.create()
        self.update(release=1, due=-1)
        self.assertEqual(self.take()[0], b"OK")
        self.assertEqual(redis("EXISTS", self.log), 0)

    def test_one_with_an_owner_is_in_doubt_for_good(self):
        self.create()
        self.assertNotIn("doubt", self.hash())
        _, _, flat = self.take(force=1)
        self.assertEqual(dict(zip(flat[::2], flat[1::2]))[b"doubt"], b"1")
        self.update(owner="B", epoch=2, release=1, due=-1)
        self.take("C")
        self.assertEqual(self.hash()["doubt"], "1")
        self.update(owner="C", epoch=3, rev=2, status="failed")
        self.assertEqual(self.hash()["doubt"], "1")

    def test_own_one_again_is_in_doubt_as_well(self):
        """Whoever takes has forgotten how far it got."""
        self.create(owner="A")
        self.take("A", force=1)
        self.assertEqual(self.hash()["doubt"], "1")

    def test_released_one_is_in_no_doubt(self):
        self.create()
        for rev in range(1, 4):
            self.update(owner="A", epoch=rev, rev=rev, release=1, due=-1)
            _, _, flat = self.take("A")
            self.assertNotIn(b"doubt", flat)

    def test_one_that_nobody_owned_is_in_no_doubt(self):
        self.create(owner="")
        self.take("", force=1)
        self.take("B", force=1)
        self.assertNotIn("doubt", self.hash())

    def test_finished_one_is_untouched(self):
        self.create()
        self.update(status="succeed")
        before = self.hash()
        redis("ZADD", self.due, 1, self.gid)
        for force in (0, 1):
            answer, _, flat = self.take(force=force)
            self.assertEqual(answer, b"FINISHED")
            self.assertIn(b"succeed", flat)
            self.assertEqual(self.hash(), before)
        self.assertIsNone(self.score(self.due))

    def test_due_entry_without_a_record_goes(self):
        redis("ZADD", self.due, 1, self.gid)
        self.assertEqual(self.take()[0], b"NOT_FOUND")
        self.assertEqual(redis("DBSIZE"), 0)

    def test_record_without_a_due_entry_gets_one(self):
        self.create()
        redis("ZREM", self.due, self.gid)
        self.assertEqual(self.take()[0], b"OK")
        self.assertIsNotNone(self.score(self.due))

    def test_damaged_one_stands_in_nobodys_way(self):
        damages = (["HSET", self.tx, "lease", "many"], ["HDEL", self.tx, "lease"],
                   ["HSET", self.tx, "lease", "1 A"], ["HDEL", self.tx, "status"],
                   ["HSET", self.tx, "status", "lost"], ["SET", self.tx, "text"])
        for damage in damages:
            redis("FLUSHALL")
            self.create(due=-1)
            redis(*damage)
            answer, now, _ = self.take(due=7000)
            self.assertEqual(answer, b"DAMAGED", damage)
            self.assertEqual(self.score(self.due), now + 7000)
            self.assertEqual(self.score(self.parked), now)
            self.take(force=1)
            self.assertEqual(self.score(self.parked), now)

    def test_one_of_a_later_version_is_left_as_it_is(self):
        self.create(due=-1)
        redis("HSET", self.tx, "v", "2", "novelty", "x")
        before = redis("HGETALL", self.tx)
        for force in (0, 1, "saga"):
            self.assertEqual([b"DAMAGED", b"record version 2, this sagad reads 1"],
                             self.take(force=force)[::2])
        self.assertEqual(before, redis("HGETALL", self.tx))
        self.assertIsNotNone(self.score(self.parked))
        redis("HSET", self.tx, "v", "1")
        self.assertEqual(b"OK", self.take(force=1)[0])
        self.assertIsNone(self.score(self.parked))
        self.assertIn(b"novelty", redis("HGETALL", self.tx))

    def test_parked_one_goes_on_once_it_is_mended(self):
        mended = (["HSET", self.tx, "lease", "1.0 A"], ["DEL", self.tx],
                  ["HSET", self.tx, "status", "failed"])
        for mending in mended:
            redis("FLUSHALL")
            self.create(due=-1)
            for _ in range(2):
                self.assertGreater(self.note_damage(), 10 ** 12)
            self.assertIsNotNone(self.score(self.parked))
            redis(*mending)
            self.take(force=1)
            self.assertIsNone(self.score(self.parked), mending)

    def note_damage(self):
        return run("damage_park", [self.parked, self.tx], [self.gid])

    def test_what_nobody_can_read_is_parked_whatever_is_wrong_with_it(self):
        for damage in (["HSET", self.tx, "01.action", "x"], ["HDEL", self.tx, "status"],
                       ["SET", self.tx, "text"]):
            redis("FLUSHALL")
            self.create()
            redis(*damage)
            self.assertEqual(self.note_damage(), self.score(self.parked), damage)

    def test_what_has_ended_or_is_gone_is_not_parked_however_damaged(self):
        for end in (["HSET", self.tx, "status", "succeed"], ["HSET", self.tx, "status", "failed"],
                    ["DEL", self.tx]):
            redis("FLUSHALL")
            self.create()
            redis(*end)
            for _ in range(2):
                self.assertEqual(self.note_damage(), 0, end)
            self.assertIsNone(self.score(self.parked), end)


class Park(Base):
    def test_moves_from_the_due_set_to_the_parked_one(self):
        self.create()
        redis("HSET", self.tx, "retries", 3)
        answer, now = self.park(events="parked: conflict 01.action", sets=("01.action", "started"),
                                dels=("retries",))
        self.assertEqual(answer, b"OK")
        self.assertIsNone(self.score(self.due))
        self.assertEqual(self.score(self.parked), now)
        record = self.hash()
        self.assertEqual(record["parked"], "%d conflict 01.action" % now)
        self.assertEqual((record["lease"], record["status"]), ("1.1", "submitted"))
        self.assertEqual((record["01.action"], record.get("retries")), ("started", None))
        self.assertRegex(record["history"], r"^\+\d+ parked: conflict 01.action$")
        self.assertEqual(redis("PTTL", self.tx), -1)

    def test_repeat_changes_nothing(self):
        self.create()
        self.park(events="parked: x")
        before = self.dump()
        self.assertEqual(self.park(events="parked: x")[0], b"OK")
        self.assertEqual(self.dump(), before)

    def test_only_its_owner_parks_it(self):
        self.create()
        before = self.dump()
        for wrong in ({"owner": "B"}, {"epoch": 2}, {"rev": 2}, {"expect": "aborting"}):
            answer, _, status = self.park(**wrong)
            self.assertEqual((answer, status), (b"FENCED", b"submitted"), wrong)
        self.assertEqual(self.dump(), before)
        redis("FLUSHALL")
        self.assertEqual(self.park()[0], b"NOT_FOUND")
        self.assertEqual(redis("DBSIZE"), 0)

    def test_long_history_goes_into_the_stream(self):
        self.create(event="prepared: " + "x" * 300)
        self.park(events="parked: " + "y" * 300)
        self.assertNotIn("history", self.hash())
        self.assertEqual(redis("XLEN", self.log), 1)

    def test_hundreds_of_fields_are_written(self):
        self.create()
        sets = [w for i in range(450) for w in ("f%d" % i, "v")]
        self.assertEqual(self.park(sets=sets)[0], b"OK")
        self.assertEqual(self.hash()["f449"], "v")

    def test_nobody_takes_it_because_of_its_due_time(self):
        self.create()
        self.park()
        before = self.dump()
        self.assertEqual(self.take(force=0)[0], b"NOT_DUE")
        self.assertEqual(self.dump(), before)

    def test_who_asks_for_it_finds_it_due_and_knows_that_it_was_parked(self):
        for which in ("1", "parked"):
            redis("FLUSHALL")
            self.create()
            self.park()
            answer, now, flat = self.take(force=which)
            self.assertEqual(answer, b"OK")
            self.assertEqual(self.score(self.due), now + 1000)
            self.assertIsNone(self.score(self.parked))
            self.assertIn(b"parked", flat)
            self.assertNotIn("doubt", self.hash())  # it had been given up

    def test_only_what_is_parked(self):
        self.create()
        before = self.dump()
        answer, _, why = self.take(force="parked")
        self.assertEqual((answer, why), (b"CONFLICT", b"it is not parked"))
        self.assertEqual(self.dump(), before)

    def test_since_when_stays_when_it_is_parked_again(self):
        self.create()
        self.park()
        self.take(force=1)
        self.park(owner="B", epoch=2, rev=2, since=12345)
        self.assertEqual(self.score(self.parked), 12345)
        self.assertEqual(self.hash()["parked"], "12345 conflict 01.action")

    def test_taken_and_ended(self):
        self.create()
        self.park()
        self.take(force=1)
        self.update(owner="B", epoch=2, rev=2, status="failed", dels=("parked",))
        self.assertIsNone(self.score(self.due))
        self.assertIsNone(self.score(self.parked))
        self.assertNotIn("parked", self.hash())


class Lists(Base):
    def test_overdue_ones_oldest_first_with_the_next_due_time(self):
        self.assertEqual(run("due_list", [self.due], [10])[1:], [0, []])
        for gid, at in (("late", 10), ("later", 5), ("next", 9e12), ("last", 9.5e12)):
            redis("ZADD", self.due, int(at), gid)
        for _ in range(2):
            self.assertEqual(run("due_list", [self.due], [10])[1:],
                             [9000000000000, [b"later", b"late"]])
        self.assertEqual(run("due_list", [self.due], [1])[1:], [9000000000000, [b"later"]])

    def test_counts(self):
        redis("ZADD", self.due, 1, "a", 2, "b", int(9e12), "c")
        for _ in range(2):
            self.assertEqual(run("due_count", [self.due, self.parked], [])[1:], [3, 2, 0])
        redis("ZADD", self.parked, 1, "a")
        self.assertEqual(run("due_count", [self.due, self.parked], [])[1:], [3, 2, 1])

    def test_newest_first_and_pages_among_equals(self):
        for i in range(300):
            redis("ZADD", self.recent, 1000 + i // 100, "g%03d" % i)
        everything, newest, below = [], "+inf", ""
        while True:
            page = run("recent_list", [self.recent], [newest, "-inf", below, 7])
            if not page:
                break
            everything += [g.decode() for g in page[::2]]
            newest, below = page[-1], page[-2]
        self.assertEqual(everything, ["g%03d" % i for i in reversed(range(300))])

    def test_equal_times_are_ordered_by_bytes(self):
        gids = ["a", "B", "\u00fc", "Z", "z", "aa", "_"]
        for gid in gids:
            redis("ZADD", self.recent, 5, gid)
        ordered = sorted((g.encode() for g in gids), reverse=True)
        self.assertEqual(run("recent_list", [self.recent], ["+inf", "-inf", "", 10])[::2], ordered)
        for i, gid in enumerate(ordered):
            self.assertEqual(run("recent_list", [self.recent], [5, "-inf", gid, 10])[::2],
                             ordered[i + 1:])

    def test_bounds_of_time(self):
        for i in range(10):
            redis("ZADD", self.recent, i, "g%d" % i)
        page = run("recent_list", [self.recent], [6, 4, "", 10])
        self.assertEqual(page, [b"g6", b"6", b"g5", b"5", b"g4", b"4"])

    def test_trim_forgets_only_what_is_gone(self):
        gids = ["g%d" % (i % 60) for i in range(64)]
        for gid in gids:
            redis("ZADD", self.recent, 1, gid)
        for gid in gids[:10]:
            redis("HSET", "saga:{3}:tx:" + gid, "a", "b")
        keys = [self.recent] + ["saga:{3}:tx:" + g for g in gids]
        self.assertEqual([run("recent_trim", keys, [*gids, ""]) for _ in range(2)], [50, 0])
        self.assertEqual(redis("ZCARD", self.recent), 10)

    def test_nothing_that_is_gone_or_has_ended_stays_parked(self):
        kept = {"waits": ["HSET", "status", "submitted"], "text": ["SET", "x"],
                "blank": ["HSET", "lease", "1.0"]}
        ended = {"done": ["HSET", "status", "succeed"], "undone": ["HSET", "status", "failed"]}
        for gid, (command, *rest) in {**kept, **ended}.items():
            redis(command, "saga:{3}:tx:" + gid, *rest)
        gids = [*kept, *ended, "gone"]
        for gid in gids:
            redis("ZADD", self.parked, 1, gid)
        gids += gids[-1:] * (64 - len(gids))
        keys = [self.parked] + ["saga:{3}:tx:" + g for g in gids]
        self.assertEqual([run("recent_trim", keys, [*gids, "ended"]) for _ in range(2)], [3, 0])
        self.assertEqual({g.decode() for g in redis("ZRANGE", self.parked, 0, -1)}, set(kept))

    def test_read(self):
        self.assertEqual(run("txn_read", [self.tx], [])[0], b"NOT_FOUND")
        self.create()
        for _ in range(2):
            answer, now, flat = run("txn_read", [self.tx], [])
            self.assertEqual((answer, flat), (b"OK", redis("HGETALL", self.tx)))
            self.assertGreater(now, 1600000000000)

    def test_partitions_are_fixed_at_the_first_start(self):
        self.assertEqual(run("meta_init", ["saga:meta"], [16, 1]), [b"16", b"1"])
        self.assertEqual(run("meta_init", ["saga:meta"], [32, 2]), [b"16", b"1"])


class DueReset(Base):
    def reset(self, later=0, gids=None):
        gids = (gids or [self.gid]) * 64
        keys = [self.due] + ["saga:{3}:tx:" + g for g in gids[:64]]
        now, moved, owned = run("due_reset", keys, [*gids[:64], later])
        return now, moved, [gid.decode() for gid in owned]

    def test_what_nobody_owns_is_due_now(self):
        self.create(owner="", due=HOUR)
        now, moved, owned = self.reset(later=HOUR // 2)
        self.assertEqual((1, [], now), (moved, owned, self.score(self.due)))
        before = self.dump()
        self.assertEqual((0, []), self.reset()[1:])  # repeated
        self.assertEqual(self.dump(), before)

    def test_what_somebody_owns_or_is_due_soon_is_as_it_was(self):
        self.create(owner="A", due=HOUR)
        before = self.dump()
        self.assertEqual((0, [self.gid]), self.reset()[1:])
        self.assertEqual((0, []), self.reset(later=2 * HOUR)[1:])
        self.assertEqual(self.dump(), before)

    def test_finished_and_unknown_ones_and_those_without_a_record_stay(self):
        self.create(owner="", status="failed")
        redis("ZADD", self.due, 9e15, "ghost")
        before = self.dump()
        self.assertEqual((0, []), self.reset(gids=[self.gid, "ghost", "nobody"])[1:])
        self.assertEqual(self.dump(), before)


class Topics(unittest.TestCase):
    key = "saga:topics"

    def setUp(self):
        redis("FLUSHALL")

    def change(self, what, topic="t", url="", remark="", limits=(10, 3, 1000)):
        answer = run("topic_change", [self.key], [what, topic, url, remark, *limits])
        return answer[0].decode(), answer[2:]

    def hash(self):
        flat = redis("HGETALL", self.key)
        return dict(zip((n.decode() for n in flat[::2]), (v.decode() for v in flat[1::2])))

    def lines(self, topic="t"):
        head, *lines = self.hash()[f"t:{topic}"].split("\n")
        return head.split()[0], lines

    def test_record_reads_well(self):
        self.assertEqual("OK", self.change("subscribe", url="http://a", remark="the first one")[0])
        word, rest = self.change("subscribe", url="http://b")
        self.assertEqual(("OK", [redis("HGETALL", self.key)]), (word, rest))
        self.assertEqual(("2", ["http://a the first one", "http://b"]), self.lines())
        self.assertEqual(int(self.hash()["bytes"]), len(self.hash()["t:t"]))

    def test_repeats_are_told_and_write_nothing(self):
        self.change("subscribe", url="http://a")
        before = self.hash()
        self.assertEqual("EXISTS", self.change("subscribe", url="http://a", remark="other")[0])
        self.assertEqual("NO_URL", self.change("unsubscribe", url="http://")[0])
        self.assertEqual("NO_TOPIC", self.change("unsubscribe", "u", "http://a")[0])
        self.assertEqual("NO_TOPIC", self.change("delete", "u")[0])
        self.assertEqual(before, self.hash())
        self.change("unsubscribe", url="http://a")
        self.assertEqual(("2", []), self.lines())
        self.assertEqual("EMPTY", self.change("unsubscribe", url="http://a")[0])
        self.assertEqual("OK", self.change("delete")[0])
        self.assertEqual("0", self.hash()["bytes"])

    def test_every_change_has_another_version(self):
        seen = set()
        for what in ("subscribe", "unsubscribe", "subscribe", "delete"):
            self.change(what, url="http://a")
            seen.add(self.hash()["version"])
        redis("DEL", self.key)  # the server went back
        self.change("subscribe", url="http://a")
        seen.add(self.hash()["version"])
        self.assertEqual(5, len(seen))

    def test_limits(self):
        for url in "abc":
            self.change("subscribe", url=url)
        self.assertEqual(("LIMIT", [b"the topic has 3 subscribers, the most that are possible"]),
                         self.change("subscribe", url="d"))
        self.assertEqual(("LIMIT", [b"there are 1 topics, the most that are possible"]),
                         self.change("subscribe", "u", "d", limits=(1, 3, 1000)))
        word, (text,) = self.change("subscribe", "u", "d", limits=(10, 3, 60))
        self.assertEqual("LIMIT", word)
        self.assertIn(b"at most 60 are possible", text)
        self.assertEqual("OK", self.change("unsubscribe", url="a", limits=(1, 1, 1))[0])

    def test_damaged_one_can_only_be_deleted(self):
        redis("HSET", self.key, "t:t", "rubbish", "version", "?", "bytes", "7")
        for what in ("subscribe", "unsubscribe"):
            with self.assertRaisesRegex(RedisError, "the field t:t is damaged"):
                self.change(what, url="a")
        self.assertEqual("OK", self.change("delete")[0])

    def test_reading_tells_what_is_not_known_yet(self):
        self.assertEqual([[]], run("topic_read", [self.key], [""])[1:])
        self.change("subscribe", url="a")
        version = self.hash()["version"]
        for known in ("", "1-0"):
            self.assertEqual([redis("HGETALL", self.key)], run("topic_read", [self.key], [known])[1:])
        self.assertEqual([], run("topic_read", [self.key], [version])[1:])
        redis("DEL", self.key)
        self.assertEqual([[]], run("topic_read", [self.key], [version])[1:])


class Outbox(Base):
    stream, dead = "{t:0}:outbox", "{t:0}:outbox:dead"

    def sweep(self, consumer="A", silent=0, cursor="0-0", count=10, forget=HOUR):
        return run("outbox_sweep", [self.stream], ["sagad", consumer, silent, cursor, count, forget])

    def add(self, *fields):
        return redis("XADD", self.stream, "*", *(fields or ("gid", "g")))

    def read(self, consumer="A"):
        reply = redis("XREADGROUP", "GROUP", "sagad", consumer, "STREAMS", self.stream, ">")
        return [item[0] for item in reply[0][1]] if reply else []

    def readers(self):
        return [row[1] for row in redis("XINFO", "CONSUMERS", self.stream, "sagad")]

    def test_the_group_begins_with_the_first_entry(self):
        first = self.add()
        self.assertEqual(self.sweep()[:4], [b"0-0", [], 1, 0])
        self.assertEqual(self.read(), [first])
        self.assertEqual(self.sweep(silent=HOUR)[:4], [b"0-0", [], 1, 1])

    def test_a_stream_that_is_not_there_is_made(self):
        self.assertEqual(self.sweep(), [b"0-0", [], 0, 0, 0])
        self.assertEqual(self.sweep(), [b"0-0", [], 0, 0, 0])

    def test_takes_over_what_nobody_acknowledges_in_pieces(self):
        self.sweep()
        ids = [self.add() for _ in range(5)]
        self.read("B")
        at, taken = self.sweep(count=3)[:2]
        self.assertEqual([item[0] for item in taken], ids[:3])
        self.assertEqual(taken[0][1], [b"gid", b"g"])
        at, taken = self.sweep(count=3, cursor=at.decode())[:2]
        self.assertEqual(([item[0] for item in taken], at), (ids[3:], b"0-0"))

    def test_forgets_silent_readers_but_none_with_entries(self):
        self.sweep()
        self.add()
        self.read("busy")
        self.add()
        run("outbox_ack", [self.stream], ["sagad", *self.read("idle")])
        self.sweep("A", silent=HOUR)
        self.assertEqual(self.readers(), [b"busy", b"idle"])
        self.sweep("A", silent=HOUR, forget=-1)
        self.assertEqual(self.readers(), [b"busy"])

    def test_age_of_the_oldest(self):
        redis("XADD", self.stream, "1000-0", "gid", "g")
        self.assertGreater(self.sweep()[4], HOUR)
        redis("XTRIM", self.stream, "MAXLEN", 0)
        self.assertEqual(self.sweep()[4], 0)

    def test_read_by_script(self):
        def read(count):
            return run("outbox_read", [self.stream], ["sagad", "A", count])
        with self.assertRaisesRegex(RedisError, "NOGROUP"):
            read(1)
        self.sweep()
        ids = [self.add() for _ in range(3)]
        self.assertEqual(read(2), [[ids[0], [b"gid", b"g"]], [ids[1], [b"gid", b"g"]]])
        self.assertEqual([item[0] for item in read(2)], ids[2:])
        self.assertEqual(read(2), [])
        self.assertEqual(self.sweep(silent=HOUR)[2:4], [3, 3])

    def test_acknowledged_ones_are_gone(self):
        self.sweep()
        ids = [self.add() for _ in range(3)]
        self.read()
        self.assertEqual(run("outbox_ack", [self.stream], ["sagad", *ids[:2]]), 2)
        self.assertEqual(run("outbox_ack", [self.stream], ["sagad", *ids[:2]]), 0)
        self.assertEqual(self.sweep(silent=HOUR)[2:4], [1, 1])

    def test_dead_ones_go_into_their_own_stream_once(self):
        self.sweep()
        entry = self.add("gid", "g", "more", "1")
        self.read()
        args = ["sagad", entry, "field 'more': unknown", 100]
        self.assertEqual(run("outbox_dead", [self.stream, self.dead], args), 1)
        self.assertEqual(run("outbox_dead", [self.stream, self.dead], args), 0)
        self.assertEqual([fields for _, fields in redis("XRANGE", self.dead, "-", "+")],
                         [[b"reason", b"field 'more': unknown", b"id", entry, b"gid", b"g", b"more",
                           b"1"]])
        self.assertEqual(self.sweep()[2:4], [0, 0])

    def test_a_dead_one_of_any_length_is_moved(self):
        self.sweep()
        entry = self.add(*range(30000))
        args = ["sagad", entry, "too long", 100]
        self.assertEqual(run("outbox_dead", [self.stream, self.dead], args), 1)
        self.assertEqual(len(redis("XRANGE", self.dead, "-", "+")[0][1]), 1004)


class Memory(Base):
    def finished_saga(self, i):
        self.gid = "g%021d" % i
        self.tx, self.log = "saga:{3}:tx:" + self.gid, "saga:{3}:log:" + self.gid
        self.create(owner="host.example:36789:12345")
        self.update(owner="host.example:36789:12345", status="succeed", dels=["attempts", "retries"],
                    events="01.action SUCCESS 1ms | 02.action SUCCESS 1ms | succeed",
                    sets=["01.action", "succeed", "02.action", "succeed"])

    def test_finished_two_branch_saga_takes_at_most_1_kb(self):
        self.assertTrue(30 <= len(URL) and len(URL + "Revert") >= 45)
        count = 500  # so that the zset is one of many, not a small one
        for i in range(count):
            self.finished_saga(i)
        tx = redis("MEMORY", "USAGE", self.tx)
        log = redis("MEMORY", "USAGE", self.log) or 0
        recent = redis("MEMORY", "USAGE", self.recent, "SAMPLES", 0) / count
        print("bytes per finished saga: tx %d log %d recent %d" % (tx, log, recent))
        self.assertLessEqual(tx + log + recent, 1024)


if __name__ == "__main__":
    unittest.main()
