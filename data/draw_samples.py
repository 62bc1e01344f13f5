"""Draw the sample pictures in ``data/samples``: content photos, and style references in five media.

The photos come from the wheels of scikit-image and scikit-learn; the styles are painted from the scenes described in
``data/scenes.py``. Run ``python -m data.draw_samples``; the bytes never vary.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import data as skimage_photos
from skimage.measure import find_contours
from sklearn.datasets import load_sample_image

from data.scenes import Array, Rng, Scene, bay, colours, fbm, lake, smooth, still_life, village

SIZE, FINE = 512, 1024  # pixels of a finished picture, and of the canvas it is drawn on
SCALE = FINE // SIZE
SAMPLES = Path(__file__).parent / "samples"


def trace(scene: Scene, seeds: Array, lengths: Array, steps: int = 9) -> Array:
    """Follow the direction field from seeds (m, 2: x, y in scene pixels) inside their regions: (m, steps, 2)."""
    here, paths = seeds.astype(float), [seeds.astype(float)]
    home = scene.label[seeds[:, 1].astype(int), seeds[:, 0].astype(int)]
    before = np.zeros_like(here)
    for _ in range(steps - 1):
        col, row = here.astype(int).T
        ahead = np.stack([np.cos(scene.angle[row, col]), np.sin(scene.angle[row, col])], -1)
        ahead *= np.where((ahead * before).sum(1) < 0, -1, 1)[:, None]
        there = np.clip(here + ahead * (lengths / (steps - 1))[:, None], 0, scene.n - 1)
        inside = scene.label[there[:, 1].astype(int), there[:, 0].astype(int)] == home
        here, before = np.where(inside[:, None], there, here), ahead
        paths.append(here)
    return np.stack(paths, 1)


def seeds_of(rng: Rng, scene: Scene, count: int) -> tuple[Array, Array, Array, Array]:
    """Draw stroke seeds, more where brushes are small: points (x, y), rows, columns and brush sizes."""
    sizes = np.array(scene.brush)[scene.label].ravel()
    picks = rng.choice(sizes.size, count, p=sizes**-2 / (sizes**-2).sum())
    rows, cols = np.divmod(picks, scene.n)
    return np.stack([cols, rows], -1) + rng.random((count, 2)), rows, cols, sizes[picks]


def draw(canvas: Array, path: Array, colour: Array | float, thickness: int = 1) -> None:
    """Draw a polyline given in canvas pixels with a colour of 0 to 255 per channel."""
    points = np.round(path * 16).astype(np.int32)
    cv2.polylines(canvas, [points], False, np.atleast_1d(colour).tolist(), thickness, cv2.LINE_AA, shift=4)


def painterly(rng: Rng) -> Array:
    """Oil paint: bundles of bristles along the flow, from broad to fine, lit as relief."""
    scene = village(rng, SIZE)
    canvas = np.full((FINE, FINE, 4), 90, np.uint8)  # red, green, blue and the height of the paint
    rows, cols = np.mgrid[:SIZE, :SIZE]
    canvas[..., :3] = cv2.resize(scene.colour(rows, cols, -0.15), (FINE, FINE)) * 255
    for width, length, count in ((26, 60, 2600), (15, 38, 7500), (9, 26, 11000)):
        seeds, rows, cols, brush = seeds_of(rng, scene, count)
        paint = scene.colour(rows, cols, rng.normal(0, 0.13, count)) * rng.normal(1, 0.05, (count, 1)) * 255
        paths = trace(scene, seeds, length * np.sqrt(brush) * rng.uniform(0.6, 1.3, count)) * SCALE
        for path, tint, wide in zip(paths, paint, width * brush, strict=True):
            step = np.gradient(path, axis=0)
            normal = np.stack([-step[:, 1], step[:, 0]], -1) / (np.hypot(*step.T)[:, None] + 1e-6)
            hairs = max(3, int(wide / 2.2))
            load, lift = rng.normal(0, 9, hairs), rng.uniform(85, 175, hairs)
            for j, offset in enumerate(np.linspace(-0.5, 0.5, hairs)):
                first, last = rng.integers(0, 2), len(path) - rng.integers(0, 3)
                colour = np.clip([*(tint + load[j]), lift[j] + 40 * (abs(offset) > 0.38)], 0, 255)
                draw(canvas, (path + normal * offset * wide)[first:last], colour, 3 if wide > 5 else 2)
    relief = ndimage.gaussian_filter(canvas[..., 3].astype(float), 1.1)
    light = -(ndimage.sobel(relief, 0) + 0.8 * ndimage.sobel(relief, 1))[..., None] / 255
    return canvas[..., :3] / 255 * (1 + 0.20 * np.clip(light, -1.2, 1.2)) + 0.10 * np.clip(light - 0.5, 0, 1)


def tesserae(rng: Rng, scene: Scene, width: float) -> Array:
    """Lay tiles in rows along the contours of every region's level field: (m, 4) column, row, direction, label."""
    laid = []
    field = ndimage.gaussian_filter(scene.level, 1.0)
    for k in np.unique(scene.label):
        inside = ndimage.binary_dilation(scene.label == k)
        low, high = np.percentile(scene.level[scene.label == k], (0, 100))
        for height in np.arange(low + width / 2, max(high, low + width), width):
            for line in find_contours(field, height, mask=inside):
                walk = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
                at = np.arange(rng.uniform(0, width), walk[-1], width * 1.08)
                at += rng.normal(0, 0.08 * width, at.shape)
                (row, col), (row2, col2) = ([np.interp(at + d, walk, axis) for axis in line.T] for d in (-1, 2))
                laid.append(np.stack([col, row, np.arctan2(row2 - row, col2 - col), np.full_like(at, k)], -1))
    tiles = np.concatenate(laid)
    tiles[:, 2] += rng.normal(0, 0.08, len(tiles))
    keep, near = np.ones(len(tiles), bool), cKDTree(tiles[:, :2]).query_pairs(width * 0.66, output_type="ndarray")
    for a, b in near[np.lexsort(near.T[::-1])]:
        keep[b] &= not (keep[a] and tiles[a, 3] == tiles[b, 3])
    return tiles[keep]


