"""Which faults happen when: a pure function of the seed, the time and what there is to break.

The same arguments give the same faults at the same offsets, on any machine: what a machine cannot do
(clock steps, a full disk) is drawn all the same, and left out when its moment comes."""
import bisect
import collections
import random

# until == at: it has no duration. args: a dict.
Fault = collections.namedtuple("Fault", "at until kind target args")
# programs: names of processes that may be killed; stores: names of the Redis servers; links: names,
# "who>whom"; groups: name → programs (and stores) that may be killed at one moment; without: kinds
# that there are not; watchers: processes that may only be killed; one_at_a_time: names of stores and
# links of which only one may be hit.
Targets = collections.namedtuple(
    "Targets", "programs stores links groups without watchers one_at_a_time", defaults=((), ()))

BEGIN_S, END_S = 1.0, 1.0  # without faults, at the two ends of a run
GAP_S = 0.8  # between the beginnings of two faults, on average
CALM_EVERY_S, CALM_S = 20.0, 4.0  # in which nothing new breaks, so that recovery shows
TOGETHER_MAX = 4
TRIES = 20

# kind: (weight, what it hits, shortest, longest duration)
KINDS = {
    "kill": (6, "program", 0.1, 3.0),
    "worker_kill": (5, "coordinator", 0.0, 0.0),  # of several; the parent starts another
    "outage": (1, "group", 0.1, 2.0),
    "stop": (2, "program", 0.1, 2.0),
    "freeze": (4, "program", 0.3, 4.0),
    "delay": (3, "links", 0.5, 4.0),
    "slow": (2, "links", 0.5, 3.0),
    "partition": (4, "links", 0.3, 4.0),
    "half": (4, "links", 0.3, 4.0),
    "cut": (3, "links", 0.0, 2.0),
    "store_kill": (2, "store", 0.1, 2.0),
    "store_stop": (2, "store", 0.1, 2.0),
    "store_freeze": (2, "store", 0.2, 3.0),
    "script_flush": (2, "store", 0.0, 0.0),
    "clock": (3, "program", 1.0, 8.0),
    "disk_full": (1, "store", 0.5, 2.5),
    # Of several servers: the master that the target is, or follows. Long enough to be replaced.
    "master_kill": (5, "store", 2.5, 6.0),
    "master_freeze": (3, "store", 2.5, 6.0),
    "lag_kill": (5, "store", 3.5, 6.0),  # for a time its replica does not hear from it; then it dies
    "watcher_kill": (2, "watcher", 0.1, 3.0),
    "failover": (2, "store", 0.0, 0.0),
    "migrate": (4, "slot", 0.0, 0.0),
}
OF_SEVERAL = frozenset(("master_kill", "master_freeze", "lag_kill", "watcher_kill", "failover",
                        "migrate"))
# Keys whose slot moves: those of some partitions, and the services' records.
SLOTS_OF = ("{0}", "{5}", "{9}", "{14}", "{prd:1}", "{ord:0}", "{scr:0}")
CLOCK_STEPS_S = (-7200, -60, -5, 5, 60, 7200)


def _target(chance, kind, targets):
    what = KINDS[kind][1]
    if what == "program":
        return chance.choice(targets.programs)
    if what == "coordinator":
        return chance.choice(targets.groups["coordinators"])
    if what == "store":
        return chance.choice(targets.stores)
    if what == "watcher":
        return chance.choice(targets.watchers)
    if what == "slot":
        return chance.choice(SLOTS_OF)
    if what == "group":
        return chance.choice(sorted(targets.groups))
    # The many links to watchers must not hide those of the stores.
    if targets.watchers and chance.random() < 0.3:
        return chance.choice(targets.one_at_a_time)
    # one link, or all those of one program or store: then it is alone in the world
    if chance.random() < 0.6:
        return chance.choice(targets.links)
    return chance.choice([*targets.programs, *targets.stores, *targets.watchers])


