"""CEM and MPPI: by hand, against closed forms and Riccati's optimum, and what must not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rl_serial.planning import (
    CEM,
    MPPI,
    ControlOutput,
    SerialAccounts,
    cem,
    coloured_noise,
    first_plan,
    mppi,
    plan_control,
    shift,
)
from rl_serial.planning.mpc import spread

INF = np.inf


class Given(np.random.Generator):
    """A generator whose normal numbers are given."""

    numbers: Any = None

    def standard_normal(self, shape: Any, *_: Any, **__: Any) -> Any:
        return np.asarray(self.numbers, dtype=np.float64).reshape(shape)


def given(numbers: Any) -> Given:
    generator = Given(np.random.PCG64(0))
    generator.numbers = numbers
    return generator


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def first_action(_: Any, actions: Any) -> Any:
    """The return of a sequence is the sum of its actions."""
    return actions.sum(axis=(2, 3))


def double_well(centre: Any, actions: Any) -> Any:
    """Something that is neither linear nor quadratic, another one for each problem [B, 1]."""
    away = actions.sum(axis=-1) - centre[:, None]
    return -(away**2).sum(axis=-1) + np.cos(4 * away).sum(axis=-1)


class TestByHand:
    """Every number worked out on paper."""

    def test_cem_fits_its_elites(self) -> None:
        # μ = 0, σ = 2, noise −1, 0, 1, 2: samples −2, 0, 2, 4 and two elites 2, 4: m = 3, s = 1.
        settings = CEM(
            samples=4, iterations=1, elites=2, std=2.0, min_std=0.0, momentum=0.25,
            mean_sample=False,
        )  # fmt: skip
        found = cem(first_action, None, [[[0.0]]], [-INF], [INF], settings, given([-1, 0, 1, 2]))
        assert found.plan.tolist() == [[[0.75 * 3.0]]]
        assert found.std.tolist() == [[[0.25 * 2 + 0.75 * 1]]]
        assert found.action.tolist() == [[2.25]]
        assert found.elites[0, :, 0, 0].tolist() == [4.0, 2.0]
        assert found.returns.tolist() == [[[-2.0, 0.0, 2.0, 4.0]]]
        assert found.weights.tolist() == [[0.0, 0.0, 0.5, 0.5]]
        assert found.best_return.tolist() == [4.0]
        assert found.effective_samples.tolist() == [2.0]

    def test_cem_goes_on_from_the_fit(self) -> None:
        # As above without momentum, then from μ = 3, σ = 1 the same noise: samples 2, 3, 4, 5.
        settings = CEM(
            samples=4, iterations=2, elites=2, std=2.0, min_std=0.0, momentum=0.0,
            mean_sample=False,
        )  # fmt: skip
        noise = [-1, 0, 1, 2, -1, 0, 1, 2]
        found = cem(first_action, None, [[[0.0]]], [-INF], [INF], settings, given(noise))
        assert found.returns[0, 1].tolist() == [2.0, 3.0, 4.0, 5.0]
        assert found.plan.tolist() == [[[4.5]]]
        assert found.std.tolist() == [[[0.5]]]

    def test_cem_weighs_elites_by_returns(self) -> None:
        # Elites 4 and 2; with temperature 2 / ln 3 the worse has a third of the other's weight.
        settings = CEM(
            samples=4, iterations=1, elites=2, std=2.0, min_std=0.0, momentum=0.0,
            mean_sample=False, temperature=2 / np.log(3),
        )  # fmt: skip
        found = cem(first_action, None, [[[0.0]]], [-INF], [INF], settings, given([-1, 0, 1, 2]))
        np.testing.assert_allclose(found.weights[0], [0, 0, 0.25, 0.75], atol=1e-15)
        np.testing.assert_allclose(found.plan, [[[3.5]]])
        np.testing.assert_allclose(found.std, [[[np.sqrt(0.75)]]])

    def test_cem_keeps_tries_and_adds(self) -> None:
        # Samples of iteration 1: the candidate 7, then 1, 2. Of iteration 2: the kept 7, one drawn
        # at the fit's mean (7 + 2) / 2 plus σ = 2.5, and the mean itself.
        settings = CEM(
            samples=3, iterations=2, elites=2, std=1.0, min_std=0.0, momentum=0.0, keep=1
        )
        noise = [0, 1, 2, 5, 1, 5]
        found = cem(first_action, None, [[[0.0]]], [-9], [9], settings, given(noise), [[[[7.0]]]])
        assert found.returns.tolist() == [[[7.0, 1.0, 2.0], [7.0, 7.0, 4.5]]]
        assert found.plan.tolist() == [[[7.0]]]

    def test_cem_plays_mean_or_best(self) -> None:
        # Iteration 2 draws nothing better than the 2 of iteration 1.
        settings = CEM(
            samples=2, iterations=2, elites=2, std=1.0, min_std=0.0, momentum=0.0,
            mean_sample=False,
        )  # fmt: skip
        noise = [0, 2, -1, 0]  # fitted: mean 1, std 1; then 0 and 1
        found = cem(first_action, None, [[[0.0]]], [-9], [9], settings, given(noise))
        assert found.action.tolist() == [[0.5]]
        best = replace(settings, play="best")
        found = cem(first_action, None, [[[0.0]]], [-9], [9], best, given(noise))
        assert found.action.tolist() == [[2.0]]
        assert found.best_return.tolist() == [2.0]
        assert found.plan.tolist() == [[[0.5]]]

    def test_cem_has_a_least_spread(self) -> None:
        settings = CEM(samples=2, iterations=1, elites=1, std=1.0, min_std=0.2, momentum=0.0)
        found = cem(first_action, None, [[[0.0]]], [-9], [9], settings, given([1, 5]))
        assert found.plan.tolist() == [[[1.0]]]
        assert found.std.tolist() == [[[0.2]]]

    def test_ties_go_to_the_earlier_sample(self) -> None:
        settings = CEM(samples=200, iterations=1, elites=2, momentum=0.0, mean_sample=False, std=1)
        noise = np.r_[1, 3, np.full(198, -5)]

        def constant(_: Any, actions: Any) -> Any:
            return np.zeros(actions.shape[:2])

        found = cem(constant, None, [[[0.0]]], [-9], [9], settings, given(noise))
        assert found.plan.tolist() == [[[2.0]]]

    def test_mppi_averages_by_exponentials(self) -> None:
        # Samples 0 and 1 · 2: returns 0 and 2; λ = 2 / ln 3 gives weights 1/4 and 3/4.
        settings = MPPI(samples=2, std=2.0, temperature=2 / np.log(3), relative=False)
        found = mppi(first_action, None, [[[0.0]]], [-INF], [INF], settings, given([0, 1]))
        np.testing.assert_allclose(found.weights, [[0.25, 0.75]])
        np.testing.assert_allclose(found.plan, [[[1.5]]])
        np.testing.assert_allclose(found.effective_samples, [1 / (1 / 16 + 9 / 16)])
        assert found.std.tolist() == [[[2.0]]]
        assert found.elites.tolist() == [[[[2.0]]]]

    def test_mppi_clips_before_it_averages(self) -> None:
        # The second sample is cut off at 1, and counts as 1.
        settings = MPPI(samples=2, std=2.0, temperature=1 / np.log(3), relative=False)
        found = mppi(first_action, None, [[[0.0]]], [-1], [1], settings, given([0, 1]))
        assert found.returns.tolist() == [[[0.0, 1.0]]]
        np.testing.assert_allclose(found.plan, [[[0.75]]])

    def test_mppi_control_cost(self) -> None:
        # u = 1, σ = 2, samples 1 and 3; the second pays λ · u · ε / σ² = λ · 2 / 4 more, so its
        # logit is 2 / λ − 1/2: with λ = 4 none is left and both weigh the same.
        settings = MPPI(samples=2, std=2.0, temperature=4.0, relative=False, control_cost=1.0)
        found = mppi(first_action, None, [[[1.0]]], [-INF], [INF], settings, given([0, 1]))
        np.testing.assert_allclose(found.weights, [[0.5, 0.5]])
        np.testing.assert_allclose(found.plan, [[[2.0]]])

    def test_mppi_relative_temperature(self) -> None:
        # Returns 0 and 2 have the standard deviation 1: λ = 2 / ln 3 in their units is the same.
        settings = MPPI(samples=2, std=2.0, temperature=2 / np.log(3), relative=True)
        found = mppi(first_action, None, [[[0.0]]], [-INF], [INF], settings, given([0, 1]))
        np.testing.assert_allclose(found.weights, [[0.25, 0.75]])

    def test_failed_rollouts_weigh_nothing(self) -> None:
        def failing(_: Any, actions: Any) -> Any:
            total = actions.sum(axis=(2, 3))
            return np.where(total > 1.5, -INF, total)

        four = given([0, 1, 2, 3])
        settings = CEM(samples=4, iterations=1, elites=3, momentum=0, std=1, mean_sample=False)
        found = cem(failing, None, [[[0.0]]], [-9], [9], settings, four)
        assert found.weights.tolist() == [[0.5, 0.5, 0.0, 0.0]]
        assert found.plan.tolist() == [[[0.5]]]
        for relative in (False, True):
            found = mppi(
                failing, None, [[[0.0]]], [-9], [9],
                MPPI(samples=4, std=1, temperature=1.0, relative=relative), four,
            )  # fmt: skip
            assert found.weights[0, 2:].tolist() == [0.0, 0.0]
            scale = 0.5 if relative else 1.0
            np.testing.assert_allclose(found.weights[0, 1], 1 / (1 + np.exp(-1 / scale)))

    def test_shift(self) -> None:
        plan = np.arange(6.0).reshape(1, 3, 2)
        assert shift(plan).tolist() == [[[2, 3], [4, 5], [4, 5]]]
        assert shift(plan, last=[8, 9]).tolist() == [[[2, 3], [4, 5], [8, 9]]]
        assert shift(plan[:, :1]).tolist() == [[[0, 1]]]
        assert shift(plan[:, None])[:, 0].tolist() == shift(plan).tolist()

    def test_first_plan(self) -> None:
        assert first_plan(1, 2, [-1, 0], [1, 4]).tolist() == [[[0, 2], [0, 2]]]
        assert first_plan(1, 1, [-INF, 3], [INF, INF]).tolist() == [[[0, 3]]]


class TestClosedForms:
    """Limits of many samples."""

    def test_cem_on_a_linear_return_is_a_truncated_normal(self) -> None:
        """The elites are the normal's upper tail: mean and deviation are those of truncnorm."""
        share, std = 0.1, 0.7
        count = 400_000
        settings = CEM(
            samples=count, iterations=1, elites=int(share * count), std=std, min_std=0.0,
            momentum=0.0, mean_sample=False,
        )  # fmt: skip
        found = cem(first_action, None, [[[0.3]]], [-INF], [INF], settings, rng())
        tail = stats.truncnorm(stats.norm.isf(share), INF, loc=0.3, scale=std)
        assert found.plan[0, 0, 0] == pytest.approx(tail.mean(), abs=0.003)
        assert found.std[0, 0, 0] == pytest.approx(tail.std(), abs=0.003)

    @pytest.mark.parametrize("control_cost", [0.0, 0.4, 1.0])
    def test_mppi_on_a_quadratic_cost_is_a_product_of_normals(self, control_cost: float) -> None:
        """exp(−(v − v*)ᵀM(v − v*) / 2λ) times a normal around (1 − c) u is a normal: its mean.

        With the control cost c the samples' density N(u, Σ) is multiplied by exp(−c uᵀΣ⁻¹v), which
        moves its centre to (1 − c) u (Williams et al. 2017, section III).
        """
        curvature = np.array([[2.0, 0.6], [0.6, 1.0]])
        goal, plan = np.array([0.8, -0.4]), np.array([0.5, 1.0])
        std, temperature = 0.6, 0.9

        def quadratic(_: Any, actions: Any) -> Any:
            away = actions[..., 0] - goal
            return -0.5 * np.einsum("bni,ij,bnj->bn", away, curvature, away)

        settings = MPPI(
            samples=400_000, std=std, temperature=temperature, relative=False,
            control_cost=control_cost,
        )  # fmt: skip
        found = mppi(quadratic, None, plan[None, :, None], [-INF], [INF], settings, rng(1))
        precision = np.eye(2) / std**2 + curvature / temperature
        centre = (1 - control_cost) * plan
        mean = np.linalg.solve(precision, centre / std**2 + curvature @ goal / temperature)
        np.testing.assert_allclose(found.plan[0, :, 0], mean, atol=0.005)

    @pytest.mark.parametrize(("horizon", "exponent"), [(1, 2.0), (8, 0.0), (8, 1.0), (9, 2.5)])
    def test_noise_has_variance_one_and_the_spectrum_it_is_asked_for(
        self, horizon: int, exponent: float
    ) -> None:
        noise = coloured_noise(rng(2), (100_000, horizon, 2), exponent)
        np.testing.assert_allclose(noise.var(axis=0), 1, atol=0.03)
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.02)
        assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1]) < 0.02
        if horizon == 1:
            return
        power = (np.abs(np.fft.rfft(noise[..., 0], axis=1)) ** 2).mean(axis=0)
        frequency = np.arange(power.size) / horizon
        np.testing.assert_allclose(
            power[1:] / power[1], (frequency[1:] / frequency[1]) ** -exponent, rtol=0.05
        )
        assert power[0] == pytest.approx(power[1], rel=0.05)