def mosaic(rng: Rng, width: float = 8.6, neighbours: int = 9) -> Array:
    """Stone mosaic: each pixel belongs to the tile of its region that is nearest in the tile's own square norm."""
    scene = bay(rng, SIZE)
    tiles = tesserae(rng, scene, width)
    rows, cols = np.mgrid[:FINE, :FINE] / SCALE
    label = scene.label[rows.astype(int), cols.astype(int)]
    _, index = cKDTree(tiles[:, :2]).query(np.stack([cols, rows], -1), k=neighbours)
    right, down = cols[..., None] - tiles[index, 0], rows[..., None] - tiles[index, 1]
    cos, sin = np.cos(tiles[index, 2]), np.sin(tiles[index, 2])
    along, across = right * cos + down * sin, down * cos - right * sin
    reach = np.maximum(np.abs(along), np.abs(across)) + 1e3 * (tiles[index, 3] != label[..., None])
    nearest = reach.argmin(-1)[..., None]
    owner, along, across = (np.take_along_axis(a, nearest, -1)[..., 0] for a in (index, along, across))
    rough = fbm(rng, (FINE, FINE), (90, 90), 3)
    inset = ndimage.distance_transform_edt(ndimage.morphological_gradient(owner, 3) == 0) + 2.0 * (rough - 0.5)
    row, col = np.clip(tiles[:, 1::-1].astype(int), 0, SIZE - 1).T
    stone = scene.colour(row, col, rng.normal(0, 0.17, len(tiles))) * rng.normal(1.04, 0.06, (len(tiles), 1))
    stone += rng.normal(0, 0.016, stone.shape)
    tilt = rng.normal(0, 0.012, (2, len(tiles)))
    dome = ndimage.gaussian_filter(np.clip(inset, 0, 4), 0.8)
    bevel = np.clip(ndimage.sobel(dome, 0) + ndimage.sobel(dome, 1), -4, 4)
    shine = 1 + tilt[0, owner] * along + tilt[1, owner] * across + 0.16 * (rough - 0.5) + 0.022 * bevel
    face = smooth(inset, 0.6, 2.0)[..., None]
    grout = colours("8a7c68")[0] * (0.65 + 0.5 * rough[..., None])
    return grout * (1 - face) + stone[owner] * shine[..., None] * face


