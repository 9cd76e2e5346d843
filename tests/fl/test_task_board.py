"""The table of `zmqfl.fl.task_board`, a test per row; then runs of it with seeded clients."""

from __future__ import annotations

import random
from itertools import count

from zmqfl.fl.relay_plan import Relay
from zmqfl.fl.task import SendOrder, TaskCompletionStatus
from zmqfl.fl.task_board import (
    MOST_ENDED,
    MOST_UNPROCESSED,
    Assign,
    BoardCommand,
    Complete,
    EndRun,
    Submission,
    TaskBoard,
    TryAgain,
)
from zmqfl.fl.task_plans import Broadcast, BroadcastForever, Plan, Send

S = TaskCompletionStatus
POLL, GRACE = 30.0, 60.0


class Board(TaskBoard):
    """Its ids are "#1", "#2", ..."""

    def __init__(self) -> None:
        numbers = count(1)
        super().__init__(lambda: f"#{next(numbers)}", POLL, GRACE)

    def given(self, client: str, now: float = 0.0) -> str:
        """What a client is given and is sent at once."""
        [command] = self.ask(client, now)
        assert isinstance(command, Assign)
        self.sent(command.assignment, now)
        return command.assignment

    def answer(self, client: str, assignment: str, now: float = 0.0) -> list[BoardCommand]:
        assert self.submit(client, assignment, now) is Submission.TAKEN
        return self.processed(client, assignment, now)


def board_with(plan: Plan, timeout: float = 0) -> Board:
    board = Board()
    assert board.schedule("t", plan, timeout, 0) == []
    return board


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_client_waits_and_tries_again() -> None:
    board = Board()
    assert board.ask("a", 1) == []
    assert board.deadline == 1 + POLL
    assert board.handle_timeout(30) == []
    assert board.handle_timeout(31) == [TryAgain("a")]
    assert board.deadline is None


def test_a_task_goes_to_who_waits() -> None:
    board = Board()
    board.ask("a", 0)
    board.ask("b", 0)
    commands = board.schedule("t", Broadcast(["b", "a"], 0, 0), 0, 1)
    assert commands == [Assign("t", "#1", "a", False), Assign("t", "#2", "b", False)]
    assert board.ask("c", 2) == []


def test_who_asks_meanwhile_is_given_nothing_more() -> None:
    board = board_with(Broadcast(None, 5, 0))
    assert board.ask("a", 0) == [Assign("t", "#1", "a", False)]
    assert board.ask("a", 1) == []
    board.sent("#1", 2)
    assert board.deadline is None


def test_run_F06_who_asks_again_gets_the_same_id() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0))
    id = board.given("a")
    assert board.schedule("u", Broadcast(["a"], 0, 0), 0, 1) == []
    assert board.ask("a", 2) == [Assign("t", id, "a", True)]
    board.sent(id, 2)
    assert board.ask("a", 3) == [Assign("t", id, "a", True)]
    assert board.answer("a", id) == []
    assert board.ask("a", 4) == [Assign("u", "#2", "a", False)]


def test_a_result_is_taken_once_and_from_its_client_only() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0))
    id = board.given("a")
    assert (board.is_wanted("a", id), board.is_wanted("b", id), board.is_wanted("a", "#9")) == (True, False, False)
    assert board.submit("b", id, 1) is Submission.UNKNOWN
    assert board.submit("a", "#9", 1) is Submission.UNKNOWN
    assert board.submit("a", id, 1) is Submission.TAKEN
    assert board.submit("a", id, 1) is Submission.REPEATED
    assert not board.is_wanted("a", id)
    assert board.processed("a", id, 2) == []
    assert board.submit("a", id, 3) is Submission.REPEATED


def test_a_result_may_overtake_the_word_that_the_task_was_sent() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0))
    [command] = board.ask("a", 0)
    assert isinstance(command, Assign)
    assert board.submit("a", command.assignment, 1) is Submission.TAKEN
    board.ask("a", 1)
    board.sent(command.assignment, 2)
    assert board.processed("a", command.assignment, 3) == []
    assert board.deadline == 1 + POLL


def test_the_last_result_completes_the_task() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0))
    a, b = board.given("a"), board.given("b")
    assert board.answer("a", a, 1) == []
    assert board.answer("b", b, 2) == [Complete("t", S.OK)]
    assert (board.standing, board.submit("b", b, 3)) == (0, Submission.REPEATED)


def test_run_F05_a_task_ends_by_its_time_out() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0), timeout=5)
    id = board.given("a")
    assert board.deadline == 5
    assert board.handle_timeout(5) == [Complete("t", S.TIMEOUT)]
    assert (board.submit("a", id, 6), board.is_wanted("a", id)) == (Submission.LATE, False)


