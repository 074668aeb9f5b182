"""Things printed or stuck on packages: labels, bar codes, words, logos, tape."""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.sim.meshes import Array

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = "ABCDEFGHIKLMNOPRSTUVWXZ"
_SOUNDS = ("a", "e", "i", "o", "u", "ar", "en", "is", "on", "ex", "um", "lo", "ri", "ta")


def word(rng: np.random.Generator) -> str:
    """A made-up word."""
    n = int(rng.integers(1, 4))
    text = "".join(str(rng.choice(list(_LETTERS))) + str(rng.choice(_SOUNDS)) for _ in range(n))
    return text.upper() if rng.random() < 0.5 else text.capitalize()


def colour(rng: np.random.Generator, vivid: float = 1.0) -> Array:
    """(3,) uint8 random colour, saturation scaled by `vivid`."""
    hsv = np.array(
        [[[rng.integers(180), vivid * rng.uniform(90, 255), rng.uniform(40, 240)]]], np.float32
    ).astype(np.uint8)
    rgb: Array = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return rgb


def put_text(
    image: Array, rng: np.random.Generator, text: str, x: int, y: int, height_px: float, ink: Array
) -> None:
    """Writes text with its baseline at (x, y); height in texels."""
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    scale = height_px / 22.0
    thick = max(1, round(scale * float(rng.choice([1.0, 2.0, 4.0]))))
    cv2.putText(image, text, (x, y), font, scale, [int(v) for v in ink], thick, cv2.LINE_AA)


