# What a developer runs. `make help` lists it; everything below calls scripts that can be called alone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# PROFILE=dev builds faster and runs slower.
PROFILE ?= release
BINARIES ?= k3k-controller k3k-kubelet k3k-webhook kubectl-k3k
TARGET := $(shell uname -m)-unknown-linux-gnu
BINARIES_DIR := target/$(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
IMAGE := target/image/k3k.tar
# HOST=current: the demo uses the current kubectl context; no lab is built or started.
HOST ?= lab
# Given by name for the target, and --target given: macros and build scripts, which must be dynamic, are left alone.
STATIC := CARGO_TARGET_$(shell uname -m | tr a-z A-Z)_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static'

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  LAB_NODES=2 gives the lab two nodes; HOST=current runs the demo on the current kubectl context, without a lab."

.PHONY: deps
deps: ## check what is needed here; as root, install missing Debian packages
	@tests/lab/requirements $(if $(filter current,$(HOST)),build,lab)

.PHONY: build
build: ## static binaries for the image, and the plugin
	@tests/lab/requirements build
	$(STATIC) cargo build --locked --profile $(PROFILE) --target $(TARGET) $(addprefix --package ,$(BINARIES))

.PHONY: binaries-dir
binaries-dir:
	@echo $(BINARIES_DIR)

.PHONY: image
image: build ## the product's image, as an archive; no container engine needed
	@manifests/image/build $(BINARIES_DIR) $(IMAGE)

.PHONY: lab
lab: deps image ## start a Kubernetes host on this machine with all images; again: bring in what changed
	@tests/lab/build
	@tests/lab/up

.PHONY: lab-down
lab-down: ## stop the lab; nothing stays behind
	@tests/lab/down

.PHONY: demo
ifeq ($(HOST),current)
demo: ## install k3k and see a nested cluster work
	cargo build --locked --profile $(PROFILE) --package kubectl-k3k # the image is pulled by the cluster, so any system will do
	@PATH="$(CURDIR)/target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE)):$$PATH" HOST=current tests/demo
else
demo: lab
	@K3K_BIN="$(CURDIR)/$(BINARIES_DIR)" tests/lab/in-host tests/demo
endif

.PHONY: test
test: ## all tests: unit, snapshot, mock, real API server, krew, end to end on the lab, and some of Kubernetes' own
	@tests/lab/requirements test
	@tests/all

.PHONY: bench-webhook
bench-webhook: image ## how fast the webhook decides
	@tests/lab/build && cargo bench --quiet --locked --package k3k-tests --bench webhook

.PHONY: bench
bench: lab ## how fast and how small, beside the bare server pod
	@K3K_BIN="$(CURDIR)/$(BINARIES_DIR)" tests/lab/in-host tests/bench

.PHONY: conformance
conformance: lab ## Kubernetes' own tests in a nested cluster (TARGET=host: on the lab itself), resumable: docs/conformance.md
	@tests/conformance/build
	@tests/conformance/bring-in
	@K3K_BIN="$(CURDIR)/$(BINARIES_DIR)" tests/lab/in-host tests/conformance/all

.PHONY: check
check: ## format, lints, licences and advisories
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed: licences and advisories are not checked"; fi
