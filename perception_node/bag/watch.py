"""Can a picture be believed? Black, blown out and frozen pictures decode well and show nothing, or what is no longer there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.errors import PerceptionError
from perception_node.types import Frame

BLIND, FROZEN = "blind", "frozen"
"""What such pictures are counted as."""

DARK, BRIGHT = 16, 250
"""Grey values of 0 to 255: below the first a pixel is black, from the second on it is blown out. Source: judgement; a sensor's
black level with its noise stays below 16, a surface in the shadow of a lit cell does not; from 250 on colours are gone."""

BLIND_SHARE = 0.99
"""Share of black or of blown out pixels from which nothing can be seen in a picture. Source: judgement; a camera with its cap on,
in the dark or with the lamp in its face has more, the darkest belt with one package on it has less."""

WARN_BRIGHT_SHARE = 0.3
"""Share of blown out pixels from which the exposure is worth a warning. Source: judgement; white packages may fill a third."""

_STRIDE = 8  # every 64th pixel tells the shares of a picture of 640x480 to half a percent
_HEADER_BYTES = 12  # encapsulation and stamp of a serialised message: the only bytes that change in a frozen picture
_PROBE_BYTES = 4096


@dataclass(frozen=True)
class Exposure:
    """Mean grey value (0..1) and the shares of black and of blown out pixels of a picture."""

    mean: float
    dark: float
    bright: float

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> Exposure:
        """Of every eighth row and column of an (H, W, 3) picture."""
        total, dark, bright, pixels = _exposure(steady(rgb))
        return cls(total / (3 * 255 * pixels), dark / pixels, bright / pixels)

    def fault(self) -> str:
        """Why nothing can be seen, "" = something can."""
        if self.dark >= BLIND_SHARE:
            return f"expected a picture, got a black one ({self.dark:.1%} of it): light off, lens covered, exposure too short?"
        if self.bright >= BLIND_SHARE:
            return f"expected a picture, got a blown out one ({self.bright:.1%} of it): exposure too long, lamp in view?"
        return ""


@compiled
def _exposure(rgb: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Sum of all grey values, black pixels, blown out pixels, pixels: of every eighth row and column of an (H, W, 3) picture."""
    total = dark = bright = pixels = 0
    for row in range(0, rgb.shape[0], _STRIDE):
        for column in range(0, rgb.shape[1], _STRIDE):
            red, green, blue = int(rgb[row, column, 0]), int(rgb[row, column, 1]), int(rgb[row, column, 2])
            total += red + green + blue
            dark += max(red, green, blue) < DARK
            bright += min(red, green, blue) >= BRIGHT
            pixels += 1
    return total, dark, bright, pixels


@dataclass(frozen=True)
class Serialised:
    """A message as it was sent, and its header's stamp."""

    data: bytes
    stamp_ns: int


class Stamped(Protocol):
    """What a stream is judged by: a message as it was sent, and its header's stamp."""

    @property
    def data(self) -> bytes: ...

    @property
    def stamp_ns(self) -> int: ...


class Pair(Protocol):
    """A frame's messages, still serialised."""

    @property
    def colour(self) -> Stamped: ...

    @property
    def depth(self) -> Stamped | None: ...


class UnusablePicture(PerceptionError):
    """A picture that is whole but shows nothing, or not the present. `reason` is what it is counted as."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Watch:
    """Looks at each frame before it is computed. One for each camera."""

    def __init__(self) -> None:
        self.exposure: Exposure | None = None
        self._colour, self._depth = Unchanged(), Unchanged()

    def check(self, item: Pair, frame: Frame, max_age_s: float, detect_frozen: bool) -> None:
        """Accept a frame or say why not.

        What repeats byte for byte is as old as its first appearance: a camera's noise never does.

        Raises:
            UnusablePicture: black, blown out, or unchanged for longer than `max_age_s`.
        """
        self.exposure = Exposure.of(frame.rgb)
        fault = self.exposure.fault()
        colour_s = self._colour.since(item.colour)
        depth_s = self._depth.since(item.depth) if item.depth is not None else 0.0
        if fault:
            raise UnusablePicture(BLIND, f"colour: {fault}")
        if not detect_frozen:
            return
        if depth_s > max_age_s and frame.depth_m is not None and not np.isfinite(frame.depth_m[::_STRIDE, ::_STRIDE]).any():
            depth_s = 0.0  # a covered sensor: nothing repeats itself, and the scene is degraded
        for name, still_s in (("colour", colour_s), ("depth", depth_s)):
            if still_s > max_age_s:
                words = f"{name}: expected new pixels, got the same bytes for {still_s:.1f} s under new stamps"
                raise UnusablePicture(FROZEN, f"{words}: the driver repeats its buffer (simulated camera without noise: "
                                      "set node.detect_frozen to false)")


class Unchanged:
    """For how long a stream has delivered the same bytes under new stamps."""

    def __init__(self) -> None:
        self._last: bytes = b""
        self._since_ns = 0

    def since(self, raw: Stamped) -> float:
        """Seconds between the stamps of the first message with these bytes and this one."""
        if raw.stamp_ns < self._since_ns or not _same(self._last, raw.data):
            self._since_ns = raw.stamp_ns
        self._last = raw.data
        return 1e-9 * (raw.stamp_ns - self._since_ns)


def _same(one: bytes, other: bytes) -> bool:
    middle = max(len(one) // 2, _HEADER_BYTES)
    if len(one) != len(other) or one[middle:middle + _PROBE_BYTES] != other[middle:middle + _PROBE_BYTES]:
        return False  # all that a living camera's picture costs
    return bool(np.array_equal(np.frombuffer(one, np.uint8)[_HEADER_BYTES:], np.frombuffer(other, np.uint8)[_HEADER_BYTES:]))
