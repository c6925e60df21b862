# kmend: `make` prints what can be made.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# Absolute; the same folder as test/setup uses.
export KMEND_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kmend
export CGO_ENABLED := 0

GO      ?= go
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
LINT    := $(KMEND_CACHE)/bin/golangci-lint-v2.15.0
SBOM    := $(KMEND_CACHE)/bin/cyclonedx-gomod-v1.10.0
GORELEASER := $(KMEND_CACHE)/bin/goreleaser-v2.16.0

# What is released: DIST/linux/ARCH/PROGRAM, as Docker names platforms.
DIST     ?= dist
ARCHS    := amd64 arm64
released := $(foreach arch,$(ARCHS),$(foreach program,kmend kmend-agent,$(DIST)/linux/$(arch)/$(program)))

.DEFAULT_GOAL := help

# Go, fetched into the cache where PATH has none that is new enough; demo and test
# see to it themselves, after they looked whether they can run at all.
ifneq ($(filter-out help clean demo test,$(MAKECMDGOALS)),)
ifeq ($(GO),go)
gobin := $(shell KMEND_CACHE='$(KMEND_CACHE)' test/setup/go)
$(if $(gobin),,$(error no Go 1.26 or newer, and getting it went wrong))
export PATH := $(gobin):$(PATH)
endif
endif

.PHONY: help
help: ## Print this.
	@printf 'make TARGET, where TARGET is\n\n'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

# ------------------------------------------------------------------ use it

.PHONY: build
build: bin/kmend bin/kmend-agent ## Build bin/kmend and bin/kmend-agent, static; fetches Go if this machine has none.

.PHONY: bin/kmend bin/kmend-agent # go knows what is up to date
bin/kmend bin/kmend-agent: bin/%:
	@$(GOBUILD) -o $@ ./cmd/$*

.PHONY: release
release: $(released:%=%.cdx.json) ## Build dist/: both programs for linux/amd64 and linux/arm64, SBOMs, checksums. The same bytes wherever it runs.
	@cd $(DIST) && sha256sum $(released:$(DIST)/%=%) $(released:$(DIST)/%=%.cdx.json) >SHA256SUMS

# What of a builder's own settings would be in the bytes is set here.
.PHONY: $(released)
$(released):
	@GOOS=linux GOARCH=$(notdir $(@D)) GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOFIPS140=off GOFLAGS= $(GOBUILD) -o $@ ./cmd/$(@F)

.PHONY: release-check
release-check: $(GORELEASER) $(SBOM) ## Check what make release makes (bytes, SBOMs, images), and the probes on arm64 in qemu; some minutes more the first time.
	@test/setup/tools kernels arm64
	@test/setup/debs buildah docker-registry >/dev/null
	@KMEND_RELEASE=1 GORELEASER=$(GORELEASER) CYCLONEDX=$(SBOM) $(GO) test -count=1 -v -timeout 60m ./test/release
	@test/kernels/run -r 'Attach|Convoy|LedgerAddsUp|Throttled$$|Samples' -p ./bpf/usdt -p ./bpf/futex -p ./bpf/threads -p ./bpf/profile 6.12-arm64

# What is in a program, from the program itself.
%.cdx.json: % $(SBOM)
	@log=$$($(SBOM) bin -json -std -noserial -notimestamp -version $(VERSION) -output $@ $< 2>&1) || { echo "$$log"; exit 1; }

# make answers 2 to every failure but in question mode, where it answers 1 and
# still runs what begins with +. So make demo has the status of test/demo/run.
ifeq ($(MAKECMDGOALS),demo)
MAKEFLAGS += -q
endif
.PHONY: demo
demo: ## Watch one incident from a real alert to a verified fix (root, Linux; under a minute once built).
	+@MAKEFLAGS= test/demo/run

# ------------------------------------------------------------------ change it

.PHONY: generate
generate: ## Generate again what is generated: BPF objects, JSON Schema, protocol, manifests.
	@test/setup/tools build
	@$(GO) generate ./...
	@cd test/chart && $(GO) run ./render -write # after kmend.schema.json, which is in it

