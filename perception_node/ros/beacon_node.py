"""The lifecycle node `beacon`: it wires tracker, outputs and diagnostics together, and nothing else."""

from __future__ import annotations

from typing import Any

from perception_node.beacon.config import BeaconConfig
from perception_node.beacon.tracker import BeaconPose
from perception_node.config import NodeConfig
from perception_node.ros.beacon_io import BeaconOutputs, beacon_status
from perception_node.ros.beacon_worker import BeaconFinder, BeaconWorker
from perception_node.ros.camera_node import CameraNode
from perception_node.ros.diagnostics import Status
from perception_node.ros.inputs import Inputs


class BeaconNode(CameraNode):
    """Follows one beacon with one camera. `configure` checks the LEDs, `activate` subscribes and computes."""

    config: BeaconConfig
    worker: BeaconWorker | None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("beacon", BeaconConfig(), **kwargs)
        self.finder: BeaconFinder | None = None
        self.outputs: BeaconOutputs | None = None

    def camera(self) -> NodeConfig:
        """What this node's parameters say of the camera; there is no depth."""
        node = self.config.node
        return NodeConfig(depth="off", image_transport=node.image_transport, max_age_s=node.max_age_s,
                          camera_timeout_s=node.camera_timeout_s, reliability=node.reliability)

    def load(self) -> str:
        """The LEDs, checked, and publishers."""
        self.finder = BeaconFinder(self.config)
        layout = self.finder.layout
        self.outputs = BeaconOutputs(self, layout.leds_m)
        if layout.same:
            self.get_logger().warning("the beacon looks the same after a turn: its pose is ambiguous unless "
                                      "tracker.max_roll_rad is small enough")
        return f"{layout.count} LEDs, {'flat: ambiguous until it is near' if layout.flat else 'not flat'}"

    def unload(self) -> None:
        """Remove the publishers, forget the layout."""
        if self.outputs is not None:
            self.outputs.destroy()
        self.outputs = self.finder = None

    def make_inputs(self) -> Inputs:
        """The camera's topics."""
        return Inputs(self, self.camera(), self.inbox)

    def make_worker(self, inputs: Inputs) -> BeaconWorker:
        """The search from the start, with the parameters of now."""
        assert self.finder is not None
        self.finder.reset()
        self.finder.update_config(self.config)
        return BeaconWorker(self.finder, self.inbox, self.links(inputs, self._publish))

    def statuses(self) -> list[Status]:
        """Of the beacon."""
        assert self.worker is not None
        return [beacon_status(self.worker)]

    def _publish(self, pose: BeaconPose, frame_id: str) -> None:
        assert self.outputs is not None
        node = self.config.node
        trusted = (not pose.alternatives or node.publish_ambiguous) and (not pose.degraded or node.publish_degraded)
        self.outputs.publish(pose, frame_id, trusted)