# fmt: off
def ink(rng: Rng) -> Array:
    """Ink wash on rice paper: ranges that dissolve downwards into mist, a pine, a boat and birds, a red seal."""
    n, shape = FINE, (FINE, FINE)
    y, x = (np.mgrid[:n, :n] + 0.5) / n
    wet, fine, blots = fbm(rng, shape, (7, 7), 5), fbm(rng, shape, (160, 160), 3), fbm(rng, shape, (3, 2), 3)
    wash, line, soft = 0.13 * smooth(0.4 - y, 0, 0.4) * blots, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for density, fade, foot, peaks in (  # ranges: ink, depth of its fading, height of the mist, (centre, top, width)
        (0.24, 0.13, 0.52, ((0.80, 0.20, 0.10), (0.95, 0.27, 0.10), (0.64, 0.32, 0.08), (0.07, 0.33, 0.10))),
        (0.50, 0.17, 0.66, ((0.30, 0.15, 0.075), (0.20, 0.28, 0.06), (0.41, 0.35, 0.06), (0.90, 0.43, 0.08))),
        (0.85, 0.14, 0.74, ((0.10, 0.42, 0.08), (0.23, 0.53, 0.07), (-0.02, 0.48, 0.08), (0.34, 0.61, 0.05))),
        (1.25, 0.22, 1.30, ((0.99, 0.66, 0.10), (0.86, 0.77, 0.09), (0.72, 0.885, 0.08), (0.55, 0.965, 0.07))),
    ):
        crag = 0.07 * (fbm(rng, (1, n), (1, 9), 5)[0] - 0.5) + 0.018 * (fbm(rng, (1, n), (1, 60), 3)[0] - 0.5)
        top = np.minimum.reduce([t + 0.13 * (np.abs(x[0] - c) / w) ** 1.7 for c, t, w in peaks]) + crag
        depth = y - top + 0.010 * (wet - 0.5)
        lean = ndimage.gaussian_filter1d(np.gradient(top) * n, 12)
        at = np.stack([depth * 900 % (n - 1), (x - 0.25 * np.clip(lean, -2, 2) * depth) * n % (n - 1)])
        folds, hairs = (ndimage.map_coordinates(fbm(rng, shape, c, 3), at, order=1) for c in ((9, 30), (16, 120)))
        here, cover = depth.clip(0), smooth(depth, -0.001, 0.004)
        mist = smooth(foot - y + 0.16 * (wet - 0.5) + 0.10 * (blots - 0.5), 0, 0.20)
        tone = np.exp(-here / fade) * (0.35 + 0.7 * wet) * (0.50 + 0.8 * smooth(folds, 0.40, 0.62))
        tone += 0.9 * smooth(hairs, 0.54, 0.70) * smooth(folds, 0.35, 0.6) * np.exp(-here / fade * 1.3) * (0.4 + fine)
        tone += 0.9 * np.exp(-((depth / 0.005) ** 2)) * smooth(folds + 0.5 * (fine - 0.5), 0.45, 0.65)
        wash = wash * (1 - cover * np.exp(-here / 0.6)) + density * cover * tone * mist
        for col in rng.integers(n, size=170 if density > 0.4 else 0):  # dots of moss and far trees on the ridges
            if top[col] < min(foot - 0.14, 1) and wet[int(top[col] * n), col] > 0.52:
                spot = np.array([col, (top[col] + abs(rng.normal(0, 0.018))) * n])
                draw(line, np.stack([spot, spot + rng.normal(0, 3, 2)]), 90 + 110 * density, int(rng.integers(1, 6)))
    water = smooth(y, 0.70, 0.80) * smooth(0.97 - y, 0, 0.1) * smooth(0.75 - x, 0, 0.3)
    wash += 0.10 * water * smooth(fbm(rng, shape, (60, 3), 3), 0.5, 0.75)

    def stroke(thick: float, dark: float, *points: Array | tuple[float, float]) -> None:
        """Draw a brush line through points in unit coordinates: pressed down first, then lifted."""
        t, knots = np.linspace(0, 1, 60), np.linspace(0, 1, len(points))
        path = np.stack([np.interp(t, knots, p) for p in np.array(points, float).T], -1) * n
        path = ndimage.gaussian_filter1d(path, 3, axis=0, mode="nearest")
        for k in range(59):
            draw(line, path[k : k + 2], dark, max(1, round(thick * (1.1 - t[k]) ** 0.6 * rng.uniform(0.8, 1.2))))

    trunk = np.array([(0.90, 0.80), (0.875, 0.72), (0.885, 0.64), (0.845, 0.57), (0.80, 0.52), (0.785, 0.455)])
    stroke(18, 235, *trunk)
    tufts = [np.array(p) for p in ((0.785, 0.45), (0.755, 0.465), (0.81, 0.44))]
    for knot, *reach in ((1, -0.13, -0.035), (2, 0.09, -0.06), (2.6, -0.16, -0.01), (3.2, 0.11, -0.035),
                         (3.8, -0.15, -0.05), (4.4, 0.09, -0.04)):
        root = np.array([np.interp(knot, range(6), trunk[:, i]) for i in (0, 1)])
        stroke(7, 225, root, root + np.array(reach) * (0.5, 0.2), root + reach)
        tufts += [root + np.array(reach) * f - (0, 0.012) + rng.normal(0, 0.008, 2) for f in (0.45, 0.65, 0.85, 1.05)]
    for tuft in tufts:
        cv2.ellipse(soft, np.round(tuft * n).astype(int).tolist(), (34, 13), 0, 0, 360, 60, -1, cv2.LINE_AA)
        for turn in rng.uniform(-np.pi * 1.06, np.pi * 0.06, 46):
            tip = tuft + np.array([np.cos(turn) * 0.036, np.sin(turn) * 0.022]) * rng.uniform(0.6, 1.1)
            draw(line, np.stack([tuft, tip]) * n, rng.uniform(110, 240))
    stroke(7, 225, (0.275, 0.815), (0.33, 0.838), (0.39, 0.836), (0.445, 0.805))  # the boat and its fisher
    stroke(3, 150, (0.30, 0.824), (0.36, 0.829), (0.42, 0.818))
    stroke(13, 190, (0.352, 0.825), (0.356, 0.80), (0.349, 0.783))
    stroke(6, 235, (0.333, 0.781), (0.349, 0.770), (0.366, 0.782))
    stroke(2, 200, (0.345, 0.80), (0.40, 0.775), (0.475, 0.72))
    wing = np.array([(-0.016, -0.006), (-0.006, -0.008), (0, 0), (0.006, -0.010), (0.018, -0.008)])
    for bird in ((0.56, 0.20), (0.60, 0.175), (0.625, 0.215), (0.67, 0.19)):
        stroke(2, 170, *(wing * rng.uniform(0.7, 1.0) + bird))
    for k in range(7):
        cx, cy = 0.36 + rng.normal(0, 0.09), 0.852 + 0.016 * k
        stroke(2, 70, (cx - 0.05, cy), (cx, cy + 0.003), (cx + 0.06, cy - 0.001))
    dry = line / 255 * smooth(fine + 0.55 * (line > 215), 0.25, 0.6) * 2.3
    wash = ndimage.gaussian_filter(wash, 0.8) + ndimage.gaussian_filter(soft / 255, 7) * (0.5 + wet)
    wash += ndimage.gaussian_filter(dry, 0.7)
    fibre = np.full(shape, 128, np.uint8)
    for _ in range(1500):
        arc = rng.uniform(0, np.pi) + rng.normal(0, 0.5) * np.linspace(-1, 1, 8)
        steps = np.stack([np.cos(arc), np.sin(arc)], -1) * rng.uniform(2, 9)
        draw(fibre, rng.random(2) * n + np.cumsum(steps, 0), rng.choice([90, 165]))
    grain = 1 + 0.0006 * (fibre - 128.0) + 0.05 * (fine - 0.5) + 0.06 * (blots - 0.6)
    paper = colours("f4ecda")[0] * grain[..., None]
    picture = paper * np.exp(-(wash * (0.86 + 0.28 * fine))[..., None] * np.array([2.05, 1.95, 1.80]))
    seal = np.zeros(shape, np.uint8)
    seal[874:950, 88:164] = 255
    for left in (97, 130):
        for k in range(5):
            a, b, c = rng.integers(0, 25, 3)
            draw(seal, np.array([(left, 885 + 13 * k), (left + 24, 883 + 13 * k + a / 6)]), 0, 4)
            draw(seal, np.array([(left + b, 883 + 11 * k), (left + c, 896 + 9 * k)]), 0, 4)
    stamp = (ndimage.gaussian_filter(seal / 255, 1.0) * smooth(fine + wet, 0.55, 0.95))[..., None] * 0.93
    return picture * (1 - stamp) + colours("b3261e")[0] * paper * stamp
