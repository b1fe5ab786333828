"""A registered family held to the contract: every setting, its twins, its environments."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from rl_serial.envs.chain import is_numpy_only
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.registry import FAMILIES, Family, env_id, make_task
from rl_serial.envs.testing.chains import SIGMAS, check_chain, payoffs_at_end
from rl_serial.envs.testing.rules import ChainContractError, difference
from rl_serial.errors import shown

DEPTHS = (2, 6)
"""Serial depths at which every setting is held to the contract."""
PLAYED, PLAYED_SIMULATED = 4_096, 512
"""Instances of the mean return; of a family whose steps another library simulates."""
SAME_MARGINAL = 2.75
"""Times sqrt(2 / n): the largest distance of two empirical distributions that chance accounts for,
as rarely as five standard errors (Kolmogorov and Smirnov: p = 2 exp(-2 x^2))."""
NUM_ENVS, STEPS = 4, 12


def check_family(family: Family | str, others: Mapping[str, Any] | None = None) -> None:
    """Hold a registered family to the contract.

    Each setting goes through :func:`check_chain`; the twins have shapes, kicks, payoffs and the
    return of random play in common with the serial setting; every option changes something; and the
    environments pass Gymnasium's checker, and Stable-Baselines3's where it is installed, and play
    the same single and batched. Some seconds.

    Args:
        family: a family or its name, registered.
        others: by option, a value beside the default, where none can be guessed: numbers are.

    Raises:
        ChainContractError: the contract is not kept. It is an AssertionError.
        ValueError: the family is not registered.
    """
    name = family if isinstance(family, str) else family.name
    if name not in FAMILIES:
        raise ValueError(
            f"{name}: no such family; register_family makes it known, and there are "
            f"{', '.join(FAMILIES)}"
        )
    row = FAMILIES[name]
    for value in row.settings:
        for depth in DEPTHS:
            check_chain(row.chain, **_options(row, value, depth))
    _check_twins(row)
    _check_options(row, others or {})
    for task in row.tasks:
        check_environment(env_id(name, task))


def _options(row: Family, value: Any, depth: int) -> dict[str, Any]:
    sizes = row.sizes(depth) if row.sizes else {}
    return sizes | {row.option: value, "serial_depth": depth}


def _check_twins(row: Family) -> None:
    """What the settings have in common, so that the twin differs in nothing but its form."""
    seen: list[tuple[Any, dict[str, Any], Any, dict[str, Any]]] = []
    for value in row.settings:
        options = _options(row, value, DEPTHS[-1])
        chain = row.chain(**options)
        shapes = {part: getattr(chain, part) for part in ("layout", "num_kicks", "working_size")}
        payoffs = np.sort(payoffs_at_end(chain))
        seen.append((value, shapes, payoffs, dict(_random_returns(row, options, chain))))
    value, shapes, payoffs, returns = seen[0]
    for other, *found in seen[1:]:
        lead = f"{row.name}: {row.option}={value} and {row.option}={other}"
        if found[0] != shapes:
            raise ChainContractError(
                f"{lead}: {shown(shapes)} against {shown(found[0])}; the settings of a family "
                "have the same shapes and kicks"
            )
        apart, chance = _distance(payoffs, found[1]), SAME_MARGINAL * np.sqrt(2 / payoffs.size)
        if apart > chance:
            raise ChainContractError(
                f"{lead}: the payoffs at the end are distributed differently, by {apart:.3f} "
                f"(chance: {chance:.3f}); the settings of a family pay alike"
            )
        for task, mine in returns.items():
            theirs = found[2][task]
            error = np.sqrt((mine.var() + theirs.var()) / mine.size)
            if abs(mine.mean() - theirs.mean()) > SIGMAS * error:
                raise ChainContractError(
                    f"{lead}: random play of {task} returns {mine.mean():+.4f} and "
                    f"{theirs.mean():+.4f}, ± {error:.4f}; the settings of a family are as easy "
                    "for an agent that plays at random"
                )


def _distance(one: Any, other: Any) -> float:
    """The largest distance of the empirical distributions of two sorted samples."""
    points = np.concatenate([one, other])
    shares = [np.searchsorted(sample, points, "right") / sample.size for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _random_returns(row: Family, options: dict[str, Any], chain: Any) -> Iterator[tuple[str, Any]]:
    """By task, the exact value of random play in each of some instances."""
    instances = PLAYED_SIMULATED if is_numpy_only(chain) else PLAYED
    seeds = evaluation_seeds(4, instances, np)
    for task in row.tasks:
        rules = make_task(row.name, task, **options)
        yield task, rules.random_values(rules.initial(seeds)).astype(np.float64)


def _check_options(row: Family, others: Mapping[str, Any]) -> None:
    """Another value of every option changes what is seen or paid."""
    usual = _trace(row.chain())
    for field in fields(row.chain):
        tried = []
        for value in _candidates(row, field.name, field.default, others):
            try:
                chain = row.chain(**{field.name: value})
            except ValueError:
                continue
            tried.append(value)
            if _trace(chain) != usual:
                break
        else:
            if tried:
                found = f"{', '.join(map(shown, tried))} in its place changes nothing"
                asked = "every option changes what is seen or paid"
            else:
                found = "no other value could be guessed"
                asked = f"give one: check_family(…, others={{{field.name!r}: …}})"
            raise ChainContractError(
                f"{row.name}: {field.name}={shown(field.default)}: {found}; {asked}"
            )


def _candidates(row: Family, option: str, default: Any, others: Mapping[str, Any]) -> list[Any]:
    if option in others:
        return [others[option]]
    if option == row.option:
        return [row.twins[0]]
    if isinstance(default, int):
        return [default + more for more in (1, 2, 3, 4, 6, 8, -1, -2)]
    if isinstance(default, float):
        return [default + 0.25, default * 2, default / 2]
    return list(range(1, 65)) if default is None else []


def _trace(chain: Any) -> str:
    """What a chain says of itself and does with a few instances."""
    seeds = np.arange(30, dtype=np.int64)
    state = chain.initial(seeds)
    seen = [chain.layout, chain.num_kicks, chain.serial_depth, chain.observe(state).tolist()]
    for step in range(min(3, chain.serial_depth)):
        state = chain.advance(chain.kick(state, (seeds + step) % chain.num_kicks))
        seen += [chain.observe(state).tolist(), chain.payoff(state).tolist()]
    return str(seen)


def check_environment(id_: str) -> None:
    """Hold a registered environment to what Gymnasium and its users ask.

    Raises:
        ChainContractError: it is not kept.
    """
    for check in (_check_checkers, _check_spec, _check_rendering, _check_exact_values):
        _told(id_, check)
    for mode in AutoresetMode:
        _told(id_, lambda name, mode=mode: _check_vector(name, mode))


def _told(id_: str, check: Any) -> None:
    """Run a check; whatever it raises is an error of the environment."""
    try:
        check(id_)
    except ChainContractError:
        raise
    except Exception as error:
        raise ChainContractError(f"{id_}: {type(error).__name__}: {error}") from error


def _require_same(id_: str, what: str, one: Any, other: Any) -> None:
    unlike = difference(np.asarray(one), np.asarray(other))
    if unlike is not None:
        raise ChainContractError(f"{id_}: {what}: {unlike}; they are the same")


def _check_checkers(id_: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(id_).unwrapped, skip_render_check=True)
        if importlib.util.find_spec("stable_baselines3") is not None:
            checker = importlib.import_module("stable_baselines3.common.env_checker")
            checker.check_env(gymnasium.make(id_).unwrapped)


def _check_spec(id_: str) -> None:
    """A spec that went through JSON or pickle makes the same environment."""
    env = gymnasium.make(id_, serial_depth=3)
    assert env.spec is not None
    first = env.reset(seed=4)[0]
    again = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    for spec in (again, pickle.loads(pickle.dumps(env.spec))):
        remade = gymnasium.make(spec).reset(seed=4)[0]
        _require_same(id_, "first observation of the environment and of its spec", first, remade)
    spec = gymnasium.make_vec(id_, 2, serial_depth=3).spec
    assert spec is not None
    assert json.loads(spec.to_json())["kwargs"]["serial_depth"] == 3


def _check_rendering(id_: str) -> None:
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray)):
        env = gymnasium.make(id_, render_mode=mode)
        env.reset(seed=0)
        for _ in range(2):
            frame = env.render()
            if not isinstance(frame, kind):
                raise ChainContractError(
                    f"{id_}: rendered as {mode} is {type(frame).__name__}; it is {kind.__name__}"
                )
            env.step(np.int64(0))


def _check_exact_values(id_: str) -> None:
    env, envs = gymnasium.make(id_).unwrapped, gymnasium.make_vec(id_, 3).unwrapped
    env.reset(seed=8)
    envs.reset(seed=8)
    for name in ("action_values", "action_masks"):
        single, batched = getattr(env, name)(), getattr(envs, name)()
        _require_same(id_, f"{name} of make and make_vec", single, batched[0])
        shape = (3, int(env.action_space.n))  # type: ignore[attr-defined]
        if batched.shape != shape:
            raise ChainContractError(
                f"{id_}: {name} has the shape {list(batched.shape)}; it is {list(shape)}"
            )


def _check_vector(id_: str, mode: AutoresetMode) -> None:
    """``make`` and ``make_vec`` play the same episodes, in every mode of resets."""
    options: dict[str, Any] = {"serial_depth": 3}
    envs = gymnasium.make_vec(id_, NUM_ENVS, autoreset_mode=mode, **options)
    if envs.unwrapped.autoreset_mode is not mode:  # type: ignore[attr-defined]
        raise ChainContractError(f"{id_}: autoreset_mode={mode.name} is not taken")
    num_actions = int(envs.single_action_space.n)  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(0, num_actions, (STEPS, NUM_ENVS))
    observations, _ = envs.reset(seed=20)
    traces: list[list[Any]] = [[(row, 0.0, False)] for row in observations]
    taken: list[list[int]] = [[] for _ in range(NUM_ENVS)]
    ended = np.zeros(NUM_ENVS, dtype=bool)
    for step_actions in actions:
        observations, rewards, terminated, truncated, infos = envs.step(step_actions)
        assert not truncated.any(), "an episode ends by terminated alone"
        for i in range(NUM_ENVS):
            if mode is AutoresetMode.NEXT_STEP and ended[i]:
                assert (rewards[i], terminated[i]) == (0, False), "a reset pays nothing"
                traces[i].append((observations[i], 0.0, False))
                continue
            taken[i].append(int(step_actions[i]))
            if terminated[i] and mode is AutoresetMode.SAME_STEP:
                traces[i].append((infos["final_obs"][i], rewards[i], True))
                traces[i].append((observations[i], 0.0, False))
            else:
                traces[i].append((observations[i], rewards[i], terminated[i]))
        ended = terminated
        if mode is AutoresetMode.DISABLED and ended.any():
            observations, _ = envs.reset(options={"reset_mask": ended})
            for i in np.flatnonzero(ended).tolist():
                traces[i].append((observations[i], 0.0, False))
    for i in range(NUM_ENVS):
        expected = single_trace(id_, 20 + i, taken[i], **options)
        if mode is AutoresetMode.NEXT_STEP and len(expected) > len(traces[i]):
            expected.pop()  # the reset that the next step would make
        what = f"environment {i} under {mode.name} and the single one"
        _require_same(id_, f"{what}: how many steps", len(traces[i]), len(expected))
        for mine, theirs in zip(traces[i], expected, strict=True):
            _require_same(id_, f"{what}: observations", mine[0], theirs[0])
            _require_same(id_, f"{what}: rewards", float(mine[1]), theirs[1])
            _require_same(id_, f"{what}: ends", bool(mine[2]), theirs[2])


def single_trace(id_: str, seed: int, actions: Any, **options: Any) -> list[tuple[Any, ...]]:
    """(observation, reward, terminated) of one environment, reset as soon as it ends."""
    env = gymnasium.make(id_, **options)
    trace: list[tuple[Any, ...]] = [(env.reset(seed=seed)[0], 0.0, False)]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(int(action))
        assert not truncated, "an episode ends by terminated alone"
        trace.append((observation, float(reward), bool(terminated)))
        if terminated:
            trace.append((env.reset()[0], 0.0, False))
    return trace
