"""Another model in place of the running one: what is answered, by which model, and what is left in memory."""

import gc
import itertools
import threading
import weakref
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.errors import FrameError, ModelError
from perception_node.segment import swap
from perception_node.segment.aside import Aside, LateError
from perception_node.segment.swap import MAX_FAULTS, MIN_TIMED, TRIAL_FRAMES, Models
from perception_node.segment.weights import model_in_folder
from perception_node.types import CameraModel, Frame, Instance, Segmentation

FRAME = Frame(np.zeros((12, 20, 3), np.uint8), np.ones((12, 20), np.float32), CameraModel(20.0, 20.0, 9.5, 5.5, 20, 12), 1, "cam")


class Fake:
    """A model whose mask is its own label's size; `does` says what happens at each call after the check's two."""

    runtime = device = "fake"

    def __init__(self, name, does=lambda call: None):
        self.model_id, self.does, self.calls = name, does, 0

    def segment(self, frame, belt_plane=None):
        self.calls += 1
        self.does(self.calls - 2)
        labels = np.zeros(frame.rgb.shape[:2], np.uint16)
        labels[0, :len(self.model_id)] = 1
        return Segmentation(labels, (Instance(1, "box", 0.9, (0, 0, len(self.model_id), 1), len(self.model_id)),))


def raising(error):
    """Raise anew at each frame of the trial."""
    def does(call):
        if call > 0:
            raise type(error)(*error.args)
    return does


def running(old="old", slowdown=1000.0, **links):
    """A model that was timed on enough frames."""
    models = Models(old if isinstance(old, Fake) else Fake(old), slowdown, **links)
    for _ in range(MIN_TIMED):
        models.segment(FRAME)
    return models


def swap_to(models, new, **options):
    models.begin(new.model_id)
    return models.admit(lambda: new, FRAME, **options)


def answered(models):
    """The model that made the masks of the next frame; its id must be the one that is said."""
    area_px = models.segment(FRAME).instances[0].area_px
    assert area_px == len(models.model_id)
    return models.model_id


def test_the_new_model_answers_from_one_frame_on_and_the_old_one_is_released():
    old = Fake("old")
    models, gone = running(old), weakref.ref(old)
    del old
    assert swap_to(models, Fake("newer")) == "newer"
    assert models.model_id == "old"
    assert models.report().trial == f"trial: 0 of {TRIAL_FRAMES} frames"
    assert [answered(models) for _ in range(37)] == ["newer"] * 37
    assert models.report().trial == f"trial: 37 of {TRIAL_FRAMES} frames"
    assert gone() is not None
    gc.disable()  # released means released, not left to the next collection
    try:
        assert {answered(models) for _ in range(TRIAL_FRAMES - 37)} == {"newer"}
        assert gone() is None
    finally:
        gc.enable()
    report = models.report()
    assert (report.state, report.last, report.went_back) == ("steady", "newer took over from old", False)


def test_a_model_that_throws_goes_back_and_no_frame_is_lost():
    said = []
    new = Fake("newer", raising(ValueError("boom")))
    models, gone = running(say=lambda words, bad: said.append((words, bad))), weakref.ref(new)
    swap_to(models, new)
    del new
    gc.disable()
    try:
        assert [answered(models) for _ in range(5)] == ["old"] * 5
        assert gone() is None
    finally:
        gc.enable()
    report = models.report()
    assert report.went_back
    assert report.state == "steady"
    assert report.last == ("went back to old because newer: 2 of its 2 frames failed (expected at most 1), the last: "
                           "ValueError: boom")
    assert said[-1] == (report.last, True)
    assert swap_to(models, Fake("newest")) == "newest"
    assert not models.report().went_back


def test_one_fault_is_answered_by_the_old_model_and_forgiven():
    def once(call):
        if call == 10:
            raise FrameError("expected finite numbers, got NaN")
    models = running()
    swap_to(models, Fake("newer", once))
    ids = [answered(models) for _ in range(TRIAL_FRAMES + 5)]
    assert ids == ["newer"] * 9 + ["old"] + ["newer"] * (TRIAL_FRAMES - 5)


