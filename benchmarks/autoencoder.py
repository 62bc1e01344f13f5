"""How much of a picture survives the embedded model's autoencoder: means over the pictures of every folder.

    python benchmarks/autoencoder.py folder [folder ...]      e.g. content style/VanGogh style/Monet

Folders are read with their subfolders. At 256 px it is the PSNR of reconstructions, also with noise of standard
deviation 0.2 on the latents; at 512 px their texture distance to the picture (evaluation/metrics/texture.py) on four
octaves, finest first. `--write` keeps the reconstructions at 512 px, for the eye and for benchmarks/grid.py.
"""

import argparse
from pathlib import Path

import torch

from evaluation.metrics.texture import distances
from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.train_autoencoder import psnr
from stylegallery.images import read_image, resize, to_pixels, write_png
from stylegallery.picture_files import SUFFIXES
from stylegallery.weights import locate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--vae", type=Path, default=locate("embedded") / "vae", help="the folder of an autoencoder")
    parser.add_argument("--every", type=int, default=1, help="2 looks at every second picture, and so on")
    parser.add_argument("--write", type=Path, help="the folder to keep reconstructions in")
    args = parser.parse_args()
    autoencoder = LappedAutoencoder.from_pretrained(args.vae, dtype=torch.float32)
    for folder in args.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:: args.every]
        pictures = [read_image(path) for path in paths]
        small = torch.cat([resize(picture, 256, "square", 8) for picture in pictures]) * 2 - 1
        textures = []
        for path, picture in zip(paths, pictures, strict=True):
            image = resize(picture, 512, "square", 8)
            with torch.no_grad():
                latents = autoencoder.encode(image * 2 - 1).latent_dist.mode()
                made = (autoencoder.decode(latents).sample / 2 + 0.5).clamp(0, 1)
            textures.append(distances(made, image))
            if args.write:
                (args.write / folder.name).mkdir(parents=True, exist_ok=True)
                write_png(args.write / folder.name / f"{path.parent.name}_{path.stem}.png", to_pixels(made))
        levels = " ".join(f"{level:.3f}" for level in torch.tensor(textures).mean(0).tolist())
        print(f"{folder}: {len(paths)} pictures, {psnr(autoencoder, small):.2f} dB, "
              f"noisy {psnr(autoencoder, small, 0.2):.2f} dB, texture {levels}")  # fmt: skip


if __name__ == "__main__":
    main()
