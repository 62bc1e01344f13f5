"""What the drawn style pictures show: scenes of labelled regions, which ``data.draw_samples`` renders in its media.

A region has a mask, a palette from dark to light (hexadecimal codes), a tone map that looks colours up in it, a stroke
direction, a brush size and a field whose contours mosaic rows follow. All coordinates are unit, y pointing down.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

Array = np.ndarray
Rng = np.random.Generator


def colours(codes: str) -> Array:
    """Return the (k, 3) RGB palette in [0, 1] of a string of hexadecimal codes."""
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes.split()])


def fbm(rng: Rng, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 4) -> Array:
    """Return fractal value noise stretched to [0, 1], with ``cells`` (rows, columns) in its coarsest octave."""
    total = np.zeros(shape)
    for octave in range(octaves):
        grid = rng.random([int(np.ceil(c * 2**octave)) + 3 for c in cells]).astype(np.float32)
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) / 2**octave
    return (total - total.min()) / np.ptp(total)


def smooth(t: Array, low: float, high: float) -> Array:
    """Return the smooth step of ``t`` from ``low`` to ``high``."""
    t = np.clip((t - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class Scene:
    """A layered picture description on an n x n grid: later regions cover earlier ones."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.y, self.x = (np.mgrid[:n, :n] + 0.5) / n
        self.label = np.zeros((n, n), int)
        self.tone, self.angle, self.level = (np.zeros((n, n)) for _ in range(3))
        self.palettes: list[Array] = []
        self.brush: list[float] = []

    # fmt: off
    def add(self, mask: Array, codes: str, tone: Array | float, angle: Array | float = 0.0, brush: float = 1.0,
            level: Array | None = None) -> None:
        """Cover ``mask`` with a region; ``level`` is by default the distance to the region's outline."""
        if level is None:
            level = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        maps = (self.tone, tone), (self.angle, angle), (self.level, level), (self.label, len(self.brush))
        for field, value in maps:
            field[mask] = np.broadcast_to(value, mask.shape)[mask]
        self.palettes.append(colours(codes))
        self.brush.append(brush)

    # fmt: on
    def poly(self, *points: tuple[float, float]) -> Array:
        """Return the mask of a polygon."""
        mask = np.zeros((self.n, self.n), np.uint8)
        cv2.fillPoly(mask, [np.round(np.array(points) * self.n * 16 - 8).astype(np.int32)], 1, shift=4)
        return mask > 0

    def box(self, cx: float, cy: float, w: float, h: float) -> Array:
        """Return the mask of a rectangle about a centre."""
        return (np.abs(self.x - cx) < w / 2) & (np.abs(self.y - cy) < h / 2)

    def polar(self, cx: float, cy: float, stretch: float = 1.0) -> tuple[Array, Array]:
        """Return the radius about a point (heights divided by ``stretch``) and the tangent direction."""
        dx, dy = self.x - cx, (self.y - cy) / stretch
        return np.hypot(dx, dy), np.arctan2(dy, dx) + np.pi / 2

    def ball(self, cx: float, cy: float, rx: float, ry: float, codes: str, neck: float = 0.0) -> None:
        """Add a fruit lit from the upper left, narrower at its top by ``neck``, and the shadow that it throws."""
        shadow = np.hypot((self.x - cx - rx * 0.6) / rx / 1.35, (self.y - cy - ry * 0.82) / rx / 0.42)
        self.tone -= 0.5 * smooth(1 - shadow, 0, 0.5)
        dx, dy = (self.x - cx) / (rx * (1 - neck * smooth(cy - self.y, -0.2 * ry, 0.7 * ry))), (self.y - cy) / ry
        r = np.hypot(dx, dy)
        lit = 0.66 * np.sqrt(np.clip(1 - r**2, 0, 1)) - 0.42 * dx - 0.55 * dy
        turn = np.arctan2(dy, dx) + np.pi / 2
        self.add(r < 1, codes, 0.10 + 0.86 * np.clip(lit, 0, 1) + 0.15 * (r > 0.9), turn, 0.5)

    def colour(self, rows: Array, cols: Array, shift: Array | float = 0.0) -> Array:
        """Return the RGB colours at some pixels, their tones moved by ``shift``."""
        label, tone = self.label[rows, cols], np.clip(self.tone[rows, cols] + shift, 0, 1)
        out = np.zeros((*tone.shape, 3))
        for k in np.unique(label):
            here, palette = label == k, self.palettes[k]
            knots = np.linspace(0, 1, len(palette))
            out[here] = np.stack([np.interp(tone[here], knots, palette[:, c]) for c in range(3)], -1)
        return out


