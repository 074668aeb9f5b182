"""The types that travel between the stages: frozen, checked at birth, free of ROS, files and clocks.

Conventions (docs/architecture.md): SI units; `T_a_b` maps points of frame b into frame a; camera frames are
optical frames (x right, y down, z forward; REP-103, REP-105). Pixels: integer (u, v) is a pixel's centre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perception_node.checked import frozen_array, frozen_many, frozen_transform, require
from perception_node.errors import FrameError, PerceptionError

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

CLASS_NAMES: tuple[str, ...] = ("box", "padded_mailer", "poly_bag", "item")
"""Package classes, and "item" = goods without a package; a class id is the position in this tuple plus one, 0 is background."""

GraspKind = Literal["suction", "parallel_jaw"]
GRASP_KINDS: tuple[GraspKind, ...] = ("suction", "parallel_jaw")
_GraspValues = tuple[float, float, int, int, int | None]


@dataclass(frozen=True)
class CameraModel:
    """Pinhole camera with OpenCV distortion.

    Attributes:
        fx, fy: focal lengths in pixels. cx, cy: principal point in pixels. width, height: picture size in pixels.
        distortion: OpenCV coefficients (k1, k2, p1, p2[, k3[, k4, k5, k6]]), empty = none.

    Raises:
        FrameError: when focal lengths or size are not positive, or the principal point is far outside the picture.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(self.width > 0 and self.height > 0,
                 f"camera: expected a positive picture size, got {self.width}x{self.height}", FrameError)
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        require(all(np.isfinite(numbers)), f"camera: expected finite calibration, got {numbers}", FrameError)
        require(self.fx > 0 and self.fy > 0,
                 f"camera: expected focal lengths above 0 px, got fx={self.fx} fy={self.fy} (is it calibrated?)", FrameError)
        require(-self.width <= self.cx <= 2 * self.width and -self.height <= self.cy <= 2 * self.height,
                 f"camera: principal point ({self.cx}, {self.cy}) lies far outside of {self.width}x{self.height}", FrameError)

    @property
    def K(self) -> F64:
        """(3, 3) intrinsic matrix in pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of one camera.

    Attributes:
        rgb: (H, W, 3) uint8, RGB order.
        depth_m: (H, W) float32, metres along the optical z axis, aligned to `rgb`, NaN = no reading; or None.
        camera: calibration of `rgb`'s picture.
        stamp_ns: acquisition time in nanoseconds. frame_id: name of the optical frame.

    Raises:
        FrameError: when shapes, types or sizes disagree.
    """

    rgb: NDArray[np.uint8]
    depth_m: F32 | None
    camera: CameraModel
    stamp_ns: int
    frame_id: str

    def __post_init__(self) -> None:
        require(self.rgb.dtype == np.uint8 and self.rgb.ndim == 3 and self.rgb.shape[2] == 3,
                 f"rgb: expected (H, W, 3) uint8, got {self.rgb.shape} {self.rgb.dtype}", FrameError)
        size = (self.camera.height, self.camera.width)
        require(self.rgb.shape[:2] == size,
                 f"rgb is {self.rgb.shape[1]}x{self.rgb.shape[0]}, camera_info says {size[1]}x{size[0]}", FrameError)
        if self.depth_m is not None:
            require(self.depth_m.dtype == np.float32, f"depth_m: expected float32, got {self.depth_m.dtype}", FrameError)
            require(self.depth_m.shape == size, f"depth_m: expected size {size[1]}x{size[0]} of the colour picture, got "
                     f"{'x'.join(str(n) for n in self.depth_m.shape[::-1])}: publish depth aligned to colour", FrameError)


