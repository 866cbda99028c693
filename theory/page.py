r"""The page for the web, theory.html, made of the PDF's sources: make -C theory html

LaTeXML reads theory.tex with the definitions of page.sty.ltxml and gives XHTML with MathML; pdfLaTeX draws the figures.
Here the XHTML is reduced to what a reader and a screen reader need, and put into one file with its style, its pictures
and the letters of its formulas: it fetches nothing from elsewhere.
"""

import base64
import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path

from fontTools import subset

THEORY = Path(__file__).parent
BUILD = THEORY / "build" / "page"
TOOLS = THEORY.parent / "tools"
FONT = "latinmodern-math.otf"  # in Debian's fonts-lmodern
FIGURES = (
    r"\PassOptionsToPackage{active,tightpage}{preview}"
    r"\AddToHook{begindocument/before}{\usepackage{preview}\PreviewEnvironment{accessible}}\input{theory}"
)
TIMES, APPLIED = "\u2062", "\u2061"  # what stands between f and (x), unseen: "f times x" or "f of x"
FUNCTION = re.compile(  # what comes before a parenthesis and is no factor
    r"\b([fgqFELO]~?′*|softmax|Bernoulli|𝒩|λ(max|min)|w\*(?= \(XR?\))|H~?(?= \([xu]\))|y\^(?= \(xn\))) "
)
FACTOR = re.compile(r"(σ \(1−σ\)$|.*⊤ )")
ITALIC = ord("√"), ord("ℎ"), *range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C)  # and what stands in no text
VOID = {"br", "img"}
MATHML = "class", "encoding", "id", "mathsize", "mathcolor"  # attributes that say nothing here

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="source-hash" content="{digest}">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<nav class="links" aria-label="Pages">
<a href="theory.pdf">as a PDF</a>
<a href="questions.pdf">the questions alone</a>
<a href="{repository}">GitHub</a>
</nav>
<main>
{body}
</main>
<script>
{script}
</script>
</body>
</html>
"""


def run(*command: str | Path) -> str:
    """Its output; if it fails, the end of that, and no page."""
    result = subprocess.run(command, cwd=THEORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode or re.search(r"^Error:", result.stdout, re.M):
        raise SystemExit(f"{' '.join(map(str, command))}\n{result.stdout[-2000:]}")
    return result.stdout


def convert(digest: str) -> tuple[ET.Element, dict[str, str]]:
    """The document as XHTML, and the label of each identifier in it."""
    os.environ["SOURCEHASH"] = digest
    xml, xhtml = BUILD / "theory.xml", BUILD / "theory.xhtml"
    run(
        "latexml",
        "--preload=page.sty",
        "--path=.",
        "--log=build/page/latexml.log",
        f"--destination={xml}",
        "theory.tex",
    )
    options = "--format=xhtml", "--pmml", "--nodefaultresources", "--log=build/page/latexmlpost.log"
    run("latexmlpost", *options, f"--destination={xhtml}", xml)
    labelled = [e for e in ET.parse(xml).iter() if e.get("labels")]
    labels = {e.get("{http://www.w3.org/XML/1998/namespace}id"): e.get("labels").split(":", 2)[2] for e in labelled}
    root = ET.parse(xhtml).getroot()
    for element in root.iter():
        element.tag = re.sub("{.*}", "", element.tag) if isinstance(element.tag, str) else "comment"
    return root.find(".//div[@lang]"), labels


def figures() -> list[dict[str, str]]:
    """Each environment `accessible` as an SVG: the attributes of its <img>. 10 pt become the page's size of letters."""
    pdf = BUILD / "figures.pdf"
    run("pdflatex", "-interaction=nonstopmode", f"-output-directory={BUILD}", "-jobname=figures", FIGURES)
    pages = re.search(r"^Pages: *(\d+)", run("pdfinfo", pdf), re.M)[1]
    drawn = []
    for number in range(1, int(pages) + 1):
        svg = pdf.with_name(f"figure-{number}.svg")
        run("pdftocairo", "-svg", "-f", str(number), "-l", str(number), pdf, svg)
        width = float(re.search(rb'width="([\d.]+)', svg.read_bytes())[1]) / 10
        data = base64.b64encode(svg.read_bytes()).decode()
        drawn.append({"src": f"data:image/svg+xml;base64,{data}", "style": f"--width: {width:.1f}em"})
    return drawn


