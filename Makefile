# The site as a folder, build/site; it needs python -m pip install latex2mathml beside requirements.txt
.PHONY: site
site:
	python website/build.py