# fmt: off
def village(rng: Rng, n: int) -> Scene:
    """A village at dusk: turning sky, low sun, hills, houses, poplars, a wheat field with a path and poppies."""
    s, noise, leaf = Scene(n), fbm(rng, (n, n), (5, 5)), fbm(rng, (n, n), (22, 22), 2)
    x, y = s.x, s.y
    u, v = 1.0 + 0 * x, 0.35 * np.sin(7 * x + 2) + 0.8 * (noise - 0.5)
    tone = 0.12 + 0.9 * y + 0.35 * (noise - 0.5)
    for cx, cy, size, spin in ((0.24, 0.19, 0.13, 1), (0.50, 0.08, 0.08, -1), (0.46, 0.33, 0.08, -1),
                               (0.93, 0.10, 0.09, 1)):
        d = np.hypot(x - cx, y - cy) / size
        pull = np.exp(-(d**2) / 1.6)
        u, v = u - spin * (y - cy) / size * pull * 5, v + spin * (x - cx) / size * pull * 5
        tone += pull * (0.30 + 0.30 * np.cos(7 * d))
    s.add(y < 2, "16235e 24418f 3568b0 5b9cc4 93c9c6 d5e4b8 f6e3a4", tone, np.arctan2(v, u))
    r, turn = s.polar(0.70, 0.27)
    s.add(r + 0.05 * noise + 0.09 * leaf < 0.235, "fff3b8 fbd568 f5b04e ee9a58 e0a888 b9bca8 7fb0c0",
          r / 0.165 + 0.1 * np.cos(r * 150), turn, 0.8)
    s.add(r < 0.058, "fffbe0 fff0a0 fdd24a", r / 0.07, turn, 0.6)
    hills = (0.47, 0.10, "4c5f9c 6d7fb4 9a95c0 c9a9bd"), (0.53, 0.07, "274a66 2f6a6e 4f8f74 8fb573 d0c878")
    for base, amp, codes in hills:
        top = base - amp * (fbm(rng, (1, n), (1, 3), 3)[0] - 0.3)
        slope = np.gradient(ndimage.gaussian_filter1d(top, 8)) * n + 0 * x
        s.add(y > top, codes, 1 - (y - top) * 7 + 0.5 * (noise - 0.5), np.arctan(slope) + 0.6 * (noise - 0.5), 0.7)
    ground, p, rise = y > 0.585 + 0.015 * np.sin(5 * x), (x - 0.62) / (y - 0.46), np.arctan2(y - 0.46, x - 0.62)
    wheat = 0.55 + 0.28 * np.sin(22 * p) + 0.5 * (noise - 0.5)
    s.add(ground, "5c4a1c 94701f c8922a e6b53a f3d265 faeaa6", wheat, rise)
    s.add(ground & (p < -0.75 + 0.1 * noise), "1f4a35 3c6e34 6f9440 a9b64c dccb60", wheat, rise)
    lane = 0.62 + 0.10 * np.sin(8 * (y - 0.5)) * smooth(y, 0.55, 0.9)
    s.add(ground & (np.abs(x - lane) < 0.20 * (y - 0.53)), "8d6f8e b98f9a dab0a0 f2d9b8", 0.05 + noise, rise, 0.7)
    for cx, base, w, h in ((0.20, 0.60, 0.10, 0.06), (0.33, 0.585, 0.08, 0.05), (0.80, 0.60, 0.11, 0.065),
                           (0.42, 0.61, 0.12, 0.07), (0.70, 0.585, 0.07, 0.045), (0.535, 0.60, 0.05, 0.13)):
        house(s, cx, base, w, h)
    for cx, base, w, h in (0.07, 0.66, 0.045, 0.36), (0.135, 0.64, 0.03, 0.25), (0.945, 0.67, 0.04, 0.30):
        up = (base - y) / h
        half = w * np.sqrt(np.clip(up * (1 - up), 0, 1)) * (2.5 - up) + 0.02 * (leaf - 0.5)
        s.add((np.abs(x - cx) < half) & (up > 0) & (up < 1), "14322f 235239 4d7a3a 93a23f d9b84a f2d873",
              0.10 + 0.5 * (x - cx) / w + 0.6 * noise, np.pi / 2 + 9 * (x - cx) + 0.7 * np.sin(30 * y), 0.55)
    for cx, w in (0.27, 0.04), (0.485, 0.035), (0.60, 0.035), (0.66, 0.03), (0.88, 0.04):
        r, turn = s.polar(cx, 0.60, 0.8)
        s.add(r < w * (0.55 + 0.8 * leaf), "173a38 2a5f42 5a8a45 a5b554", 0.15 - 0.35 * (y - 0.60) / w + 0.6 * leaf,
              turn + 2 * (leaf - 0.5), 0.4)
    for _ in range(70):
        cx, cy = rng.random(), 0.72 + 0.28 * rng.random()
        r, turn = s.polar(cx, cy, 0.8)
        if abs(cx - lane[int(cy * n), 0]) > 0.22 * (cy - 0.53) + 0.01:
            s.add(r < 0.025 * (cy - 0.4), "a81e22 d8362a f0603a", rng.random(), turn, 0.4)
    return s


