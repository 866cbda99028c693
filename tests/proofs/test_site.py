"""The site: its files, and its pages in Chromium, on a phone and on a screen, by day and by night, and printed."""

import functools
import html
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"  # a folder of its own: npm clears others up
NPM_OPTIONS = "--loglevel=error", "--ignore-scripts", "--no-save", "--no-package-lock"
FOLDERS = "notebooks", "studies", "exercises"
NOTEBOOKS = [f"{folder}/{path.stem}.html" for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.ipynb"))]
PAGES = ["index.html", "fa.html", "theory/theory.html", *NOTEBOOKS]
PAPER = 680  # pixels: A4 without the margins
READY = """const done = arguments[0];
Promise.all([window.MathJax?.startup?.promise, document.fonts.ready]).then(() => setTimeout(done, 100));"""
VIOLATIONS = """const done = arguments[0];
axe.run({resultTypes: ["violations"]}).then(found => done(
  [found.passes.length, found.violations.map(v => [v.id, v.help, v.nodes.length, v.nodes[0].html])]));"""
BEYOND = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
BOXES = """return [...document.querySelectorAll("main *:not(mjx-assistive-mml)")].filter(box =>
  box.scrollWidth > box.clientWidth + 1 && box.clientWidth && getComputedStyle(box).overflowX !== "visible")"""
pytestmark = pytest.mark.skipif(not shutil.which("npm"), reason="needs npm for MathJax, Pagefind and axe-core")


@pytest.fixture(scope="module")
def site():
    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run([sys.executable, ROOT / "tools" / "site.py"], check=True, timeout=300)
    return {path.relative_to(SITE).as_posix(): path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}


def links(page, attribute):
    """Where the links with this attribute lead."""
    return [html.unescape(link) for link in re.findall(f'<a href="([^"]*)"[^>]* {attribute}', page)]


def there(name, link):
    """The page to which a page's link leads."""
    return (SITE / name).parent.joinpath(link).resolve().relative_to(SITE).as_posix()


def test_every_page_is_there(site):
    assert set(site) == set(PAGES) and len(PAGES) > 10


def test_nothing_is_fetched_from_elsewhere(site):
    for name, page in site.items():
        assert not re.findall(r"""<(?:img|script|link|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*""", page), name
    styles = (SITE / "style.css").read_text(encoding="utf-8")
    assert not re.search(r'@import|url\((?!"data:)', styles + "".join(site.values()))
    assert "//" not in re.sub("^ *//.*| // .*", "", (SITE / "script.js").read_text(encoding="utf-8"), flags=re.M)


def test_links_lead_somewhere(site):
    for name, page in site.items():
        for link in re.findall(r"""(?:href|src)="(?!data:|https?:)([^"]*)\"""", page):
            file, _, part = html.unescape(link).partition("#")
            target = (SITE / name).parent / file if file else SITE / name
            assert target.is_file(), f"{name}: {link}"
            if target.suffix == ".html" and part:  # a browser looks for it as it stands, then decoded
                ids = html.unescape(target.read_text(encoding="utf-8"))
                assert f'id="{part}"' in ids or f'id="{unquote(part)}"' in ids, f"{name}: {link}"


def test_pictures_have_texts(site):
    for name, page in site.items():
        for picture in re.findall(r"<img[^>]*>", page):
            (text,) = re.findall(r'alt="([^"]*)"', picture)
            assert len(text) > 20, f"{name}: {text}"


def test_persian_is_written_from_right_to_left(site):
    assert '<html lang="fa" dir="rtl">' in site["fa.html"] and '<html lang="en" dir="ltr">' in site["index.html"]


def test_the_contents_list_every_page_and_mark_the_current_one(site):
    for name, page in site.items():
        contents = re.search('<nav class="contents".*?</nav>', page, re.S)[0]
        listed = [there(name, link) for link in re.findall(r'href="([^"#]*\.html)"', contents)]
        assert sorted(listed) == sorted(PAGES), name
        assert [there(name, link) for link in links(page, 'aria-current="page"')] == [name]
        sections = re.findall('href="(#[^"]*)"', contents)
        assert len(sections) == len(re.findall("<h2 id=", page)) > 2 or name in NOTEBOOKS, name


def test_previous_and_next_lead_along_one_chain(site):
    chain = ["index.html"]
    while following := links(site[chain[-1]], 'rel="next"'):
        (link,) = following
        chain.append(there(chain[-1], link))
        assert [there(chain[-1], back) for back in links(site[chain[-1]], 'rel="prev"')] == [chain[-2]]
        assert len(chain) <= len(PAGES)
    assert sorted(chain) == sorted(PAGES) and not links(site["index.html"], 'rel="prev"')


def test_every_page_has_the_icon(site):
    for name, page in site.items():
        (link,) = re.findall('<link rel="icon" href="([^"]*)">', page)
        assert there(name, link) == "icon.svg"
    assert (SITE / "icon.svg").read_text(encoding="utf-8").startswith("<svg")


# ------------------------------------------------------------------------------------- in Chromium


@pytest.fixture(scope="module")
def browser(site):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    programs = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)]
    driver = shutil.which("chromedriver")
    if not programs or not driver:
        pytest.skip("needs Chromium and chromedriver")
    if not AXE.is_file():
        command = "npm", "install", *NPM_OPTIONS, "--prefix", ROOT / "build" / "axe", "axe-core@4.11.0"
        subprocess.run(command, check=True, timeout=300)
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for option in "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars":
        options.add_argument(option)
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chromium.set_script_timeout(120)
    yield chromium
    chromium.quit()


