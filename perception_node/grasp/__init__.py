"""Where to put the cup or the jaws, how likely it holds, in which order, until when; and why not."""

from perception_node.grasp.candidates import propose_grasps
from perception_node.grasp.draw import draw_grasps

__all__ = ["draw_grasps", "propose_grasps"]
