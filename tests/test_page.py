"""theory/theory.html, the page for the web: it was built from these sources, says what they say, and leads somewhere."""

import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET

import pytest

from evaluator import boxes
from printed import BOXES, EXAMPLES, SOURCES, THEORY

PAGE = (THEORY / "theory.html").read_text(encoding="utf-8")
MAIN = re.search(r"<main>.*</main>", PAGE, re.S)[0]
TREE = ET.fromstring(re.sub(r"<((?:img|br)\b[^>]*)>", r"<\1/>", MAIN))
GROUP = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
ALIASES = {"le": "leq", "ge": "geq", "ne": "neq", "dots": "ldots"}
SPOKEN = {"ln", "sinh", "cosh", "tanh", "inf", "max", "min", "ker", "arg"}  # functions, whose names are printed


def macros():
    r"""What \yh and the like stand for, from notation.tex."""
    found = dict(re.findall(r"^\\newcommand{\\(\w+)}{(.*)}$", SOURCES["notation.tex"], re.M))
    operators = re.findall(r"^\\DeclareMathOperator{\\(\w+)}{(.*)}$", SOURCES["notation.tex"], re.M)
    return found | {name: rf"\operatorname{{{text}}}" for name, text in operators}


def normal(tex):
    """A formula's TeX without macros, spaces and braces."""
    tex = re.sub(rf"\\dd{GROUP}{GROUP}", r"\\frac{\\partial \1}{\\partial \2}", tex)
    meaning = ALIASES_IN_FULL | macros()
    tex = re.sub(r"\\([A-Za-z]+)", lambda m: meaning.get(m[1], m[0]), tex)
    tex = re.sub("'+", lambda m: "^" + r"\prime" * len(m[0]), tex)
    return re.sub(r"\\displaystyle|[\s{}]", "", tex)


ALIASES_IN_FULL = {short: "\\" + long for short, long in ALIASES.items()}


def source(math):
    return math.find("semantics/annotation").text


def test_boxes():
    for label, box in BOXES.items():
        f=[d for d in TREE.iter("div") if d.get("id")==label]
        a=normal(source(f[0].find(".//math"))); b=normal(box)
        if a!=b: print(label,'\n',a,'\n',b)
