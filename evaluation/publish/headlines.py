"""The metrics that stand for the others where a page has room for few."""

import pandas as pd

HEADLINES = {  # what is asked -> metrics that answer it, the best first
    "structure": ("lpips_alex", "structure_dino", "structure_efficientnet"),
    "style": ("style_blocks_vgg19", "style_blocks_efficientnet"),
    "regional style": (
        "regional_style_csd_independent", "regional_style_clip_independent", "regional_style_efficientnet_independent",
        "regional_style_efficientnet",
    ),
    "regional texture": ("regional_texture_independent", "regional_texture"),
}  # fmt: skip


def headlines(scores: pd.DataFrame) -> dict[str, str]:
    """What is asked -> the first of its metrics that has any value in `scores`, rows with a metric and a value."""
    measured = set(scores["metric"][scores["value"].notna()])
    found = {asked: next((one for one in metrics if one in measured), "") for asked, metrics in HEADLINES.items()}
    return {asked: metric for asked, metric in found.items() if metric}
