"""Rigid-body settling of piles with MuJoCo (Apache-2.0): cheap, exact for boxes, no display needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception_node.sim.meshes import Array
from perception_node.sim.needs import mujoco

_STEP_S = 0.004
_FALL_M_S = 1.3
"""Falling speed is held below this so that tall stacks of arrivals land softly."""


_ROLLING_M = 0.002
"""Rolling friction of goods, metres: cans and balls come to rest within the time. Source: chosen so, not measured."""


@dataclass(frozen=True)
class Solid:
    """One convex piece of a body, in the body's frame.

    Attributes:
        kind: "box", "cylinder", "capsule" (both along z), "sphere" or "ellipsoid".
        half_m: half sizes as MuJoCo takes them: box and ellipsoid x, y, z; cylinder and capsule radius, half length; sphere radius.
        position_m: (3,) centre.
        quaternion: (4,) w, x, y, z.
    """

    kind: str
    half_m: tuple[float, ...]
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Body:
    """Something to drop: full size (3,) metres, starting position (3,), quaternion (w, x, y, z), and the
    pieces that touch others; none = a box of that size."""

    size_m: Array
    position_m: Array
    quaternion: Array
    solids: tuple[Solid, ...] = ()


def _model(bodies: list[Body], statics: list[Body], friction: float, floor_z_m: float) -> mujoco.MjModel:
    parts = [
        f"<mujoco><option timestep='{_STEP_S:g}' integrator='implicitfast' iterations='25' ls_iterations='6'>"
        "<flag multiccd='enable'/></option>"
        "<size memory='32M'/>"
        f"<default><geom solref='0.012 1.1' friction='{friction:.3f} 0.01 0.001' condim='4'/></default>"
        f"<worldbody><geom type='plane' size='0 0 1' pos='0 0 {floor_z_m:g}'/>"
    ]
    for b in statics:
        p, q, h = b.position_m, b.quaternion, np.asarray(b.size_m) / 2
        parts.append(
            f"<geom type='box' pos='{p[0]:.5f} {p[1]:.5f} {p[2]:.5f}' "
            f"quat='{q[0]:.6f} {q[1]:.6f} {q[2]:.6f} {q[3]:.6f}' size='{h[0]:.5f} {h[1]:.5f} {h[2]:.5f}'/>"
        )
    for b in bodies:
        p, q, h = b.position_m, b.quaternion, np.asarray(b.size_m) / 2
        mass = max(0.05, 180.0 * 8 * h[0] * h[1] * h[2])
        parts.append(
            f"<body pos='{p[0]:.5f} {p[1]:.5f} {p[2]:.5f}' quat='{q[0]:.6f} {q[1]:.6f} {q[2]:.6f} {q[3]:.6f}'>"
            f"<joint type='free' damping='0.02'/>"
        )
        if not b.solids:
            parts.append(f"<geom type='box' size='{h[0]:.5f} {h[1]:.5f} {h[2]:.5f}' mass='{mass:.4f}'/>")
        for solid in b.solids:
            half, place, turn = (" ".join(f"{v:.6f}" for v in vs) for vs in (solid.half_m, solid.position_m, solid.quaternion))
            parts.append(
                f"<geom type='{solid.kind}' size='{half}' pos='{place}' quat='{turn}' "
                f"mass='{mass / len(b.solids):.4f}' condim='6' friction='{friction:.3f} 0.01 {_ROLLING_M:g}'/>"
            )
        parts.append("</body>")
    parts.append("</worldbody></mujoco>")
    return mujoco.MjModel.from_xml_string("".join(parts))


def settle(
    bodies: list[Body], statics: list[Body], friction: float, floor_z_m: float = 0.0, most_s: float = 2.6
) -> tuple[Array, Array]:
    """Lets the bodies fall and come to rest.

    Args:
        bodies: what falls.
        statics: walls and obstacles that stay.
        friction: coefficient of sliding friction.
        floor_z_m: height of the ground plane.
        most_s: simulated time at most, seconds.

    Returns:
        (N, 3) positions in metres and (N, 4) quaternions (w, x, y, z).
    """
    if not bodies:
        return np.zeros((0, 3)), np.zeros((0, 4))
    model = _model(bodies, statics, friction, floor_z_m)
    data = mujoco.MjData(model)
    count = len(bodies)
    speed = data.qvel  # a view: the steps write into it
    down = speed[2::6]
    quiet = 0
    for step in range(int(most_s / _STEP_S)):
        mujoco.mj_step(model, data)
        if down.min() < -_FALL_M_S:
            np.maximum(down, -_FALL_M_S, out=down)
        if step % 10 == 9:
            still = float(np.abs(speed).max()) < 0.08
            quiet = quiet + 1 if still else 0
            if quiet >= 2:
                break
    pose = np.array(data.qpos).reshape(count, 7)
    return pose[:, :3].copy(), pose[:, 3:].copy()
