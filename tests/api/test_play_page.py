"""The page of ``rl-serial play --page``: its interface by HTTP, and games in a real browser.

The browser is driven by W3C WebDriver, which is JSON over HTTP; Chromium and its driver are looked
for in the path (Debian: ``apt-get install chromium chromium-driver``).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from rl_serial.api.play import Session, serve
from rl_serial.api.play.server import MOST_BYTES, PAGE
from rl_serial.envs.games import ConnectFour, Game, Hex, PerfectPlayer, RandomPlayer

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that W3C WebDriver gives elements by


class Served:
    """A server of a session in a thread."""

    def __init__(self, session: Session) -> None:
        self.session, self.server = session, serve(session)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def ask(
        self, path: str, data: Any = None, headers: dict[str, str] | None = None, raw: bytes = b""
    ) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            if data is None and not raw:
                connection.request("GET", path, headers=headers or {})
            else:
                given = {"Content-Type": "application/json"} | (headers or {})
                connection.request("POST", path, raw or json.dumps(data), given)
            answer = connection.getresponse()
            text = answer.read()
        kind = answer.headers["Content-Type"]
        return answer.status, json.loads(text) if kind == "application/json" else text.decode()


@pytest.fixture
def served() -> Iterator[Any]:
    made: list[Served] = []

    def make(game: Game[Any], player: Any, seat: int = 0) -> Served:
        made.append(Served(Session(game, player, seat, "a player")))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def test_a_game_by_http(served: Any) -> None:
    game = Hex(2)
    one = served(game, PerfectPlayer(game))
    assert one.server.server_address[0] == "127.0.0.1"
    status, page = one.ask("/")
    assert (status, page) == (200, PAGE.read_text())
    _, view = one.ask("/state")
    assert [[cell["move"] for cell in line] for line in view["cells"]] == [
        ["a1", "b1"],
        ["a2", "b2"],
    ]
    _, view = one.ask("/hint", {})
    # On 2 by 2 b1 and a2, the cells of the short diagonal, win at once; the corners do not.
    assert {r["move"] for r in view["hint"]["rows"] if r["exact value"] == 1} == {"b1", "a2"}
    status, view = one.ask("/move", {"move": "a2"})
    assert status == 200
    assert view["cells"][1][0]["stone"] == 1
    assert sum(cell["stone"] == -1 for line in view["cells"] for cell in line) == 1
    answer = view["moves"][1]
    assert view["thought"]["move"] == answer
    assert view["thought"]["value"] == -1
    status, back = one.ask("/undo", {})
    assert (status, back["moves"]) == (200, [])
    _, view = one.ask("/move", {"move": "a2"})
    rest = next(move for move in ("a1", "b1") if move != view["moves"][1])
    _, view = one.ask("/move", {"move": rest})  # a2 and what is above it: top to bottom
    assert view["over"]
    assert "you have won" in view["status"]
    assert not any(cell["move"] for line in view["cells"] for cell in line)
    assert one.ask("/move", {"move": "b2"})[0] == 400
    _, view = one.ask("/new", {"seat": 1})
    assert (len(view["moves"]), view["you"], view["over"]) == (1, 1, False)
    assert one.ask("/undo", {})[0] == 400


def test_what_is_not_a_request_of_the_page_is_refused(served: Any) -> None:
    game = ConnectFour(4, 4)
    one = served(game, RandomPlayer(game))
    here = f"127.0.0.1:{one.port}"
    wrong: list[tuple[str, dict[str, Any], int]] = [
        ("/state", {"headers": {"Host": "elsewhere.example"}}, 403),
        ("/move", {"data": {"move": "a"}, "headers": {"Origin": "http://elsewhere.example"}}, 403),
        ("/move", {"data": {"move": "a"}, "headers": {"Content-Type": "text/plain"}}, 400),
        ("/move", {"data": {"move": "z"}}, 400),
        ("/move", {"data": {"move": 1}}, 400),
        ("/move", {"data": ["a"]}, 400),
        ("/move", {"raw": b"{"}, 400),
        ("/move", {"raw": b" " * (MOST_BYTES + 1)}, 400),
        ("/new", {"data": {"seat": True}}, 400),
        ("/new", {"data": {"seat": 2}}, 400),
        ("/hint", {"data": {}}, 400),  # random play has no thoughts
        ("/run", {"data": {}}, 404),
        ("/../page.html", {}, 404),
    ]
    for path, request, status in wrong:
        found, told = one.ask(path, **request)
        assert (found, "error" in told) == (status, True), (path, request, told)
    assert one.session.view()["moves"] == []
    assert one.ask("/move", {"move": "a"}, {"Origin": f"http://{here}"})[0] == 200


def test_the_page_loads_nothing_from_elsewhere() -> None:
    text = PAGE.read_text().replace("http://www.w3.org/2000/svg", "")
    for word in ("http:", "https:", "//cdn", "@import", "innerHTML", "eval(", '<link rel="style'):
        assert word not in text, word


class Browser:
    """Chromium without a window, by WebDriver."""

    def __init__(self, folder: Any) -> None:
        assert DRIVER is not None
        with (folder / "driver.log").open("w") as log:
            self.process = subprocess.Popen([DRIVER, "--port=0"], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while "on port " not in (text := (folder / "driver.log").read_text()).replace(
            "on port 0", ""
        ):
            assert time.monotonic() < end, text
            time.sleep(0.05)
        self.port = int(text.rpartition("on port ")[2].split(".")[0])
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/me"]
        wanted = {"goog:chromeOptions": {"binary": BROWSER, "args": flags}}
        wanted["goog:loggingPrefs"] = {"browser": "ALL"}
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"

    def ask(self, method: str, path: str, data: Any = None) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            body = None if method == "GET" else json.dumps(data or {})
            connection.request(method, path, body)
            found = json.loads(connection.getresponse().read())["value"]
        assert not (isinstance(found, dict) and "error" in found), found
        return found

    def go(self, url: str) -> None:
        self.ask("POST", f"{self.session}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        data = {"script": script, "args": arguments}
        return self.ask("POST", f"{self.session}/execute/sync", data)

    def click(self, css: str) -> None:
        data = {"using": "css selector", "value": css}
        found = self.ask("POST", f"{self.session}/element", data)[ELEMENT]
        self.ask("POST", f"{self.session}/element/{found}/click")

    def press(self, *keys: str) -> None:
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        data = {"actions": [{"type": "key", "id": "keys", "actions": steps}]}
        self.ask("POST", f"{self.session}/actions", data)

    def wait(self, script: str, seconds: float = 60) -> Any:
        """What the script returns, once that is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, script
            time.sleep(0.05)
        return found

    def complaints(self) -> list[str]:
        """What the page's console has of errors since the last time."""
        found = self.ask("POST", f"{self.session}/se/log", {"type": "browser"})
        return [line["message"] for line in found if line["level"] == "SEVERE"]

    def close(self) -> None:
        try:
            self.ask("DELETE", self.session)
        finally:
            self.process.terminate()
            self.process.wait(10)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver")
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


