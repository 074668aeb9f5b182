"""`perception capture take`: pictures of a recording become what `perception prelabel` reads."""

import numpy as np
import pytest

from perception_node import cli
from perception_node.bag.record import write_recording
from perception_node.learn.dataset import load_sample
from perception_node.learn.prelabel import find_pictures
from perception_node.types import CameraModel, Frame

CAMERA = CameraModel(fx=50.0, fy=52.0, cx=23.5, cy=15.5, width=48, height=32)


@pytest.fixture
def recording(tmp_path):
    """Ten frames, each brighter than the one before; every other one without depth."""
    frames = [Frame(np.full((32, 48, 3), 20 * k + 30, np.uint8), np.full((32, 48), 1.0, np.float32) if k % 2 == 0 else None, CAMERA,
                    10**18 + k * 10**8, "cam") for k in range(10)]
    write_recording(tmp_path / "line 2", frames)
    return tmp_path / "line 2"


@pytest.mark.parametrize(("asked", "brightness"), [(3, (30, 110, 170)), (99, tuple(range(30, 230, 20)))])
def test_pictures_are_spread_evenly(recording, tmp_path, capsys, asked, brightness):
    (tmp_path / "cell.yaml").write_text("/**:\n  ros__parameters:\n    belt: {plane: [0.0, 0.0, -1.0, 1.2]}\n")
    assert cli.main(["capture", "take", str(recording), "--out", str(tmp_path / "out"), "--pictures", str(asked), "--config",
                     str(tmp_path / "cell.yaml")]) == 0
    assert f"{len(brightness)} of 10 pictures" in capsys.readouterr().out
    entries = find_pictures([tmp_path / "out"], None)
    assert [entry.name for entry in entries] == [f"line_2_{k:04d}" for k in range(len(brightness))]
    samples = [load_sample(entry) for entry in entries]
    assert [int(sample.frame.rgb.mean().round()) for sample in samples] == pytest.approx(brightness, abs=2)
    assert [sample.frame.depth_m is not None for sample in samples] == [(value - 30) // 20 % 2 == 0 for value in brightness]
    assert samples[0].frame.camera == CAMERA
    assert samples[0].belt_plane.tolist() == [0.0, 0.0, -1.0, 1.2]


def test_what_is_there_is_not_written_over(recording, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert cli.main(["capture", "take", str(recording), "--out", str(tmp_path / "out")]) == 2
    assert "expected a folder that is new or empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("arguments", [["--camera", "1,2"], ["--colour-topic", "/x"], ["--config", "nowhere.yaml"]])
def test_bad_input_is_one_line_and_leaves_nothing(recording, tmp_path, capsys, arguments):
    assert cli.main(["capture", "take", str(recording), "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("capture take: ")
    assert not (tmp_path / "out").exists()
