"""LPIPS between content and output (Zhang et al., CVPR 2018), computed by the package `lpips`."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from evaluation.features import batches, weights_file
from evaluation.metric import Direction, Sample
from stylegallery.devices import pick_device
from stylegallery.models.checkpoints import load_strictly, part, read_checkpoint

if TYPE_CHECKING:  # imported when the network is loaded: tables know a metric by its class, and load none
    import lpips


class Lpips:
    """LPIPS 0.1 with AlexNet (`lpips_alex`) or VGG16 (`lpips_vgg`); images are scaled to [-1, 1], native size.

    Linear heads ship with `lpips`, the trunk is torchvision's. Lower is better, 0 to about 1, exactly 0 on identity.
    """

    version = 1
    direction: Direction = "down"
    bounds = (0.0, float("inf"))
    kind = "structure"

    def __init__(self, net: str) -> None:
        self.name, self.net = f"lpips_{net}", net

    @cached_property
    def network(self) -> "lpips.LPIPS":
        import lpips

        path = weights_file(self.name)
        weights = part(read_checkpoint(path, self.name), "features")
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # initial values are drawn and thrown away
            warnings.filterwarnings("ignore", "The parameter 'pretrained'|Arguments other than", UserWarning)
            network = lpips.LPIPS(net=self.net, pnet_rand=True, verbose=False)
        names = {key: key.partition(".")[2] for key in network.net.state_dict()}  # slice1.0.bias: 0.bias
        trunk = {key: weights[name] for key, name in names.items() if name in weights}
        load_strictly(network.net, trunk, path, self.name)
        return network.eval().requires_grad_(False).to(pick_device("auto"))

    @torch.no_grad()
    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """Kept in `sample.features`, where ArtFID finds it."""
        todo = {id(sample.image): sample for sample in samples if self.name not in sample.features}
        for images in batches([sample.image for sample in todo.values()]):
            batch = [todo[id(image)] for image in images]
            pairs = [torch.cat([getattr(sample, role) for sample in batch]) for role in ("content", "image")]
            device = next(self.network.parameters()).device
            values = self.network(*(pair.to(device) for pair in pairs), normalize=True).flatten().tolist()
            for sample, value in zip(batch, values, strict=True):
                sample.features[self.name] = value
        return [value for sample in samples if isinstance(value := sample.features[self.name], float)]