def house(s: Scene, cx: float, base: float, w: float, h: float) -> None:
    """Add a house (or, where it is higher than wide, a tower) with two walls, a roof and windows."""
    left, split, right, top = cx - w / 2, cx - w * 0.05, cx + w / 2, base - h
    peak, eaves = top - (1.6 * w if h > w else 0.55 * h), top + 0.004
    tip, back = (cx, cx) if h > w else ((split + right) / 2, (left + split) / 2)
    s.add(s.poly((left, top), (split, top), (split, base), (left, base)), "6f74a2 8f88ac ad9cb0", 0.5, np.pi / 2, 0.3)
    s.add(s.poly((split, top), (right, top), (right, base), (split, base)), "f0c884 fbe4ae fff6d8", 0.7, 1.57, 0.3)
    s.add(s.poly((left - 0.006, eaves), (back, peak), (tip, peak), (split, eaves)), "8e2f2b b9432e d9633a", 0.5, 1, 0.3)
    s.add(s.poly((split, eaves), (tip, peak), (right + 0.006, eaves)), "d8573a ee8a4c f8b468", 0.6, 1.2, 0.3)
    for wx in left + w * 0.2, (split + right) / 2:
        s.add(s.box(wx, top + 0.025, 0.012, 0.02), "2a2f5c 3d4478", 0.5, np.pi / 2, 0.2)