# fmt: on


def pencil(rng: Rng) -> Array:
    """Coloured pencils: passes of hatching that multiply on the paper's tooth, then searching outlines."""
    scene = still_life(rng, SIZE)
    tooth = 0.6 * fbm(rng, (FINE, FINE), (230, 230), 2) + 0.4 * fbm(rng, (FINE, FINE), (110, 110), 2)
    picture = colours("faf6ea")[0] * (0.97 + 0.05 * tooth[..., None])
    turns = ((0.0, 24000, 0.9, 0.10), (0.10, 24000, 0.75, 0.0), (0.75, 17000, 0.55, -0.12), (-0.5, 15000, 0.4, 0.0))
    field = scene.angle.copy()
    for turn, count, press, shift in turns:
        layer = np.zeros((FINE, FINE, 4), np.uint8)
        layer[..., :3] = 255
        scene.angle = field + turn
        seeds, rows, cols, brush = seeds_of(rng, scene, count)
        paint = scene.colour(rows, cols, shift + rng.normal(0, 0.12, count)) + rng.normal(0, 0.025, (count, 3))
        paint = paint.mean(1, keepdims=True) + 1.25 * (paint - paint.mean(1, keepdims=True))
        weight = press * (1.12 - 0.75 * paint.mean(1)) * rng.uniform(0.7, 1.3, count) + 0.10
        scene.angle = scene.angle + rng.normal(0, 0.05)
        paths = trace(scene, seeds, rng.uniform(18, 42, count) * np.sqrt(brush), 6) * SCALE
        for path, tint, load in zip(paths, paint, weight, strict=True):
            colour = np.clip([*tint * 255, load * 255], 0, 255)
            draw(layer, path + rng.normal(0, 0.7, 2), colour, 2 + int(rng.random() < 0.3))
        grip = np.clip(layer[..., 3] / 255 * 1.5 - 0.95 * tooth + 0.12, 0, 1)[..., None] * (layer[..., 3:] > 0)
        picture = picture * (1 - grip * 0.80 * (1 - layer[..., :3] / 255))
    line = np.zeros((FINE, FINE), np.uint8)
    for k in np.unique(scene.label):
        for edge in find_contours(np.pad(scene.label == k, 1).astype(float), 0.5):
            edge = ndimage.gaussian_filter1d(edge[:, ::-1] - 1, 1.5, axis=0, mode="nearest") * SCALE
            for _ in range(2):
                wobble = ndimage.gaussian_filter1d(rng.normal(0, 7, edge.shape), 14, axis=0)
                for start in range(0, len(edge) - 8, 30):
                    draw(line, (edge + wobble)[start : start + rng.integers(15, 38)], rng.uniform(60, 150), 2)
    grip = np.clip(line / 255 * 1.4 - 0.7 * tooth + 0.05, 0, 1)[..., None] * (line > 0)[..., None]
    return picture * (1 - grip * (1 - colours("3a2c3c")[0]))


