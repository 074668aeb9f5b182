"""The live node, fed frame by frame, publishes to the last bit what `perception replay` writes of the same recording."""

import json
import subprocess
import sys

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


@pytest.mark.timeout(300)
def test_live_equals_replay(cell, replayed, tmp_path):
    from perception_node_msgs.msg import PickScene

    cell.start(*(word for name, value in CONFIG.items() for word in ("-p", f"{name}:={value}")))
    live = cell.listen(PickScene, "/perception/scene")
    player = subprocess.Popen(
        [sys.executable, "-m", "perception_node.ros.player", "--frames", str(FRAMES), "--answers", "/perception/scene", "--report",
         str(tmp_path / "sent.json")], env=cell.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cell.wait_until(lambda: player.poll() is not None, "end of the player", 100)
    assert player.returncode == 0, player.stderr.read()
    cell.wait_until(lambda: len(live) == FRAMES, "all scenes", 10)

    recorded = dict(json.loads((tmp_path / "sent.json").read_text())["sent"])
    assert len(replayed) == FRAMES
    ids = set()
    for scene in live:
        sent_ns = scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec
        wanted = replayed[recorded[sent_ns]]
        shift_ns = sent_ns - recorded[sent_ns]
        for grasp in wanted.grasps:
            if grasp.has_deadline:
                due_ns = grasp.deadline.sec * 10**9 + grasp.deadline.nanosec + shift_ns
                grasp.deadline.sec, grasp.deadline.nanosec = divmod(due_ns, 10**9)
        wanted.header.stamp = wanted.labels.header.stamp = scene.header.stamp
        assert [p.track_id for p in scene.packages] == [p.track_id for p in wanted.packages]
        assert scene.labels.data == wanted.labels.data
        assert scene.grasps == wanted.grasps
        scene.latency_s, scene.timing_names, scene.timing_ms = 0.0, [], []
        assert scene == wanted
        ids |= {package.track_id for package in scene.packages}
    assert len(ids) > 5
