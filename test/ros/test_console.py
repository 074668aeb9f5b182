"""The operator's page: in a real browser on a running node, and what it refuses."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perception_node.bench.browser import Browser, find_chromium

aiohttp = pytest.importorskip("aiohttp", reason="pip install -r requirements/runtime.txt")

SCREENS = Path(os.environ.get("CONSOLE_SCREENSHOTS", Path(__file__).resolve().parents[2] / "out" / "console"))
"""Where the browser test leaves what it saw."""


def environment_of(cell, **more):
    return {**cell.environment(), "PYTHONUNBUFFERED": "1", **more}


class ConsoleProcess:
    """`perception console` on a free port."""

    def __init__(self, environment, *arguments):
        command = [sys.executable, "-m", "perception_node.ros.console", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"console: http://(\S+?):(\d+)/(?:#token=(\S+))?", line)
        assert found, line + self.process.stdout.read()
        self.port, self.token = int(found[2]), found[3] or ""
        self.address = f"http://127.0.0.1:{self.port}"

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(20) == 0, self.process.stdout.read()
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def moving():
    """While this event is set the belt moves."""
    return threading.Event()


@pytest.fixture(scope="module")
def still():
    """Set while the belt shows its first scene and does not move."""
    return threading.Event()


@pytest.fixture(scope="module")
def belt(patient, frames, messages, moving, still):
    """A camera that goes on and on in a thread. While the belt moves, the bundled recording plays, a part of it to and fro so that
    packages stay in sight; else it runs on to its first scene, which stays, never twice the same picture."""
    for topic, message in zip(("image", "depth", "camera_info"), messages.triple(frames[0], 1), strict=True):
        patient.publisher(topic, type(message))
    stop = threading.Event()

    def play():
        order = itertools.cycle(frames + frames[-2:0:-1])
        frame = next(order)
        while not stop.wait(0.1):
            if moving.is_set() or frame is not frames[0]:
                frame = next(order)
                still.clear()
            else:
                still.set()
            triple = messages.triple(frame, patient.now_ns())
            for topic, message in zip(("camera_info", "depth", "image"), (triple[2], triple[1], triple[0]), strict=True):
                patient.publishers[topic].publish(message)

    thread = threading.Thread(target=play)
    thread.start()
    yield patient
    stop.set()
    thread.join()


@pytest.fixture(scope="module")
def console(belt):
    made = ConsoleProcess(environment_of(belt))
    yield made
    made.end()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 200))


async def page_token(http, console):
    async with http.get(f"{console.address}/") as response:
        assert response.status == 200
        return re.search(r'name="page-token" content="([^"]*)"', await response.text())[1]


def join(http, console, **headers):
    return http.ws_connect(f"{console.address}/socket", headers={"Origin": console.address, **headers})


async def until(socket, kind, timeout_s=40.0):
    """The next text message of a kind; pictures are passed over."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        message = await socket.receive(timeout=timeout_s)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), f"{message.type} {message.data} {message.extra}"
        if message.type == aiohttp.WSMsgType.TEXT and message.json()["type"] == kind:
            return message.json()
    raise AssertionError(f"no {kind} within {timeout_s} s")


