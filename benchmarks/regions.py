"""Does stage 1 find regions whose borders are known? Composites of 3-4 materials, cut from the photographs and textures
that scikit-image and scikit-learn bundle, scored by the adjusted Rand index against K-means on raw colour.

    python benchmarks/regions.py [--count 24] [--seed 0] [--show outputs/regions.png] [NAME=VALUE ...]

Both sides choose K by silhouette. A composite's region shows one material (fur, wood, leaves, petals, brick, ...),
whose colours vary within and overlap with its neighbours'.
"""

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_image
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import Tensor

from stylegallery.figures import colours, overlay
from stylegallery.images import to_pixels
from stylegallery.pipeline import StyleGallery
from stylegallery.regions import region_count, resize_labels
from stylegallery.segmentation import find_regions


def known_regions(count: int, size: int, generator: np.random.Generator) -> Tensor:
    """A label map (size, size) of `count` regions with smoothly bent borders, each at least an eighth of the area."""
    while True:
        centres = generator.uniform(0.15, 0.85, (count, 2)) * size
        bend = [ndimage.gaussian_filter(generator.normal(size=(size, size)), size / 12) for _ in range(2)]
        rows, columns = np.mgrid[:size, :size] + np.stack(bend) / np.std(bend) * size * 0.04
        distances = (rows[None] - centres[:, :1, None]) ** 2 + (columns[None] - centres[:, 1:, None]) ** 2
        labels = distances.argmin(0)
        if np.bincount(labels.ravel(), minlength=count).min() > size**2 / 8:
            return torch.from_numpy(labels) + 1


# name -> (picture, top, left, side): squares of one material each
MATERIALS = {
    "fur": ("chelsea", 160, 40, 100),
    "wood": ("coffee", 240, 490, 110),
    "leaves": ("china", 325, 410, 100),
    "facade": ("china", 160, 110, 180),
    "petals": ("flower", 140, 210, 190),
    "shade": ("flower", 40, 470, 160),
    "tissue": ("immunohistochemistry", 0, 0, 200),
    "stars": ("hubble_deep_field", 100, 100, 300),
    "brick": ("brick", 0, 0, 512),
    "grass": ("grass", 0, 0, 512),
    "gravel": ("gravel", 0, 0, 512),
}


def material(name: str, size: int, generator: np.random.Generator) -> Tensor:
    """A random mirrored crop of a material, (1, 3, size, size) in [0, 1]; grey textures get two random colours."""
    picture, top, left, side = MATERIALS[name]
    bundled = picture in ("china", "flower")
    pixels = load_sample_image(f"{picture}.jpg") if bundled else getattr(skimage.data, picture)()
    square = torch.from_numpy(pixels[top : top + side, left : left + side].astype(np.float32) / 255)
    if square.ndim == 2:
        dark, light = generator.uniform(0, 0.5, 3), generator.uniform(0.5, 1, 3)
        square = torch.from_numpy(dark + (light - dark) * square.numpy()[..., None]).float()
    crop = int(side * generator.uniform(0.6, 1))
    top, left = generator.integers(0, side - crop + 1, 2)
    part = square[top : top + crop, left : left + crop].permute(2, 0, 1)[None]
    part = part.flip(-1) if generator.random() < 0.5 else part
    return F.interpolate(part, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


def composite(count: int, size: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Image (1, 3, size, size) of `count` different materials, and its label map."""
    labels = known_regions(count, size, generator)
    image = torch.zeros(1, 3, size, size)
    for label, name in enumerate(generator.choice(list(MATERIALS), count, replace=False), 1):
        image = torch.where(labels == label, material(name, size, generator), image)
    return image, labels


def colour_kmeans(image: Tensor, grid: tuple[int, int], clusters: tuple[int, int], seed: int) -> np.ndarray:
    """K-means labels of mean colours on the grid, K by silhouette: what stage 1 would be without a model."""
    points = F.adaptive_avg_pool2d(image, grid)[0].flatten(1).T.numpy()
    labellings = [
        KMeans(k, n_init=10, random_state=seed).fit_predict(points) for k in range(clusters[0], clusters[1] + 1)
    ]
    return max(labellings, key=lambda labels: silhouette_score(points, labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--show", type=Path, help="write the composites with the regions found")
    parser.add_argument("settings", nargs="*", help="of the method, as on the command line of run.py")
    args = parser.parse_args()
    method, generator = StyleGallery.from_config(*args.settings), np.random.default_rng(args.seed)
    settings = method.segmentation
    ours, plain, rows = [], [], []
    for index in range(args.count):
        image, truth = composite(3 + index % 2, args.size, generator)
        (inversion,) = method.analyser.inverted([image])
        found = find_regions(inversion, image, settings, seed=index).labels
        grid = (found.shape[0], found.shape[1])
        flat_truth = resize_labels(truth, grid).flatten().numpy()
        ours.append(adjusted_rand_score(flat_truth, found.flatten().numpy()))
        plain.append(adjusted_rand_score(flat_truth, colour_kmeans(image, grid, settings.clusters, index)))
        print(
            f"{index:3d}  regions {3 + index % 2} found {region_count(found)}  "
            f"ARI {ours[-1]:.3f}  colour {plain[-1]:.3f}"
        )
        truth_overlay = overlay(image, truth, colours(region_count(truth)))
        rows.append(np.hstack([to_pixels(image), truth_overlay, overlay(image, found, colours(region_count(found)))]))
    print(f"mean adjusted Rand index over {args.count} composites: stage 1 {np.mean(ours):.3f}, "
          f"colour K-means {np.mean(plain):.3f}, difference {np.mean(ours) - np.mean(plain):.3f}")  # fmt: skip
    if args.show:
        columns = [np.vstack(rows[start::3]) for start in range(3)] if len(rows) % 3 == 0 else [np.vstack(rows)]
        Image.fromarray(np.hstack(columns)).save(args.show)


if __name__ == "__main__":
    main()