def test_a_frame_that_both_refuse_is_the_frames_fault():
    bad = {"on": False}

    def refuse(call):
        if bad["on"]:
            raise FrameError("this frame cannot be used")
    models = running(Fake("old", refuse))
    swap_to(models, Fake("newer", refuse))
    bad["on"] = True
    for _ in range(5):
        with pytest.raises(FrameError):
            models.segment(FRAME)
    bad["on"] = False
    assert answered(models) == "newer"
    assert models.report().faults == 0


def test_a_model_that_is_slower_than_allowed_goes_back_as_soon_as_that_is_certain(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(swap.time, "perf_counter", lambda: 0.001 * next(clock))  # each frame takes one millisecond
    models = running(slowdown=1.5)

    def slow(call):
        if call > 0:
            next(clock)
    swap_to(models, Fake("newer", slow))
    assert [answered(models) for _ in range(8)] == ["newer"] * 6 + ["old"] * 2
    assert "6 of its 6 frames took longer than 1.5 ms" in models.report().last


def test_a_model_that_hangs_is_answered_for_and_goes_back(monkeypatch):
    monkeypatch.setattr(swap, "LATE_MIN_MS", 30.0)
    forever = threading.Event()
    models = running(slowdown=1.0)
    swap_to(models, Fake("newer", lambda call: call > 0 and forever.wait(60)))
    assert [answered(models) for _ in range(3)] == ["old"] * 3
    assert "still busy" in models.report().last
    forever.set()


def test_frames_that_fail_behind_the_segmenter_are_its_fault():
    failed = {"count": 4}
    models = running(failures=lambda: (failed["count"], "unexpected IndexError: 7"))
    swap_to(models, Fake("newer"))
    for _ in range(MAX_FAULTS + 1):
        assert answered(models) == "newer"
        failed["count"] += 1
    assert answered(models) == "old"
    assert models.report().last.endswith("the last: after the segmenter: unexpected IndexError: 7")


@pytest.mark.parametrize(("does", "words"), [
    (raising(ModelError("sha256")), "sha256"),
    (lambda call: np.zeros(3)[7], "IndexError: index 7"),
    (lambda call: threading.Event().wait(30), "expected it loaded and tried within 0.05 s")])
def test_what_fails_its_check_never_answers(does, words):
    models = running()
    models.begin("newer")

    def load():
        does(1)
        return Fake("newer")
    with pytest.raises(ModelError, match=words):
        models.admit(load, FRAME, limit_s=0.05)
    assert answered(models) == "old"
    report = models.report()
    assert (report.state, report.went_back) == ("steady", False)
    assert words in report.last


def test_labels_of_another_size_and_the_running_model_are_refused():
    class Cropping(Fake):
        def segment(self, frame, belt_plane=None):
            found = super().segment(frame, belt_plane)
            return Segmentation(found.labels[:6], found.instances)
    models = running()
    for new, words in ((Cropping("newer"), "expected labels of shape"), (Fake("old"), "expected another model")):
        with pytest.raises(ModelError, match=words):
            swap_to(models, new)
    assert answered(models) == "old"


def test_one_at_a_time_and_only_beside_a_model_that_was_timed():
    models = Models(Fake("old"), 1.5)
    with pytest.raises(ModelError, match="expected 20 frames of the running model"):
        models.begin("newer")
    models = running()
    models.begin("newer")
    with pytest.raises(ModelError, match="got loading of newer"):
        models.begin("third")
    models.admit(lambda: Fake("newer"), FRAME)
    answered(models)
    with pytest.raises(ModelError, match=r"got trial of newer \(trial: 1 of 100 frames\)"):
        models.begin("third")
    models.close()
    assert answered(models) == "old"
    with pytest.raises(ModelError):
        models.begin("third")


def test_a_model_that_is_loaded_when_the_node_gave_its_models_back_is_refused():
    models = running()
    models.begin("newer")
    models.close()
    with pytest.raises(ModelError, match="gave its models back"):
        models.admit(lambda: Fake("newer"), FRAME)
    assert answered(models) == "old"
    assert models.report().state == "steady"


STEPS = st.lists(st.sampled_from(["good", "new fails", "both fail", "fails behind", "load", "load damaged"]), max_size=60)


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(2, 6))
def test_whatever_happens_each_frame_has_one_model_and_bad_models_do_not_stay(steps, frames):
    """Against the rules told once more: who may answer, how many faults are forgiven, when the place is free."""
    broken, behind = set(), 0
    champion, candidate, seen, faults, blamed, timed = "m", "", 0, 0, False, 0

    def model(name):
        return Fake(name, lambda call: call > 0 and name in broken and _fail())

    with mock.patch.multiple(swap, TRIAL_FRAMES=frames, MIN_TIMED=1):
        first = model("m")
        first.calls = 2  # those of a check
        models = Models(first, 1000.0, failures=lambda: (behind, "later"))
        for number, step in enumerate(steps, start=1):
            if step.startswith("load"):
                name = f"m{'x' * number}"
                try:
                    models.begin(name)
                    models.admit((lambda name=name: model(name)) if step == "load" else _fail, FRAME)
                except ModelError:
                    assert candidate or not timed or step == "load damaged"
                else:
                    assert not candidate
                    candidate, seen, faults, blamed = name, 0, 0, False
                continue
            faults, blamed = faults + blamed, False
            if faults > MAX_FAULTS:
                candidate = ""
            broken = {champion, candidate} if step == "both fail" else {candidate} if step == "new fails" else set()
            if step == "both fail":
                with pytest.raises(ModelError):
                    models.segment(FRAME)
                continue
            assert answered(models) == (champion if not candidate or step == "new fails" else candidate)
            if not candidate:
                timed += 1
                continue
            seen, faults = seen + 1, faults + (step == "new fails")
            if faults > MAX_FAULTS:
                candidate = ""
            elif seen == frames:
                champion, candidate, timed = candidate, "", 0
            elif step == "fails behind":
                behind, blamed = behind + 1, True
        late = candidate and faults + blamed > MAX_FAULTS
        assert models.report().state == ("trial" if candidate else "steady") or late
        models.close()