def letters(body: str) -> str:
    """A style sheet with Latin Modern Math, reduced to what the formulas use."""
    used = set(re.sub("<[^>]*>", "", "".join(re.findall("<math.*?</math>", body, re.S))))
    options = subset.Options(flavor="woff", layout_features=["*"], notdef_outline=True, name_IDs=[0, 1, 2, 13, 14])
    options.drop_tables += ["FFTM"]
    font = subset.load_font(run("kpsewhich", FONT).strip(), options)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes={*map(ord, used), *ITALIC})
    chosen.subset(font)
    font["GSUB"].table.ScriptList.ScriptRecord[0].ScriptTag = "DFLT"  # was "math", which browsers do not look for
    file = io.BytesIO()
    subset.save_font(font, file, options)
    data = base64.b64encode(file.getvalue()).decode()
    return f'@font-face {{ font-family: "Formulas"; src: url("data:font/woff;base64,{data}"); }}'


# ------------------------------------------------------------------------------------- the tree, changed in place


def kind(element: ET.Element) -> str:
    """The first of LaTeXML's classes: section, para, figure ..."""
    return element.get("class", "").split(" ")[0].removeprefix("ltx_")


def text(element: ET.Element) -> str:
    return "".join(element.itertext())


def read_products(math: ET.Element) -> None:
    """f(x) is f of x, X(y - z) is X times y - z, and neither words nor the columns of [X 1] are factors."""
    for row in math.iter("mrow"):
        for head, operator, argument in zip(row, row[1:], row[2:], strict=False):
            both, apart = f"{text(head)} {text(argument).replace(TIMES, '')}", argument.text == " 1"
            if operator.text not in (TIMES, APPLIED):
                continue
            if "mtext" in (head.tag, argument.tag) or apart:
                operator.tag, operator.text = "mspace", None
            elif text(argument).startswith("(") and FACTOR.match(both):
                operator.text = TIMES
            elif text(argument).startswith("(") and FUNCTION.search(both):
                operator.text = APPLIED
            if apart:
                operator.set("width", "0.5em")
                argument.text = "𝟏"


def mend_signs(math: ET.Element) -> None:
    """As TeX sets them: no space around a slash or a derivative, stars that are not raised, hats as narrow."""
    for operator in math.iter("mo"):
        if operator.text in "/∂∇":
            operator.set("lspace", "0em")
            operator.set("rspace", "0em")
        operator.text = operator.text.replace("*", "∗")
    for accented in math.iter("mover"):
        accented[1].set("stretchy", "false")
        accented[1].text = accented[1].text.translate({ord("^"): "ˆ", ord("~"): "˜"})


def assemble_figures(document: ET.Element) -> None:
    """A picture that stands before its figure (\\captionof) moves into it, and nothing stands between both."""
    parents = {child: parent for parent in document.iter() for child in parent}
    inside = {part for figure in document.iter("div") if kind(figure) == "figure" for part in figure.iter()}
    alone = [picture for picture in document.iter("img") if picture not in inside]
    for figure in document.iter("div"):
        if kind(figure) == "figure" and figure.find(".//img") is None:
            picture = alone.pop(0)
            parents[picture].remove(picture)
            figure.insert(0, picture)
    for part in inside:
        if part.tag == "span" and "ltx_minipage" in part.get("class", ""):
            part.set("class", "")


def symbols(table: ET.Element) -> list[tuple[ET.Element, ET.Element]]:
    """The rows of the table of notation, which has two columns of pairs beside each other."""
    rows = [row.findall("td") for row in table.iter("tr")]
    return [(row[k], row[k + 1]) for k in range(0, len(rows[0]), 2) for row in rows]


