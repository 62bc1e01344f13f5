"""Metrics that need no downloaded weights: identities, bounds, closed forms, and how values move with the picture."""

import math
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, SHARED
from scipy import stats
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.transforms.functional import gaussian_blur

from evaluation.backbones import backbone
from evaluation.metric import Metric, Sample, SetMetric, clamped
from evaluation.metrics.artfid import ArtFid, compose
from evaluation.metrics.edge_f1 import EdgeF1
from evaluation.metrics.fid import Fid
from evaluation.metrics.histogram import hellinger, rgb_uv
from evaluation.metrics.kid import Kid
from evaluation.metrics.ms_ssim import MsSsim
from evaluation.metrics.structure import self_similarity
from evaluation.registry import build_metrics, metric_info
from evaluation.statistics import estimate_set
from stylegallery.errors import InputError
from stylegallery.images import read_image

PUBLISHED = SHARED / "data" / "published_outputs"
STRUCTURE = ("ms_ssim", "edge_f1", "structure_efficientnet")
STYLE = ("gram_efficientnet", "style_blocks_efficientnet", "histogram")


@cache
def load(path: Path, side: int = 256) -> Tensor:
    return F.interpolate(read_image(path), (side, side), mode="bicubic", antialias=True).clamp(0, 1)


SAMPLES = ROOT / "data" / "samples"
CONTENT = SAMPLES / "content" / "china.jpg"
VILLAGE, MOSAIC = (SAMPLES / "style" / f"{name}.jpg" for name in ("painterly_village", "mosaic_bay"))


@cache
def metric(name: str) -> Metric:
    return build_metrics([name])[0][0]


def sample(image: Tensor, references: tuple[Tensor, ...] = (), content: Tensor | None = None) -> Sample:
    return Sample("item", load(CONTENT) if content is None else content, list(references or [load(VILLAGE)]), image)


def cost(name: str, image: Tensor, *references: Tensor) -> float:
    """The value, turned so that lower is better."""
    (value,) = metric(name)([sample(image, references)])
    return -value if metric(name).direction == "up" else value


def best(name: str) -> float:
    """The best possible cost."""
    low, high = metric(name).bounds
    return -high if metric(name).direction == "up" else low


def test_every_config_is_a_metric_of_its_name() -> None:
    metrics, sets = build_metrics()
    names = {path.stem for path in (ROOT / "conf" / "metric").glob("*.yaml")}
    assert {m.name for m in [*metrics, *sets]} == names
    assert all(m.direction in ("up", "down") and m.bounds[0] < m.bounds[1] and m.version >= 1 for m in metrics)
    assert {m.kind for m in metrics} == {"structure", "style", "regional"}
    for one in (*metrics, *sets):
        known = metric_info(one.name)
        assert (known.kind, known.direction, known.version) == (one.kind, one.direction, one.version)


# --- identities, bounds, batches ---


@pytest.mark.parametrize("name", STRUCTURE)
def test_identity_is_exactly_the_best_structure(name: str) -> None:
    assert cost(name, load(CONTENT).clone()) == best(name)


@pytest.mark.parametrize("name", STYLE)
def test_copy_of_any_reference_is_exactly_the_best_style(name: str) -> None:
    references = load(VILLAGE), load(MOSAIC)
    for reference in references:
        assert cost(name, reference.clone(), *references) == pytest.approx(best(name), abs=1e-6)
    assert cost(name, load(CONTENT), *references) > best(name) + 0.01


@pytest.mark.parametrize("name", STRUCTURE + STYLE)
def test_values_stay_in_bounds_on_extreme_pictures(name: str) -> None:
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    flat = [torch.full((1, 3, 256, 256), level) for level in (0.0, 0.5, 1.0)]
    pictures = [*flat, noise, load(CONTENT)]
    values = metric(name)([sample(a, (b,), b) for a in pictures for b in pictures])
    low, high = metric(name).bounds
    assert all(low <= value <= high for value in values)


