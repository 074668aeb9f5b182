"""Life of the node: transitions, silent cameras, clocks that jump, signals, what it refuses to start with, large pictures."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perception_node.ros import runner
from perception_node.segment.encode import output_channels
from perception_node.segment.weights import default_weights, file_sha256, read_card

WEIGHTS = Path(__file__).resolve().parents[2] / "perception_node" / "segment" / "weights"

PATIENT = ("-p", "node.max_age_s:=5.0", "-p", "node.depth_wait_s:=0.5")


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_lifecycle_by_services(cell, frames, messages):
    from lifecycle_msgs.msg import State, Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    from perception_node_msgs.msg import PickScene
    cell.start("-p", "node.autostart:=false", *PATIENT, ready="")
    cell.watch_diagnostics()
    assert cell.statuses["node"][1] == "not configured"

    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return cell.call(ChangeState, "/perception/change_state", request).success

    def state():
        return cell.call(GetState, "/perception/get_state", GetState.Request()).current_state.id

    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    assert change(Transition.TRANSITION_CONFIGURE)
    assert state() == State.PRIMARY_STATE_INACTIVE
    for _ in range(2):  # twice: what deactivate leaves must be startable again
        assert change(Transition.TRANSITION_ACTIVATE)
        assert state() == State.PRIMARY_STATE_ACTIVE
        scenes = cell.listen(PickScene, "/perception/scene")
        scenes.clear()
        cell.send(*messages.triple(frames[0], cell.now_ns()))
        cell.wait_until(lambda: scenes, "a scene while active")  # noqa: B023
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert state() == State.PRIMARY_STATE_INACTIVE
        cell.wait_until(lambda: cell.node.count_subscribers("/image") == 0, "unsubscribed while inactive")
    assert change(Transition.TRANSITION_CLEANUP)
    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    assert change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert cell.processes[0].end() == 0


def test_configure_by_service_fails_with_words(cell):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    process = cell.start("-p", "node.autostart:=false", "-p", "segment.model:=/no/such/model.onnx", ready="")
    cell.watch_diagnostics()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert not cell.call(ChangeState, "/perception/change_state", request).success
    cell.wait_until(lambda: cell.statuses["node"][0] == 2, "diagnostics report the failure")
    assert "/no/such/model.onnx" in cell.statuses["node"][1]
    assert "Traceback" not in process.text
    assert process.end() == 0


def changed_model(folder, change):
    """A copy of the shipped model with its card, then changed by `change(file, card)`; the card is written as it is left."""
    folder.mkdir()
    model = folder / "model.onnx"
    shutil.copy(WEIGHTS / "universal.onnx", model)
    card = json.loads((WEIGHTS / "universal.card.json").read_text())
    card["sha256"] = {model.name: card["sha256"]["universal.onnx"]}
    change(model, card)
    (folder / "model.card.json").write_text(json.dumps(card))
    return str(model)


def cut(model, card):
    model.write_bytes(model.read_bytes()[:3000])


def no_model(model, card):
    model.write_bytes(b"this is no model" * 50)
    card["sha256"][model.name] = file_sha256(model)


def of_another_card(model, card):
    card["sha256"][model.name] = "0" * 64


def other_outputs(model, card):
    write_model(model, "masks")
    card["sha256"][model.name] = file_sha256(model)


def write_model(path, output="heads"):
    """A network that finds nothing, and answers with NaN when a pixel of the picture is pure white."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper
    channels = output_channels(len(read_card(default_weights()).classes))
    scalars = [helper.make_tensor(name, TensorProto.FLOAT, [1], [value]) for name, value in (
        ("white", 254.5), ("nan", math.nan), ("zero", 0.0))]
    nodes = [helper.make_node("Cast", ["rgb"], ["colours"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMax", ["colours"], ["brightest"], keepdims=0),
             helper.make_node("Greater", ["brightest", "white"], ["is_white"]),
             helper.make_node("Where", ["is_white", "nan", "zero"], ["offset"]),
             helper.make_node("Transpose", ["depth"], ["planes"], perm=[0, 3, 1, 2]),
             helper.make_node("Mul", ["planes", "zero"], ["nothing"]),
             helper.make_node("Add", ["nothing", "offset"], ["three"]),
             helper.make_node("Concat", ["three", "three", "three"], ["nine"], axis=1),
             helper.make_node("Slice", ["nine", "first", "end", "axis"], [output])]
    integers = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (
        ("first", 0), ("end", channels), ("axis", 1))]
    graph = helper.make_graph(
        nodes, "empty", [helper.make_tensor_value_info("rgb", TensorProto.UINT8, [1, "H", "W", 3]),
                         helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, "h", "w", 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, channels, "h", "w"])], scalars + integers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


