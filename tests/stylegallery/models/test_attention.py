"""Recording self-attention: the right layers, the right numbers, and no trace left on the model."""

import math

import pytest
import torch
from conftest import normal
from published_vectors import needs_shared, shared_case
from torch import Tensor

from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.unet import record_self_attention, self_attention_layers


def test_layers_are_named_in_execution_order(model: DiffusionModel) -> None:
    blocks = ["down_blocks.0.attentions.0", "down_blocks.0.attentions.1", "down_blocks.1.attentions.0"]
    blocks += ["down_blocks.1.attentions.1", "down_blocks.2.attentions.0", "down_blocks.2.attentions.1"]
    blocks += ["mid_block.attentions.0"]
    blocks += [f"up_blocks.{block}.attentions.{attention}" for block in (1, 2, 3) for attention in (0, 1, 2)]
    assert self_attention_layers(model.unet) == [f"{block}.transformer_blocks.0.attn1" for block in blocks]


def test_the_order_of_names_is_the_order_of_calls(model: DiffusionModel) -> None:
    called: list[str] = []
    hooks = [
        model.unet.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
        for name in self_attention_layers(model.unet)
    ]
    try:
        model.predict_noise(normal(0, 1, 4, 8, 8), 500)
    finally:
        for hook in hooks:
            hook.remove()
    assert called == self_attention_layers(model.unet)


def test_records_come_in_execution_order_with_one_row_per_image(model: DiffusionModel) -> None:
    records = model.self_attention(normal(1, 2, 4, 16, 8), 500, range(16))
    tokens = [16 * 8] * 2 + [8 * 4] * 2 + [4 * 2] * 2 + [2 * 1] + [4 * 2] * 3 + [8 * 4] * 3 + [16 * 8] * 3
    assert [record.query.shape[2] for record in records] == tokens
    for record in records:
        assert record.query.shape[0] == 2
        assert len({tensor.shape for tensor in record}) == 1
    chosen = model.self_attention(normal(1, 2, 4, 16, 8), 500, [3, 6, 15])
    for record, index in zip(chosen, (3, 6, 15), strict=True):
        for tensor, expected in zip(record, records[index], strict=True):
            torch.testing.assert_close(tensor, expected)


def test_the_output_is_the_closed_form(model: DiffusionModel) -> None:
    for record in model.self_attention(normal(2, 1, 4, 8, 8), 321, range(16)):
        query, key, value, output = (tensor.double() for tensor in record)
        weights = torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), -1)
        torch.testing.assert_close(output, weights @ value, rtol=1e-4, atol=1e-5)


def test_records_are_what_the_modules_project(model: DiffusionModel) -> None:
    name = self_attention_layers(model.unet)[10]
    module = model.unet.get_submodule(name)
    seen: list[tuple[Tensor, Tensor]] = []
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    try:
        model.predict_noise(normal(3, 1, 4, 16, 16), 200)  # with the processor that the model came with
    finally:
        hook.remove()
    record = model.self_attention(normal(3, 1, 4, 16, 16), 200, [10])[0]
    hidden, output = seen[0]
    for projection, tensor in ((module.to_q, record.query), (module.to_k, record.key), (module.to_v, record.value)):
        torch.testing.assert_close(tensor.transpose(1, 2).flatten(2), projection(hidden), rtol=1e-4, atol=1e-5)
    projected = module.to_out[0](record.output.transpose(1, 2).flatten(2))
    torch.testing.assert_close(projected, output, rtol=1e-4, atol=1e-5)


def test_recording_does_not_change_the_prediction_nor_its_gradient(model: DiffusionModel) -> None:
    plain, recorded = normal(4, 1, 4, 8, 8).requires_grad_(), normal(4, 1, 4, 8, 8).requires_grad_()
    expected = model.predict_noise(plain, 77)
    with record_self_attention(model.unet, range(16)) as records:
        found = model.predict_noise(recorded, 77)
    assert len(records) == 16
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    expected.square().sum().backward()
    found.square().sum().backward()
    assert plain.grad is not None and recorded.grad is not None
    torch.testing.assert_close(recorded.grad, plain.grad, rtol=1e-3, atol=1e-4)


def test_the_graph_reaches_the_latents_if_and_only_if_gradients_are_on(model: DiffusionModel) -> None:
    start = normal(5, 1, 4, 8, 8).requires_grad_()
    record = model.self_attention(start, 500, [15])[0]
    (gradient,) = torch.autograd.grad(record.output.sum(), start)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        assert not model.self_attention(start, 500, [15])[0].output.requires_grad


def test_processors_come_back_after_exit_and_after_an_exception(model: DiffusionModel) -> None:
    modules = [model.unet.get_submodule(name) for name in self_attention_layers(model.unet)]
    before = [module.processor for module in modules]
    with record_self_attention(model.unet, [2, 9]):
        changed = [i for i, module in enumerate(modules) if module.processor is not before[i]]
        assert changed == [2, 9]
    assert all(module.processor is processor for module, processor in zip(modules, before, strict=True))
    with pytest.raises(RuntimeError, match="stop"), record_self_attention(model.unet, range(16)):
        raise RuntimeError("stop")
    assert all(module.processor is processor for module, processor in zip(modules, before, strict=True))
    with pytest.raises(FloatingPointError):
        model.self_attention(torch.full((1, 4, 8, 8), torch.nan), 500, [3])
    assert all(module.processor is processor for module, processor in zip(modules, before, strict=True))


@pytest.mark.parametrize("layers", [[16], [0, 99], [-1], [-17]])
def test_a_layer_that_the_model_does_not_have(model: DiffusionModel, layers: list[int]) -> None:
    before = [model.unet.get_submodule(name).processor for name in self_attention_layers(model.unet)]
    with pytest.raises(IndexError, match=r"0\.\.15"), record_self_attention(model.unet, layers):
        pass
    after = [model.unet.get_submodule(name).processor for name in self_attention_layers(model.unet)]
    assert all(a is b for a, b in zip(after, before, strict=True))


@needs_shared
@pytest.mark.slow
def test_recorded_tensors_as_published(shared_model: DiffusionModel) -> None:
    case, scalars = shared_case("stylegallery", "case07_style_transfer")
    published = scalars["a"]["attention_features_first_timestep"]["content"]
    with torch.no_grad():
        records = shared_model.self_attention(case["content_latent"], published["t"], range(10, 16))
    for record, row in zip(records, published["layers"], strict=True):
        for tensor, name in zip(SelfAttention(*record), ("q", "k", "v", "out"), strict=True):
            assert list(tensor.shape) == row[name]["shape"]
            found = [tensor.mean(), tensor.std(), tensor.abs().mean(), tensor.min(), tensor.max()]
            expected = [row[name][key] for key in ("mean", "std", "mean_abs", "min", "max")]
            torch.testing.assert_close(torch.stack(found), torch.tensor(expected), rtol=1e-4, atol=1e-4)
