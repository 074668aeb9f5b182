"""Files and folders that are whole or not there: written aside, then renamed."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception_node.errors import PerceptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def put(path: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Write a file (text as UTF-8); where, how and errors as `aside`."""
    with aside(path, durable=durable) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def put_json(path: Path, content: Any) -> None:
    """Write a JSON file; errors as `put`."""
    put(path, json.dumps(content, indent=1) + "\n")


def put_png(path: Path, picture: NDArray[Any]) -> None:
    """Write a picture, (H, W, 3) uint8 RGB or (H, W) of 8 or 16 bits, as PNG; errors as `put`."""
    import cv2  # here, since the doctor writes files on machines where it is missing

    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture)
    assert done
    put(path, data.tobytes())


def put_copy(source: Path, path: Path) -> None:
    """Copy a file. An equal copy (by its size) that is already there stays.

    Raises:
        PerceptionError: the source cannot be read, the copy cannot be written.
    """
    try:
        size = source.stat().st_size
    except OSError as error:
        raise PerceptionError(f"{source}: cannot be read ({error.strerror})") from None
    if not path.is_file() or path.stat().st_size != size:
        with aside(path) as part:
            shutil.copyfile(source, part)


@contextmanager
def aside(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Where to write a file that comes to be at `path` when the block ends: whole, in place of what was there before.

    When the block fails, what it wrote is deleted and what was there before stays. The folder is made when missing.

    Args:
        path: of the file. durable: it has to be there after a power cut, too; costs one to some ten milliseconds on a disk.

    Raises:
        PerceptionError: it cannot be written (disk full, not allowed).
    """
    part = path.with_name(f".{path.name}.part")
    with _renamed(part, path, durable):
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield part


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """An empty folder, of this process alone, that comes to be at `path` when the block ends; errors as `aside`.

    What is at `path` by then must be an empty folder or none. What killed processes left is deleted first.
    """
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        owner = old.name.split(".")[-2]
        if owner.isdigit() and (int(owner) == os.getpid() or not _alive(int(owner))):
            shutil.rmtree(old, ignore_errors=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _renamed(part, path, durable=False):
        part.mkdir(parents=True)
        yield part


@contextmanager
def _renamed(part: Path, path: Path, durable: bool) -> Iterator[None]:
    try:
        yield
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable:
            _sync(path.parent)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and _concerns(error, part):
            raise PerceptionError(f"{path}: cannot be written ({error.strerror or error})") from None
        raise


def _concerns(error: OSError, part: Path) -> bool:
    """Whether an error is one of writing, not of another file that the block reads."""
    names = [Path(str(name)) for name in (error.filename, error.filename2) if name is not None]
    return not names or any(name.is_relative_to(part) or part.is_relative_to(name) for name in names)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
