"""Stages 1 and 2: the linear encoder in closed form and by descent, then the decoder on noisy latents.

The decoder learns from the distance of pixels and from what `critics` says.
"""

import argparse
import copy
import random
import time
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.checkpoint import (
    Log,
    average_weights,
    mixed_precision,
    resume,
    save_model,
    save_parts,
    step_generators,
    trained,
)
from stylegallery.embedded.critics import PatchDiscriminator, Perception, balance, cell_pattern, texture_distance
from stylegallery.embedded.pictures import STRIDE, load_art, load_photos, random_crops, split
from stylegallery.errors import InputError
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.factory import from_directory

CROP, CHECK = 128, 256  # pixels: sides of the crops that train and that measure
PROJECTION_TIMESTEP = 100  # that of the preset


def initialise_with_patch_pca(model: LappedAutoencoder, photos: list[Tensor], art: list[Tensor]) -> None:
    """Analysis and synthesis start as the PCA of 8x8 patches, placed in the middle of the longer window."""
    patches = F.unfold(random_crops(photos, art, 64, 2000, random.Random(0)), STRIDE, stride=STRIDE)
    flat = patches.transpose(1, 2).reshape(-1, 3 * STRIDE**2)
    vectors = torch.linalg.eigh(torch.cov(flat.T)).eigenvectors
    kernels = vectors.T.flip(0)[: model.config.latent_channels].reshape(-1, 3, STRIDE, STRIDE)
    pad = (model.config.window - STRIDE) // 2
    with torch.no_grad():
        for convolution in (model.analysis, model.synthesis):
            for parameter in convolution.parameters():
                parameter.zero_()
            convolution.weight[:, :, pad : pad + STRIDE, pad : pad + STRIDE] = kernels


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
        analysis_bias, synthesis_bias = cast(Tensor, model.analysis.bias), cast(Tensor, model.synthesis.bias)
        analysis_bias.copy_(forward @ (analysis_bias - mean))
        offset = torch.einsum("j,jchw->c", mean, model.synthesis.weight) / STRIDE**2
        synthesis_bias.add_(offset)
        model.synthesis.weight.copy_(torch.einsum("ji,jchw->ichw", backward, model.synthesis.weight))
        print("channel standard deviations", [round(s, 2) for s in scale.tolist()])