@pytest.mark.parametrize("name", STRUCTURE + STYLE)
@pytest.mark.slow
def test_batched_equals_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh() -> list[Sample]:  # pictures of two shapes, none of them seen before
        pictures = [load(path, side).clone() for path in (CONTENT, VILLAGE, MOSAIC) for side in (256, 192)]
        return [sample(a, (b, c), load(CONTENT, a.shape[-1])) for a, b, c in zip(*[iter(pictures)] * 3, strict=True)]

    with monkeypatch.context() as patch:
        patch.setattr("evaluation.features.batch_size", lambda: 8)  # as on a GPU
        together = metric(name)(fresh())
    assert together == pytest.approx([metric(name)([one])[0] for one in fresh()], abs=1e-5)


def test_a_backbone_sees_each_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = backbone("efficientnet"), []
    features = network.features
    monkeypatch.setattr(network, "features", lambda images: seen.append(len(images)) or features(images))
    generator = torch.Generator().manual_seed(0)
    new = [torch.rand(1, 3, 64, 64, generator=generator) for _ in range(9)]
    samples = [
        sample(new[i], (new[i + 1], new[i + 2].clone()), new[i + 2]) for i in (0, 3, 6)
    ]  # one equal picture each
    for name in ("structure_efficientnet", "gram_efficientnet", "style_blocks_efficientnet"):
        metric(name)(samples)
    assert sum(seen) == 9
    kept = len(network.kept)
    del samples, new
    assert len(network.kept) == kept - 12  # features go with their pictures


# --- how values move ---


@pytest.mark.parametrize("name", STRUCTURE)
def test_the_more_blur_the_less_structure(name: str) -> None:
    costs = [cost(name, gaussian_blur(load(CONTENT), [31, 31], [sigma])) for sigma in (0.5, 1.5, 4.0)]
    assert best(name) < costs[0] < costs[1] < costs[2]


def test_brightness_moves_the_histogram_and_hardly_the_structure() -> None:
    content = load(CONTENT) * 0.8
    brighter, blurred = content + 0.1, gaussian_blur(content, [31, 31], [4.0])
    moved = {
        name: [metric(name)([sample(image, (content,), content)])[0] for image in (brighter, blurred)]
        for name in ("histogram", *STRUCTURE)
    }
    assert moved["histogram"][0] > max(0.1, moved["histogram"][1])
    assert moved["ms_ssim"][0] > 0.9 > moved["ms_ssim"][1]
    assert moved["edge_f1"][0] > 0.9 > moved["edge_f1"][1]
    assert moved["structure_efficientnet"][0] < 0.3 * moved["structure_efficientnet"][1]


@pytest.mark.parametrize("name", STYLE)
def test_style_improves_towards_the_reference(name: str) -> None:
    mixed = [cost(name, load(CONTENT) * (1 - part) + load(VILLAGE) * part, load(VILLAGE)) for part in (0, 0.6, 0.9)]
    assert mixed[0] > mixed[1] > mixed[2] > best(name)


@pytest.mark.parametrize("name", STYLE)
def test_more_references_never_worsen_style(name: str) -> None:
    alone = [cost(name, load(CONTENT), load(path)) for path in (VILLAGE, MOSAIC)]
    assert cost(name, load(CONTENT), load(VILLAGE), load(MOSAIC)) <= min(alone) + 1e-6


