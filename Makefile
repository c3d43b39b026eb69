# make demo | make test | make test-all: everything from a bare checkout, nothing else to type.
VENV := .venv
PYTHON := $(VENV)/bin/python
SHELL := /bin/bash
export TF_CPP_MIN_LOG_LEVEL ?= 3
export KERAS_BACKEND ?= tensorflow
export HWCMP_REQUIRE_QEMU := 1

# program -> Debian package
TOOLS := arm-none-eabi-gcc:gcc-arm-none-eabi qemu-system-arm:qemu-system-arm cmake:cmake gcc:gcc python3:python3-venv
NEWLIB := /usr/lib/arm-none-eabi/newlib/nano.specs /usr/lib/arm-none-eabi/lib/nano.specs

.PHONY: test test-all demo setup tools clean

test: setup
	$(PYTHON) -m pytest -q -n 2 --dist loadfile -m "not slow"

test-all: setup
	$(PYTHON) -m pytest -q -n 2 --dist loadfile

demo: setup
	$(PYTHON) -m keras_hwcompress demo

setup: tools $(VENV)/.installed

tools:
	@missing=""; \
	for pair in $(TOOLS); do command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	python3 -c "import ensurepip, venv" 2>/dev/null || missing="$$missing python3-venv"; \
	found=""; for specs in $(NEWLIB); do [ -e $$specs ] && found=yes; done; \
	[ -n "$$found" ] || missing="$$missing libnewlib-arm-none-eabi"; \
	[ -z "$$missing" ] && exit 0; \
	sudo=""; \
	if [ "$$(id -u)" != 0 ]; then \
	    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo=sudo; else \
	    echo "These packages are missing and cannot be installed without root; install them and run make again:"; \
	    echo "    apt-get install$$missing"; exit 1; fi; fi; \
	command -v apt-get >/dev/null || { echo "These programs are missing; install what your system calls:$$missing"; exit 1; }; \
	echo "installing$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$sudo apt-get update -q && $$sudo apt-get install -q -y --no-install-recommends $$missing

$(VENV)/.installed: setup.cfg pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --upgrade pip
	$(PYTHON) -m pip install -q -e ".[tf-cpu,tflm,bench,test]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info firmware
