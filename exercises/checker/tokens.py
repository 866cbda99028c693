r"""The tokens of a formula in LaTeX, without what does not matter: fonts, sizes, spaces, the left side."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from .algebra import Unreadable


def macros(text: str) -> set[str]:
    return {f"\\{name}" for name in text.split()}


KNOWN = "diag|Diag|exp|log|ln|tanh|sinh|cosh|sqrt|softmax|sigma|Var|trace|tr|Tr|mean|yh|tau|gamma|delta|lam|nu"
NUMBER, NAME = r"\d+\.?\d*|\.\d+", rf"(?:{KNOWN})(?![A-Za-z])|[A-Za-z]"
DIGIT = r"(?<=frac)\d|(?<=frac[ \d])\d|(?<=frac \d)\d"  # of \frac12 each
MACRO = r"\\(?:begin|end) *\{\w+\*?\}|\\[A-Za-z]+|\\\\(?:\[\w*\])?|\\."
TOKEN = re.compile(rf"{MACRO}|{DIGIT}|{NUMBER}|{NAME}|:=|==|!=|<=|>=|\S")
SILENT = r"(?<!\\)%.*|\\(?:tag|label)\{[^}]*\}|\\(?:left|right|middle)(?![A-Za-z]) *\.?|(?<=\\operatorname)\*"
SILENT += r"|(?<=\\begin\{array\})\{(?:[^{}]|\{[^{}]*\})*\}"
SIZES = "big bigl bigr bigm Big Bigl Bigr Bigm bigg biggl biggr biggm Bigg Biggl Biggr Biggm"
SKIPPED = macros(
    f"{SIZES} limits nolimits displaystyle textstyle scriptstyle quad qquad rm bf cal nonumber , ; : ! ( ) [ ]"
)
SKIPPED |= {"$", "~", "\\ "}
FRACTIONS = macros("frac dfrac tfrac cfrac")
BLACKBOARD = macros("mathbb mathbbm mathds")
FONTS = BLACKBOARD | macros("mathbf mathrm mathsf mathit mathcal mathtt mathnormal text textbf textrm textit textsf")
FONTS |= macros("boldsymbol bm pmb operatorname vec underline bold mathbold boxed ensuremath mathop mbox hbox")
ACCENTS = {r"\hat": "hat", r"\widehat": "hat", r"\tilde": "tilde", r"\widetilde": "tilde"}
ACCENTS |= {r"\bar": "bar", r"\overline": "bar", r"\dot": "dot", r"\ddot": "ddot"}
NORMS, LABELLED = macros("norm abs"), macros("underbrace overbrace")
TAKING = FONTS | NORMS | LABELLED | {*ACCENTS, "{"}  # a macro and its argument
ASSIGNED = {"=", ":="} | macros(
    "coloneqq leftarrow gets equiv to rightarrow longrightarrow Rightarrow implies Longrightarrow Leftrightarrow iff"
)
IMPLIES = macros("Rightarrow implies Longrightarrow Leftrightarrow iff")
AFTER = {",", ";"} | macros("forall in ge geq le leq approx simeq succeq preceq")  # which is not the formula any more
OPENING = {"(": ")", "[": "]", "{": "}"} | {rf"\{a}": rf"\{b}" for a, b in ("{}", "<>")}
OPENING |= {rf"\l{name}": rf"\r{name}" for name in ("brace", "brack", "angle", "Vert", "vert")}
BARS = {"|", r"\|", r"\Vert", r"\vert"}  # which close as they open
OPENING |= {bar: bar for bar in BARS}
RELATED = {"="} | macros("forall in ne neq to dots ldots le leq")  # of a remark behind a comma
TRANSPOSE = {"T", "t", "tr"} | macros("top intercal T transpose")
STAR = {"*"} | macros("star ast")
COMBINED = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar"}
SIGNS = "gamma delta lambda nu tau phi phi sigma sum sum cdot cdot times odot circ otimes"
SIGNS += " le ge | | langle rangle partial sqrt E nabla in div top infty one"
SYMBOLS = dict(zip("γδλντφϕσΣ∑·⋅×⊙∘⊗≤≥‖∥⟨⟩∂√𝔼∇∈÷⊤∞𝟙", SIGNS.split(), strict=True))
CHARACTERS = {"−": "-", "–": "-", "′": "'", "″": "''", "∗": "*", "½": " 0.5 ", "⁄": "/", "∕": "/"}


class Token(NamedTuple):
    text: str
    start: int
    end: int


def in_ascii(source: str) -> str:
    """Unicode's letters and signs as LaTeX writes them."""
    for kind, mark in ("<super>", "^"), ("<sub>", "_"):
        found = "".join(c for c in source if unicodedata.decomposition(c).startswith(kind))
        source = re.sub(f"[{found}]+", rf"{mark}{{\g<0>}}", source) if found else source
    source = "".join(c if c in SYMBOLS | CHARACTERS else unicodedata.normalize("NFKC", c) for c in source)
    source = unicodedata.normalize("NFD", source).replace("=\u0338", r"\ne ")
    source = re.sub("(.)([" + "".join(COMBINED) + "])", lambda m: f"{COMBINED[m[2]]}{{{m[1]}}}", source)
    source = re.sub(r"_([a-z]{2})(?![a-z])", r"_{\1}", source)
    return "".join(CHARACTERS.get(c, f"\\{SYMBOLS[c]} " if c in SYMBOLS else c) for c in source)


