"""The node's topics and services as data: documentation is made from it, and a test holds it to the running node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["in", "out", "service"]


@dataclass(frozen=True)
class Endpoint:
    """One topic or service.

    Attributes:
        direction: as seen from the node. name: relative to the node's namespace; `~/` = below the node's own name.
        type: ROS interface type. qos: quality of service in words. words: what for.
        optional: True when it exists only under the condition that `words` name.
    """

    direction: Direction
    name: str
    type: str
    qos: str
    words: str
    optional: bool = False


_CAMERA = "best effort, keep last 1 (`node.reliability`)"
_RESULT = "reliable, keep last 2"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("in", "image", "sensor_msgs/msg/Image", _CAMERA,
             "colour; encodings rgb8, bgr8, rgba8, bgra8, mono8, 8UC1, 8UC3, 8UC4, yuv422, yuyv, uyvy and 8 bit Bayer"),
    Endpoint("in", "image/compressed", "sensor_msgs/msg/CompressedImage", _CAMERA,
             "in place of `image` with `node.image_transport: compressed`; JPEG or PNG", optional=True),
    Endpoint("in", "depth", "sensor_msgs/msg/Image", _CAMERA,
             "aligned to the colour image, same size; 16UC1 = millimetres, 32FC1 = metres (REP-118); 0 or NaN = no reading"),
    Endpoint("in", "depth/compressedDepth", "sensor_msgs/msg/CompressedImage", _CAMERA,
             "in place of `depth` with `node.depth_transport: compressedDepth`; PNG", optional=True),
    Endpoint("in", "camera_info", "sensor_msgs/msg/CameraInfo", _CAMERA, "calibration of the colour image (K and D)"),
    Endpoint("in", "belt_velocity", "geometry_msgs/msg/TwistStamped", "best effort, keep last 1",
             "optional, from the belt's drive: a vector when its frame is the camera's, else linear.x along `belt.direction`"),
    Endpoint("in", "beacon_pose", "geometry_msgs/msg/PoseWithCovarianceStamped", "reliable, keep last 10",
             "`~/pose` of the node `beacon` of the same camera; only when the camera's and the beacon's places are calibrated",
             optional=True),
    Endpoint("out", "~/scene", "perception_node_msgs/msg/PickScene", _RESULT,
             "everything of one frame: label image, packages, grasps, rejections"),
    Endpoint("out", "~/masks", "sensor_msgs/msg/Image", _RESULT, "the label image alone: mono16, 0 = background"),
    Endpoint("out", "~/grasp_poses", "geometry_msgs/msg/PoseArray", _RESULT, "the grasps' poses alone, best first"),
    Endpoint("out", "~/markers", "visualization_msgs/msg/MarkerArray", _RESULT, "for RViz; drawn only when someone listens"),
    Endpoint("out", "~/overlay", "sensor_msgs/msg/Image", _RESULT, "masks on the picture, rgb8; drawn only when someone listens"),
    Endpoint("out", "~/detections", "vision_msgs/msg/Detection2DArray", _RESULT, "only where vision_msgs is installed",
             optional=True),
    Endpoint("out", "~/moveit_grasps", "moveit_msgs/msg/Grasp", "reliable, keep last 200",
             "only where moveit_msgs is installed: one message a grasp, best first; pose of the end effector's parent link",
             optional=True),
    Endpoint("out", "~/preferred", "perception_node_msgs/msg/Preferred", _RESULT,
             "what should be picked next, by an operator's choice or by the ranking, and what should not; follows each scene"),
    Endpoint("out", "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "reliable, keep last 10",
             "every `node.diagnostics_period_s`, also while the camera is silent"),
    Endpoint("service", "~/report_outcome", "perception_node_msgs/srv/ReportOutcome", "", "what happened to a pick"),
    Endpoint("service", "~/ask", "perception_node_msgs/srv/Ask", "", "questions and choices of an operator, in words or by clicks"),
    Endpoint("service", "~/capture", "perception_node_msgs/srv/Capture", "", "keep the newest frame for training"),
    Endpoint("service", "~/load_model", "perception_node_msgs/srv/LoadModel", "", "another model, between two frames and on trial"),
)

BEACON_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("in", "image", "sensor_msgs/msg/Image", _CAMERA,
             "infrared picture; encodings mono8, 8UC1, mono16, 16UC1, or any colour encoding that the node `perception` reads"),
    Endpoint("in", "image/compressed", "sensor_msgs/msg/CompressedImage", _CAMERA,
             "in place of `image` with `node.image_transport: compressed`; JPEG or PNG", optional=True),
    Endpoint("in", "camera_info", "sensor_msgs/msg/CameraInfo", _CAMERA, "calibration of that picture (K and D)"),
    Endpoint("out", "~/pose", "geometry_msgs/msg/PoseWithCovarianceStamped", _RESULT,
             "the beacon's frame in the camera's, with the picture's stamp and frame; only when neither ambiguous nor degraded"),
    Endpoint("out", "~/markers", "visualization_msgs/msg/MarkerArray", _RESULT, "for RViz; drawn only when someone listens"),
    Endpoint("out", "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "reliable, keep last 10",
             "every `node.diagnostics_period_s`, also while the camera is silent"),
)
