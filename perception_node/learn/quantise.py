"""An exported network a second time in 8-bit integers, with ranges from pictures: what CPUs with byte dot products run fastest."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from perception_node.errors import ModelError, one_line
from perception_node.files import put_json
from perception_node.learn.dataset import Entry, load_sample, read_dataset
from perception_node.learn.evaluate import evaluate, modes_of
from perception_node.segment.encode import encode_frame
from perception_node.segment.infer import Segmenter, installed_runtimes
from perception_node.segment.weights import card_path, check_weights, file_sha256, int8_path

PICTURES = 32
"""Pictures that the ranges of the activations are taken from. Source: measured: docs/segmenter.md."""

MAX_LOSS = 0.01
"""AP that an adapted model's 8-bit file may lose, with depth or without; one that loses more is not written. Source: the most that
adapting may cost on the universal model's pictures; other pictures for the ranges make half of it (docs/segmenter.md)."""

JUDGED = 40
"""Pictures that an adapted model's 8-bit file is judged on. Source: as many as judge the adaptation (docs/results.md)."""

_QUANTISED = ("Conv", "Add", "Relu", "Resize")
_EXACT = ("/stem/", "/coarse.", "/head/", "/reduce.0/", "/up.0/", "/neck/")
"""What stays in floating point: the first convolution (depth and colour in one tensor), the finest level's way up (outlines) and
the heads (the answer). Source: measured: docs/segmenter.md."""


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, arrays: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._rest: Iterator[Mapping[str, NDArray[Any]]] = iter(arrays)

    def get_next(self) -> Any:
        return next(self._rest, None)


def spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    """At most `count` of the pictures, spread evenly."""
    return [entries[k] for k in np.unique(np.linspace(0, len(entries) - 1, count).astype(int))]


def inputs_of(entries: Sequence[Entry]) -> list[dict[str, NDArray[Any]]]:
    """Inputs of the network for pictures, every second one without its depth.

    Raises:
        DatasetError: a picture is broken.
    """
    samples = [load_sample(entry, with_depth=k % 2 == 0) for k, entry in enumerate(entries)]
    return [encode_frame(sample.frame, sample.belt_plane) for sample in samples]


def calibration_arrays(datasets: Sequence[Path], count: int = PICTURES) -> list[dict[str, NDArray[Any]]]:
    """`inputs_of` pictures spread evenly over data sets.

    Raises:
        DatasetError: no pictures, or broken ones.
    """
    return inputs_of(spread([entry for dataset in datasets for entry in read_dataset(dataset)], count))


def add_int8(weights: Path, datasets: Sequence[Path], count: int = PICTURES) -> Path:
    """Write `NAME.int8.onnx` beside `NAME.onnx` and enter it into their card, without a judgement.

    Args:
        weights: `.onnx` file that `export_model` wrote. datasets: pictures like those it will see, labels do not matter.
        count: how many of them to take.

    Returns:
        Path of the new file. When this is interrupted the model is as it was, or has no 8-bit file.

    Raises:
        ModelError: `weights` is not whole. DatasetError: no pictures, or broken ones.
    """
    check_weights(weights)
    write_int8(weights, calibration_arrays(datasets, count), datasets)
    return int8_path(weights)


def write_int8(weights: Path, arrays: Sequence[Mapping[str, NDArray[Any]]], datasets: Sequence[Path],
               judged: Sequence[Entry] = ()) -> dict[str, Any]:
    """Quantise a whole model, and judge the result before it counts.

    Weights are symmetric and per channel, activations asymmetric; what `_EXACT` names stays as it is
    (B. Jacob et al., "Quantization and training of neural networks for integer-arithmetic-only inference", CVPR 2018).

    Args:
        weights: `.onnx` file that `export_model` wrote. arrays: inputs that the ranges are taken from. datasets: their names for
            the card. judged: labelled pictures on which it may lose `MAX_LOSS` of AP at most; none = it is not judged.

    Returns:
        What the card says of the file; with "refused" (and no file) when it loses too much.

    Raises:
        ModelError: the model cannot be quantised. DatasetError: a picture is broken. PerceptionError: the disk is full.
    """
    path = int8_path(weights)
    with tempfile.TemporaryDirectory(dir=weights.parent, prefix=f".{path.name}.") as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / path.name
        model = _in_single_precision(onnx.load(str(weights)))
        add_pre_process_metadata(model)  # the exporter has folded what can be folded
        onnx.save(model, str(plain))
        try:
            quantize_static(str(plain), str(made), _Pictures(arrays), quant_format=QuantFormat.QDQ, per_channel=True,
                            op_types_to_quantize=list(_QUANTISED), nodes_to_exclude=_exact_nodes(model),
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ModelError(f"model {weights}: cannot be quantised ({one_line(error, 200)})") from None
        card = json.loads(card_path(weights).read_text(encoding="utf-8"))
        card["sha256"][path.name] = file_sha256(made)
        card["int8"] = {"data": ["/".join(dataset.resolve().parts[-2:]) for dataset in datasets], "pictures": len(arrays)}
        path.unlink(missing_ok=True)
        if judged:
            put_json(card_path(made), card)
            card["int8"] |= _judge(weights, made, judged)
        if "refused" not in card["int8"]:
            put_json(card_path(weights), card)
            os.replace(made, path)
    return dict(card["int8"])


def _judge(weights: Path, made: Path, judged: Sequence[Entry]) -> dict[str, Any]:
    """AP of pickable packages of a model and of its 8-bit file, and whether it loses too much."""
    runtime = installed_runtimes()[0]
    found: dict[str, Any] = {"judged_on": len(judged)}
    exact, bytewise = Segmenter(weights, runtime=runtime), Segmenter(made, runtime=runtime)
    for mode in modes_of(judged):
        before, after = (evaluate(s, judged, mode, progress=False)[0]["pickable_mask"]["AP"] for s in (exact, bytewise))
        found[mode] = {"AP": round(before, 4), "AP_int8": round(after, 4)}
        if before - after > MAX_LOSS:
            found["refused"] = f"AP falls from {before:.3f} to {after:.3f} ({mode}), more than {MAX_LOSS:g}"
    return found


def _in_single_precision(model: Any) -> Any:
    """Undo the storage of weights in half precision (`export._store_halves`), so that they are constants for the quantiser."""
    graph = model.graph
    halves = {weights.name: weights for weights in graph.initializer if weights.data_type == onnx.TensorProto.FLOAT16}
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            weights = halves[node.input[0]]
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weights).astype(np.float32), node.output[0]))
            graph.initializer.remove(weights)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return model


def _exact_nodes(model: Any) -> list[str]:
    """Names of the nodes that `_EXACT` means, and of all that only work on what those have made."""
    names: list[str] = []
    exact: set[str] = set()
    made: set[str] = set()
    for node in model.graph.node:  # in order of computation
        if node.op_type == "Constant":
            continue
        sources = made.intersection(node.input)
        if any(part in node.name for part in _EXACT) or (node.op_type != "Conv" and sources and sources <= exact):
            names.append(node.name)
            exact.update(node.output)
        made.update(node.output)
    return names
