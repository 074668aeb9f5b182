"""Model files and their cards: where they are, whether they are whole, what they promise."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception_node.errors import ModelError
from perception_node.types import CLASS_NAMES

CARD_FORMAT = 1
INT8_SUFFIX = ".int8"

MAX_WEIGHTS_BYTES = 500_000_000
MAX_CARD_BYTES = 1_000_000
"""Larger files are refused before they are read. Source: judgement; the shipped network has 3.7 MB, its card some kilobytes."""

MAX_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")
"""What a message may call a model."""


@dataclass(frozen=True)
class ModelCard:
    """What is known about a model: the JSON file next to the weights.

    Attributes:
        name: of the model. classes: some of `types.CLASS_NAMES`, in the order of the class channels after background.
        sha256: hex digest by file name. training: data, seed, steps. metrics: measured figures.
        network: the shape that `model.NetworkShape` reads. grouping: thresholds that `postprocess.Grouping` takes.
    """

    name: str
    classes: tuple[str, ...]
    sha256: Mapping[str, str]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    network: Mapping[str, Any]
    grouping: Mapping[str, Any]


def default_weights() -> Path:
    """Path of the universal model that ships with the package."""
    return Path(__file__).resolve().parent / "weights" / "universal.onnx"


def int8_path(weights: Path) -> Path:
    """`name.int8.onnx` for `name.onnx`: the same network in 8-bit integers; one card speaks for both."""
    return weights.with_suffix(f"{INT8_SUFFIX}.onnx")


def int8_weights(weights: Path) -> Path | None:
    """The file in 8-bit integers that belongs to `name.onnx`: beside it and named by its card; None where there is none.

    Raises:
        ModelError: there is such a file, but no readable card.
    """
    path = int8_path(weights)
    if weights.suffix != ".onnx" or not weights.is_file() or not path.is_file():
        return None
    return path if path.name in read_card(weights).sha256 else None


def model_in_folder(folder: Path, name: str) -> Path:
    """`folder/name.onnx` of a name that comes from outside.

    Raises:
        ModelError: the name is none (a path, an ending, other characters), there is no such model, or one of its files lies
            elsewhere.
    """
    if not _NAME.fullmatch(name) or Path(name).suffix in (".onnx", ".safetensors", ".json", INT8_SUFFIX):
        raise ModelError("model: expected a name of letters, digits, '.', '_' and '-' without a path and an ending, "
                         f"got {name[:MAX_NAME + 1]!r}")
    weights = folder / f"{name}.onnx"
    for path in (weights, card_path(weights), int8_path(weights), weights.with_suffix(".safetensors")):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"model {name}: expected its files in {folder}, got a link of {path.name} to another folder")
    if not weights.is_file():
        raise ModelError(f"model {name}: expected {weights.name} in {folder}, found none")
    return weights


def file_sha256(path: Path) -> str:
    """Hex SHA-256 digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def card_path(weights: Path) -> Path:
    """`name.card.json` next to `name.onnx`, `name.int8.onnx` or `name.safetensors`; the name may hold dots."""
    return weights.with_name(f"{weights.stem.removesuffix(INT8_SUFFIX)}.card.json")


def read_card(weights: Path) -> ModelCard:
    """Read the card of a weights file.

    Raises:
        ModelError: when the card is missing, unreadable, or names no classes or others than this software's.
    """
    path = card_path(weights)
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise ModelError(f"model card {path}: expected at most {MAX_CARD_BYTES} bytes, got {path.stat().st_size}")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"model card: expected {path} next to {weights.name}, found none") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model card {path}: cannot be read ({error})") from None
    if not isinstance(data, dict) or data.get("format") != CARD_FORMAT:
        got = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise ModelError(f"model card {path}: expected format {CARD_FORMAT}, got {got}")
    try:
        card = ModelCard(str(data["name"]), tuple(map(str, data["classes"])), dict(data["sha256"]), dict(data["training"]),
                         dict(data["metrics"]), dict(data["network"]), dict(data["grouping"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"model card {path}: a field is missing or of the wrong kind ({error})") from None
    if not card.classes or not set(card.classes) <= set(CLASS_NAMES) or len(set(card.classes)) < len(card.classes):
        raise ModelError(f"model card {path}: expected classes among {list(CLASS_NAMES)}, got {list(card.classes)}"[:300])
    return card


def check_weights(weights: Path) -> tuple[ModelCard, str]:
    """Compare a weights file with its card.

    Returns:
        The card and the file's SHA-256.

    Raises:
        ModelError: when the file is missing or its digest is not the card's (cut in half, mixed up, changed).
    """
    if not weights.is_file():
        raise ModelError(f"model: expected a file {weights}, found none")
    if weights.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ModelError(f"model {weights}: expected at most {MAX_WEIGHTS_BYTES} bytes, got {weights.stat().st_size}")
    card = read_card(weights)
    digest = file_sha256(weights)
    expected = card.sha256.get(weights.name)
    if expected is None:
        raise ModelError(f"model card {card_path(weights)}: expected a sha256 of {weights.name}, "
                         f"got those of {sorted(card.sha256)}")
    if digest != expected:
        raise ModelError(f"model {weights}: expected sha256 {expected[:8]}..., got {digest[:8]}... "
                         f"({weights.stat().st_size} bytes): the file is cut, changed or not the card's")
    return card, digest
