# make demo | test | build | clean.   PYTHON=python3.12 picks the interpreter; ARGS="--headless ..." goes to `perception demo`.
#
# Without ROS 2: ROS and all libraries come as pinned wheels into .venv. With a ROS 2 distribution sourced: its packages, its
# Python and its libraries are used, and .venv holds only what is missing there (rosdep can bring most of that instead).
# Each step leaves a stamp and is skipped while what it was made from is unchanged.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(firstword $(foreach name,python3 python3.11 python3.12 python3.13 python3.10,$(shell command -v $(name) >/dev/null && \
	$(name) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $(name))) python3)
VENV := .venv
PIP_LOG := $(VENV)/pip.log
LIBRARIES := $(if $(ROS_DISTRO),,requirements/ros.txt) requirements/runtime.txt
DEV_LIBRARIES := $(LIBRARIES) requirements/train.txt requirements/dev.txt
INTERFACES := $(wildcard perception_node_msgs/msg/*.msg perception_node_msgs/srv/*.srv) perception_node_msgs/CMakeLists.txt \
	perception_node_msgs/package.xml
# Folders change with the names in them; the files in them are linked, like the Python files.
INSTALLED := package.xml setup.py setup.cfg colcon_defaults.yaml launch config
ENTER := . ./env.sh

.PHONY: help demo test results lint unit build venv clean

help:
	@echo "make demo   install, build and run the demonstration"
	@echo "make test   install, build and run every check: ruff, mypy, pytest"
	@echo "make results  measure the main figures of docs/results.md; DATASET=folder of a cell's labelled pictures, QUICK=1 for minutes"
	@echo "make build  install, build and compile the loops only; then: . ./env.sh"
	@echo "make clean  remove what was built and installed (build/ install/ log/ .venv/)"

demo: $(VENV)/.warm
	@$(ENTER); exec perception demo $(ARGS)

test: $(VENV)/.warm $(VENV)/.dev
	@$(ENTER); echo "ruff"; ruff check .; echo "mypy"; mypy; echo "pytest"; exec python3 -m pytest test $(ARGS)

# The figures of docs/results.md that one command brings; the tables there name the others. Without DATASET and MEMORY (the universal
# model's validation set) both are simulated by another engine than the training data. A target that is missed (status 1) does not stop
# the rest; out/results holds JSON, text and pictures, docs/results.md gets the adaptation's tables.
QUICK ?=
RESULTS := out/results$(if $(QUICK),-quick)
DATASET ?= $(RESULTS)/cell
MEMORY ?= $(RESULTS)/memory
results: build $(VENV)/.dev
	@$(ENTER); mkdir -p $(RESULTS); measure() { local name=$$1 status=0; shift; echo "== perception $$*"; \
		perception "$$@" --json $(RESULTS)/$$name.json 2>&1 | tee $(RESULTS)/$$name.txt || status=$$?; [ $$status -le 1 ]; }; \
	[ -e $(DATASET) ] || perception synthesize $(DATASET) --images $(if $(QUICK),16,140) --seed 31 --style opengl; \
	[ -e $(MEMORY) ] || perception synthesize $(MEMORY) --images $(if $(QUICK),4,50) --seed 32 --style opengl; \
	measure evaluate evaluate $(DATASET) $(if $(QUICK),--first 8) --worst $(RESULTS)/worst.png; \
	measure memory evaluate $(MEMORY) $(if $(QUICK),--first 4); \
	measure segment bench segment $(if $(QUICK),--repeats 5); \
	if [ -d $(DATASET)/depth_true ]; then measure grasp bench grasp $(DATASET) --masks model $(if $(QUICK),--frames 4); \
	else echo "== perception bench grasp: left out, $(DATASET) has no depth_true/"; fi; \
	measure track bench track$(if $(QUICK), --seeds 901); \
	measure publish bench publish; \
	measure demo demo --out $(RESULTS)/demo; \
	measure adaptation adaptation $(DATASET) --out $(RESULTS)/adaptation $(if $(QUICK),--quick) --memory $(MEMORY) \
		$(if $(QUICK),,--docs docs) $(ARGS)

lint: $(VENV)/.dev
	@$(ENTER); ruff check .; mypy

build: $(VENV)/.warm

venv: $(VENV)/.runtime

clean:
	rm -rf build install log $(VENV)

# The virtual environment. The checks come first, so that what is missing is said in one line instead of a compiler's pages.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else \
		f"make: expected Python 3.10 to 3.13, got {sys.version.split()[0]} ({sys.executable}); choose one: make PYTHON=python3.11")' \
		|| { $(PYTHON) -c '' 2>/dev/null || echo "make: expected Python 3.10 to 3.13, found no $(PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it (Debian, \
	Ubuntu: python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(if $(ROS_DISTRO),--system-site-packages) $(VENV)
	@for shell in sh bash zsh; do echo "# colcon expects this file in a prefix; env.sh does the work" >$(VENV)/local_setup.$$shell; done
	@touch $@

$(VENV)/.runtime: $(VENV)/.created $(LIBRARIES)
	@$(call pip,$(LIBRARIES))
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime $(DEV_LIBRARIES)
	@$(call pip,$(DEV_LIBRARIES))
	@touch $@

# $(call pip,FILES): install them; on failure the last lines say why, and where the rest is.
define pip
echo "installing $(1)"; $(VENV)/bin/python -c "$$WANTED" $(1) >$(VENV)/wanted.txt; \
$(VENV)/bin/python -m pip install --disable-pip-version-check -r $(VENV)/wanted.txt >$(PIP_LOG) 2>&1 || \
	{ echo "make: pip could not install $(1):" >&2; grep -E '^ *ERROR' $(PIP_LOG) | tail -n 3 >&2 || tail -n 3 $(PIP_LOG) >&2; \
	echo "make: the whole text is in $(PIP_LOG)" >&2; exit 1; }
endef

# Prints the lines of requirement files; with a distribution only those of libraries that cannot be imported yet: its own NumPy
# and OpenCV fit together and with cv_bridge, newer ones would not.
define WANTED
import importlib.util, os, re, sys
modules = {'opencv-python-headless': 'cv2', 'PyYAML': 'yaml', 'pytest-timeout': 'pytest_timeout'}
for line in (line.strip() for path in sys.argv[1:] for line in open(path)):
    name = re.match(r'[\w.-]*', line)[0] if line[:1] != '-' else ''
    if name and not (os.environ.get('ROS_DISTRO') and importlib.util.find_spec(modules.get(name, name))):
        print(line)
endef
export WANTED

# Loops are compiled at their first call and kept on disk; here, so that no first frame waits for it.
$(VENV)/.warm: install/.built
	@$(ENTER); echo "compiling"; python3 -m perception_node.warm
	@touch $@

# Both packages, linked: changing a Python, launch or configuration file needs no new build.
install/.built: $(VENV)/.runtime $(INTERFACES) $(INSTALLED)
	@command -v $(firstword $(CXX)) >/dev/null || { echo "make: expected a C++ compiler, found no $(CXX); install one (Debian, \
	Ubuntu: g++)" >&2; exit 1; }
	@$(ENTER); python3 -c 'import os, sys, sysconfig; h = os.path.join(sysconfig.get_path("include"), "Python.h"); \
		sys.exit(None if os.path.exists(h) else f"make: expected the headers of Python ({h}); install them (Debian, Ubuntu: python3-dev)")'
	@$(ENTER); echo "building"; colcon build --symlink-install >$(VENV)/colcon.log 2>&1 || { grep -vE 'local_setup' $(VENV)/colcon.log | \
		tail -n 25 >&2; echo "make: colcon build failed, the whole text is in $(VENV)/colcon.log and log/latest_build" >&2; exit 1; }
	@touch $@
