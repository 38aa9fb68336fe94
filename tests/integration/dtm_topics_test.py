#!/usr/bin/env python3
"""The rest of DTM's API: topics of messages, resetCronTime, all."""
import json
import threading
import time
import unittest
import urllib.parse

from harness import web
from harness.case import StackCase
from harness.dtm import PATIENT
from harness.process import wait_for
from harness.web import Answer

SEEN_WITHIN_S = 1.0
SLACK_S = 0.5  # of a machine that is busy


def query(**fields):
    return urllib.parse.urlencode(fields)


class ApiCase(StackCase):
    has_user = False
    stack_options = {"coordinators": 2, "services": (),
                     "settings": {"sagad": {**PATIENT, "retry_interval_max": "600s"}}}

    def setUp(self):
        self.web = self.participant()
        self.other = self.stack["sagad2"]

    def name(self):
        """Of a new topic."""
        return self.gid()

    def call(self, method, path, sagad=None):
        return web.ask((sagad or self.sagad).http.number, method, "/api/dtmsvr/" + path)

    def subscribe(self, topic, *names, sagad=None):
        for name in names:
            reply = (sagad or self.sagad).dtm("subscribe", topic=topic, url=f"{self.web.url}/{name}",
                                              remark=f"the {name}")
            self.assertEqual((200, {"dtm_result": "SUCCESS"}), (reply.status, reply.body))

    def msg(self, *actions, sagad=None, what="submit", **fields):
        body = {"gid": self.gid(), "trans_type": "msg", "concurrent": False, "protocol": "",
                "steps": [{"action": action} for action in actions],
                "payloads": [json.dumps({"step": i}) for i in range(len(actions))],
                "wait_result": True, **fields}
        return body["gid"], (sagad or self.sagad).dtm(what, **body)

    def assert_refused(self, status, text, reply):
        self.assertEqual((status, text), (reply.status, reply.body and reply.body["message"]))
        if status == 409:
            self.assertEqual("FAILURE", reply.body["dtm_result"])
        else:
            self.assertNotIn("dtm_result", reply.body)

    def topic(self, name, sagad=None):
        found = self.call("GET", "queryKV?" + query(cat="topics", key=name), sagad).body["kv"]
        return found[0] if found else None

    def urls(self, name, sagad=None):
        return [s["url"] for s in json.loads(self.topic(name, sagad)["v"])]


