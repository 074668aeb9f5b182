"""Compiled loops of the grasps: the surface under many discs, what stands round a cup, what fingers meet on their way down.

Pictures come as `View` keeps them (contiguous, read-only), all other arrays fresh: each loop is compiled for one set of types.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.grasp.planes import least_variance, lower_median, solve_plane, span_and_bend
from perception_node.types import F32, F64

Labels = NDArray[np.uint16]
Whole = NDArray[np.int64]

PATCH_COLUMNS = 15
"""Width of the table that `fit_discs` fills."""
MIN_READINGS = 6
GRID_X, GRID_Y, GRID_Z = 4, 4, 3
"""Points by which a finger's volume is looked at: along its thickness, its width, and downwards from the face."""
HELD_X, HELD_Y, HELD_SHARE = 9, 3, 0.9
"""Points by which the place between the fingers is looked at, and the share of it that they span."""
ABOVE_M = 0.2
"""Fingers come from above: what stands this much higher than the face is still in their way."""
HIGH_M = (0.16, 0.1, 0.055)
"""The fingers' way is looked at this high above the face, too: at the side of the picture, tall neighbours lean into it."""
FACE_M = 0.015
"""The highest look beside the face itself: a little above it, as faces bulge."""
BEHIND_M = 0.006
"""A point this much behind the seen surface is out of sight. Source: 99th percentile of stereo depth error at 1.1 m."""
OWN_SLACK_M = 0.0005
"""The package's own sides may lie this much inside a finger's inner surface before they count: depth noise at a side is lateral."""
_NEAREST_M = 1e-6


@compiled
def pixel_of(x: float, y: float, z: float, camera: F64, height: int, width: int) -> tuple[int, int]:
    """Row and column of the pixel nearest to a point of the camera frame; (-1, -1) behind the camera or beside the picture.

    Args:
        x, y, z: metres. camera: (4,) fx, fy, cx, cy, or (12,) with OpenCV's k1, k2, p1, p2, k3, k4, k5, k6.

    Source: OpenCV, "Camera calibration and 3D reconstruction", the rational model.
    """
    if not z > _NEAREST_M:
        return -1, -1
    nearness = 1.0 / z
    x, y = x * nearness, y * nearness
    if len(camera) > 4:
        square = x * x + y * y
        radial = (1.0 + square * (camera[4] + square * (camera[5] + square * camera[8]))) / (
            1.0 + square * (camera[9] + square * (camera[10] + square * camera[11])))
        x, y = (x * radial + 2.0 * camera[6] * x * y + camera[7] * (square + 2.0 * x * x),
                y * radial + camera[6] * (square + 2.0 * y * y) + 2.0 * camera[7] * x * y)
    u, v = camera[0] * x + camera[2], camera[1] * y + camera[3]
    if not (u >= -0.5 and u < width - 0.5 and v >= -0.5 and v < height - 0.5):
        return -1, -1
    return min(int(np.rint(v)), height - 1), min(int(np.rint(u)), width - 1)


@compiled
def ray_of(row: int, column: int, rays: F32, camera: F64, width: int) -> tuple[np.float32, np.float32]:
    """x/z and y/z of a pixel's viewing ray, as `rays` (H * W, 2) holds them: what can be computed need not come from memory."""
    if len(camera) > 4:
        return rays[row * width + column, 0], rays[row * width + column, 1]
    return np.float32((column - camera[2]) / camera[0]), np.float32((row - camera[3]) / camera[1])


@compiled
def tangents(nx: float, ny: float, nz: float, hx: float, hy: float, hz: float) -> tuple[float, float, float, float, float, float]:
    """Two axes at right angles to a normal and to each other, the first one near a hint; x, y, z of each."""
    along = hx * nx + hy * ny + hz * nz
    ax, ay, az = hx - nx * along, hy - ny * along, hz - nz * along
    length = math.sqrt(ax * ax + ay * ay + az * az)
    if length <= 1e-6:  # the hint is the normal: any other axis will do
        ax, ay, az, along = 0.0, 0.0, 0.0, nz
        if abs(nx) <= abs(ny) and abs(nx) <= abs(nz):
            ax, along = 1.0, nx
        elif abs(ny) <= abs(nz):
            ay, along = 1.0, ny
        else:
            az = 1.0
        ax, ay, az = ax - nx * along, ay - ny * along, az - nz * along
        length = math.sqrt(ax * ax + ay * ay + az * az)
    ax, ay, az = ax / length, ay / length, az / length
    return ax, ay, az, ny * az - nz * ay, nz * ax - nx * az, nx * ay - ny * ax


