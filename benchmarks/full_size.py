"""Stable Diffusion 1.5 at its full size, with random weights, on this machine: two inversion and two optimisation steps
at 512 px, two regions, one reference. Nothing is downloaded.

    python benchmarks/full_size.py [--side 512] [--steps 2] [--device cpu] [--dtype float32]

Prints the layers that stage 3 reads, peak memory and seconds per step, and from counted FLOPs and bytes an estimate for
a GPU of 24 GB in bfloat16. Random weights say nothing of pictures.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from stylegallery.contract import Match
from stylegallery.devices import pick_device
from stylegallery.guidance import optimise
from stylegallery.models.unet import UNetModel, record_self_attention, self_attention_layers
from stylegallery.segmentation import Segmentation, fuse
from stylegallery.stopwatch import Stopwatch

EXPECTED = [f"up_blocks.{block}.attentions.{i}.transformer_blocks.0.attn1" for block in (2, 3) for i in range(3)]
STYLE_STEPS, INVERSION_STEPS = 150, 15  # the paper's
# Assumed of the GPU, an RTX 4090 by its data sheet, and of the share of either that eager PyTorch gets out of it.
PEAK_FLOPS, PEAK_BYTES, MEMORY = 165e12, 1008e9, 24e9
FLOPS_SHARE, BYTES_SHARE = 0.4, 0.7


def unet() -> UNet2DConditionModel:
    """The defaults of diffusers' class are Stable Diffusion's but for the text width."""
    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def stable_diffusion(device: torch.device, dtype: torch.dtype) -> UNetModel:
    """The topology of Stable Diffusion 1.5 with drawn weights."""
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    parts = [part.to(device, dtype) for part in (unet(), autoencoder)]
    return UNetModel(parts[0], parts[1], scheduler, torch.randn(1, 77, 768).to(device, dtype))


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write when none is fused with the next; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return out


@contextmanager
def saved_for_backward(parameters: set[int]) -> Iterator[dict[int, int]]:
    """Bytes of every storage that autograd keeps inside the context, but for the parameters'."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield storages


def count_flops(side: int) -> dict[str, float]:
    """FLOP of a UNet pass without and with its gradient for the latent, on tensors without data."""
    with torch.device("meta"):
        network = unet().eval().requires_grad_(False)
        latent, prompt = torch.empty(1, 4, side // 8, side // 8), torch.empty(1, 77, 768)
        counts = {}
        for name in ("forward", "forward and backward"):
            z = latent.clone().requires_grad_(name != "forward")
            with FlopCounterMode(display=False) as counter, record_self_attention(network, range(10, 16)) as records:
                network(z, torch.tensor(500), encoder_hidden_states=prompt)
                if z.requires_grad:
                    torch.stack([layer.output.sum() + layer.query.sum() for layer in records]).sum().backward()
            counts[name] = float(counter.get_total_flops())
        # The target: queries of every region meet the keys of its match; two equal halves cost half of N².
        counts["style target"] = sum(
            2 * 2 * layer.query.shape[1] * layer.query.shape[2] ** 2 * layer.query.shape[3] / 2 for layer in records
        )
    return counts


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


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
    torch.manual_seed(0)
    model = stable_diffusion(pick_device(arguments.device), getattr(torch, arguments.dtype))
    watch = Stopwatch(model.device)
    if model.device.type == "cuda":  # the first pass of every kind pays for loading kernels
        print(torch.cuda.get_device_name(), arguments.dtype)
        latent = model.encode(torch.rand(1, 3, side, side)).requires_grad_(True)
        torch.stack([layer.output.sum() for layer in model.self_attention(latent, 501, [15])]).sum().backward()
        model.decode(latent.detach())
    parts: dict[str, nn.Module] = {"UNet": model.unet, "autoencoder": model.autoencoder}
    weights = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    for name, number in weights.items():
        print(f"{name}: {number / 1e6:.1f} M parameters, {megabytes(4 * number)} in float32")
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
        analyses.append(Segmentation(labels, features, latent, trace[-1].latents))
    print(f"features of up_blocks[2]: {tuple(features.shape)}; inverted, peak {peak(watch)}")

    matches = [Match(region, 1, region, 1.0, 1.0, 1.0, 1.0, False) for region in (1, 2)]
    with initialize_config_dir(str(Path(__file__).parent.parent / "conf"), version_base="1.3"):
        paper = compose("config", overrides=["model=sd15", f"method.guidance.steps={steps}"]).method.guidance
    config = instantiate(paper, _convert_="all")
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

    # What a step of a float32 run moves and keeps; half of it in bfloat16.
    model = model if arguments.dtype == "float32" else stable_diffusion(model.device, torch.float32)
    storages = {p.untyped_storage().data_ptr() for p in model.unet.parameters()}
    z = analyses[0].latent
    with torch.no_grad(), Traffic() as still:
        model.self_attention(z, 501, range(10, 16))
    z = z.clone().requires_grad_(True)
    with Traffic() as moving, saved_for_backward(storages) as saved:
        records = model.self_attention(z, 501, range(10, 16))
        torch.stack([layer.output.abs().mean() + layer.query.abs().mean() for layer in records]).sum().backward()
    estimate(weights, count_flops(side), still.bytes / 2, moving.bytes / 2, sum(saved.values()) / 2)


def estimate(weights: dict[str, int], flops: dict[str, float], still: float, moving: float, activations: float) -> None:
    """Print what a GPU would need; bytes `still` and `moving` are the traffic of a pass without and with gradient."""
    print("counted, one picture, FLOP: " + ", ".join(f"{name} {count / 1e12:.2f} T" for name, count in flops.items()))
    print(f"counted, bfloat16, traffic: forward {still / 1e9:.1f} GB, forward and backward {moving / 1e9:.1f} GB")
    resident = 2 * sum(weights.values())
    print(f"bfloat16 memory: weights {megabytes(resident)}, kept for backward {megabytes(activations)}")
    total = resident + activations
    print(f"  together {total / 1e9:.1f} GB of {MEMORY / 1e9:.0f} GB, before workspaces and the allocator's slack")
    print(
        f"assumed GPU: {PEAK_FLOPS / 1e12:.0f} TFLOP/s at {FLOPS_SHARE:.0%}, "
        f"{PEAK_BYTES / 1e9:.0f} GB/s at {BYTES_SHARE:.0%}"
    )
    compute, move = PEAK_FLOPS * FLOPS_SHARE, PEAK_BYTES * BYTES_SHARE
    for references in (1, 2, 5):
        passes = 1 + references
        step_flops = passes * flops["forward"] + flops["forward and backward"] + flops["style target"]
        run_flops = STYLE_STEPS * step_flops + INVERSION_STEPS * passes * flops["forward"]
        step_bytes = passes * still + moving
        run_bytes = STYLE_STEPS * step_bytes + INVERSION_STEPS * passes * still
        print(
            f"  {references} reference(s): a step {step_flops / 1e12:.1f} TFLOP and {step_bytes / 1e9:.0f} GB, "
            f"{max(step_flops / compute, step_bytes / move):.2f} to {step_flops / compute + step_bytes / move:.2f} s; "
            f"{INVERSION_STEPS} + {STYLE_STEPS} steps "
            f"{max(run_flops / compute, run_bytes / move):.0f} to {run_flops / compute + run_bytes / move:.0f} s"
        )


if __name__ == "__main__":
    main()