def sides_of(source: str) -> list[list[Token]]:
    r"""The sides of an equation, in one spelling: \hat y, _{...}, ^{...}, ' for a prime, ^* for a star, \T."""
    source = re.sub(SILENT, lambda m: " " * len(m[0]), source)
    tokens = [Token(r"\\" if m[0].startswith(r"\\") else m[0], *m.span()) for m in TOKEN.finditer(source)]
    return sides(marked(plain(tokens)))


def argument(tokens: list[Token], start: int) -> tuple[list[Token], int]:
    """What a macro takes, {...} or a single token, and where it ends."""
    if start >= len(tokens):
        raise Unreadable("at its end something is missing")
    if tokens[start].text != "{":
        return tokens[start : start + 1], start + 1
    depth = 0
    for end in range(start, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[end].text, 0)
        if not depth:
            return tokens[start + 1 : end], end + 1
    raise Unreadable("a brace { is not closed")


def plain(tokens: list[Token]) -> list[Token]:
    """Without fonts and sizes; an accent and its symbol are one token."""
    out, at = [], 0
    while at < len(tokens):
        token, at = tokens[at], at + 1
        if token.text in TAKING:
            inner, at = argument(tokens, at - (token.text == "{"))
            out += dressed(token.text, plain(inner), (token.start, tokens[at - 1].end))
            if token.text in LABELLED and [t.text for t in tokens[at : at + 1]] in (["_"], ["^"]):
                _, at = argument(tokens, at + 1)
        elif token.text in FRACTIONS:
            out.append(Token(r"\frac", token.start, token.end))
            for _ in range(2):
                inner, at = argument(tokens, at)
                out += braced(plain(inner), token.end, tokens[at - 1].end)
        elif token.text.startswith((r"\begin", r"\end")):
            environment(token, out)
        elif token.text not in SKIPPED:
            out.append(token)
    return out


def environment(token: Token, before: list[Token]) -> None:
    r"""Of \begin{...} and \end{...} only those of cases are kept, in all of cases' spellings."""
    name = token.text.partition("{")[2].rstrip("*}")
    texts = [t.text for t in before]
    begins, brace = token.text.startswith(r"\begin"), texts[-1:] == [r"\{"]
    opened = brace if begins else texts.count(r"\begin{cases}") > texts.count(r"\end{cases}")
    if "cases" in name or (opened and name in ("array", "matrix", "aligned")):
        if brace and begins:
            before.pop()
        before.append(token._replace(text=r"\begin{cases}" if begins else r"\end{cases}"))
    elif "matrix" in name:
        raise Unreadable("a matrix or a vector is not read entry by entry: write it by the symbols of the question")


def over(tokens: list[Token]) -> list[Token]:
    r"""{a \over b} is \frac{a}{b}."""
    places = outside(tokens, [r"\over"])[:1]
    if not places:
        return tokens
    (a, b), span = cut(tokens, places), tokens[places[0]][1:]
    return [Token(r"\frac", *span), *braced(a, *span), *braced(b, *span)]


def braced(tokens: list[Token], start: int, end: int) -> list[Token]:
    return [Token("{", start, start), *tokens, Token("}", end, end)]


def dressed(macro: str, inner: list[Token], span: tuple[int, int]) -> list[Token]:
    """A macro's argument without the macro; a word in quotes."""
    if macro == "{":
        inner = over(inner)
        return inner if len(inner) == 1 else braced(inner, *span)
    if macro in NORMS:
        return [Token(r"\|", *span), *inner, Token(r"\|", *span)]
    if macro in LABELLED:
        return braced(inner, *span)
    if not inner or macro == r"\boxed":  # around an equation, too
        return inner
    if macro in ACCENTS:
        return [Token(f"{ACCENTS[macro]} {inner[0].text}", *span), *inner[1:]]
    word = "".join(token.text for token in inner).rstrip(".,:;")
    if (word == "1" and macro != r"\mathrm") or (macro in BLACKBOARD and word == "I"):
        return [Token(r"\one", *span)]
    if word == "E" and macro in {r"\mathbf"} | BLACKBOARD:
        return [Token(r"\E", *span)]
    if len(inner) == 1 or re.fullmatch(KNOWN, word):
        return [Token(word, *span)]
    if macro.startswith((r"\text", r"\mbox", r"\mathrm", r"\operatorname")) and inner[0].text[0] not in "\\-":
        return [Token(f'"{word}"', *span)]
    return braced(inner, *span)


