"""`perception export`: a checkpoint becomes ONNX and safetensors files with a card, written aside and renamed when whole."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file

from perception_node.arguments import file_name, folder_to_write
from perception_node.errors import ModelError, PerceptionError, one_line
from perception_node.files import aside
from perception_node.learn.quantise import add_int8
from perception_node.segment.encode import INPUT_DEPTH, INPUT_RGB, OUTPUT_HEADS, output_channels
from perception_node.segment.model import ExportedNet, NetworkShape, PackageNet
from perception_node.segment.weights import CARD_FORMAT, INT8_SUFFIX, card_path, file_sha256

_OPSET = 17

_HALF_FROM = 1024
"""ONNX weights of at least this many numbers are stored in half precision; biases stay as they are."""

_LEVELS = 127
"""Steps between 0 and the largest weight of an output channel, at most. Source: as fine as 8-bit weights with a scale for each
channel, which cost no accuracy (measured: docs/segmenter.md)."""


def export_model(net: PackageNet, folder: Path, name: str, training: Mapping[str, Any], metrics: Mapping[str, Any],
                 grouping: Mapping[str, Any] | None = None) -> Path:
    """Write `name.onnx`, `name.safetensors` and `name.card.json` into a folder.

    Args:
        net: the network; it is exported in evaluation mode. Convolutions' weights are rounded (`on_grid`) and stored in half
            precision (both files), all else in single precision. folder: made when missing.
        name: of the files and in the card. training: data, seed, steps. metrics: measured figures.
        grouping: thresholds and calibration for the grouping, {} = its defaults.

    Returns:
        Path of the ONNX file.

    Raises:
        ModelError: when a weight does not fit into half precision, or the name is one of an 8-bit file; then nothing is written.
    """
    if name.endswith(INT8_SUFFIX):
        raise ModelError(f"export: expected a name that does not end in {INT8_SUFFIX!r}, got {name!r}")
    training_mode = net.training
    net = net.eval()
    graph, tensors = (folder / f"{name}{suffix}" for suffix in (".onnx", ".safetensors"))
    card = card_path(graph)
    with aside(card) as card_part, aside(tensors) as tensors_part, aside(graph) as graph_part:
        example = (torch.zeros(1, 64, 96, 3, dtype=torch.uint8), torch.zeros(1, 32, 48, 3))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns about its own coming replacement
            torch.onnx.export(
                ExportedNet(net), example, str(graph_part), opset_version=_OPSET, dynamo=False,
                input_names=[INPUT_RGB, INPUT_DEPTH], output_names=[OUTPUT_HEADS],
                dynamic_axes={INPUT_RGB: {1: "height", 2: "width"}, INPUT_DEPTH: {1: "grid_height", 2: "grid_width"},
                              OUTPUT_HEADS: {2: "grid_height", 3: "grid_width"}})
        _store_halves(graph_part)
        state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
        save_file({key: torch.from_numpy(on_grid(value.numpy())).half() if value.ndim > 1 else value
                   for key, value in state.items()}, str(tensors_part))
        content = {
            "format": CARD_FORMAT, "name": name, "classes": list(net.classes), "licence": "Apache-2.0",
            "input": {INPUT_RGB: "(1, H, W, 3) uint8, H and W multiples of 32",
                      INPUT_DEPTH: "(1, H/2, W/2, 3) float32: compressed height above the belt, local relief, "
                                   "1 where known"},
            "output": {OUTPUT_HEADS: f"(1, {output_channels(len(net.classes))}, H/2, W/2) float32: class probabilities "
                                     "(background first), boundary, centre, offset x, offset y in grid pixels"},
            "network": net.shape.to_json(), "grouping": dict(grouping or {}), "training": dict(training), "metrics": dict(metrics),
            "sha256": {graph.name: file_sha256(graph_part), tensors.name: file_sha256(tensors_part)},
        }
        card_part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    net.train(training_mode)
    return graph


def on_grid(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (outputs, ...) rounded to multiples of a power of two for each output: at most `_LEVELS` steps either way.

    They are exact in half precision, and the bits that are then always zero let compression (archives, version control) shrink
    files of them by another 40 %.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1).reshape(-1, *[1] * (weights.ndim - 1))
    step = np.exp2(np.ceil(np.log2(np.maximum(largest, np.float32(1e-30)) / _LEVELS)))
    return np.asarray(np.round(weights / step) * step, dtype=np.float32)


def _store_halves(path: Path) -> None:
    """Store the large float32 weights of an ONNX file as float16, each followed by a Cast that every runtime folds away.

    Raises:
        ModelError: when a weight does not fit into half precision.
    """
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for weights in list(graph.initializer):
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < _HALF_FROM:
            continue
        values = on_grid(values)
        if not np.abs(values).max() < np.finfo(np.float16).max:
            raise ModelError(f"export: expected weights below {np.finfo(np.float16).max:.0f}, got {np.abs(values).max():g}")
        name = weights.name
        graph.initializer.remove(weights)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def load_network(weights: Path) -> PackageNet:
    """Load a `.safetensors` file whose card names the network's shape and classes.

    Raises:
        ModelError: when a file is missing or they do not fit together.
    """
    try:
        card = json.loads(card_path(weights).read_text(encoding="utf-8"))
        net = PackageNet(NetworkShape.from_json(card["network"]), card["classes"])
        net.load_state_dict(load_file(str(weights)))
    except FileNotFoundError as error:
        raise ModelError(f"model: expected a file {error.filename or weights}, found none") from None
    except Exception as error:
        raise ModelError(f"model {weights}: cannot be loaded ({one_line(error, 200)})") from None
    return net


def _calibrated(path: Path, dataset: Path, grouping: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit the calibration of an exported model; returns its new grouping and the figures on the data set."""
    from perception_node.learn.dataset import read_dataset
    from perception_node.learn.evaluate import MODES, evaluate, recalibrate
    from perception_node.segment.infer import Segmenter

    segmenter, entries = Segmenter(path), read_dataset(dataset)
    weight, bias = recalibrate(segmenter, entries)
    segmenter.grouping = replace(segmenter.grouping, calibration=(weight, bias))
    kept = ("touching_recall_75", "merges_per_100", "splits_per_100", "class_accuracy", "calibration_error")
    metrics: dict[str, Any] = {"dataset": "/".join(dataset.resolve().parts[-2:])}
    for mode in MODES:
        figures = evaluate(segmenter, entries, mode)[0]
        metrics[mode] = {"pickable": figures["pickable_mask"], "all": figures["all_mask"],
                         **{key: figures[key] for key in kept}}
    return {**grouping, "calibration": [weight, bias]}, metrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception export`."""
    parser.add_argument("run", type=Path, metavar="RUN",
                        help="folder that `perception train` wrote; or an exported .onnx file, to add --int8's file to it")
    parser.add_argument("--out", type=folder_to_write, help="folder for NAME.onnx, NAME.safetensors, NAME.card.json")
    parser.add_argument("--calibrate", type=Path, metavar="DATASET",
                        help="fit the scores' calibration on this data set and put the figures on it into the card")
    parser.add_argument("--int8", type=Path, nargs="+", metavar="DATASET",
                        help="write NAME.int8.onnx too: 8-bit integers, with their ranges from pictures of these data sets")
    parser.add_argument("--name", type=file_name, default="universal",
                        help="name of the model and its files (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Export the best weights of a training run; exit status 0, or 2 for bad input."""
    try:
        if args.run.suffix == ".onnx":
            return _add_to_exported(args)
        if not args.out:
            raise PerceptionError("--out: expected a folder for the files, got none")
        source = args.run / "best.safetensors"
        net = load_network(source)
        card = json.loads((args.run / "best.card.json").read_text(encoding="utf-8"))
        path = export_model(net, args.out, args.name, card["training"], card["metrics"], card["grouping"])
        if args.calibrate:
            grouping, metrics = _calibrated(path, args.calibrate, card["grouping"])
            path = export_model(net, args.out, args.name, card["training"], metrics, grouping)
        if args.int8:
            add_int8(path, args.int8)
    except (PerceptionError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


def _add_to_exported(args: argparse.Namespace) -> int:
    if not args.int8 or args.out or args.calibrate:
        raise PerceptionError(f"{args.run}: expected --int8 DATASET and neither --out nor --calibrate with an exported model")
    print(add_int8(args.run, args.int8))
    return 0
