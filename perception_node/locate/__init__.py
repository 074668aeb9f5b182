"""Mask + depth -> the package's box in space, its upper face, and what covers what."""

from perception_node.locate.packages import locate_packages

__all__ = ["locate_packages"]
