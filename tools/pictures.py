"""Write the animations stored in the notebooks to images/: python tools/pictures.py."""

import base64
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
for name, prefix in ("paths.gif", "01"), ("boundaries.gif", "03"):
    (notebook,) = (ROOT / "notebooks").glob(f"{prefix}_*.ipynb")
    cells = nbformat.read(notebook, as_version=4).cells
    texts = [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", [])]
    (gif,) = re.findall(r'src="data:image/gif;base64,([^"]+)"', "".join(texts))
    (ROOT / "images" / name).write_bytes(base64.b64decode(gif))
