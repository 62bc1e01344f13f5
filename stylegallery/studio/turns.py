"""Whose turn it is: Gradio's queue, in which one visitor has few places, and none without listening to the answers."""

import asyncio
import re
from typing import Any, NamedTuple

from gradio import skip
from gradio.server_messages import ProcessCompletedMessage

from stylegallery.errors import InputError
from stylegallery.studio.door import MOST_HELD
from stylegallery.studio.visits import Visits

NAME = re.compile(r"\w{1,64}")  # of a session, as a page draws it
MOST_WAITING = 400  # events of all visitors


class Lane(NamedTuple):
    """Events that wait for each other: so many of all visitors at a time, so many of one that wait or are done."""

    at_a_time: int
    of_one: int


LANES = {
    "quick": Lane(16, 8),  # decisions, pictures that come
    "fetch": Lane(1, 3),  # an archive may be large
    "look": Lane(4, 3),  # one after the other in the networks, but nobody waits for all pictures of another
    "paint": Lane(1, 2),
}


class Turns:
    """Gives out the places of a page's queue. `page` is a gr.Blocks."""

    def __init__(self, page: Any, visits: Visits) -> None:
        page.queue(max_size=MOST_WAITING, api_open=False)
        self.page, self.visits, self.queue, self.enter = page, visits, page._queue, page._queue.push
        self.queue.push = self.push  # Gradio itself counts the places of all visitors together

    async def push(self, body: Any, request: Any, username: str | None) -> tuple[bool, Any, str]:
        """Gradio's answer to an event: whether it has a place, and its name or why not."""
        waiting = [event for lane in LANES for event in self.events(lane)]
        for session in {event.session_hash for event in waiting}:
            if self.visits.silent(session):
                await self.queue.clean_events(session_hash=session)
        try:
            await self.require_place(body, request)
        except InputError as error:
            return False, str(error), "error"
        answer: tuple[bool, Any, str] = await self.enter(body=body, request=request, username=username)
        return answer

    async def require_place(self, body: Any, request: Any) -> None:
        """Raises InputError where a visitor has as many places as one may, or the house is full."""
        fn, session = self.page.fns.get(body.fn_index), body.session_hash
        if fn is None or not NAME.fullmatch(session):
            raise InputError("this page is not known here; load it again")
        if not any(event == "load" for _, event in fn.targets):  # a page that was opened alone takes no place
            await asyncio.to_thread(self.visits.of, session)
        own = [event for event in self.events(fn.concurrency_id) if event.session_hash == session]
        if len(own) >= LANES[fn.concurrency_id].of_one:
            raise InputError("what you asked for before is not done yet; wait a moment")
        waiting = [event.request for lane in LANES for event in self.events(lane)]
        if sum(map(length, [request, *waiting])) > MOST_HELD:
            raise InputError("many pictures are arriving; try again in a moment")

    def withdraw(self, lane: str, session: str | None) -> bool:
        """Take out of a lane what a visitor waits for there; whether there was anything. In the queue's own thread."""
        waiting = self.queue.event_queue_per_concurrency_id.get(lane)
        own = [event for event in (waiting.queue if waiting else []) if event.session_hash == session]
        for event in own:
            waiting.queue.remove(event)
            self.queue.event_ids_to_events.pop(event._id, None)
            unchanged = {"data": [skip() for _ in event.fn.outputs]}
            self.queue.send_message(event, ProcessCompletedMessage(output=unchanged, success=True))
        return bool(own)

    def events(self, lane: str) -> list[Any]:
        """Those that wait, and those that are being done."""
        waiting = self.queue.event_queue_per_concurrency_id.get(lane)
        done = [event for job in self.queue.active_jobs for event in job or () if event.concurrency_id == lane]
        return done + (waiting.queue if waiting else [])

    def wanted(self, lane: str, session: str | None) -> bool:
        """Whether somebody else waits for a turn."""
        waiting = self.queue.event_queue_per_concurrency_id.get(lane)
        return any(event.session_hash != session for event in waiting.queue)


def length(request: Any) -> int:
    """Bytes of an event."""
    return int(request.headers.get("content-length", 0))
