# SPDX-License-Identifier: Apache-2.0
PY := .venv/bin/python
test:
	$(PY) -m pytest -q
