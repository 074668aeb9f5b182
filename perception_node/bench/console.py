"""What the operator's page shows and what it costs the node: `perception bench console`.

The node computes the bundled recording; the console runs beside it. The camera plays at a rate that two processors carry, then at
one that fills them. In pairs of intervals, in alternating order, nobody looks, or somebody does: a client that takes what the
page takes and draws nothing (as from a tablet by the line, whose work is not this machine's), then the page itself in Chromium on
this machine, where there is one. Pairs in which nobody ever looks say how much two intervals differ by themselves. Exit status 1
when the page shows under 10 pictures a second, or when the node's p95 from stamp to publishing is 1 ms or more above that of the
interval beside it (median of the pairs); the browser's own work on the node's processors is measured too, but is no promise of
the console.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import re
import statistics
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from perception_node.arguments import above_zero, file_to_write, folder_to_write, one_or_more
from perception_node.bench.browser import find_chromium
from perception_node.bench.live_figures import Arrival
from perception_node.bench.usage import MachineUse, ProcessUse, session_cpu_s
from perception_node.errors import PerceptionError
from perception_node.files import put_json

if TYPE_CHECKING:
    from perception_node.ros.live_cell import Camera, LiveCell

PICTURES_HZ, CHANGE_MS = 10.0, 1.0
"""Source: the project's requirement for the page (docs/advise.md)."""
SIZE, RATES_HZ = (640, 480), (15.0, 30.0)
KINDS = {"nobody": "nobody looks, ever (how much two intervals differ by themselves)",
         "client": "page elsewhere (a client that draws nothing)", "browser": "page in Chromium on this machine"}
SETTLE_S = 2.0
"""Not measured after each opening and closing: connections are made and taken down. Source: judgement."""
OPEN_S = 8.0
"""Time for openings and closings of one pair."""


@dataclass(frozen=True)
class Interval:
    """One measured interval: whether somebody looked, its ends (ns, as stamps), its length, and the processor time used in it."""

    looked: bool
    begin_ns: int
    end_ns: int
    seconds: float
    pictures_hz: float
    said: str
    node_s: float
    camera_s: float
    console_s: float
    page_s: float
    busy_percent: float