class Lqr:
    """x' = Fx + Gu with cost Σ xᵀQx + uᵀRu after each step; two states, one input, H steps."""

    F = np.array([[1.0, 0.2], [0.0, 0.95]])
    G = np.array([[0.0], [0.2]])
    Q = np.diag([1.0, 0.2])
    R = np.array([[0.1]])
    H = 8

    def rollout(self, state: Any, actions: Any) -> Any:
        x = np.repeat(state[:, None], actions.shape[1], axis=1)
        total = np.zeros(actions.shape[:2])
        for step in range(actions.shape[2]):
            u = actions[:, :, step]
            x = x @ self.F.T + u @ self.G.T
            total -= np.einsum("bni,ij,bnj->bn", x, self.Q, x) + (u @ self.R * u).sum(axis=-1)
        return total

    def optimum(self, state: Any) -> tuple[Any, Any]:
        """The optimal inputs [B, H, 1] and returns [B], by Riccati's backward recursion."""
        value = np.zeros((2, 2))
        gains = []
        for _ in range(self.H):
            after = self.Q + value  # the cost of the state that a step leads to, and of the rest
            gain = np.linalg.solve(self.R + self.G.T @ after @ self.G, self.G.T @ after @ self.F)
            gains.append(gain)
            closed = self.F - self.G @ gain
            value = closed.T @ after @ closed + gain.T @ self.R @ gain
        x, inputs = state, []
        for gain in reversed(gains):
            u = -x @ gain.T
            inputs.append(u)
            x = x @ self.F.T + u @ self.G.T
        return np.stack(inputs, axis=1), -np.einsum("bi,ij,bj->b", state, value, state)


