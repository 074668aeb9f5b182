"""First frames take many times longer than the rest: libraries load, loops are compiled. `warm_up` gets that over with.

`python3 -m perception_node.warm` compiles all loops once for this machine (10 to 40 s); what is compiled is kept on disk.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass

import numpy as np

from perception_node.bag.alignment import Alignment
from perception_node.bag.decode import depth_in_metres
from perception_node.bag.watch import Exposure
from perception_node.compiled import steady
from perception_node.config import Config
from perception_node.geometry import ray_image
from perception_node.locate.flat import relief
from perception_node.pipeline import Pipeline
from perception_node.segment.encode import encode_frame, output_channels
from perception_node.segment.graph import PACKED_CHANNELS, pack
from perception_node.segment.kernels import renumbered
from perception_node.segment.postprocess import group
from perception_node.segment.shrink import shrunk_depth, shrunk_rgb
from perception_node.types import CLASS_NAMES, F64, CameraModel, Frame, Instance, Segmentation

_GARBAGE_OBJECTS = 10_000
"""So many more objects than before start a round of the garbage collector. Source: a frame's are some 1000, and go by themselves
when it is forgotten; with Python's 700, rounds among the living ones took 0.3 ms a frame."""

_CAMERA = CameraModel(fx=600.0, fy=600.0, cx=319.5, cy=239.5, width=640, height=480)
_BELT_M, _HEIGHT_M = 1.0, 0.06
_BOXES = (("box", 100, 100, 160, 220), ("padded_mailer", 300, 100, 360, 220), ("poly_bag", 310, 190, 420, 300))
"""Class and rectangle x0, y0, x1, y1 of three packages, each 6 cm higher than the one before; the last covers the second."""


@dataclass
class _Drawn:
    """A segmenter that sees three packages on a belt."""

    model_id: str = "drawn"

    def segment(self, frame: Frame, belt_plane: F64 | None = None) -> Segmentation:
        """The packages, wherever they are in the frame."""
        labels = np.zeros(frame.rgb.shape[:2], np.uint16)
        for label, (_, x0, y0, x1, y1) in enumerate(_BOXES, start=1):
            labels[y0:y1, x0:x1] = label
        return Segmentation(labels, tuple(
            Instance(label, name, 0.9, (x0, y0, x1, y1), int((labels == label).sum()))
            for label, (name, x0, y0, x1, y1) in enumerate(_BOXES, start=1)))


def warm_up(pipeline: Pipeline) -> None:
    """Run pictures through: an empty one through the network, drawn packages through all that comes after it.

    What lives from then on, libraries and network, is taken out of the garbage collector's rounds, which would stop a frame now
    and then.
    """
    rgb, depth_m = np.zeros((480, 640, 3), np.uint8), np.ones((480, 640), np.float32)
    for depth in (depth_m, None):
        pipeline.process(Frame(rgb=rgb, depth_m=depth, camera=_CAMERA, stamp_ns=1, frame_id="warm_up"))
        pipeline.reset()
    compile_loops(pipeline.config)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS, *gc.get_threshold()[1:])


def compile_loops(config: Config) -> None:
    """Read depth and a picture's exposure; encode and group an empty picture, as before and after the network; find, follow and
    grasp drawn packages, with depth and without."""
    pipeline = Pipeline(config, _Drawn())
    rgb = np.zeros((480, 640, 3), np.uint8)
    depth_m = np.full((480, 640), _BELT_M, np.float32)
    for number, (_, x0, y0, x1, y1) in enumerate(_BOXES, start=1):
        depth_m[y0:y1, x0:x1] = _BELT_M - number * _HEIGHT_M
    for kind in (np.uint16, np.float32):
        depth_in_metres(np.ones((480, 640), kind))
    Exposure.of(rgb)
    frame = Frame(rgb=rgb, depth_m=depth_m, camera=_CAMERA, stamp_ns=0, frame_id="warm_up")
    Alignment().look(frame, np.zeros((480, 640), np.uint16))
    inputs = encode_frame(frame, None)
    shrunk_rgb(rgb, (320, 240))
    shrunk_depth(depth_m, (300, 200))
    pack(inputs, np.empty((240, 320, PACKED_CHANNELS), np.uint16))
    group(np.zeros((output_channels(len(CLASS_NAMES)), 240, 320), np.float32), (640, 480))
    labels = steady(np.zeros((480, 640), np.uint16))
    relief(steady(depth_m), ray_image(_CAMERA), labels, np.zeros((8, 8), np.uint8), 0, 0, np.zeros(4), 0.01, np.empty(5))
    renumbered(labels, np.zeros(1 << 16, np.uint16))
    for number, (depth, belt) in enumerate([(depth_m, None)] * 3 + [(None, None)] + [(depth_m, (0.1, 0.0, 0.0))] * 4, start=1):
        pipeline.process(Frame(rgb=rgb, depth_m=depth, camera=_CAMERA, stamp_ns=number * 50_000_000, frame_id="warm_up"), belt)


if __name__ == "__main__":
    compile_loops(Config())
    sys.exit(0)