UNUSABLE = {
    "model missing": (lambda folder: ["-p", "segment.model:=/no/such/model.onnx"],
                      "configure failed: model: expected a file /no/such/model.onnx"),
    "model cut off": (lambda folder: ["-p", f"segment.model:={changed_model(folder, cut)}"], "(3000 bytes): the file is cut"),
    "model no model": (lambda folder: ["-p", f"segment.model:={changed_model(folder, no_model)}"], "expected an ONNX file"),
    "model of another card": (lambda folder: ["-p", f"segment.model:={changed_model(folder, of_another_card)}"],
                              "expected sha256 00000000"),
    "model with other outputs": (lambda folder: ["-p", f"segment.model:={changed_model(folder, other_outputs)}"], "got inputs"),
    "parameter unknown": (lambda folder: ["-p", "segment.scor_threshold:=0.5"], "unknown parameter 'segment.scor_threshold'"),
    "parameter out of range at the start": (lambda folder: ["-p", "track.gate_m:=7.0"],
                                            "track.gate_m: expected 0.005 to 1 m, got 7"),
    "parameter of no choice": (lambda folder: ["-p", "node.depth:=maybe"],
                               "node.depth: expected one of auto, required, off, got 'maybe'"),
    "parameter file missing": (lambda folder: ["--params-file", "/no/such/cell.yaml"], "/no/such/cell.yaml"),
    "parameter file with an unknown name": (lambda folder: ["--params-file", unknown_name(folder)],
                                            "unknown parameter 'grasp.max_per_pakage'"),
    "quality of service unreadable": (lambda folder: ["-p", "qos_overrides./image.subscription.reliability:=perhaps"], "perhaps"),
}
"""Faults that the node must refuse to start with, as functions that make its arguments, and what it must say."""


def unknown_name(folder):
    folder.mkdir()
    file = folder / "cell.yaml"
    file.write_text("/**:\n  ros__parameters:\n    cameras: []\n    grasp:\n      max_per_pakage: 3\n")
    return str(file)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.fault(name)) for name in UNUSABLE])
def test_unusable_start_is_one_readable_line(cell, fault, tmp_path, name):
    arguments, words = UNUSABLE[name]
    process = cell.start(*arguments(tmp_path / "made"), ready="", reliability="")
    assert process.wait_for_exit(90.0) == 2
    assert words in process.text
    assert "Traceback" not in process.text
    fault("nothing: exit status 2", log=next(line for line in process.lines if words in line).split("]: ")[-1])


@pytest.mark.fault("network answers NaN")
def test_nan_costs_one_frame(cell, frames, messages, fault, tmp_path):
    def empty(model, card):
        write_model(model)
        card["sha256"][model.name] = file_sha256(model)
    cell.start(*PATIENT, "-p", f"segment.model:={changed_model(tmp_path / 'nan', empty)}", "-p", "segment.runtime:=onnxruntime")
    cell.watch_diagnostics()
    scenes = cell.scenes()

    def send(white, number):
        colour, depth, info = messages.triple(frames[number], cell.next_stamp_ns())
        pixels = frames[number].rgb.clip(0, 250)
        pixels[0, 0] = 255 if white else 0
        cell.send(messages.image(pixels, "rgb8", stamp_of(colour)), depth, info)
    cell.wait_until(lambda: scenes, "a first scene", each=lambda: send(False, 0))
    before = cell.drops("bad_frame")
    scenes.clear()
    send(True, 1)
    cell.wait_until(lambda: cell.drops("bad_frame") == before + 1, "the frame is counted")
    cell.wait_until(lambda: "got NaN or infinity" in cell.said("camera"), "the reason is said")
    fault("nothing", "camera", "got NaN or infinity", 2, "dropped_bad_frame + 1")
    scenes.clear()
    send(False, 2)
    cell.wait_until(lambda: scenes, "the next good frame's scene")