def bay(rng: Rng, n: int) -> Scene:
    """A bay at noon inside a border: rayed sun, gold sky, cliffs with a white town, cypresses, a boat on the waves."""
    s, noise = Scene(n), fbm(rng, (n, n), (5, 5))
    x, y = s.x, s.y
    r, turn = s.polar(0.34, 0.27)
    rays = np.cos(12 * turn)
    s.add(y < 2, "c08a30 d9a844 ebc763 f6de96 fbeec0", 0.85 - 1.1 * np.abs(r - 0.1) + 0.3 * noise, level=r * n)
    s.add(r < 0.135 + 0.045 * rays, "c8452a e2712f f2a03c", 0.5 + 0.5 * rays, level=r * n)
    s.add(r < 0.09, "fbe38a fff4c4 f6c64e", r / 0.09, level=r * n)
    for cx, cy, w in (0.60, 0.16, 0.11), (0.82, 0.25, 0.09), (0.15, 0.41, 0.07):
        puffs = (-0.6, 0.12, 0.5), (0, -0.1, 0.75), (0.65, 0.1, 0.5)
        puff = np.minimum.reduce([s.polar(cx + dx * w, cy + dy * w, 0.62)[0] / k for dx, dy, k in puffs])
        s.add((puff < w) & (y < cy + 0.28 * w), "b7c9d6 e4eae8 fffdf2", 1.3 - 5 * (y - cy + w / 2))
    far = y - 0.50 + 0.07 * np.sin(4.2 * x + 0.4) + 0.02 * np.sin(17 * x)
    s.add(far > 0, "55608f 7f86b4 b3adc9", 0.9 - 6 * far, level=far * n)
    cliff = y - 0.70 + 0.36 * smooth(x, 0.56, 0.86) + 0.02 * np.sin(20 * x)
    wave = y + 0.012 * np.sin(26 * x + 9 * np.sin(9 * y)) * smooth(y, 0.5, 0.75)
    swell = 0.36 * np.sin(150 * wave * (1.25 - 0.5 * y)) - 0.6 * (y - 0.6) + 0.4 * (noise - 0.5)
    s.add(y > 0.57, "0d3a66 12608c 1b8eae 3fbdb8 a2e2cc", 0.5 + swell, level=wave * n)
    rock = (cliff > 0) & (x > 0.58)
    s.add(rock & (y < 0.73 + 0.03 * np.sin(14 * x)), "94492a c06c38 dd9a5a eec58c", 0.9 - 2.9 * cliff + 0.4 * noise,
          level=cliff * n)
    s.add(rock & (cliff < 0.06 + 0.05 * noise), "33582c 5a8038 96a84c", 0.9 - 9 * cliff, level=cliff * n)
    for cx, base, w, h in ((0.79, 0.47, 0.07, 0.085), (0.88, 0.45, 0.075, 0.10), (0.845, 0.54, 0.08, 0.08),
                           (0.73, 0.56, 0.065, 0.07)):
        s.add(s.box(cx, base - h / 2, w, h), "d4c8b8 f5eddc fffbf2", 0.5 + (x - cx) / w)
        s.add(s.poly((cx - w * 0.6, base - h), (cx, base - h * 1.5), (cx + w * 0.6, base - h)), "a33322 cc4a2c", 0.6)
        s.add(s.box(cx, base - h * 0.42, 0.018, 0.03), "1f3b63 2a4f80", 0.5)
    for cx, base, h in (0.69, 0.60, 0.19), (0.63, 0.665, 0.16):
        up = np.clip((base - y) / h, 0, 1)
        s.add(np.abs(x - cx) < 0.075 * np.sqrt(up) * (1 - up), "12352a 1f5a3a 3f8248", 0.5 + (cx - x) * 18)
    s.add(s.poly((0.260, 0.75), (0.272, 0.36), (0.287, 0.36), (0.287, 0.75)), "5a3420 7a4a2a", 0.5)
    stripes = 0.55 + 0.45 * np.sin(45 * y + 8 * x)
    s.add(s.poly((0.29, 0.39), (0.345, 0.55), (0.43, 0.735), (0.292, 0.735)), "ddd2bc f9f1de fffdf6", stripes)
    s.add(s.poly((0.262, 0.44), (0.252, 0.735), (0.135, 0.735), (0.20, 0.60)), "a82a24 d2412f ee7350", stripes)
    hull = s.poly((0.105, 0.765), (0.165, 0.845), (0.37, 0.845), (0.455, 0.755), (0.28, 0.775))
    s.add(hull, "5c2a1c 84402a b06a3a", 1.1 - 12 * (y - 0.76))
    s.add(hull & (y < 0.79), "e0b050 f3d68c", 0.5)
    edge = 0.5 - np.maximum(np.abs(x - 0.5), np.abs(y - 0.5))
    along = np.where(np.abs(x - 0.5) > np.abs(y - 0.5), y, x)
    band = (edge < 0.0504) & (edge > 0.0168)
    s.add(edge < 0.0672, "eadfc4 fbf5e2", 0.6, level=edge * n)
    s.add(band, "8c2a22 b8392a d6583c", 0.5, level=edge * n)
    s.add(band & ((along * 15) % 1 < 0.5), "173f66 22598a 3b7fab", 0.5, level=edge * n)
    return s


