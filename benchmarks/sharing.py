"""What `guidance.shared_mib` saves: stage 3 of the four mixed60 items of one content, with features of pictures kept
between them and without, on the embedded model; and whether a batch is faster than its pictures one by one.

    OMP_NUM_THREADS=1 python benchmarks/sharing.py --data FOLDER [--repeats 3]

Contents are not recoloured here, since a recoloured content is another picture in every item. Both sides alternate in
this process; seconds are its CPU time. Their pictures must be equal to the byte.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from data.benchmark import manifest_items
from stylegallery.guidance import guided_layers, optimise
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.shared_attention import SharedAttention

MEBIBYTES = 4096


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def job(method: StyleGallery, plans: Sequence[Plan], refresh: int, mebibytes: int) -> tuple[float, float, list[Tensor]]:
    """Seconds, MiB that were kept at the end, and the latents of stage 3 of some plans."""
    config = replace(method.guidance, batched=False, refresh=refresh)
    shared, latents = SharedAttention(method.model, mebibytes), []
    start = time.process_time()
    for plan in plans:
        content, *references = [analysis.segmentation for analysis in plan.analyses]
        latents.append(optimise(method.model, content, references, plan.matches, config, shared=shared)[0])
    return time.process_time() - start, shared.bytes / 2**20, latents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the benchmark's pictures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=256)
    options = parser.parse_args()
    method = StyleGallery.from_config("resizing=square", f"resolution={options.resolution}")
    items = manifest_items("mixed60", "stylegallery", options.data)[:4]
    plans = [method.plan(item, torch.Generator().manual_seed(0)) for item in items]
    rows = []
    for _ in range(options.repeats):
        for refresh in (1, 8):
            alone, _, expected = job(method, plans, refresh, 0)
            together, kept, found = job(method, plans, refresh, MEBIBYTES)
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
            rows.append(
                {"refresh": refresh, "alone": alone, "shared": together, "ratio": alone / together, "MiB": kept}
            )
    table = pd.DataFrame(rows).groupby("refresh")
    print(
        table.agg(
            alone=("alone", "median"), shared=("shared", "median"), ratio=("ratio", "median"), least=("ratio", "min"),
            most=("ratio", "max"), MiB=("MiB", "max"),
        ).round(3).to_markdown()
    )  # fmt: skip

    model, layers = method.model, guided_layers(method.model, method.guidance)
    latents = [analysis.segmentation.latent for analysis in plans[0].analyses]
    ratios = []
    with torch.no_grad():
        for _ in range(3 * options.repeats):
            each = timed(lambda: [model.self_attention(latent, 101, layers) for latent in latents])
            ratios.append(each / timed(lambda: model.self_attention(torch.cat(latents), 101, layers)))
    print(
        f"{len(latents)} pictures one by one take {pd.Series(ratios).median():.2f} times as long as in one batch "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