def show(browser, path, width, scheme="light", media="screen"):
    """A file, or a page by its address, in a window of this width."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    in_colour(browser, scheme, media)
    browser.get(path if isinstance(path, str) else path.as_uri())
    browser.execute_async_script(READY)


def in_colour(browser, scheme, media="screen"):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", [*(f"build/site/{name}" for name in PAGES), "theory/theory.html"])
def test_axe_finds_nothing_and_what_is_too_wide_scrolls_by_keyboard(browser, name, width):
    show(browser, ROOT / name, width)
    assert browser.execute_script("return innerWidth") == width and browser.execute_script(BEYOND) == 0
    boxes = browser.execute_script(BOXES + ".map(box => [box.tabIndex, box.outerHTML.slice(0, 200)])")
    assert [box for box in boxes if box[0] != 0] == []
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    for scheme in "light", "dark":
        in_colour(browser, scheme)
        passes, violations = browser.execute_async_script(VIOLATIONS)
        assert (scheme, violations) == (scheme, []) and passes > 20


def test_by_night_the_colours_are_others(browser):
    paper = "return getComputedStyle(document.body).backgroundColor"
    show(browser, SITE / "index.html", 1280)
    day = browser.execute_script(paper)
    in_colour(browser, "dark")
    assert browser.execute_script(paper) != day


def test_the_arrow_keys_scroll_what_is_too_wide(browser):
    show(browser, SITE / "notebooks" / "01_optimization.html", 390)
    box = browser.execute_script(BOXES + ".find(box => box.matches('pre'))")
    box.send_keys("\ue014" * 3)  # to the right
    browser.execute_async_script(READY)
    assert browser.execute_script("return arguments[0].scrollLeft", box) > 0


@pytest.mark.parametrize(("width", "height"), [(390, 50), (1280, 844)])
def test_the_contents_stay_in_view(browser, width, height):
    """On a phone as one line, which opens."""
    show(browser, SITE / "studies" / "noise_is_ridge.html", width)
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    contents = browser.find_element("css selector", ".contents")
    measure = "const box = arguments[0].getBoundingClientRect(); return [scrollY > 2000, box.top, box.height]"
    scrolled, top, shown = browser.execute_script(measure, contents)
    assert scrolled and abs(top) < 1 and height - 15 < shown <= height
    if width < 500:
        contents.find_element("tag name", "summary").click()
    current = contents.find_element("css selector", "[aria-current]")
    assert current.is_displayed() and 0 < current.rect["y"] - browser.execute_script("return scrollY") < 844


@pytest.mark.parametrize(
    ("name", "place", "most"), [("index.html", "td", 4), ("fa.html", "td", 4), (NOTEBOOKS[0], "p", 1)]
)
def test_buttons_do_not_stack_on_a_phone(browser, name, place, most):
    show(browser, SITE / name, 390)
    lines = """return Math.max(...[...document.querySelectorAll(`main ${arguments[0]}:has(.button)`)].map(
      box => new Set([...box.querySelectorAll("a")].map(link => Math.round(link.getBoundingClientRect().top))).size))"""
    assert 0 < browser.execute_script(lines, place) <= most


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_without_navigation_and_with_all_it_says(browser, name):
    show(browser, SITE / name, PAPER, "dark", "print")
    shown = "return [...document.querySelectorAll('nav, .button, input')].filter(part => part.offsetHeight).length"
    assert browser.execute_script(shown) == 0
    assert browser.execute_script(BEYOND) == 0
    assert browser.execute_script(BOXES + ".map(box => box.outerHTML.slice(0, 200))") == []
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_search_finds_what_a_page_says(browser):
    """In a folder of a server, as on GitHub Pages."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=SITE.parent)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        show(browser, f"http://localhost:{server.server_port}/site/studies/noise_is_ridge.html", 1280)
        field = browser.find_element("css selector", "[type=search]")
        for words, page in {"Rosenbrock valley": "notebooks/01_optimization", "xylophone": None}.items():
            field.clear()
            field.send_keys(words)
            found = "const done = arguments[0]; setTimeout(() => done(form.querySelector('ul').innerHTML), 3000)"
            results = browser.execute_async_script(found)
            assert f"/site/{page}.html#" in results if page else results == "<li>Nothing found.</li>"
        server.shutdown()
