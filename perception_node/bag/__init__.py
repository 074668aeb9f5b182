"""Recordings on disk: reading them as frames, writing them, and the ground truth beside them. No ROS is needed."""