class TopicTest(ApiCase):
    def test_subscribe_and_unsubscribe_in_dtms_words(self):
        topic, url = self.name(), self.web.url + "/a"
        for word in ("subscribe", "unsubscribe"):
            self.assert_refused(400, "empty topic", self.call("GET", f"{word}?" + query(url=url)))
            self.assert_refused(400, "empty url", self.call("GET", f"{word}?" + query(topic=topic)))
        self.assert_refused(404, "no such a topic",
                            self.call("GET", "unsubscribe?" + query(topic=topic, url=url)))
        both = query(topic=topic, url=url, remark="of a test")
        self.assertEqual({"dtm_result": "SUCCESS"}, self.call("GET", "subscribe?" + both).body)
        self.assert_refused(409, "this url exists FAILURE", self.call("POST", "subscribe?" + both))
        self.assert_refused(404, "no such an url",
                            self.sagad.dtm("unsubscribe", topic=topic, url=url + "b"))
        self.assertEqual(200, self.sagad.dtm("unsubscribe", topic=topic, url=url).status)
        self.assert_refused(404, "this topic is empty", self.call("POST", "unsubscribe?" + both))
        self.assertEqual(200, self.call("DELETE", f"topic/{topic}").status)
        self.assert_refused(404, "storage: NotFound", self.call("DELETE", f"topic/{topic}"))

    def test_bad_subscriptions_are_named(self):
        for fields, text in (
                ({"topic": "a b", "url": self.web.url}, "topic: 'a b' must have 1 to 128 char"),
                ({"topic": "a/b", "url": self.web.url}, "topic: 'a/b' must have"),
                ({"topic": "x" * 129, "url": self.web.url}, "must have 1 to 128"),
                ({"topic": "a", "url": "ftp://x"}, "url: 'ftp://x' must be"),
                ({"topic": "a", "url": "topic://b"}, "url: 'topic://b': a topic can only be"),
                ({"topic": "a", "url": self.web.url, "remark": "x" * 257}, "remark: has 257 bytes"),
                ({"topic": "a", "url": self.web.url, "remark": "x\ny"}, "control characters"),
                ({"topic": 7, "url": self.web.url}, "field 'topic'")):
            reply = self.sagad.dtm("subscribe", **fields)
            self.assertEqual(400, reply.status, reply.text)
            self.assertIn(text, reply.body["message"])
        self.assertEqual(400, self.sagad.post("/api/dtmsvr/subscribe", [1]).status)
        reply = self.call("HEAD", "subscribe?" + query(topic="a", url=self.web.url))
        self.assertEqual((405, "GET, POST"), (reply.status, reply.headers["Allow"]))
        reply = self.call("GET", "topic/a")
        self.assertEqual((405, "DELETE"), (reply.status, reply.headers["Allow"]))
        self.assertEqual(404, self.call("DELETE", "topic/a/b").status)
        self.assertEqual(400, self.call("DELETE", "topic/").status)

    def test_each_subscriber_gets_a_branch_of_its_own(self):
        topic, single = self.name(), self.name()
        self.subscribe(topic, "a", "b")
        self.subscribe(single, "c")
        gid, reply = self.msg("topic://" + topic, "topic://" + single, self.web.url + "/d")
        self.assertEqual(200, reply.status, reply.text)
        self.assertEqual({("01-01", "action"): "succeed", ("01-02", "action"): "succeed",
                          ("02", "action"): "succeed", ("03", "action"): "succeed"},
                         self.sagad.branches(gid))
        calls = [(c.path, dict(c.query)["branch_id"], json.loads(c.body)) for c in self.web.calls]
        self.assertEqual([("/a", "01-01", {"step": 0}), ("/b", "01-02", {"step": 0}),
                          ("/c", "02", {"step": 1}), ("/d", "03", {"step": 2})], calls)

    def test_change_is_seen_by_the_other_coordinator_within_a_second(self):
        topic = self.name()
        self.subscribe(topic, "a", "b")
        self.assertEqual(["01-01", "01-02"], self.ids_of_next(topic, self.sagad))  # at once
        # one that the other has not heard of it asks for
        self.assertEqual(["01-01", "01-02"], self.ids_of_next(topic, self.other))
        self.subscribe(topic, "c")
        self.assert_soon(["01-01", "01-02", "01-03"], topic)
        self.sagad.dtm("unsubscribe", topic=topic, url=self.web.url + "/a")
        self.assert_soon(["01-01", "01-02"], topic)
        self.call("DELETE", f"topic/{topic}")
        self.assertEqual(None, self.ids_of_next(topic, self.sagad))
        self.assert_soon(None, topic)

    def ids_of_next(self, topic, sagad):
        gid, reply = self.msg("topic://" + topic, sagad=sagad)
        return sorted(i for i, _ in sagad.branches(gid)) if reply.status == 200 else None

    def assert_soon(self, ids, topic):
        changed = asked = time.monotonic()
        while self.ids_of_next(topic, self.other) != ids:
            self.assertLess(asked - changed, SEEN_WITHIN_S + SLACK_S)
            asked = time.monotonic()

    def test_unknown_and_empty_topics(self):
        topic = self.name()
        for what, fields in (("submit", {}), ("prepare", {"query_prepared": self.web.url})):
            gid, reply = self.msg("topic://" + topic, what=what, **fields)
            self.assert_refused(409, f"topic not found: {topic} FAILURE", reply)
            self.assertIsNone(self.sagad.status(gid))
        self.subscribe(topic, "a")
        self.sagad.dtm("unsubscribe", topic=topic, url=self.web.url + "/a")
        _, reply = self.msg("topic://" + topic)
        self.assert_refused(409, f"nobody has subscribed to topic: {topic} FAILURE", reply)

    def test_topic_is_refused_anywhere_but_in_a_msg(self):
        topic = self.name()
        self.subscribe(topic, "a")
        url = "topic://" + topic
        common = {"gid": self.gid(), "payloads": ["x"]}
        for what, fields in (
                ("submit", {"trans_type": "saga", "steps": [{"action": url}], **common}),
                ("submit", {"trans_type": "saga", "steps": [{"action": "", "compensate": url}],
                            **common}),
                ("submit", {"trans_type": "tcc", "steps": [{"try": url}], **common}),
                ("prepare", {"trans_type": "msg", "steps": [{"action": self.web.url}],
                             "query_prepared": url, **common}),
                ("registerBranch", {"gid": self.gid(), "trans_type": "tcc", "branch_id": "01",
                                    "confirm": url, "cancel": ""})):
            reply = self.sagad.dtm(what, **fields)
            self.assertEqual(400, reply.status, reply.text)
            self.assertIn("a topic can only be the action of a msg", reply.body["message"])

    def test_prepared_msg_keeps_its_branches_when_the_topic_goes(self):
        topic, gid = self.name(), self.gid()
        self.subscribe(topic, "a", "b")
        self.msg("topic://" + topic, gid=gid, what="prepare", query_prepared=self.web.url + "/q")
        self.call("DELETE", f"topic/{topic}")
        _, reply = self.msg("topic://" + topic, gid=gid)
        self.assertEqual(200, reply.status, reply.text)
        self.assertEqual(["/a", "/b"], self.web.paths())
        _, reply = self.msg("topic://" + topic, gid=gid)  # again
        self.assertEqual((200, ["/a", "/b"]), (reply.status, self.web.paths()))

    def test_limits(self):
        topic, second = self.name(), self.name()
        for name in (topic, second):
            self.subscribe(name, *(f"s{i}" for i in range(64)))
        reply = self.sagad.dtm("subscribe", topic=topic, url=self.web.url + "/more")
        self.assert_refused(400, "the topic has 64 subscribers, the most that are possible", reply)
        gid, reply = self.msg("topic://" + topic)
        self.assertEqual(200, reply.status, reply.text)
        self.assertEqual([f"/s{i}" for i in range(64)], self.web.paths())
        self.assertEqual(64, len(self.sagad.branches(gid)))
        _, reply = self.msg("topic://" + topic, "topic://" + second)
        self.assertEqual(400, reply.status)
        self.assertIn("more than 100 branches", reply.body["message"])

    def test_prepared_msg_keeps_its_branches_when_the_topic_grows(self):
        topic, second, gid = self.name(), self.name(), self.gid()
        self.subscribe(topic, *(f"s{i}" for i in range(64)))
        self.subscribe(second, "t")
        steps = [f"topic://{name}" for name in (topic, second)]
        self.msg(*steps, gid=gid, what="prepare", query_prepared=self.web.url + "/q")
        self.subscribe(second, *(f"u{i}" for i in range(60)))
        _, reply = self.msg(*steps, gid=gid)
        self.assertEqual(200, reply.status, reply.text)
        self.assertEqual([f"/s{i}" for i in range(64)] + ["/t"], self.web.paths())

    def test_subscribers_who_come_at_once_are_all_there(self):
        topic = self.name()
        coordinators = (self.sagad, self.other)
        self.in_threads(8, lambda i: self.subscribe(topic, *(f"s{i}-{j}" for j in range(8)),
                                                    sagad=coordinators[i % 2]))
        self.assertEqual(64, len(set(self.urls(topic))))
        self.assertEqual(64, self.topic(topic)["version"])

    def test_another_coordinator_delivers_the_rest_after_a_crash(self):
        topic, gid = self.name(), self.gid()
        self.subscribe(topic, "a", "b", "c")
        self.web.rules["/b"] = Answer(500, "")
        self.msg("topic://" + topic, gid=gid, sagad=self.other, retry_interval=1,
                 wait_result=False)
        wait_for(lambda: "/b" in self.web.paths(), "the second one was called")
        self.other.kill()
        self.call("DELETE", f"topic/{topic}")
        self.web.rules["/b"] = Answer()
        self.await_status(gid, "succeed")
        self.assertEqual({(f"01-0{i}", "action"): "succeed" for i in (1, 2, 3)},
                         self.sagad.branches(gid))
        self.assertEqual({("/a", "01-01"), ("/b", "01-02"), ("/c", "01-03")},
                         {(c.path, dict(c.query)["branch_id"]) for c in self.web.calls})
        self.other.start()

    def test_damaged_topic_stands_in_nobodys_way(self):
        topic, damaged = self.name(), self.name()
        self.subscribe(topic, "a")
        self.subscribe(damaged, "a")
        self.redis.ask("HSET", "saga:topics", f"t:{damaged}", "rubbish")
        self.subscribe(topic, "b")
        self.assertEqual(2, len(self.urls(topic)))
        self.assertIsNone(self.topic(damaged))
        _, reply = self.msg("topic://" + damaged)
        self.assertEqual(409, reply.status)
        reply = self.sagad.dtm("subscribe", topic=damaged, url=self.web.url)
        self.assertEqual(500, reply.status)
        self.assertIn(f"the field t:{damaged} is damaged", reply.body["message"])
        self.assertEqual(200, self.call("DELETE", f"topic/{damaged}").status)
        self.subscribe(damaged, "a")