def still_life(rng: Rng, n: int) -> Scene:
    """A table at a wall: blue jug with daisies and poppies, checked cloth, a bowl of oranges, pear, apple, lemons."""
    s, noise = Scene(n), fbm(rng, (n, n), (4, 4))
    x, y = s.x, s.y
    s.add(y < 2, "3f7f86 63a39c 93c4ae c6dcbc ece7c8", 0.85 - 0.75 * x + 0.25 * y + 0.35 * (noise - 0.5), -1.0, 1.3)
    wood = 0.55 + 0.2 * np.sin(60 * y + 6 * noise) - 0.3 * (x - 0.5)
    s.add(y > 0.60 - 0.03 * x, "6a3a1e 9a5c2c c28746 e0b070", wood, 0.06 + 0.3 * (noise - 0.5))
    fold = y - 0.70 - 0.03 * np.sin(9 * x) - 0.10 * (x - 0.5)
    u, v = x + 0.55 * y + 0.02 * np.sin(14 * y), y - 0.22 * x + 0.02 * np.sin(11 * x)
    cloth = (fold > 0) & (x > 0.10 + 0.10 * np.sin(8 * y)) & (x < 1.05)
    crease = 0.30 * np.sin(11 * x + 6 * y + 2 * noise)
    s.add(cloth, "9aa9bd cdd5dc f1efe6 fffdf6", 0.70 + crease, 0.9, 0.8)
    across, down = (u * 9) % 1 < 0.42, (v * 9) % 1 < 0.42
    s.add(cloth & (across ^ down), "8c3a3c c25a55 e08a7c f0b8a8", 0.55 + crease, 0.9, 0.8)
    s.add(cloth & across & down, "6e2430 a33440 c6504e dd7a6c", 0.5 + crease, 0.9, 0.8)
    for cx, cy, length, lean in ((0.20, 0.33, 0.13, -2.5), (0.45, 0.36, 0.14, -0.5), (0.24, 0.20, 0.12, -2.0),
                                 (0.41, 0.18, 0.12, -1.0), (0.33, 0.40, 0.12, -1.7), (0.15, 0.43, 0.11, -3.4),
                                 (0.50, 0.45, 0.11, 0.3)):
        dx, dy = x - cx, y - cy
        du, dv = dx * np.cos(lean) + dy * np.sin(lean), dy * np.cos(lean) - dx * np.sin(lean)
        leaf = np.hypot(du / length, dv / 0.032) < 1
        s.add(leaf, "1f4a30 39743c 6c9c48 adc268", 0.35 - dv * 14 + 0.3 * noise, lean, 0.5)
    blooms = ((0.19, 0.21, 0.085, 0), (0.47, 0.20, 0.08, 0), (0.33, 0.13, 0.09, 1), (0.27, 0.33, 0.085, 1), 
              (0.42, 0.33, 0.085, 0), (0.56, 0.33, 0.06, 1), (0.11, 0.34, 0.06, 1))
    petals = "c8a24c f0cf5a fbe68e fff6cc", "8a1f2a c2323a e2574a f59a78"
    for cx, cy, size, kind in blooms:
        r, turn = s.polar(cx, cy, 0.9)
        lobes = np.cos((5 if kind else 11) * turn + cx * 40)
        tone = 0.25 + 0.75 * r / size + 0.2 * lobes - 2 * (y - cy)
        s.add(r < size * (0.86 + 0.14 * lobes), petals[kind], tone, turn + np.pi / 2, 0.4)
        s.add(r < size * 0.32, "3a2018 6a3a20 a8662c", 0.5 - 8 * (y - cy) - 5 * (x - cx), turn, 0.3)
    s.tone -= 0.5 * smooth(1 - np.hypot((x - 0.47) / 0.26, (y - 0.80) / 0.06), 0, 0.6)
    half = np.interp(y, [0.43, 0.46, 0.53, 0.66, 0.77, 0.805], [0.085, 0.068, 0.072, 0.135, 0.125, 0.085])
    half = ndimage.gaussian_filter1d(half, 0.015 * n, axis=0)
    q = (x - 0.33) / half
    jug = (y > 0.43) & (y < 0.805 - 1.5 * (x - 0.33) ** 2) & (np.abs(q) < 1)
    r, turn = s.polar(0.48, 0.57, 1.25)
    s.add((r < 0.075) & (r > 0.048), "14284f 22477f 4a78b0 94b8d8", 0.55, turn, 0.4)
    shine = np.exp(-(((q + 0.45) / 0.13) ** 2))
    glaze = 0.42 - 0.32 * q + 0.5 * shine - 0.3 * q**4
    s.add(jug, "101f46 1c3f7c 3569a8 6a9fcc c2dcea", glaze, 1.57 + 0.5 * q, 0.7)
    ring = jug & (np.abs(y - 0.675 - 0.012 * np.cos(2 * q)) < 0.018)
    s.add(ring, "8a8f94 d0cfc2 f5efdc", 0.6 - 0.5 * q, 0.1, 0.4)
    for cx, cy, k in (0.65, 0.60, 0.066), (0.81, 0.60, 0.066), (0.73, 0.55, 0.066), (0.73, 0.625, 0.066):
        s.ball(cx, cy, k, k, "8a3208 cc5408 f47c10 fca53a fddc98")
    s.tone -= 0.5 * smooth(1 - np.hypot((x - 0.80) / 0.22, (y - 0.80) / 0.05), 0, 0.6)
    q = (x - 0.73) / 0.185
    bowl = (y > 0.635) & (np.hypot(q, (y - 0.635) / 0.175) < 1)
    s.add(bowl & (y < 0.80), "2c5a4c 4c8a70 84b894 cfe4c4", 0.62 - 0.4 * q - 1.5 * (y - 0.66), -0.9 * q, 0.6)
    s.add(bowl & (y < 0.655), "5a8a74 a4ccac eef4dc", 0.6 - 0.4 * q, 0.0, 0.4)
    s.ball(0.17, 0.83, 0.075, 0.075, "4c0f18 92202a c83a34 e8694e f8c09a")
    for cx, cy, rx, ry in (0.40, 0.89, 0.085, 0.062), (0.56, 0.86, 0.062, 0.055):
        s.ball(cx, cy, rx, ry, "8a6208 d09a08 f2c81c fae45c fffad0")
    s.ball(0.83, 0.84, 0.088, 0.112, "42521a 6e8428 a0b430 ccd45c f2eeb0", neck=0.52)
    for cx, cy in (0.17, 0.765), (0.83, 0.74):
        stem = s.poly((cx - 0.006, cy), (cx + 0.012, cy - 0.035), (cx + 0.022, cy - 0.032), (cx + 0.006, cy + 0.004))
        s.add(stem, "3a2414 5c3c20", 0.5, 2, 0.3)
    return s