def marked(tokens: list[Token]) -> list[Token]:
    """Each mark in one spelling, and an index before a power: v^2_i is v_i^2."""
    out, at = [], 0
    while at < len(tokens):
        token, at = tokens[at], at + 1
        if token.text == "*" and tokens[at : at + 1] and tokens[at].text in (")", "]") and out:  # f(x*)
            token = token._replace(text="^*")
        if token.text not in ("^", "_"):
            out.append(token)
            continue
        inner, at = in_brackets(tokens, at) if token.text == "^" else argument(tokens, at)
        texts, mark = [t.text for t in inner], Token("", token.start, tokens[at - 1].end)
        following = tokens[at].text if at < len(tokens) else ""
        if not inner:
            continue
        if set(texts) <= STAR:
            out.append(mark._replace(text="^*"))
        elif token.text == "_":
            out += [token, *braced(primed(marked(inner)), *mark[1:])]
        elif len(texts) == 1 and texts[0] in TRANSPOSE:
            if following == "_" and at + 1 < len(tokens) and tokens[at + 1].text.isdigit():  # W^T_2
                out += [tokens[at], *braced(tokens[at + 1 : at + 2], *mark[1:])]
                at += 2
            out.append(mark._replace(text=r"\T"))
        elif set(texts) <= {"'", r"\prime"}:
            out += [mark._replace(text="'")] * len(texts)
        elif len(texts) == 3 and texts[0] + texts[2] in ("()", "[]"):  # x^{(n)}
            out += [Token("_", *mark[1:]), *braced(inner[1:2], *mark[1:])]
        elif following == "_" and out and out[-1].text != r"\sum":
            index, at = argument(tokens, at + 1)
            whole = token.start, tokens[at - 1].end
            out += [
                Token("_", *mark[1:]),
                *braced(primed(marked(index)), *whole),
                token,
                *braced(marked(inner), *whole),
            ]
        else:
            out += [token, *braced(marked(inner), *mark[1:])]
    return out


def primed(tokens: list[Token]) -> list[Token]:
    """An index j' is one token."""
    out: list[Token] = []
    for token in tokens:
        if token.text == "'" and out:
            out[-1] = Token(out[-1].text + "'", out[-1].start, token.end)
        else:
            out.append(token)
    return out


def in_brackets(tokens: list[Token], start: int) -> tuple[list[Token], int]:
    """An exponent, of which e^(-z) is meant as e^{(-z)}."""
    if [t.text for t in tokens[start : start + 1]] != ["("]:
        return argument(tokens, start)
    end = enclosed(tokens, start)[1]
    return tokens[start:end], end


def enclosed(tokens: list[Token], start: int) -> tuple[list[Token], int]:
    """What stands in the bracket that opens here, and where it ends."""
    end = next((n for n, deep in enumerate(depths(tokens[start:]), start) if n > start and not deep), len(tokens) - 1)
    return tokens[start + 1 : end], end + 1


def depths(tokens: list[Token]) -> list[int]:
    """In how many brackets each token stands; a bracket itself is outside."""
    depth, found = 0, []
    for token in tokens:
        depth -= (token.text in OPENING.values() and token.text not in BARS) or token.text.startswith(r"\end")
        found.append(depth)
        depth += (token.text in OPENING and token.text not in BARS) or token.text.startswith(r"\begin")
    return found


def outside(tokens: list[Token], texts: Iterable[str]) -> list[int]:
    """Where one of these stands, in no bracket."""
    return [n for n, deep in enumerate(depths(tokens)) if not deep and tokens[n].text in texts]


def cut(tokens: list[Token], places: list[int]) -> list[list[Token]]:
    return [tokens[a + 1 : b] for a, b in pairwise([-1, *places, len(tokens)])]


def words(tokens: list[Token]) -> set[str]:
    return {token.text for token in tokens if token.text.startswith('"')}


def behind(tokens: list[Token]) -> list[int]:
    """Where commas and words are, at which the formula may be over."""
    return [n for n in outside(tokens, {",", ";"} | words(tokens)) if n]