def barcode(rng: np.random.Generator, height: int, width: int) -> Array:
    """(height, width) uint8 bars, 0 or 255."""
    modules = rng.integers(1, 4, size=max(6, width // 3))
    bars = np.repeat(np.arange(len(modules)) % 2, modules)[:width]
    line = np.full(width, 255, np.uint8)
    line[: len(bars)] = np.where(bars == 0, 0, 255)
    return np.repeat(line[None], height, axis=0)


def square_code(rng: np.random.Generator, side: int) -> Array:
    """(side, side) uint8 two-dimensional code."""
    n = int(rng.integers(12, 24))
    cells = (rng.random((n, n)) < 0.5).astype(np.uint8) * 255
    for r, c in ((0, 0), (0, n - 5), (n - 5, 0)):
        cells[r : r + 5, c : c + 5] = 0
        cells[r + 1 : r + 4, c + 1 : c + 4] = 255
        cells[r + 2, c + 2] = 0
    return np.asarray(cv2.resize(cells, (side, side), interpolation=cv2.INTER_NEAREST))


def label(rng: np.random.Generator, height: int, width: int) -> Array:
    """(height, width, 3) uint8 address label."""
    paper = np.array([rng.integers(222, 256)] * 3, np.int32) + rng.integers(-8, 1, 3)
    if rng.random() < 0.08:
        paper = np.array(colour(rng, 0.6), np.int32)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.clip(paper, 0, 255)
    ink = np.array([rng.integers(0, 50)] * 3)
    if rng.random() < 0.5:
        cv2.rectangle(image, (1, 1), (width - 2, height - 2), [int(v) for v in ink], 1)
    y = 3
    if rng.random() < 0.35:
        bar = max(2, int(height * rng.uniform(0.08, 0.22)))
        image[y : y + bar, 2 : width - 2] = colour(rng) if rng.random() < 0.6 else ink
        y += bar + 2
    while y < height - 6:
        kind = rng.random()
        rest = height - y - 3
        if kind < 0.35 and rest > 8:
            h = int(min(rest, height * rng.uniform(0.15, 0.4)))
            w = int(width * rng.uniform(0.55, 0.94))
            x = int(rng.integers(2, max(3, width - w - 1)))
            area = image[y : y + h, x : x + w]
            area[:] = barcode(rng, h, w)[: area.shape[0], : area.shape[1], None]
            y += h + 3
        elif kind < 0.5 and rest > 14:
            side = int(min(rest, width * 0.5, height * rng.uniform(0.25, 0.45)))
            if side > 8:
                x = int(rng.integers(2, max(3, width - side - 2)))
                area = image[y : y + side, x : x + side]
                area[:] = square_code(rng, side)[: area.shape[0], : area.shape[1], None]
                if x > width * 0.4 and side > 14:
                    put_text(image, rng, word(rng), 3, y + side // 2, side * 0.3, ink)
            y += side + 3
        elif kind < 0.6 and rest > 12:
            size = min(rest * 0.9, height * rng.uniform(0.12, 0.3))
            put_text(image, rng, word(rng), 3, int(y + size), size, ink)
            y += int(size) + 4
        else:
            h = max(1, int(height * rng.uniform(0.015, 0.035)))
            for _ in range(int(rng.integers(1, 4))):
                if y + h >= height - 2:
                    break
                x = 3
                end = 3 + (width - 6) * rng.uniform(0.3, 1.0)
                while x < end:
                    n = int(rng.integers(2, 9))
                    image[y : y + h, x : min(x + n, width - 3)] = ink
                    x += n + 2
                y += h + 2
            y += 2
    return image


def logo(rng: np.random.Generator, image: Array, ink: Array) -> None:
    """Draws one simple emblem or word somewhere on a (H, W, 3) uint8 picture, in place."""
    height, width = image.shape[:2]
    s = min(height, width) * rng.uniform(0.15, 0.5)
    x = int(rng.uniform(0.05, 0.8) * width)
    y = int(rng.uniform(0.2, 0.95) * height)
    paint = [int(v) for v in ink]
    kind = rng.random()
    if kind < 0.5:
        put_text(image, rng, word(rng), x // 2, y, s * rng.uniform(0.3, 0.8), ink)
    elif kind < 0.6:
        cv2.circle(image, (x, y), int(s / 2), paint, -1 if rng.random() < 0.5 else 2, cv2.LINE_AA)
    elif kind < 0.7:
        points = np.array([[x, y], [x + s, y], [x + s / 2, y - s]], np.int32)
        cv2.fillPoly(image, [points], paint, cv2.LINE_AA)
    elif kind < 0.8:
        for n in range(2):
            cx = int(x + n * s * 0.5)
            tip = (cx, int(y - s * 0.6))
            cv2.arrowedLine(image, (cx, y), tip, paint, max(2, int(s * 0.08)), cv2.LINE_AA, 0, 0.4)
    elif kind < 0.9:
        axes = (max(2, int(s)), max(2, int(s * 0.35)))
        turn = float(rng.uniform(-20, 20))
        cv2.ellipse(image, (x, y), axes, turn, 10, 170, paint, max(2, int(s * 0.1)), cv2.LINE_AA)
    else:
        n = int(rng.integers(2, 6))
        for m in range(n):
            cv2.line(
                image, (0, y + 6 * m), (width, y + 6 * m), paint, int(rng.integers(1, 4)), cv2.LINE_AA
            )


def tape_strip(rng: np.random.Generator, length: int, width: int) -> tuple[Array, Array, float]:
    """A strip of packing tape: (width, length, 3) uint8 colour, opacity map, gloss 0..1."""
    kind = rng.random()
    strip = np.empty((width, length, 3), np.uint8)
    opacity = np.full((width, length), 1.0, np.float32)
    gloss = float(rng.uniform(0.4, 1.0))
    if kind < 0.4:
        strip[:] = rng.integers(200, 250)
        opacity[:] = rng.uniform(0.05, 0.3)
    elif kind < 0.7:
        strip[:] = np.array([rng.integers(130, 190), rng.integers(90, 140), rng.integers(45, 95)])
        opacity[:] = rng.uniform(0.35, 0.9)
    elif kind < 0.8:
        strip[:] = rng.integers(195, 245)
    else:
        strip[:] = colour(rng) if rng.random() < 0.6 else np.array([rng.integers(15, 60)] * 3)
        ink = np.array([rng.integers(220, 256)] * 3) if rng.random() < 0.7 else colour(rng)
        text = word(rng) + " " + word(rng)
        x = int(rng.integers(-20, 10))
        while x < length:
            put_text(strip, rng, text, x, int(width * 0.72), width * 0.5, ink)
            x += int(width * rng.uniform(3, 5)) + 8
    if kind < 0.2 or rng.random() < 0.15:
        gloss *= 0.3
    return strip, opacity, gloss