def lake(rng: Rng, n: int) -> Scene:
    """A lake at sunset on a coarse grid: banded sky with stars, sun, snowy peaks, firs, a cabin, a jetty, reeds."""
    s, grain = Scene(n), rng.random((n, n))
    x, y = s.x, s.y
    row, dusk = np.floor(y * n), "1d1b48 3b2a6e 6f3b86 b24e86 e8706e f8a35c fdd37a"
    s.add(y < 2, dusk, 1.75 * y - 0.02 * np.cos(9 * x))
    s.add((grain > 0.985) & (y < 0.25), "fff6d8 fff6d8", 1)
    for cx, cy, w in (0.20, 0.20, 0.16), (0.30, 0.225, 0.14), (0.84, 0.13, 0.13), (0.76, 0.31, 0.15):
        cloud = np.hypot((x - cx) / w, (y - cy) / 0.022) < 1
        s.add(cloud, "6f3b86 b24e86 e8706e f8a35c", 0.35 + 18 * (y - cy) + 0.9 * cy)
    s.add(s.polar(0.60, 0.44)[0] < 0.125, "f8a35c fdd37a fff6d8", 1.15 - 3.0 * (y - 0.31))
    violet, indigo = "3b2a6e 5a4a92 8d7ab8", "2b2a5e 4a3f86 7a6aac"
    for cx, top, w, codes in (0.39, 0.30, 0.17, violet), (0.08, 0.30, 0.19, indigo), (0.90, 0.25, 0.20, violet):
        rag = 0.03 * np.abs(np.sin(x * 50)) + 0.02 * np.sin(23 * x)
        down = y - top - np.abs(x - cx) * (0.56 - top) / w * 0.9 - rag * (np.abs(x - cx) > 0.03)
        s.add((down > 0) & (y < 0.58), codes, 0.75 - 5 * (x - cx))
        s.add((down > 0) & (y < top + 0.09 + 0.035 * np.sin(55 * x)), "a9a0d8 f4d8d8 fff6d8", 0.55 - 8 * (x - cx))
    s.add((y > 0.53 - 0.025 * np.sin(8 * x + 1)) & (y < 0.6), "1d1b48 20405a 2c6a62", 0.3 + 3 * (y - 0.5))
    water, ripple = y > 0.585, (np.sin(2.2 * row) > 0.4) & (grain > 0.35)
    glow = np.exp(-(((x - 0.60) / (0.09 + 0.25 * (y - 0.58))) ** 2))
    s.add(water, dusk, 0.33 - 1.15 * (y - 0.585) + 0.55 * glow + 0.14 * ripple)
    s.add(water & (glow > 0.55) & (row % 2 < 1) & (grain > 0.3), "fdd37a fff6d8", glow)
    shore = (y > 0.585 + 0.13 * smooth(x, 0.22, 0.50)) & (y < 0.74 - 0.16 * smooth(x, 0.10, 0.52)) & (x < 0.5)
    s.add(shore, "20405a 2c6a62 4e9a5e 9cc46a", 0.9 - 5 * (y - 0.585))
    for cx, base, h in ((0.03, 0.62, 0.27), (0.10, 0.60, 0.20), (0.42, 0.585, 0.15), (0.37, 0.59, 0.20),
                        (0.86, 0.60, 0.13), (0.91, 0.61, 0.19), (0.97, 0.62, 0.24)):
        up = (base - y) / h
        skirt = (0.025 + 0.11 * h) * (1 - up) * (0.65 + 0.55 * ((up * h * n / 3.0) % 1 < 0.5)) + 0.006
        s.add((np.abs(x - cx) < skirt) & (up > 0) & (up < 1), "12142e 1a3a4a 2c6a62 4e9a5e", 0.45 + 7 * (x - cx))
    s.add(s.box(0.235, 0.575, 0.19, 0.11), "5a2a2e 8a4638 b8683e", 0.05 + 0.5 * (row % 3 > 0) + x * 1.5)
    s.add(s.poly((0.11, 0.53), (0.18, 0.42), (0.30, 0.42), (0.36, 0.53)), "2a1430 5a2a4e 8a3a56", 0.3 + 4 * (y - 0.44))
    s.add(s.box(0.29, 0.415, 0.035, 0.07), "5a2a2e 8a4638", 0.6)
    for cx in 0.19, 0.285:
        s.add(s.box(cx, 0.573, 0.045, 0.05), "f8a35c fdd37a fff6d8", 0.9 - 6 * np.abs(x - cx))
    for k in range(5):
        puff = s.polar(0.285 - 0.018 * k + 0.012 * np.sin(k * 2), 0.36 - 0.040 * k, 0.8)[0]
        s.add(puff < 0.014 + 0.004 * k, "8d7ab8 c9a9d0", 0.6)
    jetty = s.poly((0.30, 0.66), (0.36, 0.655), (0.56, 0.80), (0.47, 0.81))
    s.add(jetty, "5a2a2e 8a4638 b8683e f8a35c", 0.35 + 0.5 * (row % 2))
    hull = s.poly((0.64, 0.745), (0.90, 0.745), (0.85, 0.80), (0.69, 0.80))
    s.add(hull, "2a1430 8a3a3e c85a48", 1.2 - 14 * (y - 0.75))
    s.add(s.box(0.77, 0.75, 0.22, 0.017), "fdd37a fff6d8", 0.3)
    s.add(s.poly((0.76, 0.55), (0.76, 0.73), (0.65, 0.73)), "f4d8d8 fff6d8", 0.3 + 3 * (y - 0.55))
    s.add(s.poly((0.79, 0.58), (0.79, 0.73), (0.86, 0.73)), "b24e86 e8706e f8a35c", 0.3 + 4 * (y - 0.6))
    s.add(s.box(0.775, 0.65, 0.016, 0.19), "5a2a2e 5a2a2e", 0)
    bank = 0.90 + 0.05 * np.sin(6 * x + 2.2)
    s.add(y > bank, "12142e 1a2a40 20405a 2c6a62", 1.0 - 9 * (y - bank))
    for cx in np.r_[rng.uniform(0, 0.36, 13), rng.uniform(0.86, 1, 5)]:
        h, lean = rng.uniform(0.08, 0.2), rng.uniform(-0.2, 0.2)
        reed = (np.abs(x - cx - lean * (0.93 - y)) < 0.009) & (y > 0.93 - h) & (y < 0.97)
        s.add(reed, "12142e 1a3a4a 2c6a62", 0.2 + 3 * (0.93 - y))
    return s
# fmt: on
