"""How much faster the stages are than their published formulation, both in this process on the same model and data.

    python -m benchmarks.speed step --model embedded [--side 256] [--references 2 5 20] [--refresh 1] [--repeats 5]
    python -m benchmarks.speed stages --model embedded [--side 256] [--repeats 5]

Models: embedded, quarter (Stable Diffusion 1.5 at a quarter of its width, drawn weights), sd1 (its full size), or a
folder in diffusers layout. Both sides must give the same energies, gradients, labels and descriptors first. Then they
take turns; a ratio is that of one turn, and the table has the median of ratios and the lowest and highest of them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from benchmarks import published
from benchmarks.subjects import Subject, guidance, named_model, pictures, random_labels, settings
from stylegallery.encoders import DINOv2Encoder
from stylegallery.guidance import GuidanceConfig, Scene, SceneLosses, initial_latent, optimise
from stylegallery.inversion import fuse
from stylegallery.matching import MatchingConfig, region_semantics
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import minimise
from stylegallery.segmentation import cluster, principal_components

TIMESTEP = 501


# --- both sides in turns ---


def compare(
    name: str,
    theirs: Callable[[], object],
    ours: Callable[[], object],
    repeats: int,
    device: torch.device,
    per: int = 1,
) -> None:
    """Print the row of a table: seconds of both sides, of which a call has `per` times as many, and the ratio."""
    rows = [(seconds(theirs, device) / per, seconds(ours, device) / per) for _ in range(repeats)]
    ratios = [slow / fast for slow, fast in rows]
    slow, fast = (median(column) for column in zip(*rows, strict=True))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"| {name} | {slow:.3g} | {fast:.3g} | {median(ratios):.2f} | {spread} |", flush=True)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of a call: on a GPU by the clock, else of the processor, which other work on the machine leaves as they are."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def heading(what: str) -> None:
    print(f"\n| {what} | published, s | ours, s | ratio | lowest to highest |\n|---|---|---|---|---|")


# --- a step of stage 3 ---


def require_agreement(one: Subject, config: GuidanceConfig) -> None:
    """Energies and gradients of the two sides at one latent. Gradients of L1 losses are sums of signs: where a
    difference is almost zero, rounding decides, so that a few elements may differ."""
    found = []
    for losses in (
        published.PublishedLosses(*one, config),
        SceneLosses(one.model, [Scene(*one[1:])], config, [TIMESTEP]),
    ):
        with torch.no_grad():
            losses.prepare(TIMESTEP)
        latent = initial_latent(one.content, config).clone().requires_grad_()
        style, content = map(torch.Tensor.sum, losses(latent))
        (gradient,) = torch.autograd.grad(style + config.content_weight * content, latent)
        found.append((style.detach(), content.detach(), gradient))
    (style, content, expected), (our_style, our_content, gradient) = found
    torch.testing.assert_close(our_style, style, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(our_content, content, rtol=1e-4, atol=1e-6)
    difference = (gradient - expected).norm() / expected.norm()
    assert difference < 0.01, f"the gradients of the two sides differ by {difference:.1%}"


def time_steps(model: DiffusionModel, side: int, references: Sequence[int], refresh: int, repeats: int) -> None:
    """Both sides take as many steps as share one pass of content and references."""
    exact = replace(guidance(), steps=refresh, refresh=1, outside_keys="zeroed")  # both compute the same
    heading(f"a step, guidance.refresh={refresh}")
    for number in references:
        one = Subject.of(model, pictures(side, number))
        require_agreement(one, exact)

        def theirs(one: Subject = one) -> None:
            start, losses = initial_latent(one.content, exact), published.PublishedLosses(*one, exact)
            rate, weight = exact.learning_rate, exact.content_weight
            list(minimise(start, model.timesteps(refresh), 1, losses, lambda _: rate, 1.0, weight))

        def ours(one: Subject = one) -> None:
            optimise(*one, replace(exact, refresh=refresh))

        compare(f"{number} references, {one.matched} matched", theirs, ours, repeats, model.device, refresh)


# --- stages 1 and 2 ---


class DrawnDINOv2(DINOv2Encoder):
    """The paper's encoder with drawn weights."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.network, self.resolution = Dinov2Model(Dinov2Config()).eval(), 224


def time_stages(model: DiffusionModel, side: int, repeats: int) -> None:
    paper = settings("model=sd15")
    segmentation, matching = (instantiate(node, _convert_="all") for node in (paper.segmentation, paper.matching))
    image, steps = pictures(side, 0)[0], segmentation.inversion_steps
    latent = model.encode(image)
    features = fuse([step.features for step in model.invert(latent, steps)])[0]
    points = principal_components(features.flatten(1).T.cpu().numpy(), segmentation.components, 0)
    found = cluster(points, segmentation, 0)
    assert (found == published.cluster(points, segmentation, 0)).all(), "the labels of the two sides differ"
    heading("one picture")
    compare(
        f"inversion in {steps} steps",
        lambda: published.invert(model, latent, steps),
        lambda: list(model.invert(latent, steps)),
        repeats,
        model.device,
    )
    compare(
        f"K-means and silhouettes of {len(points)} cells",
        lambda: published.cluster(points, segmentation, 0),
        lambda: cluster(points, segmentation, 0),
        repeats,
        model.device,
    )
    compare(
        "of these K-means, both scikit-learn's",
        lambda: published.labellings(points, segmentation, 0),
        lambda: published.labellings(points, segmentation, 0),
        repeats,
        model.device,
    )
    labels = random_labels(latent.shape[-1], 6, torch.Generator().manual_seed(0))
    efficientnet = instantiate(settings("encoder=efficientnet").encoder)
    for name, encoder in (("EfficientNet-Lite1", efficientnet), ("DINOv2-base", DrawnDINOv2())):
        theirs = partial(published.semantics, labels, image, encoder, matching)
        ours = partial(our_semantics, labels, image, encoder, matching)
        torch.testing.assert_close(ours(), theirs(), rtol=0, atol=0)
        compare(f"{name} for 6 regions", theirs, ours, repeats, model.device)


def our_semantics(labels: Tensor, image: Tensor, encoder: Callable[[Tensor], Tensor], config: MatchingConfig) -> Tensor:
    """The part of `matching.describe` that the encoder has."""
    return region_semantics(labels, encoder(image)[0], (image.shape[-2], image.shape[-1]), config.lone_token)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "stages"))
    parser.add_argument("--model", default="embedded", help="embedded, quarter, sd1, or a folder")
    parser.add_argument("--side", type=int, default=512, help="of the square pictures")
    parser.add_argument("--references", nargs="+", type=int, default=[2, 5, 20])
    parser.add_argument("--refresh", type=int, default=1, help="guidance.refresh of our side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    model = named_model(arguments.model, arguments.device)
    print(f"{arguments.model}, {arguments.side} px, {model.device}, {model.dtype}, {torch.get_num_threads()} threads")
    if arguments.what == "step":
        time_steps(model, arguments.side, arguments.references, arguments.refresh, arguments.repeats)
    else:
        time_stages(model, arguments.side, arguments.repeats)


if __name__ == "__main__":
    main()
