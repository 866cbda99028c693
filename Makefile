# The site, as the folder build/site. It needs nbconvert (which jupyterlab brings), and npm for MathJax.
MATHJAX = build/node_modules/mathjax/es5/tex-svg.js

.PHONY: site
site: $(MATHJAX)
	python website/build.py

$(MATHJAX):
	npm install --loglevel=error --ignore-scripts --no-save --no-package-lock --prefix build mathjax@3.2.2
