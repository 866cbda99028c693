"""Print one SHA-256 of the LaTeX sources, which the build writes into the PDF and a test compares."""

import hashlib
from pathlib import Path

digest = hashlib.sha256()
for path in sorted(Path(__file__).parent.glob("*.tex")):
    if path.name != "address.tex":  # a fork that writes its own address need not have LaTeX
        digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
print(digest.hexdigest())
