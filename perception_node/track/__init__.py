"""Belt motion, stable ids, prediction."""

from perception_node.track.tracker import Tracker, TrackUpdate

__all__ = ["TrackUpdate", "Tracker"]
