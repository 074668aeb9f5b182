"""The runtimes that can execute an exported model, each as one function of named arrays, with the contract checked at opening."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import MissingDependencyError, ModelError
from perception_node.segment.encode import INPUT_DEPTH, INPUT_RGB, OUTPUT_HEADS
from perception_node.segment.graph import open_graph
from perception_node.segment.weights import ModelCard

Runtime = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]

RUNTIME_MODULES: dict[str, str] = {"openvino": "openvino", "onnxruntime": "onnxruntime", "torch": "torch"}
"""Runtime names and the modules they need, fastest on a CPU first. Source: measured: docs/segmenter.md."""


_BYTE_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni"})
"""Processor flags. Without these instructions 8-bit products are added up in 16 bits, which overflow, and are not faster.
Source: ONNX Runtime, "Quantize ONNX models" (U8S8 on AVX2 and AVX512)."""


def has_byte_dot_products() -> bool:
    """Whether this machine's processor has the instructions that an 8-bit model pays on (known on Linux and x86 only)."""
    try:
        return not _BYTE_DOT_PRODUCTS.isdisjoint(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return False


def open_runtime(runtime: str, weights: Path, card: ModelCard, device: str, threads: int) -> tuple[Runtime, str]:
    """Load a model that `check_weights` found whole.

    Args:
        runtime: a key of `RUNTIME_MODULES`. weights: `.onnx` or, for torch, `.safetensors`. card: the model's card.
        device: "cpu", "cuda" or "auto". threads: 0 = the runtime's choice.

    Returns:
        A function from {"rgb": (1, H, W, 3) uint8, "depth": (1, H/2, W/2, 3) float32} to (1, C, H/2, W/2) float32; and where it
        runs, "cpu" or "cuda". What it gives may be overwritten by its next call.

    Raises:
        MissingDependencyError, ModelError: as `Segmenter`.
    """
    if device == "cuda" and runtime != "torch":
        raise ModelError(f"device: expected runtime 'torch' for 'cuda', got {runtime!r}")
    openers = {"openvino": _open_openvino, "onnxruntime": _open_onnxruntime}
    try:
        if runtime == "torch":
            return _open_torch(weights, card, device, threads)
        return openers[runtime](weights, threads), "cpu"
    except ImportError as error:
        raise MissingDependencyError(f"runtime {runtime}: its library is not installed ({error})") from None


def _check_names(weights: Path, inputs: list[str], outputs: list[str]) -> None:
    if sorted(inputs) != sorted((INPUT_RGB, INPUT_DEPTH)) or outputs != [OUTPUT_HEADS]:
        raise ModelError(f"model {weights}: expected inputs ['{INPUT_RGB}', '{INPUT_DEPTH}'] and output ['{OUTPUT_HEADS}'], "
                         f"got inputs {inputs} and outputs {outputs}")


def _open_onnxruntime(weights: Path, threads: int) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own exception types are not public
        raise ModelError(f"model {weights}: expected an ONNX file, ONNX Runtime says: {_first_line(error)}") from None
    _check_names(weights, [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])

    def run(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        try:
            heads: NDArray[np.float32] = session.run([OUTPUT_HEADS], dict(arrays))[0]
        except Exception as error:
            raise ModelError(f"model {weights}: does not run ({_first_line(error)})") from None
        return heads

    return run


def _open_openvino(weights: Path, threads: int) -> Runtime:
    import openvino

    core = openvino.Core()
    hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = threads
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints["INFERENCE_PRECISION_HINT"] = "bf16"
    try:
        model = core.read_model(str(weights))
    except Exception as error:
        raise ModelError(f"model {weights}: expected an ONNX file, OpenVINO says: {_first_line(error)}") from None
    _check_names(weights, [i.any_name for i in model.inputs], [o.any_name for o in model.outputs])
    graphs: dict[tuple[int, ...], Runtime] = {}  # one compiled model per picture size: static shapes are faster

    def run(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        shape = arrays[INPUT_RGB].shape
        try:
            if shape not in graphs:
                fixed = model.clone()
                fixed.reshape({name: list(array.shape) for name, array in arrays.items()})
                graphs[shape] = open_graph(core, fixed, hints)
            return graphs[shape](arrays)
        except Exception as error:
            raise ModelError(f"model {weights}: does not run ({_first_line(error)})") from None

    return run


def _open_torch(weights: Path, card: ModelCard, device: str, threads: int) -> tuple[Runtime, str]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from perception_node.segment.model import ExportedNet, NetworkShape, PackageNet

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device: expected a CUDA GPU, torch finds none")
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if threads and place.type == "cpu":
        torch.set_num_threads(threads)
    try:
        net = PackageNet(NetworkShape.from_json(dict(card.network)), card.classes)
        net.load_state_dict(load_file(str(weights)))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"model {weights}: does not fit its card's network ({_first_line(error)})") from None
    exported = ExportedNet(net).eval().to(place)
    low = torch.float16 if place.type == "cuda" else torch.bfloat16

    def run(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(place.type, low):
            heads = exported(torch.from_numpy(arrays[INPUT_RGB]).to(place), torch.from_numpy(arrays[INPUT_DEPTH]).to(place))
        out: NDArray[np.float32] = heads.float().cpu().numpy()
        return out

    return run, place.type


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
