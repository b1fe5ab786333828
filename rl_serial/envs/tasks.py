"""How an agent acts on a chain: :class:`Bet` (optimal stopping) and :class:`Steer` (kicks).

:class:`rl_serial.envs.write.Write` is the third. A task is a set of pure, batched rules over any
chain. Gymnasium environments, planner, evaluation and tests all use these; no rule is written
twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from rl_serial.envs.chain import (
    Array,
    Chain,
    TokenLayout,
    array_namespace,
    device_of,
    is_traced,
    map_state,
    one_hot,
    repeat,
    select,
    with_outcome,
)
from rl_serial.envs.random import below, random_words
from rl_serial.errors import require

S = TypeVar("S")
C = TypeVar("C")

PASS, BET, THINK = 0, 1, 2
STARTS = ("full", "uniform")
ENUMERATION_LIMIT = 65_536
"""Most sequences of decisions that :meth:`Steer.action_values` enumerates for one state."""


@dataclass(frozen=True)
class Transition(Generic[S]):
    """What a step gives. A state that had ended stays as it is and pays nothing."""

    state: S
    reward: Array  # [B] float32
    terminated: Array  # [B] bool


class Task(Protocol[S]):
    """A decision problem on a chain, as pure batched functions."""

    @property
    def chain(self) -> Chain[Any]:
        """The chain that is acted on."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """A name for each action."""

    @property
    def layout(self) -> TokenLayout:
        """How :meth:`observe` folds into tokens."""

    @property
    def start(self) -> str:
        """Where episodes begin: full (serial_depth steps remaining) or uniform (1 to that)."""

    def initial(self, seeds: Array) -> S:
        """Fresh episodes of the instances ``seeds`` [B] int64."""

    def at_remaining(self, seeds: Array, remaining: Array) -> S:
        """The same instances, ``remaining`` [B] int64 in [1, serial_depth] steps from their end."""

    def step(self, state: S, action: Array) -> Transition[S]:
        """The effect of ``action`` [B] int64 in [0, num_actions)."""

    def serial_step(self, state: S, action: Array) -> tuple[Transition[S], Array]:
        """One serial step of what ``action`` [B] sets going, and which rows must repeat it.

        A step that runs the chain through several serial steps is taken apart into them, so that a
        target can bootstrap along the chain (an intra-option step; Sutton, Precup and Singh 1999).
        """

    def observe(self, state: S) -> Array:
        """[B, layout.size] float32 in [0, 1]."""

    def legal_actions(self, state: S) -> Array:
        """[B, num_actions] bool; an action that is not legal counts as action 0."""

    def examined_actions(self, state: S) -> Array:
        """[B, num_actions] bool: the legal actions of which an examination asks for the right one.

        Where that is an answer that other actions lead to, those are none of them.
        """

    @property
    def deliberates(self) -> bool:
        """Whether other actions come before the one that an examination asks for."""

    def notes(self, state: S) -> list[str]:
        """Lines for people, of a state with B = 1: what the task has beside the chain.

        As many all through an episode.
        """

    def action_values(self, state: S) -> Array:
        """[B, num_actions] float32: the exact optimal action values Q*; zero after the end."""

    def random_values(self, state: S) -> Array:
        """[B] float32: the exact values when each legal action is as likely as any other."""

    def remaining(self, state: S) -> Array:
        """[B] int64: serial steps until the chain's end."""

    def chain_state(self, state: S) -> Any:
        """The state of the chain itself."""

    def with_chain(self, state: S, chain: Any) -> S:
        """The same moment of the episode with the chain in another state, to be observed."""

    def estimated_values(self, state: S, payoffs: Callable[[Any], Array]) -> Array:
        """[B, num_actions] float32: action values by an estimate of what the chain will pay.

        Args:
            state: B rows.
            payoffs: states of the chain [N] to the payoffs [N] float32 that they are taken to lead
                to if nobody touches them.
        """


def random_remaining(seeds: Array, serial_depth: int) -> Array:
    """[B] int64 in [1, serial_depth], uniform: where exploring starts put the instances ``seeds``.

    Sutton and Barto 2018, section 5.3.
    """
    return 1 + below(random_words(seeds, 1, stream=2)[:, 0], serial_depth)


def num_actions(task: Task[Any]) -> int:
    """How many actions the task has."""
    return len(task.action_names)


@dataclass(frozen=True)
class BetState(Generic[C]):
    """A batch of Bet episodes."""

    chain: C
    think_budget: Array  # [B] int64: THINK actions that are left
    outcome: Array  # [B] float32: the payoff at the chain's end, which nobody can change
    ended: Array  # [B] bool


