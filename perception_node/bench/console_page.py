"""An open console page for measurements, in a process of its own: a real one in Chromium, or a client that behaves like one.

Commands come as lines on standard input, each answered by one line of JSON on standard output: `open`, `close` = {};
`count` = {"pictures": shown since it was opened, "at_s": monotonic seconds, "said": the page's own words on its rate}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from perception_node.bench.browser import PATIENCE_S, Browser
from perception_node.errors import PerceptionError, one_line


class Viewer(Protocol):
    """Somebody who can look at the console."""

    async def open(self) -> None:
        """Look; returns when the first picture is shown."""

    async def close(self) -> None:
        """Look no longer."""

    async def pictures(self) -> tuple[int, str]:
        """Number of pictures shown since `open`, and what the page says of its rate."""


class Client:
    """Does what the page's script does with the socket, and draws nothing: what a page on another machine costs this one."""

    def __init__(self, http: Any, address: str) -> None:
        self._http, self._address = http, address
        self._seen = 0
        self._first = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        async with self._http.get(f"{self._address}/") as response:
            found = re.search(r'name="page-token" content="([^"]+)"', await response.text())
        if found is None:
            raise PerceptionError(f"{self._address}: expected the console's page with its token, got something else")
        self._seen = 0
        self._first.clear()
        self._reader = asyncio.create_task(self._read(found[1]))
        opened = asyncio.create_task(self._first.wait())
        await asyncio.wait({opened, self._reader}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            raise PerceptionError(f"expected a picture within {PATIENCE_S:g} s, got none")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def pictures(self) -> tuple[int, str]:
        return self._seen, ""

    async def _read(self, token: str) -> None:
        async with self._http.ws_connect(f"{self._address}/socket", headers={"Origin": self._address}, max_msg_size=0) as socket:
            await socket.send_json({"token": token, "session": ""})
            async for message in socket:
                if isinstance(message.data, str):
                    if json.loads(message.data)["type"] == "welcome":
                        await socket.send_json({"type": "hidden", "hidden": False})
                else:
                    json.loads(message.data[4:4 + struct.unpack_from("<I", message.data)[0]])
                    self._seen += 1
                    self._first.set()


class Page:
    """The page itself, in Chromium."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser, self._address = browser, address

    async def open(self) -> None:
        await self._browser.open(f"{self._address}/")
        await self._browser.value("void document.getElementById('picture').addEventListener('load', "
                                  "() => { window.loaded = (window.loaded || 0) + 1; })")
        await self._browser.wait_for("window.loaded > 0")

    async def close(self) -> None:
        await self._browser.call("Page.navigate", url="about:blank")

    async def pictures(self) -> tuple[int, str]:
        seen, said = await self._browser.value("[window.loaded, document.getElementById('rate').textContent]")
        return int(seen), str(said)


async def serve(viewer: Viewer) -> None:
    """Answer commands until standard input ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer: dict[str, Any] = {}
        try:
            if line.strip() == "open":
                await viewer.open()
            elif line.strip() == "close":
                await viewer.close()
            else:
                seen, said = await viewer.pictures()
                answer = {"pictures": seen, "at_s": time.monotonic(), "said": said}
        except PerceptionError as error:
            answer = {"failed": one_line(error)}
        print(json.dumps(answer), flush=True)


async def _look(address: str, browser: bool) -> None:
    import aiohttp

    print(json.dumps({}), flush=True)
    if browser:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            async with Browser(Path(profile)) as chromium:
                await serve(Page(chromium, address))
    else:
        async with aiohttp.ClientSession() as http:
            await serve(Client(http, address))


def main(args: Sequence[str] | None = None) -> int:
    """Serve commands until standard input ends."""
    parser = argparse.ArgumentParser(prog="console_page", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="of the console: http://HOST:PORT")
    parser.add_argument("--browser", action="store_true", help="in Chromium (default: a client that draws nothing)")
    options = parser.parse_args(args)
    asyncio.run(_look(options.address, options.browser))
    return 0


if __name__ == "__main__":
    sys.exit(main())
