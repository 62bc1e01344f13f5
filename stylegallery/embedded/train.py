"""Train the embedded latent diffusion model from a folder of pictures, in four resumable stages.

    python -m stylegallery.embedded.train encoder --data pictures --work outputs/embedded   # a minute
    python -m stylegallery.embedded.train decoder --data pictures --work outputs/embedded   # hours
    python -m stylegallery.embedded.train unet    --data pictures --work outputs/embedded   # hours
    python -m stylegallery.embedded.train export  --work outputs/embedded --out stylegallery/embedded/weights

`pictures` holds `photo/` and `art/`, and `photo_open/` and `art_public_domain/` where there are more. Decoder and
UNet write checkpoints atomically into `--work` and continue from them; `--minutes` bounds one call. The work folder's
`log.csv` keeps the losses. `unet --initial FOLDER` starts from the UNet of a diffusers folder.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from stylegallery.command import explained_errors
from stylegallery.errors import InputError
from stylegallery.files import writable


def export(args: argparse.Namespace) -> None:
    """Write the averaged weights as a diffusers folder, fp16 safetensors."""
    import torch

    from stylegallery.embedded.autoencoder import LappedAutoencoder
    from stylegallery.embedded.checkpoint import resume, trained
    from stylegallery.embedded.train_unet import GuidedUNet, make_scheduler, make_text_encoder

    autoencoder = trained(args.work / "vae", "run the stages encoder and decoder first")
    if not (args.work / "unet.pt").exists():
        raise InputError(f"{args.work} has no unet.pt; run the stage unet first")
    args.out.mkdir(parents=True, exist_ok=True)
    model = GuidedUNet(make_text_encoder(args.out))
    resume(args.work / "unet.pt", {"average": model}, torch.device("cpu"))
    model.unet.half().save_pretrained(args.out / "unet")
    LappedAutoencoder.from_pretrained(autoencoder).half().save_pretrained(args.out / "vae")
    make_scheduler().save_pretrained(args.out / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "paints_from_noise": False,
        "vae": ["stylegallery.embedded.autoencoder", "LappedAutoencoder"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (args.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"it must be {least} or more, not {text}")
        return int(text)

    return number


def rate(text: str) -> float:
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"it must lie between 0 and 1, not {text}")
    return float(text)


def side(text: str) -> int:
    if int(text) < 64 or int(text) % 8:
        raise argparse.ArgumentTypeError(f"it must be a multiple of 8 from 64 on, not {text}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    for name, steps, batch, lr in [("encoder", 800, 16, 1e-3), ("decoder", 20000, 8, 1e-4), ("unet", 6000, 8, 6e-4)]:
        stage = stages.add_parser(name)
        stage.add_argument("--data", type=Path, required=True)
        stage.add_argument("--work", type=Path, required=True)
        stage.add_argument("--steps", type=at_least(1), default=steps)
        stage.add_argument("--batch", type=at_least(2 if name == "unet" else 1), default=batch)
        stage.add_argument("--lr", type=rate, default=lr)
        stage.add_argument("--seed", type=int, default=0)
    for name in ("decoder", "unet"):
        stages.choices[name].add_argument("--minutes", type=float, default=float("inf"), help="of this call")
    stages.choices["encoder"].add_argument("--channels", type=at_least(1), default=16)
    stages.choices["encoder"].add_argument("--exponent", type=float, default=0.5, help="see canonicalise")
    decoder = stages.choices["decoder"]
    decoder.add_argument("--noise", type=float, default=0.4, help="largest latent noise")
    decoder.add_argument("--perceptual", type=float, default=0.1, help="weight of what EfficientNet sees")
    decoder.add_argument("--texture", type=float, default=1.0, help="weight of the distance of textures")
    decoder.add_argument("--grid", type=float, default=10.0, help="weight of what repeats in every latent cell")
    decoder.add_argument("--adversarial", type=float, default=0.75, help="weight of the discriminator")
    decoder.add_argument("--initial", type=Path, help="the folder of a trained autoencoder to start from")
    decoder.add_argument("--unet", type=Path, help="a diffusers folder: half of the latents pass through its UNet")
    decoder.add_argument("--adversarial-from", type=int, default=4000, help="step: before it, no discriminator")
    unet = stages.choices["unet"]
    unet.add_argument("--size", type=side, default=256, help="picture side in pixels")
    unet.add_argument("--device", default="auto")
    unet.add_argument("--checkpoint-every", type=at_least(1), default=100, help="steps")
    unet.add_argument("--initial", type=Path, help="a diffusers folder whose UNet to start from")
    final = stages.add_parser("export")
    final.add_argument("--work", type=Path, required=True)
    final.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    # diffusers and PyTorch take seconds to import, which --help and a wrong option need not wait for.
    from stylegallery.embedded.train_autoencoder import train_decoder, train_encoder
    from stylegallery.embedded.train_unet import train_unet

    run = {"encoder": train_encoder, "decoder": train_decoder, "unet": train_unet, "export": export}[args.stage]
    with explained_errors():
        with writable(args.work, "pass another --work"):
            args.work.mkdir(parents=True, exist_ok=True)
        run(args)


if __name__ == "__main__":
    main()