STARTS = np.array([[1.0, 0.0], [-0.5, 0.8], [0.2, -1.0]])


class TestLinearQuadratic:
    """The exact optimum is known."""

    def test_riccati_is_right(self) -> None:
        """Its return is the return of rolling its inputs out, and no others are better."""
        problem = Lqr()
        inputs, returns = problem.optimum(STARTS)
        np.testing.assert_allclose(problem.rollout(STARTS, inputs[:, None])[:, 0], returns)
        nearby = inputs[:, None] + 0.01 * rng().normal(size=(3, 200, problem.H, 1))
        assert np.all(problem.rollout(STARTS, nearby) < returns[:, None])

    @pytest.mark.parametrize(
        "settings",
        [
            CEM(samples=400, iterations=25, elites=40, std=2.0, min_std=0.0, momentum=0.1),
            CEM(samples=400, iterations=25, elites=40, std=2.0, min_std=0.0, noise_exponent=1.0),
            CEM(samples=400, iterations=25, elites=40, std=2.0, min_std=0, temperature=0.5, keep=5),
            MPPI(samples=2000, iterations=60, std=0.3, temperature=0.1),
        ],
        ids=["cem", "cem coloured", "cem weighted", "mppi"],
    )
    def test_the_optimum_is_found(self, settings: CEM | MPPI) -> None:
        problem = Lqr()
        inputs, returns = problem.optimum(STARTS)
        start = first_plan(3, problem.H, [-20], [20])
        found = plan_control(problem.rollout, STARTS, start, [-20], [20], settings, rng(3))
        reached = problem.rollout(STARTS, found.plan[:, None])[:, 0]
        before = problem.rollout(STARTS, start[:, None])[:, 0]
        # Of what there was to gain less than 0.1 % is left.
        assert np.all((returns - reached) / (returns - before) < 1e-3)
        np.testing.assert_allclose(found.action, inputs[:, 0], atol=0.05)

    @pytest.mark.parametrize(
        "settings",
        [
            CEM(samples=64, iterations=3, elites=8, std=1.0, min_std=0.02),
            MPPI(samples=128, iterations=2, std=0.5),
        ],
        ids=["cem", "mppi"],
    )
    def test_a_shifted_plan_is_a_warm_start(self, settings: CEM | MPPI) -> None:
        """Control of 20 steps with little work a step: near the optimum only from the last plan."""
        problem = Lqr()

        def control(warm: bool) -> float:
            generator, x = rng(4), STARTS
            plan = first_plan(3, problem.H, [-20], [20])
            total = 0.0
            for _ in range(20):
                found = plan_control(problem.rollout, x, plan, [-20], [20], settings, generator)
                total += float(problem.rollout(x, found.action[:, None, None]).sum())
                x = x @ problem.F.T + found.action @ problem.G.T
                if warm:
                    plan = shift(found.plan)
            return total

        assert control(warm=True) > control(warm=False)