@pytest.mark.parametrize("name", STYLE)
def test_the_mean_over_references_does_not_favour_many(name: str) -> None:
    """Beside the nearest, which never gets worse with more references: of the photo, too."""
    references = load(VILLAGE), load(MOSAIC)
    alone = [cost(name, load(CONTENT), reference) for reference in references]
    assert abs(alone[0] - alone[1]) > 1e-3
    mean = f"{name}_mean"
    assert cost(mean, load(CONTENT), *references) == pytest.approx(sum(alone) / 2)
    assert cost(mean, load(CONTENT), *references, references[0], references[1]) == pytest.approx(sum(alone) / 2)
    assert [cost(mean, load(CONTENT), reference) for reference in references] == alone
    nearest = cost(name, load(CONTENT), *references)
    assert nearest == min(alone) if not name.startswith("style_blocks") else nearest < min(alone) - 1e-4
    assert cost(mean, references[0].clone(), *references) > best(name) + 0.01  # a copy of one is not the style of both


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the authors' outputs are not on this machine")
@pytest.mark.parametrize(
    ("name", "hits"), [("gram_efficientnet", 6), ("style_blocks_efficientnet", 8), ("histogram", 8)]
)
@pytest.mark.slow
def test_published_results_lie_nearest_to_their_own_reference(name: str, hits: int) -> None:
    """Issue 4 asks for three quarters of the single-reference results: 6 of 8. The mosaic, s4, is what Gram misses."""
    styles = [load(PUBLISHED / "style" / f"s{number}.png") for number in range(1, 5)]
    found = 0
    for content in (1, 2):
        for own in range(4):
            image = load(PUBLISHED / "result" / f"res_c{content}_s{own + 1}.png")
            found += min(range(4), key=lambda number: cost(name, image, styles[number])) == own
    assert found >= hits


# --- values that are none ---


