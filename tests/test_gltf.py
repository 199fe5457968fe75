"""A glTF file from end to end: three.js loads it in a browser, and shows the maps that went in."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_preview import BROWSER, bump, flat, screenshot

import texgen
from texgen.materials.material import Material

VIEW = 128
"""Pixels of a side of what is shown: two by two repeats of the maps, texel for pixel."""
PAGE = """<!doctype html><body style="margin: 0"><canvas id="view"></canvas>
<script type="importmap">{"imports": {"three": "$THREE/build/three.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "$THREE/examples/jsm/loaders/GLTFLoader.js";
const side = $SIDE, bytes = Uint8Array.from(atob("$GLB"), (letter) => letter.charCodeAt(0));
const renderer = new THREE.WebGLRenderer({ canvas: document.getElementById("view"), preserveDrawingBuffer: true });
renderer.setSize(4 * side, side);
renderer.setScissorTest(true);
const { scene } = await new GLTFLoader().parseAsync(bytes.buffer, "");
const box = new THREE.Box3().setFromObject(scene), { min, max } = box;
const camera = new THREE.OrthographicCamera(min.x, max.x, max.y, min.y, 0.1, 10);
camera.position.z = 5;
const all = new THREE.AmbientLight(0xffffff, Math.PI), one = new THREE.DirectionalLight(0xffffff, Math.PI);
scene.add(one, one.target);
[null, [-1, 0, 1], [1, 0, 1], [0, 1, 1]].forEach((from, number) => {
  if (from) one.position.set(...from);
  one.visible = Boolean(from);
  if (from) scene.remove(all); else scene.add(all);
  renderer.setViewport(number * side, 0, side, side);
  renderer.setScissor(number * side, 0, side, side);
  renderer.render(scene, camera);
});
</script>"""


def three() -> Path | None:
    """The folder of the npm package, in NODE_PATH."""
    node = shutil.which("node")
    if node is None:
        return None
    done = subprocess.run([node, "-p", "require.resolve('three')"], capture_output=True, text=True)
    return None if done.returncode else Path(done.stdout.strip()).parent.parent


def shown(maps: dict[str, np.ndarray], folder: Path) -> list[np.ndarray]:
    """How a material looks in even light, lit from the left, from the right, and from above: (VIEW, VIEW, 3) each."""
    package = three()
    if BROWSER is None or package is None:
        pytest.skip("needs chromium, node, and three from npm in NODE_PATH")
    texgen.export(Material(name="wall", maps=maps), folder / "out", "gltf", size_m=0.5)
    content = base64.b64encode((folder / "out" / "wall.glb").read_bytes()).decode()
    page = PAGE.replace("$THREE", package.as_uri()).replace("$SIDE", json.dumps(VIEW)).replace("$GLB", content)
    (folder / "page.html").write_text(page)
    seen = screenshot((folder / "page.html").as_uri(), folder, "--allow-file-access-from-files")
    return [seen[:VIEW, number * VIEW : (number + 1) * VIEW] for number in range(4)]


def test_three_js_shows_the_colours_and_the_bumps_of_a_glb(tmp_path):
    colour = flat((60, 110, 40))
    colour[:32, :32], colour[32:, :32] = (190, 60, 30), (230, 200, 120)
    even, left, right, above = shown({"color": colour, "normal": bump(), "roughness": flat(255, 1)}, tmp_path)
    off = np.abs(even - np.tile(colour, (2, 2, 1)))
    print(f"off by {off.mean():.2f}, at most {off.max():.0f}")
    assert off.max() <= 3
    for row, column in ((0, 0), (0, 64), (64, 0), (64, 64)):  # the repeats
        by_left, by_right, by_above = (
            each[row : row + 64, column : column + 64].mean(-1) for each in (left, right, above)
        )
        across, upwards = (by_left - by_right)[26:38], (by_above - (by_left + by_right) / 2)[:, 26:38]
        slopes = [across[:, 18:26].mean(), -across[:, 38:46].mean(), upwards[18:26].mean(), -upwards[38:46].mean()]
        print("slopes that face the light are brighter by", [round(float(slope)) for slope in slopes])
        assert min(slopes) > 5


def test_without_normals_light_from_all_sides_looks_alike(tmp_path):
    _, left, right, above = shown({"color": flat(200), "roughness": flat(255, 1)}, tmp_path)
    assert left.mean() > 60 and max(np.abs(left - each).max() for each in (right, above)) <= 3
