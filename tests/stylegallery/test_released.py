"""Variant `released`: the options of the three stages against vectors computed with the published code."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from composing import configured
from hydra.utils import instantiate
from omegaconf import DictConfig
from published_vectors import SCALARS, VECTORS, needs_shared, shared_case
from safetensors.torch import load_file
from test_guidance import analysis, case06, pair
from torch import Tensor

from stylegallery.contract import MatchConstraints
from stylegallery.errors import InputError
from stylegallery.guidance import (
    GuidanceConfig,
    content_loss,
    optimise,
    regional_style_loss,
    style_target,
)
from stylegallery.matching import (
    MatchingConfig,
    best_matches,
    describe,
    enclosing_circles,
    region_semantics,
    region_statistics,
    region_transformer,
    score_terms,
)
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import differentiate
from stylegallery.segmentation import Segmentation, SegmentationConfig, merge, normalised_depth

RELEASED_MATCHING = configured(
    MatchingConfig,
    aggregation="random_transformer",
    variance="map",
    encoder_view="centre",
    lone_token="dropped",
    circle="centroid",
)


@pytest.mark.slow
def test_the_method_is_the_variant(composed: Callable[..., DictConfig]) -> None:
    method = instantiate(composed("method=stylegallery_released").method, _convert_="all")
    assert method.matching == RELEASED_MATCHING
    assert method.segmentation.merging == "sequential"
    assert (method.guidance.outside_keys, method.guidance.batched) == ("zeroed", False)
    assert method.guidance.extras.initial == "inverted"
    paper = instantiate(composed("method=stylegallery").method, _convert_="all")
    assert paper.matching == configured(MatchingConfig)
    assert (paper.segmentation.merging, paper.guidance.outside_keys) == ("connected", "excluded")


# --- stage 1: merging in order ---


@needs_shared
def test_merging_in_order_as_published() -> None:
    case, scalars = shared_case("stylegallery", "case03a_merge_similar_clusters")
    checked = 0
    for name, settings in scalars["scenarios"].items():
        if f"{name}/labels" not in case:
            continue
        # Labels out of range are clamped by the published code; here they cannot arise.
        labels = case[f"{name}/labels"].long().clamp(0, settings["K_in"] - 1).numpy()
        closeness = [(case[f"{name}/features"].double().numpy(), settings["similar_threshold"])]
        if settings["depth_threshold"] is not None and settings["depth_given"]:
            depths = normalised_depth(case[f"{name}/depth"], (64, 64))
            closeness.append((depths[:, None], settings["depth_threshold"]))
        assert merge(labels, closeness, "sequential").tolist() == case[f"{name}/new_labels"].tolist(), name
        checked += 1
    assert checked == 11


@pytest.mark.parametrize("scenario", ["chain", "overwrite", "none", "all", "random9", "random12", "lock"])
def test_merging_in_order_on_the_bundled_vectors(scenario: str) -> None:
    case = load_file(VECTORS / "case03a_merge_similar_clusters.safetensors")
    settings = SCALARS["case03a_merge_similar_clusters"]["scenarios"][scenario]
    closeness = [(case[f"{scenario}/features"].double().numpy(), settings["similar_threshold"])]
    if settings["depth_threshold"]:
        closeness.append((normalised_depth(case[f"{scenario}/depth"], (64, 64))[:, None], settings["depth_threshold"]))
    merged = merge(case[f"{scenario}/labels"].long().numpy(), closeness, "sequential")
    assert merged.tolist() == case[f"{scenario}/new_labels"].tolist()


def test_the_last_close_cluster_before_wins_and_the_order_matters() -> None:
    # 2 is close to 0 and to 1, which are far apart.
    labels, values = np.array([0, 1, 2]), np.array([[0.0], [2.0], [1.0]])
    assert merge(labels, [(values, 1.5)], "sequential").tolist() == [0, 1, 1]
    assert merge(labels, [(values, 1.5)], "connected").tolist() == [0, 0, 0]
    swapped = np.array([[2.0], [0.0], [1.0]])
    assert merge(labels, [(swapped, 1.5)], "sequential").tolist() == [0, 1, 1]
    assert merge(labels, [(np.array([[0.0], [1.0], [2.0]]), 1.5)], "sequential").tolist() == [0, 0, 0]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError, match=r"^segmentation\.merging is .*; it should be 'connected' or 'sequential'"):
        configured(SegmentationConfig, merging="union")
    with pytest.raises(InputError, match=r"matching\.circle"):
        configured(MatchingConfig, circle="square")
    with pytest.raises(InputError, match="outside_keys"):
        configured(GuidanceConfig, outside_keys="gone")


# --- stage 2: descriptors and scores ---

NAMES = ("content", "style0", "style1")


def test_circles_around_the_centroid_as_published() -> None:
    for name, row in SCALARS["case04_circles"]["point_sets"].items():
        labels = torch.zeros(64, 64, dtype=torch.int64)
        cells = [(r, c) for r in range(64) for c in range(64)] if name == "full64" else row["points"]
        for r, c in cells:
            labels[r, c] = 1
        found = enclosing_circles(labels, "centroid")[0] * 64
        assert found.tolist() == pytest.approx([*row["center"], row["radius"]], rel=1e-9, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("variant,aggregation", [("identity", "none"), ("random_transformer", "random_transformer")])
def test_scores_and_matches_as_published(variant: str, aggregation: str) -> None:
    case, scalars = load_file(VECTORS / "case05_match.safetensors"), SCALARS["case05_match"]
    config = replace(RELEASED_MATCHING, aggregation=aggregation, encoder_view="whole")
    described = []
    for name in NAMES:
        tokens = case[f"{name}/dino_last_hidden_state"][:, 1:].mT.unflatten(2, (16, 16))
        described.append(
            describe(
                case[f"{name}/mask"].long(), case[f"{name}/unet_feature"][0], torch.zeros(1, 3, 512, 512),
                lambda _, tokens=tokens: tokens, config, scalars["transformer_seed"],
            )
        )  # fmt: skip
    circles = np.concatenate([d.circles for d in described]) * 64
    np.testing.assert_allclose(circles[:, :2], case["circle_center"].numpy(), rtol=1e-9)
    np.testing.assert_allclose(circles[:, 2], case["circle_radius"].numpy(), rtol=1e-9)
    combined = torch.cat([d.statistics for d in described])
    torch.testing.assert_close(combined, case[f"{variant}/combined"], rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(
        torch.cat([d.semantics for d in described]), case["dino_region_mean"], rtol=1e-5, atol=1e-6
    )
    terms = np.concatenate([score_terms(described[0], reference) for reference in described[1:]], axis=1)
    expected = [case[f"{variant}/cos_combined"], case["cos_dino"], case["overlap_ratio"]]
    for index, values in enumerate(expected):
        np.testing.assert_allclose(terms[..., index], values.numpy(), atol=2e-5 if index == 0 else 2e-6)
    scores = terms @ np.array([0.25, 1.0, 0.125])
    np.testing.assert_allclose(scores, case[f"{variant}/score"].numpy(), atol=2e-5 if variant != "identity" else 2e-6)
    for found in best_matches(described[0], described[1:], config, MatchConstraints()):
        best = scalars["best_matches"][variant][str(found.content_region)]
        assert (found.reference - 1, found.reference_region) == (best["style_index"], best["style_label"])
        assert found.score == pytest.approx(best["score"], abs=2e-5)


def test_the_random_transformer_is_the_published_one() -> None:
    case = load_file(VECTORS / "case05_match.safetensors")
    before = torch.get_rng_state()
    transformer = region_transformer(8, SCALARS["case05_match"]["transformer_seed"])
    assert torch.equal(torch.get_rng_state(), before)
    parts = {"attn.in_proj_weight": "attn.in_proj_weight", "attn.out_proj.weight": "attn.out_proj.weight",
             "ln_1.weight": "ln_1.weight", "c_fc.weight": "mlp.c_fc.weight", "c_fc.bias": "mlp.c_fc.bias",
             "c_proj.weight": "mlp.c_proj.weight", "c_proj.bias": "mlp.c_proj.bias"}  # fmt: skip
    weights = transformer.state_dict()
    for layer in range(8):
        for ours, theirs in parts.items():
            assert torch.equal(weights[f"{layer}.{ours}"], case[f"transformer/resblocks.{layer}.{theirs}"]), ours
    assert len(transformer) == 8


def test_the_seed_draws_the_transformer_and_nothing_else_does() -> None:
    labels, features = torch.ones(4, 4, dtype=torch.int64), torch.randn(8, 4, 4)
    labels[2:] = 2
    first = region_statistics(labels, features, RELEASED_MATCHING, seed=1)
    torch.randn(3)
    region_transformer(12, 0)  # another width: the cache holds one
    assert torch.equal(region_statistics(labels, features, RELEASED_MATCHING, seed=1), first)
    assert not torch.allclose(region_statistics(labels, features, RELEASED_MATCHING, seed=2), first)


def test_the_variance_of_the_map_shrinks_with_the_region() -> None:
    labels, features = (
        torch.ones(4, 8, dtype=torch.int64),
        torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)),
    )
    config = configured(MatchingConfig, aggregation="none", variance="map")
    mean, variance = region_statistics(labels, features, config)[0].split(3)
    torch.testing.assert_close(mean, features.flatten(1).mean(1))
    torch.testing.assert_close(variance, features.flatten(1).var(1) / 32)


def test_a_lone_token_is_dropped() -> None:
    labels = torch.ones(4, 4, dtype=torch.int64)
    labels[0, 0] = 2
    tokens = torch.arange(1.0, 17.0).reshape(1, 4, 4)
    assert region_semantics(labels, tokens, (64, 64))[1].item() == 1.0
    assert region_semantics(labels, tokens, (64, 64), "dropped")[1].item() == 0.0
    assert region_semantics(labels, tokens, (64, 64), "dropped")[0].item() == pytest.approx(9.0)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (128, 64)])
def test_the_encoder_sees_the_central_seven_eighths(size: tuple[int, int]) -> None:
    seen: list[Tensor] = []

    def encoder(image: Tensor) -> Tensor:
        seen.append(image)
        return torch.ones(1, 2, 4, 4)

    rows = torch.arange(size[0])[:, None] + 1000 * torch.arange(size[1])[None]
    image = rows.float().expand(1, 3, *size)
    labels = torch.ones(8, 8, dtype=torch.int64)
    describe(labels, torch.zeros(4, 8, 8), image, encoder, RELEASED_MATCHING)
    assert seen[0].shape[-2:] == (56, 56)
    top, left = (size[0] - 56) // 2, (size[1] - 56) // 2
    assert seen[0][0, 0, 0, 0] == top + 1000 * left


# --- stage 3: losses and optimisation ---


def test_a_zeroed_key_is_one_more_key() -> None:
    # Brute force: multiply keys and values outside by zero and attend to all N of them.
    draw = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(1, 2, 20, 5, generator=draw, dtype=torch.float64) for _ in range(3))
    for count in (0, 1, 7, 20):
        keys = torch.randperm(20, generator=draw)[:count]
        inside = torch.zeros(20, 1, dtype=torch.float64)
        inside[keys] = 1
        expected = (1.5 * query @ (key * inside).mT / math.sqrt(5)).softmax(-1) @ (value * inside)
        found = style_target(query, SelfAttention(query, key, value, value), keys, 1.5, "zeroed")
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    attended = style_target(query, SelfAttention(query, key, value, value), keys[:3], 1.5, "attended")
    torch.testing.assert_close(attended, (1.5 * query @ key.mT / math.sqrt(5)).softmax(-1) @ value)


def test_losses_and_gradients_as_published() -> None:
    case, scalars = load_file(VECTORS / "case06_losses.safetensors"), SCALARS["case06_losses"]
    config = configured(GuidanceConfig, outside_keys="zeroed")
    layers, references, content, others, matches = case06()
    for found in matches:
        alone = regional_style_loss(layers, references, content, others, [found], config).item()
        assert alone == pytest.approx(scalars["regional_style_loss_per_region"][str(found.content_region)], rel=1e-5)
    style = regional_style_loss(layers, references, content, others, matches, config)
    assert style.item() == pytest.approx(scalars["regional_style_loss"], rel=1e-5)
    published = [SelfAttention(case[f"layer{i}/qc"], *[case[f"layer{i}/qc"]] * 3) for i in range(2)]
    total = style + 0.26 * content_loss(layers, published)
    assert total.item() == pytest.approx(scalars["total_loss_c_ratio_0.26"], rel=1e-5)
    total.backward()
    for i, layer in enumerate(layers):
        for gradient, expected in (
            (layer.output.grad, case[f"regional/grad_out_layer{i}"]),
            (layer.query.grad, case[f"total/grad_q_layer{i}"]),
        ):
            assert gradient is not None
            assert ((gradient - expected).abs() > 1e-9).sum() <= 2  # signs may flip where a difference is below 1e-6


@needs_shared
@pytest.mark.slow
def test_the_published_optimisation_of_six_steps(shared_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    case, scalars = shared_case("stylegallery", "case07_style_transfer")
    run = scalars["a"]
    content = Segmentation(case["content_mask"].long(), case["content_latent"], case["C15"])
    references = [Segmentation(case[f"style{i}_mask"].long(), case[f"style{i}_latent"], case["C15"]) for i in (0, 1)]
    matches = [pair(int(i), m["style_index"] + 1, m["style_label"]) for i, m in scalars["matches"].items()]
    config = configured(
        GuidanceConfig, steps=run["num_optimize_steps"], iterations=run["iters"], learning_rate=run["lr"],
        content_weight=run["c_ratio"], outside_keys="zeroed", batched=False, refresh=1,
    )  # fmt: skip
    assert config.layers == len(range(*run["layers_half_open"]))
    gradients = []

    def differentiate_and_keep(energy: Tensor, latent: Tensor) -> Tensor:
        finite = differentiate(energy, latent)
        gradients.append(latent.grad.clone())  # type: ignore[union-attr]
        return finite

    monkeypatch.setattr("stylegallery.optimisation.differentiate", differentiate_and_keep)
    latent, energies = optimise(shared_model, content, references, matches, config)
    error = (gradients[0] - case["a/grad_first_step"]).norm() / case["a/grad_first_step"].norm()
    assert error <= 10 * run["sensitivity"]["grad_first_step_rel_l2"]
    assert len(energies) == 6
    for step, energy in enumerate(energies):
        relative = 1e-5 if step == 0 else 1e-4
        assert energy.timestep == run["timesteps"][step]
        assert energy.energy == pytest.approx(run["loss_per_step"][step], rel=relative)
        assert energy.style == pytest.approx(run["style_loss_per_step"][step], rel=relative)
        assert energy.content == pytest.approx(run["content_loss_per_step"][step], rel=relative)
    difference = (latent - case["a/latents"][-1:]).abs().mean().item()
    assert difference <= 10 * run["sensitivity"]["latent_mean_abs_per_step"][-1]
    image = (shared_model.decode(latent)[0].permute(1, 2, 0) * 255 + 0.5).floor().clamp(0, 255)
    assert (image - case["a/image_uint8"].float()).abs().mean() <= 0.5


def test_a_region_without_keys_on_a_layer_is_pulled_to_zero_as_published() -> None:
    labels = torch.ones(8, 8, dtype=torch.int64)
    reference_labels = labels.clone()
    reference_labels[1, 1] = 2  # not sampled on the 4 x 4 grid
    content, reference = analysis(labels), analysis(reference_labels)
    draw = torch.Generator().manual_seed(0)
    layer = SelfAttention(*(torch.randn(1, 2, 16, 5, generator=draw) for _ in range(4)))
    arguments = ([layer], {1: [layer]}, content, [reference], [pair(1, 1, 2)])
    assert regional_style_loss(*arguments, configured(GuidanceConfig)).item() == 0
    zeroed = regional_style_loss(*arguments, configured(GuidanceConfig, outside_keys="zeroed"))
    assert zeroed.item() == pytest.approx(layer.output.abs().mean().item())
