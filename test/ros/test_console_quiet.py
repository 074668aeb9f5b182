"""The console reads scenes and pictures only while somebody looks."""

import asyncio
import re
import signal
import subprocess
import sys

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="pip install -r requirements/runtime.txt")

TOPICS = ("/image", "/camera_info", "/perception/scene")


@pytest.fixture
def address(cell):
    """Of a console without a node."""
    command = [sys.executable, "-m", "perception_node.ros.console", "--port", "0"]
    process = subprocess.Popen(command, env={**cell.environment(), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield re.search(r"http://\S+?:(\d+)/", line)[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_only_an_open_page_in_sight_is_read_for(cell, address):
    async def readers(count):  # in a thread: the page must answer the server's pings meanwhile
        await asyncio.to_thread(cell.wait_until, lambda: [cell.node.count_subscribers(topic) for topic in TOPICS] == [count] * 3,
                                f"{count} readers of each topic")

    async def work():
        url = f"http://127.0.0.1:{address}"
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/") as response:
                token = re.search(r'name="page-token" content="([^"]+)"', await response.text())[1]
            cell.wait_until(lambda: cell.node.count_subscribers("/diagnostics") > 0, "the console in the graph")
            await readers(0)
            async with http.ws_connect(f"{url}/socket", headers={"Origin": url}) as socket:
                await socket.send_json({"token": token})
                assert (await socket.receive_json(timeout=40))["type"] == "welcome"
                await readers(1)
                for hidden in (True, False):
                    await socket.send_json({"type": "hidden", "hidden": hidden})
                    await readers(0 if hidden else 1)
            await readers(0)

    asyncio.run(asyncio.wait_for(work(), 300))
