r"""The tokens of a formula in LaTeX, without what does not matter: fonts, sizes, spaces, the left side."""

import re
import unicodedata
from typing import NamedTuple

from .algebra import Unreadable


def macros(text: str) -> set[str]:
    return {f"\\{name}" for name in text.split()}


KNOWN = "diag|Diag|exp|log|ln|tanh|sinh|cosh|sqrt|softmax|sigma|Var|trace|tr|Tr|mean|yh|tau|gamma|delta|lam|nu"
NUMBER, NAME = r"\d+\.?\d*|\.\d+", rf"(?:{KNOWN})(?![A-Za-z])|[A-Za-z]"
TOKEN = re.compile(rf"\\(?:begin|end) *\{{\w+\*?\}}|\\[A-Za-z]+|\\\\(?:\[\w*\])?|\\.|{NUMBER}|{NAME}|:=|==|!=|<=|>=|\S")
SIZES = "big bigl bigr bigm Big Bigl Bigr Bigm bigg biggl biggr biggm Bigg Biggl Biggr Biggm"
SKIPPED = macros(
    f"{SIZES} limits nolimits displaystyle textstyle scriptstyle quad qquad rm bf cal nonumber , ; : ! ( ) [ ]"
)
SKIPPED |= {"$", "~", "\\ "}
FRACTIONS = macros("frac dfrac tfrac cfrac")
BLACKBOARD = macros("mathbb mathbbm mathds")
FONTS = BLACKBOARD | macros("mathbf mathrm mathsf mathit mathcal mathtt mathnormal text textbf textrm textit textsf")
FONTS |= macros("boldsymbol bm pmb operatorname vec underline bold mathbold boxed ensuremath mathop mbox hbox")
CASES = "cases", "dcases", "array", "matrix", "aligned"
ACCENTS = {r"\hat": "hat", r"\widehat": "hat", r"\tilde": "tilde", r"\widetilde": "tilde"}
ACCENTS |= {r"\bar": "bar", r"\overline": "bar", r"\dot": "dot", r"\ddot": "ddot"}
ASSIGNED = {"=", ":="} | macros("coloneqq leftarrow gets equiv to rightarrow longrightarrow Rightarrow implies")
AFTER = {",", ";"} | macros("forall in ge geq le leq approx simeq succeq preceq")  # which is not the formula any more
OPENING = {"(": ")", "[": "]", "{": "}"} | {rf"\{a}": rf"\{b}" for a, b in ("{}", "<>")}
OPENING |= {rf"\l{name}": rf"\r{name}" for name in ("brace", "brack", "angle", "Vert", "vert")}
BARS = {"|", r"\|", r"\Vert", r"\vert"}  # which close as they open
OPENING |= {bar: bar for bar in BARS}
RELATED = {"="} | macros("forall in ne neq to dots ldots le leq")  # of a remark behind a comma
TRANSPOSE = {"T", "t", "tr"} | macros("top intercal T transpose")
STAR = {"*"} | macros("star ast")
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀ", "0123456789-+T", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₙₜ", "0123456789ijknt", strict=True))
COMBINED = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar"}
SYMBOLS = {
    "γ": "gamma",
    "δ": "delta",
    "λ": "lambda",
    "ν": "nu",
    "τ": "tau",
    "φ": "phi",
    "ϕ": "phi",
    "σ": "sigma",
    "Σ": "sum",
}
SYMBOLS |= {
    "∑": "sum",
    "·": "cdot",
    "⋅": "cdot",
    "×": "times",
    "⊙": "odot",
    "∘": "circ",
    "⊗": "otimes",
    "≠": "ne",
    "≤": "le",
}
SYMBOLS |= {
    "≥": "ge",
    "‖": "|",
    "⟨": "langle",
    "⟩": "rangle",
    "∂": "partial",
    "√": "sqrt",
    "𝔼": "E",
    "∇": "nabla",
    "∈": "in",
}
CHARACTERS = {"−": "-", "–": "-", "′": "'", "″": "''", "∗": "*", "½": " 0.5 ", "𝟙": r"\one "}


class Token(NamedTuple):
    text: str
    start: int
    end: int


def in_ascii(source: str) -> str:
    """Unicode's letters and signs as LaTeX writes them."""
    source = re.sub("[" + "".join(RAISED) + "]+", lambda m: "^{" + "".join(RAISED[c] for c in m[0]) + "}", source)
    source = re.sub("[" + "".join(LOWERED) + "]+", lambda m: "_{" + "".join(LOWERED[c] for c in m[0]) + "}", source)
    source = unicodedata.normalize("NFD", source)
    source = re.sub("(.)([" + "".join(COMBINED) + "])", lambda m: f"{COMBINED[m[2]]}{{{m[1]}}}", source)
    source = re.sub(r"_([a-z]{2})(?![a-z])", r"_{\1}", source)
    return "".join(CHARACTERS.get(c, f"\\{SYMBOLS[c]} " if c in SYMBOLS else c) for c in source)


