"""Pulls by rule: whatever is announced to a group comes into a folder, each file once, as long as it is offered.

    event                                    effect
    announced, and the rule wants it         queued
    fewer than MOST_AT_ONCE are under way    the next one is pulled; what is there of an earlier attempt is kept
    pulled                                   `done(announcement, path, None)`; noted in the folder, in PULLED: a cell
                                             that starts again does not pull it again
    a pull has failed, still announced       `done(announcement, None, error)`; again after a pause, which doubles
    withdrawn                                forgotten; a pull that is under way ends as its owner says

One thread of its own waits for all that: a pull may take hours, and no worker of the cell is held up meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from zmqfl.cell.announcements import Announcement, Announcements
from zmqfl.cell.callbacks import Callback
from zmqfl.errors import ZmqflError

if TYPE_CHECKING:
    from zmqfl.cell.pulling import PullHandle

log = logging.getLogger("zmqfl.cell")

PULLED: Final = ".pulled"
"""A line for each reference that was pulled into this folder: the id, and the name of the file."""
MOST_AT_ONCE: Final = 4
FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 60.0
"""Seconds until a pull that has failed is tried again."""

Rule = Callable[[Announcement], bool]
Begin = Callable[[Announcement], "PullHandle"]


@dataclass
class _Known:
    """One announcement that the rule wants. It is `over` when it is pulled."""

    announcement: Announcement
    pause: float
    over: bool = False


@dataclass(order=True)
class _Attempt:
    at: float
    number: int
    key: tuple[str, str] = field(compare=False)


class AutoPull:
    """See the module. `begin`: starts the pull of an announcement into `folder`. `close`, or the end of a `with` block,
    ends it, and cancels what is under way. `rule` and `done` are called on its own thread.

    Raises `OSError` where PULLED cannot be read.
    """

    def __init__(
        self,
        name: str,
        announcements: Announcements,
        folder: Path,
        begin: Begin,
        rule: Rule | None,
        done: Callback | None,
    ) -> None:
        self._pulled_file = folder / PULLED
        self._pulled_before = pulled_into(folder)
        self._begin = begin
        self._rule = rule
        self._done = done
        self._known: dict[tuple[str, str], _Known] = {}
        self._attempts: list[_Attempt] = []
        self._number = 0
        self._running: dict[tuple[str, str], PullHandle] = {}
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"zmqfl-auto-pull:{name}", daemon=True)
        self._thread.start()
        self._watch = announcements.watch(lambda each: self._events.put(lambda: self._announced(each)), replay=True)

    def close(self) -> None:
        """Pull no more, cancel what is under way, and wait for `done` if it runs. Again does nothing.

        Called on the loop that a coroutine function `done` runs on, it does not wait, for `done` waits for that loop.
        """
        self._watch.close()
        self._events.put(None)
        if not self.is_current() and not self._is_loop_of_done():
            self._thread.join()

    def is_current(self) -> bool:
        """Whether this is its own thread, that of the rule and of `done`."""
        return threading.current_thread() is self._thread

    def _is_loop_of_done(self) -> bool:
        try:
            return self._done is not None and self._done.loop is asyncio.get_running_loop()
        except RuntimeError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- its thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._start_due()
            try:
                event = self._events.get(timeout=self._patience())
            except queue.Empty:
                continue
            if event is None:
                break
            event()
        for handle in self._running.values():
            handle.cancel()

    def _patience(self) -> float | None:
        if not self._attempts or len(self._running) >= MOST_AT_ONCE:
            return None
        return max(0.0, self._attempts[0].at - time.monotonic())

    def _announced(self, announcement: Announcement) -> None:
        key = announcement.owner, announcement.rid
        if not announcement.is_live:
            self._known.pop(key, None)
        elif key not in self._known and self._wants(announcement):
            self._known[key] = _Known(announcement, FIRST_PAUSE)
            self._try(key, 0.0)

    def _wants(self, announcement: Announcement) -> bool:
        if announcement.kind != "file" or announcement.rid in self._pulled_before:
            return False
        try:
            return self._rule is None or bool(self._rule(announcement))
        except Exception:
            log.exception("the rule of an auto-pull failed for %s: it is not pulled", announcement.name)
            return False

    def _try(self, key: tuple[str, str], pause: float) -> None:
        self._number += 1
        heappush(self._attempts, _Attempt(time.monotonic() + pause, self._number, key))

    def _start_due(self) -> None:
        now = time.monotonic()
        while self._attempts and self._attempts[0].at <= now and len(self._running) < MOST_AT_ONCE:
            key = heappop(self._attempts).key
            if (known := self._known.get(key)) is not None and not known.over and key not in self._running:
                self._start(key, known)

    def _start(self, key: tuple[str, str], known: _Known) -> None:
        try:
            handle = self._begin(known.announcement)
        except ZmqflError as error:
            self._ended(key, known, None, error)
            return
        self._running[key] = handle
        handle.add_done_callback(lambda _: self._events.put(lambda: self._pulled(key, known, handle)))

    def _pulled(self, key: tuple[str, str], known: _Known, handle: PullHandle) -> None:
        del self._running[key]
        error = handle.exception()
        if error is not None:
            self._ended(key, known, None, error)
            return
        path: Path = handle.result()
        self._note(f"{handle.rid} {path.name}\n")
        self._pulled_before.add(handle.rid)  # a root that starts anew says everything once more
        self._ended(key, known, path, None)

    def _note(self, line: str) -> None:
        try:
            with self._pulled_file.open("a") as file:
                file.write(line)
        except OSError as error:
            text = "%s cannot be written (%s): after a new start its files are pulled again"
            log.warning(text, self._pulled_file, error.strerror)

    def _ended(self, key: tuple[str, str], known: _Known, path: Path | None, error: BaseException | None) -> None:
        known.over = error is None
        if error is not None:
            self._try(key, known.pause)
            known.pause = min(2 * known.pause, LAST_PAUSE)
        if self._done is None and error is not None:
            log.warning("cannot pull %s of %s: %s", known.announcement.name, known.announcement.owner, error)
        if self._done is not None:
            self._tell(self._done, known.announcement, path, error)

    @staticmethod
    def _tell(done: Callback, *args: Any) -> None:
        try:
            done.run(*args)
        except Exception:
            log.exception("a callback failed: %r", done.function)


def pulled_into(folder: Path) -> set[str]:
    """The references that were pulled into a folder by rule. Raises `OSError` where PULLED cannot be read."""
    file = folder / PULLED
    if not file.exists():
        return set()
    return {line.partition(" ")[0] for line in file.read_text().splitlines()}
