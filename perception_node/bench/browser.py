"""A headless Chromium, driven through its DevTools protocol: only what tests and measurements of the console need."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from perception_node.errors import PerceptionError

PATIENCE_S = 40.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str:
    """Path of a Chromium, "" = there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), "")


class Browser:
    """One browser with one page; an asynchronous context manager.

    Args:
        folder: for the profile, thrown away by the caller. width, height: of the page in CSS pixels.

    Attributes:
        errors: what the page's console said and what it threw.
    """

    def __init__(self, folder: Path, width: int = 1180, height: int = 820) -> None:
        self._folder, self._size = folder, (width, height)
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self.errors: list[str] = []

    async def __aenter__(self) -> Browser:
        import aiohttp

        arguments = [find_chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--no-first-run", "--disable-background-networking", "--disable-component-update",
                     "--remote-debugging-port=0", f"--user-data-dir={self._folder}",
                     f"--window-size={self._size[0]},{self._size[1]}", "about:blank"]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._http = aiohttp.ClientSession()
        try:
            port = await self._port()
            async with self._http.get(f"http://127.0.0.1:{port}/json/list") as response:
                pages = [page for page in await response.json() if page["type"] == "page"]
            self._socket = await self._http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
            self._reader = asyncio.create_task(self._read())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await self.call(f"{domain}.enable")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._http.close()
        self._process.kill()
        self._process.wait()

    async def _port(self) -> str:
        until = time.monotonic() + PATIENCE_S
        file = self._folder / "DevToolsActivePort"
        while time.monotonic() < until:
            if file.exists() and "\n" in (text := file.read_text()):
                return text.splitlines()[0]
            await asyncio.sleep(0.05)
        raise PerceptionError(f"expected Chromium to start within {PATIENCE_S:g} s, it did not")

    async def _read(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            if data.get("id") in self._answers:
                self._answers.pop(data["id"]).set_result(data)
            elif data.get("method") == "Runtime.exceptionThrown":
                details = data["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            elif data.get("method") == "Log.entryAdded" and data["params"]["entry"]["level"] == "error":
                self.errors.append(f"{data['params']['entry']['text']} {data['params']['entry'].get('url', '')}")

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol.

        Raises:
            PerceptionError: Chromium refuses it.
        """
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        data = await asyncio.wait_for(answer, PATIENCE_S)
        if "error" in data:
            raise PerceptionError(f"Chromium: {method}: {data['error']}")
        result: dict[str, Any] = data["result"]
        return result

    async def open(self, url: str) -> None:
        """Load a page."""
        await self.call("Page.navigate", url=url)
        await self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression.

        Raises:
            PerceptionError: the expression throws.
        """
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise PerceptionError(f"Chromium: {expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def wait_for(self, expression: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until an expression is true; its value.

        Raises:
            PerceptionError: not in time, with what the page shows.
        """
        until = time.monotonic() + timeout_s
        while not (value := await self.value(expression)):
            if time.monotonic() > until:
                log = await self.value("document.body ? document.body.innerText.slice(-1500) : ''")
                raise PerceptionError(f"not within {timeout_s} s: {expression}\npage: {log}\nerrors: {self.errors}")
            await asyncio.sleep(0.05)
        return value

    async def click(self, selector: str, across: float = 0.5, along: float = 0.5) -> None:
        """Press the mouse on an element, at a share of its width and height."""
        box = await self.wait_for(f"(() => {{ const e = document.querySelector({selector!r}); if (!e || e.disabled) return null; "
                                  "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
                                  "return b.width ? [b.x, b.y, b.width, b.height] : null; })()")
        x, y = box[0] + across * box[2], box[1] + along * box[3]
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def write(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """One key, by its DOM name."""
        codes = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "/": (191, "/")}
        number, text = codes[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=number, **more)

    async def look(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the page, and light or dark."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def shoot(self, path: Path) -> Path:
        """Write what the page looks like."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"]))
        return path
