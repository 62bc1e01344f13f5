"""The yardstick of the benchmarks agrees with this repository, and counts of operations with closed forms."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from composing import configured
from conftest import ROOT, normal
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from benchmarks import blank, fewer_steps, flops, gpu_step, learning, matching, published, rows, synthesis
from benchmarks.refresh import schedule, true_energy
from benchmarks.speed import require_agreement
from benchmarks.subjects import Subject, drawn, guidance
from stylegallery.contract import Item
from stylegallery.guidance import Scene, SceneLosses, initial_latent, optimise
from stylegallery.matching import MatchingConfig, RegionDescriptors, region_semantics
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.unet import UNetModel
from stylegallery.optimisation import minimise
from stylegallery.pipeline import StyleGallery
from stylegallery.regions import region_count
from stylegallery.segmentation import SegmentationConfig, cluster

RELEASED = guidance("method=stylegallery_released")
SMALL = {"block_out_channels": (16, 32, 32, 32), "norm_num_groups": 8, "attention_head_dim": 2}


@pytest.fixture(scope="module")
def subject(model: DiffusionModel) -> Subject:
    """Two content regions and three references, of which the third has no match."""
    return Subject.of(
        model, [torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(4)], 2
    )


def passes(model: DiffusionModel, run: Callable[[], object]) -> int:
    """How often a call runs the network."""
    assert isinstance(model, UNetModel)
    calls: list[int] = []
    hook = model.unet.register_forward_hook(lambda *_: calls.append(1))
    run()
    hook.remove()
    return len(calls)


# --- the yardstick ---


def test_energies_and_gradients_of_the_yardstick_are_ours_with_released_settings(subject: Subject) -> None:
    require_agreement(subject, RELEASED)


@pytest.mark.parametrize("change", [{"outside_keys": "excluded"}, {"layers": 5}, {"attention_scale": 3.0}])
def test_the_yardstick_disagrees_with_other_settings(subject: Subject, change: dict[str, object]) -> None:
    ours = SceneLosses(subject.model, [Scene(*subject[1:])], replace(RELEASED, **change), [501])
    theirs = published.PublishedLosses(*subject, RELEASED)
    latent = initial_latent(subject.content, RELEASED)
    with torch.no_grad():
        ours.prepare(501)
        theirs.prepare(501)
        assert abs(ours(latent)[0] / theirs(latent)[0] - 1) > 1e-3


@pytest.mark.slow
def test_the_yardstick_runs_every_reference_and_takes_the_same_steps(subject: Subject) -> None:
    config, updates = replace(RELEASED, steps=3), []
    start, timesteps = initial_latent(subject.content, config), subject.model.timesteps(3)

    def theirs() -> None:
        losses = published.PublishedLosses(*subject, config)
        rate, weight = config.learning_rate, config.content_weight
        updates.extend(minimise(start, timesteps, 1, losses, lambda _: rate, 1.0, weight))

    energies = optimise(*subject, config)[1]
    assert passes(subject.model, theirs) == 3 * (1 + 3 + 1)
    assert passes(subject.model, lambda: optimise(*subject, config)) == 3 * (1 + 2 + 1)
    found = torch.tensor([energy.energy for _, (energy,) in updates])
    torch.testing.assert_close(found, torch.tensor([energy.energy for energy in energies]), rtol=1e-3, atol=0)


def test_silhouettes_from_scratch_choose_the_same_clusters() -> None:
    points = np.random.default_rng(0).normal(size=(90, 3)) + np.repeat([[0], [6], [12]], 30, axis=0)
    config = configured(SegmentationConfig, clusters=[2, 6], restarts=2)
    found = cluster(points, config, 0)
    assert found.max() == 2
    np.testing.assert_array_equal(found, published.cluster(points, config, 0))


def test_the_encoder_per_region_gives_the_same_tokens() -> None:
    labels, calls = torch.arange(64).reshape(8, 8) // 24 + 1, []

    def encoder(image: Tensor) -> Tensor:
        calls.append(1)
        return image[..., ::16, ::16]

    image = normal(0, 1, 3, 64, 64)
    config = configured(MatchingConfig)
    found = published.semantics(labels, image, encoder, config)
    assert len(calls) == region_count(labels) == 3
    torch.testing.assert_close(found, region_semantics(labels, encoder(image)[0], (64, 64)), rtol=0, atol=0)


# --- on a GPU ---


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_script_for_a_gpu_runs_where_there_is_none(
    model: DiffusionModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_step, "INVERSION_STEPS", 1)
    images = [normal(i, 1, 3, 64, 64).sigmoid() for i in range(2)]
    gpu_step.measure(model, images, steps=2, timed=1, batch=2, repeats=2)
    checked, ways, batches, items = capsys.readouterr().out.split("\n\n")
    difference = re.fullmatch(r"gradients of .*grouped=True.* are those of .*grouped=False.* but for (\S+)", checked)
    assert difference and float(difference[1]) < 0.01
    for table, names in ((ways, list(gpu_step.WAYS)[:2]), (batches, ["1", "2"])):
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
        assert [name for name, *_ in rows] == names
        for _, seconds, ratio, spread, *_ in rows:
            low, high = map(float, spread.split(" to "))
            assert float(seconds) > 0 and 0 < low <= float(ratio) <= high
        assert rows[0][2:4] == ["1.00", "1.00 to 1.00"]
    assert [line.split("|")[1:3] for line in items.splitlines()[2:]] == [
        [f" {size} ", f" {refresh} "] for refresh in (1, 10) for size in (1, 2)
    ]


def test_the_script_for_a_gpu_measures_nothing_where_gradients_differ(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stylegallery.guidance.grouped_target", lambda query, regions, *_: query[:, :, torch.cat(regions)]
    )
    with pytest.raises(AssertionError, match="gradients differ"):
        gpu_step.require_agreement(subject, guidance())


# --- counts ---


@pytest.fixture(scope="module")
def shapes() -> UNetModel:
    """A small model without values."""
    with flops.Answers():
        return drawn("sd1", flops.META, torch.float32, **SMALL)


def products(unet: nn.Module, run: Callable[[], object]) -> int:
    """Operations of a call by the shapes of its layers: 2 per weight and output, 4 N M C of an attention."""
    found: list[int] = []

    def add(module: nn.Module, args: tuple[Tensor, ...], given: dict[str, Tensor], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            found.append(2 * output.numel() * module.weight[0].numel())
        elif isinstance(module, Attention):
            context = given.get("encoder_hidden_states")
            keys = args[0] if context is None else context
            found.append(4 * args[0].shape[1] * keys.shape[1] * module.inner_dim)

    hooks = [module.register_forward_hook(add, with_kwargs=True) for module in unet.modules()]
    run()
    for hook in hooks:
        hook.remove()
    return sum(found)


@pytest.mark.slow
def test_a_forward_pass_has_the_operations_of_its_layers(shapes: UNetModel) -> None:
    one, config = flops.subject(shapes, 64, 1), guidance()
    latent = one.content.latent
    with flops.Answers(), torch.no_grad():
        expected = products(shapes.unet, lambda: shapes.predict(latent, 501))
    assert flops.forward(shapes, latent, config) == expected > 10**8


@pytest.mark.slow
def test_a_step_has_the_operations_of_its_passes_and_attentions(shapes: UNetModel) -> None:
    """Grid of 8 x 8; the last six layers have 16 tokens of 32 channels and 64 of 16, three times each."""
    one, config = flops.subject(shapes, 64, 3), guidance("method.guidance.refresh=1")
    one = one._replace(matches=[match for match in one.matches if match.reference < 3])
    once, least = (count(shapes, one.content.latent, config) for count in (flops.forward, flops.floor))
    assert once < least < 3 * once
    full = 3 * 4 * (16**2 * 32 + 64**2 * 16)
    assert flops.full_attention(one, config) == full
    assert flops.published_step(one, config) == (1 + 3) * once + least + len(one.matches) * full
    gathered = 0
    for tokens, width in ((16, 32), (64, 16)):
        layer = torch.empty(1, 1, tokens, 1)
        for match in one.matches:
            queries = one.content.tokens(match.content_region, layer)
            keys = one.references[match.reference - 1].tokens(match.reference_region, layer)
            gathered += 3 * 4 * len(queries) * len(keys) * width
    assert 0 < gathered < full
    assert flops.our_step(one, config) == (1 + 2) * once + least + gathered
    assert flops.our_step(one, replace(config, refresh=2)) == (1 + 2) * once / 2 + least + gathered


@pytest.mark.slow
def test_the_counts_of_stable_diffusion_are_the_documented_ones() -> None:
    """docs/performance.md, and shared/docs/method.md where this is developed."""
    with flops.Answers():
        model = drawn("sd1", flops.META, torch.float32)
    config, one = guidance("method.guidance.refresh=1"), flops.subject(model, 512, 2)
    latent = one.content.latent
    counts = {
        "forward": flops.forward(model, latent, config),
        "floor": flops.floor(model, latent, config),
        "attention": flops.full_attention(one, config),
        "published": flops.published_step(one, config),
        "ours": flops.our_step(one, config),
    }
    expected = {"forward": 0.80, "floor": 1.71, "attention": 0.07, "published": 4.56, "ours": 4.13}
    assert {name: count / 1e12 for name, count in counts.items()} == pytest.approx(expected, abs=0.005)


# --- what an item of every row of Table 1 costs ---


@pytest.mark.slow
def test_a_row_costs_what_all_its_steps_cost(shapes: UNetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blank, "stable_diffusion", lambda: shapes)
    monkeypatch.setattr(rows, "stable_diffusion", lambda: shapes)
    settings = "resolution=64", "method.steps=8"
    method = blank.method_of("img2img", *settings)

    def run() -> None:
        method.stylize(rows.ITEM, torch.Generator().manual_seed(0))

    found = rows.baseline("img2img", *settings)
    assert found.cost == rows.cost(run)
    assert found.cost.flop == flops.counted(run) > 10**8
    assert found.weights == 2 * sum(p.numel() for part in (shapes.unet, shapes.autoencoder) for p in part.parameters())


@pytest.mark.slow
def test_a_row_of_stylegallery_costs_its_inversions_passes_and_updates(
    shapes: UNetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blank, "stable_diffusion", lambda: shapes)
    monkeypatch.setattr(rows, "stable_diffusion", lambda: shapes)
    settings = [f"method.{name}" for name in ("guidance.steps=4", "guidance.refresh=2")]
    found = rows.regional("stylegallery", 2, 1, *settings, "method.segmentation.inversion_steps=2", side=64).cost
    with flops.Answers():
        one = Subject.of(shapes, [torch.zeros(1, 3, 64, 64, device=flops.META)] * 2, 2)

    def run() -> None:
        for _ in range(2):
            shapes.encode(torch.zeros(1, 3, 64, 64))
        list(shapes.invert(one.content.latent, 2))
        shapes.decode(optimise(*one, guidance(*settings))[0])

    expected = rows.cost(run)
    assert found.flop == expected.flop
    assert found.calls == pytest.approx(expected.calls, rel=0.01)  # Adam's first step makes its state


@pytest.mark.slow
def test_documented_costs_of_a_row_are_those_of_the_command() -> None:
    """Of the cheapest row with a network, by the measured work that docs/reproduce.md states."""
    section = (ROOT / "docs/reproduce.md").read_text().partition("### Time and memory")[2].partition("\n### ")[0]
    work = re.search(r"([\d,.]+) TFLOP in ([\d,]+) calls", section)
    documented = re.search(r"^\| `stytr2` \| at most ([\d.]+), .* \| at least ([\d.]+) GiB, ", section, re.M)
    assert work and documented
    flop, calls = (float(number.replace(",", "")) for number in work.groups())
    *_, seconds, memory = rows.line("stytr2", rows.Cost(flop * 1e12, calls)).strip("| ").split(" | ")
    assert (seconds, memory) == documented.groups()


def test_the_command_prints_every_row_or_those_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "measured", lambda: rows.Cost(27e12, 1e5))
    monkeypatch.setattr(rows, "row", lambda label: rows.Row(rows.Cost(54e12, 1e5), 2**30))

    def printed(*labels: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["rows", *labels])
        rows.main()
        return capsys.readouterr().out.splitlines()

    found = printed()
    assert found[0] == "measured work: 27.0 TFLOP, 100,000 calls, 1.0 TFLOP/s"
    assert len(found) == 4 + 16 and "| `styleid` | 54.0 | 100,000 | 54 | 1 |" in found
    assert printed("identity")[4:] == ["| `identity` | no network | | | |"]
    with pytest.raises(SystemExit) as stopped:
        printed("styled")
    assert stopped.value.code == 2 and "no row styled" in capsys.readouterr().err


# --- matches of labelled regions ---


def described(*directions: int) -> RegionDescriptors:
    """Regions whose descriptors are unit vectors, all in one place."""
    rows = torch.eye(4)[list(directions)]
    return RegionDescriptors(rows, rows, np.full((len(directions), 3), 0.5))


def test_a_hit_is_a_region_that_takes_its_own_kind_where_the_other_picture_has_it() -> None:
    content = matching.Named("c", ["animal", "other", "sky", "water"]), described(0, 1, 2, 3)
    right = matching.Named("r", ["animal", "other", "sky"]), described(0, 1, 2)
    wrong = matching.Named("w", ["grass", "sky"]), described(2, 0)
    table = matching.hits([content], [content, right, wrong], (0.25, 1, 0.125))
    assert table.kind.tolist() == ["animal", "sky", "sky"]  # not itself, not `other`, not what is nowhere there
    assert table.hit.tolist() == [1.0, 1.0, 0.0]
    assert table.chance.tolist() == [1 / 3, 1 / 3, 1 / 2]


def test_regions_of_a_mask_are_one_of_each_kind_in_the_order_of_their_names() -> None:
    labels, kinds = matching.kinds_on_grid(matching.MASKS / "0014.json", (64, 64))
    assert kinds == ["mountains", "sky", "trees", "water"]  # of sky, cloud, mountains, forest and lake
    assert labels.unique().tolist() == [1, 2, 3, 4] and labels[0, 0] == 2


def test_every_label_is_of_a_known_kind() -> None:
    kinds = {kind for path in matching.MASKS.rglob("*.json") for kind in matching.kinds_on_grid(path, (64, 64))[1]}
    assert kinds == {
        "animal", "backdrop", "building", "clothing", "face", "grass", "ground", "hair", "mountains", "other", "sky",
        "trees", "water",
    }  # fmt: skip


# --- textures from noise ---


def test_there_are_twelve_textures_and_they_are_the_same_each_time() -> None:
    found = dict(synthesis.textures(64))
    assert len(found) == 12 and all(image.shape == (1, 3, 64, 64) for image in found.values())
    assert all(0 <= image.min() < image.max() <= 1 for image in found.values())
    again = dict(synthesis.textures(64))
    assert all(torch.equal(image, again[name]) for name, image in found.items())


def test_synthesis_starts_at_noise_like_the_latent_and_repeats(model: DiffusionModel) -> None:
    (source,) = (image for name, image in synthesis.textures(64) if name == "brick")
    config = guidance("model=embedded")
    (one,), (noise,) = synthesis.synthesised(model, [source], config, updates=8, seed=0)
    assert torch.equal(synthesis.synthesised(model, [source], config, updates=8, seed=0)[0][0], one)
    latent = model.encode(source)
    assert noise.shape == latent.shape == one.shape
    assert noise.mean() == pytest.approx(float(latent.mean()), abs=0.2 * float(latent.std()))
    assert not torch.equal(one, noise)


# --- curves of a training ---


def test_curves_are_those_of_the_log_a_panel_for_every_value_of_a_stage(tmp_path: Path) -> None:
    logs = {}
    for name, row in (("unet", "noise=0.5,held_noise=0.25"), ("decoder_1", "grid=0.1"), ("decoder_2", "grid=0.2")):
        path = tmp_path / f"{name}.csv"
        path.write_text("".join(f"{name},{step},7,{row}\n" for step in (100, 200)))
        logs[name] = learning.read_log(path)
    assert logs["unet"] == {"noise": ([100, 200], [0.5, 0.5]), "held_noise": ([100, 200], [0.25, 0.25])}
    decoder, unet, *empty = learning.drawn(logs).axes
    assert (decoder.get_title(), unet.get_title()) == ("decoder: grid", "unet: noise")
    assert [line.get_ydata()[0] for line in decoder.lines] == [0.1, 0.2]
    assert [line.get_ydata()[0] for line in unet.lines] == [0.5, 0.25]
    assert unet.lines[0].get_linewidth() < unet.lines[1].get_linewidth()
    assert not any(axis.axison for axis in empty)
    (tmp_path / "other.csv").write_text("a,b\n")
    with pytest.raises(SystemExit, match=r"other\.csv: a,b is no row of a training's log"):
        learning.read_log(tmp_path / "other.csv")


@pytest.mark.slow
def test_coarse_to_fine_ends_nearer_to_its_goal_than_it_starts() -> None:
    """At half the resolution and then at the whole one, with the features of the photo as the content's."""
    method = StyleGallery.from_config("resizing=square", "resolution=64")
    picture = ROOT / "data/samples/content/coffee.jpg"
    style = ROOT / "data/samples/style/mosaic_bay.jpg"
    plan = method.plan(Item("coffee", picture, (style,)), torch.Generator().manual_seed(0))
    config = fewer_steps.rules(schedule("noise", method.guidance))["fast"]
    energy = true_energy(method, fewer_steps.segmentations(method, plan, config), plan, config)
    latent, updates = fewer_steps.coarse_to_fine(method, plan, config)
    assert updates == 18 and energy(latent) < energy(fewer_steps.segmentations(method, plan, config)[0].latent)


@pytest.mark.slow
def test_a_picture_of_two_items_is_inverted_once(tmp_path: Path) -> None:
    samples, contents = ROOT / "data" / "samples", tmp_path / "contents"
    contents.mkdir()
    for name in ("coffee.jpg", "china.jpg"):
        (contents / name).write_bytes((samples / "content" / name).read_bytes())
    settings = ["data=folder", f"data.contents={contents}", f"data.references={samples}/style/mosaic_bay.jpg"]
    command = [sys.executable, "-m", "benchmarks.inversions", *settings, "resolution=96"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("pictures asked for 4, inverted 3\n")