IDLE = "return !document.body.hasAttribute('aria-busy') && view !== null"
OPEN = "return [...document.querySelectorAll('.cell.open')].map(c => c.ariaLabel.split(',')[0])"


@pytest.mark.browser
def test_a_game_of_hex_in_a_browser_to_its_end_with_the_mouse(
    served: Any, browser: Browser
) -> None:
    game = Hex(3)
    one = served(game, PerfectPlayer(game))
    browser.go(f"http://127.0.0.1:{one.port}/")
    assert browser.wait(OPEN) == ["a1", "b1", "c1", "a2", "b2", "c2", "a3", "b3", "c3"]
    for played in range(1, 6):  # the middle first, then whatever the hint says: it wins
        if played > 1:
            browser.click("#hint")
            browser.wait(f"{IDLE} && view.hint !== null")
            word = browser.run("return document.querySelector('#thought tr.played td').innerText")
            assert browser.run("return document.querySelectorAll('text.best').length") == 1
        else:
            word = "b2"
        browser.click(f".cell[aria-label^='{word}']")
        browser.wait(f"{IDLE} && view.cells.flat().filter(c => c.stone > 0).length == {played}")
        if one.session.over:
            break
    status = browser.run("return document.getElementById('status').innerText")
    assert status.startswith("X has won")
    assert status.endswith("you have won")
    assert one.session.over
    assert browser.run(OPEN) == []
    moves = browser.run("return document.getElementById('moves').innerText")
    assert len(moves.split()) == 2 * len(one.session.turns) - 2
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_game_of_connect_four_in_a_browser_with_the_keyboard(
    served: Any, browser: Browser
) -> None:
    up, down, left, right, enter = "\ue013", "\ue015", "\ue012", "\ue014", "\ue007"
    game = ConnectFour(4, 4, 3)
    one = served(game, RandomPlayer(game), seat=1)
    browser.go(f"http://127.0.0.1:{one.port}/")
    browser.wait(IDLE)
    browser.wait("return view.moves.length == 1")
    browser.press(down, right, right, right, right, enter)  # into the board, and to its last column
    browser.wait(f"{IDLE} && view.moves.length >= 2")
    assert one.session.turns[2].move == "d"
    browser.press("u")
    browser.wait(f"{IDLE} && view.moves.length == 1")
    browser.press("n")
    browser.wait(f"{IDLE} && view.moves.length == 1")
    browser.press(left, left, left, up)  # the focus stays where it was
    for _ in range(8):
        before = len(one.session.turns)
        if one.session.over:
            break
        column = "abcd".index(one.session.legal[0])
        browser.press(left, left, left, *[right] * column, up, up, up, enter)
        browser.wait(f"{IDLE} && view.moves.length > {before - 1}")
    assert one.session.over
    assert browser.run("return document.getElementById('status').innerText").count("you") or (
        "draw" in one.session.status()
    )
    assert browser.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_hangs_over_the_edge_of_a_screen(
    served: Any, browser: Browser, width: int, height: int
) -> None:
    game = Hex(4)
    one = served(game, PerfectPlayer(game), seat=1)
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    data = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
    browser.ask("POST", f"{browser.session}/goog/cdp/execute", data)
    browser.go(f"http://127.0.0.1:{one.port}/")
    browser.wait(IDLE)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    board = browser.run("return document.getElementById('board').getBoundingClientRect().width")
    assert 300 < board <= width
