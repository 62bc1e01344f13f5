"""Photographs painted over by rules: the techniques that art in the public domain has little of, with known strokes.

Every painter takes a picture (H, W, 3) uint8 and a generator, and gives one of the same size.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

Painter = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def mosaic(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Tesserae of 7 to 18 pixels, each of one colour, between joints of 1 to 2 pixels."""
    height, width = picture.shape[:2]
    side, jitter = generator.uniform(7, 18), generator.uniform(0.1, 0.45)
    centres = np.stack(np.meshgrid(np.arange(0, height + side, side), np.arange(0, width + side, side)), -1)
    centres[:, 1::2, 1] += generator.choice([0.0, 0.5]) * side  # straight or like bricks
    centres = (centres + generator.uniform(-jitter, jitter, centres.shape) * side).reshape(-1, 2)
    pixels = np.moveaxis(np.mgrid[:height, :width], 0, -1).reshape(-1, 2)
    distances, nearest = cKDTree(centres).query(pixels, k=2)
    tile = nearest[:, 0]
    counts = np.maximum(np.bincount(tile, minlength=len(centres)), 1)
    flat = picture.reshape(-1, 3).astype(float)
    means = np.stack([np.bincount(tile, flat[:, c], len(centres)) / counts for c in range(3)], -1)
    colours = means * generator.normal(1, 0.12, (len(centres), 1)) + generator.normal(0, 6, means.shape)
    joint = distances[:, 1] - distances[:, 0] < generator.uniform(1, 2.2)
    painted = np.where(joint[:, None], generator.uniform(30, 225), colours[tile])
    return smooth(painted.reshape(picture.shape), 0.5)


