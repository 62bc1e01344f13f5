"""What each deviation of the published code from the paper changes, one at a time, on the embedded model.

python benchmarks/deviations.py --data FOLDER [--items 12]
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import adjusted_rand_score

from stylegallery.contract import Item, MatchConstraints
from stylegallery.draws import derived
from stylegallery.images import read_image
from stylegallery.matching import best_matches, describe
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.segmentation import find_regions

T = TypeVar("T")
DEVIATIONS: dict[str, dict[str, Any]] = {
    "merging": {"segmentation": {"merging": "sequential"}},
    "aggregation": {"matching": {"aggregation": "random_transformer"}},
    "aggregation, another seed": {"matching": {"aggregation": "random_transformer"}, "seed": 1},
    "variance": {"matching": {"variance": "map"}},
    "encoder_view": {"matching": {"encoder_view": "centre"}},
    "lone_token": {"matching": {"lone_token": "dropped"}},
    "circle": {"matching": {"circle": "centroid"}},
    "outside_keys": {"guidance": {"outside_keys": "zeroed"}},
    "batched": {"guidance": {"batched": False}},
    "refresh": {"guidance": {"refresh": 1}},
    "all of them": {
        "segmentation": {"merging": "sequential"},
        "matching": {
            "aggregation": "random_transformer", "variance": "map", "encoder_view": "centre",
            "lone_token": "dropped", "circle": "centroid",
        },
        "guidance": {"outside_keys": "zeroed", "batched": False, "refresh": 1},
    },
}  # fmt: skip


def items(root: Path, count: int) -> list[Item]:
    """Content i with the first picture of one family and the second of another."""
    contents = sorted((root / "content").glob("*.png"))
    families = sorted(path for path in (root / "style").iterdir() if path.is_dir())
    found = []
    for i in range(count):
        first, second = (sorted(families[(2 * i + j) % len(families)].glob("*.png"))[j] for j in (0, 1))
        found.append(Item(f"{i:02d}", contents[i % len(contents)], (first, second)))
    return found


def same(value: T) -> T:
    return value


def replan(method: StyleGallery, plan: Plan, deviation: dict[str, Any], seeds: list[int]) -> Plan:
    """The plan with the deviation's settings; the diffusion features of `plan` are used again."""
    segmentation = replace(method.segmentation, **deviation.get("segmentation", {}))
    matching = replace(method.matching, **deviation.get("matching", {}))
    seed, analyses = derived(0) + int(deviation.get("seed", 0)), []
    for known, own_seed in zip(plan.analyses, seeds, strict=True):
        image, found = known.image, known.segmentation
        (inversion,) = method.analyser.inverted([image])
        if segmentation != method.segmentation:
            found = find_regions(inversion, image, segmentation, own_seed)
        described = describe(found.labels, inversion.features, image, method.analyser.encoder, matching, seed)
        analyses.append(replace(known, get_segmentation=partial(same, found), get_descriptors=partial(same, described)))
    content, *references = analyses
    candidates = [reference.descriptors for reference in references]
    return Plan(content, references, best_matches(content.descriptors, candidates, matching, MatchConstraints()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--items", type=int, default=12)
    arguments = parser.parse_args()
    method = StyleGallery.from_config("resizing=square", "resolution=256")
    rows = []
    for item in items(arguments.data, arguments.items):
        seeds = [derived(0, read_image(path)) for path in (item.content, *item.references)]
        paper = method.plan(item, torch.Generator().manual_seed(0))
        image = method.render(paper).image
        for name, deviation in DEVIATIONS.items():
            plan = replan(method, paper, deviation, seeds)
            ari = [
                adjusted_rand_score(a.labels.flatten(), b.labels.flatten())
                for a, b in zip(paper.analyses, plan.analyses, strict=True)
            ]
            target = {m.content_region: (m.reference, m.reference_region) for m in paper.matches}
            moved = [target.get(m.content_region) != (m.reference, m.reference_region) for m in plan.matches]
            changed_regions = min(ari) < 1
            result = image
            if changed_regions or any(moved) or "guidance" in deviation:
                guidance = method.guidance
                method.guidance = replace(guidance, **deviation.get("guidance", {}))
                result = method.render(plan).image
                method.guidance = guidance
            rows.append(
                {
                    "deviation": name,
                    "regions": np.mean(ari),
                    "pictures": np.mean([value < 1 for value in ari]),
                    "moved": np.nan if changed_regions else np.mean(moved),
                    "grey": (result - image).abs().mean().item() * 255,
                }
            )
            print(item.id, rows[-1], flush=True)
    frame = pd.DataFrame(rows).groupby("deviation", sort=False)
    table = frame.agg(
        regions_ari=("regions", "mean"), pictures_changed=("pictures", "mean"), matches_moved=("moved", "mean"),
        grey_levels=("grey", "mean"), grey_levels_largest=("grey", "max"), items=("grey", "size"),
    )  # fmt: skip
    print(table.round(3).to_markdown())


if __name__ == "__main__":
    main()