SETTINGS = [
    CEM(samples=16, iterations=3, elites=4, std=0.8, keep=2),
    CEM(samples=16, iterations=3, elites=4, std=0.8, noise_exponent=2.0, play="best"),
    CEM(samples=16, iterations=2, elites=6, std=0.8, temperature=0.7),
    MPPI(samples=16, iterations=3, std=0.6, control_cost=0.5),
    MPPI(samples=16, iterations=2, std=0.6, temperature=0.4, relative=False, noise_exponent=1.0),
]
FIELDS = ("action", "plan", "std", "elites", "best_return", "returns", "weights")


def plan_for(settings: Any, centres: Any, seed: int = 5, rollout: Any = double_well) -> Any:
    centres = np.asarray(centres, dtype=np.float64)
    start = first_plan(len(centres), 4, [-1, -2], [1, 2])
    return plan_control(rollout, centres[:, None], start, [-1, -2], [1, 2], settings, rng(seed))


def assert_same(one: ControlOutput, other: ControlOutput, row: int) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name)[row], getattr(other, name)[row], name)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
class TestInvariances:
    """What must not matter, and what must."""

    def test_same_seed_same_plan(self, settings: Any) -> None:
        one, other = plan_for(settings, [0.3, 1.0]), plan_for(settings, [0.3, 1.0])
        assert_same(one, other, 0)
        assert_same(one, other, 1)
        assert not np.array_equal(one.plan, plan_for(settings, [0.3, 1.0], seed=6).plan)

    def test_rows_do_not_know_of_one_another(self, settings: Any) -> None:
        pair = plan_for(settings, [0.3, 1.0])
        assert_same(pair, plan_for(settings, [0.3, -2.0]), 0)
        assert_same(pair, plan_for(settings, [-2.0, 1.0]), 1)
        assert_same(pair, plan_for(settings, [0.3]), 0)
        assert not np.array_equal(pair.plan[0], pair.plan[1])

    def test_actions_are_inside_the_bounds(self, settings: Any) -> None:
        seen = []

        def looking(centre: Any, actions: Any) -> Any:
            seen.append(actions)
            return double_well(centre, actions)

        found = plan_for(settings, [9.0, -9.0], rollout=looking)
        for actions in (*seen, found.plan[:, None], found.elites):
            assert np.all(np.abs(actions) <= [1, 2])
        assert np.abs(found.plan[..., 1]).max() > 1  # each direction has its own bound

    def test_a_constant_return_more_changes_nothing(self, settings: Any) -> None:
        found = plan_for(settings, [0.3, 1.0])
        more = plan_for(
            settings, [0.3, 1.0], rollout=lambda s, actions: double_well(s, actions) + 64.0
        )
        np.testing.assert_allclose(more.plan, found.plan, atol=1e-9)
        np.testing.assert_allclose(more.best_return, found.best_return + 64)

    def test_the_plan_is_improved(self, settings: Any) -> None:
        found = plan_for(settings, [0.5] * 20)
        before = double_well(np.full((20, 1), 0.5), np.zeros((20, 1, 4, 2)))
        after = double_well(np.full((20, 1), 0.5), found.plan[:, None])
        assert after.mean() > before.mean()
        assert np.all(found.best_return == found.returns.max(axis=(1, 2)))

    def test_weights_are_a_distribution(self, settings: Any) -> None:
        found = plan_for(settings, [0.3, 1.0])
        np.testing.assert_allclose(found.weights.sum(axis=1), 1)
        assert np.all(found.weights >= 0)
        assert np.all((found.effective_samples >= 1) & (found.effective_samples <= 16))

    def test_what_goes_in_stays_as_it_is(self, settings: Any) -> None:
        plan = np.full((1, 4, 2), 0.25)
        candidates = np.full((1, 2, 4, 2), 5.0)
        plan_control(
            double_well, np.zeros((1, 1)), plan, [-1, -2], [1, 2], settings, rng(), candidates
        )
        assert np.all(plan == 0.25)
        assert np.all(candidates == 5.0)

    def test_accounts(self, settings: Any) -> None:
        """Counted by the model itself."""
        steps, calls = 0, 0

        def counting(centre: Any, actions: Any) -> Any:
            nonlocal steps, calls
            steps, calls = steps + actions[..., 0].size, calls + 1
            return double_well(centre, actions)

        found = plan_for(settings, [0.3, 1.0, 2.0], rollout=counting)
        assert found.accounts == SerialAccounts(critical_path=calls * 4, model_steps=steps)


