"""Stage 1: every step against the published code's vectors, known answers, and what must not change it."""

import random
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from composing import configured
from published_vectors import SCALARS, SHARED_VECTORS, VECTORS, needs_shared
from safetensors.torch import load_file
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from stylegallery.contract import ignored
from stylegallery.errors import InputError
from stylegallery.inversion import invert
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.regions import region_count
from stylegallery.segmentation import (
    SegmentationConfig,
    cluster,
    find_regions,
    merge,
    normalised_depth,
    principal_components,
    segment,
    split_by_depth,
)

PAPER = configured(SegmentationConfig)

MERGES = SCALARS["case03a_merge_similar_clusters"]["scenarios"]
SPLITS = SCALARS["case03b_refine_with_depth"]["scenarios"]


IMAGE = torch.zeros(1, 3, 8, 8)  # where borders do not follow its edges


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    return adjusted_rand_score(first, second) == 1.0


def blocks(seed: int, grid: tuple[int, int] = (12, 15), channels: int = 8, noise: float = 0.05) -> tuple[Tensor, ...]:
    """Three clear blocks of cells: labels (h, w), features (C', h, w) and latents (4, h, w) that tell them apart."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.ones(grid, dtype=torch.int64)
    labels[:, 6:], labels[7:, :] = 2, 3
    centres = torch.nn.functional.normalize(torch.randn(3, channels, generator=draw), dim=1) * 3
    features = centres[labels - 1].permute(2, 0, 1) + noise * torch.randn(channels, *grid, generator=draw)
    latents = (2.0 * torch.eye(3, 4))[labels - 1].permute(2, 0, 1) + 0.1 * torch.randn(4, *grid, generator=draw)
    return labels, features, latents


# --- settings ---


@pytest.mark.parametrize(
    "settings",
    [
        {"inversion_steps": 1000},  # its first timestep would be 1000, one more than there are
        {"components": 0},
        {"restarts": 0},
        {"clusters": (2,)},
        {"clusters": (5, 4)},
        {"clusters": (1, 4)},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=rf"^(segmentation\.)?{name} is "):
        configured(SegmentationConfig, **settings)


# --- merging ---


@pytest.mark.parametrize("scenario", [name for name in MERGES if name not in ("overwrite", "random9", "random12")])
def test_merge_as_published(scenario: str) -> None:
    case, settings = load_file(VECTORS / "case03a_merge_similar_clusters.safetensors"), MERGES[scenario]
    labels = case[f"{scenario}/labels"].long().numpy()
    closeness = [(case[f"{scenario}/features"].double().numpy(), settings["similar_threshold"])]
    if settings["depth_threshold"]:
        depths = normalised_depth(case[f"{scenario}/depth"], (64, 64))
        closeness.append((depths[:, None], settings["depth_threshold"]))
    merged = merge(labels, closeness)
    assert merged.max() + 1 == settings["K_out"]
    assert merged.tolist() == case[f"{scenario}/new_labels"].tolist()


def test_merge_joins_all_where_the_published_code_overwrites() -> None:
    # 2 is close to 0 and to 1, which are far apart: connected components, whatever the order (variant `paper`).
    case = load_file(VECTORS / "case03a_merge_similar_clusters.safetensors")
    labels = case["overwrite/labels"].long().numpy()
    merged = merge(labels, [(case["overwrite/features"].double().numpy(), 0.75)])
    assert MERGES["overwrite"]["K_out"] == 2
    assert merged.tolist() == [0] * len(labels)


@pytest.mark.parametrize("scenario", ["overwrite", "random9", "random12", "chain", "lock"])
def test_merge_does_not_depend_on_the_order_of_labels(scenario: str) -> None:
    case, settings = load_file(VECTORS / "case03a_merge_similar_clusters.safetensors"), MERGES[scenario]
    labels = case[f"{scenario}/labels"].long().numpy()
    values = case[f"{scenario}/features"].double().numpy()
    merged = merge(labels, [(values, settings["similar_threshold"])])
    assert 1 <= merged.max() + 1 < settings["K_in"]
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(settings["K_in"])
        assert same_partition(merge(order[labels], [(values, settings["similar_threshold"])]), merged)


def test_merge_collapses_a_chain_and_needs_a_distance_strictly_below() -> None:
    labels, values = np.array([0, 1, 2, 3]), np.array([[0.0], [1.0], [2.0], [10.0]])
    assert merge(labels, [(values, 1.5)]).tolist() == [0, 0, 0, 1]
    assert merge(labels, [(values, 1.0)]).tolist() == [0, 1, 2, 3]


def test_merge_needs_closeness_in_every_space() -> None:
    labels, near = np.array([0, 1]), np.array([[0.0], [0.1]])
    assert merge(labels, [(near, 0.2), (near, 0.2)]).tolist() == [0, 0]
    assert merge(labels, [(near, 0.2), (near, 0.05)]).tolist() == [0, 1]
    assert merge(labels, [(near, 0.05), (near, 0.2)]).tolist() == [0, 1]


# --- depth ---


@pytest.mark.parametrize("scenario", SPLITS)
def test_split_by_depth_as_published(scenario: str) -> None:
    case, settings = load_file(VECTORS / "case03b_refine_with_depth.safetensors"), SPLITS[scenario]
    labels = case[f"{scenario}/labels"].long().numpy()
    before = labels.copy()
    depths = normalised_depth(case[f"{scenario}/depth"], (64, 64))
    split = split_by_depth(labels, depths, settings["split_threshold"], seed=0)
    expected = case[f"{scenario}/new_labels"].long().numpy()
    assert split.max() + 1 == settings["K_out"]
    # Which half keeps the number depends on the draw of the two starting points: only the partition is defined.
    assert same_partition(split, expected)
    untouched = ~np.isin(labels, settings["split_ids"])
    assert (split[untouched] == expected[untouched]).all()
    assert (labels == before).all()


def test_depth_is_resized_before_it_is_normalised() -> None:
    depth = torch.full((8, 8), 2.0)
    depth[1, 1] = 1000  # never sampled by the floor rule on 4 x 4
    depth[0, 0], depth[2, 2] = 1.0, 5.0
    values = normalised_depth(depth, (4, 4))
    assert values.shape == (16,)
    assert values[0] == 0.0 and values[5] == pytest.approx(1.0, abs=1e-6) and values[1] == pytest.approx(0.25, abs=1e-6)


def test_depth_of_one_value_splits_nothing() -> None:
    labels = np.zeros(64, dtype=np.int64)
    assert split_by_depth(labels, normalised_depth(torch.full((8, 8), 3.0), (8, 8)), 0.75, 0).max() == 0


@pytest.mark.parametrize("count,parts", [(19, 1), (20, 2)])
def test_depth_splits_from_twenty_tokens_on(count: int, parts: int) -> None:
    depths = np.linspace(0, 1, count)
    assert split_by_depth(np.zeros(count, dtype=np.int64), depths, 0.75, 0).max() + 1 == parts


# --- components and clusters ---


def test_principal_components_do_not_see_the_scale_or_offset_of_a_channel() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.normal(size=(120, 3)) @ draw.normal(size=(3, 10)) + 0.1 * draw.normal(size=(120, 10))
    changed = tokens * draw.uniform(0.1, 50, 10) + draw.normal(size=10) * 20
    first, second = principal_components(tokens, 3, seed=0), principal_components(changed, 3, seed=0)
    # A component is defined up to its sign.
    np.testing.assert_allclose(np.abs(first), np.abs(second), atol=1e-4)
    assert first.shape == (120, 3) and (np.diff(first.var(0)) <= 0).all()


@pytest.mark.parametrize("shape,expected", [((50, 8), 8), ((50, 100), 50), ((90, 100), 60)])
def test_at_most_sixty_components_and_never_more_than_there_are(shape: tuple[int, int], expected: int) -> None:
    tokens = np.random.default_rng(1).normal(size=shape)
    points = principal_components(tokens, 60, seed=0)
    assert points.shape == (shape[0], expected)
    if expected == shape[1]:  # nothing is dropped, so distances survive
        standardised = (tokens - tokens.mean(0)) / tokens.std(0, ddof=1)
        distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (points, standardised)]
        np.testing.assert_allclose(*distances, atol=1e-6)


@pytest.mark.parametrize("true_k", [2, 4, 7])
def test_cluster_finds_the_number_of_separated_blobs(true_k: int) -> None:
    draw = np.random.default_rng(true_k)
    truth = np.repeat(np.arange(true_k), 30)
    points = 10 * np.eye(true_k)[truth] + draw.normal(size=(30 * true_k, true_k)) * 0.3
    assert same_partition(cluster(points, PAPER, seed=0), truth)


def test_cluster_finds_the_published_clusters() -> None:
    case = load_file(VECTORS / "extra_kmeans_silhouette.safetensors")
    found = cluster(case["separated/data"].numpy(), PAPER, seed=0)
    assert found.max() + 1 == SCALARS["extra_kmeans_silhouette"]["results"]["separated"]["k"]
    assert same_partition(found, case["separated/labels"].numpy())


def test_the_best_silhouette_wins_and_a_fixed_number_is_kept() -> None:
    # Two far pairs of near blobs: k = 2 has the best silhouette, k = 4 a good one.
    draw = np.random.default_rng(3)
    truth = np.repeat(np.arange(4), 40)
    centres = np.array([[0, 0], [0, 3.0], [20, 0], [20, 3.0]])
    points = centres[truth] + draw.normal(size=(160, 2)) * 0.3
    assert same_partition(cluster(points, PAPER, seed=0), truth // 2)
    assert same_partition(cluster(points, configured(SegmentationConfig, clusters=(4, 4)), seed=0), truth)


def test_k_stays_below_the_number_of_points() -> None:
    points = np.array([[0.0], [0.1], [5.0], [5.1]])
    assert same_partition(cluster(points, PAPER, seed=0), np.array([0, 0, 1, 1]))


# --- the stage ---


@pytest.mark.parametrize("seed", range(3))
def test_three_clear_blocks_come_back_exactly(seed: int) -> None:
    truth, features, latents = blocks(seed)
    found = segment(features, latents, IMAGE, PAPER, seed)
    assert found.shape == truth.shape and found.dtype == torch.int64
    assert same_partition(found.flatten().numpy(), truth.flatten().numpy())
    assert torch.unique(found).tolist() == [1, 2, 3]


@pytest.mark.parametrize("clusters", [(2, 10), (10, 10)])
def test_three_noiseless_blocks_come_back_exactly(clusters: tuple[int, int]) -> None:
    # Posterised pictures: k above the number of distinct points must neither win nor leave numbers without cells.
    truth, features, latents = blocks(0, noise=0.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        found = segment(features, latents, IMAGE, configured(SegmentationConfig, clusters=clusters), 0)
    assert same_partition(found.flatten().numpy(), truth.flatten().numpy())


def test_smoothing_is_a_mean_filter_that_does_not_dim_the_border() -> None:
    truth, features, latents = blocks(4, noise=2.5)
    smoothed = torch.empty_like(features)
    for i in range(features.shape[1]):
        for j in range(features.shape[2]):
            window = features[:, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            smoothed[:, i, j] = window.mean((1, 2))
    config = configured(SegmentationConfig, clusters=(3, 3), merge_distance=0.0, smallest_component=1)
    found = segment(features, latents, IMAGE, replace(config, smoothing=3), 0)
    assert same_partition(found.flatten().numpy(), segment(smoothed, latents, IMAGE, config, 0).flatten().numpy())
    rough = segment(features, latents, IMAGE, config, 0)
    scores = [adjusted_rand_score(truth.flatten().numpy(), labels.flatten().numpy()) for labels in (rough, found)]
    assert scores[0] < scores[1]


def test_borders_follow_the_picture() -> None:
    truth, features, latents = blocks(0)
    picture = torch.eye(3)[truth - 1].permute(2, 0, 1)[None]
    shifted = picture.roll(1, 3)  # a cell to the right of what the features say
    shifted[..., 0] = shifted[..., 1]
    enlarged = shifted.repeat_interleave(8, 2).repeat_interleave(8, 3)
    found = segment(features, latents, enlarged, configured(SegmentationConfig, border_margin=1.5), 0)
    assert same_partition(found.flatten().numpy(), shifted[0].argmax(0).flatten().numpy())


def test_features_without_any_difference_are_one_region() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        found = segment(torch.ones(6, 8, 8), torch.ones(4, 8, 8), IMAGE, PAPER, 0)
    assert torch.equal(found, torch.ones(8, 8, dtype=torch.int64))


def test_blocks_of_one_colour_are_merged() -> None:
    truth, features, latents = blocks(0)
    latents[:, truth == 2] = latents[:, truth == 1].mean(1, keepdim=True)
    found = segment(features, latents, IMAGE, PAPER, 0)
    assert same_partition(found.flatten().numpy(), (truth == 3).flatten().numpy())


def test_depth_cuts_a_block_that_reaches_from_near_to_far() -> None:
    truth, features, latents = blocks(0)
    depth = torch.zeros(24, 30)
    depth[:14, 12:21] = 1.0  # a part of block 2; neither merge distance lets the halves together again
    depth[:14, 21:] = 0.0
    found = segment(features, latents, IMAGE, PAPER, 0, depth)
    expected = truth.clone()
    expected[:7, 6:11] = 4
    # 10.5 grid columns end the near part: column 10 (pixel 20) is near, column 11 (pixel 22) is far.
    assert same_partition(found.flatten().numpy(), expected.flatten().numpy())


@pytest.mark.parametrize("seed", range(3))
def test_noise_gives_a_complete_map_without_gaps(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    features, latents = torch.randn(12, 11, 13, generator=draw), 3 * torch.randn(4, 11, 13, generator=draw)
    found = segment(
        features, latents, IMAGE, configured(SegmentationConfig, merge_distance=0.01, smallest_component=3), seed
    )
    assert int(found.min()) == 1
    assert torch.equal(torch.unique(found), torch.arange(1, region_count(found) + 1))


@needs_shared
def test_the_published_regions_of_a_whole_image() -> None:
    folder = SHARED_VECTORS / "stylegallery"
    inversion = load_file(folder / "case02_forward_process.safetensors")
    published = load_file(folder / "extra_segmentation.safetensors")
    features, latent = inversion["T15/fused"][0], inversion["latent0"][0]
    # K is fixed to the published choice: nine silhouettes of 4096 points would take most of this file's time.
    found = segment(features, latent, IMAGE, configured(SegmentationConfig, clusters=(2, 3), restarts=2), 0)
    assert adjusted_rand_score(published["no_depth/mask"].flatten().numpy(), found.flatten().numpy()) > 0.9


# --- randomness ---


def states() -> list[object]:
    numpy_state = np.random.get_state()  # noqa: NPY002 - the legacy global generator is what must stay untouched
    return [
        random.getstate(),
        (numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]),
        torch.get_rng_state().tolist(),
    ]


def test_the_stage_is_deterministic_and_leaves_the_global_generators_alone() -> None:
    _, features, latents = blocks(1, noise=2.0)  # blurred blocks: the draw of the starting points could show
    depth = torch.rand(24, 30, generator=torch.Generator().manual_seed(2))
    config = configured(SegmentationConfig, merge_distance=0.3, restarts=1, depth_span=0.5)
    runs = []
    for poison in (1, 2):
        random.seed(poison)
        np.random.seed(poison)  # noqa: NPY002
        torch.manual_seed(poison)
        before = states()
        runs.append(segment(features, latents, IMAGE, config, 5, depth))
        assert states() == before
    assert torch.equal(*runs)


@pytest.mark.slow
def test_analyse_on_a_model(model: DiffusionModel) -> None:
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(33, 50, dtype=torch.int64)
    mask[:17, :25] = 1
    config = configured(SegmentationConfig, inversion_steps=3, clusters=(2, 4), restarts=2, smallest_component=4)
    calls: list[int] = []
    torch.manual_seed(1)
    before = states()
    inversions = [invert(model, [image], 3, advance) for advance in (lambda: calls.append(1), ignored)]
    found, again = (find_regions(inversion, image, config, 7, mask) for (inversion,) in inversions)
    assert states() == before
    assert len(calls) == 3
    assert found.labels.shape == inversions[0][0].features.shape[-2:] == found.latent.shape[-2:] == (8, 12)
    torch.testing.assert_close(found.latent, model.encode(image))
    *_, last = model.invert(found.latent, 3)
    torch.testing.assert_close(found.inverted, last.latents)
    assert torch.equal(found.labels, again.labels) and torch.equal(found.inverted, again.inverted)
    # The user's region covers what the mask covers and comes last.
    rows, columns = torch.arange(8) * 33 // 8, torch.arange(12) * 50 // 12
    assert torch.equal(found.labels == region_count(found.labels), mask[rows][:, columns] == 1)
    assert torch.equal(torch.unique(found.labels), torch.arange(1, region_count(found.labels) + 1))


def test_more_regions_than_a_region_map_holds(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be found, optimised, and then lost, as the map cannot be written."""
    config = configured(SegmentationConfig, inversion_steps=1, clusters=(2, 2), restarts=1)
    mask = torch.zeros(64, 64, dtype=torch.int64)
    mask[:32, :32], mask[:32, 32:], mask[32:, 32:] = 1, 2, 3
    monkeypatch.setattr("stylegallery.segmentation.MOST_REGIONS", 3)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    (inversion,) = invert(model, [image], 1)
    with pytest.raises(InputError, match=r"has 4 regions, more than 3; raise segmentation\.smallest_component"):
        find_regions(inversion, image, config, 0, mask=mask)
    mask[32:, :32] = 3
    assert region_count(find_regions(inversion, image, config, 0, mask=mask).labels) == 3
