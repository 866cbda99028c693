"""The repository's address, which stands once in pyproject.toml, written everywhere else: for a fork.

    python tools/address.py ADDRESS

Badges, first cells, README, CITATION.cff, the theory's page and address.tex, and pyproject.toml itself are rewritten;
what has to be made anew is printed. Without an argument: what disagrees with pyproject.toml.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GITHUB = re.compile(r"(?:(?<=github\.com/)|(?<=\.google\.com/github/)|(?<=nbviewer\.org/github/))[\w.-]+/[\w.-]*\w")


def files(root: Path) -> list[Path]:
    """Where the address may stand."""
    texts = "pyproject.toml", "CITATION.cff", "*.md", "*/*.md", "theory/address.tex", ".github/workflows/*.yml"
    patterns = *texts, "theory/theory.html", *(f"{folder}/*.ipynb" for folder in ("notebooks", "studies", "exercises"))
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def owner_and_name(root: Path = ROOT) -> str:
    """OWNER/NAME of the repository, from pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^repository = "https://github\.com/([\w.-]+/[\w.-]*\w)"$', text, re.M)[1]


def others(root: Path = ROOT) -> list[str]:
    """Where a repository on GitHub is named that is not this one, as "file: OWNER/NAME"."""
    own = owner_and_name(root)
    return [
        f"{path.relative_to(root).as_posix()}: {found}"
        for path in files(root)
        for found in sorted(set(GITHUB.findall(path.read_text(encoding="utf-8"))))
        if found != own
    ]


def move(address: str, root: Path = ROOT) -> list[Path]:
    """Write a new address in place of pyproject.toml's; the files that have changed. ValueError for no address."""
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]*\w)", address.rstrip("/").removesuffix(".git"))
    if not match:
        raise ValueError(f"expected an address such as https://github.com/OWNER/NAME, got {address}")
    old, new, changed = owner_and_name(root), match[1], []
    for path in files(root):
        text = path.read_text(encoding="utf-8")
        moved = GITHUB.sub(lambda found: new if found[0] == old else found[0], text)
        if moved != text:
            path.write_text(moved, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for line in others() if len(sys.argv) < 2 else move(sys.argv[1]):
        print(line)
    if len(sys.argv) > 1:
        print("The links in theory.pdf still lead to the old address: make -C theory")
        print("So do those of a site that was built before: python tools/site.py")
