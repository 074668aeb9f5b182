"""`~/load_model` on a running node: models change places between two frames, and every frame is answered by exactly one of them."""

import dataclasses
import json
import math
import shutil

import pytest

from perception_node.segment.encode import encode_frame
from perception_node.segment.weights import default_weights, file_sha256
from perception_node.types import CameraModel, Frame

SURE = 1.0 / (1.0 + math.exp(-5.0))
"""Score of every package by a model whose calibration says so: its masks tell who made them."""


def made(folder, name, change=None, **card):
    """A copy of the shipped model under another name, changed, with a card that is true."""
    shipped = default_weights()
    path = folder / f"{name}.onnx"
    shutil.copy(shipped, path)
    if change is not None:
        change(path)
    text = json.loads(shipped.with_name("universal.card.json").read_text(encoding="utf-8"))
    text.update({"name": name, "sha256": {path.name: file_sha256(path)}, **card})
    path.with_name(f"{name}.card.json").write_text(json.dumps(text), encoding="utf-8")
    return path


def for_pictures_like(frame):
    """What makes a model throw on pictures of any other size than this frame's."""
    def change(path):
        onnx = pytest.importorskip("onnx")
        model = onnx.load(str(path))
        arrays = encode_frame(frame, None)
        for entry in model.graph.input:
            for axis, size in enumerate(arrays[entry.name].shape):
                entry.type.tensor_type.shape.dim[axis].dim_value = size
        onnx.save(model, str(path))
    return change


def cropped(frame, width, height):
    camera = CameraModel(frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy, width, height)
    return Frame(frame.rgb[:height, :width], frame.depth_m[:height, :width], camera, frame.stamp_ns, frame.frame_id)


@dataclasses.dataclass
class Line:
    """A camera that sends its next frame when the one before was answered: nothing is superseded, so nothing may be missing."""

    cell: object
    messages: object
    frames: list
    scenes: list
    size: tuple = (256, 160)
    sent: list = dataclasses.field(default_factory=list)

    def run_until(self, condition, what):
        def turn():
            if len(self.scenes) == len(self.sent):
                frame = cropped(self.frames[len(self.sent) % len(self.frames)], *self.size)
                self.sent.append(self.cell.next_stamp_ns())
                self.cell.send(*self.messages.triple(frame, self.sent[-1]))
            return condition()
        self.cell.wait_until(turn, what)

    def run(self, count):
        for until in range(len(self.scenes) + 1, len(self.scenes) + count + 1):
            self.run_until(lambda until=until: len(self.scenes) >= until, f"scene {until}")

    def load(self, name):
        """Call the service while frames go on."""
        from perception_node_msgs.srv import LoadModel
        client = self.cell.node.create_client(LoadModel, "/perception/load_model")
        self.cell.wait_until(client.service_is_ready, "the service")
        future, before = client.call_async(LoadModel.Request(model=name)), len(self.scenes)
        self.run_until(lambda: future.done() and len(self.scenes) > before, f"answer to {name}")
        self.cell.node.destroy_client(client)
        return future.result()

    def status(self, words, frames):
        """The status `model` once it says these words, after some of so many frames."""
        for _ in range(frames):
            level, said, values = self.cell.statuses["model"]
            if words in said + values["last"]:
                return level, said, values
            self.run(1)
        pytest.fail(f"{words!r} was not said: {self.cell.statuses['model']}")


@pytest.mark.timeout(300)  # 150 frames, also on a busy machine
def test_models_change_places_between_two_frames(cell, frames, messages, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    made(folder, "sure", grouping={"calibration": [0.0, 5.0]})
    damaged = made(folder, "damaged")
    damaged.write_bytes(damaged.read_bytes()[:3000])
    made(folder, "others", classes=["box", "pallet", "poly_bag"])
    made(folder, "fixed", for_pictures_like(cropped(frames[0], *Line.size)))
    made(tmp_path, "outside")
    (folder / "linked.onnx").symlink_to(tmp_path / "outside.onnx")
    cell.start("-p", "node.max_age_s:=20.0", "-p", "node.depth_wait_s:=2.0", "-p", f"node.output_dir:={tmp_path / 'out'}",
               "-p", f"segment.models_dir:={folder}", "-p", "segment.trial_slowdown:=100.0", "-p", "segment.runtime:=onnxruntime",
               "-p", "segment.threads:=1")
    cell.watch_diagnostics()
    line = Line(cell, messages, frames, cell.scenes())
    line.run(1)
    assert "expected 20 frames of the running model" in line.load("sure").message
    line.run(20)
    first = line.scenes[0].model_id

    for name, words in (("damaged", "expected sha256"), ("others", "expected classes"), ("absent", "found none"),
                        ("../outside", "without a path"), ("linked", "another folder"), ("", "expected a name")):
        refused = line.load(name)
        assert (refused.accepted, refused.model_id) == (False, "")
        assert words in refused.message
    line.run(3)
    assert {scene.model_id for scene in line.scenes} == {first}

    taken = line.load("sure")
    assert taken.accepted
    assert taken.model_id.startswith("sure ")
    assert f"for the next start set segment.model to {folder / 'sure.onnx'}" in taken.message
    busy = line.load("fixed")
    assert "sure" in busy.message
    assert "of 100 frames" in busy.message
    _, said, values = line.status("took over", 150)
    assert values["last"] == f"{taken.model_id} took over from {first}"
    assert said == f"{taken.model_id}; the next start loads {first} (segment.model: universal)"
    assert (values["model_id"], values["at_start"]) == (taken.model_id, first)
    ids = [scene.model_id for scene in line.scenes]
    assert sum(one != other for one, other in zip(ids, ids[1:], strict=False)) == 1
    assert (ids[0], ids[-1]) == (first, taken.model_id)
    sure = [all(abs(package.score - SURE) < 1e-4 for package in scene.packages) for scene in line.scenes if scene.packages]
    assert sure == [scene.model_id == taken.model_id for scene in line.scenes if scene.packages]
    assert sum(sure) >= 100

    line.run(20)
    fixed = line.load("fixed")
    assert fixed.accepted
    line.run(3)
    assert line.scenes[-1].model_id == fixed.model_id
    line.size = (256, 192)
    level, words, values = line.status("went back", 50)
    assert level == 1
    assert f"went back to {taken.model_id} because {fixed.model_id}: 2 of its " in words
    assert (values["state"], values["model_id"]) == ("steady", taken.model_id)
    line.run(2)
    assert line.scenes[-1].model_id == taken.model_id
    stamps = [scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec for scene in line.scenes]
    assert stamps == line.sent[:len(stamps)]
    assert len(line.sent) - len(stamps) <= 1
    assert cell.processes[0].end() == 0
