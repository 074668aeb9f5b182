"""What frozen types ask of their arrays when they are made, one by one and many at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perception_node.errors import PerceptionError

_F64 = NDArray[np.float64]
T = TypeVar("T")

_SKEW = 1e-4
"""By how much the axes of a rigid transform may differ from unit length and right angles."""


def require(condition: bool, message: str, error: type[PerceptionError] = PerceptionError) -> None:
    """Raise `error` with `message` unless the condition holds."""
    if not condition:
        raise error(message)


def frozen_array(value: Any, shape: tuple[int, ...], name: str) -> _F64:
    """A read-only float64 copy of finite numbers.

    Raises:
        PerceptionError: another shape, or NaN or infinity; `name` says of what.
    """
    array = np.array(value, dtype=np.float64)
    if array.shape != shape:
        raise PerceptionError(f"{name}: expected shape {shape}, got {array.shape}")
    if not math.isfinite(sum(array.ravel().tolist())):  # a sum is finite only when all are
        raise PerceptionError(f"{name}: expected finite numbers, got {array.tolist()}")
    array.setflags(write=False)
    return array


def frozen_transform(value: Any, name: str) -> _F64:
    """As `frozen_array`, a (4, 4) rigid transform.

    Raises:
        PerceptionError: also when its rotation is none.
    """
    transform = frozen_array(value, (4, 4), name)
    if not _is_rigid(transform.tolist()):
        raise PerceptionError(f"{name}: expected a rigid transform, got rotation part {transform[:3, :3].round(4).tolist()}")
    return transform


def _is_rigid(transform: list[list[float]]) -> bool:
    (a, b, c, _), (d, e, f, _), (g, h, i, _), _ = transform
    turning = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    lengths = a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i
    skew = max(abs(a * d + b * e + c * f), abs(a * g + b * h + c * i), abs(d * g + e * h + f * i))
    return turning > 0 and skew <= _SKEW and max(lengths) <= 1.0 + _SKEW and min(lengths) >= 1.0 - _SKEW


def frozen_many(kind: type[T], fields: Sequence[Mapping[str, Any]], shapes: Mapping[str, tuple[int, ...]],
                **arrays: ArrayLike) -> list[T]:
    """N objects of a frozen type, their arrays checked as each by itself would be, but all at once.

    Args:
        fields: the other values of each, checked. shapes, arrays: by name, the shape of one, (4, 4) = a rigid transform, and
            (N, *shape) of all.
    """
    own = {name: np.array(values, dtype=np.float64) for name, values in arrays.items()}
    if (any(values.shape != (len(fields), *shapes[name]) for name, values in own.items())
            or not math.isfinite(sum(float(values.sum()) for values in own.values()))
            or not all(_is_rigid(one) for name, values in own.items() if shapes[name] == (4, 4) for one in values.tolist())):
        return [kind(**one, **{name: values[i] for name, values in own.items()}) for i, one in enumerate(fields)]
    for values in own.values():
        values.setflags(write=False)
    made = []
    for one, *rows in zip(fields, *own.values(), strict=True):
        item = object.__new__(kind)
        item.__dict__.update(one)
        item.__dict__.update(zip(own, rows, strict=True))
        made.append(item)
    return made


def altered(item: T, **fields: Any) -> T:
    """The same with other values in fields that nothing is asked of; `dataclasses.replace` would check and copy its arrays anew."""
    other = object.__new__(type(item))
    other.__dict__.update(item.__dict__)
    other.__dict__.update(fields)
    return other
