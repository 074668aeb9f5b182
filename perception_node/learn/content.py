"""What a data set contains, as one hash: the same wherever it lies and whatever else lies beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from perception_node.learn.dataset import Entry, annotation_files
from perception_node.segment.weights import file_sha256


def dataset_sha256(path: Path, entries: Iterable[Entry]) -> str:
    """Hex SHA-256 of a data set: of its annotations, and of the colour, depth, label and camera files of its pictures.

    Args:
        path: folder or COCO file. entries: its pictures.

    Raises:
        DatasetError: there are no annotations. OSError: a file cannot be read.
    """
    files = set(annotation_files(path))
    for entry in entries:
        files.update(file for file in (entry.rgb, entry.depth, entry.labels, entry.meta) if file is not None)
    folder = path if path.is_dir() else path.parent
    digest = hashlib.sha256()
    for name, file in sorted((os.path.relpath(file, folder), file) for file in files):
        digest.update(f"{name}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()