@dataclass(frozen=True)
class Pair:
    """Two neighbouring intervals with the latencies (ms, stamp to publishing) of the node in each."""

    without: Interval
    looked: Interval
    without_ms: Sequence[float]
    looked_ms: Sequence[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--hz", type=float, nargs="+", default=list(RATES_HZ), metavar="HZ",
                        help=f"rates of the camera in Hz (default: {' '.join(f'{hz:g}' for hz in RATES_HZ)})")
    parser.add_argument("--pairs", type=one_or_more, default=6, metavar="N",
                        help="pairs of intervals for each kind of page (default: 6)")
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="length of an interval in s (default: 10)")
    parser.add_argument("--no-browser", action="store_true", help="only the client that draws nothing")
    parser.add_argument("--out", type=folder_to_write, default=Path("out/console_bench"),
                        help="folder for the processes' words (default: out/console_bench)")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 = within what is promised, 1 = not.

    Raises:
        PerceptionError: an argument cannot be used, or a process failed to do its work.
    """
    from perception_node.ros.live_cell import live_cell

    if not 1 <= args.pairs <= 100:
        raise PerceptionError(f"--pairs: expected 1 to 100, got {args.pairs}")
    if not 1.0 <= args.seconds <= 600.0:
        raise PerceptionError(f"--seconds: expected 1 to 600, got {args.seconds:g}")
    if not all(1.0 <= hz <= 120.0 for hz in args.hz):
        raise PerceptionError(f"--hz: expected 1 to 120, got {' '.join(f'{hz:g}' for hz in args.hz)}")
    report: dict[str, Any] = {
        "machine": f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} processors, "
                   f"Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 2), "seconds": args.seconds, "pairs": args.pairs, "rates": {}}
    kinds = list(KINDS)[: 3 if find_chromium() and not args.no_browser else 2]
    missed: list[str] = []
    with live_cell(1, SIZE, args.out) as cell:
        address = _console(cell)
        cell.connect()
        idle = MachineUse()
        while len(idle.samples) < 2:
            cell.spin()
            idle.sample()
        report["busy_before_percent"] = round(statistics.mean(idle.samples), 1)
        print(f"{report['machine']}; load {report['load_before']:g}, {report['busy_before_percent']:g} % busy before; "
              f"{args.pairs} pairs of {args.seconds:g} s each")
        for kind in kinds:
            page = None if kind == "nobody" else _PageProcess(cell, kind, address)
            for hz in args.hz:
                found = figures(_measure(cell, page, hz, args.pairs, args.seconds))
                report["rates"].setdefault(f"{hz:g}", {})[kind] = found
                print(f"\n{SIZE[0]}x{SIZE[1]} at {hz:g} Hz, " + "\n".join(lines(kind, found)), flush=True)
                missed += [f"{hz:g} Hz, {kind}: {words}" for words in shortfalls(kind, found)]
    report["falls_short"] = missed
    if args.json is not None:
        put_json(args.json, report)
    print("\n" + ("\n".join(f"FALLS SHORT: {words}" for words in missed) if missed else "within what is promised"))
    return 1 if missed else 0


def figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """All figures of one kind of page: milliseconds from stamp to publishing, cores (processor seconds a second), percent."""
    changes = {f"p{p}": [float(np.percentile(pair.looked_ms, p) - np.percentile(pair.without_ms, p)) for pair in pairs]
               for p in (50, 95)}

    def side(looked: bool) -> dict[str, float]:
        intervals = [pair.looked if looked else pair.without for pair in pairs]
        latencies = np.concatenate([pair.looked_ms if looked else pair.without_ms for pair in pairs])
        seconds = sum(interval.seconds for interval in intervals)
        return {"p50_ms": float(np.percentile(latencies, 50)), "p95_ms": float(np.percentile(latencies, 95)),
                "results_hz": len(latencies) / seconds, "node_cores": sum(i.node_s for i in intervals) / seconds,
                "camera_cores": sum(i.camera_s for i in intervals) / seconds,
                "console_cores": sum(i.console_s for i in intervals) / seconds,
                "page_cores": sum(i.page_s for i in intervals) / seconds,
                "machine_busy_percent": statistics.mean(i.busy_percent for i in intervals)}

    rates = [pair.looked.pictures_hz for pair in pairs]
    return {"pictures_hz": statistics.mean(rates), "pictures_hz_least": min(rates), "page_says": pairs[-1].looked.said,
            "without": side(False), "looked": side(True),
            **{f"{name}_change_ms": {"median": statistics.median(values), "least": min(values), "most": max(values)}
               for name, values in changes.items()}}


def shortfalls(kind: str, found: dict[str, Any]) -> list[str]:
    """Why the figures are less than promised, one sentence each. What a browser computes on this machine is not the console's."""
    words: list[str] = []
    if kind == "nobody":
        return words
    if found["pictures_hz"] < PICTURES_HZ:
        words.append(f"expected at least {PICTURES_HZ:g} pictures a second, got {found['pictures_hz']:.1f}")
    change = found["p95_change_ms"]["median"]
    if kind == "client" and change >= CHANGE_MS:
        words.append(f"expected the node's p95 to change by less than {CHANGE_MS:g} ms with the page open, got {change:+.1f} ms")
    return words


def lines(kind: str, found: dict[str, Any]) -> list[str]:
    """The figures for people."""
    out = [f"{KINDS[kind]}:"]
    if kind != "nobody":
        out.append(f"  pictures        {found['pictures_hz']:.1f} a second, {found['pictures_hz_least']:.1f} in the worst interval"
                   + (f"; the page says: {found['page_says']}" if found["page_says"] else ""))
    for words, side in (("nobody looks", found["without"]), ("nor here" if kind == "nobody" else "page open", found["looked"])):
        out.append(f"  {words:15} node p50 {side['p50_ms']:.1f}, p95 {side['p95_ms']:.1f} ms, {side['results_hz']:.1f} results a "
                   f"second; cores: node {side['node_cores']:.2f}, camera {side['camera_cores']:.2f}, console "
                   f"{side['console_cores']:.2f}, page {side['page_cores']:.2f}; machine {side['machine_busy_percent']:.0f} % busy")
    for name in ("p50", "p95"):
        change = found[f"{name}_change_ms"]
        out.append(f"  {name} changes by  {change['median']:+.2f} ms (median of the pairs; {change['least']:+.2f} to "
                   f"{change['most']:+.2f})")
    return out