def sides_of(source: str) -> list[list[Token]]:
    r"""The sides of an equation, in one spelling: \hat y, _{...}, ^{...}, ' for a prime, ^* for a star, \T."""
    source = re.sub(r"(?<!\\)%.*|\\(?:tag|label)\{[^}]*\}", lambda m: " " * len(m[0]), source)
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
    """Without fonts and sizes; an accent and its symbol are one token, and of \frac12 each digit is one."""
    out, at = [], 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token.text == r"\operatorname" and tokens[at : at + 1] and tokens[at].text == "*":
            at += 1
        if token.text in FONTS or token.text in ACCENTS:
            inner, at = argument(tokens, at)
            out += dressed(token.text, plain(inner), (token.start, tokens[at - 1].end))
        elif token.text in FRACTIONS:
            out.append(Token(r"\frac", token.start, token.end))
            for _ in range(2):
                if at < len(tokens) and tokens[at].text.isdigit() and len(tokens[at].text) > 1:
                    tokens = tokens[:at] + split(tokens[at]) + tokens[at + 1 :]
                inner, at = argument(tokens, at)
                out += braced(plain(inner), inner[0].start if inner else token.end, tokens[at - 1].end)
        elif token.text == "{":
            inner, at = argument(tokens, at - 1)
            inner = over(plain(inner))
            out += inner if len(inner) == 1 else braced(inner, token.start, tokens[at - 1].end)
        elif token.text in (r"\norm", r"\abs"):
            inner, at = argument(tokens, at)
            bar = token._replace(text=r"\|")
            out += [bar, *plain(inner), bar._replace(end=tokens[at - 1].end)]
        elif token.text in (r"\underbrace", r"\overbrace"):
            inner, at = argument(tokens, at)
            out += braced(plain(inner), token.start, tokens[at - 1].end)
            if tokens[at : at + 1] and tokens[at].text in ("_", "^"):
                _, at = argument(tokens, at + 1)
        elif token.text in (r"\left", r"\right", r"\middle"):
            at += tokens[at : at + 1] != [] and tokens[at].text == "."
        elif token.text.startswith((r"\begin", r"\end")):
            at = environment(token, tokens, at, out)
        elif token.text not in SKIPPED:
            out.append(token)
    return out


def environment(token: Token, tokens: list[Token], at: int, out: list[Token]) -> int:
    r"""Of \begin{...} and \end{...} only those of cases are left, in all of cases' spellings."""
    name = token.text.partition("{")[2].rstrip("*}")
    begins, brace = token.text.startswith(r"\begin"), bool(out) and out[-1].text == r"\{"
    if name == "array" and begins:
        _, at = argument(tokens, at)  # {ll}
    if "cases" in name or (name in CASES and (brace or (not begins and any(t.text == r"\begin{cases}" for t in out)))):
        if brace and begins:
            out.pop()
        out.append(token._replace(text=r"\begin{cases}" if begins else r"\end{cases}"))
    return at


def over(tokens: list[Token]) -> list[Token]:
    r"""{a \over b} is \frac{a}{b}."""
    for n, token in enumerate(tokens):
        if token.text == r"\over" and not depths(tokens)[n]:
            a, b = tokens[:n], tokens[n + 1 :]
            span = token.start, token.end
            return [Token(r"\frac", *span), *braced(a, *span), *braced(b, *span)]
    return tokens


def split(token: Token) -> list[Token]:
    """The first digit of a number, of which TeX takes no more, and the rest."""
    middle = token.start + 1
    return [Token(token.text[0], token.start, middle), Token(token.text[1:], middle, token.end)]


def braced(tokens: list[Token], start: int, end: int) -> list[Token]:
    return [Token("{", start, start), *tokens, Token("}", end, end)]


def dressed(macro: str, inner: list[Token], span: tuple[int, int]) -> list[Token]:
    """A font's or an accent's argument without the font; a word in quotes."""
    if not inner:
        return []
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
        token = tokens[at]
        at += 1
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
            out += [token, *braced(marked(primed(inner)), *mark[1:])]
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
            out += [Token("_", *mark[1:]), *braced(marked(index), *whole), token, *braced(marked(inner), *whole)]
        else:
            out += [token, *braced(marked(inner), *mark[1:])]
    return out


