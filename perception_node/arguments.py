"""What the command line's arguments have in common: mistakes are one line, found before anything is computed or written."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage above it; exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; `{self.prog} --help` says more\n")


def zero_to_one(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, "0 to 1", lambda value: 0.0 <= value <= 1.0)


def above_zero(text: str) -> float:
    """A number above 0."""
    return _number(text, "a number above 0", lambda value: value > 0.0)


def not_negative(text: str) -> float:
    """A number of at least 0."""
    return _number(text, "a number of at least 0", lambda value: value >= 0.0)


def one_or_more(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def zero_or_more(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0)


def some_words(text: str) -> str:
    """A text that says something."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expected words, got {text!r}")
    return text


def file_name(text: str) -> str:
    """The name of a file without its suffix, and without a folder."""
    if re.fullmatch(r"\w[\w.-]*", text) is None:
        raise argparse.ArgumentTypeError(f"expected a name of letters, digits, _, - and ., got {text!r}")
    return text


def file_to_write(text: str) -> Path:
    """The path of a file that can be written, as far as that can be known before."""
    path = Path(text)
    if not text or os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"expected a file to write, got {f'the folder {path}' if text else 'no name'}")
    _check_above(path, "a file to write")
    return path


def folder_to_write(text: str) -> Path:
    """The path of a folder that is there or can be made, as far as that can be known before."""
    path = Path(text)
    if not text or (os.path.exists(path) and not os.path.isdir(path)):
        raise argparse.ArgumentTypeError(f"expected a folder to write into, got {f'the file {path}' if text else 'no name'}")
    _check_above(path / "in it", "a folder to write into")
    return path


def _number(text: str, wanted: str, good: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not good(value):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return value


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
    return value


def _check_above(path: Path, wanted: str) -> None:
    """That the nearest folder above, which is there, is one and may be written into."""
    above = next(folder for folder in path.absolute().parents if os.path.exists(folder))  # pathlib's own raises for long names
    if not os.path.isdir(above):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got one below the file {above}")
    if not os.access(above, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got one in {above}, where you may not write")
