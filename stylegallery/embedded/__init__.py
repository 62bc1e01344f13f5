"""The small latent diffusion model this repository trains and ships; see MODEL_CARD.md."""

from pathlib import Path

from stylegallery.diffusion import DiffusionModel

WEIGHTS = Path(__file__).parent / "weights"


def load(device: str = "auto", dtype: str = "float32") -> DiffusionModel:
    """The shipped weights as a diffusion model like any other."""
    return DiffusionModel.from_directory(str(WEIGHTS), device, dtype)
