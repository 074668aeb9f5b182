"""Figures of the page and of what it costs, from made-up records; processor time of a group of processes."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from perception_node.bench.console import Interval, Pair, figures, lines, shortfalls
from perception_node.bench.usage import ProcessUse, session_cpu_s


def pair(pictures_hz=15.0, change_ms=0.0, slow_ms=40.0):
    def interval(looked, page_s):
        return Interval(looked, 0, 10**10, 10.0, pictures_hz if looked else 0.0, "15 pictures a second" if looked else "", 5.0, 0.7,
                        1.5 if looked else 0.1, page_s, 70.0)
    latencies = np.concatenate([np.full(270, 30.0), np.full(30, slow_ms)])
    return Pair(interval(False, 0.0), interval(True, 2.0), list(latencies), list(latencies + change_ms))


def test_figures_and_words_of_a_good_page():
    found = figures([pair(), pair(14.0, 0.4), pair(15.0, 0.2)])
    assert found["pictures_hz"] == pytest.approx(44 / 3)
    assert found["pictures_hz_least"] == 14.0
    assert found["p95_change_ms"] == pytest.approx({"median": 0.2, "least": 0.0, "most": 0.4})
    assert found["without"]["p95_ms"] == 40.0
    assert found["without"]["results_hz"] == 30.0
    assert found["looked"]["console_cores"] == pytest.approx(0.15)
    assert found["looked"]["page_cores"] == pytest.approx(0.2)
    assert shortfalls("client", found) == []
    assert "node p50 30.0, p95 40.0 ms" in "\n".join(lines("client", found))
    assert "the page says: 15 pictures a second" in "\n".join(lines("browser", found))


def test_a_drifting_machine_changes_both_of_a_pair():
    found = figures([pair(slow_ms=slow, change_ms=0.1) for slow in (40.0, 80.0, 55.0)])
    assert found["p95_change_ms"]["median"] == pytest.approx(0.1)


@pytest.mark.parametrize(("kind", "made", "words"), [
    ("client", pair(9.4), "expected at least 10 pictures a second, got 9.4"),
    ("browser", pair(9.4), "expected at least 10 pictures a second, got 9.4"),
    ("client", pair(change_ms=1.2), "p95 to change by less than 1 ms with the page open, got +1.2 ms")])
def test_what_falls_short_is_said(kind, made, words):
    found = shortfalls(kind, figures([made]))
    assert len(found) == 1
    assert words in found[0]


def test_processes_of_one_session_count_together():
    busy = "import os\nif os.fork() == 0:\n    while True: pass\nprint(flush=True)\nos.wait()"
    leader = subprocess.Popen([sys.executable, "-c", busy], start_new_session=True, stdout=subprocess.PIPE)
    try:
        leader.stdout.readline()
        while session_cpu_s(leader.pid) < ProcessUse.of(leader.pid).cpu_s + 0.1:
            assert leader.poll() is None
    finally:
        os.killpg(leader.pid, 9)
        leader.wait()
        leader.stdout.close()
    until = time.monotonic() + 20
    while session_cpu_s(leader.pid) > 0.0:  # the kernel ends the other one in its own time
        assert time.monotonic() < until