class KvTest(ApiCase):
    def test_query_tells_the_subscribers_and_counts_the_changes(self):
        topic = self.name()
        self.subscribe(topic, "a")
        first = self.topic(topic)
        self.assertEqual(
            {"id": 0, "cat": "topics", "k": topic, "version": 1,
             "v": json.dumps([{"url": self.web.url + "/a", "remark": "the a"}],
                             separators=(",", ":"))},
            {name: first[name] for name in ("id", "cat", "k", "version", "v")})
        self.subscribe(topic, "b", sagad=self.other)
        second = self.topic(topic)  # read anew, not from memory
        self.assertEqual((2, first["create_time"]), (second["version"], second["create_time"]))
        self.assertGreater(second["update_time"], first["update_time"])
        self.assertEqual(["the a", "the b"], [s["remark"] for s in json.loads(second["v"])])
        self.assertIsNone(self.topic("nothing like it"))

    def test_scan_pages_through_all_of_them(self):
        names = sorted(f"{self.name()}-{i}" for i in range(7))
        for name in names:
            self.subscribe(name, "a")
        found, position = [], ""
        for _ in range(100):
            page = self.call("GET", "scanKV?" + query(cat="topics", limit=3, position=position)).body
            self.assertLessEqual(len(page["kv"]), 3)
            found += [kv["k"] for kv in page["kv"]]
            position = page["next_position"]
            if not position:
                break
        self.assertEqual(sorted(found), found)
        self.assertEqual(names, [name for name in found if name in names])

    def test_bad_parameters(self):
        for path, status in (("scanKV", 400), ("queryKV?key=x", 400), ("scanKV?cat=topics&limit=0", 400),
                             ("scanKV?cat=topics&limit=x", 400)):
            self.assertEqual(status, self.call("GET", path).status, path)
        self.assertEqual({"kv": [], "next_position": ""},
                         self.call("GET", "scanKV?cat=other").body)
        self.assertEqual({"kv": []}, self.call("GET", "queryKV?cat=other&key=a").body)


