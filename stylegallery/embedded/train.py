"""Train the embedded latent diffusion model from a folder of pictures, in four resumable stages.

    python -m stylegallery.embedded.train encoder --data pictures --work outputs/embedded   # minutes
    python -m stylegallery.embedded.train decoder --data pictures --work outputs/embedded
    python -m stylegallery.embedded.train unet    --data pictures --work outputs/embedded   # hours
    python -m stylegallery.embedded.train export  --work outputs/embedded --out stylegallery/embedded/weights

`pictures` holds `photo/` and `art/`. Every stage writes its checkpoint atomically into `--work` and continues
from it; `--minutes` bounds one call. The work folder's `log.csv` keeps the losses.
"""

import argparse
import copy
import csv
import json
import math
import random
import time
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.encoders import EfficientNetEncoder

T = TypeVar("T")

STRIDE = 8
ART_SHARE = 0.35  # art is 6 % of the pictures and what the model is for


def load_pictures(folder: Path, short_side: int | None = None) -> list[Tensor]:
    """All pictures of a folder as uint8 (3, H, W), sides cut to multiples of 16."""
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        if short_side is not None:
            scale = short_side / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        height, width = image.height // 16 * 16, image.width // 16 * 16
        pictures.append(torch.from_numpy(np.array(image)[:height, :width]).permute(2, 0, 1).contiguous())
    return pictures


def split(pictures: list[T]) -> tuple[list[T], list[T]]:
    """Every twentieth picture is held out: (train, held out)."""
    return [p for i, p in enumerate(pictures) if i % 20 != 19], pictures[19::20]


def random_crops(photos: list[Tensor], art: list[Tensor], size: int, batch: int, draw: random.Random) -> Tensor:
    """(batch, 3, size, size) in [-1, 1], mirrored at random."""
    crops = []
    for _ in range(batch):
        picture = draw.choice(art if draw.random() < ART_SHARE else photos)
        top = draw.randrange(picture.shape[1] - size + 1)
        left = draw.randrange(picture.shape[2] - size + 1)
        crop = picture[:, top : top + size, left : left + size]
        crops.append(crop.flip(-1) if draw.random() < 0.5 else crop)
    return torch.stack(crops).float() / 127.5 - 1


def save_checkpoint(path: Path, state: object) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


class Log:
    """Appends (stage, step, seconds, values...) to `log.csv` and prints them."""

    def __init__(self, work: Path, stage: str) -> None:
        self.path, self.stage, self.start = work / "log.csv", stage, time.time()

    def __call__(self, step: int, **values: float) -> None:
        row = [self.stage, step, round(time.time() - self.start), *(f"{k}={v:.4f}" for k, v in values.items())]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)


# --- stage 1: the linear encoder -------------------------------------------------------------------------


def initialise_with_patch_pca(model: LappedAutoencoder, photos: list[Tensor], art: list[Tensor]) -> None:
    """Analysis and synthesis start as the PCA of 8x8 patches, placed in the middle of the longer window."""
    patches = F.unfold(random_crops(photos, art, 64, 2000, random.Random(0)), STRIDE, stride=STRIDE)
    flat = patches.transpose(1, 2).reshape(-1, 3 * STRIDE**2)
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    kernels = vectors.T.flip(0)[: model.config.latent_channels].reshape(-1, 3, STRIDE, STRIDE)
    pad = (model.config.window - STRIDE) // 2
    with torch.no_grad():
        for convolution in (model.analysis, model.synthesis):
            convolution.weight.zero_()
            convolution.weight[:, :, pad : pad + STRIDE, pad : pad + STRIDE] = kernels
            convolution.bias.zero_()


