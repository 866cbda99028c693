"""The theory's page in Chromium: axe-core finds nothing that keeps a reader out, and a phone shows its whole width."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "build" / "node_modules" / "axe-core" / "axe.min.js"
NPM_OPTIONS = "--loglevel=error", "--ignore-scripts", "--no-save", "--no-package-lock"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCRIPT = """<script src="{axe}"></script>
<script>
addEventListener("load", () => axe.run().then(found => {{
  const violations = found.violations.map(v => [v.id, v.help, v.nodes.length, v.nodes[0].html]);
  const beyond = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  parent.postMessage(JSON.stringify({{violations, passes: found.passes.length, width: innerWidth, beyond}}), "*");
}}));
</script>
</body>"""
FRAME = """<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe><pre></pre>
<script>addEventListener("message", found => document.querySelector("pre").textContent = found.data)</script>"""
pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="needs Chromium"),
    pytest.mark.skipif(not shutil.which("npm"), reason="needs npm for axe-core"),
]


@pytest.fixture(scope="module", autouse=True)
def axe():
    if not AXE.is_file():
        subprocess.run(["npm", "install", *NPM_OPTIONS, "--prefix", ROOT / "build", "axe-core@4.11.0"], check=True)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(width, scheme, tmp_path):
    page = (ROOT / "theory" / "theory.html").read_text(encoding="utf-8")
    condition = "(min-width: 0)" if scheme == "dark" else "(max-width: 0)"
    page = page.replace("(prefers-color-scheme: dark)", condition)
    page = page.replace("color-scheme: light dark", f"color-scheme: {scheme}")
    page = page.replace("</body>", SCRIPT.format(axe=AXE.as_uri()))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")  # a window is at least 500 wide
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=120000",
    )
    command = [BROWSER, *options, "--window-size=1400,1000", "--dump-dom", (tmp_path / "frame.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    result = json.loads(html.unescape(re.search("<pre>(.*?)</pre>", shown, re.S)[1]))
    assert not result["violations"]
    assert result["passes"] > 20 and result["width"] == width and result["beyond"] == 0
