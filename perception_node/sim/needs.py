"""The two libraries that only the simulator needs, with one clear line when they are missing."""

from __future__ import annotations

from perception_node.errors import MissingDependencyError

try:
    import mujoco
except ImportError as error:
    raise MissingDependencyError("the simulator needs the package mujoco: pip install mujoco") from error

try:
    from numba import njit
except ImportError as error:
    raise MissingDependencyError("the simulator needs the package numba: pip install numba") from error

__all__ = ["mujoco", "njit"]