def _console(cell: LiveCell) -> str:
    """Start the console beside the camera's node; its address."""
    log = cell.processes.log("console")
    cell.processes.start("console", [sys.executable, "-m", "perception_node.ros.console", "--port", "0", "--ros-args", "-r",
                                     f"__ns:=/{cell.cameras[0].namespace}"])
    said = ""

    def ready() -> bool:
        nonlocal said
        said = log.read_text(encoding="utf-8", errors="replace")
        if cell.processes.status("console") is not None:
            raise PerceptionError(f"the console ended: {(said.strip().splitlines() or ['nothing said'])[-1]}")
        return re.search(r"http://\S+/\n", said) is not None
    cell.wait(ready, "the console's address")
    found = re.search(r"http://\S+?:(\d+)/\n", said)
    assert found is not None
    return f"http://127.0.0.1:{found[1]}"


def _measure(cell: LiveCell, page: _PageProcess | None, hz: float, count: int, seconds: float) -> list[Pair]:
    camera = cell.cameras[0]
    frames = round(hz * (2 * (seconds + SETTLE_S) + (0.0 if page is None else OPEN_S)) + hz)
    pairs = []
    for number in tqdm(range(count), unit="pair", leave=False, dynamic_ncols=True):
        intervals: list[Interval] = []
        script = _script(cell, camera, page, (False, True) if number % 2 == 0 else (True, False), seconds, intervals)
        camera.raw.clear()
        cell.play(hz, frames, partial(next, script, None))
        if len(intervals) < 2:
            raise PerceptionError(f"expected the page to open and close within {OPEN_S:g} s, it did not")
        arrivals = cell.arrivals(camera)
        looked, without = sorted(intervals, key=lambda interval: not interval.looked)
        pairs.append(Pair(without, looked, _latencies(arrivals, without), _latencies(arrivals, looked)))
    return pairs


def _latencies(arrivals: Sequence[Arrival], interval: Interval) -> list[float]:
    found = [1e3 * a.latency_s for a in arrivals if interval.begin_ns <= a.stamp_ns < interval.end_ns]
    if not found:
        raise PerceptionError(f"expected results of the node in every interval, got none in one and {len(arrivals)} in all")
    return found


def _script(cell: LiveCell, camera: Camera, page: _PageProcess | None, order: Sequence[bool], seconds: float,
            out: list[Interval]) -> Generator[None, None, None]:
    """What happens while the camera plays: each `next` goes on as far as it can without waiting."""
    def use() -> list[float]:
        pids = (cell.pid(camera), camera.process.pid, cell.processes.pid("console"))
        return [*(ProcessUse.of(pid).cpu_s for pid in pids), 0.0 if page is None else session_cpu_s(page.pid)]

    for looked in order:
        if page is not None:
            yield from page.tell("open" if looked else "close")
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            yield
        first: dict[str, Any] = {}
        if looked and page is not None:
            first = yield from page.tell("count")
        machine, before = MachineUse(), use()
        begin_ns, begin_s = time.time_ns(), time.monotonic()
        while time.monotonic() < begin_s + seconds:
            yield
        after, end_ns, length_s = use(), time.time_ns(), time.monotonic() - begin_s
        machine.sample(0.0)
        rate, said = 0.0, ""
        if looked and page is not None:
            last = yield from page.tell("count")
            rate, said = (last["pictures"] - first["pictures"]) / (last["at_s"] - first["at_s"]), last["said"]
        node_s, camera_s, console_s, page_s = (b - a for a, b in zip(before, after, strict=True))
        out.append(Interval(looked, begin_ns, end_ns, length_s, rate, said, node_s, camera_s, console_s, page_s,
                            machine.samples[-1]))
    if page is not None:
        yield from page.tell("close")


class _PageProcess:
    """The page in its process; `tell` is a generator that yields while there is no answer and returns it."""

    def __init__(self, cell: LiveCell, kind: str, address: str) -> None:
        self._name, self._cell = f"page_{kind}", cell
        self._process = cell.processes.start(self._name, [sys.executable, "-m", "perception_node.bench.console_page", address,
                                                          *(["--browser"] if kind == "browser" else [])], talk=True)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        cell.wait(lambda: not self._answers.empty(), f"the process {self._name}")
        self._answers.get()

    @property
    def pid(self) -> int:
        """Process id, which is also that of its session: a browser belongs to it."""
        return int(self._process.pid)

    def tell(self, command: str) -> Generator[None, None, dict[str, Any]]:
        """Give a command; yields until it is answered.

        Raises:
            PerceptionError: it could not be done.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        while self._answers.empty():
            if self._process.poll() is not None:
                raise PerceptionError(f"{self._name} ended with status {self._process.returncode}: see "
                                      f"{self._cell.processes.log(self._name)}")
            yield
        answer = self._answers.get()
        if "failed" in answer:
            raise PerceptionError(f"{self._name}: {answer['failed']}")
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