.PHONY: check
check: fmt vet generated lint ## The fast loop: format, vet, generated files, lint, short tests.
	@$(GO) test -short $$($(GO) list ./... | grep -v '/bpf/') # make test runs those: they want the CPUs for themselves
	@cd test/chart && $(GO) test -short ./...

.PHONY: test
test: ## Everything, on the real kernel, in VMs, on a real cluster; installs what it needs (root).
	@.ci/test

.PHONY: soak
soak: export KMEND_SOAK := $(or $(KMEND_SOAK),30m)
soak: ## A storm of 10,000 alerts, then half an hour of faults in a cluster (root); KMEND_SOAK=3m for less.
	@test/setup/debs postgresql-15 >/dev/null
	@test/setup/kwok >/dev/null && $(GO) run ./test/cluster/prepare
	@$(GO) test -count=1 -timeout 60m -parallel 1 -run 'Storm' ./internal/respond # its minute is for itself
	@$(GO) test -count=1 -timeout 120m -v -run 'TestSoak' ./test/scale

.PHONY: crashes
crashes: ## Kill kmend at every point of every flow, on SQLite and on PostgreSQL; make test does at some (root; an hour or two).
	@test/setup/debs postgresql-15 >/dev/null
	@KMEND_SOAK=1 $(GO) test -count=1 -timeout 180m -p 1 -run 'Replica|Postgres|Killed' -skip 'Storm' ./internal/store ./internal/respond ./internal/app

.PHONY: scale
scale: ## Measure 200 incidents at once in clusters of up to 5,000 nodes (KWOK) and write docs/scale.md (half an hour).
	@test/setup/kwok >/dev/null && $(GO) run ./test/cluster/prepare
	@KMEND_SCALE=$(CURDIR)/docs/scale.md $(GO) test -count=1 -timeout 120m -v -run 'TestFull' ./test/scale

.PHONY: bench
bench: build ## Measure; prints and writes docs/benchmarks.md (root).
	@test/setup/tools bench
	@test/setup/debs prometheus-alertmanager >/dev/null
	@$(GO) run ./test/bench -kmend bin/kmend -out docs/benchmarks.md

.PHONY: lab-vm
lab-vm: ## The lab on Debian's 6.1 and 6.12, in VMs (root); LAB='-r REGEXP -o FOLDER' for some of it.
	@test/lab/vm/run $(LAB)

# What it prints goes to standard output, or LABFLAGS='-o json' >cases.json.
.PHONY: lab
lab: build ## Make faults with known answers and ask kmend for them; LABFLAGS='-r REGEXP', '-list', '-o json' (root).
	@$(GO) run ./test/lab -kmend bin/kmend $(LABFLAGS)

.PHONY: clean
clean: ## Remove what was built here; the cache of tools stays.
	@rm -rf bin dist .demo

# ------------------------------------------------------------------ parts of check

.PHONY: fmt
fmt:
	@bad=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  [ -z "$$bad" ] || { printf 'not formatted; run gofmt -w on:\n%s\n' "$$bad"; exit 1; }

.PHONY: vet
vet:
	@$(GO) vet ./...
	@cd test/chart && $(GO) vet ./...

.PHONY: generated
generated: # what is committed is what the sources make
	@.ci/generated $(MAKE) --no-print-directory generate

.PHONY: lint
lint: $(LINT)
	@$(LINT) run ./...
	@cd test/chart && $(LINT) run ./...

$(SBOM):
	@echo "building cyclonedx-gomod (once, a minute)"
	@mkdir -p $(@D)
	@GOBIN=$(@D) $(GO) install -trimpath github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
	@mv $(@D)/cyclonedx-gomod $@

$(GORELEASER):
	@echo "building goreleaser (once, some minutes)"
	@mkdir -p $(@D)
	@GOBIN=$(@D) $(GO) install -trimpath github.com/goreleaser/goreleaser/v2@v2.16.0
	@mv $(@D)/goreleaser $@

$(LINT):
	@echo "building golangci-lint (once, some minutes)"
	@mkdir -p $(@D)
	@GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	@mv $(@D)/golangci-lint $@