def pixel(rng: Rng, cells: int = 64) -> Array:
    """Pixel art: palette entries picked by ordered dithering of the tone, in big crisp squares."""
    scene = lake(rng, cells)
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 + 1 / 32
    steps = np.array([len(p) - 1 for p in scene.palettes])[scene.label]
    scene.tone = np.floor(np.clip(scene.tone, 0, 1) * steps + np.tile(bayer, (cells // 4, cells // 4))) / steps
    return scene.colour(*np.mgrid[:cells, :cells]).repeat(FINE // cells, 0).repeat(FINE // cells, 1)


def save(picture: Array, path: Path) -> None:
    """Write an RGB picture (float in [0, 1], or bytes) with its long side brought to the picture size."""
    if picture.dtype != np.uint8:
        picture = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(picture)
    scale = SIZE / max(image.size)
    if path.suffix == ".png":
        image = image.resize((SIZE, SIZE), Image.Resampling.NEAREST)
        image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    else:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        image.save(path, quality=88, subsampling=0, optimize=True)


def main() -> None:
    """Write the content photos and the style pictures."""
    media: dict[str, Callable[[Rng], Array]] = {
        "painterly_village.jpg": painterly,
        "mosaic_bay.jpg": mosaic,
        "ink_mountains.jpg": ink,
        "pencil_still_life.jpg": pencil,
        "pixel_lake.png": pixel,
    }
    (SAMPLES / "style").mkdir(parents=True, exist_ok=True)
    (SAMPLES / "content").mkdir(exist_ok=True)
    for seed, (name, render) in enumerate(media.items()):
        save(render(np.random.default_rng(seed)), SAMPLES / "style" / name)
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        save(getattr(skimage_photos, name)(), SAMPLES / "content" / f"{name}.jpg")
    for name in ("china", "flower"):
        save(load_sample_image(f"{name}.jpg"), SAMPLES / "content" / f"{name}.jpg")


if __name__ == "__main__":
    main()
