"""theory/theory.html, the page for the web: made from these sources, it says what they say, and can be read unseen."""

import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise

from printed import BOXES, ERRATA, EXAMPLES, SOURCES, THEORY

PAGE = (THEORY / "theory.html").read_text(encoding="utf-8")
MAIN = re.search(r"<main>.*</main>", PAGE, re.S)[0]
TREE = ET.fromstring(re.sub(r"<((?:img|br)\b[^>]*)>", r"<\1/>", MAIN))
IDS = [element.get("id") for element in TREE.iter() if element.get("id")]
GROUP = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
MACROS = dict(re.findall(r"^\\newcommand{(\\\w+)}{(.*)}$", SOURCES["notation.tex"], re.M))
OPERATORS = dict(re.findall(r"^\\DeclareMathOperator{(\\\w+)}{(.*)}$", SOURCES["notation.tex"], re.M))
MEANING = MACROS | {name: rf"\operatorname{{{text}}}" for name, text in OPERATORS.items()}
MEANING |= {r"\le": r"\leq", r"\ge": r"\geq", r"\ne": r"\neq"}
NAMED = re.compile(
    r"\\((?:arc)?(?:sin|cos|tan)h?|ln|log|exp|inf|sup|max|min|lim|ker|det|arg)(?![A-Za-z])"
)  # functions whose names are printed


def normal(tex):
    """A formula's TeX with macros expanded, without spaces and braces."""
    tex = re.sub(rf"\\dd{GROUP}{GROUP}", r"\\frac{\\partial \1}{\\partial \2}", tex)
    tex = re.sub(r"\\[A-Za-z]+", lambda name: MEANING.get(name[0], name[0]), tex)
    tex = re.sub("'+", lambda primes: "^" + r"\prime" * len(primes[0]), tex)
    return re.sub(r"\\displaystyle|[\s{}]", "", tex)


def tex_of(element):
    """The TeX of the only formula in it."""
    (source,) = element.iter("annotation")
    return normal(source.text)


def letters(text):
    """How often each Latin letter and each digit occurs, in whatever style."""
    return Counter(re.findall("[A-Za-z0-9]", unicodedata.normalize("NFKC", text.replace("ℓ", ""))))


def words(element):
    return "".join(element.itertext())


def blocks(name):
    return [element for element in TREE.iter() if element.get("class") == name]


def test_the_page_was_built_from_these_sources_and_styles():
    digest = subprocess.run([sys.executable, THEORY / "source_hash.py"], capture_output=True, text=True, check=True)
    stored = re.search(r'<meta name="source-hash" content="(\w+)">', PAGE)[1]
    assert stored == digest.stdout.strip(), "theory.html is older than its sources: run make -C theory html"
    tools = THEORY.parent / "tools"
    for file in THEORY / "page.css", tools / "site.css", tools / "site.js":
        assert file.read_text(encoding="utf-8").strip() in PAGE, f"{file.name} has changed: run make -C theory html"


def test_every_box_is_there_with_its_number_its_label_and_its_formula():
    found = {}
    for number, block in enumerate(blocks("answer"), 1):
        (equation,) = (element for element in block.iter() if element.get("class") == "equation")
        (link,) = block.iter("a")
        assert words(block.find(".//span[@class='number']")) == f"({number})"
        assert words(link) == equation.get("id")
        found[equation.get("id")] = tex_of(equation)
    assert found == {label: normal(box) for label, box in BOXES.items()}


def test_the_answer_sheet_has_every_box_again():
    sheet = [(block.find(".//a").get("href"), words(block.find(".//a")), tex_of(block)) for block in blocks("sheet")]
    answers = [block.find("div[@class='equation']") for block in blocks("answer")]
    assert sheet == [(f"#{box.get('id')}", f"({n})", tex_of(box)) for n, box in enumerate(answers, 1)]


def test_every_example_and_every_erratum_is_there():
    assert [words(block.find(".//code")) for block in blocks("example")] == list(EXAMPLES)
    errata = [words(block.find(".//code")) for block in blocks("piece")]
    assert sorted(errata) == sorted(ERRATA)


def test_every_formula_says_what_its_tex_says():
    """The MathML has the letters and digits of the TeX beside it."""
    formulas = list(TREE.iter("math"))
    for semantics in (math.find("semantics") for math in formulas):
        shown, source = semantics
        tex = NAMED.sub(r" \1 ", re.sub(r"\\(begin|end)\{\w*\}", "", source.text))
        assert letters(words(shown)) == letters(re.sub(r"\\[A-Za-z]+", " ", tex)), source.text
    assert len(formulas) > 900


def test_functions_are_read_as_functions():
    """Between f and (x) stands the sign of application, unseen, not of multiplication."""
    products = re.findall(r"<mi>([fgFσφ])</mi>(?:<mo>′*</mo></msup>)?<mo[^>]*>\u2062</mo><mrow><mo[^>]*>\(", PAGE)
    assert products == ["σ"]  # sigma(1 - sigma), in the table of symbols


def test_no_error_is_left():
    assert "ltx_" not in MAIN and "undefined" not in MAIN.lower() and "??" not in MAIN
    assert "\\" not in re.sub("<annotation.*?</annotation>", "", MAIN, flags=re.S)


def test_links_lead_somewhere_and_nothing_is_fetched():
    assert len(IDS) == len(set(IDS))
    for link in re.findall(r'<a href="([^"]*)"', PAGE):
        if link.startswith("#"):
            assert link[1:] in IDS, link
        else:
            assert link.startswith("https://") or (THEORY / link).is_file(), link
    assert not re.search(
        r"<link|@import|(?:src=|url\()[\"']?(?!data:|\"data:)", re.sub('"data:[^"]*"', '"data:"', PAGE)
    )


def test_figures_have_their_texts():
    described = re.findall(rf"\\begin{{accessible}}{GROUP}", "".join(SOURCES[name] for name in sorted(SOURCES)))
    figures = list(TREE.iter("figure"))
    assert [figure.find(".//img").get("alt") for figure in figures] == [" ".join(text.split()) for text in described]
    captions = [words(figure.find("figcaption")) for figure in figures]
    assert [caption.split(":")[0] for caption in captions] == [f"Figure {k + 1}" for k in range(len(described))]
    assert figures


def test_headings_go_down_without_gaps():
    levels = [int(element.tag[1]) for element in TREE.iter() if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(lower <= upper + 1 for upper, lower in pairwise(levels))
