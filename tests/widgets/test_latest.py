"""Slow work in the background: which requests are answered, in which thread, and what stays free."""

import asyncio
import threading

from nanoshape_lib.widgets.latest import Latest


def test_of_many_requests_the_first_is_begun_and_the_newest_answered():
    begun, gate, worked, got = threading.Event(), threading.Event(), [], []

    def work(number):
        worked.append(number)
        begun.set()
        gate.wait(10)
        return number**2

    latest = Latest(work, lambda request, answer: got.append((request, answer)))
    latest.ask(1)
    assert begun.wait(10)
    for number in range(2, 6):
        latest.ask(number)
    gate.set()
    assert latest.idle.wait(10)
    assert got == [(5, 25)] and worked == [1, 5]


def test_what_the_work_raises_is_delivered():
    got = []
    latest = Latest(lambda request: 1 / request, lambda request, answer: got.append(answer))
    latest.ask(0)
    assert latest.idle.wait(10) and isinstance(got[0], ZeroDivisionError)


def test_forgotten_request_is_not_delivered():
    gate, got = threading.Event(), []
    latest = Latest(lambda request: gate.wait(10), lambda request, answer: got.append(answer))
    latest.ask(1)
    latest.forget()
    gate.set()
    assert latest.idle.wait(10) and got == []


def test_answers_come_in_the_thread_of_the_event_loop_which_stays_free():
    async def scene():
        gate, done, threads, ticks = threading.Event(), asyncio.Event(), [], 0

        def deliver(request, answer):
            threads.append(threading.current_thread())
            done.set()

        latest = Latest(lambda request: gate.wait(10), deliver)
        latest.ask(1)
        for _ in range(20):
            await asyncio.sleep(0)
            ticks += 1
        assert not done.is_set() and ticks == 20
        gate.set()
        await asyncio.wait_for(done.wait(), 10)
        return threads

    assert asyncio.run(scene()) == [threading.current_thread()]
