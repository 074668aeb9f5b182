"""The library that only the simulator needs, with one clear line when it is missing; and the compiler of its loops."""

from __future__ import annotations

import os

from numba import njit

from perception_node.errors import MissingDependencyError

if "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")  # only the OpenGL pictures need it; read when mujoco is imported

try:
    import mujoco
except ImportError as error:
    raise MissingDependencyError("the simulator needs the package mujoco: pip install mujoco") from error

__all__ = ["mujoco", "njit"]
