"""Robot-cell perception for ROS 2: packages on a conveyor, separated, followed and handed out as ranked grasps."""

__version__ = "0.1.0"
