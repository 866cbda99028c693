"""Open each notebook in a real JupyterLab, in a headless Chromium, and Restart and Run All, as a reader would.

    python -m pip install selenium      # and a Chromium with its chromedriver (Debian: chromium, chromium-driver)
    python tools/open_in_jupyterlab.py [notebooks/01 studies exercises/theory ...] [--screenshots FOLDER]

Works on a copy, on a free port and with a random token; the browser reaches no other address. Afterwards the saved
notebook must have been executed from top to bottom without an error, all its pictures and progress bars must be seen
on the page, and its GIFs must move. Takes a minute a notebook; not part of the test run.
"""

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import nbformat
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # seconds for a notebook
TOKEN = secrets.token_hex(16)
with socket.socket() as free:
    free.bind(("localhost", 0))
    PORT = free.getsockname()[1]
ADDRESS = f"http://localhost:{PORT}"
SETTINGS = {  # the whole page is there, not only what is scrolled to; nobody is asked for news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
}


def wait_for(condition, seconds: float, what: str):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := condition():
                return result
        except OSError:
            pass
        time.sleep(1)
    raise TimeoutError(f"waited {seconds} s for {what}")


def kernels() -> list[dict]:
    with urllib.request.urlopen(f"{ADDRESS}/api/kernels?token={TOKEN}") as answer:
        return json.load(answer)


def saved_and_complete(browser, path: Path) -> bool:
    """Save, and look whether every code cell has been executed."""
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "s")
    time.sleep(2)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    stopped = any(output.output_type == "error" for cell in cells for output in cell.outputs)
    return stopped or all(cell.execution_count for cell in cells)


def run_all(browser, path: Path) -> None:
    browser.get(f"{ADDRESS}/lab/tree/{path.parent.name}/{path.name}?token={TOKEN}&reset")
    wait = WebDriverWait(browser, 60)
    wait.until(until.presence_of_element_located((By.CSS_SELECTOR, ".jp-Notebook .jp-Cell")))
    wait_for(kernels, 60, "a kernel")
    wait.until(until.element_to_be_clickable((By.XPATH, "//div[text()='Kernel']"))).click()
    item = "//div[contains(@class, 'lm-Menu-itemLabel') and starts-with(text(), 'Restart Kernel and Run All Cells')]"
    wait.until(until.element_to_be_clickable((By.XPATH, item))).click()
    wait.until(until.element_to_be_clickable((By.CSS_SELECTOR, ".jp-Dialog button.jp-mod-accept"))).click()
    wait_for(lambda: saved_and_complete(browser, path), PATIENCE, f"{path.name} to run")


def counted(path: Path) -> tuple[int, int, int]:
    """How many cells, pictures and progress bars the saved notebook has; all its cells must have run in order."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs), "an error output"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "not from top to bottom"
    data = [output.get("data", {}) for output in outputs]
    pictures = sum("image/png" in shown or "<img " in shown.get("text/html", "") for shown in data)
    return len(cells), pictures, sum("%|" in output.get("text", "") for output in outputs)


def check(browser, path: Path, screenshots: Path | None) -> None:
    cells, *saved = counted(path)
    pictures = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea img")
    texts = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output")
    bars = [text for text in texts if "%|" in text.text]  # the text that is seen
    loaded = [p for p in pictures if int(p.get_property("naturalWidth")) and p.is_displayed() and p.size["height"]]
    assert [len(loaded), len(bars)] == saved, f"pictures, bars: {len(loaded)}, {len(bars)} seen; {saved} saved"
    gifs = [picture for picture in loaded if picture.get_property("src").startswith("data:image/gif")]
    for gif in gifs:
        first = gif.screenshot_as_png
        wait_for(lambda gif=gif, first=first: gif.screenshot_as_png != first, 10, "the GIF to move")
    if screenshots:
        name = f"{path.parent.name}_{path.stem}"
        for kind, found in ("gif", gifs), ("bar", bars):
            for number, element in enumerate(found):
                element.screenshot(str(screenshots / f"{name}_{kind}{number}.png"))
        browser.save_screenshot(str(screenshots / f"{name}.png"))
    seen = f"seen: {len(loaded)} pictures, of them {len(gifs)} GIFs that move, and {len(bars)} progress bars"
    print(f"{path.parent.name}/{path.name}: {cells} cells executed, no error; {seen}", flush=True)


def main(prefixes: list[str], screenshots: Path | None) -> None:
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")  # selenium calls no one either
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "MNIST", "__pycache__", "build"))
        paths = sorted(path for f in ("notebooks", "studies", "exercises") for path in copy.glob(f"{f}/*.ipynb"))
        for path in paths:  # nothing executed yet
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            nbformat.write(notebook, path)
        for name, values in SETTINGS.items():
            file = Path(folder, "settings", "@jupyterlab", f"{name}.jupyterlab-settings")
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(values))
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={PORT}"]
        command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={copy}"]
        environment = {"MNIST": "5k"} | os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(Path(folder, "settings"))}
        server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        options = webdriver.ChromeOptions()
        nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"
        for option in "--headless=new", "--no-sandbox", "--window-size=1400,4000", nowhere:
            options.add_argument(option)
        try:
            wait_for(lambda: kernels() == [], 60, "JupyterLab")
            for path in paths:
                if not prefixes or f"{path.parent.name}/{path.name}".startswith(tuple(prefixes)):
                    browser = webdriver.Chrome(options=options)
                    try:
                        run_all(browser, path)
                        check(browser, path, screenshots)
                    finally:
                        browser.quit()
        finally:
            server.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="*", help="of folder/name; without one all")
    parser.add_argument("--screenshots", type=Path, help="a folder for the GIFs, bars and pages")
    main(**vars(parser.parse_args()))
