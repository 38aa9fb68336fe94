#!/usr/bin/env python3
"""A workflow of libsaga, as docs/sdk.md shows it: killed in the middle, gone on with by the
coordinator, and nothing is done twice."""
import os
import re
import threading
import unittest

from harness.case import StackCase
from harness.ports import Port
from harness.process import DEADLINE, Process, wait_for
from harness.wire import FAILURE, SUCCESS, WireClient, WireParticipant

EXAMPLES = os.path.join(os.environ["SAGAD_BUILD"], "examples")
TAKE = "stock.Stock/Take"
FAILURE_NUMBER, ERROR_NUMBER = 2, 4


def no_seat(call):
    return FAILURE_NUMBER if call.op == "action" else 1


class TripCase(StackCase):
    stack_options = {"services": ()}
    has_user = False

    def setUp(self):
        self.id_ = self.gid()
        self.port = Port()
        self.addCleanup(self.port.release)
        self.rooms, self.seats = WireParticipant(), WireParticipant()
        for participant in (self.rooms, self.seats):
            self.addCleanup(participant.close)
        self.program = Process("trips", os.path.join(self.stack.dir, f"{self.id_}.log"))
        self.addCleanup(self.program.end)

    def start(self, *gid):
        self.program.start([os.path.join(EXAMPLES, "workflow"), self.port.address,
                            self.sagad.rpc.address, f"{self.rooms.url}/{TAKE}",
                            f"{self.seats.url}/{TAKE}", *gid])

    def start_and_kill(self, participant, branch_id, op, *also, answer=lambda call: 1):
        """kill -9 when the participant has done this step, and before the program hears of it."""
        done, go = threading.Event(), threading.Event()

        def rule(call):
            result = answer(call)
            if (call.branch_id, call.op) == (branch_id, op) and not done.is_set():
                done.set()
                go.wait(DEADLINE)
            return result

        participant.rules[TAKE] = rule
        self.start(self.id_)
        self.assertTrue(done.wait(DEADLINE))
        for process in (self.program, *also):
            process.kill()
        go.set()

    def steps(self, participant):
        return [(call.gid, call.branch_id, call.op, call.trans_type)
                for call in participant.calls]

    def step(self, branch_id, op="action"):
        return (self.id_, branch_id, op, "workflow")

    def known(self):
        with self.sagad.wire() as client:
            return client.query(self.id_)


class WorkflowTest(TripCase):
    def test_it_runs_through(self):
        self.start(self.id_)
        self.await_status(self.id_, "succeed")
        self.assertEqual([self.step("01")], self.steps(self.rooms))
        self.assertEqual([self.step("02")], self.steps(self.seats))
        self.assertEqual(b"booked", self.known().result)

    def test_without_a_seat_the_room_is_given_back(self):
        self.seats.rules[TAKE] = no_seat
        self.start(self.id_)
        self.await_status(self.id_, "failed")
        self.assertEqual([self.step("01"), self.step("01", "compensate")], self.steps(self.rooms))
        self.assertEqual([self.step("02"), self.step("02", "compensate")], self.steps(self.seats))
        self.assertEqual("no seat", self.known().rollback_reason)

    def test_killed_in_the_second_step_it_does_not_do_the_first_again(self):
        self.start_and_kill(self.seats, "02", "action")
        self.assertEqual([("01", "action", "succeed")], self.known().branches)
        self.start()  # without a gid: it only goes on
        self.await_status(self.id_, "succeed")
        self.assertEqual([self.step("01")], self.steps(self.rooms))
        self.assertEqual([self.step("02")] * 2, self.steps(self.seats))

    def test_killed_on_the_way_back_it_goes_on_back(self):
        self.seats.rules[TAKE] = no_seat
        self.start_and_kill(self.rooms, "01", "compensate")
        self.seats.rules[TAKE] = 1  # there is one by now, but that is decided
        self.start()
        self.await_status(self.id_, "failed")
        self.assertEqual([self.step("01")] + [self.step("01", "compensate")] * 2,
                         self.steps(self.rooms))
        self.assertEqual([self.step("02"), self.step("02", "compensate")], self.steps(self.seats))

    def test_a_step_that_is_not_clear_is_tried_by_the_next_run(self):
        self.seats.rules[TAKE] = lambda call: ERROR_NUMBER if len(self.seats.calls) == 1 else 1
        self.start(self.id_)
        self.await_status(self.id_, "succeed")
        self.assertEqual([self.step("01")], self.steps(self.rooms))
        self.assertEqual([self.step("02")] * 2, self.steps(self.seats))

    def test_the_coordinator_dies_too(self):
        self.start_and_kill(self.seats, "02", "action", self.sagad)
        self.sagad.start()
        self.start()
        self.await_status(self.id_, "succeed")
        self.assertEqual([self.step("01")], self.steps(self.rooms))

    def test_two_runs_at_a_time_are_one_workflow(self):
        """The first is slow, so that the coordinator asks for a second."""
        second = threading.Event()

        def rule(_):
            if len(self.seats.calls) == 1:
                second.wait(DEADLINE)
            else:
                second.set()
            return 1

        self.seats.rules[TAKE] = rule
        self.start(self.id_)
        # The later one hears so from its report or from its end, whatever comes first.
        wait_for(lambda: len(re.findall(r"(?m)^(succeed$|current status 'succeed')",
                                        self.program.log())) == 2, "both are over")
        self.assertEqual("succeed", self.known().status)
        self.assertEqual([("01", "action", "succeed"), ("02", "action", "succeed")],
                         sorted(self.known().branches))
        self.assertEqual([self.step("01")], self.steps(self.rooms))
        self.assertEqual([self.step("02")] * 2, self.steps(self.seats))

    def test_started_again_it_is_only_told_how_it_ended(self):
        self.start(self.id_)
        self.await_status(self.id_, "succeed")
        self.program.stop()
        self.start(self.id_)
        wait_for(lambda: self.program.has_logged(r"(?m)^succeed$"), "it is told")
        self.assertEqual([self.step("01")], self.steps(self.rooms))


