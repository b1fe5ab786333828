"""Arenas: fair pairs, ladders of players of known strength, kills, the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rl_serial.api.arena import ArenaSettings, Contender, arena, contenders_of, play_pairs
from rl_serial.cli import main
from rl_serial.envs.games import ConnectFour, Hex, PerfectPlayer, RandomPlayer, perfect_play
from rl_serial.envs.games.duel import random_positions
from rl_serial.envs.random import fold_in
from rl_serial.errors import RunError, UserError


class Counted:
    """Random play that notes what it is asked, and stops at a call."""

    def __init__(self, game: Any, stop_at: int = 10**9) -> None:
        self.player, self.calls, self.stop_at, self.turns = RandomPlayer(game), 0, stop_at, []

    def act(self, state: Any, seeds: Any) -> Any:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.turns += [(int(p), int(n)) for p, n in zip(state.player, state.ply, strict=True)]
        return self.player.act(state, seeds)


def test_each_opening_is_played_once_in_each_colour() -> None:
    game = Hex(3)
    first, second = Counted(game), Counted(game)
    pairs = play_pairs(game, (first, second), 7, range(3, 9), plies=2)
    assert [pair.opening for pair in pairs] == [3, 4, 5, 6, 7, 8]
    # After two plies the first player is to move: of twelve games each moves first in six.
    for player in (first, second):
        assert player.turns.count((0, 2)) == 6
        assert player.turns.count((1, 3)) == 6
    longest = {(0, 2 * i) for i in range(1, 5)} | {(1, 2 * i + 1) for i in range(1, 4)}
    assert {*first.turns, *second.turns} <= longest
    # Two who play perfectly win with the colour that the opening favours, which is exactly known.
    seeds = fold_in(np.full(6, 7), np.arange(3, 9))
    opened = random_positions(game, seeds, np.full(6, 2))
    won_by_x = (perfect_play(game).values(opened) + 1) / 2
    best = play_pairs(game, (PerfectPlayer(game), PerfectPlayer(game)), 7, range(3, 9), plies=2)
    assert [pair.as_x for pair in best] == won_by_x.tolist()
    assert [pair.as_o for pair in best] == (1 - won_by_x).tolist()
    assert {pair.score for pair in best} == {0.5}


def test_games_are_a_function_of_the_seed_and_the_opening() -> None:
    game = ConnectFour(4, 4)
    players = (PerfectPlayer(game, 0.5), RandomPlayer(game))
    together = play_pairs(game, players, 1, range(8), plies=2)
    apart = [pair for i in range(8) for pair in play_pairs(game, players, 1, range(i, i + 1), 2)]
    assert together == apart
    assert together != play_pairs(game, players, 2, range(8), plies=2)
    assert {pair.as_x for pair in together} <= {0.0, 0.5, 1.0}


def test_moves_that_are_not_legal_are_refused() -> None:
    game = Hex(2)

    class Stubborn:
        def act(self, state: Any, seeds: Any) -> Any:
            return np.zeros(len(seeds), np.int64)

    with pytest.raises(RunError, match="a mule: gave moves that are not legal"):
        play_pairs(game, (Stubborn(), Stubborn()), 0, range(2), 0, ("a mule", "another"))


def test_players_of_known_strength_come_out_in_order_wherever_they_stand(tmp_path: Path) -> None:
    game = Hex(3)
    words = ["perfect:0.75", "perfect:0.2", "perfect:0.5"]
    settings = ArenaSettings(within=60, batch=64, most=320)
    _, contenders = contenders_of(words, [0], game)
    result = arena(game, contenders, settings)
    order = [standing.contender.name for standing in result.standings]
    assert order == ["perfect", "perfect:0.2", "perfect:0.5", "perfect:0.75", "random"]
    assert result.zero == "random"
    assert result.widest() <= 60
    # Who moves at random with certainty is random play: its interval holds 0, the other's rating.
    _, twins = contenders_of(["perfect:1", "perfect:0.5"], [0], game)
    twin = arena(game, twins, ArenaSettings(batch=64, most=64))
    assert twin["perfect:1"].rating.low < 0 < twin["perfect:1"].rating.high
    few = ArenaSettings(batch=8, most=8)
    one, again = (arena(game, contenders_of(w, [0], game)[1], few) for w in (words, words[::-1]))
    assert again.played == one.played
    assert again.table() == one.table()
    assert all(pairs[:8] == one.played[two] for two, pairs in result.played.items())
    assert arena(game, contenders, ArenaSettings(seed=1, batch=8, most=8)).played != one.played


def test_a_killed_arena_continues_without_playing_a_game_again(tmp_path: Path) -> None:
    game, settings = Hex(2), ArenaSettings(batch=4, most=12, within=1)

    def players(stop_at: int = 10**9) -> tuple[list[Contender], list[Counted]]:
        made: list[Counted] = []

        def make() -> Counted:
            made.append(Counted(game, stop_at))
            return made[-1]

        own = [Contender("one", make), Contender("two", make)]
        return [*own, *contenders_of([], [0], game)[1]], made

    whole = arena(game, players()[0], settings, tmp_path / "whole")
    killed = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        arena(game, players(stop_at=12)[0], settings, killed)
    file = killed / "games.csv"
    text = file.read_text()
    done = text.count("\n\n")
    assert 0 < done < 18
    file.write_text(text + "one,two,4,1.0,0.")  # what a kill leaves of a write
    again, made = players()
    result = arena(game, again, settings, killed)
    assert result.played == whole.played
    assert file.read_text().splitlines()[0] == text.splitlines()[0]
    assert file.read_text().startswith(text)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    keys = [(row["first"], row["second"], row["opening"]) for row in rows]
    assert len(keys) == len(set(keys)) == 6 * 12
    for name in ("games.csv", "ratings.csv", "ladder.md"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Once more: nothing is left to play, and a further player plays his own games alone.
    before = [one.calls for one in made]
    arena(game, again, settings, killed)
    further, made_now = players()
    further.append(Contender("three", lambda: RandomPlayer(game)))
    arena(game, further, settings, killed)
    assert [one.calls for one in made] == before
    assert all((0, 0) not in one.turns or one.calls for one in made_now)
    assert file.read_text().startswith((tmp_path / "whole/games.csv").read_text())
    with pytest.raises(UserError, match="is an arena with seed 0, not 1"):
        arena(game, again, ArenaSettings(seed=1, batch=4, most=12), killed)
    changed = [Contender("one", again[0].make, digest="other"), *again[1:]]
    with pytest.raises(UserError, match="one has other weights"):
        arena(game, changed, settings, killed)
    (killed / "arena.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        arena(game, again, settings, killed)


def test_an_unbeaten_player_has_an_open_interval_and_random_play_may_be_out_of_reach() -> None:
    game = Hex(3)
    # On the empty board of 3 by 3 the centre wins; random play as second never finds it in time.
    _, ends = contenders_of([], [0], game)
    result = arena(game, ends, ArenaSettings(plies=0, batch=8, most=8))
    table, notes = result.table(), " ".join(result.notes())
    if result["perfect"].rating.score == 1:
        assert "∞" in table
        assert "above" in table
        assert "open" in notes
    strong = [
        Contender(name, lambda: PerfectPlayer(game)) for name in ("strong", "as strong", "perfect")
    ]
    result = arena(game, [*strong, ends[0]], ArenaSettings(batch=8, most=8))
    if result["random"].rating.score == 0:
        assert result.zero != "random"
        assert not result["random"].rating.is_closed
        assert any("random has won nothing" in note for note in result.notes())


def own(game: Any) -> Any:
    """A player of one's own, which `--players` names."""
    return PerfectPlayer(game, 0.5)