def pixel_art(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Squares of 4 to 10 pixels in 8 to 24 colours."""
    height, width = picture.shape[:2]
    side, colours = int(generator.integers(4, 11)), int(generator.integers(8, 25))
    small = Image.fromarray(picture).resize((width // side, height // side), Image.Resampling.BOX)
    few = small.quantize(colours, dither=Image.Dither.NONE).convert("RGB")
    rows, columns = np.arange(height) * few.height // height, np.arange(width) * few.width // width
    return np.asarray(few)[rows][:, columns]


def hatching(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Pen or pencil: lines of one width and up to four directions, the darker the tone the more directions."""
    tone = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(float)
    tone = (tone.argsort(axis=None).argsort().reshape(tone.shape) + 0.5) / tone.size  # equal shares of every tone
    spacing, thickness = generator.uniform(3.5, 7), int(generator.integers(1, 3))
    first, contrast = generator.uniform(0, np.pi), generator.uniform(0.35, 1)
    ink = np.zeros(tone.shape)
    for index, threshold in enumerate((0.75, 0.5, 0.3, 0.12)):
        angle = first + index * np.pi / 4 + generator.normal(0, 0.1)
        ink = np.maximum(ink, parallel_lines(tone.shape, angle, spacing, thickness, generator) * (tone < threshold))
    edges = cv2.Canny(cv2.GaussianBlur(picture, (0, 0), 1.5), 40, 110) / 255.0
    ink = np.maximum(ink, edges) * contrast * generator.normal(1, 0.1, tone.shape).clip(0.6, 1)
    paper, colour = generator.uniform(215, 255, 3), generator.uniform(0, 70, 3)
    tint = generator.choice([0.0, 0.35])  # sometimes a pale wash of the picture's own colours below
    ground = paper * (1 - tint) + tint * (0.4 * cv2.GaussianBlur(picture, (0, 0), 4) + 0.6 * paper)
    return smooth(ground * (1 - ink[..., None]) + colour * ink[..., None], 0.5)


def parallel_lines(
    shape: tuple[int, ...], angle: float, spacing: float, thickness: int, generator: np.random.Generator
) -> np.ndarray:
    """Hand-drawn parallel lines (H, W) in [0, 1]: broken, not quite straight and not quite evenly spaced."""
    canvas = np.zeros(shape, np.uint8)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    centre, reach = np.array(shape[::-1]) / 2, float(np.hypot(shape[0], shape[1])) / 2
    for offset in np.arange(-reach, reach, spacing):
        position = -reach
        while position < reach:
            length = generator.uniform(15, 60)
            start = centre + along * position + across * (offset + generator.normal(0, 0.12 * spacing))
            end = start + along * length + across * generator.normal(0, 0.2 * spacing)
            first, last = ((point * 16).round().astype(int).tolist() for point in (start, end))
            cv2.line(canvas, first, last, 255, thickness, cv2.LINE_AA, 4)
            position += length + generator.uniform(1, 5)
    return canvas / 255.0


def brush_strokes(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Three layers of strokes, 12 to 3 pixels wide, along the edges of the picture (after Litwinowicz 1997)."""
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 3)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, yy, xy = (cv2.GaussianBlur(v, (0, 0), 6) for v in (dx * dx, dy * dy, dx * dy))
    direction = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2 + generator.normal(0, 0.1)
    canvas = cv2.GaussianBlur(picture, (0, 0), 8)
    height, width = grey.shape
    scale, variation = generator.uniform(0.7, 1.3), generator.uniform(6, 22)
    for thickness, length in ((12 * scale, 40 * scale), (6 * scale, 24 * scale), (3 * scale, 14 * scale)):
        source = cv2.GaussianBlur(picture, (0, 0), thickness / 3)
        count = int(1.5 * height * width / (thickness * length))
        for x, y in zip(generator.integers(0, width, count), generator.integers(0, height, count), strict=True):
            angle = direction[y, x] + generator.normal(0, 0.2)
            step = np.array([np.cos(angle), np.sin(angle)]) * length * generator.uniform(0.3, 0.6)
            colour = (source[y, x] + generator.normal(0, variation) + generator.normal(0, 4, 3)).clip(0, 255)
            ends = np.array([x, y]) + np.stack([-step, step])
            side = np.array([-step[1], step[0]]) / np.linalg.norm(step) * thickness / 2
            ridge = (colour * 0.85, ends + side, 1)  # that a brush leaves at its side
            for tone, points, wide in ((colour, ends, max(1, round(thickness))), ridge):
                first, last = points.astype(int).tolist()
                cv2.line(canvas, first, last, tone.tolist(), wide, cv2.LINE_AA)
    return canvas


def ink_wash(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Flat pools of diluted colour that darken towards their rims, on grained paper."""
    pools = cv2.pyrMeanShiftFiltering(picture, 12, generator.uniform(20, 40)).astype(float)
    saturation = generator.uniform(0.2, 1)
    pools = pools.mean(-1, keepdims=True) * (1 - saturation) + pools * saturation
    rims = np.abs(pools - cv2.GaussianBlur(pools, (0, 0), 2)).max(-1, keepdims=True)
    grain = cv2.GaussianBlur(generator.normal(0, 1, picture.shape[:2]), (0, 0), 1.2)
    flow = cv2.GaussianBlur(generator.normal(0, 1, picture.shape[:2]), (0, 0), 18)
    tone = 10 * grain / grain.std() + 14 * flow / flow.std()
    diluted = 255 - (255 - pools) * generator.uniform(0.6, 0.95)
    return smooth(diluted - 1.5 * rims + tone[..., None] * (diluted < 235), 0)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    values = cv2.GaussianBlur(values, (0, 0), sigma) if sigma else values
    return values.round().clip(0, 255).astype(np.uint8)


PAINTERS: Sequence[Painter] = (mosaic, pixel_art, hatching, brush_strokes, ink_wash)


def painted_over(pictures: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Pictures (3, H, W) uint8, each painted over by one of PAINTERS in turn."""
    results = []
    for index, picture in enumerate(pictures):
        paint = PAINTERS[index % len(PAINTERS)]
        pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        painted = paint(pixels, np.random.default_rng([seed, index]))
        results.append(torch.from_numpy(painted.copy()).permute(2, 0, 1).contiguous())
    return results
