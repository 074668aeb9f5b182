"""The beacon node's thread: takes pictures from the inbox, follows the beacon, hands poses on. Free of rclpy."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perception_node.bag import decode
from perception_node.bag.camera import camera_model
from perception_node.bag.gray import gray_pixels
from perception_node.bag.watch import Unchanged, UnusablePicture
from perception_node.beacon.config import BeaconConfig
from perception_node.beacon.layout import Layout
from perception_node.beacon.tracker import BeaconPose, BeaconTracker
from perception_node.errors import FrameError
from perception_node.ros import drops as reasons
from perception_node.ros.inbox import Inbox, Item
from perception_node.ros.worker import CameraWorker, Links
from perception_node.types import CameraModel


@dataclass
class BeaconFinder:
    """The tracker with the calibration that the pictures come with.

    Attributes:
        config: parameters. layout: the LEDs. pose: of the last picture, None = that picture gave none.
        state, why: of the tracker after the last picture.
    """

    config: BeaconConfig
    layout: Layout = field(init=False)
    pose: BeaconPose | None = None
    state: str = "searching"
    why: str = "no picture came yet"
    _tracker: BeaconTracker | None = None

    def __post_init__(self) -> None:
        self.layout = self.config.layout()

    def update_config(self, config: BeaconConfig) -> None:
        """Take over live parameters."""
        self.config = config

    def reset(self) -> None:
        """Forget the beacon."""
        self.pose, self._tracker = None, None
        self.state, self.why = "searching", "starting over"

    def process(self, gray: Any, camera: CameraModel, stamp_ns: int) -> BeaconPose | None:
        """The pose in this picture, or None; another calibration begins a new search.

        Raises:
            FrameError: the picture's size is not the calibration's.
        """
        if gray.shape != (camera.height, camera.width):
            self.state, self.why = "lost", "the picture's size is not the calibration's"
            raise FrameError(f"image is {gray.shape[1]}x{gray.shape[0]}, camera_info says {camera.width}x{camera.height}")
        if self._tracker is None or self._tracker.camera != camera:
            self._tracker = BeaconTracker(camera, self.layout.leds_m, self.config.tracker)
        self.pose = self._tracker.update(gray, stamp_ns)
        self.state, self.why = self._tracker.state, self._tracker.why
        return self.pose


class BeaconWorker(CameraWorker):
    """Follows the beacon."""

    def __init__(self, finder: BeaconFinder, inbox: Inbox, links: Links) -> None:
        super().__init__(finder, inbox, links)
        self.finder = finder
        self._unchanged = Unchanged()

    def _process(self, item: Item) -> None:
        began = time.perf_counter()
        info = self._begin(item)
        if info is None:
            return
        camera = camera_model(info)
        message = self.links.decode("colour", item.colour.data)
        stamp_ns, frame_id = decode.stamp_ns(message.header), str(message.header.frame_id)
        if not frame_id:
            raise FrameError("image: expected a frame_id (the camera's optical frame), got an empty one")
        gray = gray_pixels(message)
        self._check_new(item)
        self._follow(frame_id)
        decoded = time.perf_counter()
        pose = self.finder.process(gray, camera, stamp_ns)
        computed = time.perf_counter()
        if not self._wanted(item, stamp_ns):
            return
        if pose is not None:
            self.links.publish(pose, frame_id)
            self.results.tick()
        self.age_s = 1e-9 * (self.links.now_ns() - stamp_ns)
        self.timing_ms = {"decode": 1e3 * (decoded - began), "track": 1e3 * (computed - decoded),
                          "publish": 1e3 * (time.perf_counter() - computed)}

    def _check_new(self, item: Item) -> None:
        still_s, node = self._unchanged.since(item.colour), self.finder.config.node
        if node.detect_frozen and still_s > node.max_age_s:
            raise UnusablePicture(reasons.FROZEN, f"image: expected new pixels, got the same bytes for {still_s:.1f} s under new "
                                  "stamps (simulated camera without noise: set node.detect_frozen to false)")


def covariance_list(pose: BeaconPose) -> list[float]:
    """The 36 numbers of geometry_msgs/PoseWithCovariance, row by row."""
    return [float(value) for value in np.asarray(pose.covariance).ravel()]
