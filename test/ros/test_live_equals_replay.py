"""The live node, fed frame by frame, publishes to the last bit what `perception replay` writes of the same recording."""

import json
import subprocess
import sys

import numpy as np
import pytest

FRAMES = 8
CONFIG = {"segment.threads": 1, "node.reliability": "reliable", "node.depth": "required", "node.max_age_s": 60.0}


@pytest.fixture
def replayed(tmp_path):
    """PickScene messages that the replayer wrote, by recorded stamp."""
    from rclpy.serialization import deserialize_message
    from rosbags.rosbag2 import Reader

    from perception_node.bag.run import Settings, replay_one
    from perception_node.config import from_flat
    from perception_node.ros.player import DEMO_RECORDING
    from perception_node_msgs.msg import PickScene

    replay_one(DEMO_RECORDING, tmp_path / "replay", Settings(config=from_flat(CONFIG), film=False, frames=FRAMES), progress=False)
    with Reader(tmp_path / "replay" / "published") as reader:
        chosen = [connection for connection in reader.connections if connection.topic == "/perception/scene"]
        return {stamp: deserialize_message(raw, PickScene) for _, stamp, raw in reader.messages(chosen)}


def stamp_of(scene):
    return scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec


@pytest.mark.timeout(300)
def test_live_equals_replay(cell, replayed, tmp_path):
    from perception_node_msgs.msg import PickScene

    cell.start(*(word for name, value in {**CONFIG, "use_sim_time": "true"}.items() for word in ("-p", f"{name}:={value}")))
    live = cell.listen(PickScene, "/perception/scene")
    player = subprocess.Popen(
        [sys.executable, "-m", "perception_node.ros.player", "--clock", "--frames", str(FRAMES), "--answers", "/perception/scene",
         "--report", str(tmp_path / "sent.json")],
        env=cell.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cell.wait_until(lambda: player.poll() is not None, "end of the player", 100)
    assert player.returncode == 0, player.stderr.read()
    cell.wait_until(lambda: len(live) == FRAMES, "all scenes", 10)

    sent = json.loads((tmp_path / "sent.json").read_text())["sent"]
    assert [stamp_of(scene) for scene in live] == [stamp for stamp, _ in sent] == sorted(replayed)
    ids = set()
    for scene in live:
        wanted = replayed[stamp_of(scene)]
        assert [p.track_id for p in scene.packages] == [p.track_id for p in wanted.packages]
        assert scene.labels.data == wanted.labels.data
        for one, other in zip(scene.grasps, wanted.grasps, strict=True):
            for field in one.get_fields_and_field_types():
                assert np.array_equal(getattr(one, field), getattr(other, field)), f"{field} of a grasp of package {one.label}"
        scene.latency_s, scene.timing_names, scene.timing_ms = 0.0, [], []
        assert scene == wanted
        ids |= {package.track_id for package in scene.packages}
    assert len(ids) > 5
