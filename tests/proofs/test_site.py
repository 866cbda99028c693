"""The site: it fetches nothing, its links lead somewhere, its pictures have texts."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
pytestmark = pytest.mark.skipif(not shutil.which("npm"), reason="needs npm for MathJax")


@pytest.fixture(scope="module")
def site():
    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run([sys.executable, ROOT / "tools" / "site.py"], check=True, timeout=300)
    return {path.relative_to(SITE).as_posix(): path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}


def test_every_page_is_there(site):
    folders = "notebooks", "studies", "exercises"
    names = {f"{folder}/{path.stem}.html" for folder in folders for path in (ROOT / folder).glob("*.ipynb")}
    assert set(site) == names | {"index.html", "fa.html", "theory/theory.html"} and len(names) > 7


def test_nothing_is_fetched_from_elsewhere(site):
    for name, page in site.items():
        assert not re.findall(r"""<(?:img|script|link|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*""", page), name
    styles = (SITE / "style.css").read_text(encoding="utf-8")
    assert not re.search(r'@import|url\((?!"data:)', styles + "".join(site.values()))


def test_links_lead_somewhere(site):
    for name, page in site.items():
        for link in re.findall(r"""(?:href|src)="(?!data:|https?:)([^"]*)\"""", page):
            file, _, part = html.unescape(link).partition("#")
            there = (SITE / name).parent / file if file else SITE / name
            assert there.is_file(), f"{name}: {link}"
            if there.suffix == ".html" and part:  # a browser looks for it as it stands, then decoded
                ids = html.unescape(there.read_text(encoding="utf-8"))
                assert f'id="{part}"' in ids or f'id="{unquote(part)}"' in ids, f"{name}: {link}"


def test_pictures_have_texts(site):
    for name, page in site.items():
        for picture in re.findall(r"<img[^>]*>", page):
            (text,) = re.findall(r'alt="([^"]*)"', picture)
            assert len(text) > 20, f"{name}: {text}"


def test_persian_is_written_from_right_to_left(site):
    assert '<html lang="fa" dir="rtl">' in site["fa.html"] and '<html lang="en" dir="ltr">' in site["index.html"]
