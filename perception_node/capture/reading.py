"""What is known of the frames of a store, which a node may be writing to meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perception_node.capture import files
from perception_node.capture.rules import REQUEST
from perception_node.errors import PerceptionError


def read_meta(folder: Path, number: int) -> dict[str, Any]:
    """A frame's meta file.

    Raises:
        PerceptionError: it is broken.
    """
    path = files.path_of(folder, "meta", number)
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or not isinstance(meta["instances"], list):
            raise TypeError
        int(meta["stamp_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        raise PerceptionError(f"{path}: expected what is known of a frame (stamp_ns, instances), cannot be read") from None
    return meta


def read_all(folder: Path, broken: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers and meta files of a store's frames; a line for each broken one goes to `broken`.

    Raises:
        PerceptionError: there is no store.
    """
    if not (folder / "meta").is_dir():
        raise PerceptionError(f"{folder}: expected a folder of kept frames, found no folder meta in it")
    for number in files.listed(folder):
        try:
            yield number, read_meta(folder, number)
        except PerceptionError as error:
            broken.append(str(error))


def reason_of(meta: dict[str, Any]) -> str:
    """Why a frame was kept; frames of before there were reasons were asked for."""
    return str(meta.get("reason", REQUEST))