@dataclass(frozen=True)
class Instance:
    """One package in a label image: its label, class, score in [0, 1], bounding box (x0, y0, x1, y1; x1, y1 exclusive) in
    pixels and visible area in pixels.

    What the network says of the mask, 0..1; masks from elsewhere are taken to be right. foreground: mean probability of its
    pixels that they are no background. seams: mean probability, inside it, of a border between packages.
    """

    label: int
    class_name: str
    score: float
    bbox_xyxy: tuple[int, int, int, int]
    area_px: int
    foreground: float = 1.0
    seams: float = 0.0

    def __post_init__(self) -> None:
        require(self.label >= 1, f"label: expected 1 or more, got {self.label}")
        for name, share in (("score", self.score), ("foreground", self.foreground), ("seams", self.seams)):
            if not 0.0 <= share <= 1.0:
                raise PerceptionError(f"{name}: expected 0..1, got {share}")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Which pixel belongs to which package.

    Attributes:
        labels: (H, W) uint16 at the picture's resolution; 0 = background, k = `instances[k - 1]`.
        instances: one per label, in label order.
    """

    labels: NDArray[np.uint16]
    instances: tuple[Instance, ...]

    def __post_init__(self) -> None:
        require(self.labels.dtype == np.uint16 and self.labels.ndim == 2,
                 f"labels: expected (H, W) uint16, got {self.labels.shape} {self.labels.dtype}")
        got = [instance.label for instance in self.instances]
        require(got == list(range(1, len(got) + 1)), f"instances: expected labels 1..{len(got)} in order, got {got}")


@dataclass(frozen=True, eq=False)
class Package:
    """A package located in space, from one frame.

    Attributes:
        label: its label in the frame's segmentation. class_name, score: as segmented.
        T_cam_package: (4, 4), origin = centre of the package's box, x along its length, z out of its upper face.
        size_m: (length, width, height), length >= width; height is 0 where unknown.
        covariance: (6, 6) of (x, y, z, roll, pitch, yaw) in the camera frame, m^2 and rad^2.
        visible_fraction: 0..1, estimated visible share of the upper face.
        covered_by: labels of the packages that lie on top of this one.
        depth_valid_fraction: 0..1, share of the mask's pixels with a depth reading (0 without depth).
        from_depth: False when located on the belt plane alone (degraded mode).
        truncated: True when the picture's border cuts it off, so that size and centre are those of the part in sight.
        placed: False when neither depth nor a belt plane says where it is: the pose is then one metre along its viewing ray,
            with a covariance of many metres.
        outline: left, top, right, bottom of its visible part as viewing rays (x/z, y/z), None = unknown. cut_sides: which of
            these four are the picture's border and not the package's.
    """

    label: int
    class_name: str
    score: float
    T_cam_package: F64
    size_m: tuple[float, float, float]
    covariance: F64
    visible_fraction: float
    covered_by: tuple[int, ...]
    depth_valid_fraction: float
    from_depth: bool
    truncated: bool = False
    placed: bool = True
    outline: tuple[float, float, float, float] | None = None
    cut_sides: tuple[bool, bool, bool, bool] = (False, False, False, False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "T_cam_package", frozen_transform(self.T_cam_package, "T_cam_package"))
        object.__setattr__(self, "covariance", frozen_array(self.covariance, (6, 6), "covariance"))
        require(min(self.size_m) >= 0.0, f"size_m: expected lengths of at least 0, got {self.size_m}")

    @classmethod
    def many(cls, fields: Sequence[Mapping[str, Any]], T_cam_package: ArrayLike, covariance: ArrayLike) -> list[Package]:
        """N packages, checked as each by itself would be, but all at once; `fields`: their other values by name."""
        for one in fields:
            if min(one["size_m"]) < 0.0:
                raise PerceptionError(f"size_m: expected lengths of at least 0, got {one['size_m']}")
        return frozen_many(cls, fields, {"T_cam_package": (4, 4), "covariance": (6, 6)}, T_cam_package=T_cam_package,
                            covariance=covariance)


@dataclass(frozen=True, eq=False)
class Packages:
    """All packages of one frame, and what they lie on.

    Attributes:
        items: one per label of the segmentation, in label order.
        belt_plane: (4,) (nx, ny, nz, d) with n.X + d = 0 in the camera frame, n towards the camera, metres; None = unknown.
        pick_order: labels, what lies on top first.
        label_grid: (h, w) labels of every so many pixels, None = unknown. grid_rays: (h, w, 2) their viewing rays (x/z, y/z).
        over_m2: (P, P) area in square metres over which item i (row) is seen to lie over item k (column), None = no depth.
    """

    items: tuple[Package, ...]
    belt_plane: F64 | None
    pick_order: tuple[int, ...]
    label_grid: NDArray[np.uint16] | None = None
    grid_rays: F32 | None = None
    over_m2: F64 | None = None

    def __post_init__(self) -> None:
        if self.belt_plane is not None:
            object.__setattr__(self, "belt_plane", frozen_array(self.belt_plane, (4,), "belt_plane"))
        labels = sorted(package.label for package in self.items)
        require(sorted(self.pick_order) == labels, f"pick_order: expected each of {labels} once, got {self.pick_order}")


@dataclass(frozen=True, eq=False)
class Track:
    """A package followed over frames.

    Attributes:
        track_id: stable over frames, 0 = not tracked. label: in this frame's segmentation.
        T_cam_package, size_m, class_name: as in `Package`, filtered over time.
        velocity_m_s: (3,) in the camera frame. stamp_ns: of the frame.
        covariance: (6, 6) of the pose at `stamp_ns`. velocity_covariance: (3, 3) in m^2/s^2.
        package: the measurement of this frame.
    """

    track_id: int
    label: int
    class_name: str
    T_cam_package: F64
    size_m: tuple[float, float, float]
    velocity_m_s: F64
    stamp_ns: int
    covariance: F64
    velocity_covariance: F64
    package: Package

    def __post_init__(self) -> None:
        object.__setattr__(self, "T_cam_package", frozen_transform(self.T_cam_package, "T_cam_package"))
        object.__setattr__(self, "velocity_m_s", frozen_array(self.velocity_m_s, (3,), "velocity_m_s"))
        object.__setattr__(self, "covariance", frozen_array(self.covariance, (6, 6), "covariance"))
        object.__setattr__(self, "velocity_covariance",
                           frozen_array(self.velocity_covariance, (3, 3), "velocity_covariance"))

    @classmethod
    def many(cls, fields: Sequence[Mapping[str, Any]], T_cam_package: ArrayLike, covariance: ArrayLike, velocity_m_s: ArrayLike,
             velocity_covariance: ArrayLike) -> list[Track]:
        """N tracks, checked as each by itself would be, but all at once; `fields`: their other values by name."""
        shapes = {"T_cam_package": (4, 4), "covariance": (6, 6), "velocity_m_s": (3,), "velocity_covariance": (3, 3)}
        return frozen_many(cls, fields, shapes, T_cam_package=T_cam_package, covariance=covariance, velocity_m_s=velocity_m_s,
                            velocity_covariance=velocity_covariance)

    def at(self, stamp_ns: int) -> tuple[F64, F64]:
        """Predict the pose at another time, assuming constant velocity.

        Args:
            stamp_ns: the time asked for, in nanoseconds; may lie before or after the track's own stamp.

        Returns:
            (4, 4) T_cam_package and its (6, 6) covariance, which grows with the time difference.
        """
        dt_s = (stamp_ns - self.stamp_ns) * 1e-9
        pose = self.T_cam_package.copy()
        pose[:3, 3] += self.velocity_m_s * dt_s
        covariance = self.covariance.copy()
        covariance[:3, :3] += self.velocity_covariance * dt_s**2
        return pose, covariance


@dataclass(frozen=True, eq=False)
class Grasp:
    """One way to pick one package.

    Attributes:
        kind: "suction" or "parallel_jaw".
        T_cam_grasp: (4, 4), origin = contact point (suction) or the middle between both contacts (jaw), z = approach
            direction into the object, x = closing direction of the jaws.
        width_m: jaw opening needed, or diameter of the cup's footprint.
        score: estimated probability, 0..1, that the pick succeeds. terms: what the score is made of, by name.
        label, track_id: the package. deadline_ns: when the grasp leaves the reachable window, None = unknown.
        covariance: (6, 6) of the grasp's pose in the camera frame, m^2 and rad^2.
        degraded: True when made without depth.
    """

    kind: GraspKind
    T_cam_grasp: F64
    width_m: float
    score: float
    label: int
    track_id: int
    terms: Mapping[str, float] = field(default_factory=dict)
    deadline_ns: int | None = None
    covariance: F64 = field(default_factory=lambda: np.zeros((6, 6)))
    degraded: bool = False

    def __post_init__(self) -> None:
        require(self.kind in GRASP_KINDS, f"kind: expected one of {GRASP_KINDS}, got {self.kind!r}")
        require(0.0 <= self.score <= 1.0, f"score: expected 0..1, got {self.score}")
        object.__setattr__(self, "T_cam_grasp", frozen_transform(self.T_cam_grasp, "T_cam_grasp"))
        object.__setattr__(self, "covariance", frozen_array(self.covariance, (6, 6), "covariance"))
        object.__setattr__(self, "terms", MappingProxyType(dict(self.terms)))

    @classmethod
    def many(cls, kind: GraspKind, T_cam_grasp: F64, covariance: F64, values: Sequence[_GraspValues], term_names: Sequence[str],
             terms: Sequence[Sequence[float]]) -> list[Grasp]:
        """N grasps of one kind, checked as each by itself would be, but all at once.

        Args:
            T_cam_grasp: (N, 4, 4). covariance: (N, 6, 6). values: width_m, score, label, track_id, deadline_ns of each.
            term_names, terms: the names, and each grasp's values in their order.
        """
        require(kind in GRASP_KINDS, f"kind: expected one of {GRASP_KINDS}, got {kind!r}")
        fields = [{"kind": kind, "width_m": width_m, "score": score, "label": label, "track_id": track_id,
                   "deadline_ns": deadline_ns, "degraded": False,
                   "terms": MappingProxyType(dict(zip(term_names, row, strict=True)))}
                  for (width_m, score, label, track_id, deadline_ns), row in zip(values, terms, strict=True)]
        for one in values:
            if not 0.0 <= one[1] <= 1.0:
                raise PerceptionError(f"score: expected 0..1, got {one[1]}")
        return frozen_many(cls, fields, {"T_cam_grasp": (4, 4), "covariance": (6, 6)}, T_cam_grasp=T_cam_grasp,
                           covariance=covariance)


@dataclass(frozen=True)
class Rejection:
    """Why a package got no grasp of a kind: one sentence with the numbers in it, and the numbers by name (unit in the name)."""

    label: int
    kind: GraspKind
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    track_id: int = 0

    def __post_init__(self) -> None:
        require(bool(self.reason), "reason: expected words, got an empty text")
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that one frame says.

    Attributes:
        stamp_ns, frame_id: of the frame. segmentation, tracks: one track per package in sight.
        grasps: best first. rejections: one for each package and gripper kind without a grasp.
        pick_order: labels, what lies on top first.
        belt_velocity_m_s: (3,) in the camera frame, or None while unknown.
        timing_ms: milliseconds by stage name. degraded: why the scene is less than promised ("" = it is not).
        depth_used: True when depth took part. model_id: name and sha256 prefix of the segmenter.
    """

    stamp_ns: int
    frame_id: str
    segmentation: Segmentation
    tracks: tuple[Track, ...]
    grasps: tuple[Grasp, ...]
    rejections: tuple[Rejection, ...]
    pick_order: tuple[int, ...]
    belt_velocity_m_s: F64 | None
    timing_ms: Mapping[str, float]
    degraded: str
    depth_used: bool
    model_id: str


@dataclass(frozen=True)
class Outcome:
    """What happened to a pick: which package and grasp, success or the failure's kind, measured weight, time."""

    stamp_ns: int
    track_id: int
    kind: GraspKind
    success: bool
    failure: str = ""
    weight_kg: float | None = None