@compiled
def fit_discs(labels: Labels, depth_m: F32, rays: F32, rgb: NDArray[np.uint8], camera: F64, contact: F64, normal: F64, hint: F64,
              label: Whole, pattern_m: F64, cups: int, tolerance_m: F64, rounds: int) -> F64:
    """Fit a plane to what lies under each of N discs, as `patch.fit_patches` says.

    Args:
        labels, depth_m: (H, W). rays: (H * W, 2). rgb: (H, W, 3), or of size 0. camera: as in `pixel_of`.
        contact, normal, hint: (N, 3). label: (N,). pattern_m: (M, 2), cup after cup. tolerance_m: (N,).

    Returns:
        (N, PATCH_COLUMNS): contact (3), normal (3), then as in `patch.Patches`.
    """
    height, width = labels.shape
    samples = len(pattern_m)
    each = samples // cups
    out = np.empty((len(contact), PATCH_COLUMNS))
    a, b, h = np.empty(samples), np.empty(samples), np.empty(samples)
    order, plane = np.empty(samples), np.empty(3)
    rows, columns = np.empty(samples, np.int64), np.empty(samples, np.int64)
    here, depths, greens = np.empty(samples, np.uint16), np.empty(samples, np.float32), np.empty(samples)
    radius = np.abs(pattern_m).max()
    narrowest = least_variance(pattern_m)
    for n in range(len(contact)):
        cx, cy, cz = contact[n, 0], contact[n, 1], contact[n, 2]
        nx, ny, nz = normal[n, 0], normal[n, 1], normal[n, 2]
        ax, ay, az, bx, by, bz = tangents(nx, ny, nz, hint[n, 0], hint[n, 1], hint[n, 2])
        for k in range(samples):
            px, py = pattern_m[k, 0], pattern_m[k, 1]
            rows[k], columns[k] = pixel_of(cx + ax * px + bx * py, cy + ay * px + by * py, cz + az * px + bz * py, camera, height,
                                           width)
        for k in range(samples):  # a loop of its own: the processor waits for many places of the memory at once
            row, column = max(rows[k], 0), max(columns[k], 0)
            here[k], depths[k] = labels[row, column], depth_m[row, column]
            greens[k] = rgb[row, column, 1] if rgb.size else 0.0
        covered, count, bright, bright2, least = 0, 0, 0.0, 0.0, each
        for c in range(cups):
            mine = 0
            for k in range(c * each, (c + 1) * each):
                bright += greens[k]
                bright2 += greens[k] * greens[k]
                if rows[k] < 0 or here[k] != label[n]:
                    continue
                covered += 1
                z = depths[k]
                if not (z > 0.0 and z < np.inf):
                    continue
                mine += 1
                x, y = ray_of(rows[k], columns[k], rays, camera, width)
                x, y = z * x - cx, z * y - cy
                z -= cz
                a[count], b[count] = x * ax + y * ay + z * az, x * bx + y * by + z * bz
                h[count] = x * nx + y * ny + z * nz
                order[count] = h[count]
                count += 1
            least = min(least, mine)
        # A first guess may lie beside the surface: start from the middle reading, then let far ones lose their say.
        plane[0], plane[1], plane[2] = 0.0, 0.0, 0.0
        if count > 0:
            plane[2] = lower_median(order, count)
        for k in range(rounds):
            solve_plane(a, b, h, count, 1.0 / ((2.5 if k == 0 else 1.0) * tolerance_m[n]), plane)
        total, sum_a, sum_b = 0.0, 0.0, 0.0
        for k in range(count):
            far = h[k] - (plane[0] * a[k] + plane[1] * b[k] + plane[2])
            total += far * far
            sum_a += a[k]
            sum_b += b[k]
        safe = max(count, 1)
        closest, out[n, 14] = span_and_bend(a, b, h, count, plane)
        steep = 1.0 + plane[0] * plane[0] + plane[1] * plane[1]
        root = math.sqrt(steep)
        out[n, 0], out[n, 1], out[n, 2] = cx + nx * plane[2], cy + ny * plane[2], cz + nz * plane[2]
        out[n, 3] = (nx - plane[0] * ax - plane[1] * bx) / root
        out[n, 4] = (ny - plane[0] * ay - plane[1] * by) / root
        out[n, 5] = (nz - plane[0] * az - plane[1] * bz) / root
        out[n, 6] = math.sqrt(total / safe / steep)
        out[n, 7], out[n, 8] = covered / samples, count / samples
        out[n, 9] = min(math.sqrt(sum_a * sum_a + sum_b * sum_b) / safe / radius, 1.0)
        out[n, 10] = least / each
        out[n, 11] = 1.0 if count >= MIN_READINGS else 0.0
        out[n, 12] = math.sqrt(max(bright2 / samples - (bright / samples) ** 2, 0.0))
        out[n, 13] = math.sqrt(closest / narrowest)
    return out


