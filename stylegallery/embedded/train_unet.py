"""Stage 3: the denoising network, with the semantics of EfficientNet drawn into its features."""

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
from stylegallery.embedded.checkpoint import Log, average_weights, save_checkpoint, step_generators
from stylegallery.embedded.pictures import load_picture_banks, training_batch


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


class AlignedUNet(nn.Module):
    """The UNet and the linear head that reads semantics off the output of `up_blocks[2]`."""

    def __init__(self, prompt: Tensor) -> None:
        super().__init__()
        self.unet = make_unet()
        self.head = nn.Conv2d(self.unet.config.block_out_channels[1], 88, 1)
        self.prompt: Tensor
        self.register_buffer("prompt", prompt, persistent=False)

    def forward(self, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted noise (B, 16, h, w) and semantics (B, 88, h, w)."""
        caught: list[Tensor] = []
        hook = self.unet.up_blocks[2].register_forward_hook(lambda module, inputs, output: caught.append(output))
        noise = self.unet(latents, timesteps, self.prompt.expand(len(latents), -1, -1)).sample
        hook.remove()
        return noise, self.head(caught[0])


def spread_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Timesteps (count,): three eighths of them below 300, where strokes and texture live, the others anywhere."""
    timesteps = torch.randint(0, 1000, (count,), generator=generator, device=generator.device)
    low = slice(count * 3 // 8)
    timesteps[low] = timesteps[low] * 3 // 10
    return timesteps


def losses(
    model: AlignedUNet, latents: Tensor, targets: Tensor, alpha_bar: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(noise error, misalignment). The last quarter of the batch stays clean and counts for alignment only:
    stages 1 and 3 of the method read features of clean latents, at every timestep."""
    batch = len(latents)
    noisy = batch - batch // 4
    timesteps = spread_timesteps(batch, generator)
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    level = alpha_bar[timesteps].view(-1, 1, 1, 1)
    level[noisy:] = 1
    predicted, semantics = model(level.sqrt() * latents + (1 - level).sqrt() * noise, timesteps)
    error = (predicted[:noisy].float() - noise[:noisy]).square().mean()
    return error, 1 - F.cosine_similarity(semantics.float(), targets, dim=1).mean()


def train_unet(args: argparse.Namespace) -> None:
    device = pick_device(args.device, repeatable=False)  # but fast
    bank, held_bank = load_picture_banks(args.data, args.work, device)
    autoencoder = LappedAutoencoder.from_pretrained(args.work / "vae", dtype=torch.float32).to(device)
    alpha_bar = make_scheduler().alphas_cumprod.to(device)
    torch.manual_seed(args.seed)
    model = AlignedUNet(make_text_encoder(args.work)).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    average = copy.deepcopy(model)
    step, path = 0, args.work / "unet.pt"
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad():
            return autoencoder.encode(images).latent_dist.mode().contiguous(memory_format=torch.channels_last)

    check_images, check_targets = training_batch(held_bank, args.size, 32, torch.Generator().manual_seed(1))
    check_latents = encode(check_images)
    halved = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")  # 20 times slower on some CPUs
    log, start, running = Log(args.work, "unet"), time.time(), []
    ended = step >= args.steps
    while not ended:
        batch_generator, generator = step_generators(args.seed, step, device)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, step / 200) * (0.02 + 0.98 * (1 - step / args.steps))
        images, targets = training_batch(bank, args.size, args.batch, batch_generator)
        with halved:
            error, misalignment = losses(model, encode(images), targets, alpha_bar, generator)
        optimizer.zero_grad()
        (error + misalignment).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        average_weights(average, model, min(0.998, step / (step + 10)))
        running.append(torch.stack([error, misalignment]).detach())
        ended = step == args.steps or time.time() - start > 60 * args.minutes
        if step % 100 == 0 or ended:
            with torch.no_grad(), halved:
                check = torch.Generator(device).manual_seed(0)
                held = losses(average, check_latents, check_targets, alpha_bar, check)
            noise_error, alignment = torch.stack(running).mean(0).tolist()
            running = []
            log(step, noise=noise_error, alignment=alignment, held_noise=held[0].item(), held_alignment=held[1].item())
        if step % args.checkpoint_every == 0 or ended:
            save_checkpoint(
                path,
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                },
            )
