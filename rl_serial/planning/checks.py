"""Refusals: what a search is given must be of one shape, fit float32 and leave a legal action."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_torch_array

from rl_serial.errors import require
from rl_serial.planning.types import Array, Embedding, RecurrentOutput, Root, Tree
from rl_serial.pytrees import leaves, map_leaves

LARGEST = 1e30
"""Most that a number or a return may be in magnitude.

float32 ends at 3.4e38; so sums over 10^8 visits, differences and scores stay within it.
"""


def require_between(option: str, value: float, least: float, most: float) -> None:
    """Refuse an option outside [``least``, ``most``].

    Raises:
        OptionError: it is outside, or NaN.
    """
    require(least <= value <= most, option, value, f"from {least:g} to {most:g}")


def check_root(root: Root) -> Root:
    """The root with float32 numbers and a bool mask on one device.

    Raises:
        ValueError: a shape that does not match, a number that is not finite or beyond
            :data:`LARGEST`, a row without a legal action; the message names field and row.
    """
    if len(root.prior_logits.shape) != 2 or 0 in root.prior_logits.shape:
        raise ValueError(
            f"root.prior_logits must be [B, A] with B, A ≥ 1, not {_shape(root.prior_logits)}"
        )
    batch, num_actions = root.prior_logits.shape
    like = root.prior_logits
    checked = Root(
        prior_logits=as_numbers(root.prior_logits, "root.prior_logits", (batch, num_actions), like),
        value=as_numbers(root.value, "root.value", (batch,), like),
        embedding=map_leaves(detached, root.embedding),
        legal=as_mask(root.legal, "root.legal", (batch, num_actions), like),
    )
    for number, leaf in enumerate(arrays_of(root.embedding)):
        if len(leaf.shape) == 0 or leaf.shape[0] != batch:
            raise ValueError(
                f"root.embedding: array {number} has shape {_shape(leaf)}, its first axis must be "
                f"B = {batch}"
            )
    _refuse_rows(checked.value, "root.value")
    _refuse_logits(checked.prior_logits, checked.legal, None, "root")
    return checked


def check_reused(reused: Tree | None, root: Root) -> None:
    """Refuse a tree to go on from that is not one of the root's batch.

    Raises:
        ValueError: other shapes, another library or another embedding.
    """
    if reused is None:
        return
    like = root.prior_logits
    expected = _shape(like)
    found = (int(reused.visits.shape[0]), reused.num_actions)
    if found != expected:
        raise ValueError(f"the reused tree has [B, A] = {found}, the root has {expected}")
    if array_namespace(reused.visits) is not array_namespace(like):
        raise ValueError(
            f"the reused tree holds {type(reused.visits).__name__}, the root {type(like).__name__}"
        )
    stored, given = leaves(reused.embedding), leaves(root.embedding)
    shapes = [_shape(room[:, 0]) for room in stored], [_shape(leaf) for leaf in given]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the reused tree's embedding has arrays of shape {shapes[0]}, the root's {shapes[1]}"
        )


def check_output(output: RecurrentOutput, root: Root) -> RecurrentOutput:
    """A model's output with float32 numbers and a bool mask on the root's device.

    Raises:
        ValueError: as for the root. A step that ends the episode (discount 0) needs no legal
            action.
    """
    like = root.prior_logits
    xp = array_namespace(like)
    batch, num_actions = like.shape
    row, table = (batch,), (batch, num_actions)
    reward = as_numbers(output.reward, "reward", row, like)
    discount = as_numbers(output.discount, "discount", row, like)
    prior_logits = as_numbers(output.prior_logits, "prior_logits", table, like)
    value = as_numbers(output.value, "value", row, like)
    legal = as_mask(output.legal, "legal", table, like)
    # One answer from the device for all of them; which it was is asked only then.
    numbers = fits(reward) & fits(discount) & fits(value)
    logits = fits(prior_logits)
    if legal is not None:
        logits = logits | ~legal
        numbers = numbers & (xp.any(legal, axis=1) | (discount == 0))
    if not bool(xp.all(numbers) & xp.all(logits)):
        refuse_output(RecurrentOutput(reward, discount, prior_logits, value, legal))
    return RecurrentOutput(reward, discount, prior_logits, value, legal)


def refuse_output(output: RecurrentOutput) -> None:
    """Say what is wrong with a checked shape's numbers; nothing if nothing is.

    Raises:
        ValueError: names field and first row.
    """
    for name in ("reward", "discount", "value"):
        _refuse_rows(getattr(output, name), f"{name} of the model")
    _refuse_logits(output.prior_logits, output.legal, output.discount, "the model")


def refuse_returns() -> None:
    """Say that returns have grown too large in a search whose inputs were sound.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"returns of the model grow beyond {LARGEST:g}: rewards are too large, or a discount is "
        "beyond ±1"
    )


