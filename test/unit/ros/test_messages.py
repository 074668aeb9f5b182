"""Scene -> messages, parameters of the configuration tree: need the ROS messages, but no running ROS."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("perception_node_msgs.msg")

from perception_node.bag.cdr import SceneBytes  # noqa: E402
from perception_node.bench.publish import full_scene  # noqa: E402
from perception_node.config import Config  # noqa: E402
from perception_node.errors import PerceptionError  # noqa: E402
from perception_node.parameters import parameters  # noqa: E402
from perception_node.ros import messages  # noqa: E402
from perception_node.ros.messages import (  # noqa: E402
    check_definitions,
    image_message,
    markers_message,
    time_message,
)
from perception_node.ros.params import descriptor  # noqa: E402
from perception_node.ros.receive import scene_from_message  # noqa: E402


def test_scene_survives_the_way_there_and_back():
    from geometry_msgs.msg import PoseArray
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import Image

    from perception_node_msgs.msg import PickScene
    scene, _ = full_scene(64, 48, 5)
    sent = SceneBytes(scene)
    came = deserialize_message(sent.scene(latency_s=0.5), PickScene)
    assert came.labels == deserialize_message(sent.masks(), Image)
    assert came.latency_s == 0.5
    back = scene_from_message(came)
    assert (back.stamp_ns, back.frame_id, back.pick_order) == (scene.stamp_ns, scene.frame_id, scene.pick_order)
    assert np.array_equal(back.segmentation.labels, scene.segmentation.labels)
    assert back.segmentation.instances[0].bbox_xyxy == scene.segmentation.instances[0].bbox_xyxy
    assert len(back.grasps) == len(scene.grasps)
    for one, other in zip(back.grasps, scene.grasps, strict=True):
        assert (one.kind, one.label, one.deadline_ns) == (other.kind, other.label, other.deadline_ns)
        assert dict(one.terms) == dict(other.terms)
        assert np.allclose(one.T_cam_grasp, other.T_cam_grasp)
    assert [r.reason for r in back.rejections] == [r.reason for r in scene.rejections]
    poses = deserialize_message(sent.grasp_poses(), PoseArray)
    assert (poses.header, poses.poses) == (came.header, [grasp.pose for grasp in came.grasps])


def test_markers_show_the_scene():
    from geometry_msgs.msg import Point
    scene, _ = full_scene(64, 48, 5)
    clear, *markers = markers_message(scene).markers
    assert clear.action == clear.DELETEALL
    boxes = [marker for marker in markers if marker.ns == "packages"]
    assert [marker.id for marker in boxes] == [track.label for track in scene.tracks]
    for box, text, track in zip(boxes, (marker for marker in markers if marker.ns == "ids"), scene.tracks, strict=True):
        x, y, z = track.T_cam_package[:3, 3]
        assert box.pose.position == text.pose.position == Point(x=x, y=y, z=z)
        assert (box.scale.x, box.scale.y, box.scale.z) == track.size_m
        assert text.text == f"{track.track_id} box 0.90"
    arrows = [marker for marker in markers if marker.type == clear.ARROW and marker.ns != ""]
    assert len(arrows) == len(scene.grasps) == len(markers) - 2 * len(boxes)
    for arrow, grasp in zip(arrows, scene.grasps, strict=True):
        start, tip = (np.array([point.x, point.y, point.z]) for point in arrow.points)
        assert np.allclose(tip, grasp.T_cam_grasp[:3, 3])
        assert np.allclose((tip - start) / np.linalg.norm(tip - start), grasp.T_cam_grasp[:3, 2])
    for marker in markers:
        assert marker.header.frame_id == scene.frame_id
        assert marker.header.stamp.sec * 10**9 + marker.header.stamp.nanosec == scene.stamp_ns


def test_messages_of_other_definitions_are_refused(monkeypatch):
    from sensor_msgs.msg import Image

    check_definitions()
    monkeypatch.setattr(messages, "PickScene", Image)  # begins alike, and goes on otherwise
    with pytest.raises(PerceptionError, match="expected the messages of this version"):
        check_definitions()


def test_images_are_not_transposed():
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    image = image_message(pixels, "mono16", messages.header(full_scene(64, 48, 2)[0]))
    assert (image.width, image.height, image.step) == (3, 2, 6)
    assert bytes(image.data) == pixels.tobytes()


def test_times_have_whole_nanoseconds():
    stamp = time_message(1_700_000_000_123_456_789)
    assert (stamp.sec, stamp.nanosec) == (1_700_000_000, 123_456_789)


@pytest.mark.parametrize("parameter", list(parameters(Config)), ids=lambda parameter: parameter.name)
def test_each_parameter_is_described(parameter):
    made = descriptor(parameter)
    assert parameter.words in made.description
    assert parameter.unit in made.description
    assert made.read_only == (not parameter.live)
    if parameter.low is not None:
        ranges = made.integer_range if parameter.type is int else made.floating_point_range
        assert (ranges[0].from_value, ranges[0].to_value) == (parameter.low, parameter.high)
