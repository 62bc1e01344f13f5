"""How far results are from the texture of their reference: every content with every reference alone.

    python -m benchmarks.strokes --contents c1.png c2.png --references s1.png s2.png [resolution=512 ...]

The share of the way left, distance(result, reference) / distance(content, reference), on the four finest octaves at 512
px, finest first, and their mean: 1 is the photo, 0 the reference's texture. Distances are those of the metric `texture`
(evaluation/metrics/texture.py). Beside it stands `structure_efficientnet`. `--results` scores pictures that are there
already, named by {content} and {reference}, such as "result/res_{content}_{reference}.png"; `--write` keeps results.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from evaluation.metric import Sample
from evaluation.metrics.texture import distances
from evaluation.registry import build_metrics
from stylegallery.contract import Item
from stylegallery.images import read_image, resize, save
from stylegallery.pipeline import StyleGallery

SIDE = 512  # pixels, of the square root of the area that textures are compared at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", nargs="+", type=Path, required=True)
    parser.add_argument("--references", nargs="+", type=Path, required=True)
    parser.add_argument("--results", help="pattern of pictures to score in place of running the method")
    parser.add_argument("--write", type=Path, help="the folder to keep results in")
    parser.add_argument("settings", nargs="*", help="of the method, as on the command line of run.py")
    args = parser.parse_args()
    method = None if args.results else StyleGallery.from_config(*args.settings)
    ((structure,), _) = build_metrics(["structure_efficientnet"])
    rows, kept = [], []
    for content in args.contents:
        for reference in args.references:
            name = f"{content.stem}_{reference.stem}"
            if method:
                item = Item(name, content, (reference,))
                result = method.stylize(item, torch.Generator().manual_seed(0)).image
            else:
                result = read_image(args.results.format(content=content.stem, reference=reference.stem))
            pictures = (read_image(content), read_image(reference), result)
            photo, painting, made = (resize(picture, SIDE, "keep", 1) for picture in pictures)
            rows.append(np.divide(distances(made, painting), distances(photo, painting)))
            kept.extend(structure([Sample(name, photo, [painting], made)]))
            levels = " ".join(f"{value:.2f}" for value in rows[-1])
            print(f"{name:24s} {levels}  mean {rows[-1].mean():.2f}  structure {kept[-1]:.4f}", flush=True)
            if args.write:
                args.write.mkdir(parents=True, exist_ok=True)
                save(result, args.write / f"{name}.png")
    levels = " ".join(f"{value:.2f}" for value in np.mean(rows, 0))
    print(f"{f'mean of {len(rows)}':24s} {levels}  mean {np.mean(rows):.2f}  structure {np.mean(kept):.4f}")


if __name__ == "__main__":
    main()
