"""Loaders of networks that cannot be had here: random weights of the same architecture, put where a download would
put them, against the reference package on the same weights."""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import lpips
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models.vgg import cfgs, make_layers
from transformers import ViTConfig, ViTModel

from evaluation import backbones
from evaluation.backbones import backbone
from evaluation.features import weights_file
from evaluation.metric import MissingWeights, Sample
from evaluation.metrics.cfsd import Cfsd
from evaluation.metrics.lpips import Lpips
from evaluation.registry import build_metrics
from stylegallery.errors import InputError
from stylegallery.images import to_pixels
from stylegallery.weights import table

Place = Callable[[str], Path]


@pytest.fixture(autouse=True)
def generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The path of an entry's single file (or of its folder) in empty caches of this test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    backbone.cache_clear()

    def path(name: str) -> Path:
        entry = table()[name]
        folder = entry.root()
        if entry.repository:
            folder = folder / f"models--{entry.repository.replace('/', '--')}"
            revision = entry.revision or "main"
            if len(revision) != 40:
                (folder / "refs").mkdir(parents=True)
                (folder / "refs" / revision).write_text("0" * 40)
                revision = "0" * 40
            folder = folder / "snapshots" / revision
        folder.mkdir(parents=True)
        return folder if len(entry.files) > 1 else folder / entry.files[0]

    yield path
    backbone.cache_clear()


def pictures(side: int = 64) -> tuple[Tensor, Tensor]:
    noise = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    first, second = F.interpolate(noise, (side, side), mode="bicubic").clamp(0, 1).split(1)
    return first, second