@pytest.mark.parametrize("module", ["perception", "beacon"])
def test_a_file_without_ros_args_before_it_is_refused(cell, module):
    """rcl passes over what is not after --ros-args: the node would run with the default gripper, and nobody would know."""
    done = subprocess.run([sys.executable, "-m", f"perception_node.ros.{module}", "--params-file", "config/gripper.yaml"],
                          env=cell.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"{module}: expected --ros-args before all arguments, got --params-file config/gripper.yaml\n"


@pytest.mark.fault("no camera at all")
def test_nobody_publishes(cell, fault):
    cell.start("-p", "qos_overrides./image.subscription.reliability:=reliable", reliability="")
    cell.watch_diagnostics()
    cell.wait_until(lambda: "nobody publishes /image" in cell.statuses.get("camera", (0, ""))[1], "the missing camera is said")
    fault("nothing", "camera", "nobody publishes", 2)
    infos = cell.node.get_subscriptions_info_by_topic("/image")
    assert infos[0].qos_profile.reliability.name == "RELIABLE"
    assert {"model_id", "runtime", "device", "last_result_age_s", "results_hz", "latency_s", "dropped_lost"} <= \
        cell.statuses["pipeline"][2].keys()
    assert cell.statuses["pipeline"][2]["device"] in ("cpu", "cuda")  # where it runs, not "auto"
    assert cell.statuses["camera"][2]["colour_topic"] == "/image"


def test_the_log_says_once_what_does_not_come_and_when_it_does_again(cell, frames, messages):
    """Who has named a wrong topic looks at the terminal first."""
    process = cell.start(*PATIENT)
    cell.watch_diagnostics()
    process.wait_for_line("camera: no picture ever came: nobody publishes /image")

    def send(depth):
        colour, with_depth, info = messages.triple(frames[0], cell.next_stamp_ns())
        cell.send(colour, with_depth if depth else None, info)
    cell.wait_until(lambda: "camera: no depth ever came on /depth (0 publisher(s)): degraded mode" in process.text,
                    "the missing depth", each=lambda: send(False))
    cell.wait_until(lambda: "camera: depth again" in process.text, "depth is there", each=lambda: send(True))
    assert process.text.count("no picture ever came") == 1
    assert process.text.count("camera: no depth ever came") == 1


@pytest.mark.fault("quality of service does not fit")
def test_qos_that_does_not_fit_is_said(cell, fault):
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    process = cell.start(*PATIENT)
    cell.watch_diagnostics()
    cell.node.create_publisher(Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    process.wait_for_line("incompatible QoS")
    cell.wait_until(lambda: "do their QoS fit" in cell.statuses["camera"][1], "diagnostics point at the QoS")
    fault("nothing", "camera", "do their QoS fit", 2)


@pytest.mark.fault("camera_info missing")
def test_picture_without_calibration_is_counted_and_reported(cell, frames, messages, fault):
    cell.start(*PATIENT)
    cell.watch_diagnostics()
    colour, _, _ = messages.triple(frames[0], cell.now_ns())
    cell.send(colour)
    cell.wait_until(lambda: cell.drops("no_calibration") == 1, "counted")
    cell.wait_until(lambda: "no camera_info" in cell.statuses["camera"][1], "reported")
    fault("nothing", "camera", "no camera_info", 2, "dropped_no_calibration + 1")
    scenes = cell.scenes()
    cell.wait_until(lambda: scenes, "a scene once it comes", each=lambda: cell.send(*messages.triple(frames[2], cell.now_ns())))


@pytest.mark.fault("clock jumps back")
def test_clock_that_jumps_back_forgets_tracks(cell, frames, messages, fault):
    from rosgraph_msgs.msg import Clock

    from perception_node_msgs.msg import PickScene
    process = cell.start("-p", "use_sim_time:=true", *PATIENT)
    cell.watch_diagnostics()
    scenes = cell.listen(PickScene, "/perception/scene")

    def tick(second):
        message = Clock()
        message.clock.sec = second
        cell.publisher("/clock", Clock).publish(message)

    def run_at(second, frame):
        scenes.clear()
        tick(second)

        def play():
            tick(second)
            cell.send(*messages.triple(frame, second * 10**9 + play.count))
            play.count += 1
        play.count = 0
        cell.wait_until(lambda: any(scene.header.stamp.sec == second for scene in scenes), f"a scene at {second} s", each=play)

    run_at(100, frames[0])
    run_at(101, frames[1])
    assert int(cell.statuses["pipeline"][2]["resets"]) == 0
    run_at(10, frames[0])  # the bag starts again
    cell.wait_until(lambda: int(cell.statuses["pipeline"][2]["resets"]) == 1, "one reset is reported")
    assert process.text.count("starting over") == 1
    run_at(11, frames[1])
    fault("scenes of the new time, tracks start anew", "pipeline", counted="resets + 1, said once", level=0)


@pytest.mark.fault("use_sim_time without /clock")
def test_simulated_time_that_never_comes_is_said(cell, frames, messages, fault):
    cell.start("-p", "use_sim_time:=true", *PATIENT)
    cell.watch_diagnostics()
    cell.send(*messages.triple(frames[0], cell.now_ns()))
    cell.wait_until(lambda: "no /clock has come" in cell.statuses["camera"][1], "the missing clock is reported",
                    each=lambda: cell.send(*messages.triple(frames[0], cell.now_ns())))
    fault("nothing", "camera", "no /clock has come", 2, "dropped_from_the_future")


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.fault("SIGINT while computing")),
                                    pytest.param(signal.SIGTERM, marks=pytest.mark.fault("SIGTERM while computing"))])
