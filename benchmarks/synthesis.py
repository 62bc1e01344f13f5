"""What textures the energy can synthesise without a content: what it cannot paint from noise, it will not transfer.

    python -m benchmarks.synthesis [model.path=FOLDER method.guidance.attention_scale=3 ...]

Twelve textures that no model of this repository was trained on: a crop of each bundled reference, bundled photos
painted over by rules, and the materials of scikit-image. Stage 3 starts from noise with the style loss alone over the
whole picture. Printed for each: the texture distance (evaluation/metrics/texture.py) of the result to the source, by
that of the noise it started from, the same of the source decoded again, which no result can be better than, and
levels finest first. 0 is the source's texture, 1 nothing learnt. `--write` keeps the pictures: source, decoded, result.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import skimage.data
import torch
from torch import Tensor

from benchmarks.subjects import SAMPLES
from evaluation.metrics.texture import distances
from stylegallery.contract import Match
from stylegallery.embedded import painting
from stylegallery.guidance import GuidanceConfig, Scene, guidance_timesteps, optimise_together
from stylegallery.images import read_image, resize, to_pixels, write_png
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.pipeline import StyleGallery
from stylegallery.segmentation import Segmentation

MATERIALS = ("brick", "grass", "gravel")
PAINTED = {
    "mosaic": (painting.mosaic, "china.jpg"),
    "hatching": (painting.hatching, "astronaut.jpg"),
    "strokes": (painting.brush_strokes, "flower.jpg"),
    "wash": (painting.ink_wash, "rocket.jpg"),
}


def textures(side: int) -> Iterator[tuple[str, Tensor]]:
    """Names and pictures (1, 3, side, side) in [0, 1], each a crop from the middle at 100 %."""
    for path in sorted((SAMPLES / "style").iterdir()):
        yield path.stem, middle(resize(read_image(path), 512, "keep", 8), side)
    for name, (paint, photo) in PAINTED.items():
        pixels = (resize(read_image(SAMPLES / "content" / photo), 512, "keep", 8)[0] * 255).byte()
        made = paint(pixels.permute(1, 2, 0).numpy(), np.random.default_rng(0))
        yield name, middle(torch.from_numpy(made).permute(2, 0, 1)[None].float() / 255, side)
    for name in MATERIALS:
        grey = torch.from_numpy(getattr(skimage.data, name)()).float() / 255
        yield name, middle(grey.expand(1, 3, -1, -1), side)


def middle(image: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def synthesised(
    model: DiffusionModel, sources: list[Tensor], config: GuidanceConfig, updates: int, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Latents (1, C, h, w) painted from noise after each source, and the noise."""
    scenes, noises = [], []
    for number, source in enumerate(sources):
        latent = model.encode(source)
        generator = torch.Generator().manual_seed(seed + number)
        noise = torch.randn(latent.shape, generator=generator).to(latent) * latent.std() + latent.mean()
        everything = torch.ones(latent.shape[-2:], dtype=torch.int64)
        reference, content = (Segmentation(everything, each, each) for each in (latent, noise))
        scenes.append(Scene(content, [reference], [Match(1, 1, 1, 1.0, 1.0, 1.0, 1.0, True)]))
        noises.append(noise)
    per_timestep = max(1, updates // len(guidance_timesteps(model, config)))
    extras = replace(config.extras, initial="content", keep_region_means=False)
    config = replace(config, content_weight=0.0, iterations=per_timestep, extras=extras)
    found = optimise_together(model, scenes, config, [lambda *_: None for _ in scenes])
    return [latent for latent, _ in found], noises


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="of the method, as on the command line of run.py")
    parser.add_argument("--side", type=int, default=192, help="pixels")
    parser.add_argument("--updates", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of textures")
    parser.add_argument("--write", type=Path, help="the folder to keep pictures in")
    args = parser.parse_args()
    method = StyleGallery.from_config(*args.settings)
    chosen = [(name, image) for name, image in textures(args.side) if not args.only or name in args.only]
    shares, floors = [], []
    for name, source in chosen:
        (latent,), (noise,) = synthesised(method.model, [source], method.guidance, args.updates, args.seed)
        result, start, decoded = (method.model.decode(z).cpu() for z in (latent, noise, method.model.encode(source)))
        far, least, got = (np.array(distances(image, source)) for image in (start, decoded, result))
        shares.append(got / far)
        floors.append(least / far)
        levels = " ".join(f"{value:.2f}" for value in shares[-1])
        print(f"{name:20s} {shares[-1].mean():.2f}  decoded again {floors[-1].mean():.2f}  levels {levels}", flush=True)
        if args.write:
            args.write.mkdir(parents=True, exist_ok=True)
            write_png(args.write / f"{name}.png", to_pixels(torch.cat([source, decoded, result], -1)))
    levels = " ".join(f"{value:.2f}" for value in np.mean(shares, 0))
    mean, least = np.mean(shares), np.mean(floors)
    print(f"mean of {len(chosen):2d} textures   {mean:.2f}  decoded again {least:.2f}  levels {levels}")


if __name__ == "__main__":
    main()