def three(side: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Two pictures and the one in the middle."""
    first, second = pictures(side)
    return first, second, first.lerp(second, 0.5)


def sample(side: int = 64) -> Sample:
    content, image = pictures(side)
    return Sample("item", content, [image], image)


def awaken(network: torch.nn.Module) -> None:
    """Weights that keep the activations alive through all layers; as initialised, features of every picture vanish."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def named(layers: torch.nn.Module) -> dict[str, Tensor]:
    return {f"features.{name}": value for name, value in layers.state_dict().items()}


def compare(found: Sequence[Tensor | float], expected: Sequence[Tensor | float], tolerance: float) -> None:
    """Each of ours is the reference's, and the references of different pictures lie forty tolerances apart: a
    comparison that would accept another picture of the set says nothing."""
    ours, theirs = ([torch.as_tensor(value).flatten().double() for value in values] for values in (found, expected))
    scale = max(value.norm() for value in theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() / scale < tolerance
    apart = [(first - second).norm() / scale for first, second in combinations(theirs, 2)]
    assert apart and min(apart) > 40 * tolerance


def random_vgg(kind: str = "E") -> torch.nn.Sequential:
    layers = make_layers(cfgs[kind], batch_norm=False)
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):  # the default initialisation lets activations fade to nothing
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layer.weight.data *= 2
    return layers.requires_grad_(False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight enum")
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_the_package(net: str, place: Place) -> None:
    reference = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    trunk = {f"features.{key.partition('.')[2]}": value for key, value in reference.net.state_dict().items()}
    torch.save(trunk | {"classifier.6.bias": torch.zeros(1000)}, place(f"lpips_{net}"))
    content, image = pictures()
    half = content.lerp(image, 0.5)
    *found, same = Lpips(net)([Sample(net, content, [image], other) for other in (image, half, content.clone())])
    compare(found, [reference(content * 2 - 1, other * 2 - 1).item() for other in (image, half)], 1e-5)
    assert same == 0 and found[0] > 0.01


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight enum")
def test_lpips_of_a_batch_of_several_sizes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    trunk = {f"features.{key.partition('.')[2]}": value for key, value in reference.net.state_dict().items()}
    torch.save(trunk, place("lpips_alex"))
    network = Lpips("alex")
    with monkeypatch.context() as patch:
        patch.setattr("evaluation.features.batch_size", lambda: 8)  # as on a GPU
        together = network([sample(64), sample(80), sample(64)])
    assert together == pytest.approx([network([sample(side)])[0] for side in (64, 80, 64)], abs=1e-6)


@pytest.mark.slow
def test_vgg19_features_gram_and_cfsd(place: Place) -> None:
    layers = random_vgg()
    torch.save(named(layers) | {"classifier.0.bias": torch.zeros(4096)}, place("vgg19"))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    maps: list[list[Tensor]] = []
    for picture in three():
        values, found = (picture - mean) / std, []
        for index, layer in enumerate(layers):
            values = layer(values)
            if index in (1, 6, 11, 20, 29):
                found.append(values[0].clone())
        maps.append(found)
    grams = [[torch.einsum("chw,dhw->cd", f, f) / f.numel() for f in found] for found in maps]
    expected = [sum(float(F.mse_loss(a, b)) for a, b in zip(grams[0], one, strict=True)) for one in grams[1:]]
    content, image, half = three()
    samples = [Sample("item", content, [content], other) for other in (image, half)]
    compare(build_metrics(["gram_vgg19"])[0][0](samples), expected, 1e-4)

    rows = [(found[2].flatten(1).T / 256).double() for found in maps]
    own, *others = (F.softmax(features @ features.T, dim=1) for features in rows)
    expected = [float((own * (own / other).log()).sum()) for other in others]
    compare(Cfsd()(samples), expected, 3e-5)  # the metric computes in float32: 1.5e-5 on an Intel Xeon
    assert min(expected) > 1e-2
    assert Cfsd()([Sample("same", content, [image], content.clone())]) == [0.0]

    blocks = build_metrics(["style_blocks_vgg19"])[0][0]
    copy, other = blocks([Sample("copy", content, [image, content], content.clone()), sample()])
    assert copy == pytest.approx(1) and other <= 1


def test_identity_is_exact_within_a_batch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.features.batch_size", lambda: 8)
    torch.save(named(random_vgg()), place("vgg19"))
    content, image = pictures()
    same = Sample("same", content, [image], content.clone())
    assert Cfsd()([sample(), same])[1] == 0.0


@pytest.mark.slow
def test_cfsd_in_chunks_equals_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(named(random_vgg()), place("vgg19"))
    whole = Cfsd()([sample()])
    monkeypatch.setattr("evaluation.metrics.cfsd.ROWS", 100)
    assert Cfsd()([sample()]) == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_inception_of_fid_gets_bytes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # the package has no way to build it without its file
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        reference = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="random").eval()
    awaken(reference)
    torch.save(reference.state_dict(), place("inception"))
    large = torch.rand(1, 3, 400, 320, generator=torch.Generator().manual_seed(1))  # than the 299 px it is resized to
    two = large, F.interpolate(large, (128, 128))
    with torch.no_grad():
        expected = [reference((picture * 255).round().to(torch.uint8))[0][0] for picture in two]
    found = [features["pooled"] for features in backbone("inception")(two)]
    compare(found, expected, 1e-5)


@pytest.mark.slow
def test_inception_of_artfid_takes_pictures_as_they_are(place: Place) -> None:
    reference = torchvision.models.inception_v3(init_weights=False, transform_input=False).eval()
    awaken(reference)
    heads = {f"fc{number}.bias": torch.zeros(10) for number in (1, 2)}
    trunk = {key: value for key, value in reference.state_dict().items() if not key.startswith(("fc", "AuxLogits"))}
    torch.save(trunk | heads, place("art_inception"))
    reference.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = [reference(picture)[0] for picture in pictures(96)]
    found = [features["pooled"] for features in backbone("art")(pictures(96))]
    assert found[0].shape == (2048,)
    compare(found, expected, 1e-5)


@pytest.mark.parametrize("variant", [None, "fp16"])  # of the file, as some caches hold it alone
def test_dino_keys_of_the_last_layer(variant: str | None, place: Place) -> None:
    config = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, patch_size=16, image_size=64
    )
    reference = ViTModel(config, add_pooling_layer=False).eval()
    reference.embeddings.patch_embeddings.projection.weight.data.mul_(20)  # otherwise the positions are all one sees
    folder = place("dino_vitb8")
    reference.save_pretrained(folder, variant=variant)
    (folder / "preprocessor_config.json").write_text("{}")
    picture = pictures(224)[0]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        embedded = reference.embeddings((torch.cat(pictures(224)) - mean) / std, interpolate_pos_encoding=True)
        last = reference.layers[-1]
        normed = last.layernorm_before(reference.layers[0](embedded))
        expected = F.linear(normed, last.attention.k_proj.weight, last.attention.k_proj.bias)
    found = [features["tokens"] for features in backbone("dino")(pictures(224))]
    assert found[0].shape == (1 + 14 * 14, 12)
    compare(found, list(expected), 1e-5)
    metric = build_metrics(["structure_dino"])[0][0]
    assert metric([Sample("same", picture, [picture], picture.clone())]) == [0.0]
    assert metric([sample(224)])[0] > 0


