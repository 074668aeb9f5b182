"""`Segmenter`: a frame in, packages out, with ONNX Runtime, OpenVINO or torch behind one class."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np

from perception_node.errors import FrameError, ModelError, one_line
from perception_node.segment.encode import INPUT_DEPTH, encode_frame, output_channels
from perception_node.segment.postprocess import Grouping, group
from perception_node.segment.runtime import RUNTIME_MODULES, Runtime, has_byte_dot_products, open_runtime
from perception_node.segment.weights import INT8_SUFFIX, ModelCard, check_weights, default_weights, int8_weights
from perception_node.types import F32, F64, Frame, Segmentation


def installed_runtimes() -> list[str]:
    """Names of the runtimes that can be asked for on this machine, best first (measured: docs/segmenter.md)."""
    return [name for name, module in RUNTIME_MODULES.items() if importlib.util.find_spec(module) is not None]


class Segmenter:
    """The universal package segmenter.

    Args:
        path: `.onnx` file (`.safetensors` for torch) with its card next to it; None = the model that ships with the package.
        runtime: "openvino", "onnxruntime" or "torch" run exactly that file; "auto" takes torch on "cuda", else the fastest that
            is installed, and `name.int8.onnx` where the card of `name.onnx` names it and the processor gains by it.
        device: "cpu", "cuda" or "auto" (CUDA only where `runtime` is torch and a GPU is there).
        threads: CPU threads, 0 = the runtime's choice.

    Attributes:
        runtime: what runs the network. device: where it runs, "cpu" or "cuda".

    Raises:
        ModelError: a file is missing, cut, not its card's, or does not honour the model contract.
        MissingDependencyError: the runtime is not installed.
    """

    def __init__(self, path: Path | str | None = None, runtime: str = "auto", device: str = "auto", threads: int = 2) -> None:
        weights = Path(path) if path else default_weights()
        if runtime not in (*RUNTIME_MODULES, "auto"):
            raise ModelError(f"runtime: expected one of {['auto', *RUNTIME_MODULES]}, got {runtime!r}")
        if device not in ("cpu", "cuda", "auto"):
            raise ModelError(f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}")
        if runtime == "auto":
            runtime = "torch" if device == "cuda" else self._fastest(weights)
            if runtime != "torch" and has_byte_dot_products():
                weights = int8_weights(weights) or weights
        if runtime == "torch" and weights.suffix == ".onnx":
            weights = weights.with_suffix(".safetensors")
        self.card: ModelCard
        self.card, self._sha256 = check_weights(weights)
        self.runtime: str = f"{runtime} int8" if weights.stem.endswith(INT8_SUFFIX) else runtime
        self.grouping = _grouping(self.card, weights)
        self._run: Runtime
        self.device: str
        self._run, self.device = open_runtime(runtime, weights, self.card, device, threads)
        self.last_timing_ms: dict[str, float] = {}

    @staticmethod
    def _fastest(weights: Path) -> str:
        usable = installed_runtimes()
        if weights.suffix == ".safetensors":
            return "torch"
        if not usable:
            raise ModelError(f"runtime: expected one of {list(RUNTIME_MODULES)} to be installed, found none")
        return usable[0]

    @property
    def model_id(self) -> str:
        """Name and the first 8 hexadecimal digits of the SHA-256 of the file that runs."""
        return f"{self.card.name} {self._sha256[:8]}"

    def heads(self, frame: Frame, belt_plane: F64 | None = None) -> F32:
        """Run the network alone.

        Returns:
            (C, h, w) float32 activated heads on the grid, C = 5 + number of classes (see `segment/encode.py`).

        Raises:
            FrameError: when the network answers with NaN or infinity.
            ModelError: when it answers in another shape than the contract's.
        """
        return self._heads(frame, belt_plane).copy()

    def _heads(self, frame: Frame, belt_plane: F64 | None) -> F32:
        """As `heads`; what it gives is overwritten by its next call."""
        start = time.perf_counter()
        arrays = encode_frame(frame, belt_plane)
        encoded = time.perf_counter()
        heads = self._run(arrays)
        ran = time.perf_counter()
        self.last_timing_ms = {"encode": (encoded - start) * 1e3, "network": (ran - encoded) * 1e3}
        expected = (1, output_channels(len(self.card.classes)), *arrays[INPUT_DEPTH].shape[1:3])
        if heads.shape != expected:
            raise ModelError(f"model {self.model_id}: expected an output of shape {expected}, got {heads.shape}")
        if not np.isfinite(heads.sum()):
            raise FrameError(f"model {self.model_id}: expected finite numbers, got NaN or infinity for frame {frame.stamp_ns}")
        first: F32 = heads[0]
        return first

    def segment(self, frame: Frame, belt_plane: F64 | None = None) -> Segmentation:
        """Find each package of a frame.

        Args:
            frame: colour picture, with or without depth.
            belt_plane: (4,) calibrated belt plane (nx, ny, nz, d) in the optical frame: n.X + d = 0, metres, n towards the
                camera; None = fit one to the depth of each frame.

        Returns:
            Labels at the picture's resolution, best score first. `last_timing_ms` then holds the stages' times.

        Raises:
            FrameError: when the network answers with NaN or infinity.
        """
        heads = self._heads(frame, belt_plane)
        start = time.perf_counter()
        result = group(heads, (frame.camera.width, frame.camera.height), self.grouping, self.card.classes)
        self.last_timing_ms["group"] = (time.perf_counter() - start) * 1e3
        return result


def _grouping(card: ModelCard, weights: Path) -> Grouping:
    """The card's thresholds.

    Raises:
        ModelError: an unknown name, or values that are not finite numbers (`centre_window_px`: whole, 1 to 201).
    """
    try:
        values = {**card.grouping, "calibration": tuple(card.grouping.get("calibration", (1.0, 0.0)))}
        made = Grouping(**values)
        numbers = np.array([*made.calibration, *(value for name, value in vars(made).items() if name != "calibration")], np.float64)
        window = made.centre_window_px
        if len(made.calibration) != 2 or not np.isfinite(numbers).all() or window != int(window) or not 1 <= window <= 201:
            raise ValueError(f"{values}"[:200])
        return made
    except (TypeError, ValueError) as error:
        raise ModelError(f"model card of {weights}: expected thresholds of the grouping, got {one_line(error)}") from None
