"""What OpenVINO is given instead of the exported graph says the same numbers; graphs built otherwise are left alone."""

from pathlib import Path

import numpy as np
import pytest

from perception_node.segment.encode import encode_frame
from perception_node.segment.graph import PACKED_CHANNELS, flatten_tail, open_graph, pack, packed_model
from perception_node.types import Frame

openvino = pytest.importorskip("openvino")

HINTS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}


def fixed(core, path, arrays):
    model = core.read_model(str(path))
    model.reshape({name: list(array.shape) for name, array in arrays.items()})
    return model


def inputs(seed: int, height: int = 32, width: int = 64):
    rng = np.random.default_rng(seed)
    return {"rgb": rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8),
            "depth": rng.normal(size=(1, height // 2, width // 2, 3)).astype(np.float32)}


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_same_numbers_as_the_graph_as_it_is(tiny_model: Path, frame: Frame, precision: str) -> None:
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    hints = HINTS | {"INFERENCE_PRECISION_HINT": precision}
    frames = [encode_frame(frame, np.array([0.0, 0.0, -1.0, 1.0])), encode_frame(frame, np.array([0.0, 0.0, -1.0, 1.1]))]
    plain = core.compile_model(fixed(core, tiny_model, frames[0]), "CPU", hints)
    wanted = [plain(arrays)[0].copy() for arrays in frames]
    run = open_graph(core, fixed(core, tiny_model, frames[0]), hints)
    for arrays, heads in zip(frames, wanted, strict=True):
        assert np.abs(run(arrays) - heads).max() <= 1e-5 * np.abs(heads).max()
    assert not np.array_equal(wanted[0], wanted[1])


def test_both_ends_of_an_exported_graph_are_understood(tiny_model: Path) -> None:
    core, arrays = openvino.Core(), inputs(1)
    model = fixed(core, tiny_model, arrays)
    before = model.get_results()[0].input_value(0).get_node().get_type_name()
    flatten_tail(model)
    assert before == "Concat"
    assert model.get_results()[0].input_value(0).get_node().get_type_name() == "Reshape"
    packed = packed_model(core, model)
    assert [list(value.get_shape()) for value in packed.inputs] == [[1, 16, 32, PACKED_CHANNELS]]


def test_packed_channels_hold_bytes_exactly_and_depth_rounded() -> None:
    arrays = inputs(2)
    out = np.empty((16, 32, PACKED_CHANNELS), np.uint16)
    pack(arrays, out)
    values = (out.astype(np.uint32) << 16).view(np.float32)
    for channel, row, column in np.ndindex(3, 2, 2):
        assert np.array_equal(values[..., 4 * channel + 2 * row + column],
                              arrays["rgb"][0, row::2, column::2, channel].astype(np.float32) / 64 - 2)
    depth = arrays["depth"][0]
    assert (np.abs(values[..., 12:] - depth) <= np.abs(depth) * 2.0**-8).all()
    tied = np.array([[[1.00390625, 1.01171875, -1.00390625]]], np.float32)  # half-way between two of bfloat16: the even one
    pack({"rgb": np.zeros((1, 2, 2, 3), np.uint8), "depth": tied[None]}, small := np.empty((1, 1, PACKED_CHANNELS), np.uint16))
    assert (small.astype(np.uint32) << 16).view(np.float32)[0, 0, 12:].tolist() == [1.0, 1.015625, -1.0]


def other_graph(scale: float, kind: str):
    """A graph of the same sizes whose first convolution or whose end is another."""
    op = openvino.opset13
    rgb, depth = op.parameter([1, 32, 64, 3], np.uint8, "rgb"), op.parameter([1, 16, 32, 3], np.float32, "depth")
    pixels = op.transpose(op.reshape(rgb, [1, 16, 2, 32, 2, 3], False), [0, 5, 2, 4, 1, 3])
    pixels = op.convert(op.reshape(pixels, [1, 12, 16, 32], False), "f32")
    colour = op.subtract(op.multiply(pixels, np.float32(scale)), np.float32(2))
    joined = op.concat([colour, op.transpose(depth, [0, 3, 1, 2])], 1)
    weights = np.random.default_rng(3).normal(size=(9, 15, 1, 1)).astype(np.float32)
    heads = op.convolution(joined, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    parts = [op.slice(heads, np.array([a]), np.array([b]), np.array([1]), np.array([1])) for a, b in ((0, 5), (5, 9))]
    last = op.concat([op.softmax(parts[0], 1), op.relu(parts[1]) if kind == "relu" else op.sigmoid(parts[1])], 1)
    if kind == "sum":
        last = op.add(last, op.reduce_mean(colour, np.array([1]), True))
    for node, name in ((rgb, "rgb"), (depth, "depth")):
        node.output(0).set_names({name})
    return openvino.Model([last], [rgb, depth])


@pytest.mark.parametrize(("scale", "kind", "flat", "packed"), [
    (1 / 64, "sigmoid", True, True), (1 / 60, "sigmoid", True, False),
    (1 / 64, "relu", False, True), (1 / 64, "sum", False, False)])
def test_only_what_is_the_same_is_replaced(scale: float, kind: str, flat: bool, packed: bool) -> None:
    core, arrays = openvino.Core(), inputs(4)
    hints = HINTS | {"INFERENCE_PRECISION_HINT": "f32"}
    wanted = core.compile_model(other_graph(scale, kind), "CPU", hints)(arrays)[0]
    model = other_graph(scale, kind)
    flatten_tail(model)
    assert (model.get_results()[0].input_value(0).get_node().get_type_name() == "Reshape") == flat
    assert np.allclose(core.compile_model(model, "CPU", hints)(arrays)[0], wanted, atol=1e-5)
    assert (packed_model(core, model) is not None) == packed