@pytest.fixture
def tiny_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> open_clip.CLIP:
    vision = {"image_size": 224, "layers": 2, "width": 32, "head_width": 16, "patch_size": 32}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    monkeypatch.setattr(backbones.Clip, "architecture", "tiny-clip")
    monkeypatch.setattr(backbones.Csd, "architecture", "tiny-clip")
    model = open_clip.CLIP(**config).eval()
    model.visual.conv1.weight.data.mul_(100)  # otherwise the class token is all that the embedding shows
    return model


def preprocessed(picture: Tensor) -> Tensor:
    """By open_clip's own transform, on the 8-bit picture."""
    transform = open_clip.image_transform(224, is_train=False)
    return transform(Image.fromarray(to_pixels(picture)))[None]


def test_clip_equals_open_clip(place: Place, tiny_clip: open_clip.CLIP) -> None:
    save_file(tiny_clip.state_dict(), place("clip_vit_b32"))
    first = F.interpolate(pictures()[0], (300, 401), mode="bicubic").clamp(0, 1)
    wide = [first, 1 - first]
    with torch.no_grad():
        expected = [tiny_clip.encode_image(preprocessed(picture), normalize=True)[0] for picture in wide]
    found = [features["embedding"] for features in backbone("clip")(wide)]
    compare(found, expected, 3e-3)  # Pillow resizes bytes, we resize floats
    content, image = pictures(224)
    with torch.no_grad():
        first, second = tiny_clip.encode_image(torch.cat([preprocessed(p) for p in (content, image)]), normalize=True)
    (value,) = build_metrics(["clip_image"])[0][0]([Sample("item", content, [content], image)])
    assert value == pytest.approx(float(first @ second), abs=1e-3)


def test_csd_projects_the_visual_tower_with_its_own_head(place: Place, tiny_clip: open_clip.CLIP) -> None:
    tower = tiny_clip.visual
    style = torch.randn(32, 24)
    state = {f"backbone.{key}": value for key, value in tower.state_dict().items() if key != "proj"}
    weights = state | {"last_layer_style": style, "last_layer_content": torch.zeros(32, 24)}
    # as published: what the training saved, with settings and numpy numbers, of a module wrapped for several GPUs
    checkpoint = {"model_state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}, "iter": 7}
    checkpoint |= {"args": argparse.Namespace(lr=np.float64(0.1), eval_embed="head"), "opt_proj": {"param_groups": []}}
    torch.save(checkpoint, place("csd"))
    picture = pictures(224)[0]
    tower.proj = None
    with torch.no_grad():
        expected = [F.normalize(tower(preprocessed(one)) @ style, dim=1)[0] for one in pictures(224)]
    compare([features["embedding"] for features in backbone("csd")(pictures(224))], expected, 1e-3)
    (copy,) = build_metrics(["csd"])[0][0]([Sample("copy", picture, [picture], picture.clone())])
    assert copy == pytest.approx(1, abs=1e-6)


# --- what is missing or damaged ---

NEEDS = {"cfsd": "vgg19", "gram_vgg19": "vgg19", "style_blocks_vgg19": "vgg19", "structure_dino": "dino_vitb8"}
NEEDS |= {"clip_image": "clip_vit_b32", "csd": "csd", "lpips_alex": "lpips_alex", "lpips_vgg": "lpips_vgg"}
NEEDS |= {"fid_inception": "inception", "kid": "inception", "fid_art": "art_inception"}


@pytest.mark.parametrize(("metric", "weights"), NEEDS.items())
def test_missing_weights_name_the_command(metric: str, weights: str, place: Place) -> None:
    single, whole = build_metrics([metric])
    with pytest.raises(MissingWeights) as raised:
        (*single, *whole)[0]([sample(96)])
    assert str(raised.value) == f"missing: python -m stylegallery.weights fetch {weights}"


def test_no_command_gets_a_file_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.pth is neither a file nor an entry of weights\.yaml") as raised:
        weights_file(str(tmp_path / "own.pth"))
    assert not isinstance(raised.value, MissingWeights)


@pytest.mark.parametrize("content", [b"<html>", b"", b"PK\x03\x04 cut off", b"."])
def test_damaged_weights_name_the_file(content: bytes, place: Place) -> None:
    path = place("vgg19")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"vgg19-dcbb9e9d.pth is damaged \(.*\); delete it"):
        Cfsd()([sample()])