@compiled
def ring_openness(depth_m: F32, camera: F64, patches: F64, radius_m: float, places: int, stands_m: float) -> F64:
    """(N,) share of places on a ring round each disc where nothing stands above it by more than `stands_m`.

    Args:
        depth_m: (H, W). camera: as in `pixel_of`. patches: (N, PATCH_COLUMNS). radius_m, places: of the ring.
    """
    height, width = depth_m.shape
    out = np.empty(len(patches))
    for n in range(len(patches)):
        ax, ay, az, bx, by, bz = tangents(patches[n, 3], patches[n, 4], patches[n, 5], 1.0, 0.0, 0.0)
        standing = 0
        for k in range(places):
            angle = 2.0 * math.pi * k / places
            p, q = radius_m * math.cos(angle), radius_m * math.sin(angle)
            z = patches[n, 2] + p * az + q * bz
            row, column = pixel_of(patches[n, 0] + p * ax + q * bx, patches[n, 1] + p * ay + q * by, z, camera, height, width)
            if row >= 0 and z - depth_m[row, column] > stands_m:
                standing += 1
        out[n] = 1.0 - standing / places
    return out


@compiled
def fingers_meet(labels: Labels, depth_m: F32, rays: F32, camera: F64, T_cam_face: F64, opening_m: F64, own: Whole,
                 box_poses: F64, box_sizes_m: F64, box_labels: Whole, plane: F64, jaws_m: F64) -> tuple[F64, Whole, F64]:
    """What the fingers of N candidates meet, as `clearance.look_beside` says.

    Args:
        labels, depth_m, rays, camera: as in `fit_discs`. T_cam_face: (N, 4, 4). opening_m: (N,). own: (N,).
        box_poses, box_sizes_m, box_labels: (B, 4, 4), (B, 3), (B,) of the packages with a box. plane: (4,) belt, or (0,).
        jaws_m: (4,) finger's depth, thickness and width, and the clearance.

    Returns:
        (N,) free depth, (N,) label of the obstacle, (N,) unseen share.
    """
    height, width = labels.shape
    clearance = jaws_m[3]
    depth, thick, wide = jaws_m[0] + clearance, jaws_m[1] + clearance, jaws_m[2] + clearance
    levels = len(HIGH_M) + GRID_Z
    down = np.empty(levels)
    for d in range(len(HIGH_M)):
        down[d] = -HIGH_M[d]
    for d in range(GRID_Z):
        down[len(HIGH_M) + d] = -FACE_M + (depth + FACE_M) * d / (GRID_Z - 1)
    count = len(opening_m)
    free_m, blocker, unseen = np.empty(count), np.zeros(count, dtype=np.int64), np.empty(count)
    hidden = np.empty((levels, 2 * GRID_X, GRID_Y), dtype=np.bool_)
    rows, columns = np.empty(hidden.size, np.int64), np.empty(hidden.size, np.int64)
    places_z, depths = np.empty(hidden.size), np.empty(hidden.size)
    across, turn, start, middle = np.empty(2 * GRID_X), np.empty((3, 3)), np.empty(3), np.empty(3)
    for n in range(count):
        T, half, mine = T_cam_face[n], opening_m[n] / 2.0, own[n]
        ax, ay, az, bx, by, bz, cx, cy, cz = T[0, 0], T[1, 0], T[2, 0], T[0, 1], T[1, 1], T[2, 1], T[0, 2], T[1, 2], T[2, 2]
        sx = T[0, 3] * ax + T[1, 3] * ay + T[2, 3] * az
        sy = T[0, 3] * bx + T[1, 3] * by + T[2, 3] * bz
        sz = T[0, 3] * cx + T[1, 3] * cy + T[2, 3] * cz
        for k in range(GRID_X):
            across[k] = half + thick * k / (GRID_X - 1)
            across[GRID_X + k] = -across[k]
        number = 0
        for d in range(levels):
            for k in range(2 * GRID_X):
                x0 = ax * across[k] + cx * down[d] + T[0, 3]
                y0 = ay * across[k] + cy * down[d] + T[1, 3]
                z0 = az * across[k] + cz * down[d] + T[2, 3]
                for j in range(GRID_Y):
                    along = (j / (GRID_Y - 1) - 0.5) * wide
                    z = z0 + bz * along
                    rows[number], columns[number] = pixel_of(x0 + bx * along, y0 + by * along, z, camera, height, width)
                    places_z[number] = z
                    number += 1
        for k in range(number):  # a loop of its own: the processor waits for many places of the memory at once
            depths[k] = depth_m[max(rows[k], 0), max(columns[k], 0)] if rows[k] >= 0 else 0.0
        # One reading in a finger's way may be a flying pixel of a depth edge; the next one is an obstacle.
        first, second, first_label, second_label = np.inf, np.inf, np.int64(0), np.int64(0)
        left, right, number = 0, 0, -1
        for d in range(levels):
            for k in range(2 * GRID_X):
                side = 1.0 if k < GRID_X else -1.0
                for j in range(GRID_Y):
                    number += 1
                    z, place_z = depths[number], places_z[number]
                    readable = z > 0.0
                    # Higher up nothing can hide: what is in front of it is nearer still.
                    out_of_sight = d >= len(HIGH_M) and (not readable or place_z > z + BEHIND_M)
                    hidden[d, k, j] = out_of_sight
                    if out_of_sight:
                        if k < GRID_X:
                            left += 1
                        else:
                            right += 1
                    if not readable:
                        continue
                    row, column = rows[number], columns[number]
                    x, y = ray_of(row, column, rays, camera, width)
                    x, y = z * x, z * y
                    aside = (x * ax + y * ay + z * az - sx) * side
                    if not (aside > half - clearance / 2.0 and aside < half + thick):
                        continue
                    above = x * cx + y * cy + z * cz - sz
                    if not (above > -ABOVE_M and abs(x * bx + y * by + z * bz - sy) < wide / 2.0):
                        continue
                    met = np.int64(labels[row, column])
                    if met == mine and not aside > half + OWN_SLACK_M:
                        continue
                    if above < first:
                        second, second_label = first, first_label
                        first, first_label = above, met
                    elif above < second:
                        second, second_label = above, met
        free, met = second, second_label
        unseen[n] = max(left, right) / (GRID_Z * GRID_X * GRID_Y)
        if left + right > 0:
            least = free
            low, high = down[len(HIGH_M)], down[levels - 1]
            for p in range(len(box_labels)):
                if box_labels[p] == own[n]:
                    continue
                near = True
                for c in range(3):  # the fingers' frame in the box's, and half the extent of the fingers along its axes
                    for r in range(3):
                        turn[c, r] = T[0, r] * box_poses[p, 0, c] + T[1, r] * box_poses[p, 1, c] + T[2, r] * box_poses[p, 2, c]
                    start[c] = ((T[0, 3] - box_poses[p, 0, 3]) * box_poses[p, 0, c] + (T[1, 3] - box_poses[p, 1, 3])
                                * box_poses[p, 1, c] + (T[2, 3] - box_poses[p, 2, 3]) * box_poses[p, 2, c])
                    middle[c] = start[c] + turn[c, 2] * (low + high) / 2.0
                    extent = (abs(turn[c, 0]) * across[GRID_X - 1] + abs(turn[c, 1]) * wide / 2.0
                              + abs(turn[c, 2]) * (high - low) / 2.0)
                    if not abs(middle[c]) < box_sizes_m[p, c] / 2.0 + clearance / 2.0 + extent:
                        near = False
                        break
                if not near:
                    continue
                reached = np.inf
                for d in range(len(HIGH_M), levels):
                    for k in range(2 * GRID_X):
                        for j in range(GRID_Y):
                            if hidden[d, k, j] and reached == np.inf:
                                along = (j / (GRID_Y - 1) - 0.5) * wide
                                inside = True
                                for c in range(3):
                                    place = turn[c, 0] * across[k] + turn[c, 1] * along + turn[c, 2] * down[d] + start[c]
                                    inside = inside and abs(place) < box_sizes_m[p, c] / 2.0 + clearance / 2.0
                                if inside:
                                    reached = down[d]
                if reached < free and reached <= least:
                    least, met = reached, box_labels[p]
            free = min(free, least)
        if len(plane) == 4:  # the depth at which the first corner of a finger meets the belt
            lean = np.empty(3)
            for c in range(3):
                lean[c] = T[0, c] * plane[0] + T[1, c] * plane[1] + T[2, c] * plane[2]
            level = T[0, 3] * plane[0] + T[1, 3] * plane[1] + T[2, 3] * plane[2] + plane[3]
            level -= abs(lean[0]) * (half + jaws_m[1]) + abs(lean[1]) * jaws_m[2] / 2.0
            level /= max(-lean[2], 0.2)
            if level < free:
                free, met = level, np.int64(0)
        free_m[n] = free if np.isfinite(free) else depth
        blocker[n] = met
    return free_m, blocker, unseen


