"""What benchmarks run on: models with drawn weights, pictures of the repository, regions and matches by chance."""

import json
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from stylegallery.contract import Match
from stylegallery.devices import pick_device, pick_dtype
from stylegallery.images import read_image, resize
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.single_file import TOPOLOGIES
from stylegallery.models.unet import UNetModel
from stylegallery.overrides import CONFIGS
from stylegallery.segmentation import Segmentation

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
CONTENT = SAMPLES / "content" / "coffee.jpg"
# A quarter of Stable Diffusion 1.5's width and heads, so that heads are as wide as there.
QUARTER = {"block_out_channels": (80, 160, 320, 320), "attention_head_dim": 2, "norm_num_groups": 16}


def settings(*overrides: str) -> Any:
    """The method that conf/ describes, its nodes not instantiated."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", overrides=list(overrides)).method


def guidance(*overrides: str) -> Any:
    """The paper's settings of stage 3, or others."""
    return instantiate(settings("model=sd15", *overrides).guidance, _convert_="all")


# --- models ---


def named_model(name: str, device: str) -> DiffusionModel:
    """`embedded`, `quarter`, `sd1` or `sdxl`, the last three with drawn weights, or a folder in diffusers layout."""
    if name in ("quarter", "sd1", "sdxl"):
        place = pick_device(device)
        changes: dict[str, Any] = QUARTER if name == "quarter" else {}
        return drawn("sd1" if name == "quarter" else name, place, pick_dtype("auto", place), **changes)
    given = ["model=embedded"] if name == "embedded" else ["model=sd15", f"model.path={name}"]
    return instantiate(settings(f"device={device}", *given).model, _convert_="all")


def drawn(topology: str, device: torch.device, dtype: torch.dtype, seed: int = 0, **changes: Any) -> UNetModel:
    """A model of one of `stylegallery/models/topologies` with drawn weights; `changes` are of its UNet's settings.

    On the meta device it has shapes alone.
    """
    folder = TOPOLOGIES / topology
    torch.manual_seed(seed)
    with device:
        unet, autoencoder = (
            nn.Module.to(family.from_config(json.loads((folder / part / "config.json").read_text()) | other), dtype)
            for family, part, other in ((UNet2DConditionModel, "unet", changes), (AutoencoderKL, "vae", {}))
        )
    scheduler = DDIMScheduler.from_config(json.loads((folder / "scheduler" / "scheduler_config.json").read_text()))
    prompt = torch.randn(1, 77, unet.config["cross_attention_dim"]).to(device, dtype)
    pooled = None
    if unet.config["addition_embed_type"] == "text_time":
        width = unet.config["projection_class_embeddings_input_dim"] - 6 * unet.config["addition_time_embed_dim"]
        pooled = torch.randn(1, width).to(device, dtype)
    return UNetModel(unet, autoencoder, scheduler, prompt, pooled)


# --- pictures, regions, matches ---


class Subject(NamedTuple):
    """What stage 3 works on."""

    model: DiffusionModel
    content: Segmentation
    references: list[Segmentation]
    matches: list[Match]

    @classmethod
    def of(cls, model: DiffusionModel, images: Sequence[Tensor], regions: int = 6) -> "Subject":
        """Pictures (1, 3, H, W), the content first, with drawn regions and matches; inverted latents are noise.

        Content regions take their styles from the references in turn, so that at most `regions` of these are matched.
        """
        generator, found = torch.Generator().manual_seed(0), []
        for image in images:
            latent = model.encode(image)
            labels = random_labels(latent.shape[-1], regions, generator)
            noise = torch.randn(latent.shape, generator=generator).to(latent.device)
            found.append(Segmentation(labels, latent, noise))
        choice = torch.randint(regions, (regions,), generator=generator) + 1
        matches = [
            Match(region, 1 + (region - 1) % (len(found) - 1), int(choice[region - 1]), 0.0, 0.0, 0.0, 0.0, False)
            for region in range(1, regions + 1)
        ]
        return cls(model, found[0], found[1:], matches)

    @property
    def matched(self) -> int:
        return len({match.reference for match in self.matches})


def pictures(side: int, references: int) -> list[Tensor]:
    """A content and references (1, 3, side, side) among the samples, which begin again where there are too few."""
    styles = sorted((SAMPLES / "style").iterdir())
    return [resize(read_image(path), side, "square", 8) for path in (CONTENT, *islice(cycle(styles), references))]


def random_labels(side: int, count: int, generator: torch.Generator) -> Tensor:
    """A label map (side, side) of `count` convex regions: the nearest of random points."""
    points = torch.rand(count, 2, generator=generator) * side
    cells = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float()
    return torch.cdist(cells, points).argmin(1).reshape(side, side) + 1