@dataclass(frozen=True)
class Bet(Generic[C]):
    """Optimal stopping: PASS takes 0, BET takes the payoff of the chain run to its end.

    THINK, which is there only with a think budget, advances the chain one step at a cost; with the
    budget used up it counts as PASS.

    Args:
        chain: the chain to bet on.
        think_budget: THINK actions in an episode, at least 0.
        think_cost: what each costs, at least 0.
        start: full (serial_depth steps remaining) or uniform (1 to serial_depth: exploring starts).

    Raises:
        ValueError: an option outside its range.
    """

    chain: Chain[C]
    think_budget: int = 0
    think_cost: float = 0.05
    start: str = "full"

    def __post_init__(self) -> None:
        require(self.think_budget >= 0, "think_budget", self.think_budget, "at least 0")
        require(self.think_cost >= 0, "think_cost", self.think_cost, "at least 0")
        require(self.start in STARTS, "start", self.start, f"one of {', '.join(STARTS)}")

    @property
    def action_names(self) -> tuple[str, ...]:
        """PASS, BET and, with a budget, THINK."""
        return ("PASS", "BET", "THINK") if self.think_budget else ("PASS", "BET")

    @property
    def layout(self) -> TokenLayout:
        """The chain's; with a think budget its one-hot comes behind the globals."""
        layout = self.chain.layout
        extra = self.think_budget + 1 if self.think_budget else 0
        return TokenLayout(layout.tokens, layout.features, layout.globals + extra)

    def initial(self, seeds: Array) -> BetState[C]:
        """Fresh episodes, with all or a uniform number of steps remaining."""
        xp = array_namespace(seeds)
        if self.start == "full":
            return self.at_remaining(seeds, xp.full_like(seeds, self.chain.serial_depth))
        return self.at_remaining(seeds, random_remaining(seeds, self.chain.serial_depth))

    def at_remaining(self, seeds: Array, remaining: Array) -> BetState[C]:
        """The instances, advanced until ``remaining`` steps are left, with a full budget."""
        chain, outcome = with_outcome(self.chain, seeds, remaining)
        budget = array_namespace(seeds).full_like(seeds, self.think_budget)
        return BetState(chain, budget, outcome, ended=seeds != seeds)

    def step(self, state: BetState[C], action: Array) -> Transition[BetState[C]]:
        """PASS and BET end the episode; THINK advances the chain."""
        xp = array_namespace(action)
        running = ~state.ended
        bets = xp.astype(running & (action == BET), xp.float32)
        reward = bets * state.outcome
        chain, think_budget, ended = state.chain, state.think_budget, state.ended | running
        if self.think_budget:
            thinks = running & (action == THINK) & (state.think_budget > 0)
            reward = reward - xp.astype(thinks, xp.float32) * self.think_cost
            chain = select(thinks, self.chain.advance(state.chain), state.chain)
            think_budget = think_budget - xp.astype(thinks, think_budget.dtype)
            ended = ~thinks
        return Transition(BetState(chain, think_budget, state.outcome, ended), reward, ended)

    def serial_step(
        self, state: BetState[C], action: Array
    ) -> tuple[Transition[BetState[C]], Array]:
        """A BET goes on step by step until the chain's end."""
        xp = array_namespace(action)
        whole = self.step(state, action)
        goes_on = ~state.ended & (action == BET) & (self.remaining(state) > 1)
        chain = self.chain.advance(state.chain)
        midway = BetState(chain, state.think_budget, state.outcome, state.ended)
        reward = xp.where(goes_on, xp.zeros_like(whole.reward), whole.reward)
        after = select(goes_on, midway, whole.state)
        return Transition(after, reward, whole.terminated & ~goes_on), goes_on

    def observe(self, state: BetState[C]) -> Array:
        """The chain's observation and the think budget that is left, as a one-hot."""
        observation = self.chain.observe(state.chain)
        if not self.think_budget:
            return observation
        xp = array_namespace(observation)
        budget = one_hot(state.think_budget, self.think_budget + 1, xp)
        return xp.concat([observation, budget], axis=1)

    def legal_actions(self, state: BetState[C]) -> Array:
        """PASS and BET always, THINK while there is budget."""
        xp = array_namespace(state.ended)
        always = xp.ones_like(state.ended)
        actions = [always, always]
        if self.think_budget:
            actions.append(state.think_budget > 0)
        return xp.stack(actions, axis=1)

    def examined_actions(self, state: BetState[C]) -> Array:
        """All that are legal."""
        return self.legal_actions(state)

    @property
    def deliberates(self) -> bool:
        """A THINK is examined as any other action."""
        return False

    def notes(self, state: BetState[C]) -> list[str]:
        """None."""
        return []

    def action_values(self, state: BetState[C]) -> Array:
        """Q*(PASS) = 0, Q*(BET) = outcome, Q*(THINK) = max(0, outcome) - cost.

        After one THINK nothing is gained by another, since the outcome is settled.
        """
        xp = array_namespace(state.ended)
        zero = xp.zeros_like(state.outcome)
        values = [zero, state.outcome]
        if self.think_budget:
            thinking = xp.clip(state.outcome, 0) - self.think_cost
            values.append(xp.where(state.think_budget > 0, thinking, zero))
        return xp.where(state.ended[:, None], zero[:, None], xp.stack(values, axis=1))

    def random_values(self, state: BetState[C]) -> Array:
        """(outcome - cost · (1 - 3^-budget)) / 2 under random play; zero after the end.

        It solves V(0) = outcome / 2, V(b) = (0 + outcome + V(b - 1) - cost) / 3: one of two actions
        without a budget, one of three with b THINK left.
        """
        xp = array_namespace(state.ended)
        thoughts = 1 - 3.0 ** -xp.astype(state.think_budget, xp.float32)  # half of it is spent
        values = (state.outcome - self.think_cost * thoughts) / 2
        return xp.where(state.ended, xp.zeros_like(values), values)

    def remaining(self, state: BetState[C]) -> Array:
        """Steps that the chain is from its end."""
        return state.chain.remaining  # type: ignore[attr-defined]

    def chain_state(self, state: BetState[C]) -> C:
        """The state of the chain."""
        return state.chain

    def with_chain(self, state: BetState[C], chain: C) -> BetState[C]:
        """The budget that is left, and that chain; the outcome stays what it was."""
        return replace(state, chain=chain)

    def estimated_values(self, state: BetState[C], payoffs: Callable[[C], Array]) -> Array:
        """The exact values if the outcome were the estimate; by it nothing is gained by a THINK."""
        return self.action_values(replace(state, outcome=payoffs(state.chain)))


