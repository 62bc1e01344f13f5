"""Which family of models a folder holds: what chooses one, so that no method has to know."""

from collections.abc import Callable

from stylegallery.devices import pick_device, pick_dtype
from stylegallery.models.diffusion import DiffusionModel, Schedule
from stylegallery.models.pretrained import model_files, reading
from stylegallery.models.unet import UNetModel
from stylegallery.settings import Dtype, Weights, checked

# By the part of model_index.json that predicts noise.
FAMILIES: dict[str, Callable[..., DiffusionModel]] = {"unet": UNetModel.load}


@checked
def from_directory(
    path: Weights,
    device: str,
    dtype: Dtype,
    lora: Weights | None,
    schedule: Schedule,
    compile: bool,
    channels_last: bool,
) -> DiffusionModel:
    """Load a directory in diffusers layout, or a one-file checkpoint of Stable Diffusion 1.x or XL; a name that is
    neither is looked up in the local hub cache.

    `lora` is a file or the name of one, fused into the network; `schedule` chooses the timesteps to optimise at: the
    model's own, its trailing ones (Hyper-SD) or LCM's. `compile` leaves attention eager: it is exchanged while the
    model runs.

    Raises:
        InputError: the model or LoRA is not on this machine, or a part of it cannot be read.
    """
    files, place = model_files(path), pick_device(device)
    with reading(files.place, "diffusers model", "model.path"):
        load = FAMILIES[files.denoiser(FAMILIES)]
    model = load(files, place, pick_dtype(dtype, place), lora, schedule, compile, channels_last)
    model.paints_from_noise = files.index.get("paints_from_noise", True) is not False
    return model
