"""Carries a schedule out: begins and ends each fault, and keeps alive what ends by itself."""
import json
import os
import pathlib
import signal
import time

from harness.process import wait_for
from harness.redis import RedisClient, RedisError
from schedule import is_of_redis, links_hit

STOP_S = 12  # for a clean end (a service waits 10 s for its requests); then it is killed
AGAIN_S = 0.5  # between two starts of what ends by itself
# The one reason to end by itself: at its start, and longer than the setting redis_wait.
NO_REDIS, NO_REDIS_CODE = 'msg="Redis cannot be used"', 5


def children_of(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]


def send(pids, signo):
    """To those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signo)
        except ProcessLookupError:
            pass


class Performer:
    def __init__(self, world, directory):
        self.world, self.network = world, world.network
        self.targets = world.targets()
        self.groups = self.targets.groups
        self.active = []
        self.done = {}  # kind → how often
        self.skipped = {}  # kind → why
        self.not_whole = 0  # faults that were left out because Redis had not recovered
        self.covered = []  # (begin, end) of each in ms of the wall clock
        self.down = set()  # names that a fault keeps down
        self.hit = {}  # beginning → which one a fault has hit that is not always its target
        self.dying = {}  # name → when it is to be killed, monotonic
        self.stopping = {}  # name → (when it must have ended, end of the fault in ms)
        self.started = {}  # name → when, monotonic
        self.ended = {}  # name → codes with which it ended by itself
        self.crashes = []
        self.file = open(os.path.join(directory, "faults.jsonl"), "w", encoding="utf-8",
                         buffering=1)  # pylint: disable=consider-using-with

    # ---- one fault ----

    def begin(self, fault, offset_s):
        why_not = self._impossible(fault)
        if why_not:
            self.skipped[fault.kind] = why_not
            return
        if is_of_redis(fault, self.targets) and not self.world.is_whole():
            self.not_whole += 1
            return
        self.active.append((fault, time.time() * 1000))
        self.done[fault.kind] = self.done.get(fault.kind, 0) + 1
        getattr(self, f"_begin_{fault.kind}")(fault)
        self._note("begin", fault, offset_s)

    def end(self, fault, offset_s):
        found = next((pair for pair in self.active if pair[0] is fault), None)
        if not found:
            return
        getattr(self, f"_end_{fault.kind}")(fault)
        self.active.remove(found)
        self.covered.append((found[1], time.time() * 1000))
        self._note("end", fault, offset_s)

    def _impossible(self, fault):
        if fault.kind == "clock":
            return self.world.clocks.missing
        if fault.kind == "disk_full" and not self.world.disk:
            return "no tmpfs can be mounted here: that needs root"
        return None

    def _note(self, what, fault, offset_s):
        self.file.write(json.dumps({"offset": round(offset_s, 3), "what": what,
                                    **fault._asdict(), "hit": self.hit.get(fault.at)}) + "\n")

    # ---- processes ----

    def _process(self, name):
        return self.world.parts[name].process

    def _launch(self, name):
        if name in self.stopping:
            return  # by another fault; look_after does it
        self.down.discard(name)
        process = self._process(name)
        if process.is_up():
            return
        if process.popen:
            self.world.clocks.forget(process.pid)
        self.started[name] = time.monotonic()
        self.world.parts[name].launch()

    def _kill(self, name):
        self.down.add(name)
        self.stopping.pop(name, None)
        process = self._process(name)
        if process.is_up():
            workers = children_of(process.pid)
            process.kill()
            send(workers, signal.SIGKILL)  # at once: when their parent has gone they would end in order

    def _ask_to_stop(self, name):
        self.down.add(name)
        self.stopping.pop(name, None)  # by an earlier fault; it stays down until this one is over
        if self._process(name).is_up():
            self._process(name).popen.send_signal(signal.SIGTERM)

    def _begin_kill(self, fault):
        self._kill(fault.target)

    def _end_kill(self, fault):
        self._launch(fault.target)

    _begin_watcher_kill, _end_watcher_kill = _begin_kill, _end_kill

    def _begin_outage(self, fault):
        for name in self.groups[fault.target]:
            self._kill(name)

    def _end_outage(self, fault):
        for name in self.groups[fault.target]:
            self._launch(name)

    def _begin_stop(self, fault):
        self._ask_to_stop(fault.target)

    def _end_stop(self, fault):
        """It is started again when it has ended; the schedule does not wait for that."""
        self.stopping[fault.target] = (time.monotonic() + STOP_S, time.time() * 1000)

    _begin_store_stop, _end_store_stop = _begin_stop, _end_stop

    def _begin_freeze(self, fault):
        process = self._process(fault.target)
        if process.is_up():
            process.freeze()
            send(children_of(process.pid), signal.SIGSTOP)

    def _end_freeze(self, fault):
        process = self._process(fault.target)
        if process.is_up():
            send(children_of(process.pid), signal.SIGCONT)
            process.thaw()

    def _begin_worker_kill(self, fault):
        process = self._process(fault.target)
        send(children_of(process.pid)[:1] if process.is_up() else [], signal.SIGKILL)

    _begin_store_freeze, _end_store_freeze = _begin_freeze, _end_freeze

    def _begin_master_kill(self, fault):
        self.hit[fault.at] = self.world.master_of(fault.target)
        self._kill(self.hit[fault.at])

    def _end_master_kill(self, fault):
        self._launch(self.hit.pop(fault.at))

    def _begin_store_kill(self, fault):
        self.hit[fault.at] = self.world.may_fall(fault.target)
        self._kill(self.hit[fault.at])

    _end_store_kill = _end_master_kill

    def _begin_master_freeze(self, fault):
        self.hit[fault.at] = self.world.master_of(fault.target)
        self._process(self.hit[fault.at]).freeze()

    def _end_master_freeze(self, fault):
        self._process(self.hit.pop(fault.at)).thaw()

    def _begin_lag_kill(self, fault):
        """What the master says to its replica is late; look_after kills it, and what is late is lost."""
        master = self.hit[fault.at] = self.world.master_of(fault.target)
        self.network.rule([f"any>{master}"], "silent", down=True, only="replicas")
        self.dying[master] = time.monotonic() + fault.args["lag_s"]

    def _end_lag_kill(self, fault):
        self._launch(self.hit.pop(fault.at))

    def _let_die(self):
        for name, at in list(self.dying.items()):
            if time.monotonic() >= at:
                self._kill(name)
                self.network.rule([f"any>{name}"], "open", reset=True)
                del self.dying[name]

    # ---- links ----

    def _rule(self, fault, kind, **how):
        self.network.rule(links_hit(fault, self.network.names), kind, **how)

    def _begin_delay(self, fault):
        self._rule(fault, "delay", ms=fault.args["ms"])

    def _begin_slow(self, fault):
        self._rule(fault, "slow", bytes_per_s=fault.args["bytes_per_s"])

    def _begin_partition(self, fault):
        self._rule(fault, "silent", up=True, down=True)

    def _begin_half(self, fault):
        self._rule(fault, "silent", **{fault.args["way"]: True})

    def _begin_cut(self, fault):
        self._rule(fault, "cut")

    def _end_cut(self, fault):
        self._rule(fault, "open", reset=fault.args.get("reset", False))

    _end_delay = _end_slow = _end_partition = _end_half = _end_cut

    # ---- the rest ----

    def _begin_script_flush(self, fault):
        try:
            client = RedisClient(self.world.stores[fault.target].path)
        except OSError:
            return  # it is just starting: then it has no scripts anyway
        try:
            client.ask("SCRIPT", "FLUSH")
        except (OSError, RedisError):
            pass
        finally:
            client.close()

    def _end_script_flush(self, fault):
        pass

    def _begin_clock(self, fault):
        self.world.clocks.step(fault.target, fault.args["step_s"])

    def _end_clock(self, fault):
        self.world.clocks.step(fault.target, 0)

    def _begin_disk_full(self, fault):
        self.down.add(fault.target)  # with appendfsync always Redis ends itself then
        self.world.disk.fill()

    def _end_disk_full(self, fault):
        self.world.disk.empty()
        self._launch(fault.target)

    def _begin_failover(self, fault):
        self.world.fail_over(fault.target)

    def _begin_migrate(self, fault):
        self.world.migrate(fault.target)

    _end_failover = _end_migrate = _end_worker_kill = _end_script_flush

    # ---- what nobody asked for ----

    def look_after(self):
        """Starts again what has stopped, and what has ended by itself, and remembers how it ended."""
        self._let_die()
        for name, (deadline, since_ms) in list(self.stopping.items()):
            if self._process(name).is_up() and time.monotonic() > deadline:
                self.crashes.append(f"{name} did not end on SIGTERM within {STOP_S} s")
                self._process(name).kill()
            if not self._process(name).is_up():
                del self.stopping[name]
                self.covered.append((since_ms, time.time() * 1000))
                self._launch(name)
        for name in self.world.parts:
            process = self._process(name)
            if name in self.down or process.is_up():
                continue
            if time.monotonic() - self.started.get(name, 0) < AGAIN_S:
                continue
            code, log = process.popen.returncode, process.log()
            self.ended.setdefault(name, []).append(code)
            if code != NO_REDIS_CODE or NO_REDIS not in log:  # of any of its workers
                self.crashes.append(f"{name} ended by itself with {code}: "
                                    + " / ".join(log.splitlines()[-3:]))
            self._launch(name)

    def heal(self):
        """Everything runs, and every link is open."""
        for fault, _ in list(self.active):
            self.end(fault, -1)
        self.network.heal()
        wait_for(self._all_stopped, "all have ended that were asked to", 2 * STOP_S, 0.05)
        for name in [*self.world.stores, *self.world.watchers]:
            self._launch(name)
        wait_for(self.world.is_whole, "Redis is whole", 60, 0.1)
        for name in self.world.programs:
            self._launch(name)
        wait_for(self._all_healthy, "all programs are healthy", 60, 0.1)

    def _all_stopped(self):
        self.look_after()
        return not self.stopping

    def _all_healthy(self):
        self.look_after()
        return all(program.is_healthy() for program in self.world.programs.values())

    def close(self):
        self.file.close()
        for program in self.world.programs.values():
            if program.process.popen:
                self.world.clocks.forget(program.process.pid)
