"""What the nodes of several cameras must not share. Free of ROS and of launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perception_node.errors import ConfigError

OWN = ("image", "depth", "camera_info", "beacon_pose")
"""Topics that no two cameras have in common; the belt's velocity may be one for all."""


def require_own_topics(cameras: Sequence[str], topics: Mapping[str, str]) -> None:
    """Refuse a topic that the nodes of several cameras would all read.

    Args:
        cameras: their names, which are namespaces. topics: names as they were remapped, by the node's own name.

    Raises:
        ConfigError: an absolute name of a topic that each camera has for itself, and more than one camera.
    """
    for topic in OWN:
        name = topics.get(topic, topic)
        if len(cameras) > 1 and name.startswith("/"):
            raise ConfigError(f"{topic}: expected a relative name, which lies in each camera's namespace ({', '.join(cameras)}), "
                              f"got {name}: all cameras' nodes would read that one topic")
