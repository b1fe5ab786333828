"""What breaks the contract of a chain is caught, each with its own message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from rl_serial.envs import ENV_IDS, FAMILIES
from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    count_down,
    one_hot,
)
from rl_serial.envs.random import below, random_words
from rl_serial.envs.registry import register_family
from rl_serial.envs.testing import ChainContractError, check_chain, check_family


@dataclass(frozen=True)
class TapeState:
    """A batch of numbers and the tapes ahead of them."""

    x: Array  # [B] int64 in [0, 5)
    tape: Array  # [B, serial_depth] int64: the next letter first, -1 behind the end
    bit: Array  # [B] int64, 0 or 1
    remaining: Array  # [B] int64


@dataclass(frozen=True)
class Tape:
    """x <- x^power + letter (mod 5); two of the five numbers pay, or the other three."""

    power: int = 3
    serial_depth: int = 4
    num_kicks: ClassVar[int] = 2
    working_size: ClassVar[int] = 5

    @property
    def layout(self) -> TokenLayout:
        return TokenLayout(self.serial_depth, 5, 5 + 1 + self.serial_depth + 1)

    def initial(self, seeds: Array) -> TapeState:
        xp = array_namespace(seeds)
        words = random_words(seeds, 2 + self.serial_depth)
        return TapeState(
            below(words[:, 0], 5),
            below(words[:, 2:], 5),
            below(words[:, 1], 2),
            xp.full_like(seeds, self.serial_depth),
        )

    def kick(self, state: TapeState, action: Array) -> TapeState:
        return replace(state, x=(state.x + 1 + action) % 5)

    def advance(self, state: TapeState) -> TapeState:
        xp = array_namespace(state.x)
        after = (state.x**self.power + state.tape[:, 0]) % 5
        gone = xp.full_like(state.tape[:, :1], -1)
        return TapeState(
            xp.where(state.remaining > 0, after, state.x),
            xp.concat([state.tape[:, 1:], gone], axis=1),
            state.bit,
            count_down(state.remaining),
        )

    def payoff(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        return xp.astype((state.x < 2) == (state.bit == 1), xp.float32) * 2 - 1

    def observe(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        letters = xp.reshape(one_hot(state.tape, 5, xp), (state.x.shape[0], -1))
        bit = xp.astype(state.bit, xp.float32)[:, None]
        steps = one_hot(state.remaining, self.serial_depth + 1, xp)
        return xp.concat([letters, one_hot(state.x, 5, xp), bit, steps], axis=1)

    def working(self, state: TapeState) -> Array:
        return one_hot(state.x, 5, array_namespace(state.x))

    def redraw_step(self, state: TapeState, seeds: Array) -> TapeState:
        xp = array_namespace(seeds)
        more = 1 + below(random_words(seeds, 1, stream=1), 4)
        letter = xp.where(state.tape[:, :1] < 0, state.tape[:, :1], (state.tape[:, :1] + more) % 5)
        return replace(state, tape=xp.concat([letter, state.tape[:, 1:]], axis=1))


class ChangesItsArgument(Tape):
    def advance(self, state: TapeState) -> TapeState:
        state.x[:] = (state.x**self.power + state.tape[:, 0]) % 5
        return super().advance(state)


class RemembersCalls(Tape):
    calls: ClassVar[list[int]] = []

    def advance(self, state: TapeState) -> TapeState:
        self.calls.append(1)
        after = super().advance(state)
        return replace(after, x=(after.x + len(self.calls)) % 5)


class NeverCountsDown(Tape):
    def advance(self, state: TapeState) -> TapeState:
        return replace(super().advance(state), remaining=state.remaining)


class KicksAStepAway(Tape):
    def kick(self, state: TapeState, action: Array) -> TapeState:
        return replace(super().kick(state, action), remaining=state.remaining - 1)


class PaysTooMuch(Tape):
    def payoff(self, state: TapeState) -> Array:
        return super().payoff(state) * 2


class PaysNothingKnown(Tape):
    def payoff(self, state: TapeState) -> Array:
        return super().payoff(state) * np.float32("nan")


class PaysDoubles(Tape):
    def payoff(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        return xp.astype(super().payoff(state), xp.float64)


class PaysTheBetter(Tape):
    """Of five numbers three always pay: the mean is +0.2."""

    def payoff(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        return xp.astype(state.x >= 2, xp.float32) * 2 - 1


class PaysTheSame(Tape):
    def payoff(self, state: TapeState) -> Array:
        return super().payoff(state) * 0


class ShowsTooMuch(Tape):
    def observe(self, state: TapeState) -> Array:
        return array_namespace(state.x).concat([super().observe(state)] * 2, axis=1)


class ShowsIntegers(Tape):
    def observe(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        return xp.astype(super().observe(state), xp.int64)


class ShowsFractions(Tape):
    def observe(self, state: TapeState) -> Array:
        seen = super().observe(state)
        return array_namespace(state.x).concat([seen[:, :5] / 2, seen[:, 5:]], axis=1)


class HidesTheSteps(Tape):
    def observe(self, state: TapeState) -> Array:
        seen = super().observe(state)
        size = self.serial_depth + 1
        return array_namespace(state.x).concat([seen[:, -size:], seen[:, :-size]], axis=1)


class ShowsTheWholeTape(Tape):
    """The letter that was read goes behind the others in place of nothing."""

    def advance(self, state: TapeState) -> TapeState:
        xp = array_namespace(state.x)
        after = super().advance(state)
        turned = xp.concat([state.tape[:, 1:], state.tape[:, :1]], axis=1)
        ended = (state.remaining == 0)[:, None]
        return replace(after, tape=xp.where(ended, state.tape, turned))


class DisagreesOnTorch(Tape):
    def advance(self, state: TapeState) -> TapeState:
        after = super().advance(state)
        return after if isinstance(after.x, np.ndarray) else replace(after, x=(after.x + 1) % 5)


class GivesNumpyAlways(Tape):
    def payoff(self, state: TapeState) -> Array:
        return np.asarray(super().payoff(state))


class SaysNumpyOnly(Tape):
    numpy_only: ClassVar[bool] = True


class DrawsByTheBatch(Tape):
    def initial(self, seeds: Array) -> TapeState:
        start = super().initial(seeds)
        return replace(start, x=(start.x + seeds.shape[0]) % 5)


class MixesTheRows(Tape):
    def advance(self, state: TapeState) -> TapeState:
        after = super().advance(state)
        return replace(after, bit=after.bit * 0 + after.bit[0])


class DrawsByChance(Tape):
    def initial(self, seeds: Array) -> TapeState:
        start = super().initial(seeds)
        return replace(start, x=np.random.default_rng().integers(0, 5, seeds.shape[0]))


class KicksInVain(Tape):
    def kick(self, state: TapeState, action: Array) -> TapeState:
        return state


class KicksAlike(Tape):
    def kick(self, state: TapeState, action: Array) -> TapeState:
        return super().kick(state, action * 0)


class KicksForShow(Tape):
    """The push is taken back by the step that follows it."""

    def kick(self, state: TapeState, action: Array) -> TapeState:
        xp = array_namespace(state.x)
        free = xp.where(state.remaining > 0, (state.tape[:, -1] + 1 + action) % 5, -1)
        return replace(state, tape=xp.concat([state.tape[:, :-1], free[:, None]], axis=1))

    def advance(self, state: TapeState) -> TapeState:
        xp = array_namespace(state.x)
        return super().advance(
            replace(state, tape=xp.concat([state.tape[:, :-1], state.tape[:, -1:] * 0], axis=1))
        )


class GoesOnAtItsEnd(Tape):
    def advance(self, state: TapeState) -> TapeState:
        after = super().advance(state)
        return replace(after, x=(state.x**self.power + state.tape[:, 0]) % 5)


class RedrawsNothing(Tape):
    def redraw_step(self, state: TapeState, seeds: Array) -> TapeState:
        return state


class Fails(Tape):
    def advance(self, state: TapeState) -> TapeState:
        raise IndexError("tape is over")


class HalfOfStarts(Tape):
    num_starts: ClassVar[int] = 5


class StartsThatLieOutside(Tape):
    num_starts: ClassVar[int] = 5
    starts_are_tokens: ClassVar[bool] = False

    def own_start(self, state: TapeState) -> Array:
        return state.x

    def start_payoffs(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        return xp.stack([self.payoff(replace(state, x=state.x * 0 + x)) for x in range(5)], axis=1)

    def start_successors(self, state: TapeState) -> Array:
        xp = array_namespace(state.x)
        return xp.stack([state.x * 0 + x for x in range(5)], axis=1)

    def rewind(self, state: TapeState) -> TapeState:
        return state


class HalfOfWords(Tape):
    num_words: ClassVar[int] = 5


class Speaks(Tape):
    """Whole: a word is x."""

    num_words: ClassVar[int] = 5
    word_size: ClassVar[int] = 5

    def word(self, state: TapeState) -> Array:
        return state.x

    def show_words(self, words: Array) -> Array:
        return one_hot(words, 5, array_namespace(words))

    def word_name(self, word: int) -> str:
        return f"x = {word}"


class SaysTooLittle(Speaks):
    def word(self, state: TapeState) -> Array:
        return state.x % 2


class LooksAlike(Speaks):
    def show_words(self, words: Array) -> Array:
        return one_hot(words % 5, 5, array_namespace(words))  # -1 is 4


class HasNoNames(Speaks):
    def word_name(self, word: int) -> str:
        return "a word"


BROKEN = {
    ChangesItsArgument: r"advance.*changes its argument in place: x at .*rules are pure",
    RemembersCalls: r"advance.*gives another result when it is called again: x at .*rules are pure",
    DrawsByChance: r"initial: gives another result when it is called again: x .*chance on the seed",
    NeverCountsDown: r"remaining of a state 3 steps from the end: is 4.*one fewer with every advan",
    KicksAStepAway: r"remaining of a state 2 steps from the end: is 1 .*a kick leaves it alone",
    PaysTooMuch: r"payoff 4 steps from the end: has the values -2.0 to 2.0.*from -1 to 1",
    PaysNothingKnown: r"payoff 4 steps from the end: has the values nan.*from -1 to 1",
    PaysDoubles: r"payoff 4 steps from the end: is float64; it is float32",
    PaysTheBetter: r"payoff at the end: has the mean \+0\.\d+ over 100000.*blind agent",
    PaysTheSame: r"payoff at the end: is 0 in all of 100000 instances; there is something to dec",
    ShowsTooMuch: r"observe.*has the shape \[200, 62\]; the shape is \[200, 31\]",
    ShowsIntegers: r"observe 4 steps from the end: is int64; it is float32",
    ShowsFractions: r"observe.*numbers between 0 and 1.*says binary_observations = False",
    HidesTheSteps: r"observe.*the last 5 numbers are the remaining steps, 4, as a one-hot",
    ShowsTheWholeTape: r"observe 3 steps from the end: shows what the step before has consumed",
    DisagreesOnTorch: r"advance 4 steps from the end: NumPy and torch disagree: x at .*same bits",
    GivesNumpyAlways: r"payoff on torch tensors.*the result is ndarray; a rule gives arrays of the",
    SaysNumpyOnly: r"a numpy_only chain answers to torch tensors: 'takes torch tensors'",
    DrawsByTheBatch: r"initial: a row depends on the rest of its batch: among 200 rows and among",
    MixesTheRows: r"advance.*a row depends on the rest of its batch: .*bit at",
    KicksInVain: r"kick: kick 0 changes nothing in 200 instances; num_kicks = 2 says how many",
    KicksAlike: r"kick: kicks 0 and 1 do the same in 200 instances; num_kicks = 2",
    KicksForShow: r"kick: no kick at the start changes the payoff at the end.*steers the chain",
    GoesOnAtItsEnd: r"advance at the end: changes the state: x at .*at its end stays as it is",
    RedrawsNothing: r"redraw_step 4 steps from the end: changes nothing in 200 instances",
    Fails: r"advance 4 steps from the end: raises IndexError: 'tape is over'",
    HalfOfStarts: r"the class: has num_starts and not starts_are_tokens, own_start, .*or none of",
    StartsThatLieOutside: r"start_successors.*leads elsewhere than advance",
    HalfOfWords: r"the class: has num_words and not word_size, word, show_words, .*or none of",
    SaysTooLittle: r"word 4 steps from the end: takes 2 values for 5 working states",
    LooksAlike: r"show_words: shows two words alike",
    HasNoNames: r"word_name: gives 1 names to 5 words",
}


@pytest.mark.parametrize("power", [3, 1])
def test_the_chain_that_is_broken_below_is_whole(power: int) -> None:
    for depth in (1, 4):
        check_chain(Tape, power=power, serial_depth=depth)
    check_chain(Speaks, power=power)


@pytest.mark.parametrize("chain", BROKEN, ids=lambda chain: chain.__name__)
def test_a_broken_chain_is_caught_with_its_own_message(chain: type[Tape]) -> None:
    with pytest.raises(ChainContractError, match=BROKEN[chain]) as caught:
        check_chain(chain)
    assert isinstance(caught.value, AssertionError)
    assert str(caught.value).startswith(f"{chain.__name__}(power=3, serial_depth=4): ")


def test_options_that_make_no_chain_are_told() -> None:
    with pytest.raises(ChainContractError, match=r"Tape\(length=3\): raises TypeError: .*length"):
        check_chain(Tape, length=3)


ROW: dict[str, Any] = {
    "option": "power",
    "serial": (3,),
    "twins": (1,),
    "complexity": "hard; twin is a sum",
    "source": "here",
}


@pytest.fixture
def registry() -> Iterator[None]:
    """Takes families of a test away again."""
    import gymnasium

    families, ids = dict(FAMILIES), dict(ENV_IDS)
    yield
    for id_ in set(ENV_IDS) - set(ids):
        del gymnasium.registry[id_]
    for table, before in ((FAMILIES, families), (ENV_IDS, ids)):
        table.clear()
        table.update(before)  # type: ignore[arg-type]


@pytest.mark.usefixtures("registry")
class TestFamilies:
    def test_a_whole_family_passes(self) -> None:
        check_family(register_family(Tape, **ROW))

    def test_one_that_nobody_registered_is_named(self) -> None:
        with pytest.raises(ValueError, match="Tape: no such family; register_family makes it kn"):
            check_family("Tape")

    def test_a_twin_that_pays_otherwise_is_caught(self) -> None:
        class TwinPaysMore(Tape):
            def payoff(self, state: TapeState) -> Array:
                return super().payoff(state) / (2 if self.power == 3 else 1)

        with pytest.raises(
            ChainContractError, match=r"power=3 and power=1: the payoffs at the end are distribut"
        ):
            check_family(register_family(TwinPaysMore, **ROW))

    def test_a_twin_of_another_shape_is_caught(self) -> None:
        class TwinIsLarger(Tape):
            @property
            def layout(self) -> TokenLayout:
                more = 0 if self.power == 3 else 1
                return TokenLayout(self.serial_depth, 5, 5 + 1 + more + self.serial_depth + 1)

            def observe(self, state: TapeState) -> Array:
                seen = super().observe(state)
                if self.power == 3:
                    return seen
                return array_namespace(seen).concat([seen[:, :1] * 0, seen], axis=1)

        with pytest.raises(ChainContractError, match=r"power=3 and power=1: .*have the same shape"):
            check_family(register_family(TwinIsLarger, **ROW))

    def test_an_option_that_changes_nothing_is_caught(self) -> None:
        @dataclass(frozen=True)
        class WithAnIdleOption(Tape):
            colour: int = 3

        row = register_family(WithAnIdleOption, **ROW)
        with pytest.raises(
            ChainContractError, match=r"colour=3: 4, 5, 6, 7, 9, 11, 2, 1 in its place changes noth"
        ):
            check_family(row)

    def test_an_option_that_cannot_be_guessed_is_asked_for(self) -> None:
        @dataclass(frozen=True)
        class WithAWord(Tape):
            letters: str = "late"

            def initial(self, seeds: Array) -> TapeState:
                state = super().initial(seeds)
                return state if self.letters == "late" else replace(state, x=(state.x + 1) % 5)

        row = register_family(WithAWord, **ROW)
        with pytest.raises(
            ChainContractError, match=r"letters='late': no other value could be guessed; give one"
        ):
            check_family(row)
        check_family(row, others={"letters": "early"})


@pytest.mark.usefixtures("registry")
class TestRegistration:
    def test_the_same_again_is_harmless(self) -> None:
        for _ in range(2):
            row = register_family(Tape, **ROW, sizes=lambda depth: {})
        assert FAMILIES["Tape"] is row
        assert [id_ for id_ in ENV_IDS if "Tape" in id_] == [
            "rl_serial/TapeBet-v0",
            "rl_serial/TapeSteer-v0",
        ]

    def test_a_class_made_again_by_its_module_takes_the_place(self) -> None:
        def made() -> type[Tape]:
            class Remade(Tape):
                pass

            return Remade

        first, second = made(), made()
        register_family(first, **ROW)
        register_family(second, **ROW)
        assert FAMILIES["Remade"].chain is second
        assert ENV_IDS["rl_serial/RemadeBet-v0"][0].chain is second

    def test_another_of_the_same_name_is_an_error(self) -> None:
        class Circuit(Tape):
            pass

        before = FAMILIES["Circuit"]
        with pytest.raises(
            ValueError, match=r"Circuit: another family has this name, that of rl_serial\.envs"
        ):
            register_family(Circuit, **ROW)
        register_family(Tape, **ROW)
        with pytest.raises(ValueError, match="Tape: another family has this name"):
            register_family(Tape, **ROW | {"twins": (2,)})
        assert FAMILIES["Circuit"] is before
        assert FAMILIES["Tape"].twins == (1,)

    def test_rows_that_do_not_fit_are_told(self) -> None:
        @dataclass
        class Loose:
            power: int = 3

        @dataclass(frozen=True)
        class WithoutDefault:
            power: int

        @dataclass(frozen=True)
        class WithAList:
            power: list  # type: ignore[type-arg]

        @dataclass(frozen=True)
        class WithAStart(Tape):
            start: int = 0

        @dataclass(frozen=True)
        class WithoutDepth:
            power: int = 3

        for chain, row, told in (
            (3, ROW, "3: must be a class with @dataclass"),
            (Loose, ROW, r"Loose: must be frozen: @dataclass\(frozen=True\)"),
            (WithoutDefault, ROW, r"WithoutDefault\.power: has no default"),
            (WithAList, ROW, r"WithAList\.power: an option is an int, a float or a str"),
            (WithAStart, ROW, r"WithAStart\.start: this is an option of the tasks"),
            (WithoutDepth, ROW, "WithoutDepth: has no field serial_depth; there are power"),
            (Tape, ROW | {"option": "powr"}, "Tape: has no field powr; .*did you mean power"),
            (Tape, ROW | {"twins": ()}, "Tape: twins is empty"),
            (Tape, ROW | {"twins": (3,)}, "Tape: a value of power stands twice"),
            (Tape, ROW | {"serial": (2,)}, "Tape: the default of power is 3; it must be the first"),
        ):
            with pytest.raises(ValueError, match=told):
                register_family(chain, **row)  # type: ignore[arg-type]
        assert not re.findall("Tape|With", " ".join(FAMILIES))
