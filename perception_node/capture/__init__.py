"""Frames worth keeping for training: which, where they lie on disk, and what goes when the disk's share is used up. Free of ROS."""
