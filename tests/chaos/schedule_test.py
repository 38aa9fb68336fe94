#!/usr/bin/env python3
"""A seed stands for one schedule, and a schedule can be carried out."""
import unittest

import schedule

PROGRAMS = ["sagad1", "sagad2", "order", "product"]
LINKS = [f"{who}>redis" for who in PROGRAMS] + ["sagad1>order", "sagad2>order", "client>sagad1"]
GROUPS = {"coordinators": PROGRAMS[:2], "all": PROGRAMS + ["redis"]}
TARGETS = schedule.Targets(PROGRAMS, ["redis"], LINKS, GROUPS, schedule.OF_SEVERAL)
STORES = ["redis1", "redis2"]
FRONTS = [f"any>{name}" for name in STORES]
SEVERAL = schedule.Targets(PROGRAMS, STORES, LINKS + FRONTS, GROUPS, frozenset(["disk_full"]),
                           ["sentinel1"], STORES + FRONTS)
SEEDS = range(30)


class ScheduleTest(unittest.TestCase):
    def test_the_same_seed_gives_the_same_faults(self):
        self.assertEqual(schedule.draw(5, 120, TARGETS), schedule.draw(5, 120, TARGETS))
        self.assertNotEqual(schedule.draw(5, 120, TARGETS), schedule.draw(6, 120, TARGETS))

    def test_all_kinds_occur(self):
        for targets in (TARGETS, SEVERAL):
            kinds = {fault.kind for fault in schedule.draw(1, 1200, targets)}
            self.assertEqual(set(schedule.KINDS) - targets.without, kinds)

    def test_a_store_that_may_lose_writes_is_never_killed(self):
        for seed in SEEDS:
            faults = schedule.draw(seed, 300, TARGETS._replace(without=schedule.OF_SEVERAL | {"store_kill"}))
            self.assertNotIn("store_kill", {fault.kind for fault in faults})

    def assert_never_twice(self, targets):
        for seed in SEEDS:
            busy = {}
            for at, what, fault in schedule.timeline(schedule.draw(seed, 300, targets)):
                for name in schedule.touches(fault, targets):
                    if what == "begin":
                        self.assertNotIn(name, busy, f"seed {seed} at {at}")
                        busy[name] = fault
                    else:
                        self.assertIs(busy.pop(name), fault)
            self.assertEqual({}, busy)

    def test_nothing_is_hit_twice_at_a_time(self):
        self.assert_never_twice(TARGETS)
        self.assert_never_twice(SEVERAL)

    def test_of_several_servers_one_is_hit_at_a_time(self):
        for fault in schedule.draw(1, 1200, SEVERAL):
            self.assertEqual(fault.kind == "migrate" or fault.target in FRONTS + STORES,
                             "one of redis" in schedule.touches(fault, SEVERAL), fault)

    def test_all_ends_in_time_and_there_are_calm_times(self):
        for seed in SEEDS:
            faults = schedule.draw(seed, 300, TARGETS)
            self.assertGreater(len(faults), 100)
            self.assertLessEqual(max(fault.until for fault in faults), 299)
            self.assertFalse([f for f in faults if f.at % 20 > 16])

    def test_quiet_time(self):
        quiet = schedule.Quiet([(40, 50), (15, 30), (10, 20), (16, 18)])
        self.assertEqual(0, quiet.between(12, 28))
        self.assertEqual(10, quiet.between(0, 25))
        self.assertEqual(20, quiet.between(5, 55))
        self.assertEqual(3, quiet.between(31, 34))
        self.assertEqual(2, quiet.between(7, 9))
        self.assertEqual(7, schedule.Quiet([]).between(60, 67))


if __name__ == "__main__":
    unittest.main()
