"""Off-screen OpenGL: must be said before mujoco is imported for the first time."""

import os

if "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")
