"""Scene -> messages, parameters of the configuration tree: need the ROS messages, but no running ROS."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("perception_node_msgs.msg")

from perception_node.bench.publish import full_scene  # noqa: E402
from perception_node.config import parameters  # noqa: E402
from perception_node.ros.messages import (  # noqa: E402
    image_message,
    markers_message,
    poses_message,
    scene_message,
    time_message,
)
from perception_node.ros.params import descriptor  # noqa: E402
from perception_node.ros.receive import scene_from_message  # noqa: E402


def test_scene_survives_the_way_there_and_back():
    from rclpy.serialization import deserialize_message, serialize_message

    from perception_node_msgs.msg import PickScene
    scene, _ = full_scene(64, 48, 5)
    sent = scene_message(scene)
    came = deserialize_message(serialize_message(sent), PickScene)
    assert came.labels == sent.labels
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
    assert poses_message(came).poses == [grasp.pose for grasp in came.grasps]
    assert len(markers_message(came).markers) == 1 + 2 * 5 + len(scene.grasps)


def test_a_spare_message_leaves_no_traces():
    many, few = full_scene(64, 48, 6)[0], full_scene(64, 48, 2)[0]
    assert scene_message(few, scene_message(many)) == scene_message(few)
    assert scene_message(many, scene_message(few)) == scene_message(many)
    other_size = full_scene(32, 24, 2)[0]
    assert scene_message(other_size, scene_message(many)) == scene_message(other_size)


def test_images_are_not_transposed():
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    image = image_message(pixels, "mono16", scene_message(full_scene(64, 48, 2)[0]).header)
    assert (image.width, image.height, image.step) == (3, 2, 6)
    assert bytes(image.data) == pixels.tobytes()


def test_times_have_whole_nanoseconds():
    stamp = time_message(1_700_000_000_123_456_789)
    assert (stamp.sec, stamp.nanosec) == (1_700_000_000, 123_456_789)


@pytest.mark.parametrize("parameter", list(parameters()), ids=lambda parameter: parameter.name)
def test_each_parameter_is_described(parameter):
    made = descriptor(parameter)
    assert parameter.words in made.description
    assert parameter.unit in made.description
    assert made.read_only == (not parameter.live)
    if parameter.low is not None:
        ranges = made.integer_range if parameter.type is int else made.floating_point_range
        assert (ranges[0].from_value, ranges[0].to_value) == (parameter.low, parameter.high)
