"""Loops over pixels and points that numba compiles: `@compiled` on a function of arrays and numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T", bound=np.generic)


def compiled(function: F) -> F:
    """Compile a function at its first call for the types that it is called with; the result is kept on disk for the next process.

    Arithmetic is IEEE's (no fast-math), so that the same input gives the same bits on the same machine. The function runs without
    Python's lock. Where neither the package's folder nor the user's cache can be written, each process compiles for itself.
    """
    try:
        return njit(function, cache=True, nogil=True, error_model="numpy")  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no place to keep it
        return njit(function, nogil=True, error_model="numpy")  # type: ignore[no-any-return]


def steady(array: NDArray[T]) -> NDArray[T]:
    """The same numbers, contiguous and read-only: one type for the compiler, whoever made the array."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view