def fits(numbers: Array) -> Array:
    """Which of ``numbers`` a search can work with: neither NaN nor beyond :data:`LARGEST`."""
    return array_namespace(numbers).abs(numbers) <= LARGEST


def check_embedding(new: Embedding, like: list[Array]) -> list[Array]:
    """The arrays of ``new``, which must look like those of the root, ``like``.

    Raises:
        ValueError: another number of arrays, another shape, or another kind of numbers (a float64
            is taken for a float32, but not for an integer).
    """
    arrays = arrays_of(new)
    if len(arrays) != len(like):
        raise ValueError(f"next embedding has {len(arrays)} arrays, the root's has {len(like)}")
    for number, (array, own) in enumerate(zip(arrays, like, strict=True)):
        same_kind = array.dtype == own.dtype or _is_float(array) == _is_float(own)
        if array.shape != own.shape or not same_kind:
            raise ValueError(
                f"next embedding: array {number} is {array.dtype} {_shape(array)}, the root's is "
                f"{own.dtype} {_shape(own)}"
            )
    return [detached(array) for array in arrays]


def arrays_of(embedding: Embedding) -> list[Array]:
    """The arrays of an embedding, in a fixed order.

    Raises:
        ValueError: it holds something that is neither an array nor a container.
    """
    found = leaves(embedding)
    for leaf in found:
        if not (isinstance(leaf, np.ndarray) or is_array_api_obj(leaf)):
            raise ValueError(
                f"embedding holds a {type(leaf).__name__}; it may hold NumPy or torch arrays "
                "in tuples, lists, dicts and dataclasses, or None"
            )
    return found


def detached(array: Array) -> Array:
    """The array without gradients; a search does not follow them."""
    return array.detach() if is_torch_array(array) else array


def _is_float(array: Array) -> bool:
    return bool(array_namespace(array).isdtype(array.dtype, "real floating"))


def _shape(array: Array) -> tuple[int, ...]:
    return tuple(int(length) for length in array.shape)


def _as(array: Any, like: Array, dtype: Any) -> Array:
    return array_namespace(like).asarray(detached(array), dtype=dtype, device=device(like))


def as_numbers(array: Any, name: str, shape: tuple[int, ...], like: Array) -> Array:
    """``array`` as float32 where ``like`` is.

    Raises:
        ValueError: it has another shape.
    """
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} has shape {_shape(array)}, expected {_shape_of(shape)}")
    return _as(array, like, array_namespace(like).float32)


def as_mask(array: Any, name: str, shape: tuple[int, ...], like: Array) -> Array | None:
    """``array`` as bool where ``like`` is.

    Raises:
        ValueError: it has another shape or is not of type bool.
    """
    if array is None:
        return None
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} has shape {_shape(array)}, expected {_shape_of(shape)}")
    if "bool" not in str(array.dtype):
        raise ValueError(f"{name} must be of type bool (True: legal), not {array.dtype}")
    return _as(array, like, array_namespace(like).bool)


def _shape_of(shape: tuple[int, ...]) -> str:
    return f"{'[B, A]' if len(shape) == 2 else '[B]'} = {tuple(int(length) for length in shape)}"


def _first(rows: Array) -> int:
    """The first row that is True."""
    xp = array_namespace(rows)
    return int(xp.argmax(xp.astype(rows, xp.int64)))


def _refuse_rows(numbers: Array, what: str) -> None:
    bad = ~fits(numbers)
    if bool(array_namespace(numbers).any(bad)):
        row = _first(bad)
        number = float(numbers[row])
        raise ValueError(f"{what} is {_fault(number)} in row {row}: {number}")


def _fault(number: float) -> str:
    return f"beyond ±{LARGEST:g}" if math.isfinite(number) else "not finite"


def _refuse_logits(logits: Array, legal: Array | None, discount: Array | None, whose: str) -> None:
    xp = array_namespace(logits)
    bad = ~fits(logits)
    if legal is not None:
        bad = bad & legal
        none = ~xp.any(legal, axis=1)
        if discount is not None:
            none = none & (discount != 0)
        if bool(xp.any(none)):
            raise ValueError(f"legal of {whose} leaves no action in row {_first(none)}")
    bad_row = xp.any(bad, axis=1)
    if bool(xp.any(bad_row)):
        row = _first(bad_row)
        action = _first(bad[row])
        logit = float(logits[row, action])
        raise ValueError(
            f"prior_logits of {whose} are {_fault(logit)} at row {row}, action {action}: "
            f"{logit} (an action that is not allowed goes into `legal`)"
        )
