# The site, as the folder build/site. It needs npm, for MathJax, and of requirements.txt jupyterlab.
.PHONY: site
site:
	npm install --silent --no-save --no-package-lock --prefix build mathjax@3
	python website/build.py
