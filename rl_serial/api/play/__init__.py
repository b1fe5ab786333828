"""A person plays against a player of a game: in the terminal, or in a page of the browser."""

from rl_serial.api.play.server import serve
from rl_serial.api.play.session import Session
from rl_serial.api.play.terminal import play_in_terminal

__all__ = ["Session", "play_in_terminal", "serve"]