def test_signals_end_cleanly_while_computing(cell, frames, messages, fault, number):
    from perception_node_msgs.msg import PickScene
    process = cell.start(*PATIENT)
    scenes = cell.listen(PickScene, "/perception/scene")
    cell.wait_until(lambda: scenes, "results", each=lambda: cell.send(*messages.triple(frames[0], cell.now_ns())))
    cell.send(*messages.triple(frames[1], cell.now_ns()))
    assert process.end(number) == 0
    assert "Traceback" not in process.text
    assert "terminate called" not in process.text
    fault("the frame at hand is finished; exit status 0")


STUCK = """
import ctypes, sys, threading
import rclpy
from perception_node.ros import perception, runner, worker

def forever(*_):
    print("stuck now", flush=True)
    threading.Event().wait()

def with_the_lock(*_):
    print("stuck now", flush=True)
    ctypes.PyDLL(None).sleep(100)

{patch}
runner.END_S, runner.KILL_S = 1.0, 3.0
sys.exit(perception.main(sys.argv))
"""
REFUSED = ("-p", "track.gate_m:=7.0")


@pytest.mark.parametrize(("patch", "arguments", "status", "words"), [
    ("worker.Worker._process = forever", (), 1, "did not end within 1 s, ended by force with status 1: MainThread in worker.py:"),
    ("rclpy.try_shutdown = forever", REFUSED, 2, "did not end within 1 s, ended by force with status 2: MainThread in runner.py:"),
    ("rclpy.try_shutdown = with_the_lock", REFUSED, -signal.SIGALRM, "in run_node"),
], ids=["computation", "ROS", "library that keeps the interpreter's lock"])
def test_a_process_that_hangs_is_ended_and_says_where(cell, frames, messages, tmp_path, patch, arguments, status, words):
    (tmp_path / "stuck.py").write_text(STUCK.format(patch=patch))
    process = cell.start(*PATIENT, *arguments, ready="", module="stuck",
                         environment={"PYTHONPATH": f"{tmp_path}:{cell.environment()['PYTHONPATH']}"})
    if status == 1:
        process.wait_for_line("active, listening")
        cell.wait_until(lambda: "stuck now" in process.text, "the worker is stuck",
                        each=lambda: cell.send(*messages.triple(frames[0], cell.next_stamp_ns())))
        process.process.send_signal(signal.SIGTERM)
    assert process.wait_for_exit() == status
    assert "stuck now" in process.text
    line = next(line for line in process.lines if words in line)
    assert status != 1 or "; perception in worker.py:" in line