def aside(tokens: list[Token]) -> bool:
    r"""Does a remark begin here, (N \to \infty) or words?"""
    return bool(words(tokens)) or r"\to" in [t.text for t in tokens]


def sides(tokens: list[Token]) -> list[list[Token]]:
    """What stands between the equals signs, without what follows the formula: for which i, under which condition."""
    tokens = defined(over(tokens))
    remarks = [n for n in outside(tokens, "(") if n and aside(tokens[n + 1 : n + 4])]
    end = min([*behind(tokens), *remarks, len(tokens)])
    found, start = [], 0
    for n in outside(tokens[:end], ASSIGNED | {r"\xrightarrow"}):
        found.append(tokens[start:n])
        if tokens[n].text in IMPLIES and len(found) > 1:
            found = []
        start = n + 1 if tokens[n].text in ASSIGNED else argument(tokens, n + 1)[1]
    found.append(tokens[start:end])
    rest = tokens[end:]
    if len(rest) > 1 and not words(rest) | RELATED & {t.text for t in rest}:
        raise Unreadable("behind a comma stands more than for which indices it holds: one formula is asked for")
    return [side for side in map(trimmed, found) if side] or [tokens]


def defined(tokens: list[Token]) -> list[Token]:
    r"""Behind a comma or a word, a = ... is put in where a stands before it."""
    main, *parts = cut(tokens, behind(tokens))
    tail = tokens[len(main) :]
    for part in parts:
        part = [t for t in part if t.text not in (".", "&", "\\\\")]
        equals = [n for n, t in enumerate(part) if t.text == "="]
        if len(equals) == 1:
            name, value = cut(part, equals)
            main = put_in(main, [t.text for t in name], value)
    return main + tail


def put_in(tokens: list[Token], name: list[str], value: list[Token]) -> list[Token]:
    """The value at each place of the name, which is not that of an index."""
    if not name or len(name) > 5 or len(value) < 2 or re.fullmatch("[a-z]", "".join(name)):
        return tokens
    for n in reversed(range(len(tokens))):
        found = tokens[n : n + len(name)]
        if [t.text for t in found] == name:
            tokens = tokens[:n] + braced(value, found[0].start, found[-1].end) + tokens[n + len(name) :]
    return tokens


def trimmed(tokens: list[Token]) -> list[Token]:
    r"""Without \lim, a relation that follows, alignment, and a full stop."""
    if [t.text for t in tokens[:2]] == [r"\lim", "_"]:
        tokens = tokens[argument(tokens, 2)[1] :]
    tokens = tokens[: next((n for n in outside(tokens, AFTER) if n), len(tokens))]
    aligned = outside(tokens, ("&", "\\\\"))
    tokens = [t for n, t in enumerate(tokens) if n not in aligned]
    while tokens and tokens[-1].text == ".":
        tokens = tokens[:-1]
    return tokens


def canonical(token: str) -> str:
    r"""\gamma is gamma, \hat y is yh, \tilde X is X_tilde, \bar\delta is "bar delta", \dot f is f1, \phi is varphi."""
    *accents, symbol = token.split(" ")
    symbol = {"lambda": "lam", "phi": "varphi"}.get(symbol.removeprefix("\\"), symbol.removeprefix("\\"))
    for accent in reversed(accents):
        endings = {"hat": f"{symbol.lower()}h", "tilde": f"{symbol}_tilde", "dot": f"{symbol}1", "ddot": f"{symbol}2"}
        symbol = endings.get(accent, f"bar {symbol}")
    return symbol


SYMBOLS_OF_THE_SHEET = """X S N D K U x y z w b s m p v h f e H J L E W I yh X_tilde tau gamma beta delta nu lam sigma
mu eta theta epsilon alpha y_d x_t x_star"""


def on_the_sheet(name: str) -> bool:
    """Is it a symbol of some question, with or without a number?"""
    return bool({name, name.rstrip("0123456789_")} & {*SYMBOLS_OF_THE_SHEET.split()})


def spelled(name: str) -> str:
    r"""The other way round: yh is \hat y, W2 is W_2, f1 is f'."""
    special = {"yh": r"\hat y", "X_tilde": r"\tilde X", "x_star": "x^*", "one": r"\mathbf 1", "lam": r"\lambda"}
    special |= {"f1": "f'", "f2": "f''", "varphi1": r"\varphi'"}
    special |= {name: rf"\{name}" for name in ("gamma", "delta", "tau", "nu")}
    return special.get(name) or re.sub(
        r"^(delta)?(\w*?)(\d)$", lambda m: (rf"\{m[1]}" if m[1] else m[2]) + f"_{m[3]}", name
    )