def canonicalise(model: LappedAutoencoder, images: Tensor, exponent: float) -> None:
    """Rotate and scale the latent so that channels are uncorrelated, sorted by the picture energy they carry.

    A channel that carries energy e gets variance proportional to e ** exponent: 1 keeps pixel units, 0 whitens.
    Between the two, an optimiser's steps of equal size in every channel shake fine detail and flat colour about
    equally. Total variance is one per channel.
    """
    with torch.no_grad():
        latents = model.analysis(images).transpose(0, 1).flatten(1)
        covariance = torch.cov(latents).double()
        decoder = model.synthesis.weight.flatten(1).double()
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors @ values.sqrt().diag() @ vectors.T
        energy, rotation = torch.linalg.eigh(root @ (decoder @ decoder.T) @ root)
        energy, rotation = energy.flip(0), rotation.flip(1)
        scale = energy ** (exponent / 2)
        scale = scale / scale.square().mean().sqrt()
        forward = (scale.diag() @ rotation.T @ torch.linalg.inv(root)).float()
        backward = torch.linalg.inv(forward.double()).float()
        model.analysis.weight.copy_(torch.einsum("ij,jchw->ichw", forward, model.analysis.weight))
        mean = latents.mean(1)
        model.analysis.bias.copy_(forward @ (model.analysis.bias - mean))
        offset = torch.einsum("j,jchw->c", mean, model.synthesis.weight) / STRIDE**2
        model.synthesis.bias.add_(offset)
        model.synthesis.weight.copy_(torch.einsum("ji,jchw->ichw", backward, model.synthesis.weight))
        print("channel standard deviations", [round(s, 2) for s in scale.tolist()])


