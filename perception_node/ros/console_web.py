"""The console's web server: three fixed files and one WebSocket. Nothing else is served, and nothing changes but by the socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from perception_node.advise.replies import KIND_WORDS
from perception_node.errors import PerceptionError
from perception_node.ros.console_guard import Bucket, Guard, known_form, new_session
from perception_node.ros.console_pages import Link, Lists, Page

FOLDER = Path(__file__).resolve().parent.parent / "data" / "console"
FILES: Mapping[str, tuple[str, str]] = {"/": ("index.html", "text/html"), "/console.css": ("console.css", "text/css"),
                                        "/console.js": ("console.js", "text/javascript")}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
}
PAGES, SESSIONS, HISTORY = 8, 64, 200
"""Pages open at once, conversations remembered, lines remembered of each."""
TOO_MANY = 200
"""After so many messages too many the page is closed."""
REQUESTS_HZ, REQUESTS_BURST = 50.0, 100
MAX_MESSAGE_BYTES, HELLO_S = 4096, 10.0
_PAGE_TOKEN = "__PAGE_TOKEN__"


class Console:
    """The application. `link`: the ROS side. `guard`: who may."""

    def __init__(self, link: Link, guard: Guard) -> None:
        self._link, self._guard = link, guard
        self._files = {path: ((FOLDER / name).read_text(encoding="utf-8"), kind) for path, (name, kind) in FILES.items()}
        self._files["/"] = self._files["/"][0].replace(_PAGE_TOKEN, guard.token if guard.loopback else ""), "text/html"
        self._pages: set[Page] = set()
        self._history: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._requests = Bucket(REQUESTS_HZ, REQUESTS_BURST)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lists = Lists(link, self._pages, lambda session: bool(self._history.get(session)))
        self.application = web.Application(client_max_size=1024, middlewares=[self._gate])
        for path in FILES:
            self.application.router.add_get(path, self._file)
        self.application.router.add_get("/socket", self._socket)
        self.application.on_startup.append(self._started)
        self.application.on_shutdown.append(self._closing)

    def show(self) -> None:
        """The link has a new moment; called from the link's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for page in self._pages:
            page.fresh.set()

    def _seen(self) -> None:
        """Pages were opened, closed, hidden or shown: read and draw only while somebody looks."""
        self._link.watched = any(not page.hidden for page in self._pages)
        self._lists.hurry()

    async def _started(self, application: web.Application) -> None:
        self._loop = asyncio.get_running_loop()
        self._lists.start()

    async def _closing(self, application: web.Application) -> None:
        self._lists.stop()
        for page in list(self._pages):
            await page.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the console ends")

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not self._requests.take():
            return self._plain("too many requests", 429)
        if not self._guard.host_allowed(request.headers):
            return self._plain("this host name is not served here", 421)
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            return self._plain(error.reason, error.status)
        return response

    def _plain(self, words: str, status: int) -> web.Response:
        return web.Response(text=words + "\n", status=status, headers=HEADERS)

    async def _file(self, request: web.Request) -> web.Response:
        text, kind = self._files[request.path]
        return web.Response(text=text, content_type=kind, headers=HEADERS)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self._guard.origin_allowed(request.headers):
            return self._plain("only the console's own page may connect", 403)
        if len(self._pages) >= PAGES:
            return self._plain(f"{PAGES} pages are open already", 503)
        socket = web.WebSocketResponse(heartbeat=15.0, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        page = await self._hello(socket, request.remote or "")
        if page is None:
            return socket
        self._pages.add(page)
        self._seen()
        self._link.want()
        sender = asyncio.create_task(self._sender(page))
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    break
                await self._answer(page, message.data)
        finally:
            sender.cancel()
            self._pages.discard(page)
            self._seen()
        return socket

    async def _hello(self, socket: web.WebSocketResponse, address: str) -> Page | None:
        """The first message has to carry the token; it may name an earlier conversation."""
        try:
            first = await socket.receive_json(timeout=HELLO_S)
        except (ValueError, TypeError, asyncio.TimeoutError, RecursionError):
            first = {}
        if not isinstance(first, dict) or not self._guard.token_right(first.get("token"), address):
            await socket.close(code=4401, message=b"wrong token")
            return None
        session = first.get("session")
        known = known_form(session) and session in self._history
        session = str(session) if known else new_session()
        history = self._history.pop(session, [])
        self._history[session] = history
        while len(self._history) > SESSIONS:
            self._history.popitem(last=False)
        await socket.send_json({"type": "welcome", "session": session, "history": history})
        return Page(socket, session)

    async def _sender(self, page: Page) -> None:
        """Send what is new, of moments the newest whenever the page has taken the one before: a slow page sees fewer."""
        while not page.socket.closed:
            await page.fresh.wait()
            page.fresh.clear()
            for text in page.waiting():
                await page.socket.send_str(text)
            moment = self._link.moment
            if moment is not None and moment is not page.shown and not page.hidden:
                page.shown = moment
                await page.socket.send_bytes(moment.data)
                self._link.want()

    async def _answer(self, page: Page, data: str) -> None:
        if not page.allowance.take():
            page.refused += 1
            if page.refused > TOO_MANY:
                await page.socket.close(code=4429, message=b"too many messages")
            elif page.refused % 20 == 1:
                await page.socket.send_json({"type": "refused", "words": "too many messages; wait a moment"})
            return
        try:
            message = json.loads(data)
            kind = message["type"]
            if kind == "ask":
                await self._ask(page, str(message["text"]), [int(message["point"])] if message.get("point") else [])
            elif kind == "click":
                x, y, moment = float(message["x"]), float(message["y"]), self._link.moment
                if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
                    raise ValueError(kind)
                track_id = 0 if moment is None else moment.at(x, y)
                await (self._ask(page, "", [track_id]) if track_id else page.socket.send_json({"type": "nothing"}))
            elif kind == "outcome":
                await self._outcome(page, int(message["id"]), str(message.get("kind", "")), bool(message["success"]),
                                    str(message.get("failure", ""))[:200])
            elif kind == "hidden":
                page.hidden = bool(message["hidden"])
                self._seen()
                self._link.want()
            else:
                raise ValueError(kind)
        except PerceptionError as error:
            await self._said(page, {"type": "reply", "text": str(error), "refused": str(error)})
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # the last: 4,000 opening brackets
            await page.socket.send_json({"type": "refused", "words": "this message is not understood"})

    async def _ask(self, page: Page, text: str, point: list[int]) -> None:
        if text.strip():
            await self._said(page, {"type": "said", "text": text[:400]})
        elif not point:
            await self._said(page, {"type": "reply", "text": "Type a question, or click on a package."})
            return
        reply = await asyncio.wrap_future(self._link.ask(text, page.session, point))
        refused = reply.refused or ("" if reply.answered else reply.reply)
        await self._said(page, {"type": "reply", "text": reply.reply, "action": reply.action, "arguments": list(reply.arguments),
                                "highlights": list(reply.highlights), "done": reply.done, "asks": reply.asks, "refused": refused,
                                "suggestions": list(reply.suggestions)})
        if reply.answered:
            page.rank(reply.ranked)
        if reply.done:
            self._lists.hurry(everybody=True)

    async def _outcome(self, page: Page, track_id: int, kind: str, success: bool, failure: str) -> None:
        used, answer = self._link.report(track_id, kind, success, failure)
        reply = await asyncio.wrap_future(answer)
        words = (f"Noted: number {track_id} {'was picked' if success else 'failed'} ({KIND_WORDS[used]})"
                 f"{'' if success else ': ' + failure.replace('_', ' ')}.")
        said = {"text": words, "done": "outcome"} if reply.accepted else {"text": reply.message, "refused": reply.message}
        await self._said(page, {"type": "reply", **said})
        self._lists.hurry(everybody=True)

    async def _said(self, page: Page, line: dict[str, Any]) -> None:
        """Send a line of the conversation to every page that shows it, and remember it."""
        text = str(line["text"])
        if line["type"] == "reply":
            text = text[:1].upper() + text[1:]
        line = {**line, "text": text, "at": round(time.time(), 1)}
        history = self._history.get(page.session)
        if history is not None:
            self._history.move_to_end(page.session)
            history.append(line)
            del history[:-HISTORY]
        for other in [other for other in self._pages if other.session == page.session]:
            await other.socket.send_json(line)