@pytest.mark.skipif(not find_chromium(), reason="no Chromium here (Debian, Ubuntu: apt-get install chromium)")
def test_an_operator_works_with_the_page(console, moving, still, tmp_path):
    async def work():
        async with Browser(tmp_path / "profile") as page:
            replies = "document.querySelectorAll('#log .reply')"

            async def said(text=None, selector=None):
                for _ in range(20):  # a busy machine's scenes may be too old to talk about
                    answer = await once(text, selector)
                    if " old: " not in answer and "no scene yet" not in answer:
                        break
                return answer

            async def once(text, selector):
                before = await page.value(f"{replies}.length")
                if selector:
                    await page.click(selector)
                else:
                    await page.value("document.getElementById('ask').focus()")
                    await page.write(text)
                    await page.press("Enter")
                await page.wait_for(f"{replies}.length > {before}")
                return await page.value(f"[...{replies}].pop().firstChild.textContent")

            async def ids():
                return await page.value("[...document.querySelectorAll('#ranking li')].map(item => Number(item.dataset.id))")

            # Packages with nothing on them that no movement of this belt takes out of sight, in the order of picking.
            free_in_the_middle = (
                "[...document.querySelectorAll('#ranking li')].filter(item => { "
                "const seen = state.packages.get(Number(item.dataset.id)); "
                "return seen && Math.abs(seen.x / state.size[0] - 0.5) < 0.25 && item.textContent.includes('nothing on it'); })"
                ".map(item => Number(item.dataset.id))")
            first_is = "document.querySelector('#ranking li').dataset.id === "
            moving.set()
            await page.look(1180, 820)
            await page.open(f"{console.address}/")
            await page.wait_for("document.getElementById('picture').naturalWidth > 0")
            await page.wait_for("document.querySelectorAll('#ranking button').length > 4")
            await page.wait_for("state.times.length > 5")
            await page.wait_for("['light ok', 'light warning'].includes(document.getElementById('light').className)")
            assert await page.value("document.querySelectorAll('#parts li').length > 1")  # diagnostics of each part of the node
            everything = await ids()
            first = await said("what should I pick next?")  # recommend
            recommended = re.match(r"Number (\d+) \(", first)
            assert recommended, first
            await page.wait_for(f"{first_is}'{recommended[1]}'")
            await page.shoot(SCREENS / "light.png")
            await said(selector="#chips button")  # narrow: boxes
            names = "[...document.querySelectorAll('#ranking li button span:nth-child(2)')]"
            await page.wait_for(f"{names}.every(span => span.textContent === 'box')")
            boxes = await ids()
            assert 0 < len(boxes) < len(everything)
            answer = await said("the biggest one")  # refer
            selected = await page.value("state.selected")
            if selected:
                assert selected in {*boxes, *await ids()}  # the belt brings others meanwhile
                assert re.match(rf"Number {selected}\b", await page.value("document.getElementById('which').textContent"))
            else:  # two are as big
                assert len(re.findall(r"\bnumber \d+|\d+\b", answer)) > 1, answer
            await said("start over")
            await page.wait_for(f"document.querySelectorAll('#ranking li').length >= {len(everything) - 1}")
            place = await page.value("(() => { const e = [...state.packages.values()].sort((a, b) => b.w * b.h - a.w * a.h)[0]; "
                                     "return [e.x / state.size[0], e.y / state.size[1]]; })()")
            before = await page.value(f"{replies}.length")
            await page.click("#picture", *place)  # point
            await page.wait_for(f"state.selected > 0 && {replies}.length > {before}")
            for _ in range(10):  # one that leaves, or that another slides on to, while this is typed is refused
                wanted = await page.wait_for(f"{free_in_the_middle}.at(-1)")  # not one that might come first by itself
                answer = await said(f"tkae nubmer {wanted}")  # choose, with slips
                if not ("There is no number" in answer or "take that first" in answer):
                    break
            await page.wait_for(f"{first_is}'{wanted}'")
            await page.look(820, 1180, dark=True)
            await page.shoot(SCREENS / "dark-tablet.png")
            await page.look(1180, 820)
            assert "Undone" in await said("undo")
            await page.wait_for(f"!({first_is}'{wanted}')")
            moving.clear()  # from here on a score changes by outcomes only
            assert await asyncio.to_thread(still.wait, 40)
            worst = await page.wait_for(f"{free_in_the_middle}"  # one that one gripper only can take
                                        ".find(id => state.grasps.filter(grasp => grasp.id === id).length === 1)")
            item = f"#ranking li[data-id='{worst}']"
            score = f"Number(document.querySelector(\"{item} .score\").textContent.match(/(\\d+) %/)[1])"
            assert f"Number {worst} is a" in await said(selector=f"{item} button")
            await page.wait_for(f"state.selected === {worst}")
            was = await page.wait_for(  # the lowest of two lists: a score may waver by itself
                "(() => { const now = performance.now(); window.since = window.since || now; "
                f"window.lowest = Math.min(window.lowest || 100, {score}); "
                "return now - window.since > 6000 && window.lowest; })()")
            kind = await page.value(f"document.querySelector(\"{item} .score\").textContent.split(' ')[0]")
            for _ in range(3):
                noted = await said(selector="[data-outcome=failed]")  # outcomes of the gripper that is shown move the ranking
                assert noted == f"Noted: number {worst} failed ({kind}): not gripped."
            await page.wait_for(f"{score} < {was}")
            await page.shoot(SCREENS / "after-outcomes.png")
            count = await page.value(f"{replies}.length")
            await page.value("(() => { const link = document.getElementById('link'); window.links = []; "  # cut
                             "new MutationObserver(() => links.push(link.textContent)).observe(link, {childList: true}); "
                             "state.socket.close(); })()")
            await page.wait_for("links.includes('not connected') && links.at(-1) === 'connected'")  # goes on where it was
            await page.wait_for(f"{replies}.length === {count}")
            assert page.errors == []

    try:
        run(work())
    finally:
        moving.clear()
    assert {path.name for path in SCREENS.glob("*.png")} >= {"light.png", "dark-tablet.png", "after-outcomes.png"}


def test_two_operators_have_their_own_conversations_and_keep_them(console):
    async def work():
        async with aiohttp.ClientSession() as http:
            token = await page_token(http, console)
            async with join(http, console) as one, join(http, console) as two:
                for socket in (one, two):
                    await socket.send_json({"token": token})
                names = [(await until(socket, "welcome"))["session"] for socket in (one, two)]
                assert names[0] != names[1]
                everything = len((await until(two, "ranking"))["ranked"])
                await one.send_json({"type": "ask", "text": "only boxes"})
                assert (await until(one, "reply"))["action"] == "filter"
                await two.send_json({"type": "ask", "text": "how many are there?"})
                assert f"{everything}: " in (await until(two, "reply"))["text"]
            async with join(http, console) as again:
                await again.send_json({"token": token, "session": names[0]})
                welcome = await until(again, "welcome")
                assert welcome["session"] == names[0]
                assert [line["text"] for line in welcome["history"]][0] == "only boxes"
                assert len((await until(again, "ranking"))["ranked"]) < everything

    run(work())


