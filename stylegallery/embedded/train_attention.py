"""Stage 4: make the last self-attention layers selective, and their values carry texture.

Trained on noise alone, a small UNet attends to almost everything alike: of 1024 keys a query of the last layers weighs
700, and what it reads is an average that no stroke survives. The energy of stage 3 of the method compares exactly these
outputs. So the keys of the last six layers are enlarged, and from each output a linear head has to tell the latents
around its token. The noise error and the alignment of stage 3 of the training go on beside it.
"""

import argparse
import copy
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegallery.attention import record_self_attention, self_attention_layers
from stylegallery.devices import pick_device
from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.checkpoint import Log, average_weights, save_checkpoint, step_generators
from stylegallery.embedded.pictures import load_picture_banks, training_batch
from stylegallery.embedded.train_unet import AlignedUNet, make_scheduler, make_text_encoder, spread_timesteps

LAYERS = range(10, 16)  # those the method reads
WARM_UP = 40  # steps in which only the new heads learn


class SelectiveUNet(nn.Module):
    """`AlignedUNet` with a linear head on the attention output of every layer in LAYERS."""

    def __init__(self, prompt: Tensor) -> None:
        super().__init__()
        self.aligned = AlignedUNet(prompt)
        names = [self_attention_layers(self.aligned.unet)[layer] for layer in LAYERS]
        widths = [self.aligned.unet.get_submodule(name).to_q.out_features for name in names]
        channels, finest = self.aligned.unet.config.in_channels, min(widths)
        self.texture = nn.ModuleList(
            nn.Linear(width, channels * (3 if width == finest else 4) ** 2) for width in widths
        )

    def forward(self, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Predicted noise, semantics, and the texture read at every layer, (B, tokens, patch)."""
        with record_self_attention(self.aligned.unet, LAYERS) as records:
            noise, semantics = self.aligned(latents, timesteps)
        outputs = [record.output.transpose(1, 2).flatten(2) for record in records]
        return noise, semantics, [head(output) for head, output in zip(self.texture, outputs, strict=True)]

    def sharpen(self, factor: float) -> None:
        """Enlarge the keys of LAYERS; queries, which the content loss compares, keep their size."""
        names = self_attention_layers(self.aligned.unet)
        with torch.no_grad():
            for layer in LAYERS:
                self.aligned.unet.get_submodule(names[layer]).to_k.weight.mul_(factor)

    def trained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The heads, and what of the UNet the six layers are in."""
        unet = self.aligned.unet
        heads: list[nn.Module] = [self.texture, self.aligned.head]
        blocks = [unet.up_blocks[2], unet.up_blocks[3], unet.conv_norm_out, unet.conv_out]
        both = ([parameter for module in part for parameter in module.parameters()] for part in (heads, blocks))
        return next(both), next(both)


def surroundings(latents: Tensor, tokens: int) -> Tensor:
    """Latents (B, C, h, w) in and one cell around every token of a layer, (B, tokens, C (r + 2)²), r cells a side."""
    ratio = round((latents.shape[-2] * latents.shape[-1] / tokens) ** 0.5)
    standard = (latents - latents.mean((0, 2, 3), keepdim=True)) / latents.std((0, 2, 3), keepdim=True)
    return F.unfold(standard, ratio + 2, padding=1, stride=ratio).transpose(1, 2)


def losses(
    model: SelectiveUNet, latents: Tensor, targets: Tensor, alpha_bar: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(noise error, misalignment, texture error); the second half of the batch stays clean, texture is read there.

    A texture error of 1 is that of knowing nothing.
    """
    batch = len(latents)
    noisy = batch // 2
    timesteps = torch.cat([spread_timesteps(count, generator) for count in (noisy, batch - noisy)])
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    level = alpha_bar[timesteps].view(-1, 1, 1, 1)
    level[noisy:] = 1
    predicted, semantics, texture = model(level.sqrt() * latents + (1 - level).sqrt() * noise, timesteps)
    error = (predicted[:noisy] - noise[:noisy]).square().mean()
    read = [(t[noisy:] - surroundings(latents[noisy:], t.shape[1])).square().mean() for t in texture]
    return error, 1 - F.cosine_similarity(semantics, targets, dim=1).mean(), torch.stack(read).mean()


def train_attention(args: argparse.Namespace) -> None:
    device = pick_device(args.device, repeatable=False)  # but fast
    bank, held_bank = load_picture_banks(args.data, args.work, device)
    autoencoder = LappedAutoencoder.from_pretrained(args.work / "vae", dtype=torch.float32).to(device)
    alpha_bar = make_scheduler().alphas_cumprod.to(device)
    torch.manual_seed(args.seed)
    model = SelectiveUNet(make_text_encoder(args.work)).to(device)
    step, path = 0, args.work / "attention.pt"
    state = torch.load(path if path.exists() else args.work / "unet.pt", map_location=device, weights_only=True)
    if path.exists():
        model.load_state_dict(state["model"])
        step = state["step"]
    else:
        model.aligned.load_state_dict(state["average"])
        model.sharpen(args.sharpening)
    average = copy.deepcopy(model)
    model.requires_grad_(False)
    heads, blocks = model.trained()
    for parameter in [*heads, *blocks]:
        parameter.requires_grad_(True)
    groups = [{"params": heads}, {"params": blocks}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.0)
    if path.exists():
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad():
            return autoencoder.encode(images).latent_dist.mode()

    check_images, check_targets = training_batch(held_bank, args.size, 16, torch.Generator().manual_seed(1))
    check_latents = encode(check_images)
    log, start, running = Log(args.work, "attention"), time.time(), []
    ended = step >= args.steps
    while not ended:
        batch_generator, generator = step_generators(args.seed, step, device)
        rate = args.lr * (0.02 + 0.98 * (1 - step / args.steps))
        optimizer.param_groups[0]["lr"] = 10 * rate if step < WARM_UP else rate
        optimizer.param_groups[1]["lr"] = 0.0 if step < WARM_UP else rate
        images, targets = training_batch(bank, args.size, args.batch, batch_generator)
        error, misalignment, texture = losses(model, encode(images), targets, alpha_bar, generator)
        optimizer.zero_grad()
        (error + misalignment + args.texture * texture).backward()
        nn.utils.clip_grad_norm_([*heads, *blocks], 1.0)
        optimizer.step()
        step += 1
        average_weights(average, model, min(0.99, step / (step + 10)))
        running.append(torch.stack([error, misalignment, texture]).detach())
        ended = step == args.steps or time.time() - start > 60 * args.minutes
        if step % 100 == 0 or ended:
            with torch.no_grad():
                check = torch.Generator(device).manual_seed(0)
                held = losses(average, check_latents, check_targets, alpha_bar, check)
            names = ("noise", "alignment", "texture")
            values = dict(zip(names, torch.stack(running).mean(0).tolist(), strict=True))
            log(step, **values, **{f"held_{name}": value.item() for name, value in zip(names, held, strict=True)})
            running = []
        if step % args.checkpoint_every == 0 or ended:
            states = {"model": model.state_dict(), "average": average.state_dict()}
            save_checkpoint(path, {**states, "optimizer": optimizer.state_dict(), "step": step})
