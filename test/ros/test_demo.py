"""`perception demo` as a user starts it: it ends well with pictures and figures, and nothing survives it."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import pytest

DEMO = [sys.executable, "-m", "perception_node.cli", "demo"]
FORBIDDEN = ("torch", "mujoco", "pycocotools", "matplotlib")


@pytest.fixture
def environment(cell, tmp_path):
    """The cell's environment, in which the libraries of training and simulation cannot be imported."""
    poison = tmp_path / "poison"
    poison.mkdir()
    for name in FORBIDDEN:
        (poison / f"{name}.py").write_text(f"raise ImportError('the demo imported {name}')\n")
    made = cell.environment()
    return {**made, "PYTHONPATH": os.pathsep.join([str(poison), made["PYTHONPATH"]])}


def children_of(pid):
    """Process ids of all children that live (no zombies)."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8") as stat:
                state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(entry))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, limit_s=60.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_the_demo_ends_with_figures_and_pictures(environment, tmp_path):
    out = tmp_path / "out"
    config = tmp_path / "cell.yaml"
    config.write_text("/**:\n  ros__parameters:\n    node:\n      max_age_s: 10.0\n")
    # Slower than recorded, so that a busy machine processes most frames, too.
    done = subprocess.run([*DEMO, "--out", str(out), "--frames", "24", "--rate", "0.3", "--config", str(config),
                           "--json", str(tmp_path / "figures.json")],
                          env=environment, capture_output=True, text=True, timeout=200, check=False)
    said = f"{done.stdout}\n{done.stderr}\n{(out / 'node.log').read_text()}"
    shortfalls = [line for line in done.stderr.splitlines() if line.startswith("falls short")]
    assert done.returncode == (1 if shortfalls else 0), said
    # How fast it is, is the machine's affair; what it finds is not.
    assert all("frames processed" in line or "ms at p95" in line for line in shortfalls), said
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["frames"]["sent"] == 24
    assert figures["frames"]["processed"] + figures["frames"]["dropped"] == 24
    assert figures["masks"]["packages"] > 24
    assert set(figures["stamp_to_publish_ms"]) == {"p50", "p95", "p99"}
    assert figures["planner"]["last"].startswith("would pick")
    for words in ("24 sent", "stamp to publish", "at IoU 0.5", "belt", "would pick"):
        assert words in done.stdout
    for name in ("contact_sheet.png", "grasps.png", "demo.png"):
        assert cv2.imread(str(out / name)).std() > 10
    lines = [json.loads(line) for line in (out / "scenes.jsonl").read_text().splitlines()]
    assert len(lines) == figures["frames"]["processed"]
    assert all(line["packages"] for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_a_demo_that_is_stopped(environment, tmp_path, number):
    demo = subprocess.Popen([*DEMO, "--out", str(tmp_path / "out"), "--rate", "0.05"], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: len(children_of(demo.pid)) == 3)
        children = children_of(demo.pid)
        demo.stdout.readline()  # the line that says that it plays
        demo.send_signal(number)
        _, error = demo.communicate(timeout=60)
        until(lambda: not any(alive(child) for child in children))
    finally:
        demo.kill()
    assert demo.returncode == {signal.SIGKILL: -signal.SIGKILL}.get(number, 130)
    assert "Traceback" not in error


@pytest.mark.parametrize(("arguments", "words"), [
    (["--recording", "nowhere"], "nowhere: expected a recording"),
    (["--rate", "0"], "--rate: expected a number above 0"),
    (["--config", "nowhere.yaml"], "nowhere.yaml: expected a readable file"),
    (["--config", __file__], "test_demo.py: expected YAML")])
def test_bad_input_is_one_line(environment, tmp_path, arguments, words):
    done = subprocess.run([*DEMO, "--out", str(tmp_path / "out"), *arguments], env=environment, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_node_that_cannot_start_is_reported_with_its_own_words(environment, tmp_path):
    config = tmp_path / "cell.yaml"
    config.write_text("/**:\n  ros__parameters:\n    segment:\n      model: /nowhere/model.onnx\n")
    done = subprocess.run([*DEMO, "--out", str(tmp_path / "out"), "--config", str(config)], env=environment, capture_output=True,
                          text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert "the node ended early" in done.stderr
    assert "/nowhere/model.onnx" in done.stderr
