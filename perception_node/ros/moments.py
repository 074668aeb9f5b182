"""Frames of a recording as ROS messages, decoded before they are due, so that decoding does not disturb the player's timing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from geometry_msgs.msg import TwistStamped, Vector3
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from perception_node.bag.belt import Reading
from perception_node.bag.decode import depth_in_metres, millimetres_from_depth
from perception_node.bag.reader import Recording
from perception_node.errors import PerceptionError
from perception_node.ros.messages import image_message
from perception_node.types import F32, Frame

_AHEAD_FRAMES, _AHEAD_BYTES = 90, 150_000_000  # in memory at most: 90 of 640x480, 14 of 1920x1080


class Moment(NamedTuple):
    """The recorded stamp in nanoseconds and the messages of a frame, still without stamps.

    `belt` is the belt's reading that came since the frame before, None = none did; `belt_age_ns` is how old it was.
    """

    recorded_ns: int
    colour: Image
    depth: Image | None
    info: CameraInfo
    belt: TwistStamped | None = None
    belt_age_ns: int = 0


def messages_of(frame: Frame) -> Moment:
    """A frame as messages, without the belt's reading."""
    height, width = frame.rgb.shape[:2]
    colour, depth = image_message(frame.rgb, "rgb8", Header()), None
    if frame.depth_m is not None:
        depth = _depth_message(frame.depth_m)
    camera = frame.camera
    model = "rational_polynomial" if len(camera.distortion) == 8 else "plumb_bob"
    info = CameraInfo(height=height, width=width, distortion_model=model, d=list(camera.distortion or (0.0,) * 5),
                      k=camera.K.ravel(), r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                      p=[camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0])
    for message in (colour, depth, info):
        if message is not None:
            message.header.frame_id = frame.frame_id
    return Moment(frame.stamp_ns, colour, depth, info)


def _depth_message(depth_m: F32) -> Image:
    """(H, W) metres as 16UC1, or as 32FC1 where whole millimetres below 65.535 m are not all that they hold."""
    millimetres = millimetres_from_depth(depth_m)
    if np.array_equal(depth_in_metres(millimetres), depth_m, equal_nan=True):
        return image_message(millimetres.astype("<u2"), "16UC1", Header())
    return image_message(depth_m.astype("<f4"), "32FC1", Header())


def _with_belt(moment: Moment, reading: Reading) -> Moment:
    """A moment with a recording's reading of the belt."""
    linear, angular = reading.twist.twist.linear, reading.twist.twist.angular
    message = TwistStamped()
    message.header.frame_id = reading.twist.header.frame_id
    message.twist.linear = Vector3(x=linear.x, y=linear.y, z=linear.z)
    message.twist.angular = Vector3(x=angular.x, y=angular.y, z=angular.z)
    return moment._replace(belt=message, belt_age_ns=round(reading.age_s * 1e9))


def _bytes_of(moment: Moment) -> int:
    return len(moment.colour.data) + (len(moment.depth.data) if moment.depth is not None else 0)


class Decoder:
    """Reads the recording in a thread, some frames before they are due. Iterate it once; then `close`."""

    def __init__(self, recording: Recording, limit: int | None) -> None:
        self._queue: queue.Queue[Moment | PerceptionError | None] = queue.Queue(_AHEAD_FRAMES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(recording, limit), name="decoder")
        self._thread.start()

    def __iter__(self) -> Iterator[Moment]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, PerceptionError):
                raise item
            yield item

    def close(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self, recording: Recording, limit: int | None) -> None:
        try:
            played = None
            for number, picture in enumerate(recording.pictures()):
                moment = messages_of(picture.frame)
                self._queue.maxsize = min(_AHEAD_FRAMES, max(2, _AHEAD_BYTES // _bytes_of(moment)))
                if picture.belt is not None and picture.belt.twist is not played:
                    played = picture.belt.twist
                    moment = _with_belt(moment, picture.belt)
                if number == limit or not self._put(moment):
                    break
            self._put(None)
        except PerceptionError as error:
            self._put(error)

    def _put(self, item: Moment | PerceptionError | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
