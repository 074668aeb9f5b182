"""Several cameras: each reads its own topics."""

import pytest

from perception_node.errors import ConfigError
from perception_node.ros.cameras import require_own_topics


@pytest.mark.parametrize(("cameras", "topics"), [
    ((), {"image": "/cam/image"}), (("one",), {"image": "/cam/image"}),
    (("left", "right"), {"image": "camera/color/image_raw", "belt_velocity": "/drive/belt_velocity"}), (("left", "right"), {})])
def test_topics_of_their_own(cameras, topics):
    require_own_topics(cameras, topics)


@pytest.mark.parametrize("topic", ["image", "depth", "camera_info", "beacon_pose"])
def test_one_topic_for_two_cameras_is_refused(topic):
    with pytest.raises(ConfigError, match=rf"{topic}: expected a relative name.* \(left, right\), got /cam/x: all cameras' nodes"):
        require_own_topics(("left", "right"), {topic: "/cam/x"})
