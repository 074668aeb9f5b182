"""What a measurement does to a track: position by a Kalman step, orientation and size by the same trust.

A box looks the same from several sides, and a track must not flip between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.types import F64

_SQUARE = 1.15
"""Below this ratio of length to width, length and width may be swapped by noise."""
MIN_POSITION_SIGMA_M = 0.001
_SURPRISE = 16.3
"""A measurement further off restarts the position. Source: chi-square with 3 degrees of freedom, 99.9 %."""
_SYSTEMATIC = 0.8
"""Share of a measurement's variance that repeats from frame to frame (what is hidden stays hidden) and is not averaged away."""
_UNKNOWN_M2 = 1e6


@compiled
def align_pose(measured: F64, previous: F64, size_m: Sequence[float]) -> F64:
    """The equivalent of a box's pose that is turned least against the previous one: half turns about z for all boxes, quarter
    turns for those that are nearly square."""
    straight, quarter = 0.0, 0.0
    for k in range(3):
        straight += measured[k, 0] * previous[k, 0] + measured[k, 1] * previous[k, 1]
        quarter += measured[k, 1] * previous[k, 0] - measured[k, 0] * previous[k, 1]
    aligned = measured.copy()
    if size_m[0] <= _SQUARE * max(size_m[1], 1e-6) and abs(quarter) > abs(straight) + 1e-9:
        sign = 1.0 if quarter > 0 else -1.0
        for k in range(3):
            aligned[k, 0], aligned[k, 1] = sign * measured[k, 1], -sign * measured[k, 0]
    elif straight < 0:
        for k in range(3):
            aligned[k, 0], aligned[k, 1] = -measured[k, 0], -measured[k, 1]
    return aligned


@compiled
def blend_pose(previous: F64, measured: F64, trust: float) -> F64:
    """A pose between two: axes mixed with `trust` in 0..1 for the measured ones and made orthogonal again, z first; position of
    the measured one. For the small turns between frames that is the mean rotation to second order."""
    x, z, facing = np.empty(3), np.empty(3), 0.0
    for k in range(3):
        x[k] = (1 - trust) * previous[k, 0] + trust * measured[k, 0]
        z[k] = (1 - trust) * previous[k, 2] + trust * measured[k, 2]
        facing += z[k] * measured[k, 2]
    blended = measured.copy()
    if facing < 0.1:  # opposite faces have no middle
        return blended
    z /= math.sqrt(z[0] * z[0] + z[1] * z[1] + z[2] * z[2])
    x -= z * (x[0] * z[0] + x[1] * z[1] + x[2] * z[2])
    length = math.sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])
    if length < 1e-9:  # opposite directions have no middle either
        for k in range(3):
            x[k] = measured[k, 0]
        x -= z * (x[0] * z[0] + x[1] * z[1] + x[2] * z[2])
        length = math.sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])
    x /= length
    for k in range(3):
        blended[k, 0], blended[k, 2] = x[k], z[k]
        blended[k, 1] = z[(k + 1) % 3] * x[(k + 2) % 3] - z[(k + 2) % 3] * x[(k + 1) % 3]
    return blended


@compiled
def _inverse(m: F64) -> F64:
    """Inverse of a symmetric positive definite (3, 3) matrix by its cofactors."""
    out = np.empty((3, 3))
    for r in range(3):
        for c in range(3):
            a, b, d, e = (r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3
            out[c, r] = m[a, d] * m[b, e] - m[a, e] * m[b, d]
    inverse: F64 = out / (m[0, 0] * out[0, 0] + m[0, 1] * out[1, 0] + m[0, 2] * out[2, 0])
    return inverse


@compiled
def correct(poses: F64, covariances: F64, sizes_m: F64, drifts_m: F64, doubts_m2: F64, found_poses: F64, found_covariances: F64,
            found_sizes_m: F64, grows: NDArray[np.bool_], void: NDArray[np.bool_]) -> None:
    """Take N measurements into their tracks.

    Args:
        poses, covariances, sizes_m: (N, 4, 4), (N, 6, 6), (N, 3) of the tracks at their last measurement, overwritten.
        drifts_m: (N, 3) how far they have been carried since. doubts_m2: (N,) variance that this added per axis.
        found_poses, found_covariances, found_sizes_m: the measurements. grows: (N,) a part only is in sight: the size is at least
            that. void: (N,) what was believed of the position says nothing.
    """
    prior, noise, gain, surprise = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for n in range(len(poses)):
        for r in range(3):
            surprise[r] = found_poses[n, r, 3] - poses[n, r, 3] - drifts_m[n, r]
            for c in range(3):
                prior[r, c], noise[r, c] = covariances[n, r, c], found_covariances[n, r, c]
            prior[r, r] += doubts_m2[n]
            noise[r, r] += MIN_POSITION_SIGMA_M**2
        inverse = _inverse(prior + noise)
        far = 0.0
        for r in range(3):
            for c in range(3):
                far += surprise[r] * inverse[r, c] * surprise[c]
        if far > _SURPRISE or void[n]:
            prior[:] = 0.0
            for r in range(3):
                prior[r, r] = _UNKNOWN_M2
            inverse = _inverse(prior + noise)
        for r in range(3):
            for c in range(3):
                gain[r, c] = prior[r, 0] * inverse[0, c] + prior[r, 1] * inverse[1, c] + prior[r, 2] * inverse[2, c]
        trust = (gain[0, 0] + gain[1, 1] + gain[2, 2]) / 3.0
        # What is left of the prior, (1 - gain) prior, written so that nothing cancels: noise times the gain's transpose.
        left = np.empty((3, 3))
        for r in range(3):
            for c in range(3):
                left[r, c] = noise[r, 0] * gain[c, 0] + noise[r, 1] * gain[c, 1] + noise[r, 2] * gain[c, 2]
        if noise[0, 0] + noise[1, 1] + noise[2, 2] > left[0, 0] + left[1, 1] + left[2, 2]:
            left += _SYSTEMATIC * (noise - left)
        blended = blend_pose(poses[n], align_pose(found_poses[n], poses[n], found_sizes_m[n]), trust)
        for r in range(3):
            blended[r, 3] = (poses[n, r, 3] + drifts_m[n, r] + gain[r, 0] * surprise[0] + gain[r, 1] * surprise[1]
                             + gain[r, 2] * surprise[2])
        poses[n] = blended
        covariances[n] = (1.0 - trust) * covariances[n] + trust * found_covariances[n]
        for r in range(3):
            for c in range(3):
                covariances[n, r, c] = (left[r, c] + left[c, r]) / 2.0
            size = found_sizes_m[n, r]
            sizes_m[n, r] = max(sizes_m[n, r], size) if grows[n] else sizes_m[n, r] + trust * (size - sizes_m[n, r])
