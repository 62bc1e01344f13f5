"""Stage 3: the denoising network, with semantics drawn into its features and texture into its attention.

Trained on noise alone, a small UNet has features that follow colour, and attends to almost everything alike: what a
query reads is an average that no stroke survives. The method cuts regions along features of the UNet
(`recorded_features`) and compares the outputs of the last six self-attention layers. So a linear head on those features
has to tell what EfficientNet sees there, and one on every such output the latents around its token.
"""

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stylegallery.devices import pick_device
from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.checkpoint import (
    Log,
    average_weights,
    mixed_precision,
    resume,
    save_parts,
    step_generators,
    trained,
)
from stylegallery.embedded.pictures import load_picture_banks, training_batch
from stylegallery.models.unet import record_self_attention, recorded_features, self_attention_layers

LAYERS = range(10, 16)  # the self-attention layers that the method reads
SEMANTIC_CHANNELS = 88
WARM_UP = 150  # steps in which only the heads of a trained network learn


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


class GuidedUNet(nn.Module):
    """The UNet with a linear head that reads semantics off its features, and one on the attention output of every
    layer in LAYERS that reads texture."""

    def __init__(self, prompt: Tensor) -> None:
        super().__init__()
        self.unet = make_unet()
        self.semantics = nn.Conv2d(self.unet.config.block_out_channels[1], SEMANTIC_CHANNELS, 1)
        names = self_attention_layers(self.unet)
        widths = [self.unet.get_submodule(names[layer]).to_q.out_features for layer in LAYERS]
        channels, finest = self.unet.config.in_channels, min(widths)
        self.texture = nn.ModuleList(
            nn.Linear(width, channels * (3 if width == finest else 4) ** 2) for width in widths
        )
        self.prompt: Tensor
        self.register_buffer("prompt", prompt, persistent=False)

    def forward(self, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Predicted noise (B, 16, h, w), semantics (B, 88, h, w), and texture of every layer (B, tokens, patch)."""
        with recorded_features(self.unet) as features, record_self_attention(self.unet, LAYERS) as records:
            noise = self.unet(latents, timesteps, self.prompt.expand(len(latents), -1, -1)).sample
        outputs = [record.output.transpose(1, 2).flatten(2) for record in records]
        texture = [head(output) for head, output in zip(self.texture, outputs, strict=True)]
        return noise, self.semantics(features[0]), texture

    def sharpen(self, factor: float) -> None:
        """Enlarge the keys of LAYERS; queries, which the content loss compares, keep their size."""
        names = self_attention_layers(self.unet)
        with torch.no_grad():
            for layer in LAYERS:
                self.unet.get_submodule(names[layer]).to_k.weight.mul_(factor)


def surroundings(latents: Tensor, tokens: int) -> Tensor:
    """Latents (B, C, h, w) in and one cell around every token of a layer, (B, tokens, C (r + 2)²), r cells a side."""
    ratio = round((latents.shape[-2] * latents.shape[-1] / tokens) ** 0.5)
    standard = (latents - latents.mean((0, 2, 3), keepdim=True)) / latents.std((0, 2, 3), keepdim=True)
    return F.unfold(standard, ratio + 2, padding=1, stride=ratio).transpose(1, 2)


def spread_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Timesteps (count,): three eighths of them below 300, where strokes and texture live, the others anywhere."""
    timesteps = torch.randint(0, 1000, (count,), generator=generator, device=generator.device)
    low = slice(count * 3 // 8)
    timesteps[low] = timesteps[low] * 3 // 10
    return timesteps


def losses(
    model: GuidedUNet, latents: Tensor, targets: Tensor, alpha_bar: Tensor, generator: torch.Generator
) -> Tensor:
    """Noise error, misalignment and texture error (3,); 1 is that of knowing nothing.

    The second half of the batch stays clean: stages 1 and 3 of the method read features of clean latents, at every
    timestep. Texture is read there alone.
    """
    batch = len(latents)
    noisy = batch // 2
    timesteps = torch.cat([spread_timesteps(count, generator) for count in (noisy, batch - noisy)])
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    level = alpha_bar[timesteps].view(-1, 1, 1, 1)
    level[noisy:] = 1
    predicted, semantics, texture = model(level.sqrt() * latents + (1 - level).sqrt() * noise, timesteps)
    error = (predicted[:noisy].float() - noise[:noisy]).square().mean()
    misalignment = 1 - F.cosine_similarity(semantics.float(), targets, dim=1).mean()
    read = [(t[noisy:].float() - surroundings(latents[noisy:], t.shape[1])).square().mean() for t in texture]
    return torch.stack([error, misalignment, torch.stack(read).mean()])


def train_unet(args: argparse.Namespace) -> None:
    device = pick_device(args.device, repeatable=False)  # but fast
    vae = trained(args.work / "vae", "run the stages encoder and decoder first")
    initial = trained(args.initial / "unet", "check --initial") if args.initial else None
    bank, held_bank = load_picture_banks(args.data, args.work, args.size * 3 // 8, device)
    autoencoder = LappedAutoencoder.from_pretrained(vae, dtype=torch.float32).to(device)
    alpha_bar = make_scheduler().alphas_cumprod.to(device)
    torch.manual_seed(args.seed)
    model = GuidedUNet(make_text_encoder(args.work))
    if initial:
        model.unet.load_state_dict(UNet2DConditionModel.from_pretrained(initial, dtype=torch.float32).state_dict())
    else:
        model.sharpen(3)
    model = model.to(device).to(memory_format=torch.channels_last)
    heads = [*model.semantics.parameters(), *model.texture.parameters()]
    groups = [{"params": heads}, {"params": [*model.unet.parameters()]}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    average = copy.deepcopy(model)
    parts, path = {"model": model, "average": average, "optimizer": optimizer}, args.work / "unet.pt"
    step = resume(path, parts, device)

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad():
            return autoencoder.encode(images).latent_dist.mode().contiguous(memory_format=torch.channels_last)

    check_images, check_targets = training_batch(held_bank, args.size, 32, torch.Generator().manual_seed(1))
    check_latents, halved = encode(check_images), mixed_precision(device)
    names = ("noise", "alignment", "texture")
    log, start, running = Log(args.work, "unet"), time.time(), []
    warm_up = WARM_UP if initial else 0
    ended = step >= args.steps
    while not ended:
        batch_generator, generator = step_generators(args.seed, step, device)
        rate = args.lr * min(1.0, (step - warm_up) / 200, 5 * (1 - step / args.steps) + 0.02)
        optimizer.param_groups[0]["lr"] = 5 * args.lr if step < warm_up else rate
        optimizer.param_groups[1]["lr"] = max(0.0, rate)
        images, targets = training_batch(bank, args.size, args.batch, batch_generator)
        with halved:
            found = losses(model, encode(images), targets, alpha_bar, generator)
        optimizer.zero_grad()
        found.sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        average_weights(average, model, min(0.998, step / (step + 10)))
        running.append(found.detach())
        ended = step == args.steps or time.time() - start > 60 * args.minutes
        if step % 100 == 0 or ended:
            with torch.no_grad(), halved:
                check = torch.Generator(device).manual_seed(0)
                held = losses(average, check_latents, check_targets, alpha_bar, check)
            values = dict(zip(names, torch.stack(running).mean(0).tolist(), strict=True))
            log(step, **values, **{f"held_{name}": value for name, value in zip(names, held.tolist(), strict=True)})
            running = []
        if step % args.checkpoint_every == 0 or ended:
            save_parts(path, parts, step)
