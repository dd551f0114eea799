"""Slow answers in a thread of their own: the newest request wins, and the kernel stays free."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Latest(Generic[Request, Answer]):
    """Works on one request at a time and delivers the answer to the newest alone.

    While it works, a further request waits, and a third takes the place of the waiting one. The answer to a
    request that has been overtaken is dropped.

    Parameters
    ----------
    work
        Makes an answer from a request; called in another thread.
    deliver
        Gets a request and its answer, or the exception that ``work`` raised: in the event loop that ran when
        the request was made, or in the other thread if there was none.
    """

    def __init__(self, work: Callable[[Request], Answer], deliver: Callable[[Request, Answer | Exception], None]):
        self._work, self._deliver = work, deliver
        self._lock = threading.Lock()
        self._newest = 0
        self._waiting: tuple[int, Request, asyncio.AbstractEventLoop | None] | None = None
        self._working = False
        self.idle = threading.Event()
        self.idle.set()

    def ask(self, request: Request) -> None:
        """Want this answer instead of any that was wanted before."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._lock:
            self._newest += 1
            self._waiting = (self._newest, request, loop)
            self.idle.clear()
            if not self._working:
                self._working = True
                threading.Thread(target=self._run, daemon=True).start()

    def forget(self) -> None:
        """Want no answer any more."""
        with self._lock:
            self._newest += 1
            self._waiting = None

    def _run(self) -> None:
        """Answer requests until none waits."""
        while True:
            with self._lock:
                if self._waiting is None:
                    self._working = False
                    self.idle.set()
                    return
                (number, request, loop), self._waiting = self._waiting, None
            answer: Answer | Exception
            try:
                answer = self._work(request)
            except Exception as error:
                answer = error
            if loop is None or loop.is_closed():
                self._hand_over(number, request, answer)
            else:
                loop.call_soon_threadsafe(self._hand_over, number, request, answer)

    def _hand_over(self, number: int, request: Request, answer: Answer | Exception) -> None:
        """Deliver unless the request has been overtaken meanwhile."""
        if number == self._newest:
            self._deliver(request, answer)
