"""Pictures of ManyBody's table from above, by MuJoCo's renderer or by Pillow."""

from __future__ import annotations

import atexit
import math
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rl_serial.envs.chains.many_body_model import AREA, DISC_COLOUR, MARKED_COLOUR, RADIUS
from rl_serial.envs.simulation import load_mujoco

Places = NDArray[np.float64]
_FELT, _SHADED, _EDGE = (244, 244, 241), (214, 226, 240), (140, 140, 140)


def drawing(position: Places, velocity: Places, half: int, side: int) -> NDArray[np.uint8]:
    """[side, side, 3]: a table of discs at [discs, 2], the ``half`` shaded (0 or 1; -1: none).

    MuJoCo's renderer draws it where there is a GL to draw with, Pillow where there is none.
    """
    if has_gl():
        return _renderer(len(position), side)(position, half)
    return plain_drawing(position, velocity, half, side)


def plain_drawing(position: Places, velocity: Places, half: int, side: int) -> NDArray[np.uint8]:
    """The table in Pillow's circles and lines, drawn at twice the size for smooth edges."""
    size = 2 * side
    table = math.sqrt(AREA * len(position))
    scale = size / table
    image = Image.new("RGB", (size, size), _FELT)
    draw = ImageDraw.Draw(image)
    if half >= 0:
        left = side if half else 0
        draw.rectangle((left, 0, left + side, size), fill=_SHADED)
    for disc in range(len(position) - 1, -1, -1):  # the marked disc on top
        x, y = position[disc] * (1, -1) + (0, table)
        ink = MARKED_COLOUR if disc == 0 else DISC_COLOUR
        box = [(x - RADIUS), (y - RADIUS), (x + RADIUS), (y + RADIUS)]
        draw.ellipse([corner * scale for corner in box], fill=ink)
        ahead = velocity[disc] * (0.15, -0.15)
        line = [x * scale, y * scale, (x + ahead[0]) * scale, (y + ahead[1]) * scale]
        draw.line(line, fill=_EDGE, width=5)
    draw.rectangle((0, 0, size - 1, size - 1), outline=_EDGE, width=4)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


@lru_cache(maxsize=1)
def has_gl() -> bool:
    """Whether MuJoCo finds a GL, tried in another process: some drivers end the one that asks.

    On a machine without a display MuJoCo looks for one only where MUJOCO_GL says which.
    """
    if sys.platform == "linux" and not {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"} & set(
        os.environ
    ):
        return False
    program = (
        "import os, mujoco\n"
        "model = mujoco.MjModel.from_xml_string('<mujoco/>')\n"
        "mujoco.Renderer(model, 8, 8).render()\n"
        "os._exit(0)\n"
    )
    with suppress(OSError, subprocess.SubprocessError):
        tried = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
        return tried.returncode == 0
    return False


@lru_cache(maxsize=8)
def _renderer(discs: int, side: int) -> Callable[[Places, int], NDArray[np.uint8]]:
    """Draws a table with MuJoCo: of positions [discs, 2] and the marked half."""
    mujoco = load_mujoco("ManyBody")
    spec = mujoco.MjSpec()
    spec.visual.global_.offwidth = spec.visual.global_.offheight = side
    spec.visual.headlight.ambient = [0.45] * 3
    spec.visual.headlight.diffuse = [0.5] * 3
    spec.visual.headlight.specular = [0.2] * 3
    world = spec.worldbody
    table = math.sqrt(AREA * discs)
    camera = world.add_camera(name="above", pos=[table / 2, table / 2, 2], fovy=table)
    camera.proj = mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC
    box = mujoco.mjtGeom.mjGEOM_BOX
    for half in range(2):
        place = [table * (1 + 2 * half) / 4, table / 2, -RADIUS - 0.01]
        world.add_geom(type=box, size=[table / 4, table / 2, 0.01], pos=place)
    for disc in range(discs):
        body = world.add_body(mocap=True)
        ink = np.array(MARKED_COLOUR if disc == 0 else DISC_COLOUR) / 255
        sphere = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(type=sphere, size=[RADIUS, 0, 0], rgba=[*ink, 1])
    model = spec.compile()
    data = mujoco.MjData(model)
    renderer = mujoco.Renderer(model, side, side)
    atexit.register(renderer.close)

    def draw(position: Places, marked_half: int) -> NDArray[np.uint8]:
        for half in range(2):
            felt = _SHADED if half == marked_half else _FELT
            model.geom_rgba[half, :3] = np.array(felt) / 255
        data.mocap_pos[:, :2] = position
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera="above")
        picture: NDArray[np.uint8] = renderer.render().copy()
        return picture

    return draw
