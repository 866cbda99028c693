"""What a teacher and the students see: a table, a summary with a heat map, and a page for each student."""

import contextlib
import csv
import hashlib
import html
import io
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .submissions import BLANK

STOPPED = "endless", "memory", "kernel died", "unreadable", "not graded", "refused", "checker patched", "to be read"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem .6rem; text-align: left; vertical-align: top }
tr { border-bottom: 1px solid #ddd } pre { margin: 0; font: inherit; white-space: pre-wrap; overflow-wrap: anywhere }
.map td { text-align: center; border: 1px solid #fff } .map thead th { writing-mode: vertical-rl; font-weight: normal }
.scroll { overflow-x: auto } .right { background: #b7e1b0 } .blank { background: #e8e8e8 }
.mistake { background: #f7c6a3 } .stopped { background: #d7b5e8 }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


class Row(NamedTuple):
    student: str
    file: str
    notebook: str
    task: str
    kind: str
    text: str


def write(path: Path, text: str) -> bool:
    """Write a file beside, and then in the place of the old one, which stays if the disk is full."""
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8", newline="", errors="backslashreplace")
        new.replace(path)
    except OSError as error:
        print(f"{path} cannot be written ({error}); what it was before is kept.", file=sys.stderr)
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        return False
    return True


def table(rows: list[Row]) -> str:
    """As CSV; what a spreadsheet would take for a formula gets an apostrophe in front."""
    out = io.StringIO()
    csv.writer(out).writerows([Row._fields, *([harmless(value) for value in row] for row in rows)])
    return out.getvalue()


def harmless(value: str) -> str:
    return f"'{value}" if value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value


# ------------------------------------------------------------------------------------------------- the class


def mistakes(rows: list[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """By task and kind, the commonest first, who made which mistake."""
    counts = Counter((row.task, row.kind) for row in rows if row.task and row.kind not in ("right", *BLANK))
    return [(key, [row for row in rows if (row.task, row.kind) == key]) for key, _ in counts.most_common()]


def tasks(rows: list[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.notebook, row.task) for row in sorted(rows, key=lambda r: r.notebook) if row.task))


def summary(rows: list[Row]) -> str:
    """For the terminal: each task, and the commonest mistakes."""
    lines = [f"{'task':32}{'right':>7}{'blank':>7}{'else':>7}"]
    for notebook, task in tasks(rows):
        kinds = [look(row.kind)[0] for row in rows if (row.notebook, row.task) == (notebook, task)]
        right, blank = kinds.count("right"), kinds.count("blank")
        lines.append(f"{task:32}{right:7}{blank:7}{len(kinds) - right - blank:7}")
    lines += ["", "The commonest mistakes:"]
    lines += [f"{len(found):7}  {task}: {kind}" for (task, kind), found in mistakes(rows)[:10]]
    lines += [f"{row.student}: {row.text}" for row in rows if not row.task]
    return "\n".join(printable(line) for line in lines)


def printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


# ------------------------------------------------------------------------------------------------- pages


def look(kind: str) -> tuple[str, str]:
    """The class of a kind, for its colour, and its mark."""
    if kind == "right":
        return "right", "✓"
    if kind in BLANK:
        return "blank", "…"
    return ("stopped", "!") if kind in STOPPED else ("mistake", "✗")


def page_name(student: str) -> str:
    """Also of two students whose names differ only in what a file's name cannot have."""
    return f"{re.sub('[^A-Za-z0-9-]+', '_', student)[:60]}-{hashlib.sha256(student.encode()).hexdigest()[:8]}.html"


def page(title: str, body: str) -> str:
    return PAGE.format(title=html.escape(title), style=STYLE, body=body)


def cell(tag: str, text: str, kind: str = "", title: str = "") -> str:
    title = f' title="{html.escape(title)}"' if title else ""
    return f'<{tag} class="{kind}"{title}>{text}</{tag}>'


def link(student: str) -> str:
    return f'<a href="students/{page_name(student)}">{html.escape(student)}</a>'


def heat_map(rows: list[Row]) -> str:
    """Of one notebook: the tasks of each student in colours."""
    columns, lines = tasks(rows), []
    for student in dict.fromkeys(row.student for row in rows):
        own = {row.task: row for row in rows if row.student == student}
        cells = [cell("td", look(row.kind)[1], look(row.kind)[0], f"{row.task}: {row.kind}") for row in own.values()]
        right = sum(row.kind == "right" for row in own.values())
        lines.append(f"<tr><th>{link(student)}</th><td>{right}</td>{''.join(cells)}</tr>")
    share = [sum(row.kind == "right" for row in rows if row.task == task) / len(lines) for _, task in columns]
    foot = "".join(cell("td", f"{100 * part:.0f}%") for part in share)
    heads = "".join(cell("th", html.escape(task)) for _, task in columns)
    head = f"<thead><tr><th>student</th><th>right</th>{heads}</tr></thead>"
    lines.append(f"<tr><th>right</th><td></td>{foot}</tr>")
    return f'<div class="scroll"><table class="map">{head}<tbody>{"".join(lines)}</tbody></table></div>'


def overview(rows: list[Row], note: str) -> str:
    lines = []
    for (task, kind), found in mistakes(rows)[:30]:
        who = ", ".join(map(link, dict.fromkeys(row.student for row in found)))
        example = f"<pre>{html.escape(found[0].text)}</pre>"
        lines.append(f"<tr><td>{len(found)}</td><td>{task}</td>{cell('td', html.escape(kind), look(kind)[0])}")
        lines[-1] += f"<td>{example}</td><td>{who}</td></tr>"
    head = "<tr><th>students</th><th>task</th><th>mistake</th><th>for example</th><th>who</th></tr>"
    others = [f"<li>{link(row.student)}: {html.escape(row.text)}</li>" for row in rows if not row.task]
    legend = "✓ right, … not written or not there, ✗ a mistake, ! stopped, or to be looked at."
    notebooks = dict.fromkeys(notebook for notebook, _ in tasks(rows))
    maps = [f"<h2>{name}</h2>{heat_map([row for row in rows if row.notebook == name])}" for name in notebooks]
    return page(
        "The class",
        f"<p>{legend} {html.escape(note)}</p>{''.join(maps)}"
        f"<h2>The commonest mistakes</h2><table>{head}{''.join(lines)}</table>"
        f"<h2>What could not be read</h2><ul>{''.join(others) or '<li>nothing</li>'}</ul>",
    )


def feedback(student: str, rows: list[Row]) -> str:
    lines = []
    for row in rows:
        kind, mark = look(row.kind)
        lines.append(f"<tr>{cell('td', mark, kind)}<td>{html.escape(row.task)}</td><td>{html.escape(row.kind)}</td>")
        lines[-1] += f"<td><pre>{html.escape(row.text)}</pre></td></tr>"
    right, asked = sum(row.kind == "right" for row in rows), sum(bool(row.task) for row in rows)
    return page(student, f"<p>{right} of {asked} are right.</p><table>{''.join(lines)}</table>")


def pages(rows: list[Row], folder: Path, note: str) -> bool:
    done = [write(folder / "index.html", overview(rows, note))]
    for student in dict.fromkeys(row.student for row in rows):
        own = [row for row in rows if row.student == student]
        done.append(write(folder / "students" / page_name(student), feedback(student, own)))
    return all(done)
