"""Layer norm and swish of a dense layer in one pass over memory, forwards and backwards, on a CPU.

torch takes three passes forwards and six backwards, and starts a kernel for each. Everything is
float32; sums are taken in any order, so that they use the vector unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from rl_serial.compiling import REORDERED, F, compiled

BIAS, GAIN, SHIFT = range(3)
"""Rows of what a layer adds and multiplies: the dense layer's bias, the norm's weight and bias."""

EPSILON = np.float32(1e-5)
"""Added to a variance, as by torch.nn.LayerNorm."""

ONE, ZERO = np.float32(1), np.float32(0)
FURTHEST = np.float32(87)
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH = np.float32(0.693359375)  # few bits, so that its product with an integer is exact
LN2_LOW = np.float32(-2.12194440e-4)
HALF = np.float32(0.5)
EXPONENT_BIAS = 127
# exp(r) on |r| ≤ ln(2)/2 = 1 + C1 r + …, of least relative error: 8e-8.
C1, C2, C3, C4, C5 = (
    np.float32(c) for c in (0.999999692, 0.4999889483, 0.1666757473, 0.04191538436, 0.00829765607)
)


def _power_of_two(context: Any, power: Any) -> Any:
    """2 ** power, of an int32 in −126 … 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        biased = builder.add(arguments[0], ir.Constant(word, EXPONENT_BIAS))
        bits = builder.shl(biased, ir.Constant(word, 23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), generate


power_of_two: Any = intrinsic(_power_of_two)


def kernel(function: F) -> F:
    """Compile on the first call."""
    return compiled(function, **REORDERED)


def part(function: F) -> F:
    """A piece of a kernel."""
    return compiled(function, inline="always", **REORDERED)


@part
def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(−z)) of a float32, to 4 units in the last place; for |z| > 87 as there."""
    x = -z
    x = x if x > -FURTHEST else -FURTHEST
    x = x if x < FURTHEST else FURTHEST
    # Whole at once: of a power less the bias, sums in another order would lose digits of r.
    whole = np.floor(x * LOG2_E + HALF)
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW
    exponential = ((((C5 * r + C4) * r + C3) * r + C2) * r + C1) * r + ONE
    return ONE / (ONE + exponential * power_of_two(np.int32(whole)))


@kernel
def forward(
    products: Any,
    affine: Any,
    means: Any,
    deviations: Any,
    outputs: Any,
    added: Any,
    scale: Any,
) -> None:
    """``outputs`` = ``added`` + ``scale`` · swish(norm(products + bias)).

    Args:
        products: [B, W]; becomes what the norm makes of them before its weight and bias.
        affine: [3, W], see :data:`BIAS`.
        means: [B or more], for the means of rows.
        deviations: [B or more]; becomes 1 / standard deviation of each row.
        outputs: [B, W].
        added: [B, W]; or [0, W]: nothing, and no scale.
        scale: a float32.
    """
    # Two loops over the rows: the second does not wait for the roots of the first.
    rows, width = products.shape
    share = ONE / np.float32(width)
    for i in range(rows):
        total = ZERO
        for j in range(width):
            x = products[i, j] + affine[BIAS, j]
            products[i, j] = x
            total += x
        mean = total * share
        squares = ZERO
        for j in range(width):
            x = products[i, j] - mean
            squares += x * x
        means[i] = mean
        deviations[i] = ONE / np.sqrt(squares * share + EPSILON)
    if added.shape[0]:
        for i in range(rows):
            mean, deviation = means[i], deviations[i]
            for j in range(width):
                x = (products[i, j] - mean) * deviation
                products[i, j] = x
                z = x * affine[GAIN, j] + affine[SHIFT, j]
                outputs[i, j] = added[i, j] + scale * (z * sigmoid(z))
    else:
        for i in range(rows):
            mean, deviation = means[i], deviations[i]
            for j in range(width):
                x = (products[i, j] - mean) * deviation
                products[i, j] = x
                z = x * affine[GAIN, j] + affine[SHIFT, j]
                outputs[i, j] = z * sigmoid(z)


@kernel
def backward(
    gradients: Any,
    scale: Any,
    normed: Any,
    deviations: Any,
    affine: Any,
    outputs: Any,
    of_products: Any,
    means: Any,
    of_affine: Any,
) -> None:
    """The gradients of :func:`forward`.

    Args:
        gradients: [B, W], of what it gave.
        scale: a float32, its own; 1 where nothing was added.
        normed: [B, W], what it left of the products.
        deviations: [B or more].
        affine: [3, W].
        outputs: [B, W]; becomes swish(norm(…)) once more, so that nobody has to keep it.
        of_products: [B, W]; becomes the gradient of the products.
        means: [2, B or more], for means of rows.
        of_affine: [3, W]; the gradients of ``affine`` are added to it.
    """
    rows, width = normed.shape
    share = ONE / np.float32(width)
    for i in range(rows):
        first, second = ZERO, ZERO
        for j in range(width):
            x = normed[i, j]
            z = x * affine[GAIN, j] + affine[SHIFT, j]
            s = sigmoid(z)
            y = z * s
            outputs[i, j] = y
            of_z = scale * gradients[i, j] * (s + y * (ONE - s))
            of_affine[GAIN, j] += of_z * x
            of_affine[SHIFT, j] += of_z
            of_x = of_z * affine[GAIN, j]
            of_products[i, j] = of_x
            first += of_x
            second += of_x * x
        means[0, i], means[1, i] = first * share, second * share
    for i in range(rows):
        deviation, first, second = deviations[i], means[0, i], means[1, i]
        for j in range(width):
            x = deviation * (of_products[i, j] - first - normed[i, j] * second)
            of_products[i, j] = x
            of_affine[BIAS, j] += x
