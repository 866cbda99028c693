"""The site, for GitHub Pages or a folder: python tools/site.py [FOLDER] (build/site if none is given).

The READMEs, notebooks, theory, studies and exercises as HTML pages, with a list of them on each; and the PDFs. Styles
are site.css, which the theory's page has, too, and contents.css. npm fetches once what sets formulas (MathJax) and
what searches (Pagefind); both lie on the site, and a page fetches nothing from elsewhere. nbconvert comes with
jupyterlab.
"""

import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parents[1]
TOOLS, BUILD = ROOT / "tools", ROOT / "build"
GITHUB = re.search(r'^repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = "mathjax@3.2.2", "pagefind@1.6.0"
NPM_OPTIONS = "--loglevel=error", "--ignore-scripts", "--no-save", "--no-package-lock"
MATHJAX = BUILD / "node_modules" / "mathjax" / "es5" / "tex-svg.js"
UNSEARCHED = ".anchor-link, .button, .input, annotation"
THEORY = "theory/theory.html"  # made by theory/page.py
COPIED = "theory/theory.pdf", "theory/questions.pdf", "images/paths.gif", "images/boundaries.gif"
LABELS = {"README.md": "Homework 2", "README.fa.md": "فارسی", THEORY: "Seven questions, answered"}
LABELS |= {"theory/theory.pdf": "The same as a PDF", "theory/questions.pdf": "The questions alone (PDF)"}


def notebooks(folder: str) -> list[str]:
    """Those of the folder, in README's order."""
    names = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / folder).glob("*.ipynb"))]
    return sorted(names, key=lambda name: README.find(f"({name})"))


GROUPS = {
    "": ["README.md", "README.fa.md"],
    "Notebooks": notebooks("notebooks"),
    "Theory": [THEORY, "theory/theory.pdf", "theory/questions.pdf"],
    "Studies": notebooks("studies"),
    "Exercises": notebooks("exercises"),
}
CHAIN = [name for names in GROUPS.values() for name in names if name not in COPIED]  # previous and next follow it

PAGE = """<!DOCTYPE html>
<html lang="{language}" dir="{direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="{top}icon.svg">
<link rel="stylesheet" href="{top}style.css">
{head}
</head>
<body>
<nav class="contents" aria-label="Contents" lang="en" dir="ltr">
<details open>
<summary>Contents</summary>
<form role="search" hidden>
<input type="search" placeholder="Search" aria-label="Search">
<ul aria-live="polite"></ul>
</form>
{contents}
</details>
</nav>
<script src="{top}script.js"></script>
<main>
{body}
<nav class="turn" aria-label="Previous and next page" lang="en" dir="ltr">{turn}</nav>
</main>
</body>
</html>
"""
FORMULAS = """<script>MathJax = {{tex: {{inlineMath: [["$", "$"]]}}, options: {{enableMenu: false}}}}</script>
<script src="{top}mathjax.js" async></script>"""


class Renderer(IPythonRenderer):
    """Markdown whose links to what is on this site stay on it; others lead to GitHub."""

    def __init__(self, folder: str) -> None:
        super().__init__(escape=False, anchor_link_text="#")
        self.folder = folder  # of the page, "" or that of notebooks

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, address(url, self.folder), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A badge, which another server would have to send, becomes a button."""
        return f'<span class="button">{text}</span>' if re.match("https?:", url) else super().image(text, url, title)

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table>{text}</table></div>'


def address(url: str, folder: str) -> str:
    """Where a link in a file of the folder leads from its page."""
    path, _, part = url.removeprefix(f"{GITHUB}/blob/main/").partition("#")
    if re.match(r"https?:", path) or not path:
        return url
    if not url.startswith("https:"):
        path = Path(ROOT, folder, path).resolve().relative_to(ROOT).as_posix()
    part = f"#{part}" if part else ""
    if path in (*CHAIN, *COPIED):
        return ("../" if folder else "") + place(path) + part
    if not (ROOT / path).exists():
        raise FileNotFoundError(f"a link leads nowhere: {url}, in the folder {folder or '.'}")
    return f"{GITHUB}/blob/main/{path}{part}"


def place(name: str) -> str:
    """Where on the site a file is shown."""
    return {"README.md": "index.html", "README.fa.md": "fa.html"}.get(name) or name.replace(".ipynb", ".html")


def page(name: str, body: str, head: str = "") -> str:
    top = "../" * name.count("/")
    empty = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", body)  # names no column
    body = re.sub(r"<thead>\s*<tr[^>]*>(\s*<td></td>)+\s*</tr>\s*</thead>", "", empty)
    parts = {"body": body, "contents": contents(name, body), "turn": turn(name), "title": escape(title(name))}
    language, direction = ("fa", "rtl") if ".fa." in name else ("en", "ltr")
    head = head or FORMULAS.format(top=top)
    return PAGE.format(**parts, head=head, top=top, language=language, direction=direction)


def title(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name == THEORY:
        return re.search("<title>(.*)</title>", text)[1]
    markdown = nbformat.reads(text, as_version=4).cells[0].source if name.endswith(".ipynb") else text
    return re.search(r"^# (.*)$", markdown, re.M)[1]


def label(name: str) -> str:
    """What README calls it: the first cell of its row, or the link in its list."""
    found = re.search(rf"^(?:\| |\* \[)(.*?)(?: \||\]).*?\({name}\)", README, re.M)
    if not found and name not in LABELS:
        raise ValueError(f"README.md needs a row of a table or an item of a list that links to {name}")
    return LABELS.get(name) or found[1]


def contents(current: str, body: str) -> str:
    """The list of all pages, with the current page's sections below its own link."""
    groups = []
    for group, names in GROUPS.items():
        items = [link(current, name, label(name)) for name in names]
        if current in names:
            items[names.index(current)] += sections(body)
        items = unordered(items)
        groups.append(f"{group}\n{items}" if group else items)
    return unordered([*groups, f'<a href="{GITHUB}">GitHub</a>'])