def test_the_process_ends_before_launch_kills_it():
    assert runner.SPIN_S < runner.END_S < runner.KILL_S < 10.0


def test_signal_during_start_ends_cleanly(cell):
    process = cell.start(ready="configured")
    assert process.end(signal.SIGINT) == 0
    assert "Traceback" not in process.text


CAMERA = """
import sys, time
import numpy as np, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from perception_node.ros.messages import image_message
rclpy.init()
node = rclpy.create_node("camera")
qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
colour, depth = node.create_publisher(Image, "image", qos), node.create_publisher(Image, "depth", qos)
info = node.create_publisher(CameraInfo, "camera_info", qos)
rgb, metres = np.full((720, 1280, 3), 90, np.uint8), np.full((720, 1280), 1000, np.uint16)
for line in sys.stdin:  # each line asks for so many pictures
    for _ in range(int(line)):
        head = Header(stamp=node.get_clock().now().to_msg(), frame_id="camera_optical_frame")
        info.publish(CameraInfo(header=head, width=1280, height=720, distortion_model="plumb_bob",
                                k=[900.0, 0.0, 639.5, 0.0, 900.0, 359.5, 0.0, 0.0, 1.0]))
        depth.publish(image_message(metres, "16UC1", head))
        colour.publish(image_message(rgb, "rgb8", head))
        time.sleep(0.1)  # the camera's own pace
rclpy.shutdown()
"""


def test_large_pictures_arrive_from_another_process(cell):
    cell.start(*PATIENT, reliability="")  # as it comes: best effort
    cell.watch_diagnostics()
    cell.wait_until(lambda: "camera" in cell.statuses, "the camera's status")
    info, = cell.node.get_subscriptions_info_by_topic("/image")
    assert info.qos_profile.reliability.name == "BEST_EFFORT"
    camera = subprocess.Popen([sys.executable, "-c", CAMERA], env=cell.environment(), stdin=subprocess.PIPE, text=True)

    def received():
        return int(cell.statuses["camera"][2]["colour_received"])

    def ask(count):
        camera.stdin.write(f"{count}\n")
        camera.stdin.flush()

    try:
        # Pictures that are sent before both sides are connected are lost with any transport: begin to count afterwards.
        cell.wait_until(lambda: received() > 0, "a first picture", each=lambda: ask(1))
        cell.wait_until(lambda: float(cell.statuses["camera"][2]["colour_silent_s"]) > 1.5, "a silent camera")
        before, depths = received(), int(cell.statuses["camera"][2]["depth_received"])
        ask(30)
        cell.wait_until(lambda: received() - before >= 28, "28 of 30 colour pictures of 1280x720")
        cell.wait_until(lambda: int(cell.statuses["camera"][2]["depth_received"]) - depths >= 28, "28 of 30 depth pictures")
        cell.wait_until(lambda: int(cell.statuses["pipeline"][2]["results"]) >= 1, "a result")
        assert math.isfinite(float(cell.statuses["pipeline"][2]["latency_s"]))
    finally:
        camera.stdin.close()
        camera.wait(30)
