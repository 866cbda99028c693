"""Write the animations stored in the notebooks to paths.gif and boundaries.gif."""

import base64
import re
from pathlib import Path

import nbformat

folder = Path(__file__).parent
for name, prefix in ("paths.gif", "01"), ("boundaries.gif", "03"):
    (notebook,) = (folder.parent / "notebooks").glob(f"{prefix}_*.ipynb")
    cells = nbformat.read(notebook, as_version=4).cells
    texts = [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", [])]
    (gif,) = re.findall(r'src="data:image/gif;base64,([^"]+)"', "".join(texts))
    (folder / name).write_bytes(base64.b64decode(gif))