def sections(body: str) -> str:
    found = re.findall(r'<h2 id="([^"]*)">(.*?)(?:<a class="anchor|</h2>)', body)
    return unordered([f'<a href="#{identifier}">{text}</a>' for identifier, text in found]) if found else ""


def unordered(items: list[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"


def link(current: str, name: str, text: str, attributes: str = "") -> str:
    attributes += ' aria-current="page"' if name == current else ""
    attributes += ' lang="fa" dir="rtl"' if ".fa." in name else ""
    return f'<a href="{"../" * current.count("/")}{place(name)}"{attributes}>{text}</a>'


def turn(name: str) -> str:
    """To the previous and the next page."""
    here = CHAIN.index(name)
    beside = {"prev": CHAIN[max(here - 1, 0)], "next": CHAIN[min(here + 1, len(CHAIN) - 1)]}
    beside = {rel: to for rel, to in beside.items() if to != name}
    return "".join(link(name, to, LABELS.get(to) or escape(title(to)), f' rel="{rel}"') for rel, to in beside.items())


def theory() -> str:
    text = (ROOT / THEORY).read_text(encoding="utf-8")
    style, body = (re.search(f"<{tag}>\n(.*)\n</{tag}>", text, re.S)[1] for tag in ("style", "main"))
    body = re.sub(r'<section( id="[^"]*")>\s*<h2>', r"<section><h2\1>", body)  # the search links to headings
    return page(THEORY, body, f"<style>\n{style}\n</style>")


def from_markdown(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"</?div[^>]*>", "", text)  # GitHub needs it to write from right to left
    return page(name, MarkdownWithMath(renderer=Renderer("")).render(text))


def from_notebook(name: str) -> str:
    exporter = HTMLExporter(template_name="basic")
    renderer = Renderer(name.split("/")[0])
    exporter.register_filter("markdown2html", lambda text: MarkdownWithMath(renderer=renderer).render(text))
    return page(name, exporter.from_notebook_node(nbformat.read(ROOT / name, as_version=4))[0])


def write_page(name: str) -> str:
    if name == THEORY:
        return theory()
    return from_notebook(name) if name.endswith(".ipynb") else from_markdown(name)


def colours() -> str:
    """The colours of Python code by day and, if the reader's system is dark, by night."""
    day, night = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("xcode", "github-dark"))
    return f"{day}\n@media screen and (prefers-color-scheme: dark) {{\n{night}\n}}\n"


def npm(*command: str | Path) -> None:
    program = shutil.which("npm")
    if not program:
        raise SystemExit("formulas and the search need npm: install Node.js, https://nodejs.org")
    subprocess.run([program, *command], check=True)


def build(folder: Path) -> list[Path]:
    """Write the site; the files that were written."""
    if not all((BUILD / "node_modules" / package.split("@")[0]).is_dir() for package in PACKAGES):
        npm("install", *NPM_OPTIONS, "--prefix", BUILD, *PACKAGES)  # in one go: npm removes what it is not told of
    texts = {place(name): write_page(name) for name in CHAIN}
    for file, names in {"style.css": ("site.css", "contents.css"), "script.js": ("contents.js", "site.js")}.items():
        texts[file] = "".join((TOOLS / name).read_text(encoding="utf-8") for name in names)
    texts["style.css"] = colours() + texts["style.css"]
    files = {"mathjax.js": MATHJAX.read_bytes(), "icon.svg": (TOOLS / "icon.svg").read_bytes()}
    files |= {name: (ROOT / name).read_bytes() for name in COPIED}
    files |= {name: text.encode() for name, text in texts.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    options = "--silent", "--force-language", "en", "--exclude-selectors", UNSEARCHED, "--site", folder.resolve()
    npm("exec", "--offline", "--prefix", BUILD, "--", "pagefind", *options)
    return [folder / name for name in files]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD / "site"):
        print(path)