def primed(tokens: list[Token]) -> list[Token]:
    """An index j' is one token."""
    out: list[Token] = []
    for token in tokens:
        if token.text in ("'", r"\prime") and out:
            out[-1] = Token(out[-1].text + "'", out[-1].start, token.end)
        elif token.text != "^" or r"\prime" not in [t.text for t in tokens]:
            out.append(token)
    return out


def in_brackets(tokens: list[Token], start: int) -> tuple[list[Token], int]:
    """An exponent, of which e^(-z) is meant as e^{(-z)}."""
    if start >= len(tokens) or tokens[start].text != "(":
        return argument(tokens, start)
    level = depths(tokens[start:])
    end = next((n for n in range(1, len(level)) if not level[n]), len(level) - 1)
    return tokens[start : start + end + 1], start + end + 1


def depths(tokens: list[Token]) -> list[int]:
    """In how many brackets each token stands; a bracket itself is outside."""
    depth, found = 0, []
    for token in tokens:
        depth -= (token.text in OPENING.values() and token.text not in BARS) or token.text.startswith(r"\end")
        found.append(depth)
        depth += (token.text in OPENING and token.text not in BARS) or token.text.startswith(r"\begin")
    return found


def sides(tokens: list[Token]) -> list[list[Token]]:
    """What stands between the equals signs, without what follows the formula: for which i, under which condition."""
    tokens = over(tokens)
    outside = [n for n, deep in enumerate(depths(tokens)) if not deep]
    after = [n for n in outside if n and (tokens[n].text in (",", ";") or tokens[n].text.startswith('"'))]
    after += [n for n in outside if n and tokens[n].text == "(" and aside(tokens[n + 1 : n + 4])]
    end = min([*after, len(tokens)])
    found, start = [], 0
    for n in [n for n in outside if n < end]:
        if tokens[n].text in ASSIGNED or tokens[n].text == r"\xrightarrow":
            found.append(tokens[start:n])
            start = n + 1 if tokens[n].text in ASSIGNED else argument(tokens, n + 1)[1]
    found.append(tokens[start:end])
    if tokens[end + 1 :] and not (
        RELATED & {t.text for t in tokens[end:]} or any(t.text.startswith('"') for t in tokens[end:])
    ):
        raise Unreadable("behind a comma stands more than for which indices it holds: one formula is asked for")
    return [side for side in map(trimmed, found) if side] or [tokens]


def aside(tokens: list[Token]) -> bool:
    r"""Does a remark begin here, (N \to \infty) or words?"""
    return any(t.text == r"\to" or t.text.startswith('"') for t in tokens)


def trimmed(tokens: list[Token]) -> list[Token]:
    r"""Without \lim, a relation that follows, and a full stop."""
    if len(tokens) > 1 and tokens[0].text == r"\lim" and tokens[1].text == "_":
        tokens = tokens[argument(tokens, 2)[1] :]
    level = depths(tokens)
    tokens = tokens[: next((n for n, t in enumerate(tokens) if n and not level[n] and t.text in AFTER), len(tokens))]
    while tokens and tokens[-1].text in (".", "\\\\"):
        tokens = tokens[:-1]
    return [t for t, deep in zip(tokens, depths(tokens), strict=True) if deep or t.text not in ("&", "\\\\")]


def canonical(token: str) -> str:
    r"""\gamma is gamma, \hat y is yh, \tilde X is X_tilde, \bar\delta is "bar delta", \dot f is f1, \phi is varphi."""
    *accents, symbol = token.split(" ")
    symbol = {"lambda": "lam", "phi": "varphi"}.get(symbol.removeprefix("\\"), symbol.removeprefix("\\"))
    for accent in reversed(accents):
        endings = {"hat": f"{symbol.lower()}h", "tilde": f"{symbol}_tilde", "dot": f"{symbol}1", "ddot": f"{symbol}2"}
        symbol = endings.get(accent, f"bar {symbol}")
    return symbol


def spelled(name: str) -> str:
    r"""The other way round: yh is \hat y, W2 is W_2, f1 is f'."""
    special = {
        "yh": r"\hat y",
        "X_tilde": r"\tilde X",
        "f1": "f'",
        "f2": "f''",
        "varphi1": r"\varphi'",
        "lam": r"\lambda",
    }
    special |= {"x_star": "x^*", "one": r"\mathbf 1"} | {n: rf"\{n}" for n in ("gamma", "delta", "tau", "nu")}
    return special.get(name) or re.sub(
        r"^(delta)?(\w*?)(\d)$", lambda m: (rf"\{m[1]}" if m[1] else m[2]) + f"_{m[3]}", name
    )