def train_encoder(args: argparse.Namespace) -> None:
    if (args.work / "decoder.pt").exists():
        raise InputError(f"{args.work} has a decoder of another encoder; pass another --work, or remove its decoder.pt")
    photos, held_out = split(load_photos(args.data, CHECK))
    art, _ = split(load_art(args.data, CHECK))
    torch.manual_seed(args.seed)
    model = LappedAutoencoder(latent_channels=args.channels)
    initialise_with_patch_pca(model, photos, art)
    parameters = [*model.analysis.parameters(), *model.synthesis.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    draw, log = random.Random(args.seed), Log(args.work, "encoder")
    check = random_crops(held_out, held_out, CHECK, 48, random.Random(1))
    for step in range(args.steps):
        images = random_crops(photos, art, CROP, args.batch, draw)
        loss = (model.synthesis(model.analysis(images)) - images)[..., 4:-4, 4:-4].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            log(step, loss=loss.item(), psnr=psnr(model, check))
    canonicalise(model, random_crops(photos, art, CHECK, 200, draw), args.exponent)
    log(args.steps, psnr=psnr(model, check))
    save_model(args.work / "vae", model)


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


def spoilt(latents: Tensor, noise: float, model: DiffusionModel | None, generator: torch.Generator) -> Tensor:
    """Latents (B, C, h, w) as a decoder meets them: mostly a little noise; in the second half of the batch, where there
    is a model, more of it, and then its projection, as at the end of stage 3.

    An optimised latent is neither the encoding of a picture nor one with white noise. A decoder that never saw one
    draws specks where it should paint flat.
    """
    share = torch.rand(len(latents), 1, 1, 1, generator=generator)
    projected = len(latents) // 2 if model else len(latents)
    share[:projected] **= 4
    latents = latents + noise * share * torch.randn(latents.shape, generator=generator)
    if model:
        with mixed_precision(latents.device):
            latents[projected:] = model.project(latents[projected:], PROJECTION_TIMESTEP)
    return latents


def train_decoder(args: argparse.Namespace) -> None:
    start_from = trained(args.initial or args.work / "vae", "run the stage encoder first, or check --initial")
    model = LappedAutoencoder.from_pretrained(start_from, dtype=torch.float32)
    whole = from_directory(str(args.unet), "cpu", "float32", None, "ddim", False, False) if args.unet else None
    photos, held_photos = split(load_photos(args.data, CHECK))
    art, held_art = split(load_art(args.data, CHECK))
    torch.manual_seed(args.seed)
    model.analysis.requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    judge, perception = PatchDiscriminator().to(memory_format=torch.channels_last), Perception()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=args.lr, betas=(0.5, 0.99))
    judge_optimizer = torch.optim.Adam(judge.parameters(), lr=2 * args.lr, betas=(0.5, 0.99))
    average = copy.deepcopy(model)
    parts = {
        "model": model, "judge": judge, "average": average, "optimizer": optimizer, "judge_optimizer": judge_optimizer
    }  # fmt: skip
    path = args.work / "decoder.pt"
    step = resume(path, parts, torch.device("cpu"))
    log, start, running = Log(args.work, "decoder"), time.time(), []
    checks = [random_crops(held, held, CHECK, 24, random.Random(1)) for held in (held_photos, held_art)]
    halved, ended = mixed_precision(torch.device("cpu")), step >= args.steps
    while not ended:
        draw = random.Random(f"{args.seed} {step}")
        generator = step_generators(args.seed, step, torch.device("cpu"))[1]
        adversary = step >= args.adversarial_from
        for group, rate in ((optimizer, args.lr), (judge_optimizer, 2 * args.lr)):
            group.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * (1 - step / args.steps))
        images = random_crops(photos, art, CROP, args.batch, draw).to(memory_format=torch.channels_last)
        with torch.no_grad():
            latents = spoilt(model.encode(images).latent_dist.mode(), args.noise, whole, generator)
        with halved:
            refinement = model.residual(latents)
        decoded = model.synthesis(latents) + refinement  # in half precision, whole pictures would lose fine detail
        distortion, textures = (decoded - images).abs().mean(), texture_distance(decoded, images, generator)
        with halved:
            perceived = perception(decoded, images)
        grid = cell_pattern(decoded - images, STRIDE)
        loss = distortion + args.perceptual * perceived + args.texture * textures + args.grid * grid
        if adversary:
            judge.requires_grad_(False)
            fooled = -judge(decoded).mean()
            loss = loss + args.adversarial * balance(distortion, fooled, decoded) * fooled
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        told = torch.zeros(())
        if adversary:
            judge.requires_grad_(True)
            told = (F.relu(1 - judge(images)) + F.relu(1 + judge(decoded.detach()))).mean()  # hinge
            judge_optimizer.zero_grad()
            told.backward()
            judge_optimizer.step()
        step += 1
        average_weights(average, model, min(0.999, step / (step + 10)))
        running.append(torch.stack([distortion, perceived, textures, grid, told]).detach())
        ended = step == args.steps or time.time() - start > 60 * args.minutes
        if step % 100 == 0 or ended:
            names = ("distortion", "perception", "texture", "grid", "judge")
            losses = dict(zip(names, torch.stack(running).mean(0).tolist(), strict=True))
            running = []
            photo, painting = (psnr(average, check) for check in checks)
            log(step, **losses, psnr_photo=photo, psnr_art=painting, finest=finest_octave(average, checks[1]))
            save_parts(path, parts, step)
            save_model(args.work / "vae", average)


def finest_octave(model: LappedAutoencoder, images: Tensor) -> float:
    """What share of the strength of the finest octave of images (B, 3, H, W) a reconstruction has: 1 is all of it."""
    with torch.no_grad():
        pairs = ((model.decode(model.encode(i).latent_dist.mode()).sample, i) for i in images.split(8))
        strengths = [[(x - F.avg_pool2d(x, 3, 1, 1)).abs().mean() for x in pair] for pair in pairs]
    return float(sum(made for made, _ in strengths) / sum(real for _, real in strengths))