def train_encoder(args: argparse.Namespace) -> None:
    photos, held_out = split(load_pictures(args.data / "photo"))
    art, _ = split(load_pictures(args.data / "art"))
    torch.manual_seed(args.seed)
    model = LappedAutoencoder(latent_channels=args.channels)
    initialise_with_patch_pca(model, photos, art)
    parameters = [*model.analysis.parameters(), *model.synthesis.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    draw, log = random.Random(args.seed), Log(args.work, "encoder")
    check = random_crops(held_out, held_out, 256, 48, random.Random(1))
    for step in range(args.steps):
        images = random_crops(photos, art, 128, 16, draw)
        loss = (model.synthesis(model.analysis(images)) - images)[..., 4:-4, 4:-4].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            log(step, loss=loss.item(), psnr=psnr(model, check))
    canonicalise(model, random_crops(photos, art, 256, 200, draw), args.exponent)
    log(args.steps, psnr=psnr(model, check))
    model.save_pretrained(args.work / "vae")


def psnr(model: LappedAutoencoder, images: Tensor, noise: float = 0.0) -> float:
    """Mean peak signal-to-noise ratio of reconstructions of images (B, 3, H, W) in [-1, 1]."""
    with torch.no_grad():
        ratios = []
        for image in images.split(8):
            latents = model.encode(image).latent_dist.mode()
            latents = latents + noise * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
            error = (model.decode(latents).sample.clamp(-1, 1) - image).square().mean((1, 2, 3)) / 4
            ratios.append(-10 * error.log10())
        return torch.cat(ratios).mean().item()


# --- stage 2: the decoder, on noisy latents --------------------------------------------------------------


def train_decoder(args: argparse.Namespace) -> None:
    photos, held_out = split(load_pictures(args.data / "photo"))
    art, _ = split(load_pictures(args.data / "art"))
    model = LappedAutoencoder.from_pretrained(args.work / "vae")
    model.analysis.requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=args.lr, betas=(0.9, 0.99))
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    step, path = 0, args.work / "decoder.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, average = state["step"], state["average"]
    log, start = Log(args.work, "decoder"), time.time()
    check = random_crops(held_out, held_out, 256, 32, random.Random(1))
    while step < args.steps and time.time() - start < 60 * args.minutes:
        draw = random.Random(f"{args.seed} {step}")
        generator = torch.Generator().manual_seed(draw.randrange(2**62))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, step / 50) * (0.02 + 0.98 * max(0.0, 1 - step / args.steps))
        images = random_crops(photos, art, 128, args.batch, draw).to(memory_format=torch.channels_last)
        latents = model.encode(images).latent_dist.mode()
        sigma = args.noise * torch.rand(args.batch, 1, 1, 1, generator=generator).square()
        latents = latents + sigma * torch.randn(latents.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            residual = model.residual(latents)
        reconstruction = model.synthesis(latents) + residual.float()
        loss = (reconstruction - images).abs().mean() + (reconstruction - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        with torch.no_grad():
            for name, p in model.named_parameters():
                average[name].lerp_(p, 1 - min(0.998, step / (step + 10)))
        if step % 100 == 0 or step == args.steps:
            averaged = LappedAutoencoder.from_config(model.config)
            averaged.load_state_dict(average)
            log(step, loss=loss.item(), psnr=psnr(averaged, check), psnr_noisy=psnr(averaged, check, 0.3))
            save_checkpoint(
                path,
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "average": average},
            )
            averaged.save_pretrained(args.work / "vae")


# --- stage 3: the denoising network ----------------------------------------------------------------------


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_text_encoder(folder: Path) -> Tensor:
    """The pipeline layout wants a text encoder; the model only ever sees the null prompt, so it is tiny and frozen.

    Writes it with its tokenizer and returns the null prompt's embedding (1, 4, 32).
    """
    letters = [*map(chr, range(ord("a"), ord("z") + 1))]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = CLIPTokenizer({token: i for i, token in enumerate(tokens)}, [], model_max_length=4)
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    CLIPTextModel(config).half().save_pretrained(folder / "text_encoder")
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
    identifiers = tokenizer("", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        return text_encoder(identifiers).last_hidden_state


def make_unet() -> UNet2DConditionModel:
    """Stable Diffusion's topology, 16 self-attention layers, at a tenth of its width."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=16,
        out_channels=16,
        block_out_channels=(64, 128, 192, 192),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=4,  # diffusers' name for the number of heads here
        norm_num_groups=16,
    )


def semantic_maps(pictures: list[Tensor], path: Path) -> list[Tensor]:
    """EfficientNet tokens of every picture on its latent grid, (96, H / 8, W / 8) float16, computed once.

    Texture-level (stride 16) and object-level (stride 32) tokens of the doubled picture, each standardised and
    reduced by PCA to 48 half-whitened components, so that no common direction dominates their cosine.
    """
    if path.exists():
        return torch.load(path, weights_only=True)
    levels = []
    for block in (10, 15):
        encoder = EfficientNetEncoder(block=block, scale=2.0)
        maps = []
        for picture in pictures:
            grid = [side // STRIDE for side in picture.shape[-2:]]
            maps.append(F.interpolate(encoder(picture[None] / 255), grid, mode="bilinear")[0].half())
        sample = torch.cat([m.flatten(1)[:, ::29] for m in maps], dim=1).float()
        mean, std = sample.mean(1, keepdim=True), sample.std(1, keepdim=True) + 1e-6
        values, vectors = torch.linalg.eigh(torch.cov((sample - mean) / std))
        projection = vectors[:, -48:].T / values[-48:, None] ** 0.25
        projected = [projection @ ((m.flatten(1).float() - mean) / std) for m in maps]
        levels.append([p.reshape(48, *m.shape[1:]).half() for p, m in zip(projected, maps, strict=True)])
    combined = [torch.cat(pair) for pair in zip(*levels, strict=True)]
    save_checkpoint(path, combined)
    return combined


def recolour(images: Tensor, draw: random.Random) -> Tensor:
    """Turn hue, saturation, contrast and lightness of images (3, H, W) in [-1, 1]: palettes photographs lack."""
    angle, saturation = draw.uniform(-math.pi, math.pi), draw.uniform(0.3, 1.8)
    grey = images.mean(0, keepdim=True)
    axis = 3**-0.5
    cos, sin = math.cos(angle), math.sin(angle) * axis
    third = (1 - cos) / 3
    rotation = torch.tensor(
        [
            [cos + third, third - sin, third + sin],
            [third + sin, cos + third, third - sin],
            [third - sin, third + sin, cos + third],
        ]
    )
    chroma = torch.einsum("ij,jhw->ihw", rotation, images - grey)
    return (grey * draw.uniform(0.7, 1.2) + saturation * chroma + draw.uniform(-0.2, 0.2)).clamp(-1, 1)


def training_batch(
    photos: list[tuple[Tensor, Tensor]], art: list[tuple[Tensor, Tensor]], size: int, batch: int, draw: random.Random
) -> tuple[Tensor, Tensor]:
    """From (picture, semantic map) pairs: images (batch, 3, size, size) in [-1, 1] and their semantic targets
    (batch, 96, size / 8, size / 8)."""
    images, targets = [], []
    for _ in range(batch):
        picture, semantics = draw.choice(art if draw.random() < ART_SHARE else photos)
        height, width = picture.shape[-2:]
        side = draw.randint(size * 3 // 4, min(height, width))
        top, left = draw.randint(0, height - side), draw.randint(0, width - side)
        crop = picture[None, :, top : top + side, left : left + side].float() / 127.5 - 1
        image = F.interpolate(crop, (size, size), mode="bicubic", antialias=True)[0].clamp(-1, 1)
        centres = (torch.arange(size // STRIDE) + 0.5) * STRIDE / size * side
        rows, columns = (centres + top) / height * 2 - 1, (centres + left) / width * 2 - 1
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
        target = F.grid_sample(semantics[None].float(), grid, padding_mode="border", align_corners=False)[0]
        if draw.random() < 0.5:
            image, target = image.flip(-1), target.flip(-1)
        images.append(recolour(image, draw) if draw.random() < 0.35 else image)
        targets.append(target)
    return torch.stack(images), torch.stack(targets)


class AlignedUNet(nn.Module):
    """The UNet and the linear head that reads semantics off the output of `up_blocks[2]`."""

    def __init__(self, prompt: Tensor) -> None:
        super().__init__()
        self.unet = make_unet()
        self.head = nn.Conv2d(self.unet.config.block_out_channels[1], 96, 1)
        self.register_buffer("prompt", prompt, persistent=False)

    def forward(self, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted noise (B, 16, h, w) and semantics (B, 96, h, w)."""
        caught: list[Tensor] = []
        hook = self.unet.up_blocks[2].register_forward_hook(lambda module, inputs, output: caught.append(output))
        noise = self.unet(latents, timesteps, self.prompt.expand(len(latents), -1, -1)).sample
        hook.remove()
        return noise, self.head(caught[0])


def losses(
    model: AlignedUNet, latents: Tensor, targets: Tensor, alpha_bar: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(noise error, misalignment). The last quarter of the batch stays clean and counts for alignment only:
    stages 1 and 3 of the method read features of clean latents, at every timestep."""
    batch = len(latents)
    noisy = batch - batch // 4
    timesteps = torch.randint(0, 1000, (batch,), generator=generator)
    timesteps[: noisy // 2] = timesteps[: noisy // 2] * 3 // 10  # strokes and texture live at low noise
    noise = torch.randn(latents.shape, generator=generator)
    level = alpha_bar[timesteps].view(-1, 1, 1, 1)
    level[noisy:] = 1
    predicted, semantics = model(level.sqrt() * latents + (1 - level).sqrt() * noise, timesteps)
    error = (predicted[:noisy].float() - noise[:noisy]).square().mean()
    return error, 1 - F.cosine_similarity(semantics.float(), targets, dim=1).mean()


def train_unet(args: argparse.Namespace) -> None:
    photos, art = load_pictures(args.data / "photo"), load_pictures(args.data / "art")
    maps = semantic_maps(photos + art, args.work / "tokens.pt")
    photo_pairs, held_photos = split(list(zip(photos, maps[: len(photos)], strict=True)))
    art_pairs, held_art = split(list(zip(art, maps[len(photos) :], strict=True)))
    autoencoder = LappedAutoencoder.from_pretrained(args.work / "vae")
    alpha_bar = make_scheduler().alphas_cumprod
    torch.manual_seed(args.seed)
    model = AlignedUNet(make_text_encoder(args.work)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    average = copy.deepcopy(model)
    step, path = 0, args.work / "unet.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad():
            return autoencoder.encode(images).latent_dist.mode().contiguous(memory_format=torch.channels_last)

    check_images, check_targets = training_batch(held_photos, held_art, args.size, 32, random.Random(1))
    check_latents = encode(check_images)
    log, start, running = Log(args.work, "unet"), time.time(), []
    while step < args.steps and time.time() - start < 60 * args.minutes:
        draw = random.Random(f"{args.seed} {step}")
        generator = torch.Generator().manual_seed(draw.randrange(2**62))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, step / 200) * (0.02 + 0.98 * (1 - step / args.steps))
        images, targets = training_batch(photo_pairs, art_pairs, args.size, args.batch, draw)
        with torch.autocast("cpu", torch.bfloat16):
            error, misalignment = losses(model, encode(images), targets, alpha_bar, generator)
        optimizer.zero_grad()
        (error + 0.5 * misalignment).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.998, step / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        running.append((error.item(), misalignment.item()))
        if step % 100 == 0 or step == args.steps:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                held = losses(average, check_latents, check_targets, alpha_bar, torch.Generator().manual_seed(0))
            noise_error, alignment = np.mean(running, axis=0)
            running = []
            log(step, noise=noise_error, alignment=alignment, held_noise=held[0].item(), held_alignment=held[1].item())
            save_checkpoint(
                path,
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                },
            )


# --- stage 4: the shipped folder -------------------------------------------------------------------------


def export(args: argparse.Namespace) -> None:
    """Write the averaged weights as a diffusers folder, fp16 safetensors."""
    prompt = make_text_encoder(args.out)
    model = AlignedUNet(prompt)
    model.load_state_dict(torch.load(args.work / "unet.pt", weights_only=True)["average"])
    model.unet.half().save_pretrained(args.out / "unet")
    LappedAutoencoder.from_pretrained(args.work / "vae").half().save_pretrained(args.out / "vae")
    make_scheduler().save_pretrained(args.out / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "vae": ["stylegallery.embedded.autoencoder", "LappedAutoencoder"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (args.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    for name, run, steps, batch, lr in [
        ("encoder", train_encoder, 800, 16, 1e-3),
        ("decoder", train_decoder, 6000, 16, 1e-3),
        ("unet", train_unet, 6000, 8, 6e-4),
    ]:
        stage = stages.add_parser(name)
        stage.set_defaults(run=run)
        stage.add_argument("--data", type=Path, required=True)
        stage.add_argument("--work", type=Path, required=True)
        stage.add_argument("--steps", type=int, default=steps)
        stage.add_argument("--batch", type=int, default=batch)
        stage.add_argument("--lr", type=float, default=lr)
        stage.add_argument("--minutes", type=float, default=float("inf"))
        stage.add_argument("--seed", type=int, default=0)
    stages.choices["encoder"].add_argument("--channels", type=int, default=16)
    stages.choices["encoder"].add_argument("--exponent", type=float, default=0.5, help="see canonicalise")
    stages.choices["decoder"].add_argument("--noise", type=float, default=0.4, help="largest latent noise")
    stages.choices["unet"].add_argument("--size", type=int, default=256, help="picture side in pixels")
    final = stages.add_parser("export")
    final.set_defaults(run=export)
    final.add_argument("--work", type=Path, required=True)
    final.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.run(args)


if __name__ == "__main__":
    main()