def _fail():
    raise ModelError("does not work")


def test_aside_keeps_nothing_and_hands_on_errors():
    aside = Aside("test")
    kept = Fake("x")
    gone = weakref.ref(kept)
    assert aside.call(lambda kept=kept: kept.model_id, 5.0) == "x"
    del kept
    with pytest.raises(ZeroDivisionError):
        aside.call(lambda: 1 // 0, 5.0)
    assert gone() is None
    stop = threading.Event()
    with pytest.raises(LateError, match=r"within 0\.02 s"):
        aside.call(lambda: stop.wait(30), 0.02)
    with pytest.raises(LateError, match="still busy"):
        aside.call(lambda: 1, 0.02)
    stop.set()
    aside.close()


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "/etc/m", "a/b", "a\\b", "m.onnx", "m.int8", "m\0", "m\n", "-m", ".m", "ü",
                                  "x" * 101])
def test_a_message_names_no_path(tmp_path, name):
    (tmp_path / "m.onnx").touch()
    with pytest.raises(ModelError, match="expected a name") as caught:
        model_in_folder(tmp_path / "models", name)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_what_a_message_names_lies_in_the_folder_or_is_refused(name):
    with pytest.raises(ModelError):  # this folder holds no model: whatever is found would lie elsewhere
        model_in_folder(Path(__file__).parent, name)


@pytest.mark.parametrize("ending", ["onnx", "card.json", "int8.onnx", "safetensors"])
def test_links_to_another_folder_are_refused(tmp_path, ending):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "m.onnx").touch()
    assert model_in_folder(folder, "m") == folder / "m.onnx"
    (folder / f"within.{ending}").touch()
    (folder / "within.onnx").touch()
    (folder / f"m.{ending}").unlink(missing_ok=True)
    (folder / f"m.{ending}").symlink_to(folder / f"within.{ending}")
    assert model_in_folder(folder, "m") == folder / "m.onnx"
    (tmp_path / "secret").touch()
    (folder / f"m.{ending}").unlink()
    (folder / f"m.{ending}").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="to another folder"):
        model_in_folder(folder, "m")
