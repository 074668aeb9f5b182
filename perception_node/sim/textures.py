"""Texture sets of packages and surroundings: arrays (H, W, 6) uint8 as `meshes.CHANNELS` says."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception_node.sim import compiled, noise, prints
from perception_node.sim.meshes import CHANNELS, Array, Material

DENSITY = 620.0
"""Texels per metre on packages; about one per pixel at 1 m with a 60 degree lens."""


_NONE = np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Look:
    """Textures and material of one object.

    Attributes:
        textures: arrays (H, W, 6) uint8, by the mesh's part number.
        material: how the surface answers light.
        wrap: textures repeat beyond 0..1 (floors).
    """

    textures: list[Array]
    material: Material
    wrap: bool = False


def texels(length_m: float, most: int = 320) -> int:
    """Texture size for a length."""
    return int(np.clip(round(length_m * DENSITY), 12, most))


def compose(rgb: Array, relief: Array | None, strength: float, gloss: Array | float) -> Array:
    """(H, W, 6) uint8 texture from float or uint8 colour, a relief in texels and gloss 0..1."""
    out = np.empty((*rgb.shape[:2], CHANNELS), np.uint8)
    across, down, slope = (_NONE, _NONE, 0.0) if relief is None else noise.slopes(relief, strength)
    shine, glosses = (0, gloss) if isinstance(gloss, np.ndarray) else (int(np.clip(gloss * 255.0, 0, 255)), _NONE)
    compiled.fill_texture(np.ascontiguousarray(rgb), across, down, slope, glosses, shine, out)
    return out


def tinted(tone: Array, colour: Array) -> Array:
    """(H, W, 3) brightness (H, W) times a colour (3,); plane by plane, ten times quicker than broadcasting."""
    return np.asarray(cv2.merge([tone * part for part in colour]))


def thrice(plane: Array) -> Array:
    """(H, W, 3) out of (H, W), for all three colours; combined with a picture many times quicker than by broadcasting."""
    return np.asarray(cv2.merge([plane] * 3))


def paste(
    image: Array, gloss: Array, rng: np.random.Generator, sticker: Array, shine: float, angle_rad: float
) -> None:
    """Sticks a small picture on (H, W, 3) colour at a random place and angle, in place."""
    height, width = image.shape[:2]
    sh, sw = sticker.shape[:2]
    x = rng.uniform(min(0.5, 0.5 * sw / width), max(0.5, 1 - 0.5 * sw / width)) * width
    y = rng.uniform(min(0.5, 0.5 * sh / height), max(0.5, 1 - 0.5 * sh / height)) * height
    c, s = float(np.cos(angle_rad)), float(np.sin(angle_rad))
    matrix = np.array(
        [[c, -s, x - c * sw / 2 + s * sh / 2], [s, c, y - s * sw / 2 - c * sh / 2]], np.float64
    )
    size = (width, height)
    warped = cv2.warpAffine(sticker, matrix, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(np.full((sh, sw), 255, np.uint8), matrix, size, flags=cv2.INTER_LINEAR)
    on = mask > 127
    image[on] = warped[on]
    gloss[on] = shine


def random_label(rng: np.random.Generator, image: Array, gloss: Array, share: float) -> None:
    """Puts one address label on a surface, in place; `share` is its largest extent."""
    height, width = image.shape[:2]
    small = min(height, width)
    lw = int(np.clip(small * rng.uniform(0.4, 1.0) * share, 10, 110))
    lh = int(np.clip(lw * rng.uniform(0.5, 1.6), 10, 120))
    turn = 0.0 if rng.random() < 0.5 else np.pi / 2 * int(rng.integers(4))
    turn += rng.normal(0, 0.06) if rng.random() < 0.8 else rng.uniform(-0.6, 0.6)
    shine = 0.0 if rng.random() < 0.6 else float(rng.uniform(0.1, 0.22))
    paste(image, gloss, rng, prints.label(rng, lh, lw), shine, float(turn))


def cardboard_colour(rng: np.random.Generator) -> Array:
    """(3,) float base colour of a box: mostly browns, some white, grey, black or printed."""
    kind = rng.random()
    if kind < 0.66:
        value = rng.uniform(95, 225)
        return value * np.array([1.0, rng.uniform(0.72, 0.87), rng.uniform(0.46, 0.72)])
    if kind < 0.8:
        return rng.uniform(175, 250) * np.array([1.0, rng.uniform(0.96, 1.0), rng.uniform(0.9, 1.0)])
    if kind < 0.85:
        return np.array([rng.uniform(25, 110)] * 3) * rng.uniform(0.92, 1.08, 3)
    return np.asarray(prints.colour(rng, float(rng.uniform(0.2, 0.9))), np.float64)


def _face(rng: np.random.Generator, h: int, w: int, base: Array, grain: float) -> Array:
    """(h, w, 3) float32 bare cardboard."""
    tone = 1.0 + grain * (
        0.022 * noise.patch(rng, "fine", h, w)
        + 0.014 * noise.patch(rng, "fibre", h, w)
        + 0.03 * noise.patch(rng, "soft", h, w)
    )
    image = tinted(tone.astype(np.float32), np.asarray(base, np.float32))
    if rng.random() < 0.4:
        flutes = np.sin(np.arange(w) * rng.uniform(0.9, 1.6)) * rng.uniform(0.004, 0.015)
        image *= thrice((1.0 + flutes[None]).astype(np.float32))
    if rng.random() < 0.25:
        stain = noise.patch(rng, "cloud", h, w, 2.0)
        image *= thrice(1.0 - 0.18 * np.clip(stain - 0.9, 0, 1))
    return image


def box_look(rng: np.random.Generator, size_m: Array) -> Look:
    """Six faces (+z, -z, +x, -x, +y, -y) of a cardboard box of size (l, w, h) metres."""
    nx, ny, nz = (texels(float(v)) for v in size_m)
    shapes = [(ny, nx), (ny, nx), (nz, ny), (nz, ny), (nz, nx), (nz, nx)]
    base = cardboard_colour(rng)
    plain = rng.random() < 0.3
    grain = float(rng.uniform(0.4, 1.6))
    ink = np.array([rng.integers(0, 70)] * 3) if rng.random() < 0.55 else prints.colour(rng)
    printed = rng.random() < 0.5
    taped = rng.random() < 0.8
    band = int(np.clip(0.05 * DENSITY * rng.uniform(0.7, 1.5), 5, max(6, ny * 0.6)))
    strip, cover, shine = prints.tape_strip(rng, nx, band)
    seam = bool(rng.random() < 0.85)
    across = int(rng.integers(3, 9)) if rng.random() < 0.07 and nx > 40 else None
    straps = [0.5] if rng.random() < 0.4 else [0.24, 0.74]
    strap_colour = np.array([[25, 25, 28], [235, 235, 235], [240, 200, 40], [60, 140, 70]])[int(rng.integers(4))]
    grip = nz > 50 and ny > 50 and rng.random() < 0.06
    edges = taped and rng.random() < 0.12
    decor = base if rng.random() < 0.9 else np.asarray(prints.colour(rng), np.float64)
    textures: list[Array] = []
    for face, (h, w) in enumerate(shapes):
        if face == 1 and rng.random() < 0.6:
            textures.append(textures[0])
            continue
        tint = (decor if face < 2 else base) * rng.uniform(0.95, 1.05)
        image = _face(rng, h, w, tint, grain)
        gloss = np.full((h, w), 0.15, np.float32)
        relief = 0.35 * noise.patch(rng, "cloud", h, w, 2.0)
        image8 = np.clip(image, 0, 255).astype(np.uint8)
        if not plain and printed and rng.random() < 0.6:
            for _ in range(int(rng.integers(1, 4))):
                prints.logo(rng, image8, ink)
        if face < 2:
            if seam:
                y = h // 2
                cv2.line(image8, (0, y), (w, y), [int(v) for v in tint * 0.5], 1)
                relief[max(0, y - 1) : y + 1] -= 1.5
            if taped:
                y = max(0, h // 2 - band // 2)
                part = strip[: min(band, h - y), :w].astype(np.float32)
                alpha = cover[: part.shape[0], :w, None]
                area = image8[y : y + part.shape[0]]
                area[:] = (area * (1 - alpha) + part * alpha).astype(np.uint8)
                gloss[y : y + part.shape[0]] = shine
        elif face < 4 and taped:
            drop = int(min(h, rng.uniform(0.03, 0.08) * DENSITY))
            x = max(0, w // 2 - band // 2)
            n = min(band, w - x)
            part = np.swapaxes(strip[:n, :drop], 0, 1).astype(np.float32)
            alpha = np.swapaxes(cover[:n, :drop], 0, 1)[..., None]
            area = image8[: part.shape[0], x : x + n]
            area[:] = (area * (1 - alpha) + part * alpha).astype(np.uint8)
            gloss[: part.shape[0], x : x + n] = shine
        if across is not None and face not in (2, 3):
            for place in straps:
                x = int(place * w)
                image8[:, x : x + across] = strap_colour
                gloss[:, x : x + across] = 0.6
        if grip and face in (2, 3):
            axes = (max(2, int(w * 0.16)), max(1, int(h * 0.07)))
            cv2.ellipse(image8, (w // 2, int(h * 0.3)), axes, 0, 0, 360, (28, 22, 18), -1, cv2.LINE_AA)
        if edges and face < 2:
            n = max(2, band // 2)
            for area in (image8[:, :n], image8[:, -n:]):
                area[:] = (area * (1 - cover.mean()) + strip.mean((0, 1)) * cover.mean()).astype(np.uint8)
            gloss[:, :n] = gloss[:, -n:] = shine
        odds = 0.75 if face == 0 else 0.22
        if not plain and rng.random() < odds and min(h, w) > 20:
            random_label(rng, image8, gloss, 0.9)
            if rng.random() < 0.25:
                random_label(rng, image8, gloss, 0.5)
        if rng.random() < 0.5:
            rim = max(1, int(rng.integers(1, 3)))
            worn = float(rng.uniform(0.85, 1.15))
            for area in (image8[:rim], image8[-rim:], image8[:, :rim], image8[:, -rim:]):
                area[:] = np.clip(area * worn, 0, 255).astype(np.uint8)
        textures.append(compose(image8, relief, float(rng.uniform(0.01, 0.06)), gloss))
    coated = rng.random() < 0.2
    material = Material(
        specular=float(rng.uniform(0.3, 1.0)),
        shininess=float(rng.uniform(15, 60)),
        mirror=float(rng.uniform(0.02, 0.1)),
        holes=0.05,
        base_gloss=0.3 if coated else 0.0,
    )
    return Look(textures, material)


def any_look(rng: np.random.Generator, size_m: Array, faces: int) -> Look:
    """A skin that boxes (six faces), mailers and bags (two) may all wear: one colour, perhaps a label or words."""
    nx, ny, nz = (texels(float(v)) for v in size_m)
    shapes = [(ny, nx), (ny, nx), (nz, ny), (nz, ny), (nz, nx), (nz, nx)][:faces]
    base = cardboard_colour(rng) if rng.random() < 0.5 else np.asarray(prints.colour(rng, float(rng.random())), np.float64)
    if rng.random() < 0.3:
        base = np.array([rng.uniform(20, 250)] * 3)
    shine, rough, lumps = float(rng.uniform(0.0, 1.0)), float(rng.uniform(0.0, 0.1)), float(rng.choice([0.0, 0.02, 0.08]))
    stuck, ink = rng.random() < 0.5, prints.colour(rng)
    textures = []
    for h, w in shapes:
        tone = 1.0 + rough * noise.patch(rng, "soft", h, w) + lumps * noise.patch(rng, "cloud", h, w)
        image8 = np.clip(tinted(tone, base), 0, 255).astype(np.uint8)
        gloss = np.full((h, w), shine, np.float32)
        if stuck and min(h, w) > 20 and rng.random() < 0.6:
            random_label(rng, image8, gloss, 0.8)
        elif stuck and rng.random() < 0.3:
            prints.logo(rng, image8, ink)
        textures.append(compose(image8, None, 0.0, gloss))
    material = Material(
        specular=float(rng.uniform(0.0, 1.2)), shininess=float(rng.uniform(10, 120)), mirror=float(rng.uniform(0.0, 0.15)),
        holes=float(rng.uniform(0.0, 0.3)) * shine,
    )  # fmt: skip
    return Look(textures, material)


def mailer_look(rng: np.random.Generator, size_m: Array) -> Look:
    """Top and bottom of a padded mailer."""
    w, h = texels(float(size_m[0])), texels(float(size_m[1]))
    kind = rng.random()
    if kind < 0.5:
        base = rng.uniform(140, 230) * np.array([1.0, rng.uniform(0.68, 0.86), rng.uniform(0.3, 0.62)])
    elif kind < 0.75:
        base = np.array([rng.uniform(190, 250)] * 3) * rng.uniform(0.96, 1.0, 3)
    elif kind < 0.85:
        base = np.array([rng.uniform(60, 170)] * 3)
    else:
        base = np.asarray(prints.colour(rng, float(rng.uniform(0.4, 1.0))), np.float64)
    poly = rng.random() < 0.2
    ink = np.array([rng.integers(0, 70)] * 3) if rng.random() < 0.5 else prints.colour(rng)
    printed = rng.random() < 0.45
    textures = []
    flap = rng.uniform(0.1, 0.3)
    bubble = poly or rng.random() < 0.45
    pitch = rng.uniform(0.009, 0.014) * DENSITY
    for side in range(2):
        image = _face(rng, h, w, base * rng.uniform(0.96, 1.04), float(rng.uniform(0.4, 1.3)))
        image8 = np.clip(image, 0, 255).astype(np.uint8)
        gloss = np.full((h, w), 0.7 if poly else 0.12, np.float32)
        relief = 1.2 * noise.patch(rng, "cloud", h, w, 2.5)
        relief += 0.5 * noise.patch(rng, "ridge", h, w, 2.0)
        if bubble:
            y, x = np.mgrid[0:h, 0:w].astype(np.float32) / pitch * 3.1416
            relief += rng.uniform(0.3, 0.9) * np.cos(x * 1.1547) * np.cos(y + x * 0.577)
        if printed:
            for _ in range(int(rng.integers(1, 4))):
                prints.logo(rng, image8, ink)
        if side == 0 and rng.random() < 0.6 or side == 1 and rng.random() < 0.3:
            x = int(w * flap)
            image8[:, x : x + 2] = (image8[:, x : x + 2] * rng.uniform(0.5, 0.85)).astype(np.uint8)
            relief[:, :x] += 1.0
            if rng.random() < 0.3:
                image8[:, :x] = (image8[:, :x] * rng.uniform(0.85, 1.0)).astype(np.uint8)
        if rng.random() < (0.75 if side == 0 else 0.25):
            random_label(rng, image8, gloss, 0.85)
        rim = max(2, int(rng.uniform(0.006, 0.016) * DENSITY))
        seal = float(rng.uniform(0.82, 1.06))
        for area in (image8[:rim], image8[-rim:], image8[:, :rim], image8[:, -rim:]):
            area[:] = np.clip(area * seal, 0, 255).astype(np.uint8)
        textures.append(compose(image8, relief, float(rng.uniform(0.03, 0.16)), gloss))
    material = Material(
        specular=float(rng.uniform(0.3, 1.0)),
        shininess=float(rng.uniform(15, 70)),
        mirror=float(rng.uniform(0.04, 0.15)) if poly else 0.02,
        holes=0.25 if poly else 0.06,
    )
    return Look(textures, material)


def bag_look(rng: np.random.Generator, size_m: Array) -> tuple[Look, Look | None]:
    """Film of a poly bag and, when one sees through it, the look of what is inside."""
    w, h = texels(float(size_m[0])), texels(float(size_m[1]))
    kind = rng.random()
    clear = rng.random() < 0.4
    base: Array
    if clear:
        base = np.array([rng.uniform(150, 245)] * 3) * rng.uniform(0.92, 1.0, 3)
    elif kind < 0.4:
        base = np.array([rng.uniform(180, 245)] * 3) * rng.uniform(0.95, 1.0, 3)
    elif kind < 0.6:
        base = np.array([rng.uniform(70, 170)] * 3) * rng.uniform(0.93, 1.05, 3)
    elif kind < 0.75:
        base = np.array([rng.uniform(20, 60)] * 3)
    else:
        base = np.asarray(prints.colour(rng, float(rng.uniform(0.4, 1.0))), np.float64)
    ink = np.array([rng.integers(0, 70)] * 3) if rng.random() < 0.5 else prints.colour(rng)
    printed = rng.random() < 0.4
    textures = []
    sharp = rng.uniform(0.4, 1.6)
    bubbles = rng.random() < 0.08
    for side in range(2):
        tone = 1.0 + 0.03 * noise.patch(rng, "soft", h, w)
        image8 = np.clip(tinted(tone, base), 0, 255).astype(np.uint8)
        gloss = np.full((h, w), rng.uniform(0.7, 1.0), np.float32)
        relief = 2.0 * noise.patch(rng, "ridge", h, w, float(rng.uniform(1.5, 4.0)))
        relief += 1.2 * noise.patch(rng, "soft", h, w, float(rng.uniform(0.5, 1.5)))
        if rng.random() < 0.5:
            relief += noise.patch(rng, "streak", h, w, float(rng.uniform(1.5, 3.0)))
        if printed:
            for _ in range(int(rng.integers(1, 4))):
                prints.logo(rng, image8, ink)
            if clear:
                gloss[np.abs(image8.astype(np.int16) - base).sum(-1) > 60] = 0.1
        if rng.random() < (0.65 if side == 0 else 0.3):
            random_label(rng, image8, gloss, 0.75)
        if rng.random() < 0.4:
            image8[: max(2, h // 30)] = np.clip(base * 0.9, 0, 255)
        if bubbles:
            y, x = np.mgrid[0:h, 0:w].astype(np.float32) / (0.011 * DENSITY) * 3.1416
            relief += (1.5 * np.cos(x * 1.1547) * np.cos(y + x * 0.577)).astype(np.float32)
        relief = np.asarray(cv2.GaussianBlur(relief, (0, 0), 1.2), np.float32)
        textures.append(compose(image8, relief, float(sharp * rng.uniform(0.12, 0.32)), gloss))
    material = Material(
        specular=float(rng.uniform(0.5, 1.2)),
        shininess=float(rng.uniform(30, 160)),
        mirror=float(rng.uniform(0.04, 0.3)),
        opacity=(float(rng.uniform(0.12, 0.5)) if rng.random() < 0.6 else float(rng.uniform(0.4, 0.85))) if clear else 1.0,
        bump=float(rng.uniform(0.8, 1.6)),
        holes=float(rng.uniform(0.3, 1.0)),
    )
    inner = None
    if clear and rng.random() < 0.85:
        colour = cardboard_colour(rng) if rng.random() < 0.4 else prints.colour(rng).astype(np.float64)
        tone = 1.0 + 0.05 * noise.patch(rng, "cloud", 48, 64)
        image8 = np.clip(tinted(tone, colour), 0, 255).astype(np.uint8)
        if rng.random() < 0.6:
            prints.logo(rng, image8, prints.colour(rng))
        inner = Look([compose(image8, None, 0.0, 0.1)], Material())
    return Look(textures, material), inner
