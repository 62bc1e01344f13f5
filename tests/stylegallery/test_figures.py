"""Figures show what their names say: every border, a label inside its region, every curve."""

import numpy as np
import torch

from stylegallery.contract import Energy
from stylegallery.figures import energy_figure, overlay
from stylegallery.region_pictures import colours, deepest_point


def test_borders_are_drawn_in_every_direction() -> None:
    labels = torch.tensor([[1, 2, 1], [2, 3, 2], [1, 2, 1]])
    pixels = overlay(torch.full((1, 3, 48, 48), 0.4), labels, colours(3))
    white = (pixels == 255).all(-1)
    for edge in (16, 32):
        for middle in (8, 24, 40):
            assert white[middle, edge - 1 : edge + 1].all()
            assert white[edge - 1 : edge + 1, middle].all()
    assert not white[24, 20:28].any()


def test_a_region_is_labelled_inside_itself() -> None:
    labels = torch.ones(8, 8, dtype=torch.long)
    labels[2:7, 3:8] = 2
    x, y = deepest_point(labels, 2, (80, 80))
    assert labels[int(y // 10), int(x // 10)] == 2


def test_colours_differ() -> None:
    palette = colours(10)
    distances = np.linalg.norm(palette[:, None] - palette[None], axis=-1) + np.eye(10)
    assert distances.min() > 0.1


def test_every_curve_of_the_energies_is_in_sight() -> None:
    losses = [(2.5, 0.0), (2.0, 0.4), (1.5, 0.5)]  # weighed 0.65 and 0.26, as the embedded model's preset does
    energies = [
        Energy(i, 141, 0.65 * style + 0.26 * content, style, content) for i, (style, content) in enumerate(losses)
    ]
    (axes,) = energy_figure(energies).axes
    low, high = axes.get_ylim()
    drawn = [line.get_ydata() for line in axes.lines]
    np.testing.assert_allclose(drawn, [[e[field] for e in energies] for field in (2, 3, 4)])
    assert low <= np.min(drawn) and np.max(drawn) <= high