class Trap:
    """Its pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


PICKLED = [metric for metric, weights in NEEDS.items() if table()[weights].files[-1].endswith((".pth", ".bin"))]


@pytest.mark.parametrize("metric", PICKLED)
def test_no_file_of_weights_is_run_as_code(metric: str, place: Place, tmp_path: Path) -> None:
    path = place(NEEDS[metric])
    torch.save({"conv.weight": Trap(tmp_path / "trapped")}, path)
    single, whole = build_metrics([metric])
    with pytest.raises(InputError, match=rf"{path.name} is damaged \(.*\); delete it and run: python"):
        (*single, *whole)[0]([sample(96)])
    assert not (tmp_path / "trapped").exists()


def test_inception_of_another_network_is_refused(place: Place) -> None:
    torch.save({"fc.bias": torch.zeros(3)}, place("inception"))
    with pytest.raises(InputError, match="does not fit the Inception of FID"):
        backbone("inception")([pictures()[0]])


@pytest.mark.parametrize("damage", ["a layer is missing", "the file is cut off"])
def test_dino_is_whole_or_refused(damage: str, place: Place) -> None:
    config = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, patch_size=16, image_size=64
    )
    folder = place("dino_vitb8")
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    file = folder / "model.safetensors"
    if damage == "the file is cut off":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        save_file({name: tensor for name, tensor in load_file(file).items() if "1.attention" not in name}, file)
    with pytest.raises(InputError, match=r"is damaged \(.*\); delete it and run: .* fetch dino_vitb8$"):
        backbone("dino")([pictures(224)[0]])


FILES = [metric for metric, weights in NEEDS.items() if weights != "dino_vitb8"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight enum")
@pytest.mark.parametrize("metric", FILES)
def test_weights_of_another_network_are_refused(metric: str, place: Place) -> None:
    path, other = place(NEEDS[metric]), {"features.9.weight": torch.zeros(2, 2), "9": torch.zeros(1)}
    save_file(other, path) if path.suffix == ".safetensors" else torch.save(other, path)
    single, whole = build_metrics([metric])
    with pytest.raises(
        InputError, match=rf"{path.name} (does not fit \w.* \(\S.*\)|has no style projection).*delete it"
    ):
        (*single, *whole)[0]([sample(96)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({0: torch.zeros(1)}, r"is damaged \(its entries have no names\)"),
        (torch.zeros(3), r"is damaged \(.+\)"),
        ({"model_state_dict": torch.zeros(2)}, "has no style projection"),
    ],
)
def test_a_file_without_named_tensors_is_one_sentence(content: object, says: str, place: Place) -> None:
    path = place("csd")
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"{path.name} {says}; delete it and run: .* fetch csd$"):
        backbone("csd")([pictures()[0]])


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (
            PermissionError(13, "Permission denied"),
            InputError,
            r"cannot be read \(Permission denied\); check the file$",
        ),
        (MemoryError("no room"), MemoryError, "^no room$"),
    ],
)
def test_what_is_no_damage_is_not_called_so(
    error: Exception, raised: type[Exception], says: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is to delete a file of gigabytes that another user owns."""

    def fail(*_: object, **__: object) -> None:
        raise error

    torch.save({"a": torch.zeros(1)}, place("vgg19"))
    monkeypatch.setattr("torch.load", fail)
    with pytest.raises(raised, match=says):
        Cfsd()([sample()])


def test_loading_leaves_the_global_generator(place: Place, tiny_clip: open_clip.CLIP) -> None:
    torch.save(named(random_vgg()), place("vgg19"))
    save_file(tiny_clip.state_dict(), place("clip_vit_b32"))
    state = torch.get_rng_state()
    backbone("vgg19")([pictures()[0]])
    backbone("clip")([pictures()[0]])
    assert torch.equal(torch.get_rng_state(), state)