def test_run_F05_min_responses_and_the_wait_after_them() -> None:
    board = board_with(Broadcast(["a", "b", "c"], 2, 10))
    a, b, c = (board.given(name) for name in "abc")
    board.answer("a", a, 1)
    board.answer("b", b, 2)
    assert board.deadline == 12
    assert board.handle_timeout(12) == [Complete("t", S.OK)]
    assert board.submit("c", c, 13) is Submission.LATE


def test_cancel_and_the_end() -> None:
    board = board_with(Broadcast(["a"], 0, 0))
    assert board.cancel("t", S.CANCELLED, 1) == [Complete("t", S.CANCELLED)]
    assert board.cancel("t", S.CANCELLED, 1) == []
    for id in "xy":
        board.schedule(id, Broadcast(["b"], 0, 0), 0, 2)
    assert board.cancel_all(S.ABORTED, 3) == [Complete("x", S.ABORTED), Complete("y", S.ABORTED)]
    board.schedule("z", Broadcast(["b"], 0, 0), 0, 4)
    board.ask("a", 4)
    assert board.end(S.CANCELLED, 5) == [Complete("z", S.CANCELLED), EndRun("a")]
    assert board.ask("b", 6) == [EndRun("b")]
    assert board.schedule("late", Broadcast(["b"], 0, 0), 0, 7) == [Complete("late", S.ABORTED)]


def test_a_task_that_cannot_be_sent_ends() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0))
    board.ask("a", 0)
    assert board.failed("#1", S.ERROR, 1) == [Complete("t", S.ERROR)]
    assert board.failed("#1", S.ERROR, 1) == []
    assert board.ask("a", 2) == []


def test_run_F07_a_client_that_stays_away_is_dead() -> None:
    board = board_with(Broadcast(["a", "b"], 0, 0))
    a = board.given("a")
    board.given("b")
    board.answer("a", a)
    assert board.lose("b", 10) == []
    assert (board.deadline, board.lost_since("b")) == (10 + GRACE, 10)
    assert board.handle_timeout(69) == []
    assert board.handle_timeout(70) == [Complete("t", S.CLIENT_DEAD)]


def test_a_client_that_is_back_in_time_goes_on() -> None:
    board = board_with(Broadcast(["a"], 0, 0))
    id = board.given("a")
    board.lose("a", 10)
    assert board.ask("a", 20) == [Assign("t", id, "a", True)]
    assert (board.deadline, board.lost_since("a")) == (None, None)
    assert board.answer("a", id, 80) == [Complete("t", S.OK)]


def test_a_client_that_leaves_is_dead_at_once() -> None:
    board = board_with(Broadcast(["a", "b"], 1, 60))
    board.given("a")
    board.given("b")
    assert board.leave("a", 1) == []
    assert board.leave("b", 1) == [Complete("t", S.CLIENT_DEAD)]


def test_a_lost_client_is_asked_no_more() -> None:
    board = Board()
    board.ask("a", 0)
    board.lose("a", 1)
    assert board.schedule("t", Send(None, SendOrder.ANY, 0, 2), 0, 2) == []
    assert board.ask("b", 3) == [Assign("t", "#1", "b", False)]


def test_a_blocked_client_gets_no_other_task() -> None:
    board = board_with(Send(["a", "b"], SendOrder.SEQUENTIAL, 5, 0))
    board.schedule("u", Broadcast(["a", "b"], 0, 0), 0, 0)
    assert board.ask("b", 1) == []
    assert board.deadline == 5
    assert board.handle_timeout(5) == [Assign("t", "#1", "b", False)]
    assert board.ask("a", 6) == [Assign("u", "#2", "a", False)]


def test_a_relay_goes_on_with_the_next_result() -> None:
    board = board_with(Relay(["a", "b"], SendOrder.SEQUENTIAL, 0, 0, False, 0))
    a = board.given("a")
    assert board.ask("b", 1) == []
    assert board.answer("a", a, 2) == [Assign("t", "#2", "b", False)]
    board.sent("#2", 2)
    assert board.answer("b", "#2", 3) == [Complete("t", S.OK)]


def test_endless_tasks_come_last_and_in_turn() -> None:
    board = board_with(BroadcastForever(None))
    board.schedule("u", BroadcastForever(["a"]), 0, 0)
    board.schedule("v", Broadcast(["a"], 0, 0), 0, 0)
    got = []
    for now in range(5):
        [command] = board.ask("a", now)
        assert isinstance(command, Assign)
        got.append(command.task_id)
        board.answer("a", command.assignment, now)
    assert got == ["v", "t", "u", "t", "u"]
    assert len(board._assignments) == 0


