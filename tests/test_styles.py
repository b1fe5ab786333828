"""Lines of a figure can be told apart, also with a red-green deficiency and without any colour."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rl_serial.styles import PALETTE, draw_floor, line_styles

Numbers = NDArray[np.float64]
# Of linear RGB: Machado, Oliveira and Fernandes 2009 (IEEE TVCG 15), severity 1.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
# IEC 61966-2-1: from linear sRGB to CIE XYZ; its white point D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)


def linear(colour: str) -> Numbers:
    """Linear RGB of a colour's name."""
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: Numbers) -> Numbers:
    """CIE L*a*b* of linear RGB."""
    ratio = XYZ @ np.clip(rgb, 0, 1) / WHITE
    bent = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * bent[1] - 16, 500 * (bent[0] - bent[1]), 200 * (bent[1] - bent[2])])


def nearest(colours: list[str], sight: str) -> float:
    """The smallest distance (CIE 1976) between two of the colours as they are seen."""
    seen = [lab(SIGHT[sight] @ linear(colour)) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


def contrast(colour: str) -> float:
    """Contrast with white paper (WCAG 2.1): 1 none, 21 black."""
    return 1.05 / (float(XYZ[1] @ linear(colour)) + 0.05)


def test_the_measure_of_distance_knows_what_is_confused() -> None:
    """White has L* 100; red and green of one lightness are far apart, but not for a deuteranope."""
    np.testing.assert_allclose(lab(np.ones(3)), [100, 0, 0], atol=0.02)
    assert contrast("white") == pytest.approx(1, abs=1e-3)
    assert contrast("black") == pytest.approx(21)
    red, green = "#c05048", "#7c7c34"
    assert nearest([red, green], "normal") > 45
    assert nearest([red, green], "deuteranopia") < 15


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_distinct_however_they_are_seen(sight: str) -> None:
    """A difference of 2.3 is just noticeable."""
    assert nearest(list(PALETTE), sight) > 15
    ordered = [style["color"] for style in line_styles([1, 2, 3, 4, 6, 8, 12, 16])]
    assert nearest(ordered, sight) > 8


def test_colours_stand_out_from_paper() -> None:
    assert min(contrast(colour) for colour in PALETTE) > 2.2
    assert min(contrast(style["color"]) for style in line_styles(range(8))) > 1.6


def test_names_share_no_colour_and_marker_and_are_told_apart_in_grey() -> None:
    styles = line_styles([f"name {i}" for i in range(56)])
    assert len({(s["color"], s["marker"]) for s in styles}) == 56
    assert len({s["marker"] for s in styles[:8]}) == 8
    assert len({(s["marker"], s["linestyle"]) for s in styles[:28]}) == 28


def test_numbers_have_colours_in_their_order() -> None:
    """Darker the smaller, whatever the order in which they are given; truth values are names."""
    styles = line_styles([8, 1, 4, 2])
    lightness = [float(lab(linear(style["color"]))[0]) for style in styles]
    assert np.argsort(lightness).tolist() == [1, 3, 2, 0]
    assert len({style["marker"] for style in styles}) == 4
    assert {style["color"] for style in line_styles([False, True])} == set(PALETTE[:2])


def test_a_floor_is_a_hatched_region_from_zero_to_its_height() -> None:
    axes = Figure().subplots()
    draw_floor(axes, [1, 2, 3], [1.0, 0.5, 0.25])
    [region] = axes.collections
    [path] = region.get_paths()
    corners = {tuple(corner) for corner in path.vertices.tolist()}
    assert {(1, 0), (3, 0), (1, 1), (2, 0.5), (3, 0.25)} <= corners
    assert region.get_hatch()
    assert axes.get_legend_handles_labels()[1] == ["floor"]
