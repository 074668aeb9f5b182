"""Jobs over processes: the same answers in the same order, and what fails costs one job."""

import importlib
import os
import sys

import pytest

from perception_node.errors import DatasetError, FrameError, MissingDependencyError
from perception_node.spread import Spread, gather, spread

PROGRAM = """
import os
from pathlib import Path
from perception_node.errors import FrameError

def work(number, kind="fine"):
    if kind == "wrong":
        raise FrameError(f"expected a frame, got {number}")
    if kind == "file":
        Path(f"/nowhere/{number}").read_bytes()
    if kind == "fault":
        return [][number]
    if kind == "dies":
        os._exit(3)
    return number * number, os.getpid()
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """What is spread; worker processes import it too."""
    (tmp_path / "spread_work.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spread_work", raising=False)
    return importlib.import_module("spread_work").work


KINDS = [(0,), (1, "wrong"), (2, "file"), (3, "fault"), (4,)]


@pytest.mark.parametrize("processes", [1, 2])
def test_one_that_fails_does_not_stop_the_others(work, processes):
    ended = sorted(spread(work, KINDS, Spread(processes), progress=False), key=lambda done: done.number)
    assert [done.number for done in ended] == [0, 1, 2, 3, 4]
    assert [done.answer and done.answer[0] for done in ended] == [0, None, None, None, 16]
    assert (ended[0].answer[1] == os.getpid()) == (processes == 1)
    assert type(ended[1].error) is FrameError
    assert str(ended[1].error) == "expected a frame, got 1"
    assert "No such file" in str(ended[2].error)
    assert str(ended[3].error) == "unexpected IndexError: list index out of range"
    with pytest.raises(FrameError, match="got 1"):
        gather(work, KINDS, Spread(processes), progress=False)


def test_a_process_that_ends_is_said(work):
    with pytest.raises(DatasetError, match="its process ended: "):
        gather(work, [(0, "dies"), (1, "dies")], Spread(2), progress=False)


def test_how_many_at_once(work, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Spread(0, threads=2).workers(100) == 4
    assert Spread(0, threads=16).workers(100) == 1
    assert Spread(0, threads=0).workers(100) == 1
    assert Spread(3).workers(100) == 3
    assert Spread(3).workers(2) == 2
    assert gather(work, [], Spread(2), progress=False) == []
    with pytest.raises(DatasetError, match="expected 0"):
        gather(work, [(1,)], Spread(-1), progress=False)


def test_ray_that_is_not_installed_is_one_line(work, monkeypatch):
    monkeypatch.setattr("perception_node.spread.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install ray"):
        gather(work, [(1,)], Spread(over="ray"), progress=False)
