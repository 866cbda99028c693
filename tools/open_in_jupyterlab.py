"""Open each notebook in a real JupyterLab, in a headless Chromium, and Restart and Run All, as a reader would.

    python -m pip install selenium      # and a Chromium with its chromedriver (Debian: chromium, chromium-driver)
    python tools/open_in_jupyterlab.py [notebooks/01 studies exercises/theory ...]

Works on a copy, on a free port and with a random token. Afterwards the saved notebook must have been executed from
top to bottom without an error, and the pictures on the page must have been loaded. Takes a minute a notebook; not part
of the test run.
"""

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


def check(browser, path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs), "an error output"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.jp-OutputArea img')].map(image => image.naturalWidth)"
    )
    assert all(pictures) and (pictures or path.parent.name == "exercises"), "a picture that is not shown"
    done = f"{len(cells)} cells executed, no error; {len(pictures)} pictures on the page, all loaded"
    print(f"{path.parent.name}/{path.name}: {done}")


def main(prefixes: list[str]) -> None:
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
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={PORT}"]
        command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={copy}"]
        server = subprocess.Popen(command, env={"MNIST": "5k"} | os.environ, stderr=subprocess.DEVNULL)
        options = webdriver.ChromeOptions()
        for option in "--headless=new", "--no-sandbox", "--window-size=1400,4000":
            options.add_argument(option)
        try:
            wait_for(lambda: kernels() == [], 60, "JupyterLab")
            for path in paths:
                if not prefixes or f"{path.parent.name}/{path.name}".startswith(tuple(prefixes)):
                    browser = webdriver.Chrome(options=options)
                    try:
                        run_all(browser, path)
                        check(browser, path)
                    finally:
                        browser.quit()
        finally:
            server.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