# ------------------------------------------------------------------------------------- the tree, written


class Writer:
    def __init__(self, labels: dict[str, str], pictures: list[dict[str, str]], linked: set[str]) -> None:
        self.labels, self.pictures, self.linked = labels, pictures, linked

    def anchor(self, identifier: str) -> str:
        return self.labels.get(identifier, identifier)

    def inner(self, element: ET.Element) -> str:
        parts = [escape(element.text or "", quote=False)]
        for child in element:
            parts += [self.write(child), escape(child.tail or "", quote=False)]
        return "".join(parts)

    def wrap(self, tag: str, element: ET.Element, **attributes: str) -> str:
        """The element's content in another tag, which keeps its identifier if anything links to it."""
        identifier = element.get("id", "")
        if identifier in self.labels or identifier in self.linked:
            attributes = {"id": self.anchor(identifier), **attributes}
        return mark(tag, self.inner(element), **attributes)

    def write(self, element: ET.Element) -> str:
        """The element as HTML: what is not named here leaves its content."""
        if element.tag == "comment" or kind(element) in ("pagination", "rdf"):
            return ""
        special = getattr(self, f"write_{element.tag}", None)
        if special:
            return special(element, element.get("class", "").split())
        return self.wrap(element.tag, element) if element.tag in ("p", "ul", "li", "em", "br") else self.inner(element)

    def write_div(self, element: ET.Element, classes: list[str]) -> str:
        tags = {"section": "section", "appendix": "section", "figure": "figure", "caption": "figcaption"}
        if kind(element) in tags:
            return self.wrap(tags[kind(element)], element)
        if kind(element) == "theorem":
            return self.wrap("div", element, **{"class": classes[1]})
        if kind(element) == "authors":
            return f"<p>{self.inner(element).strip()}</p>" if text(element).strip() else ""
        return self.wrap("div", element) if element.get("id") in self.linked else self.inner(element)

    def write_span(self, element: ET.Element, classes: list[str]) -> str:
        if "ltx_tag_item" in classes:
            return ""  # lists number themselves
        if "ltx_tag_equation" in classes:
            return self.wrap("span", element, **{"class": "number"})
        if "ltx_minipage" in classes:
            return self.wrap("div", element, **{"class": "piece"})
        tags = [tag for name, tag in (("ltx_font_bold", "strong"), ("ltx_font_typewriter", "code")) if name in classes]
        return self.wrap(tags[0], element) if tags else self.inner(element)

    def write_h1(self, element: ET.Element, classes: list[str]) -> str:
        level = {"ltx_title_document": "h1", "ltx_title_section": "h2", "ltx_title_appendix": "h2"}
        return self.wrap(level.get(classes[-1], "h3"), element) + "\n"

    write_h2 = write_h3 = write_h4 = write_h1

    def write_a(self, element: ET.Element, classes: list[str]) -> str:
        link, content = element.get("href"), self.inner(element)
        if link.endswith("/theory/theory.html"):
            return ""  # this page
        if re.match(r"#.*\.E\d+$", link):
            content = re.sub(r"(\d+)$", r"(\1)", content)
        if link.startswith("#"):
            link = "#" + self.anchor(link[1:])
        return mark("a", f"<code>{content}</code>" if "ltx_font_typewriter" in classes else content, href=link)

    def write_ol(self, element: ET.Element, classes: list[str]) -> str:
        return self.wrap("ol", element, **{"class": kind(element)})

    def write_table(self, element: ET.Element, classes: list[str]) -> str:
        """An equation, or the table of symbols."""
        if kind(element) == "tabular":
            rows = [f"<tr><td>{self.inner(a)}</td><td>{self.inner(b)}</td></tr>" for a, b in symbols(element)]
            head = "<thead><tr><th>symbol</th><th>meaning</th></tr></thead>"
            return mark("div", mark("table", "\n".join([head, *rows])), **{"class": "table"})
        numbers = [self.write(tag) for tag in element.iter("span") if "ltx_tag_equation" in tag.get("class", "")]
        content = mark("div", self.aligned(element), **{"class": "scroll"}) + "".join(numbers)
        return mark("div", content, **{"id": self.anchor(element.get("id")), "class": "equation"})

    def aligned(self, table: ET.Element) -> str:
        """One formula, which LaTeXML has distributed over the cells of a table if it has several lines."""
        rows = [
            [td for td in row if "padleft" not in td.get("class") and "padright" not in td.get("class")]
            for row in table.iter("tr")
        ]
        rows = [[td.find("math") for td in row if "ltx_eqn_eqno" not in td.get("class")] for row in rows]
        if len(rows) == 1:
            (only,) = [math for math in rows[0] if math is not None]
            return self.write(only)
        lines, sources = [], []
        for row in rows:
            cells = [formula(math) if math is not None else ("", "") for math in row]
            lines.append(mark("mtr", "".join(mark("mtd", content) for content, _ in cells)))
            sources.append(" & ".join(tex for _, tex in cells))
        source = r"\begin{aligned}" + r" \\ ".join(sources) + r"\end{aligned}"
        return with_source(mark("mtable", "".join(lines), **{"class": "aligned"}), source, display="block")

    def write_img(self, element: ET.Element, classes: list[str]) -> str:
        alt = " ".join(element.get("alt").split())
        return mark("div", mark("img", alt=alt, **self.pictures[int(element.get("src")) - 1]), **{"class": "scroll"})

    def write_math(self, element: ET.Element, classes: list[str]) -> str:
        display = {"display": "block"} if element.get("display") == "block" else {}
        return with_source(*formula(element), **display)


