"""Reports of records that were sent, which come from another thread."""

from __future__ import annotations

import asyncio

from tidemill.engine.faust.transport import reporter


def test_a_report_sets_the_place() -> None:
    async def sent() -> int:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        reporter(asyncio.get_running_loop(), answer, "t", 5)(1, 7, None)
        place: object = await answer
        return getattr(place, "offset", -1)

    assert asyncio.run(sent()) == 7


def test_a_report_after_the_end_of_the_application_does_nothing() -> None:
    loop = asyncio.new_event_loop()
    answer: asyncio.Future[object] = loop.create_future()
    loop.close()
    reporter(loop, answer, "t", 5)(1, 7, None)
    assert not answer.done()