def test_accounts_add_up() -> None:
    assert SerialAccounts(3, 40) + SerialAccounts(2, 5) == SerialAccounts(5, 45)


def test_scaling_the_rewards_changes_nothing_relative() -> None:
    def scaled(centre: Any, actions: Any) -> Any:
        return 1000 * double_well(centre, actions)

    relative = MPPI(samples=16, temperature=5.0, relative=True)
    np.testing.assert_allclose(
        plan_for(relative, [0.3]).plan, plan_for(relative, [0.3], rollout=scaled).plan, atol=1e-9
    )
    absolute = replace(relative, relative=False)
    assert not np.allclose(
        plan_for(absolute, [0.3]).plan, plan_for(absolute, [0.3], rollout=scaled).plan, atol=0.01
    )


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_a_growing_penalty_comes_to_be_a_failure(share: float) -> None:
    """Of random samples: the relative temperature does not grow with what some of them lose."""
    settings = MPPI(samples=256, iterations=8)

    def away(penalty: float) -> float:
        struck = rng(1)

        def rollout(_: Any, actions: Any) -> Any:
            returns = -((actions - 0.6) ** 2).sum(axis=(2, 3))
            return np.where(struck.random(returns.shape) < share, returns - penalty, returns)

        found = mppi(rollout, None, np.zeros((1, 5, 1)), [-1], [1], settings, rng(0))
        return float(((found.plan - 0.6) ** 2).sum())

    failed = away(INF)
    assert failed < 0.05  # of 5 · 0.6² = 1.8 at the start
    for penalty in (100.0, 1e6, 1e300):
        assert away(penalty) == pytest.approx(failed, rel=1e-6)
    assert away(10.0) == pytest.approx(failed, rel=0.01)