@dataclass(frozen=True)
class Steer(Generic[C]):
    """Kicks on the way: at each of the first ``decisions`` steps the agent may kick the chain.

    Action 0 kicks nothing, action a gives kick a - 1; then the chain advances. Later any action
    counts as 0. The chain's payoff is paid at its end.

    Args:
        chain: the chain to steer.
        decisions: steps at which a kick is possible, 0 to the chain's serial depth.
        start: full (serial_depth steps remaining) or uniform (1 to serial_depth: exploring starts;
            with the first steps gone, so are their decisions).

    Raises:
        ValueError: an option outside its range.
    """

    chain: Chain[C]
    decisions: int = 2
    start: str = "full"

    def __post_init__(self) -> None:
        depth = self.chain.serial_depth
        right = f"0 to serial_depth = {depth}"
        require(0 <= self.decisions <= depth, "decisions", self.decisions, right)
        require(self.start in STARTS, "start", self.start, f"one of {', '.join(STARTS)}")

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """No kick, then one a kick."""
        return ("no kick", *(f"kick {kick}" for kick in range(self.chain.num_kicks)))

    @property
    def layout(self) -> TokenLayout:
        """The chain's: how many decisions are left follows from the remaining steps."""
        return self.chain.layout

    def initial(self, seeds: Array) -> C:
        """Fresh episodes, with all or a uniform number of steps remaining."""
        if self.start == "full":
            return self.chain.initial(seeds)
        return self.at_remaining(seeds, random_remaining(seeds, self.chain.serial_depth))

    def at_remaining(self, seeds: Array, remaining: Array) -> C:
        """The instances, advanced without a kick until ``remaining`` steps are left."""

        def further(i: Any, pair: tuple[C, C]) -> tuple[C, C]:
            shown, state = pair
            after = self.chain.advance(state)
            return select(remaining < self.chain.serial_depth - i, after, shown), after

        fresh = self.chain.initial(seeds)
        return repeat(self.chain.serial_depth - 1, further, (fresh, fresh))[0]

    def step(self, state: C, action: Array) -> Transition[C]:
        """Kick where that is asked for and allowed, then advance."""
        xp = array_namespace(action)
        kicks = (action > 0) & (self._decisions_left(state) > 0)
        kicked = self.chain.kick(state, xp.where(kicks, action - 1, 0))
        after = self.chain.advance(select(kicks, kicked, state))
        terminated = self.remaining(after) == 0
        pays = xp.astype(terminated & (self.remaining(state) > 0), xp.float32)
        return Transition(after, pays * self.chain.payoff(after), terminated)

    def serial_step(self, state: C, action: Array) -> tuple[Transition[C], Array]:
        """A step of Steer is one serial step."""
        transition = self.step(state, action)
        return transition, transition.terminated & ~transition.terminated

    def observe(self, state: C) -> Array:
        """The chain's observation."""
        return self.chain.observe(state)

    def legal_actions(self, state: C) -> Array:
        """All actions while there are decisions left, then only action 0."""
        xp = array_namespace(self.remaining(state))
        actions = xp.arange(len(self.action_names), device=device_of(self.remaining(state)))
        return (self._decisions_left(state) > 0)[:, None] | (actions == 0)

    def examined_actions(self, state: C) -> Array:
        """All that are legal."""
        return self.legal_actions(state)

    @property
    def deliberates(self) -> bool:
        """Every action is examined."""
        return False

    def notes(self, state: C) -> list[str]:
        """None."""
        return []

    def action_values(self, state: C) -> Array:
        """Q* by exact enumeration of the remaining decisions.

        Raises:
            ValueError: a state has more than ``ENUMERATION_LIMIT`` sequences of decisions ahead.
        """
        return self._enumerated(state, array_namespace(self.remaining(state)).max)

    def random_values(self, state: C) -> Array:
        """[B] float32: the mean payoff over the remaining sequences of decisions, all as likely.

        Raises:
            ValueError: as for :meth:`action_values`.
        """
        xp = array_namespace(self.remaining(state))
        return xp.mean(self._enumerated(state, xp.mean), axis=1)

    def _enumerated(self, state: C, over_actions: Any) -> Array:
        """[B, num_actions]: action values where later states are worth ``over_actions``."""
        xp = array_namespace(self.remaining(state))
        actions = len(self.action_names)
        levels_ahead = xp.clip(self._decisions_left(state), 0, None)
        if is_traced(levels_ahead):  # rows with fewer decisions left take those that nobody takes
            return self._enumerate(state, self.decisions, over_actions)
        most = int(xp.max(levels_ahead))
        if actions**most > ENUMERATION_LIMIT:
            raise ValueError(
                f"exact action values would enumerate {actions}**{most} sequences of decisions; "
                f"the limit is {ENUMERATION_LIMIT}: take fewer decisions"
            )
        rows, values = [], []
        # Rows with the same number of decisions left together, each enumerated no further.
        for levels in range(most + 1):
            (these,) = xp.nonzero(levels_ahead == levels)
            chunk = max(1, ENUMERATION_LIMIT // actions**levels)
            for first in range(0, these.shape[0], chunk):
                part = these[first : first + chunk]
                rows.append(part)
                here = map_state(lambda a, i=part: a[i], state)
                values.append(self._enumerate(here, levels, over_actions))
        return xp.concat(values, axis=0)[xp.argsort(xp.concat(rows, axis=0))]

    def _enumerate(self, state: C, levels: int, over_actions: Any) -> Array:
        xp = array_namespace(self.remaining(state))
        actions = len(self.action_names)
        ended = self.remaining(state) == 0
        leaves = state
        for _ in range(levels):
            batch = self.remaining(leaves).shape[0]
            leaves = map_state(lambda a: xp.repeat(a, actions, axis=0), leaves)
            choice = xp.arange(actions, dtype=xp.int64, device=device_of(ended))
            leaves = self.step(leaves, xp.tile(choice, (batch,))).state
        left = self.remaining(leaves)
        most = self.chain.serial_depth if is_traced(left) else int(xp.max(left))
        leaves = repeat(most, lambda _, state: self.chain.advance(state), leaves)
        values = self.chain.payoff(leaves)
        if levels == 0:  # whatever is done counts as action 0
            values = xp.repeat(values, actions, axis=0)
        values = xp.reshape(values, (-1, actions))
        for _ in range(levels - 1):
            values = xp.reshape(over_actions(values, axis=1), (-1, actions))
        return xp.where(ended[:, None], xp.zeros_like(values), values)

    def remaining(self, state: C) -> Array:
        """Steps that the chain is from its end."""
        return state.remaining  # type: ignore[attr-defined]

    def chain_state(self, state: C) -> C:
        """The state is the chain's."""
        return state

    def with_chain(self, state: C, chain: C) -> C:
        """The state is the chain's."""
        return chain

    def estimated_values(self, state: C, payoffs: Callable[[C], Array]) -> Array:
        """What the chain is taken to pay after each kick, with no further kick: the true push.

        An action that is not legal counts as no kick; zero after the end.
        """
        xp = array_namespace(self.remaining(state))
        untouched = payoffs(state)
        allowed = self._decisions_left(state) > 0
        values = [untouched]
        for kick in range(self.chain.num_kicks):
            kicked = self.chain.kick(state, xp.full_like(self.remaining(state), kick))
            values.append(xp.where(allowed, payoffs(kicked), untouched))
        ended = self.remaining(state) == 0
        stacked = xp.stack(values, axis=1)
        return xp.where(ended[:, None], xp.zeros_like(stacked), stacked)

    def _decisions_left(self, state: C) -> Array:
        """[B] int64: steps at which a kick is still possible; zero or less behind them."""
        return self.remaining(state) - (self.chain.serial_depth - self.decisions)