def test_the_command_with_a_run_and_a_player_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "env": {"id": "rl_serial/Hex-v0", "size": 3},
        "network": {"kind": "residual", "depth": 1, "width": 8},
        "agent": {"kind": "value", "updates": 2, "batch_size": 8},
        "evaluation": {"instances": 16, "per_plies": 16, "every": 2},
    }
    (tmp_path / "hex.yaml").write_text(json.dumps(config))
    assert main(["train", "hex.yaml", "--quiet"]) == 0
    (tmp_path / "mine.py").write_text(
        "from rl_serial.envs.games import RandomPlayer\n"
        "def plays(game):\n    return RandomPlayer(game)\ndef nobody(game):\n    return game\n"
    )
    arguments = ["arena", "runs/hex", "perfect:0.5", "--players", "mine:plays", "--games", "16"]
    capsys.readouterr()
    assert main([*arguments, "--out", "a", "--batch", "8"]) == 0
    told = capsys.readouterr().out
    for name in ("hex@0", "perfect:0.5", "perfect ", "random", "mine:plays"):
        assert f"| {name}" in told
    rows = list(csv.DictReader((tmp_path / "a/ratings.csv").read_text().splitlines()))
    assert len(rows) == 5
    assert {row["games"] for row in rows} == {"64"}  # 16 with each other
    with Image.open(tmp_path / "a/ladder.png") as picture:
        assert picture.width > 500
    plan = json.loads((tmp_path / "a/arena.json").read_text())
    assert len(plan["players"]["hex@0"]) == 16
    wrong = {
        ("arena", "perfect:0.5"): "--game: is needed",
        ("arena", "runs/none"): "no run here",
        ("arena", "runs/hex", "--game", "hex", "size=2"): "was trained on Hex(size=3",
        ("arena", "--game", "hexe"): "did you mean hex?",
        ("arena", "--game", "hex", "width=3"): "width",
        ("arena", "--game", "hex", "size"): "must be key=value",
        ("arena", "perfect:2", "--game", "hex"): "a share from 0 to 1",
        ("arena", "perfect", "--game", "hex", "size=9"): "takes too long",
        ("arena", "perfect:.5", "perfect:.5", "--game", "hex"): "is named twice",
        ("arena", "--game", "hex", "--players", "mine:nobody"): "which has no act",
    }
    for words, message in wrong.items():
        assert main([*words]) == 2
        assert message in capsys.readouterr().err, words


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_an_arena_on_ray_is_the_arena_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    words = ["arena", "perfect:0.5", "perfect:0.2", "--game", "hex", "size=3", "--games", "24"]
    words += ["--batch", "8", "--within", "1"]
    assert main([*words, "--out", "here"]) == 0
    assert main([*words, "--out", "there", "--engine", "ray", "--workers", "2"]) == 0
    for name in ("games.csv", "ratings.csv", "ladder.md"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    capsys.readouterr()


def test_what_only_ray_has_is_refused_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arena", "perfect:0.5", "--game", "hex", "size=2", "--workers", "2"]) == 2
    assert "--workers: goes with --engine ray" in capsys.readouterr().err