def test_spread_by_hand() -> None:
    # Medians 0, 1, 0 and, of the two that are left, 5; excesses 3, 4; 2; 1; 1.
    returns = np.array([
        [-7, 4, 3, -5, 0], [1, 3, 1, 1, 1], [0, -INF, 1, -9, 0], [-INF, 4, -INF, 6, -INF],
    ])  # fmt: skip
    expected = [np.sqrt(2 * 25 / 5), np.sqrt(2 * 4 / 5), np.sqrt(2 / 5), 1.0]
    np.testing.assert_allclose(spread(returns), expected)
    normal = spread(3 * rng(0).standard_normal((1, 1_000_000)))
    np.testing.assert_allclose(normal, 3, rtol=0.01)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1.0, 1e308])
@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1.0, 1e300, 1.7e308])
def test_extremes_give_a_plan_inside_the_bounds(
    settings: Any, temperature: float, scale: float
) -> None:
    """Without a warning of NumPy either, which pytest makes an error."""

    def extreme(centre: Any, actions: Any) -> Any:
        return scale * np.tanh(double_well(centre, actions) + 3)

    found = plan_for(replace(settings, temperature=temperature), [0.3, -1.0], rollout=extreme)
    assert np.all(np.abs(found.plan) <= [1, 2])
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)


