"""Files that are whole or not there: written aside, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from perception_node.errors import DatasetError


def put(path: Path, content: bytes) -> None:
    """Write a file aside, then rename it; its folder is made when missing.

    Raises:
        DatasetError: it cannot be written (disk full, not allowed); what was there before is untouched.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DatasetError(f"{path}: cannot be written ({error.strerror})") from None


def put_json(path: Path, content: Any) -> None:
    """Write a JSON file aside, then rename it; errors as `put`."""
    put(path, (json.dumps(content, indent=1) + "\n").encode())


def put_copy(source: Path, path: Path) -> None:
    """Copy a file aside, then rename it; errors as `put`. An equal copy that is already there stays."""
    part = path.with_name(f".{path.name}.part")
    try:
        if path.is_file() and path.stat().st_size == source.stat().st_size:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DatasetError(f"{path}: cannot be written as a copy of {source} ({error.strerror})") from None
