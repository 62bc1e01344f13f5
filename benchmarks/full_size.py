"""Stable Diffusion 1.5 at its full size, with random weights, on this machine: two inversion and two optimisation steps
at 512 px, two regions, one reference. Nothing is downloaded.

    python -m benchmarks.full_size [--side 512] [--steps 2] [--device cpu] [--dtype float32]

Prints the layers that stage 3 reads, peak memory and seconds per step. Random weights say nothing of pictures.
"""

import argparse

import torch
from torch import nn

from benchmarks.subjects import drawn, guidance
from stylegallery.contract import Match
from stylegallery.devices import pick_device
from stylegallery.guidance import optimise
from stylegallery.inversion import fuse
from stylegallery.models.unet import self_attention_layers
from stylegallery.segmentation import Segmentation
from stylegallery.stopwatch import Stopwatch

EXPECTED = [f"up_blocks.{block}.attentions.{i}.transformer_blocks.0.attn1" for block in (2, 3) for i in range(3)]
STYLE_STEPS, INVERSION_STEPS = 150, 15  # the paper's


def peak(watch: Stopwatch) -> str:
    return f"{watch.peak_memory_mib() / 2**10:.2f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    arguments = parser.parse_args()
    side, steps = arguments.side, arguments.steps
    model = drawn("sd1", pick_device(arguments.device), getattr(torch, arguments.dtype))
    watch = Stopwatch(model.device)
    if model.device.type == "cuda":  # the first pass of every kind pays for loading kernels
        print(torch.cuda.get_device_name(), arguments.dtype)
        latent = model.encode(torch.rand(1, 3, side, side)).requires_grad_(True)
        torch.stack([layer.output.sum() for layer in model.self_attention(latent, 501, [15])]).sum().backward()
        model.decode(latent.detach())
    parts: dict[str, nn.Module] = {"UNet": model.unet, "autoencoder": model.autoencoder}
    for name, part in parts.items():
        number = sum(p.numel() for p in part.parameters())
        print(f"{name}: {number / 1e6:.1f} M parameters, {4 * number / 1e6:,.0f} MB in float32")
    layers = self_attention_layers(model.unet)[-6:]
    print(f"self-attention layers {model.layer_count - 6} to {model.layer_count - 1} of {model.layer_count}:")
    print("\n".join(f"  {layer}" for layer in layers))
    assert layers == EXPECTED, f"expected {EXPECTED}"
    print(f"loaded, peak {peak(watch)}")

    labels = torch.ones(side // 8, side // 8, dtype=torch.int64)
    labels[:, side // 16 :] = 2
    analyses = []
    for _ in ("content", "reference"):
        with watch("encode"):
            latent = model.encode(torch.rand(1, 3, side, side))
        with watch("inversion step"):
            trace = list(model.invert(latent, steps))
        features = fuse([step.features for step in trace])[0]
        analyses.append(Segmentation(labels, latent, trace[-1].latents))
    print(f"features of up_blocks[2]: {tuple(features.shape)}; inverted, peak {peak(watch)}")

    matches = [Match(region, 1, region, 1.0, 1.0, 1.0, 1.0, False) for region in (1, 2)]
    config = guidance(f"method.guidance.steps={steps}", "method.guidance.refresh=1")
    with watch("optimisation step"):
        latent, energies = optimise(model, analyses[0], analyses[1:], matches, config)
    assert latent.isfinite().all() and len(energies) == steps
    print(f"energies {[round(step.energy, 4) for step in energies]}; optimised, peak {peak(watch)}")
    with watch("decode"):
        model.decode(latent)
    print(f"decoded, peak {peak(watch)}; {torch.get_num_threads()} threads, seconds:")
    counts = {"encode": 2, "inversion step": 2 * steps, "optimisation step": steps, "decode": 1}
    seconds = {name: watch.seconds[name] / count for name, count in counts.items()}
    print("\n".join(f"  {name}: {value:.3g}" for name, value in seconds.items()))
    whole = 2 * seconds["encode"] + 2 * INVERSION_STEPS * seconds["inversion step"] + seconds["decode"]
    whole += STYLE_STEPS * seconds["optimisation step"]
    print(f"at that pace {INVERSION_STEPS} + {STYLE_STEPS} steps with one reference: {whole:.3g} s")


if __name__ == "__main__":
    main()