@pytest.mark.parametrize("power", [-300, -60, 60, 300])
def test_the_scale_of_returns_changes_no_bit_of_a_relative_plan(power: int) -> None:
    settings = MPPI(samples=32, iterations=3, temperature=0.2)
    scaled = plan_for(settings, [0.3], rollout=lambda s, a: 2.0**power * double_well(s, a))
    np.testing.assert_array_equal(scaled.plan, plan_for(settings, [0.3]).plan)


def test_temperature_has_its_limits() -> None:
    """Cold, MPPI takes its best sample; hot, the mean of its samples. CEM: its best elite, all."""
    cold = plan_for(MPPI(samples=16, temperature=1e-9, relative=False), [0.3])
    np.testing.assert_array_equal(cold.plan[0], cold.elites[0, 0])
    samples = []

    def looking(centre: Any, actions: Any) -> Any:
        samples.append(actions)
        return double_well(centre, actions)

    hot = plan_for(MPPI(samples=16, temperature=1e12, relative=False), [0.3], rollout=looking)
    np.testing.assert_allclose(hot.plan[0], samples[0][0].mean(axis=0), atol=1e-9)
    plain = CEM(samples=16, iterations=1, elites=4, momentum=0.0)
    cold = plan_for(replace(plain, temperature=1e-9), [0.3])
    np.testing.assert_array_equal(cold.plan[0], cold.elites[0, 0])
    hot = plan_for(replace(plain, temperature=1e12), [0.3])
    np.testing.assert_allclose(hot.plan, plan_for(plain, [0.3]).plan, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (SETTINGS[0], {name: value})
        for name, value in {
            "samples": 15, "iterations": 2, "elites": 5, "std": 0.7, "min_std": 0.7,
            "momentum": 0.5, "noise_exponent": 1.0, "keep": 0, "mean_sample": False,
            "temperature": 0.1, "play": "best",
        }.items()
    ]
    + [
        (SETTINGS[3], {name: value})
        for name, value in {
            "samples": 15, "iterations": 2, "std": 0.7, "temperature": 0.1, "relative": False,
            "control_cost": 0.0,
        }.items()
    ]
    + [(SETTINGS[4], {"noise_exponent": 0.0})],
    ids=str,
)  # fmt: skip
def test_every_option_changes_something(settings: Any, change: dict[str, Any]) -> None:
    one, other = plan_for(settings, [0.3]), plan_for(replace(settings, **change), [0.3])
    assert not np.array_equal(one.action, other.action)