def formula(math: ET.Element) -> tuple[str, str]:
    """The formula's row, and its TeX."""
    read_products(math)
    mend_signs(math)
    return mark("mrow", "".join(map(plain, math))), math.get("alttext").replace("%\n", "")


def with_source(row: str, tex: str, **display: str) -> str:
    source = mark("annotation", escape(tex, quote=False), encoding="application/x-tex")
    return mark("math", mark("semantics", row + source), **display)


def glued(body: str) -> str:
    """No line begins with the comma, and none ends with the parenthesis, that stands at a formula."""
    return re.sub(
        r"(\(?)(<math><.*?</math>)([.,;:)?!]*)",
        lambda m: f'<span class="glue">{m[0]}</span>' if m[1] + m[3] else m[0],
        body,
    )


def mark(tag: str, content: str = "", **attributes: str) -> str:
    opened = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{opened}>" + ("" if tag in VOID else f"{content}</{tag}>")


def plain(element: ET.Element) -> str:
    """MathML as it is, but for attributes that say nothing here."""
    content = escape(element.text or "", quote=False) + "".join(map(plain, element))
    return mark(element.tag, content, **{k: v for k, v in element.attrib.items() if k not in MATHML})


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    digest = run(sys.executable, "source_hash.py").strip()
    document, labels = convert(digest)
    assemble_figures(document)
    linked = {a.get("href")[1:] for a in document.iter("a") if a.get("href").startswith("#")}
    body = re.sub(r"\n\s*\n+", "\n", Writer(labels, figures(), linked).inner(document)).strip()
    body = glued(body)
    files = TOOLS / "site.css", THEORY / "page.css", TOOLS / "site.js"
    common, own, script = (path.read_text(encoding="utf-8").strip() for path in files)
    style = "\n".join([letters(body), common, own])
    title = " ".join(text(document.find(".//h1")).split())
    repository = re.search(r"{(https:.*)/blob", (THEORY / "address.tex").read_text(encoding="utf-8"))[1]
    page = PAGE.format(digest=digest, title=title, style=style, repository=repository, body=body, script=script)
    (THEORY / "theory.html").write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