def _args(chance, kind):
    if kind == "delay":
        return {"ms": chance.choice((5, 20, 100, 400))}
    if kind == "slow":
        return {"bytes_per_s": chance.choice((2_000, 20_000, 100_000))}
    if kind == "partition":
        return {"reset": chance.random() < 0.5}
    if kind == "half":
        return {"way": chance.choice(("up", "down")), "reset": chance.random() < 0.5}
    if kind == "lag_kill":
        return {"lag_s": chance.choice((0.1, 0.3, 0.8))}
    if kind == "clock":
        return {"step_s": chance.choice(CLOCK_STEPS_S)}
    return {}


def links_hit(fault, links):
    """The links whose rule a fault changes."""
    if KINDS[fault.kind][1] != "links":
        return []
    if ">" in fault.target:
        return [fault.target]
    return [link for link in links if fault.target in link.split(">")]


def is_of_redis(fault, targets):
    """Whether it hits what breaks one at a time."""
    what = KINDS[fault.kind][1]
    hit = links_hit(fault, targets.links) + [fault.target]
    return what == "slot" or any(name in targets.one_at_a_time for name in hit)


def touches(fault, targets):
    """What nothing else may touch at the same time."""
    hit = targets.groups.get(fault.target, [fault.target])
    if KINDS[fault.kind][1] == "links":
        hit = links_hit(fault, targets.links)
    return set(hit) | ({"one of redis"} if is_of_redis(fault, targets) else set())


def _one(chance, at, targets):
    kinds = sorted(set(KINDS) - targets.without)
    kind = chance.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
    _, _, shortest, longest = KINDS[kind]
    target = _target(chance, kind, targets)
    args = _args(chance, kind)
    until = round(at + chance.uniform(shortest, longest), 2)
    return Fault(at, until, kind, target, args)


def _fits(fault, active, targets):
    mine = touches(fault, targets)
    return not any(mine & touches(other, targets) for other in active)


def draw(seed, seconds, targets):
    """[Fault] in the order of their beginnings; all are over at `seconds`."""
    chance = random.Random(seed)
    faults, at = [], BEGIN_S
    while True:
        at = round(at + chance.expovariate(1 / GAP_S), 2)
        if at >= seconds - END_S:
            return faults
        if at % CALM_EVERY_S > CALM_EVERY_S - CALM_S:
            continue
        active = [fault for fault in faults if fault.until >= at]
        if len(active) >= TOGETHER_MAX:
            continue
        for _ in range(TRIES):
            fault = _one(chance, at, targets)
            if fault.until <= seconds - END_S and _fits(fault, active, targets):
                faults.append(fault)
                break


def timeline(faults):
    """[(offset, "begin" or "end", fault)] in the order of time; an end comes before a beginning."""
    moments = [(fault.at, 1, "begin", n, fault) for n, fault in enumerate(faults)]
    moments += [(fault.until, 0 if fault.until > fault.at else 2, "end", n, fault)
                for n, fault in enumerate(faults)]
    return [(at, what, fault) for at, _, what, _, fault in sorted(moments, key=lambda m: m[:4])]


class Quiet:
    """How much of a stretch of time no fault covers. faults: [(begin, end)], in any unit."""

    def __init__(self, faults):
        self.begins, self.ends, self.before = [], [], []  # before: quiet time until a begin
        quiet = at = 0
        for begin, end in sorted(faults):
            if self.ends and begin <= self.ends[-1]:
                self.ends[-1] = at = max(end, self.ends[-1])
                continue
            quiet += begin - at
            self.begins.append(begin)
            self.ends.append(end)
            self.before.append(quiet)
            at = end

    def _until(self, moment):
        n = bisect.bisect_right(self.begins, moment) - 1
        if n < 0:
            return moment
        return self.before[n] + max(0, moment - self.ends[n])

    def between(self, begin, end):
        return self._until(end) - self._until(begin)
