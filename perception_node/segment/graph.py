"""An exported model as OpenVINO runs it fastest: the same numbers, with less copying where pictures go in and heads come out.

OpenVINO runs convolutions on pictures whose channels lie side by side. What the exported graph does before the first and after the
last convolution is written for channels that lie apart, and takes a sixth of the network's time. Source: measured: docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.segment.encode import DEPTH_CHANNELS, INPUT_DEPTH, INPUT_RGB
from perception_node.types import F32

Half = NDArray[np.uint16]

_RGB_CHANNELS = 12
PACKED_CHANNELS = _RGB_CHANNELS + DEPTH_CHANNELS
_ROUND, _ODD = np.uint32(0x7FFF), np.uint32(1)
_HIGH = np.uint32(16)
_BYTES = ((np.arange(256, dtype=np.float32) * np.float32(1 / 64) - np.float32(2)).view(np.uint32) >> _HIGH).astype(np.uint16)
"""What the network makes of a byte of the picture, as bfloat16: none of the 256 numbers is rounded."""


def pack(arrays: Mapping[str, NDArray[Any]], out: Half) -> None:
    """Write the two inputs of the model contract as the first convolution takes them.

    Args:
        arrays: "rgb" (1, 2h, 2w, 3) uint8 and "depth" (1, h, w, 3) float32.
        out: (h, w, PACKED_CHANNELS) bfloat16 bits, written: channel c of the four pixels (row, column) of the picture that make one
            of the grid is 4 c + 2 row + column; the depth's channels come after them.
    """
    rgb = arrays[INPUT_RGB][0]
    _pack(steady(rgb.reshape(rgb.shape[0], -1)), steady(arrays[INPUT_DEPTH][0]).view(np.uint32), _BYTES, out)


@compiled
def _pack(rgb: NDArray[np.uint8], depth: NDArray[np.uint32], table: Half, out: Half) -> None:
    """rgb: (2h, 6w). depth: (h, w, 3), the bits of float32; they are rounded to the nearest, half to even. table: (256,)."""
    for v in range(out.shape[0]):
        upper, lower = rgb[2 * v], rgb[2 * v + 1]
        for u in range(out.shape[1]):
            here, first = out[v, u], 6 * u
            for c in range(3):
                here[4 * c] = table[upper[first + c]]
                here[4 * c + 1] = table[upper[first + c + 3]]
                here[4 * c + 2] = table[lower[first + c]]
                here[4 * c + 3] = table[lower[first + c + 3]]
            for c in range(DEPTH_CHANNELS):
                bits = depth[v, u, c]
                here[_RGB_CHANNELS + c] = np.uint16((bits + _ROUND + ((bits >> _HIGH) & _ODD)) >> _HIGH)


def open_graph(core: Any, model: Any, hints: Mapping[str, Any]) -> Callable[[Mapping[str, NDArray[Any]]], F32]:
    """Compile a model for the CPU.

    Args:
        core: `openvino.Core`. model: with fixed shapes; it may be changed. hints: properties of the compiled model.

    Returns:
        As `open_runtime`'s function; what it gives is overwritten by its next call.
    """
    import openvino

    flatten_tail(model)
    packed = packed_model(core, model) if hints.get("INFERENCE_PRECISION_HINT") == "bf16" else None
    if packed is None:
        plain = core.compile_model(model, "CPU", hints).create_infer_request()

        def run(arrays: Mapping[str, NDArray[Any]]) -> F32:
            heads: F32 = plain.infer(dict(arrays), share_outputs=True)[0].astype(np.float32, copy=False)
            return heads

        return run
    request = core.compile_model(packed, "CPU", hints).create_infer_request()
    tensor = openvino.Tensor(openvino.Type.bf16, packed.inputs[0].get_shape())
    request.set_input_tensor(tensor)
    entry: Half = tensor.data.view(np.uint16)[0]

    def run_packed(arrays: Mapping[str, NDArray[Any]]) -> F32:
        pack(arrays, entry)
        request.infer()
        heads: F32 = request.get_output_tensor().data.astype(np.float32, copy=False)
        return heads

    return run_packed


def flatten_tail(model: Any) -> None:
    """Let what comes after the last convolution work on (1, C, h * w): then channels lie apart before they are taken apart.

    A model that does not end in slices of channels, softmax, sigmoid, a factor and their concatenation stays as it is.
    """
    from openvino import opset13 as op

    result = model.get_results()[0]
    joined = result.input_value(0).get_node()
    if joined.get_type_name() != "Concat" or joined.get_attributes()["axis"] != 1:
        return
    slices = [_slice_below(value.get_node()) for value in joined.input_values()]
    if not all(slices):
        return
    sources = [found.input_value(0) for found in slices]
    shape = list(result.input_value(0).get_shape())
    if len(shape) != 4 or any(source != sources[0] for source in sources):
        return
    flat = op.reshape(sources[0], [1, shape[1], shape[2] * shape[3]], False)
    for found in slices:
        found.input(0).replace_source_output(flat.output(0))
    result.input(0).replace_source_output(op.reshape(joined, shape, False).output(0))
    model.validate_nodes_and_infer_types()


def _slice_below(node: Any) -> Any:
    """The slice of channels that a node works on channel by channel, or None."""
    while True:
        kind = node.get_type_name()
        inputs = [value.get_node() for value in node.input_values()]
        if kind == "Slice":
            axes = inputs[4] if len(inputs) == 5 else None
            return node if axes is not None and axes.get_type_name() == "Constant" and axes.get_vector().tolist() == [1] else None
        if kind == "Multiply" and inputs[1].get_type_name() == "Constant" and inputs[1].get_vector().size == 1:
            pass
        elif not (kind == "Sigmoid" or (kind == "Softmax" and node.get_attributes()["axis"] == 1)):
            return None
        node = inputs[0]


def packed_model(core: Any, model: Any) -> Any:
    """The model with one input (1, h, w, PACKED_CHANNELS) bfloat16, written by `pack`, in the place of its two.

    What the model itself gives its first convolution is compared with what `pack` makes of the same random inputs.

    Returns:
        Another model, or None where they differ or the model is built otherwise.
    """
    import openvino
    from openvino import opset13 as op

    model = model.clone()
    first = next((node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"), None)
    size = {value.any_name: list(value.get_shape()) for value in model.inputs}
    height, width = size[INPUT_DEPTH][1:3]
    if first is None or list(first.input_value(0).get_shape()) != [1, PACKED_CHANNELS, height, width]:
        return None
    rng = np.random.default_rng(0)
    arrays = {INPUT_RGB: rng.integers(0, 256, size[INPUT_RGB], dtype=np.uint8),
              INPUT_DEPTH: rng.integers(-128, 128, size[INPUT_DEPTH]).astype(np.float32) / np.float32(16)}
    made = np.empty((height, width, PACKED_CHANNELS), np.uint16)
    pack(arrays, made)
    entered = openvino.Model([first.input_value(0)], model.get_parameters())
    wanted = core.compile_model(entered, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(arrays)[0]
    if not np.array_equal(wanted[0].transpose(1, 2, 0), (made.astype(np.uint32) << _HIGH).view(np.float32)):
        return None
    entry = op.parameter([1, height, width, PACKED_CHANNELS], openvino.Type.bf16)
    first.input(0).replace_source_output(op.transpose(op.convert(entry, "f32"), [0, 3, 1, 2]).output(0))
    try:
        return openvino.Model(model.get_results(), [entry])
    except RuntimeError:  # something else asks for the old inputs
        return None
