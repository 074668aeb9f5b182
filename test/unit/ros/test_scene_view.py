"""A serialised scene read where it lies says what the message says."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("rclpy")
pytest.importorskip("perception_node_msgs.msg")

from rclpy.serialization import deserialize_message  # noqa: E402

from perception_node.bag.cdr import SceneBytes  # noqa: E402
from perception_node.bench.publish import full_scene  # noqa: E402
from perception_node.errors import FrameError  # noqa: E402
from perception_node.ros.console_view import Grasped  # noqa: E402
from perception_node.ros.scene_view import scene_view, without_pixels  # noqa: E402
from perception_node.types import Grasp, Rejection  # noqa: E402
from perception_node_msgs.msg import PickScene  # noqa: E402


def drawn_scene(seed):
    """One of any frame name, size, classes, covers, kinds, terms, rejections and words: everything that shifts what follows."""
    random = np.random.default_rng(seed)
    scene, _ = full_scene(int(random.integers(40, 90)), int(random.integers(30, 60)), int(random.integers(1, 9)))
    names = ("box", "padded_mailer", "poly_bag", "item")
    tracks = tuple(
        replace(track, class_name=str(random.choice(names)), track_id=int(random.integers(0, 2**32)),
                package=replace(track.package, covered_by=tuple(range(1, int(random.integers(1, 4))))))
        for track in scene.tracks)
    labels = [track.label for track in tracks]
    grasps = tuple(
        Grasp(str(random.choice(("suction", "parallel_jaw"))), np.eye(4) + np.triu(np.full((4, 4), 0.01 * k), 3), 0.01 * k, 0.5,
              int(random.choice(labels)), k, {f"term{j}" * j: 0.1 * j for j in range(int(random.integers(0, 5)))}, 5)
        for k in range(int(random.integers(0, 20))))
    rejections = tuple(
        Rejection(int(random.choice(labels)), "suction", "x" * int(random.integers(0, 40)),
                  {"a_m" * (j + 1): float(j) for j in range(int(random.integers(0, 4)))}, 7)
        for _ in range(int(random.integers(0, 6))))
    return replace(scene, frame_id="c" * int(random.integers(1, 20)), tracks=tracks, grasps=grasps, rejections=rejections,
                   degraded="é" * int(random.integers(0, 9)))


def read(octets):
    """A view, None = refused in words; nothing else may happen."""
    try:
        return scene_view(octets)
    except FrameError:
        return None


@pytest.mark.parametrize("seed", range(60))
def test_a_view_says_what_the_message_says(seed):
    octets = SceneBytes(drawn_scene(seed)).scene(latency_s=0.25)
    message, view = deserialize_message(octets, PickScene), scene_view(octets)
    assert view.stamp == (message.header.stamp.sec, message.header.stamp.nanosec)
    assert view.degraded == message.degraded
    image = message.labels
    assert np.array_equal(view.labels, np.frombuffer(image.data, "<u2").reshape(image.height, image.width))
    assert [tuple(package) for package in view.packages] == [
        (one.label, one.track_id, one.class_name, one.roi.x_offset, one.roi.y_offset, one.roi.width, one.roi.height)
        for one in message.packages]
    best = {}
    for grasp in message.grasps:
        best.setdefault((grasp.kind, grasp.label), grasp)
    assert [tuple(grasp) for grasp in view.grasps] == [
        (one.kind, one.label, one.track_id, one.width_m, one.score) for one in best.values()]
    poses = [(p.position.x, p.position.y, p.position.z, p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w)
             for p in (one.pose for one in best.values())]
    assert np.array_equal(view.poses, np.array(poses).reshape(-1, 7))
    assert view.octets == without_pixels(octets)
    short = deserialize_message(view.octets, PickScene)
    assert len(short.labels.data) == len(image.data) % 8
    assert (short.packages, short.grasps, short.rejections, short.latency_s) == (
        message.packages, message.grasps, message.rejections, message.latency_s)


def test_what_is_cut_off_or_of_another_kind_is_refused_in_words():
    octets = SceneBytes(drawn_scene(3)).scene(latency_s=0.25)
    whole = scene_view(octets)
    found = [read(octets[:length]) for length in (*range(300), *range(300, len(octets), 17))]
    assert found[0] is None
    assert all(view is None or view.packages == whole.packages for view in found)  # else cut behind all that is shown
    with pytest.raises(FrameError, match="little-endian"):
        scene_view(b"\0\0" + octets[2:])
    random = np.random.default_rng(0)
    for _ in range(300):  # bytes of any kind end in a view or in words, soon
        broken = bytearray(octets)
        for at in random.integers(4, len(octets), 8):
            broken[at] = random.integers(256)
        read(bytes(broken))


def test_the_newest_grasps_of_a_package_are_found_by_kind():
    scene = drawn_scene(5)
    poses = np.eye(4)
    grasps = tuple(Grasp(kind, poses, 0.03, score, 1, 7, {"seal": score}, None)
                   for kind, score in (("suction", 0.5), ("suction", 0.4), ("parallel_jaw", 0.7)))
    known = Grasped()
    known.remember(scene_view(SceneBytes(replace(scene, grasps=grasps)).scene(0.1)))
    octets, kind = known.find(7)
    assert kind == "parallel_jaw"  # the more probable one
    message = deserialize_message(octets, PickScene)
    assert [(grasp.kind, grasp.track_id) for grasp in message.grasps] == [(grasp.kind, 7) for grasp in grasps]
    assert known.find(7, "suction") == (octets, "suction")
    assert known.find(7, "tongs") is None
    assert known.find(8) is None
    known.remember(scene_view(SceneBytes(replace(scene, grasps=grasps[:1], stamp_ns=scene.stamp_ns + 5)).scene(0.1)))
    assert known.find(7)[1] == "suction"
    assert known.find(7, "parallel_jaw") is None
