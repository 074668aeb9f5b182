"""Pictures that are the same picture: equal files, and copies that were recompressed, resized, lit or moved by a few pixels.

Both are compared as small grey pictures of mean 0 and deviation 1. Frames of one film that show the same packages further along
the belt are other pictures to this: films are divided by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_SIZE = (64, 48)
_MIN_CORRELATION = 0.93
_CHANGED, _MAX_CHANGED_SHARE = 1.0, 0.003
"""Two pictures are one when they correlate and hardly any place differs by more than a standard deviation.
Source: measured on 140 pictures of one cell and 150 simulated ones. Different pictures correlate at most 0.922 and 0.750; one
package moved by 25 px of 640 or taken away changes at least 0.39 % of the places of the cell; copies at JPEG quality 40, half
size, 0.7 to 1.25 times as bright, with noise, or moved by 3 px correlate at least 0.987 and change at most 0.26 %."""
_MIN_DEVIATION = 4.0  # grey levels; a blank picture has no pattern to compare
_BLOCK = 2000


def thumbnail(picture: NDArray[np.uint8]) -> F32:
    """(3072,) float32 of a (H, W, 3) picture: grey, small, mean 0, deviation 1."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    small = cv2.resize(grey, _SIZE, interpolation=cv2.INTER_AREA)
    small = small - small.mean()
    out: F32 = (small / max(float(small.std()), _MIN_DEVIATION)).ravel()
    return out


def near_pairs(first: Sequence[F32], second: Sequence[F32] | None = None) -> Iterator[tuple[int, int]]:
    """Pairs of indices of thumbnails that show the same picture.

    Args:
        first: thumbnails. second: those to compare with, None = among `first` (each pair once, smaller index first).
    """
    within = second is None
    a = np.asarray(first, dtype=np.float32).reshape(-1, _SIZE[0] * _SIZE[1])
    b = a if second is None else np.asarray(second, dtype=np.float32).reshape(-1, _SIZE[0] * _SIZE[1])
    for start in range(0, len(a), _BLOCK):
        for other in range(start if within else 0, len(b), _BLOCK):
            part, rest = a[start:start + _BLOCK], b[other:other + _BLOCK]
            close = part @ rest.T / part.shape[1] >= _MIN_CORRELATION
            blank = (np.abs(part).max(axis=1) < 1)[:, None] & (np.abs(rest).max(axis=1) < 1)[None]
            for i, j in np.argwhere(close | blank):
                changed = float((np.abs(part[i] - rest[j]) > _CHANGED).mean())
                if changed <= _MAX_CHANGED_SHARE and not (within and start + i >= other + j):
                    yield start + int(i), other + int(j)
