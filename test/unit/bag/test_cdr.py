"""What `bag/cdr.py` writes is what rosbags and rclpy write of the same messages, byte for byte."""

import functools
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perception_node.bag.cdr import SceneBytes, image_bytes, pose_rows
from perception_node.bag.published import message_types as read_message_types
from perception_node.types import Grasp, Instance, Package, Rejection, Scene, Segmentation, Track

KINDS = {"scene": "perception_node_msgs/msg/PickScene", "masks": "sensor_msgs/msg/Image",
         "grasp_poses": "geometry_msgs/msg/PoseArray"}
message_types = functools.cache(read_message_types)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.lists(texts, max_size=5, unique=True)


@st.composite
def scenes(draw):
    """Any scene: lengths of texts and lists are drawn, numbers come from a seed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width, count = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(0, 4))

    def pose():
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = q * np.sign(np.linalg.det(q)), rng.normal(size=3)
        return T

    instances, tracks = [], []
    for label in range(1, count + 1):
        x0, y0 = (int(n) for n in rng.integers(0, 900, 2))
        class_name, score = draw(st.sampled_from(["box", "poly_bag", "item"])), float(rng.random())
        instances.append(Instance(label, class_name, score, (x0, y0, x0 + label, y0 + 2 * label), int(rng.integers(1, 9999))))
        covers = tuple(draw(st.lists(st.integers(1, 65535), max_size=3)))
        yes = [bool(n) for n in rng.integers(0, 2, 3)]
        size = tuple(rng.random(3).tolist())
        package = Package(label, class_name, score, pose(), size, rng.normal(size=(6, 6)), float(rng.random()), covers,
                          float(rng.random()), *yes)
        tracks.append(Track(int(rng.integers(0, 2**32)), label, class_name, pose(), size, rng.normal(size=3), 1,
                            rng.normal(size=(6, 6)), rng.normal(size=(3, 3)), package))
    grasps = []
    for _ in range(draw(st.integers(0, 4))):
        terms = {name: float(rng.normal()) for name in draw(names)}
        grasps.append(Grasp(draw(st.sampled_from(["suction", "parallel_jaw"])), pose(), float(rng.random()), float(rng.random()),
                            int(rng.integers(1, 65536)), int(rng.integers(0, 2**32)), terms,
                            draw(st.none() | st.integers(0, 2**31 * 10**9 - 1)), rng.normal(size=(6, 6)), draw(st.booleans())))
    rejections = tuple(
        Rejection(int(rng.integers(1, 65536)), draw(st.sampled_from(["suction", "parallel_jaw"])), draw(texts) or "no",
                  {name: float(rng.normal()) for name in draw(names)}, int(rng.integers(0, 2**32)))
        for _ in range(draw(st.integers(0, 3))))
    labels = rng.integers(0, 2**16, (height, width)).astype(np.uint16)
    return Scene(draw(st.integers(1, 2**31 * 10**9 - 1)), draw(texts), Segmentation(np.minimum(labels, count), tuple(instances)),
                 tuple(tracks), tuple(grasps), rejections, tuple(int(n) for n in rng.permutation(count) + 1),
                 draw(st.none() | st.just(rng.normal(size=3))), {name: float(rng.random()) for name in draw(names)}, draw(texts),
                 draw(st.booleans()), draw(texts))


def all_bytes(scene):
    made = SceneBytes(scene)
    return {"scene": made.scene(0.25), "masks": made.masks(), "grasp_poses": made.grasp_poses()}


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(scenes())
@many
def test_rosbags_writes_the_same(scene):
    store = message_types()
    for name, octets in all_bytes(scene).items():
        message = store.deserialize_cdr(octets, KINDS[name])
        assert bytes(store.serialize_cdr(message, KINDS[name])) == octets, name


def filled(scene):
    """The scene as an rclpy message, filled attribute by attribute."""
    from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
    from sensor_msgs.msg import Image, RegionOfInterest
    from std_msgs.msg import Header

    from perception_node_msgs.msg import GraspCandidate, Package, PickScene, Rejection

    def vector(values):
        return Vector3(**dict(zip("xyz", map(float, values), strict=True)))

    def set_pose(pose, T):
        x, y, z, *q = pose_rows([T])[0].tolist()
        pose.position, pose.orientation = Point(x=x, y=y, z=z), Quaternion(**dict(zip("xyzw", q, strict=True)))
        return pose

    head = Header(frame_id=scene.frame_id)
    head.stamp.sec, head.stamp.nanosec = divmod(scene.stamp_ns, 10**9)
    pixels = scene.segmentation.labels
    message = PickScene(
        header=head, depth_used=scene.depth_used, degraded=scene.degraded, model_id=scene.model_id, latency_s=0.25,
        belt_velocity_known=scene.belt_velocity_m_s is not None, timing_names=list(scene.timing_ms),
        timing_ms=list(scene.timing_ms.values()),
        labels=Image(header=head, height=pixels.shape[0], width=pixels.shape[1], encoding="mono16", step=2 * pixels.shape[1],
                     data=list(pixels.astype("<u2").tobytes())))
    if scene.belt_velocity_m_s is not None:
        message.belt_velocity = vector(scene.belt_velocity_m_s)
    for place, label in enumerate(scene.pick_order):
        track = next(track for track in scene.tracks if track.label == label)
        instance, found = scene.segmentation.instances[label - 1], track.package
        x0, y0, x1, y1 = instance.bbox_xyxy
        package = Package(
            label=label, track_id=track.track_id, class_name=track.class_name, score=found.score, pick_order=place,
            covered_by=found.covered_by, roi=RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0),
            area_px=instance.area_px, size=vector(track.size_m), velocity=vector(track.velocity_m_s),
            velocity_covariance=track.velocity_covariance.ravel(), visible_fraction=found.visible_fraction,
            depth_valid_fraction=found.depth_valid_fraction, from_depth=found.from_depth, truncated=found.truncated,
            placed=found.placed)
        set_pose(package.pose.pose, track.T_cam_package)
        package.pose.covariance = track.covariance.ravel()
        message.packages.append(package)
    for grasp in scene.grasps:
        candidate = GraspCandidate(
            kind=grasp.kind, label=grasp.label, track_id=grasp.track_id, pose=set_pose(Pose(), grasp.T_cam_grasp),
            pose_variance=np.diag(grasp.covariance).copy(), width_m=grasp.width_m, score=grasp.score,
            has_deadline=grasp.deadline_ns is not None, degraded=grasp.degraded, term_names=list(grasp.terms),
            term_values=list(grasp.terms.values()))
        candidate.deadline.sec, candidate.deadline.nanosec = divmod(grasp.deadline_ns or 0, 10**9)
        message.grasps.append(candidate)
    message.rejections = [
        Rejection(label=r.label, track_id=r.track_id, kind=r.kind, reason=r.reason, number_names=list(r.numbers),
                  number_values=list(r.numbers.values())) for r in scene.rejections]
    return message


@given(scenes())
@many
def test_rclpy_writes_and_reads_the_same(scene):
    """rclpy leaves what it finds in the gaps between members, and appends some bytes when a float64[] is empty (it asks for more
    memory than is needed): so rosbags, which does neither, copies its bytes first."""
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("perception_node_msgs.msg", reason="the overlay is not built: make build")
    from geometry_msgs.msg import PoseArray
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import Image

    from perception_node_msgs.msg import PickScene

    store, wanted = message_types(), filled(scene)
    messages = {"scene": wanted, "masks": wanted.labels,
                "grasp_poses": PoseArray(header=wanted.header, poses=[grasp.pose for grasp in wanted.grasps])}
    made = all_bytes(scene)
    for (name, message), kind in zip(messages.items(), (PickScene, Image, PoseArray), strict=True):
        theirs = bytes(serialize_message(message))[:len(made[name])]
        assert bytes(store.serialize_cdr(store.deserialize_cdr(theirs, KINDS[name]), KINDS[name])) == made[name], name
        read = deserialize_message(made[name], kind)
        assert deserialize_message(bytes(serialize_message(read)), kind) == read == deserialize_message(theirs, kind), name


@given(st.integers(1, 4), st.integers(1, 5), texts, st.integers(1, 2**62))
@example(3, 2, "camera", 1_700_000_000_123_456_789)
@many
def test_pictures(height, width, frame_id, stamp_ns):
    stamp_ns %= 2**31 * 10**9
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    for encoding, given_pixels in (("rgb8", pixels), ("rgb8", pixels[:, ::-1]), ("mono8", pixels[..., 0])):
        octets = image_bytes(given_pixels, encoding, stamp_ns, frame_id)
        store = message_types()
        message = store.deserialize_cdr(octets, "sensor_msgs/msg/Image")
        assert bytes(store.serialize_cdr(message, "sensor_msgs/msg/Image")) == octets
        assert (message.height, message.width, message.encoding, message.is_bigendian) == (height, width, encoding, 0)
        assert (message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, message.header.frame_id) == (stamp_ns, frame_id)
        assert message.step == given_pixels[0].nbytes
        assert bytes(message.data) == given_pixels.tobytes()


@given(scenes())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_replay_leaves_times_out(scene):
    store = message_types()
    octets = SceneBytes(scene, timing=False).scene(0.0)
    message = store.deserialize_cdr(octets, KINDS["scene"])
    assert (message.latency_s, message.timing_names, list(message.timing_ms)) == (0.0, [], [])
    assert bytes(store.serialize_cdr(message, KINDS["scene"])) == octets


def test_neither_ros_nor_rosbags_is_needed():
    import subprocess
    blocked = ("rclpy", "sensor_msgs", "perception_node_msgs", "rosbags", "torch")
    program = (f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
               "import perception_node.bag.cdr\n")
    assert subprocess.run([sys.executable, "-c", program], timeout=100, check=False).returncode == 0
