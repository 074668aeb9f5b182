"""What the doctor says of made-up machines and cells; each silent failure known from other packages has its line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace as Thing

import numpy as np
import pytest

from perception_node import cli
from perception_node.config import Config, from_flat
from perception_node.doctor import machine
from perception_node.doctor.findings import CHECKS, Finding
from perception_node.doctor.streams import Stream, stream_findings
from perception_node.ros.transport import PROFILES_FILE

SECOND = 10**9
NOW = 1_700_000_000 * SECOND

SILENT_FAILURES = {
    "quality of service does not fit: silence": "qos",
    "colour and depth of different size: objects vanish": "sizes",
    "depth read with the wrong unit": "depth_unit",
    "transform missing: nothing comes out": "tf",
    "old frames in a queue": "clock",
    "colour and depth far apart in time": "stamps",
    "stamp lost": "stamps",
    "frame_id lost": "frames",
    "model's contract implicit: nothing published, or the process dies": "model",
    "works from the recording, not live": "clock",
    "depth with holes: absurd picks": "depth_holes",
    "table and walls taken for packages, as nothing says where the belt is": "belt",
    "NumPy 2 against cv_bridge": "cv_bridge",
    "diagnostics that stop when the camera stops": "diagnostics",
    "large pictures never arrive": "transport",
    "two drivers on one topic": "publishers",
    "calibration all zero": "calibration",
    "lens covered": "picture",
    "interface package not built": "messages",
}


def message(**fields):
    return Thing(header=Thing(frame_id=fields.pop("frame_id", "cam_optical_frame"), stamp=Thing(sec=1, nanosec=0)), **fields)


def picture(value=90, width=8, height=6, **fields):
    pixels = np.full((height, width, 3), value, np.uint8)
    return message(**{"width": width, "height": height, "encoding": "rgb8", "step": 3 * width, "is_bigendian": 0,
                      "data": pixels.tobytes(), **fields})


def depth_picture(millimetres=1000, width=8, height=6, **fields):
    pixels = np.full((height, width), millimetres, np.uint16)
    return message(**{"width": width, "height": height, "encoding": "16UC1", "step": 2 * width, "is_bigendian": 0,
                      "data": pixels.tobytes(), **fields})


def calibration(focal_px=10.0, **fields):
    k = [focal_px, 0.0, 3.5, 0.0, focal_px, 2.5, 0.0, 0.0, 1.0]
    return message(**{"width": 8, "height": 6, "k": k, "d": [], "distortion_model": "", "binning_x": 0, "binning_y": 0,
                      "roi": Thing(x_offset=0, y_offset=0, width=0, height=0), **fields})


def healthy(**changes):
    """Streams of a healthy camera of 10 Hz, changed: name__attribute=value."""
    types = {"colour": "sensor_msgs/msg/Image", "depth": "sensor_msgs/msg/Image", "info": "sensor_msgs/msg/CameraInfo"}
    last = {"colour": picture(), "depth": depth_picture(), "info": calibration()}
    streams = {}
    for name, kind in types.items():
        stamps = [NOW + k * SECOND // 10 for k in range(20)]
        streams[name] = Stream(name, f"/{name}", kind, [kind], ["/driver"], [], [(s + 20_000_000, s) for s in stamps],
                               list(range(20)), last[name])
    for key, value in changes.items():
        name, attribute = key.split("__")
        setattr(streams[name], attribute, value)
    return streams


def judged(streams, depth_wanted=False, simulated=False):
    return stream_findings(streams, depth_wanted, simulated, 0.005)


def test_a_healthy_camera_has_no_complaints():
    found = judged(healthy())
    assert {finding.level for finding in found} == {"ok"}
    assert {"rate", "clock", "picture", "depth_unit", "calibration", "stamps"} == {finding.check for finding in found}


def shifted(seconds):
    return [(NOW + k * SECOND // 10, NOW + k * SECOND // 10 - round(seconds * SECOND)) for k in range(20)]


@pytest.mark.parametrize(("changes", "level", "check", "words"), [
    ({"colour__publishers": []}, "error", "publishers", "nobody publishes /colour"),
    ({"depth__publishers": [], "depth__last": None}, "warn", "publishers", "degraded mode"),
    ({"colour__publishers": ["/a", "/b"]}, "warn", "publishers", "expected one publisher, got /a, /b"),
    ({"colour__types": ["sensor_msgs/msg/CompressedImage"]}, "error", "type", "expected sensor_msgs/msg/Image"),
    ({"colour__misfits": ["driver and perception do not fit (reliability)"]}, "error", "qos", "nothing will arrive"),
    ({"colour__arrivals": [], "colour__last": None}, "error", "rate", "nothing arrives"),
    ({"colour__arrivals": [(NOW, NOW), (NOW + SECOND, NOW + SECOND)]}, "warn", "rate", "1.0 Hz"),
    ({"colour__numbers": list(range(0, 60, 3))}, "warn", "transport", "are lost on the way"),
    ({"colour__last": picture(encoding="yuv999")}, "error", "encoding", "yuv999"),
    ({"depth__last": depth_picture(encoding="8UC1")}, "error", "encoding", "8UC1"),
    ({"depth__last": depth_picture(width=4)}, "error", "sizes", "/depth 4x6"),
    ({"info__last": calibration(width=16)}, "error", "sizes", "/info 16x6"),
    ({"depth__last": depth_picture(frame_id="other_optical_frame")}, "error", "frames", "frames differ"),
    ({"colour__last": picture(frame_id="")}, "error", "frames", "no frame_id on /colour"),
    ({"info__last": calibration(0.0)}, "error", "calibration", "focal lengths"),
    ({"colour__arrivals": [(NOW, 0)] * 20}, "error", "stamps", "got 0"),
    ({"depth__arrivals": shifted(0.03)}, "error", "stamps", "ms apart"),
    ({"colour__arrivals": shifted(1.0)}, "warn", "clock", "1.00 s after its stamp"),
    ({"colour__arrivals": shifted(-0.5)}, "warn", "clock", "0.50 s ahead"),
    ({"colour__arrivals": shifted(1e6)}, "error", "clock", "+1000000 s"),
    ({"depth__last": depth_picture(1)}, "error", "depth_unit", "0.001 m with encoding 16UC1"),
    ({"depth__last": depth_picture(10_800)}, "error", "depth_unit", "10.8 m with encoding 16UC1"),
    ({"info__last": calibration(1.2)}, "warn", "calibration", "hardly fit a picture of 8x6"),
    ({"depth__last": depth_picture(0)}, "error", "depth_holes", "no reading anywhere"),
    ({"colour__last": picture(2)}, "error", "picture", "black"),
])
def test_each_fault_has_its_line(changes, level, check, words):
    found = [finding for finding in judged(healthy(**changes)) if finding.level in ("warn", "error")]
    match = [finding for finding in found if finding.check == check and words in finding.words]
    assert match, [finding.line() for finding in found]
    assert match[0].level == level
    assert match[0].remedy


@pytest.mark.parametrize(("name", "told"), [("zed_left_camera_frame_optical", False), ("cam_optical_frame", False),
                                            ("camera_link", True)])
def test_a_frame_that_is_not_optical_is_told(name, told):
    found = judged(healthy(colour__last=picture(frame_id=name), depth__last=depth_picture(frame_id=name),
                           info__last=calibration(frame_id=name)))
    assert any(finding.check == "frames" for finding in found) == told


def test_a_cameras_topics_are_told_apart_by_name():
    pytest.importorskip("rclpy")
    from perception_node.ros.doctor_cell import guessed_topics

    image, info = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
    there = [(f"/cam/{name}", image) for name in ("aligned_depth_to_color/image_raw", "color/image_raw", "confidence/image",
                                                  "depth/image_rect_raw", "infra1/image_rect_raw", "ir/image_raw")]
    there += [(f"/cam/{name}/camera_info", info) for name in ("color", "depth", "ir")]
    assert guessed_topics(there) == {"colour": "/cam/color/image_raw", "depth": "/cam/aligned_depth_to_color/image_raw",
                                     "info": "/cam/color/camera_info"}
    assert guessed_topics([("/b/image_raw", image), ("/a/image_raw", image)]) == {"colour": "/a/image_raw"}
    assert guessed_topics([("/ir/image_raw", image)]) == {}


def test_simulated_time_is_not_judged_by_this_clock():
    found = judged(healthy(colour__arrivals=shifted(1e6)), simulated=True)
    assert not [finding for finding in found if finding.check == "clock" and finding.level == "error"]
    assert any("use_sim_time" in finding.words for finding in found)


def of(findings, level):
    return [finding for finding in findings if finding.level == level]


@pytest.mark.parametrize(("environment", "level", "words"), [
    ({}, "error", "is unset"), ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, "error", "is UDPv4"),
    ({"FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILES_FILE), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "ok", "shared memory"),
    ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, "warn", "=LARGE_DATA"),
    ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA?max_msg_size=1MB"}, "warn", "options"),
    ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "error", "LOCALHOST"),
    ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "note", "rmw_cyclonedds_cpp"),
    ({"FASTDDS_DEFAULT_PROFILES_FILE": "/no/such.xml"}, "error", "names no file"),
    ({"FASTDDS_DEFAULT_PROFILES_FILE": __file__}, "note", "transports as in"),
    ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA", "ROS_DOMAIN_ID": "250"}, "error", "expected 0 to 101, got '250'"),
])
def test_transport_variables(environment, level, words):
    assert [f for f in of(machine.transport(environment), level) if words in f.words]


def test_shared_memory(tmp_path, monkeypatch):
    assert of(machine.shared_memory(tmp_path / "none"), "warn")
    monkeypatch.setattr(machine, "SHM_BYTES", 10**18)
    assert "shm clean" in of(machine.shared_memory(tmp_path), "error")[0].remedy
    monkeypatch.setattr(machine, "SHM_BYTES", 1)
    assert of(machine.shared_memory(tmp_path), "ok")


def test_model_gpu_belt_and_configuration(tmp_path, monkeypatch):
    missing = from_flat({"segment.model": str(tmp_path / "none.onnx"), "segment.device": "cuda"})
    assert "/none." in of(machine.model(missing), "error")[0].words
    monkeypatch.setattr(machine, "GPUS", tmp_path / "gpus")
    assert of(machine.gpu(missing), "error")
    assert of(machine.gpu(Config()), "note")
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    assert of(machine.gpu(missing), "ok")
    assert of(machine.belt(Config()), "warn")
    assert of(machine.belt(from_flat({"belt.plane": [0.0, 0.0, -1.0, 1.2]})), "ok")
    (tmp_path / "cell.yaml").write_text("/**:\n  ros__parameters:\n    track:\n      gate_m: 7.0\n")
    config, found = machine.read_config(tmp_path / "cell.yaml")
    assert config == Config()
    assert f"{tmp_path / 'cell.yaml'}: track.gate_m: expected 0.005 to 1 m, got 7" in of(found, "error")[0].words


def test_grippers():
    both = of(machine.gripper(Config()), "ok")[0].words
    assert both == "grasps are proposed for suction (1 cup of 30 mm) and parallel jaw (5 to 140 mm)"
    assert "suction (4 cups" in of(machine.gripper(from_flat({"gripper.suction.rows": 2, "gripper.suction.columns": 2,
                                                               "gripper.parallel_jaw.enabled": False})), "ok")[0].words
    none = of(machine.gripper(from_flat({"gripper.suction.enabled": False, "gripper.parallel_jaw.enabled": False})), "warn")[0]
    assert "no grasp is proposed" in none.words
    assert "enabled: true" in none.remedy


def test_every_silent_failure_has_a_check():
    assert set(SILENT_FAILURES.values()) <= CHECKS.keys()


def test_every_check_is_made_somewhere():
    folder = Path(machine.__file__).parent
    files = [*(path for path in folder.glob("*.py") if path.name != "findings.py"), *(folder.parent / "ros").glob("doctor_*.py")]
    source = "".join(path.read_text() for path in files)
    assert [name for name in CHECKS if f'("{name}",' not in source] == []


def test_findings_are_lines_with_remedies():
    assert Finding("error", "qos", "a", "b").line() == "ERROR  qos          a -> b"
    with pytest.raises(AssertionError):
        Finding("error", "qos", "a")
    with pytest.raises(AssertionError):
        Finding("ok", "another", "a")


def test_without_ros_the_doctor_says_so(tmp_path):
    program = ("import sys; sys.modules.update(dict.fromkeys(['rclpy', 'perception_node_msgs']));"
               "import importlib.util as u; find = u.find_spec;"
               "u.find_spec = lambda name, package=None: None if name == 'rclpy' else find(name, package);"
               "from perception_node.cli import main; sys.exit(main(['doctor', '--json', sys.argv[1]]))")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out.json")], capture_output=True, text=True, timeout=100,
                          check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 1, done.stderr
    assert "ERROR  ros          " in done.stdout
    assert "the cell was not looked at" in done.stdout
    assert done.stderr == ""
    findings = json.loads((tmp_path / "out.json").read_text())
    assert {"level": "error", "check": "ros"}.items() <= next(f for f in findings if f["check"] == "ros").items()


def test_checks_are_listed(capsys):
    assert cli.main(["doctor", "--checks"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CHECKS)
    assert cli.main(["doctor", "--seconds", "0"]) == 2
