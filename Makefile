# `make` or `make help` lists the targets. Each installs what the machine lacks
# (as root) or unpacks it into ~/.cache/veni, and says so.

TARGET := $(or $(CARGO_TARGET_DIR),target)

# Clippy, where installed, stands in for the compiler, so that lint and test share one build.
lint test histories torture scale figures conformance: export RUSTC_WORKSPACE_WRAPPER = $(notdir $(shell command -v clippy-driver))

# The plugin is linked statically: it starts for every pod, and a dynamic linker costs it 0.6 ms.
# With musl's standard library at hand 0.25 ms less.
MUSL := $(shell uname -m)-unknown-linux-musl
HAVE_MUSL := $(wildcard $(shell rustc --print target-libdir --target $(MUSL) 2>/dev/null))
PLUGIN := cargo rustc --package veni-cni --bin veni-cni --profile plugin \
	$(if $(HAVE_MUSL),--target $(MUSL),-- -C target-feature=+crt-static -C relocation-model=static)
PLUGIN_FILE := $(TARGET)/$(if $(HAVE_MUSL),$(MUSL)/)plugin/veni-cni

# What a release can do; Amazon's SDK takes its time to compile.
FEATURES := ipamd/aws,ipamd/azure,ipamd/bpf,ipamd/kube,veni/aws

.PHONY: help demo test histories torture scale figures conformance lint bench mutants build image localstack clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## two nodes, a mock cloud and real pods on this machine, in a minute after the build
	@tests/tools/require demo
	cargo build
	$(TARGET)/debug/veni lab demo

test: ## all test lanes (LANES="unit netns" picks)
	@tests/tools/require test
	@tests/tools/run-lanes $(LANES)

# The features of all lanes, so that their build is used.
LANES_BUILD := --workspace --features ipamd/aws,ipamd/azure,veni/aws,veni-suites/aws,veni-suites/bpf,veni-suites/kube

histories: ## histories of a node from seeds, held against a model (SEEDS=100000, FIRST=0; SEEDS=1 FIRST=1234 replays one)
	cargo test $(LANES_BUILD) --test component every_history -- --nocapture

torture: ## pods, kills and deletions by hand on the real kernel (MINUTES=30, SEED=1)
	cargo build --all-targets $(LANES_BUILD)
	cargo test $(LANES_BUILD) --test netns torture:: -- --nocapture

scale: ## a thousand pods on one node: ADD as it fills, and the restart after kill -9
	cargo build --all-targets $(LANES_BUILD)
	cargo test $(LANES_BUILD) --test scale -- --nocapture

figures: ## pods' starts and ends on a real cluster, beside the reference plugin bridge (needs root; ten minutes)
	@tests/tools/require test
	@tests/tools/fetch containerd containerd2 plugins pod-image kubernetes
	cargo build --all-targets $(LANES_BUILD)
	cargo test $(LANES_BUILD) --test figures -- --nocapture --test-threads 1

conformance: ## Kubernetes' own tests of the network on a real cluster (needs root; SPECS="a regular expression" picks)
	@tests/tools/require test
	@tests/tools/fetch containerd containerd2 plugins pod-image kubernetes conformance
	cargo build --all-targets $(LANES_BUILD)
	cargo test $(LANES_BUILD) --test sig_network -- --nocapture

export SEEDS FIRST MINUTES SEED SPECS

lint: ## formatting, clippy, scripts, licences and the dependency rules
	@tests/tools/require lint
	@tests/tools/lint

bench: ## ADD and DEL beside the reference plugins and the physical floor (BENCH=--quick: half a minute)
	@tests/tools/require bench
	@$(MAKE) --no-print-directory build FEATURES=
	@tests/tools/fetch plugins
	cargo build --release --package veni-benches
	gcc -O2 -static -Wall -Wextra -o $(TARGET)/release/floor tests/benches/floor/floor.c
	gcc -O2 -static -Wall -Wextra -o $(TARGET)/release/starter tests/benches/starter/starter.c
	$(TARGET)/release/veni-benches --plugins "$$(tests/tools/fetch path plugins)/usr/lib/cni" $(BENCH)

mutants: ## changes to the planner's code that its tests do not notice (an hour; PACKAGE= another crate)
	@tests/tools/require test
	@tests/tools/mutants $(PACKAGE)

build: ## the release: ipamd, veni, its manual pages and the static plugin, in target/release (FEATURES= leaves EC2 out)
	cargo build --release --package ipamd --package veni --features "$(FEATURES)"
	$(PLUGIN)
	cp $(PLUGIN_FILE) $(TARGET)/release/veni-cni
	$(TARGET)/release/veni man $(TARGET)/release/man

# What a registry and a node have to carry.
IMAGE_LIMIT := 40000000

image: build ## the release as an OCI image, and what is in it (SBOM), in target/image
	deploy/image/build --programs $(TARGET)/release --into $(TARGET)/image
	deploy/image/sbom $(TARGET)/image/root "$(FEATURES)" >$(TARGET)/image/veni.cdx.json
	@test $$(stat -c %s $(TARGET)/image/veni.tar) -lt $(IMAGE_LIMIT) || \
		{ echo "make: $(TARGET)/image/veni.tar has more than $(IMAGE_LIMIT) bytes: find what has grown" >&2; exit 1; }

localstack: ## an EC2 that behaves as EC2 documents, on 127.0.0.1:4566, until interrupted
	localstack/ec2/run

clean: ## removes the build; keeps the cache of fetched tools
	cargo clean
	@echo "fetched tools stay in $${VENI_CACHE:-$$HOME/.cache/veni}: remove it to fetch them anew"
