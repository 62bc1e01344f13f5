"""What gathering saves in stage 3: the regional style loss and its gradient by one gather per region, against K masked
attentions over all tokens, on random tensors of Stable Diffusion 1.5's shapes.

    python -m benchmarks.sparse_attention [--side 64] [--regions 6] [--references 2] [--repeats 3] [--device cpu]

Both sides run in this process on the same tensors; values and gradients must agree before anything is printed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from benchmarks.published import style_loss
from benchmarks.subjects import guidance, random_labels
from stylegallery.contract import Match
from stylegallery.guidance import regional_style_loss
from stylegallery.models.attention import SelfAttention
from stylegallery.regions import flat_labels
from stylegallery.segmentation import Segmentation


def shapes(side: int) -> list[tuple[int, int, int]]:
    """(heads, tokens, head width) of the last six self-attention layers of Stable Diffusion 1.5."""
    return [(8, (side // 2) ** 2, 80)] * 3 + [(8, side**2, 40)] * 3


def random_layers(side: int, generator: torch.Generator, device: str) -> list[SelfAttention]:
    return [
        SelfAttention(*(torch.randn(1, *shape, generator=generator).to(device) for _ in range(4)))
        for shape in shapes(side)
    ]


def count_logits(
    side: int, content: Segmentation, references: Sequence[Segmentation], matches: Sequence[Match]
) -> tuple[int, int]:
    """Logits per head over all layers: (K masked attentions, gathered)."""
    masked = gathered = 0
    for _, tokens, _ in shapes(side):
        labels = flat_labels(content.labels, tokens)
        for match in matches:
            keys = flat_labels(references[match.reference - 1].labels, tokens) == match.reference_region
            masked += tokens**2
            gathered += int((labels == match.content_region).sum()) * int(keys.sum())
    return masked, gathered


def timed(loss: Callable[[], Tensor], leaves: list[Tensor], device: str) -> tuple[float, Tensor, tuple[Tensor, ...]]:
    """Seconds, value and gradients of one evaluation."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    value = loss()
    gradients = torch.autograd.grad(value, leaves)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, value.detach(), gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64, help="of the latent grid; 64 is a picture of 512 pixels")
    parser.add_argument("--regions", type=int, default=6, help="of every picture")
    parser.add_argument("--references", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    generator = torch.Generator().manual_seed(0)

    def analysis() -> Segmentation:
        labels, nothing = random_labels(args.side, args.regions, generator), torch.empty(0)
        return Segmentation(labels, nothing, nothing)

    content, references = analysis(), [analysis() for _ in range(args.references)]
    choice = torch.randint(args.regions, (args.regions,), generator=generator) + 1
    matches = [
        Match(region, 1 + region % args.references, int(choice[region - 1]), 0.0, 0.0, 0.0, 0.0, False)
        for region in range(1, args.regions + 1)
    ]
    attention = random_layers(args.side, generator, args.device)
    styles = [random_layers(args.side, generator, args.device) for _ in references]
    by_reference = dict(enumerate(styles, 1))
    leaves = [layer.output.requires_grad_() for layer in attention]
    config = guidance("method.guidance.outside_keys=zeroed")
    sides: dict[str, Callable[[], Tensor]] = {
        "masked": lambda: style_loss(attention, styles, content, references, matches, config.attention_scale),
        "gathered": lambda: regional_style_loss(attention, by_reference, content, references, matches, config),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):  # alternating, so that other load on the machine meets both
        results = {}
        for name, loss in sides.items():
            duration, value, gradients = timed(loss, leaves, args.device)
            seconds[name].append(duration)
            results[name] = (value, *gradients)
        torch.testing.assert_close(results["gathered"][0], results["masked"][0], rtol=1e-4, atol=1e-6)
        for found, expected in zip(results["gathered"][1:], results["masked"][1:], strict=True):
            # The loss is L1: a gradient is a sign, and rounding decides where the difference is almost zero.
            differing = (found - expected).abs() > 1e-6 * expected.abs().max()
            assert differing.float().mean() < 1e-4, "the gradients of the two sides differ"
    masked, gathered = count_logits(args.side, content, references, matches)
    slow, fast = median(seconds["masked"]), median(seconds["gathered"])
    print(f"grid {args.side} x {args.side}, {args.regions} regions, six layers, {args.device}, {args.repeats} repeats")
    print(f"masked   {slow:8.3f} s  {masked / 1e6:8.1f} million logits per head")
    print(f"gathered {fast:8.3f} s  {gathered / 1e6:8.1f} million logits per head")
    print(f"ratio    {slow / fast:8.1f}    {masked / gathered:8.1f}    (values and gradients agree)")


if __name__ == "__main__":
    main()