class BarrierTest(TripCase):
    """What was done and not reported any more is called again; the participant of docs/sdk.md has
    its barrier, so that it is done once."""

    def setUp(self):
        super().setUp()
        self.redis.ask("SET", "{stock}:n", "10")
        self.stock_port = Port()
        self.addCleanup(self.stock_port.release)
        self.stock = Process("stock", os.path.join(self.stack.dir, f"{self.id_}-stock.log"))
        self.addCleanup(self.stock.end)
        self.stock.start([os.path.join(EXAMPLES, "participant"), self.stock_port.address,
                          f"unix:{self.redis.path}"])
        self.stock.await_ready(lambda: self.stock.has_logged("listening"))

    def forward(self, call):
        with WireClient(self.stock_port.address) as client:
            return client.call(call.method, call.payload, gid=call.gid, branch_id=call.branch_id,
                               op=call.op, trans_type=call.trans_type,
                               started_ms=call.started_ms)

    def take(self, call):
        reply = self.forward(call)
        self.assertEqual(SUCCESS, reply.result, reply.message)
        return 1

    def left(self):
        return int(self.redis.ask("GET", "{stock}:n"))

    def test_an_action_that_was_not_reported_is_done_once(self):
        self.start_and_kill(self.rooms, "01", "action", answer=self.take)
        self.assertEqual((9, []), (self.left(), self.known().branches))
        self.start()
        self.await_status(self.id_, "succeed")
        self.assertEqual([self.step("01")] * 2, self.steps(self.rooms))
        self.assertEqual(9, self.left())

    def test_an_undo_that_was_not_reported_is_done_once(self):
        self.seats.rules[TAKE] = no_seat
        self.start_and_kill(self.rooms, "01", "compensate", answer=self.take)
        self.assertEqual(10, self.left())
        self.start()
        self.await_status(self.id_, "failed")
        self.assertEqual([self.step("01")] + [self.step("01", "compensate")] * 2,
                         self.steps(self.rooms))
        self.assertEqual(10, self.left())

    def test_a_late_call_of_a_step_that_was_refused_does_nothing(self):
        """The first run is killed while its call is on its way; the second run is refused."""
        late, go = [], threading.Event()
        self.addCleanup(go.set)

        def rule(call):
            if not late:
                late.append(call)
                go.wait(DEADLINE)
            return FAILURE_NUMBER if call.op == "action" else self.take(call)

        self.seats.rules[TAKE] = rule
        self.start(self.id_)
        wait_for(lambda: late, "the seat is asked for")
        self.program.kill()
        self.start()
        self.await_status(self.id_, "failed")
        self.assertEqual((FAILURE, 10), (self.forward(late[0]).result, self.left()))


if __name__ == "__main__":
    unittest.main()
