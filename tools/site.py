"""The site, for GitHub Pages or a folder: python tools/site.py [FOLDER] (build/site if none is given).

The READMEs, notebooks, studies and exercises as HTML pages, the theory's page, and the PDFs. The style is site.css, and
formulas are set by a copy of MathJax, which npm fetches once: a page fetches nothing from elsewhere. nbconvert comes
with jupyterlab.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parents[1]
GITHUB = re.search(r'^repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
MATHJAX = ROOT / "build" / "node_modules" / "mathjax" / "es5" / "tex-svg.js"
NPM_OPTIONS = "--loglevel=error", "--ignore-scripts", "--no-save", "--no-package-lock"
PAGES = {"README.md": "index.html", "README.fa.md": "fa.html"}  # and x.html for each x.ipynb
THEORY = "theory/theory.html"  # made by theory/page.py
COPIED = "theory/theory.pdf", "theory/questions.pdf", "images/paths.gif", "images/boundaries.gif"
FOLDERS = "notebooks", "studies", "exercises"
NOTEBOOKS = [path.relative_to(ROOT).as_posix() for f in FOLDERS for path in sorted((ROOT / f).glob("*.ipynb"))]

PAGE = """<!DOCTYPE html>
<html lang="{language}" dir="{direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="{top}style.css">
<script>MathJax = {{tex: {{inlineMath: [["$", "$"]]}}, options: {{enableMenu: false}}}}</script>
<script src="{top}mathjax.js" async></script>
</head>
<body>
<nav>
{links}
</nav>
<main>
{body}
</main>
</body>
</html>
"""


class Renderer(IPythonRenderer):
    """Markdown whose links to what is on this site stay on it; others lead to GitHub."""

    def __init__(self, folder: str) -> None:
        super().__init__(escape=False, anchor_link_text="#")
        self.folder = folder  # of the page, "" or one of FOLDERS

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, address(url, self.folder), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A badge, which another server would have to send, becomes its text."""
        return text if re.match("https?:", url) else super().image(text, url, title)


def address(url: str, folder: str) -> str:
    """Where a link in a file of the folder leads from its page."""
    path, _, part = url.removeprefix(f"{GITHUB}/blob/main/").partition("#")
    if re.match(r"https?:", path) or not path:
        return url
    if not url.startswith("https:"):
        path = Path(ROOT, folder, path).resolve().relative_to(ROOT).as_posix()
    there = PAGES.get(path) or (html(path) if path in NOTEBOOKS else path)
    part = f"#{part}" if part else ""
    if there != path or path in (*COPIED, THEORY):
        return ("../" if folder else "") + there + part
    if not (ROOT / path).exists():
        raise FileNotFoundError(f"a link leads nowhere: {url}, in the folder {folder or '.'}")
    return f"{GITHUB}/blob/main/{path}{part}"


def page(body: str, title: str, top: str = "", language: str = "en") -> str:
    direction = "rtl" if language == "fa" else "ltr"
    return PAGE.format(body=body, title=title, top=top, language=language, direction=direction, links=links(top))


def links(top: str) -> str:
    """From each page to the others."""
    links = {"Homework 2": f"{top}index.html", "فارسی": f"{top}fa.html", "theory": top + THEORY}
    numbered = [name for name in NOTEBOOKS if not name.startswith("studies/")]
    links |= {f"{name.split('/')[0][:-1]} {Path(name).stem.split('_')[0]}": top + html(name) for name in numbered}
    links |= {"studies": f"{top}index.html#studies"}
    return "\n".join(f'<a href="{url}">{name}</a>' for name, url in (links | {"GitHub": GITHUB}).items())


def theory() -> str:
    """The theory's page, whose links to the other pages stand before its own (GitHub's among them)."""
    before, nav, after = re.split("(<nav.*?>)", (ROOT / THEORY).read_text(encoding="utf-8"), maxsplit=1)
    others = links("../").rsplit("\n", 1)[0]
    return f"{before}{nav}\n{others}{after}"


def html(name: str) -> str:
    return name.replace(".ipynb", ".html")


def title(markdown: str) -> str:
    return re.search(r"^# (.*)$", markdown, re.M)[1]


def from_markdown(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"</?div[^>]*>", "", text)  # GitHub needs it to write from right to left
    body = MarkdownWithMath(renderer=Renderer("")).render(text)
    return page(body, title(text), language="fa" if ".fa." in name else "en")


def from_notebook(name: str) -> str:
    folder = name.split("/")[0]
    exporter = HTMLExporter(template_name="basic")
    exporter.register_filter("markdown2html", lambda text: MarkdownWithMath(renderer=Renderer(folder)).render(text))
    notebook = nbformat.read(ROOT / name, as_version=4)
    body, _ = exporter.from_notebook_node(notebook)
    return page(body, title(notebook.cells[0].source), top="../")


def colours() -> str:
    """The colours of Python code by day and, if the reader's system is dark, by night."""
    day, night = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return f"{day}\n@media (prefers-color-scheme: dark) {{\n{night}\n}}\n"


def fetch_mathjax() -> None:
    """MathJax by npm, if it is not there yet."""
    if MATHJAX.is_file():
        return
    npm = shutil.which("npm")
    if not npm:
        raise SystemExit("formulas need MathJax, and npm to fetch it: install Node.js, https://nodejs.org")
    subprocess.run([npm, "install", *NPM_OPTIONS, "--prefix", ROOT / "build", "mathjax@3.2.2"], check=True)


def build(folder: Path) -> list[Path]:
    """Write the site; the files that were written."""
    fetch_mathjax()
    texts = {"style.css": colours() + (ROOT / "tools" / "site.css").read_text(encoding="utf-8")}
    texts |= {there: from_markdown(name) for name, there in PAGES.items()}
    texts[THEORY] = theory()
    texts |= {html(name): from_notebook(name) for name in NOTEBOOKS}
    files = {"mathjax.js": MATHJAX.read_bytes()} | {name: (ROOT / name).read_bytes() for name in COPIED}
    files |= {name: text.encode() for name, text in texts.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [folder / name for name in files]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"):
        print(path)