@compiled
def held_between(labels: Labels, depth_m: F32, rays: F32, camera: F64, T_cam_face: F64, extent_m: F64, own: Whole,
                 jaws_m: F64) -> F64:
    """(N,) share of the places on the face between N candidates' fingers where their package is seen within the fingers' depth.

    Args:
        labels, depth_m, rays, camera: as in `fit_discs`. T_cam_face, own, jaws_m: as in `fingers_meet`. extent_m: (N,)
            width of the package between the fingers.
    """
    height, width = labels.shape
    out = np.empty(len(extent_m))
    for n in range(len(extent_m)):
        T, seen = T_cam_face[n], 0
        for i in range(HELD_X):
            x = (i / (HELD_X - 1) - 0.5) * HELD_SHARE * extent_m[n]
            for j in range(HELD_Y):
                y = (j / (HELD_Y - 1) - 0.5) * HELD_SHARE * jaws_m[2]
                z = T[2, 0] * x + T[2, 1] * y + T[2, 3]
                row, column = pixel_of(T[0, 0] * x + T[0, 1] * y + T[0, 3], T[1, 0] * x + T[1, 1] * y + T[1, 3], z, camera, height,
                                       width)
                if row < 0 or labels[row, column] != own[n]:
                    continue
                z = depth_m[row, column]
                if z > 0.0:
                    u, v = ray_of(row, column, rays, camera, width)
                    below = (z * u - T[0, 3]) * T[0, 2] + (z * v - T[1, 3]) * T[1, 2] + (z - T[2, 3]) * T[2, 2]
                    if not abs(below) < jaws_m[0]:
                        continue
                seen += 1
        out[n] = seen / (HELD_X * HELD_Y)
    return out