class TestErrors:
    """Each names what was wrong and what would be right."""

    @pytest.mark.parametrize(
        ("settings", "options", "message"),
        [
            (CEM, {"samples": 1}, "samples=1: must be 2 or more"),
            (CEM, {"iterations": 0}, "iterations=0: must be 1 or more"),
            (CEM, {"elites": 65}, "elites=65: must be from 1 to samples = 64"),
            (CEM, {"elites": 0}, "elites=0"),
            (CEM, {"std": 0.0}, "std=0.0: must be positive"),
            (CEM, {"std": float("nan")}, "std=nan"),
            (CEM, {"min_std": -1.0}, "min_std=-1.0: must be 0 or more"),
            (CEM, {"momentum": 1.0}, r"momentum=1.0: must be in \[0, 1\)"),
            (CEM, {"noise_exponent": -1.0}, "noise_exponent=-1.0: must be 0 or more"),
            (CEM, {"keep": 9}, "keep=9: must be from 0 to 8"),
            (CEM, {"temperature": 0.0}, "temperature=0.0: must be positive"),
            (CEM, {"play": "worst"}, "play='worst': must be 'mean' or 'best'"),
            (MPPI, {"samples": 1}, "samples=1: must be 2 or more"),
            (MPPI, {"iterations": 0}, "iterations=0: must be 1 or more"),
            (MPPI, {"std": -0.5}, "std=-0.5: must be positive"),
            (MPPI, {"temperature": INF}, "temperature=inf: must be positive and finite"),
            (MPPI, {"control_cost": 2.0}, r"control_cost=2.0: must be in \[0, 1\]"),
            (MPPI, {"noise_exponent": -1.0}, "noise_exponent=-1.0: must be 0 or more"),
            (
                MPPI,
                {"noise_exponent": 1.0, "control_cost": 1.0},
                "noise_exponent=1.0: must be 0 with a control_cost",
            ),
        ],
        ids=str,
    )
    def test_settings(self, settings: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            settings(**options)

    @pytest.mark.parametrize(
        "settings", [CEM(samples=4, elites=2), MPPI(samples=4)], ids=["cem", "mppi"]
    )
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"plan": np.zeros((4, 2))}, r"plan must be \[B, H, A\] .* A = 2 .* shape \(4, 2\)"),
            ({"plan": np.zeros((1, 4, 3))}, r"not of shape \(1, 4, 3\)"),
            ({"plan": np.full((1, 4, 2), 3.0)}, r"plan\[0, 0, 0\] is 3.0, outside .*\[-1.0, 1.0\]"),
            ({"plan": np.full((1, 4, 2), np.nan)}, r"plan\[0, 0, 0\] is nan, outside"),
            ({"low": [-1, 2]}, "low must be less than high; of action 1 they are 2.0 and 1.0"),
            ({"low": [-1]}, r"low and high must be \[A\], not of shape \(1,\) and \(2,\)"),
            (
                {"candidates": np.zeros((1, 2, 3, 2))},
                r"candidates must be \[1, M, 4, 2\] with M ≤ samples = 4, not .* \(1, 2, 3, 2\)",
            ),
            ({"candidates": np.zeros((1, 5, 4, 2))}, "M ≤ samples = 4"),
            ({"candidates": np.full((1, 1, 4, 2), np.nan)}, "candidates hold numbers that are not"),
            (
                {"rollout": lambda _, actions: actions.sum(axis=(1, 2, 3))},
                r"rollout must return \[B, N\] = \(1, 4\), not an array of shape \(1,\)",
            ),
            (
                {"rollout": lambda _, actions: np.full(actions.shape[:2], np.nan)},
                "rollout returned nan for problem 0, sample 0",
            ),
            (
                {"rollout": lambda _, actions: np.full(actions.shape[:2], -INF)},
                "every rollout of problem 0 failed",
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
    )
    def test_calls(self, settings: Any, change: dict[str, Any], message: str) -> None:
        call: dict[str, Any] = {
            "rollout": first_action, "state": None, "plan": np.zeros((1, 4, 2)),
            "low": [-1, -1], "high": [1, 1], "settings": settings, "generator": rng(),
        }  # fmt: skip
        with pytest.raises(ValueError, match=message):
            plan_control(**(call | change))

    def test_first_plan(self) -> None:
        with pytest.raises(ValueError, match="batch ≥ 1 and horizon ≥ 1, not 1 and 0"):
            first_plan(1, 0, [-1], [1])
