"""Open pages of the console, and what is told to them unasked: the order of picking and the node's health."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from perception_node.errors import PerceptionError
from perception_node.ros.console_guard import Bucket
from perception_node.ros.console_view import Moment

MESSAGES_HZ, MESSAGES_BURST = 8.0, 24
"""Messages of one page that are answered."""
TURN_S = 1.0
"""One conversation a turn is asked for: an answer costs the node 1 to 2 ms, and few of its frames should meet one."""
CHANGED_S, CALM_S = 2.0, 5.0
"""A list is renewed after so long where packages or their order have changed, and otherwise, for scores that waver."""
HURRY_S = 0.2
"""At least between two questions to the node, whatever the pages do."""


class Link(Protocol):
    """What the server needs of the ROS side (`console_link.ConsoleLink`)."""

    watched: bool
    moment: Moment | None

    def want(self) -> None:
        """A page is ready for another moment."""

    def ask(self, text: str, session_id: str, point: list[int]) -> Future[Any]:
        """Call the advisor."""

    def report(self, track_id: int, kind: str, success: bool, failure: str) -> tuple[str, Future[Any]]:
        """Report an outcome; returns the kind of the grasp, too."""

    def health(self) -> dict[str, Any]:
        """Level and lines of the diagnostics."""


@dataclass(eq=False)
class Page:
    """One open page: its socket, conversation and allowance; `fresh` is set when there is something new to send."""

    socket: web.WebSocketResponse
    session: str
    allowance: Bucket = field(default_factory=lambda: Bucket(MESSAGES_HZ, MESSAGES_BURST))
    refused: int = 0
    hidden: bool = False
    fresh: asyncio.Event = field(default_factory=asyncio.Event)
    told: dict[str, str] = field(default_factory=dict)
    unsent: dict[str, str] = field(default_factory=dict)
    shown: Moment | None = None

    def tell(self, kind: str, content: dict[str, Any]) -> None:
        """Send a message of a kind, unless the page knows it already; a newer one takes the place of one that waits."""
        text = json.dumps({"type": kind, **content})
        if self.told.get(kind) != text:
            self.told[kind] = self.unsent[kind] = text
            self.fresh.set()

    def rank(self, ranked: Any) -> None:
        """Show an order of picking (RankedPackage messages)."""
        self.tell("ranking", {"ranked": [
            {"id": entry.track_id, "name": entry.class_name, "kind": entry.kind, "score": round(float(entry.score), 2),
             "reasons": list(entry.reasons)} for entry in ranked]})

    def waiting(self) -> Iterator[str]:
        """What waits to be sent, each once."""
        while self.unsent:
            yield self.unsent.pop(next(iter(self.unsent)))


class Lists:
    """Keeps order and health of all pages up to date, and asks the node for it as seldom as that allows.

    Args:
        link: to the node. pages: that are open. spoken: whether anything was said in a conversation; those in which nothing was
            said share one order.
    """

    def __init__(self, link: Link, pages: Set[Page], spoken: Callable[[str], bool]) -> None:
        self._link, self._pages, self._spoken = link, pages, spoken
        self._asked: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._hurried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    def hurry(self, everybody: bool = False) -> None:
        """Look at once what is to be told. everybody: all orders may have changed."""
        if everybody:
            self._asked.clear()
        self._hurried.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), TURN_S if self._pages else None)
            self._hurried.clear()
            if self._pages:
                health = self._link.health()
                for page in self._pages:
                    page.tell("health", health)
            if found := self._due(asyncio.get_running_loop().time()):
                await self._renew(*found)
                await asyncio.sleep(HURRY_S)
                if self._due(asyncio.get_running_loop().time(), new=True):
                    self._hurried.set()

    def _due(self, now_s: float, new: bool = False) -> tuple[str, list[Page]] | None:
        """The conversation whose order has waited longest, with its pages. new: only those that were never asked for."""
        shared: dict[str, list[Page]] = {}
        for page in self._pages:
            if not page.hidden:
                shared.setdefault(page.session if self._spoken(page.session) else "", []).append(page)
        self._asked = {key: self._asked[key] for key in shared if key in self._asked}
        order, waits = self._order(), {}
        for key, pages in shared.items():
            asked_s, seen = self._asked.get(key, (float("-inf"), ()))
            fresh = key not in self._asked or any("ranking" not in page.told for page in pages) and now_s - asked_s >= TURN_S
            if fresh or (not new and now_s - asked_s >= (CALM_S if order == seen else CHANGED_S)):
                waits[key] = asked_s
        if not waits:
            return None
        longest = min(waits, key=lambda name: waits[name])
        return longest, shared[longest]

    async def _renew(self, key: str, pages: list[Page]) -> None:
        self._asked[key] = asyncio.get_running_loop().time(), self._order()
        try:
            reply = await asyncio.wrap_future(self._link.ask("", pages[0].session, []))
        except PerceptionError:
            return
        for page in pages if reply.answered else ():
            if page.session == key or not self._spoken(page.session):  # it may have been narrowed meanwhile
                page.rank(reply.ranked)

    def _order(self) -> tuple[int, ...]:
        return () if self._link.moment is None else self._link.moment.order