class AwayTest(ApiCase):
    """Redis is away for longer than the topics in memory are good for."""

    stack_options = {"services": ()}

    def setUp(self):
        self.web = self.participant()

    def test_nothing_is_guessed(self):
        topic = self.name()
        self.subscribe(topic, "a")
        self.stack["redis"].kill()
        reply = self.call("GET", "scanKV?cat=topics")
        self.assertEqual((503, "1"), (reply.status, reply.headers["Retry-After"]))
        reply = self.sagad.dtm("subscribe", topic=topic, url=self.web.url + "/b")
        self.assertEqual((503, "1"), (reply.status, reply.headers["Retry-After"]))
        gid, reply = self.msg("topic://" + topic)
        self.assertEqual((503, "1"), (reply.status, reply.headers["Retry-After"]), reply.text)
        wait_for(lambda: "the topics cannot be read" in
                 self.msg("topic://" + topic, gid=gid)[1].body["message"], "they are too old")
        self.stack["redis"].start()
        wait_for(lambda: self.msg("topic://" + topic, gid=gid)[1].status == 200, "it goes on")
        self.assertEqual(["/a"], self.web.paths())


class ResetTest(ApiCase):
    """resetCronTime."""

    def waiting(self, count, sagad=None):
        """gids of sagas that wait for a retry in ten minutes."""
        self.web.rules["/late"] = Answer(500, "not now")
        gids = []
        for _ in range(count):
            gids.append(self.gid())
            (sagad or self.sagad).dtm("submit", gid=gids[-1], trans_type="saga", payloads=["x"],
                                      retry_interval=600,
                                      steps=[{"action": self.web.url + "/late"}])
        wait_for(lambda: len(self.web.calls) >= count, "all were called")
        for gid in gids:
            wait_for(lambda g=gid: self.is_released(g), f"{gid} waits in the store")
        return gids

    def is_released(self, gid):
        """Its lease names no owner."""
        key = self.sagad.query(gid)["keys"]["tx"]
        return " " not in self.redis.client.hash(key).get("lease", " ")

    def reset(self, method="GET", sagad=None, **fields):
        reply = self.call(method, "resetCronTime?" + query(**fields), sagad)
        self.assertEqual(200, reply.status, reply.text)
        return reply.body

    def test_what_waits_for_long_is_tried_now(self):
        gids = self.waiting(3)
        self.web.rules["/late"] = Answer()
        self.assertEqual({"has_remaining": False, "succeed_count": 0}, self.reset(timeout=1200))
        for gid in gids:
            self.assertEqual("submitted", self.sagad.status(gid))
        # another coordinator than the one that had them
        self.assertEqual({"has_remaining": False, "succeed_count": 3},
                         self.reset("POST", sagad=self.other, timeout=300))
        for gid in gids:
            self.await_status(gid, "succeed")

    def test_the_default_leaves_short_pauses_alone(self):
        gid, = self.waiting(1)
        self.web.rules["/late"] = Answer()
        self.assertEqual(1, self.reset()["succeed_count"])  # ten minutes are more than 105 s
        self.await_status(gid, "succeed")

    def test_limit_and_has_remaining(self):
        gids = self.waiting(7)
        self.web.rules["/late"] = Answer()
        counts = []
        while not counts or counts[-1]["has_remaining"]:
            counts.append(self.reset(timeout=300, limit=3))
        self.assertEqual([3, 3, 1], [c["succeed_count"] for c in counts])
        for gid in gids:
            self.await_status(gid, "succeed")

    def test_what_another_coordinator_drives_is_left_alone(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        gid = self.gid()
        self.web.rules["/slow"] = Answer(gate=gate)
        self.sagad.dtm("submit", gid=gid, trans_type="saga", payloads=["x"], request_timeout=60,
                       steps=[{"action": self.web.url + "/slow"}])
        wait_for(lambda: self.web.calls, "it is called")
        self.assertEqual(0, self.reset(sagad=self.other, timeout=0)["succeed_count"])
        gate.set()
        self.await_status(gid, "succeed")
        self.assertEqual(["/slow"], self.web.paths())

    def test_what_waits_in_this_coordinator_is_tried_now(self):
        gid = self.gid()
        self.web.rules["/late"] = [Answer(500, ""), Answer()]
        replies = []
        # One who waits for the end keeps it in memory.
        thread = threading.Thread(target=lambda: replies.append(self.sagad.dtm(
            "submit", gid=gid, trans_type="saga", payloads=["x"], retry_interval=600,
            wait_result=True, wait_timeout=60, steps=[{"action": self.web.url + "/late"}])))
        thread.start()
        self.addCleanup(thread.join)
        wait_for(lambda: "01.action" in self.sagad.history(gid), "it waits")
        self.assertEqual(1, self.reset(timeout=0)["succeed_count"])
        thread.join()
        self.assertEqual(200, replies[0].status)

    def test_prepared_one_is_still_prepared(self):
        gid = self.gid()
        self.sagad.dtm("prepare", gid=gid, trans_type="tcc", timeout_to_fail=600)
        self.assertEqual(1, self.reset(timeout=300)["succeed_count"])
        key = self.sagad.query(gid)["keys"]["due"]
        wait_for(lambda: float(self.redis.ask("ZSCORE", key, gid)) > (time.time() + 300) * 1000,
                 "somebody looked at it")
        self.assertEqual("prepared", self.sagad.status(gid))
        self.assertEqual(200, self.sagad.dtm("abort", gid=gid, trans_type="tcc").status)

    def test_bad_parameters(self):
        for fields in ({"timeout": -1}, {"timeout": "x"}, {"limit": 0}, {"limit": 1001}):
            reply = self.call("GET", "resetCronTime?" + query(**fields))
            self.assertEqual(400, reply.status)
            self.assertIn(f"parameter '{next(iter(fields))}'", reply.body["message"])


class ListTest(ApiCase):
    """all."""

    def setUp(self):
        super().setUp()
        self.web.rules["/no"] = Answer(409, "no")

    def submit(self, gid, status="succeed", kind="saga"):
        action = {"succeed": "", "failed": self.web.url + "/no"}[status]
        reply = self.sagad.dtm("submit", gid=gid, trans_type=kind, payloads=["x"],
                               steps=[{"action": action}], wait_result=True)
        self.assertIn(reply.status, (200, 409), reply.text)

    def page(self, **fields):
        reply = self.call("GET", "all?" + query(**fields))
        self.assertEqual(200, reply.status, reply.text)
        return reply.body

    def pages(self, **fields):
        found, position = [], ""
        while True:
            page = self.page(position=position, **fields)
            self.assertLessEqual(len(page["transactions"]), int(fields.get("limit", 100)))
            found += [t["gid"] for t in page["transactions"]]
            position = page["next_position"]
            if not position:
                return found

    def created_ms(self, gid):
        key = self.sagad.query(gid)["keys"]["tx"]
        return int(self.redis.client.hash(key)["created"])

    def test_pages_neither_repeat_nor_lose_while_others_submit(self):
        stable = [self.gid() for _ in range(60)]
        self.in_threads(4, lambda i: [self.submit(gid) for gid in stable[i::4]])
        done = threading.Event()

        def go_on(_):
            while not done.is_set():
                self.submit(self.gid())

        def read(_):
            try:
                for limit in (1, 7, 50):
                    found = self.pages(limit=limit)
                    self.assertEqual(len(set(found)), len(found))
                    self.assertEqual(set(stable), set(stable) & set(found))
            finally:
                done.set()
        self.in_threads(3, lambda i: read(i) if i == 0 else go_on(i))

    def test_all_filters_together(self):
        gids = {}
        for kind, status in (("saga", "succeed"), ("saga", "failed"), ("msg", "succeed"),
                             ("saga", "failed"), ("saga", "failed")):
            gid = self.gid()
            self.submit(gid, status, kind)
            gids.setdefault((kind, status), []).append(gid)
        wanted = gids["saga", "failed"]
        first, last = self.created_ms(wanted[0]), self.created_ms(wanted[-1])
        fields = {"transType": "saga", "status": "failed", "createTimeStart": first,
                  "createTimeEnd": last}
        for limit in (1, 2, 100):
            self.assertEqual(wanted[::-1], self.pages(limit=limit, **fields))
        self.assertEqual([], self.pages(**{**fields, "transType": "msg"}))
        self.assertEqual([], self.pages(**{**fields, "createTimeStart": last + 100000}))

    def test_gid_with_the_other_filters(self):
        gid = self.gid()
        self.submit(gid, "failed")
        created = self.created_ms(gid)
        good = {"gid": gid, "status": "failed", "transType": "saga", "createTimeStart": created,
                "createTimeEnd": created, "limit": 1}
        self.assertEqual([gid], self.pages(**good))
        for wrong in ({"status": "succeed"}, {"transType": "msg"}, {"createTimeStart": created + 1},
                      {"createTimeEnd": created - 1}, {"gid": gid + "x"}):
            self.assertEqual([], self.pages(**{**good, **wrong}), wrong)
        self.submit(self.gid())
        behind_newest = self.page(limit=1)["next_position"]
        self.assertEqual(gid, self.page(gid=gid, position=behind_newest)["transactions"][0]["gid"])
        behind_it = self.page(limit=2)["next_position"]
        self.assertEqual([], self.page(gid=gid, position=behind_it)["transactions"])
        self.assertEqual(400, self.call("GET", f"all?gid={gid}&position=rubbish").status)


if __name__ == "__main__":
    unittest.main()
