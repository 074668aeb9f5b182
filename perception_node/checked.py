"""What frozen types ask of their arrays when they are made, one by one and many at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perception_node.compiled import compiled, steady
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
    if not _all_rigid(steady(transform[None])):
        raise PerceptionError(f"{name}: expected a rigid transform, got rotation part {transform[:3, :3].round(4).tolist()}")
    return transform


@compiled
def _all_rigid(transforms: _F64) -> bool:
    """Whether the rotation parts of (N, 4, 4) transforms are rotations."""
    for n in range(len(transforms)):
        a, b, c = transforms[n, 0, 0], transforms[n, 0, 1], transforms[n, 0, 2]
        d, e, f = transforms[n, 1, 0], transforms[n, 1, 1], transforms[n, 1, 2]
        g, h, i = transforms[n, 2, 0], transforms[n, 2, 1], transforms[n, 2, 2]
        first, second, third = a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i
        if not (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) > 0.0
                and max(abs(a * d + b * e + c * f), abs(a * g + b * h + c * i), abs(d * g + e * h + f * i)) <= _SKEW
                and max(first, second, third) <= 1.0 + _SKEW and min(first, second, third) >= 1.0 - _SKEW):
            return False
    return True


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
            or not all(_all_rigid(steady(values)) for name, values in own.items() if shapes[name] == (4, 4))):
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
