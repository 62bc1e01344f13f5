"""Stages 1 and 2: the linear encoder in closed form and by descent, then the decoder on noisy latents."""

import argparse
import random
import time
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.checkpoint import Log, save_checkpoint
from stylegallery.embedded.pictures import STRIDE, load_pictures, random_crops, split

CROP, CHECK = 128, 256  # pixels: sides of the crops that train and that measure


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
    photos, held_out = split(load_pictures(args.data / "photo"))
    art, _ = split(load_pictures(args.data / "art"))
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
    check = random_crops(held_out, held_out, CHECK, 32, random.Random(1))
    ended = step >= args.steps
    while not ended:
        draw = random.Random(f"{args.seed} {step}")
        generator = torch.Generator().manual_seed(draw.randrange(2**62))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, step / 50) * (0.02 + 0.98 * max(0.0, 1 - step / args.steps))
        images = random_crops(photos, art, CROP, args.batch, draw).to(memory_format=torch.channels_last)
        latents = model.encode(images).latent_dist.mode()
        sigma = args.noise * torch.rand(args.batch, 1, 1, 1, generator=generator).square()
        latents = latents + sigma * torch.randn(latents.shape, generator=generator)
        reconstruction = model.decode(latents).sample
        loss = (reconstruction - images).abs().mean() + (reconstruction - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        with torch.no_grad():
            for name, p in model.named_parameters():
                average[name].lerp_(p, 1 - min(0.998, step / (step + 10)))
        ended = step == args.steps or time.time() - start > 60 * args.minutes
        if step % 100 == 0 or ended:
            averaged = LappedAutoencoder.from_config(model.config)
            averaged.load_state_dict(average)
            log(step, loss=loss.item(), psnr=psnr(averaged, check), psnr_noisy=psnr(averaged, check, 0.3))
            save_checkpoint(
                path,
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "average": average},
            )
            averaged.save_pretrained(args.work / "vae")