def test_a_slow_callback_bounds_what_its_client_is_given() -> None:
    board = Board()
    for number in range(MOST_UNPROCESSED + 1):
        board.schedule(f"t{number}", Broadcast(["a"], 0, 0), 0, 0)
    taken = []
    for _ in range(MOST_UNPROCESSED):
        taken.append(board.given("a"))
        assert board.submit("a", taken[-1], 1) is Submission.TAKEN
    assert board.ask("a", 2) == []
    assert board.processed("a", taken[0], 3) == [Complete("t0", S.OK), Assign("t4", "#5", "a", False)]


def test_what_has_ended_is_remembered_within_bounds() -> None:
    board = board_with(BroadcastForever(None))
    first = board.given("a")
    board.answer("a", first)
    for _ in range(MOST_ENDED):
        board.answer("a", board.given("a"))
    assert board.submit("a", first, 1) is Submission.UNKNOWN
    assert len(board._ended) == MOST_ENDED


# -- seeds -------------------------------------------------------------------------------------------------------------


class Play:
    """A board, clients that work, crash and come back, and tasks of all kinds; time passes by a fake clock."""

    def __init__(self, seed: int, clients: int = 8, tasks: int = 30) -> None:
        self.rng = random.Random(seed)
        self.board = Board()
        self.now = 0.0
        self.names = [f"c{number}" for number in range(clients)]
        self.working: dict[str, str] = {}
        self.away: dict[str, float] = {}
        self.waiting: set[str] = set()
        self.left = tasks
        self.status: dict[str, list[TaskCompletionStatus]] = {}
        self.owner: dict[str, tuple[str, str]] = {}
        self.taken: set[str] = set()

    def plan(self) -> Plan:
        rng = self.rng
        some = rng.sample(self.names, rng.randint(1, len(self.names)))
        order = rng.choice(list(SendOrder))
        match rng.randrange(4):
            case 0:
                return Broadcast(some, rng.randint(0, len(some)), rng.choice([0, 5]))
            case 1:
                return Send(some, order, rng.choice([0, 3]), self.now)
            case 2:
                return Relay(some, order, rng.choice([0, 4]), rng.choice([0, 6]), False, self.now)
            case _:
                return Broadcast(None, rng.randint(1, 3), 0)

    def obey(self, commands: list[BoardCommand]) -> None:
        for command in commands:
            match command:
                case Assign(task_id, assignment, client, resend):
                    assert client in self.waiting, "nobody waits for it"
                    assert (assignment in self.owner) == resend
                    assert self.owner.setdefault(assignment, (task_id, client)) == (task_id, client)
                    self.waiting.discard(client)
                    if self.status[task_id]:  # by the failure of an assignment before this one, told together
                        assert not self.board.is_wanted(client, assignment)
                    elif self.rng.random() < 0.05:
                        self.obey(self.board.failed(assignment, TaskCompletionStatus.ERROR, self.now))
                    else:
                        self.board.sent(assignment, self.now)
                        self.working[client] = assignment
                case TryAgain(client) | EndRun(client):
                    assert client in self.waiting
                    self.waiting.discard(client)
                case Complete(task_id, status):
                    self.status[task_id].append(status)

    def step(self) -> None:
        rng = self.rng
        self.now += rng.random() * 3
        if (deadline := self.board.deadline) is not None and deadline <= self.now:
            self.obey(self.board.handle_timeout(self.now))
        if self.left and rng.random() < 0.3:
            self.left -= 1
            id = f"t{self.left}"
            self.status[id] = []
            self.obey(self.board.schedule(id, self.plan(), rng.choice([0, 40]), self.now))
        client = rng.choice(self.names)
        if client in self.away:
            if rng.random() < 0.3:
                del self.away[client]
                self.board.find(client)
        elif rng.random() < 0.03:
            self.away[client] = self.now
            self.waiting.discard(client)
            self.working.pop(client, None)
            self.obey(self.board.lose(client, self.now))
        elif client in self.working:
            self.finish(client, self.working.pop(client))
        elif client not in self.waiting:
            self.waiting.add(client)
            self.obey(self.board.ask(client, self.now))

    def finish(self, client: str, assignment: str) -> None:
        task_id, _ = self.owner[assignment]
        submission = self.board.submit(client, assignment, self.now)
        if submission is Submission.TAKEN:
            assert assignment not in self.taken
            self.taken.add(assignment)
            self.obey(self.board.processed(client, assignment, self.now))
        else:
            assert self.status[task_id] or submission is Submission.LATE


def test_tasks_end_once_whatever_clients_do(seed: int) -> None:
    play = Play(seed)
    for _ in range(4000):
        play.step()
        if not play.left and not play.board.standing:
            break
    assert not play.board.standing, f"tasks hang: {play.board!r}"
    assert all(len(statuses) == 1 for statuses in play.status.values())
    play.obey(play.board.end(TaskCompletionStatus.CANCELLED, play.now))
    assert not play.waiting
    assert play.board.deadline is None