def test_nothing_goes_without_token_origin_and_host(console):
    async def work():
        async with aiohttp.ClientSession() as http:
            token = await page_token(http, console)
            for hello in ({}, {"token": ""}, {"token": token[:-1] + "."}, {"token": None}, [], {"type": "ask", "text": "take 1"}):
                async with join(http, console) as socket:
                    await socket.send_json(hello)
                    message = await socket.receive(timeout=20)
                    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
            async with join(http, console) as socket:  # after five wrong ones even the right one has to wait
                await socket.send_json({"token": token})
                assert (await socket.receive(timeout=20)).data == 4401
            for origin in ("http://evil.example", "null", f"http://127.0.0.1:{console.port + 1}"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await join(http, console, Origin=origin)
                assert caught.value.status == 403
            for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{console.port}"}, {"Host": "127.0.0.1:1"}):
                async with http.get(f"{console.address}/", headers=headers) as response:
                    assert response.status == 421
                    assert token not in await response.text()

    run(work())


def test_requests_reach_no_files(console):
    async def work():
        async with aiohttp.ClientSession() as http:
            for path in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/console.py", "/data/console/index.html",
                         "//etc/passwd", "/socket/../console.js", "/index.html", "/.git/config"):
                url = aiohttp.client.URL(f"{console.address}{path}", encoded=True)
                async with http.get(url, allow_redirects=False) as response:
                    assert response.status in (400, 404), path
                    assert "root:" not in await response.text()
            for method in ("post", "put", "delete", "patch", "options"):
                async with http.request(method, f"{console.address}/") as response:
                    assert response.status == 405
            async with http.get(f"{console.address}/") as response:
                assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"

    run(work())


def test_bad_messages_get_words_and_floods_are_limited(belt):
    console = ConsoleProcess(environment_of(belt))

    async def work():
        async with aiohttp.ClientSession() as http:
            token = await page_token(http, console)
            async with join(http, console) as socket:
                await socket.send_json({"token": token, "session": "../../etc"})
                assert re.fullmatch("[0-9a-f]{32}", (await until(socket, "welcome"))["session"])
                for bad in ("", "{", "[]", "7", '{"type": "explode"}', '{"type": "click", "x": "a", "y": 0}',
                            '{"type": "outcome", "id": "x"}', '{"type": "click", "x": 1e999, "y": 0}', "[" * 4000):
                    await socket.send_str(bad)
                    assert (await until(socket, "refused"))["words"]
                await socket.send_json({"type": "ask", "text": "   "})
                assert (await until(socket, "reply"))["text"]
                await socket.send_json({"type": "outcome", "id": 4242, "success": True})
                assert "no grasp" in (await until(socket, "reply"))["text"]
                for _ in range(400):
                    await socket.send_json({"type": "ask", "text": "how many bags?"})
                while (message := await socket.receive(timeout=30)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    pass
                assert message.data == 4429
            async with join(http, console) as socket:  # the server and the node go on
                await socket.send_json({"token": token})
                assert (await until(socket, "ranking"))["ranked"]
            async with join(http, console) as socket:
                await socket.send_str("x" * 10_000)
                assert (await socket.receive(timeout=20)).type == aiohttp.WSMsgType.CLOSE

    try:
        run(work())
    finally:
        console.end()


def test_other_addresses_need_the_token(belt):
    console = ConsoleProcess(environment_of(belt, PERCEPTION_CONSOLE_TOKEN="a token of the operators"), "--host", "0.0.0.0")

    async def work():
        async with aiohttp.ClientSession() as http:
            assert await page_token(http, console) == ""
            async with join(http, console) as socket:
                await socket.send_json({"token": "another token of somebody"})
                assert (await socket.receive(timeout=20)).data == 4401
            async with join(http, console) as socket:
                await socket.send_json({"token": "a token of the operators"})
                assert (await until(socket, "welcome"))["history"] == []

    try:
        assert console.token == "a"  # printed as the operators gave it; a blank ends the address
        run(work())
    finally:
        console.end()


@pytest.mark.parametrize(("arguments", "words"), [(["--host", "999.1.1.1"], "expected an address"),
                                                  (["--rate", "0"], "expected 0.5 to 60")])
def test_what_cannot_be_served_is_said_in_one_line(arguments, words):
    command = [sys.executable, "-m", "perception_node.cli", "console", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_short_token_is_refused():
    done = subprocess.run([sys.executable, "-m", "perception_node.cli", "console"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PERCEPTION_CONSOLE_TOKEN": "short"}, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "at least 16 characters" in done.stderr
