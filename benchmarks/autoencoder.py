"""How much of a picture survives the embedded model's autoencoder: mean PSNR of reconstructions at 256 px.

    python benchmarks/autoencoder.py folder [folder ...]      e.g. content style/VanGogh style/Monet

Folders are read with their subfolders. The last column adds noise of standard deviation 0.2 to the latents.
"""

import argparse
from pathlib import Path

import torch

from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.train_autoencoder import psnr
from stylegallery.images import SUFFIXES, read_image, resize
from stylegallery.weights import locate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    autoencoder = LappedAutoencoder.from_pretrained(locate("embedded") / "vae", dtype=torch.float32)
    for folder in args.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        images = torch.cat([resize(read_image(path), args.size, "square", 8) for path in paths]) * 2 - 1
        print(f"{folder}: {len(paths)} pictures, {psnr(autoencoder, images):.2f} dB, "
              f"noisy {psnr(autoencoder, images, 0.2):.2f} dB")  # fmt: skip


if __name__ == "__main__":
    main()