class NoNumbers:
    """A network whose features of one picture are not numbers."""

    names = ("embedding", "histogram", "blocks", "tokens", "relu3_1", *(f"gram {number}" for number in range(1, 6)))

    def __init__(self, picture: Tensor) -> None:
        self.picture = picture

    def __call__(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        values = [torch.nan if picture is self.picture else 0.5 for picture in pictures]
        return [
            {name: torch.full((16,) if name == "embedding" else (16, 16), v) for name in self.names} for v in values
        ]


@pytest.fixture
def three() -> Sample:
    """A result of two references."""
    image, *references = torch.rand(3, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return sample(image, tuple(references))


@pytest.mark.parametrize("name", ["csd", "gram_efficientnet", "gram_vgg19", "histogram"])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_no_number_of_any_picture_is_no_number_of_style(
    name: str, bad: int, three: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NoNumbers([three.image, *three.references][bad])
    place = "histogram.rgb_uv" if name == "histogram" else "references.backbone"
    monkeypatch.setattr(f"evaluation.metrics.{place}", lambda *_: network)
    assert math.isnan(metric(name)([three])[0])


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_blocks_that_are_no_numbers_cannot_be_assigned(
    bad: int, three: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NoNumbers([three.image, *three.references][bad])
    monkeypatch.setattr("evaluation.metrics.references.backbone", lambda _: network)
    with pytest.raises(ValueError, match="invalid numeric"):
        metric("style_blocks_efficientnet")([three])


@pytest.mark.parametrize("name", ["ms_ssim", "cfsd", "structure_efficientnet"])
def test_no_number_in_a_picture_is_no_number_of_structure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = load(CONTENT).clone()
    image[0, 0, 100, 100] = torch.nan
    if name != "ms_ssim":
        monkeypatch.setattr(f"{type(metric(name)).__module__}.backbone", lambda _: NoNumbers(image))
    assert math.isnan(metric(name)([sample(image)])[0])


def test_only_numbers_are_clamped() -> None:
    assert [clamped(value, 0.0, 1.0) for value in (-1e-7, 0.5, 1 + 1e-7)] == [0.0, 0.5, 1.0]
    assert clamped(-3.0, high=1.0) == -3.0 and clamped(3.0, low=1.0) == 3.0
    assert math.isnan(clamped(math.nan, 0.0, 1.0)) and clamped(math.inf, 0.0, 1.0) == math.inf


# --- closed forms ---


def test_edge_f1_counts_within_its_tolerance() -> None:
    content, image = np.zeros((2, 20, 20), dtype=bool)
    content[5, :], image[7, :10] = True, True
    assert EdgeF1(2.0).f1(content, image) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert EdgeF1(1.9).f1(content, image) == 0
    assert EdgeF1(2.0).f1(np.zeros_like(content), np.zeros_like(content)) == 1
    assert EdgeF1(2.0).f1(content, np.zeros_like(content)) == 0


@pytest.mark.parametrize("side", [32, 41, 98, 160, 161])
def test_ms_ssim_fits_its_scales_to_small_pictures(side: int) -> None:
    (value,) = MsSsim()([sample(load(VILLAGE, side), content=load(CONTENT, side))])
    assert 0 <= value < 0.9
    assert MsSsim()([sample(load(CONTENT, side).clone(), content=load(CONTENT, side))]) == [1.0]


MIXES = {"village": (0.5, 0.6108), "mosaic": (0.3, 0.8137)}  # share of the style, MS-SSIM of pytorch-msssim 1.0.0


def mixed(name: str) -> Tensor:
    share, style = MIXES[name][0], {"village": VILLAGE, "mosaic": MOSAIC}[name]
    return load(CONTENT) * (1 - share) + load(style) * share


@pytest.mark.parametrize("name", MIXES)
def test_ms_ssim_is_that_of_other_implementations(name: str) -> None:
    """piq 0.8 gives the same four digits; torchmetrics 1.9, which keeps windows over a border, 0.5972 and 0.8111."""
    assert MsSsim()([sample(mixed(name))])[0] == pytest.approx(MIXES[name][1], abs=2e-4)


@pytest.mark.parametrize("height", [256, 251])
def test_ms_ssim_equals_its_definition(height: int) -> None:
    """By SciPy in float64, window by window inside the picture; 251 is odd at every scale but one."""
    colours = [image[0, :, :height].double().numpy() for image in (load(CONTENT), mixed("mosaic"))]
    grey = [np.einsum("chw,c->hw", colour, [0.299, 0.587, 0.114]) for colour in colours]
    mean = lambda values: gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]  # noqa: E731
    expected, factors = 1.0, []
    for beta in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        first, second = grey
        covariance = mean(first * second) - mean(first) * mean(second)
        variances = mean(first**2) - mean(first) ** 2 + mean(second**2) - mean(second) ** 2
        contrast = (2 * covariance + 0.0009) / (variances + 0.0009)
        light = (2 * mean(first) * mean(second) + 0.0001) / (mean(first) ** 2 + mean(second) ** 2 + 0.0001)
        factors.append((contrast.mean(), (contrast * light).mean(), beta))
        even = [np.pad(values, [(0, side % 2) for side in values.shape], mode="edge") for values in grey]
        grey = [(v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4 for v in even]
    for number, (contrast, whole, beta) in enumerate(factors):
        expected *= (whole if number == 4 else contrast) ** beta
    (value,) = MsSsim()([sample(mixed("mosaic")[:, :, :height], content=load(CONTENT)[:, :, :height])])
    assert value == pytest.approx(expected, abs=1e-5)


def test_histogram_equals_the_sum_over_pixels() -> None:
    image = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    pixels = image[0].flatten(1).double()
    centres = torch.linspace(-3, 3, 64).double()
    weight = (pixels.square().sum(0) + 1e-6).sqrt()
    planes = []
    for base, first, second in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        u, v = (torch.log((pixels[base] + 1e-6) / (pixels[other] + 1e-6)) for other in (first, second))
        near_u, near_v = (1 / (1 + ((ratio[:, None] - centres) / 0.02) ** 2) for ratio in (u, v))
        planes.append(torch.einsum("n,nu,nv->uv", weight, near_u, near_v))
    expected = torch.stack(planes) / torch.stack(planes).sum()
    found = rgb_uv()([image])[0]["histogram"]
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-8)


def test_hellinger_of_disjoint_and_equal_histograms() -> None:
    first, second = torch.eye(2)
    assert hellinger(first, second) == 1
    assert hellinger(first, first) == 0
    assert hellinger(first, torch.tensor([0.5, 0.5])) == pytest.approx(math.sqrt(1 - math.sqrt(0.5)))


def test_self_similarity_does_not_see_the_length_of_tokens() -> None:
    tokens = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    expected = torch.tensor([[1, 0.5**0.5], [0.5**0.5, 1]])
    torch.testing.assert_close(self_similarity(tokens), expected)


# --- sets ---


def of_set(metric: SetMetric, samples: list[Sample]) -> float:
    """The score of all samples."""
    return metric(samples)(torch.ones(len(samples), dtype=torch.bool))


def feature_samples(name: str, rows: np.ndarray, references: np.ndarray, **values: list[float]) -> list[Sample]:
    """Samples whose features are already there: the metric is tested without its network."""
    picture = torch.zeros(1, 3, 32, 32)
    return [
        Sample(
            str(index), picture, [picture], picture,
            features={name: torch.tensor(np.stack([row, reference]))} | {k: v[index] for k, v in values.items()},
        )
        for index, (row, reference) in enumerate(zip(rows, references, strict=True))
    ]  # fmt: skip


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images, references = random.normal(size=(40, 6)), random.normal(0.3, 1.5, size=(40, 6))
    references[20:] = references[:20]  # each of two items
    return images, references


def test_fid_equals_scipy(rows: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = rows
    covariances = np.cov(first.T), np.cov(second.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert of_set(Fid("art"), feature_samples("art", first, second)) == pytest.approx(expected, rel=1e-9)
    assert of_set(Fid("art"), feature_samples("art", first, first)) == pytest.approx(0, abs=1e-9)
    assert of_set(Fid("art"), feature_samples("art", first, np.roll(second, 1, 0))) == pytest.approx(expected, rel=1e-9)
    assert of_set(Fid("art"), feature_samples("art", first, np.roll(second, 1, 1))) > 1.01 * expected


def test_fid_of_fewer_pictures_than_features_is_zero_for_equal_sets() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 64))
    assert of_set(Fid("art"), feature_samples("art", rows, rows[::-1])) == pytest.approx(0, abs=1e-9)


def test_fid_of_shifted_pictures_on_a_real_network() -> None:
    pictures = [load(path, side).clone() for path in (CONTENT, VILLAGE, MOSAIC) for side in (256, 192)]
    same = [Sample("item", picture, [picture], picture.clone()) for picture in pictures]
    darker = [Sample("item", picture, [picture], picture * 0.5) for picture in pictures]
    assert of_set(Fid("efficientnet"), same) < 1e-3 < 0.1 < of_set(Fid("efficientnet"), darker)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kid_is_the_unbiased_estimate_of_all_pairs(rows: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = rows
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    count = len(first)
    within = [(kernel(a, a).sum() - np.trace(kernel(a, a))) / (count * (count - 1)) for a in rows]
    expected = sum(within) - 2 * kernel(first, second).mean()
    assert of_set(Kid("inception"), feature_samples("inception", first, second)) == pytest.approx(expected, rel=1e-9)
    kid = KernelInceptionDistance(nn.Identity(), subset_size=count)  # the package's subsets are of all pictures then
    kid.update(torch.tensor(second), real=True)
    kid.update(torch.tensor(first), real=False)
    assert float(kid.compute()[0]) == pytest.approx(expected, rel=1e-6)
    assert abs(of_set(Kid("inception"), feature_samples("inception", first, first)) - expected) > 0.1 * abs(expected)


def test_kid_of_more_references_than_pictures_takes_all_of_them() -> None:
    """Subsets of equal size would leave most out."""
    random = np.random.default_rng(1)
    first, second = random.normal(size=(4, 6)), random.normal(size=(4, 3, 6))
    samples = [
        replace(sample, features={"inception": torch.tensor(np.vstack([row, these]))})
        for sample, row, these in zip(feature_samples("inception", first, first), first, second, strict=True)
    ]
    kernel = lambda a, b: (a @ b.T / 6 + 1) ** 3  # noqa: E731
    within = [kernel(a, a)[~np.eye(len(a), dtype=bool)].mean() for a in (first, second.reshape(-1, 6))]
    expected = sum(within) - 2 * kernel(first, second.reshape(-1, 6)).mean()
    assert of_set(Kid("inception"), samples) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", [Fid("art"), Kid("art"), ArtFid()])
def test_the_score_of_a_part_is_that_of_its_items_alone(metric: SetMetric, rows: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (values[:6] for values in rows)
    second[3] = second[0]  # one reference of two items
    samples = feature_samples("art", first, second, lpips_alex=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    part = torch.tensor([True, False, True, True, False, True])
    value = metric(samples)(part)
    assert value == pytest.approx(of_set(metric, [samples[index] for index in (0, 2, 3, 5)]), rel=1e-9)
    assert abs(value - of_set(metric, samples)) > 0.01 * abs(value)


# --- intervals of sets ---


def test_the_interval_of_a_mean_is_the_cluster_robust_one() -> None:
    random = np.random.default_rng(0)
    values = torch.tensor(random.normal(size=(15, 1)) + 0.5 * random.normal(size=(15, 8))).flatten()
    contents = [f"content {number}" for number in range(15) for _ in range(8)]
    found = estimate_set(lambda part: float(values[part].mean()), contents, (-5.0, 5.0))
    half = stats.t.ppf(0.975, 14) * float(values.reshape(15, 8).mean(1).std()) / 15**0.5
    assert found.contents == 15
    assert (found.low, found.value, found.high) == pytest.approx(
        (float(values.mean()) - half, float(values.mean()), float(values.mean()) + half)
    )
    assert half > 2 * stats.t.ppf(0.975, 119) * float(values.std()) / 120**0.5  # of items taken for independent


def test_many_contents_are_left_out_in_groups() -> None:
    asked: list[int] = []

    def score(part: torch.Tensor) -> float:
        asked.append(int(part.sum()))
        return float(torch.arange(120.0)[part].mean())

    found = estimate_set(score, [f"{number:03}" for number in range(120)], (0.0, 120.0))
    assert found.contents == 120 and asked[0] == 120 and sorted(asked[1:]) == [117] * 20 + [118] * 30


def test_below_ten_contents_there_is_no_interval() -> None:
    score = lambda part: float(torch.arange(30.0)[part].mean())  # noqa: E731
    nine = estimate_set(score, [str(number % 9) for number in range(30)], (0.0, 30.0))
    contents = [str(number % 10) for number in range(30)]
    ten, within = (estimate_set(score, contents, bounds) for bounds in ((0.0, 30.0), (14.4, 14.6)))
    assert (nine.value, nine.low, nine.high, nine.contents) == (14.5, None, None, 9)
    assert ten.low is not None and ten.high is not None and ten.low < 14.4 and ten.high > 14.6
    assert (within.low, within.high, within.contents) == (14.4, 14.6, 10)  # not beyond the bounds


def test_a_metric_says_itself_what_it_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {metric_info(name).kind for name in ("fid_inception", "fid_art", "kid")} == {"style"}
    assert metric_info("artfid").kind == "set"
    (tmp_path / "distance.yaml").write_text("_target_: evaluation.metrics.kid.Kid\n")  # whatever its file is called
    monkeypatch.setattr("evaluation.registry.metric_files", lambda: {"distance": tmp_path / "distance.yaml"})
    assert metric_info.__wrapped__("distance").kind == "style"
    (tmp_path / "distance.yaml").write_text("_target_: evaluation.metrics.references.ToReferences\n")
    with pytest.raises(InputError, match="the class of the metric distance does not say its direction; add it there"):
        metric_info.__wrapped__("distance")


@pytest.mark.parametrize(
    ("change", "config", "says"),
    [
        ({"kind": "strucure"}, "", "metric.mine.kind is 'strucure'; it should be 'structure', 'style', 'regional' or"),
        ({"direction": "lower"}, "", "metric.mine.direction is 'lower'; it should be 'up' or 'down'"),
        ({"version": None}, "", "the class of the metric mine does not say its version; add it there"),
        ({"name": "other"}, "", "mine.yaml makes a metric with name='other'; give both one name"),
        ({"bounds": None}, "", "the class of the metric mine has no bounds; add it, as in"),
        ({}, "\nside: 3", "metric.mine.side is not a setting of made_metric.Mine"),
        ({}, "s", "metric.mine names made_metric.Mines, which does not exist; check _target_ in its config"),
        ({"def __init__(self, side)": "pass"}, "", "missing a required argument: 'side'"),
    ],
)
def test_a_metric_that_is_none_is_refused_with_what_to_mend(
    change: dict[str, str | None], config: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"name": "mine", "version": 1, "direction": "up", "bounds": (0.0, 1.0), "kind": "style"} | change
    calls = {"def __call__(self, samples)": "return [0.0 for _ in samples]"}
    calls |= {line: str(said.pop(line)) for line in change if line.startswith("def")}
    body = [f"{key} = {value!r}" for key, value in said.items() if value] + [": ".join(one) for one in calls.items()]
    (tmp_path / "made_metric.py").write_text("class Mine:\n" + "".join(f"    {line}\n" for line in body))
    (tmp_path / "mine.yaml").write_text(f"_target_: made_metric.Mine{config}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_metric", raising=False)
    monkeypatch.setattr("evaluation.registry.metric_files", lambda: {"mine": tmp_path / "mine.yaml"})
    metric_info.cache_clear()
    with pytest.raises(InputError, match=re.escape(says)):
        build_metrics(["mine"])


@pytest.mark.parametrize("metric", [Fid("art"), Kid("art")])
def test_the_interval_of_a_set_is_as_wide_as_the_score_moves_with_other_contents(metric: SetMetric) -> None:
    """Fifteen contents of four items each, fewer pictures than features; fifty draws of the contents."""
    styles = np.tile(np.random.default_rng(0).normal(size=(4, 96)), (15, 1))
    contents = [str(number // 4) for number in range(60)]
    values, halves = [], []
    for seed in range(50):
        random = np.random.default_rng(seed + 1)
        rows = (random.normal(size=(15, 1, 96)) + random.normal(size=(15, 4, 96))).reshape(60, 96)
        found = estimate_set(metric(feature_samples("art", rows, styles)), contents, metric.bounds)
        assert found.low is not None
        values.append(found.value)
        halves.append(found.value - found.low)
    spread = stats.t.ppf(0.975, 14) * np.std(values, ddof=1)
    assert 0.75 < np.mean(halves) / spread < 1.4
    assert np.mean(np.abs(np.array(values) - np.mean(values)) < halves) > 0.85


def test_sets_need_two_pictures(rows: tuple[np.ndarray, np.ndarray]) -> None:
    for metric, name in ((Fid("art"), "art"), (Kid("inception"), "inception")):
        with pytest.raises(ValueError, match="at least two"):
            metric(feature_samples(name, rows[0][:1], rows[1][:1]))


@pytest.mark.parametrize("metric", [Fid("art"), Kid("inception")])
def test_sets_of_no_pictures_say_so(metric: Fid | Kid) -> None:
    with pytest.raises(ValueError, match="at least two"):
        metric([])


@pytest.mark.parametrize("bad", [0, 1])
def test_fid_of_no_number_is_no_number(rows: tuple[np.ndarray, np.ndarray], bad: int) -> None:
    rows[bad][3, 2] = np.nan
    with pytest.raises(RuntimeError, match="svd"):
        of_set(Fid("art"), feature_samples("art", *rows))


def test_artfid_of_no_pictures_is_a_reason() -> None:
    with pytest.raises(ValueError, match="there are none"):
        ArtFid()([])


def test_artfid_is_composed_of_its_parts(rows: tuple[np.ndarray, np.ndarray]) -> None:
    distances = list(np.linspace(0.2, 0.6, len(rows[0])))
    samples = feature_samples("art", *rows, lpips_alex=distances)
    expected = (1 + sum(distances) / len(distances)) * (1 + of_set(Fid("art"), samples))
    assert of_set(ArtFid(), samples) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("fid", "lpips", "artfid"),
    [
        (17.255, 0.4934, 27.262), (18.141, 0.4549, 27.843), (18.498, 0.5299, 29.831), (17.623, 0.3856, 25.804),
        (19.829, 0.5005, 31.254), (20.638, 0.6615, 35.952), (18.987, 0.4496, 28.973), (17.677, 0.4032, 26.207),
        (19.233, 0.4532, 29.402), (16.889, 0.3716, 24.536),
    ],
)  # fmt: skip
def test_artfid_of_the_published_columns(fid: float, lpips: float, artfid: float) -> None:
    assert compose(lpips, fid) == pytest.approx(artfid, abs=0.006)
