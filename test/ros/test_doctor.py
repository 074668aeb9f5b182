"""The doctor beside a running cell: silent about a healthy one, one line for each thing that is wrong with a sick one."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture
def doctor(tmp_path):
    """Run the doctor beside a cell that plays meanwhile; returns status, text and findings by (level, check)."""
    def examine(cell, play, *arguments):
        out = tmp_path / "findings.json"
        command = [sys.executable, "-m", "perception_node.cli", "doctor", "--seconds", "1.5", "--json", str(out), *arguments]
        process = subprocess.Popen(command, env=cell.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            cell.wait_until(lambda: process.poll() is not None, "the doctor's end", 100.0, each=play)
            text = process.stdout.read()
        finally:
            process.kill()
            process.wait()
        found = {}
        for finding in json.loads(out.read_text()):
            found.setdefault((finding["level"], finding["check"]), []).append(finding["words"])
        return process.returncode, text, found
    return examine


def test_a_healthy_cell(running, doctor, frames, messages):
    number = iter(range(10**6))

    def play():
        running.send(*messages.triple(frames[next(number) % 8], running.next_stamp_ns()))
    status, text, found = doctor(running, play)
    bad = {key: words for key, words in found.items() if key[0] == "error" and key[1] not in ("diagnostics",)}
    assert not bad, text
    for check in ("ros", "messages", "model", "node", "picture", "calibration", "depth_unit", "stamps"):
        assert ("ok", check) in found, text
    assert "/perception is active" in found["ok", "node"]
    assert "Traceback" not in text
    assert status == int(any(level == "error" for level, _ in found))


def test_a_sick_cell_has_a_line_for_each_fault(cell, doctor, frames, messages):
    """A camera alone, no node: calibration zero, depth of another size, frame and time, in the wrong unit, a black picture."""
    def play():
        stamp = cell.now_ns() - 10**9
        metres = np.ones((240, 320), np.uint16)
        colour = messages.image(np.zeros_like(frames[0].rgb), "rgb8", stamp)
        depth = messages.image(metres, "16UC1", stamp + 40_000_000, "another_frame")
        info = messages.info(frames[0].camera, stamp)
        info.k = np.zeros(9)
        for topic, message in (("cam/info", info), ("cam/depth", depth), ("cam/colour", colour)):
            cell.publisher(topic, type(message), wait=False).publish(message)
    play()
    status, text, found = doctor(cell, play)
    assert status == 1
    for level, check in (("error", "calibration"), ("error", "sizes"), ("error", "frames"), ("error", "depth_unit"),
                         ("error", "stamps"), ("error", "picture"), ("warn", "clock"), ("warn", "tf"), ("note", "node")):
        assert (level, check) in found, f"{level} {check}\n{text}"
    assert "Traceback" not in text


def test_quality_of_service_that_does_not_fit_and_a_missing_camera(running, doctor, frames, messages):
    """The running node asks for reliable pictures: a best-effort camera beside it stays unheard; another topic has no camera."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    camera = running.node.create_publisher(Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    try:
        status, text, found = doctor(running, lambda: None, "--depth", "/nobody/depth")
        assert status == 1
        assert any("do not fit" in words for words in found["error", "qos"]), text
        assert any("expected one publisher" in words for words in found["warn", "publishers"]), text
        assert any("nobody publishes /nobody/depth" in words for words in found["warn", "publishers"]), text
    finally:
        running.node.destroy_publisher(camera)
