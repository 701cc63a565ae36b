# What can be done with this tree. `make help` lists it.
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := $(shell rustc --print host-tuple)
DEBUG := target/$(TARGET)/debug
RELEASE := target/$(TARGET)/release
IMAGES := target/$(TARGET)/images
# The programs that are shown, measured and made into images: those of another directory are taken as they are.
PROGRAMS ?= $(RELEASE)
BUILD := $(if $(filter $(RELEASE),$(PROGRAMS)),build)
# Where the pipeline puts those that Nix built.
NIXED := target/$(TARGET)/nix
# Each sidecar is a package `bottle-NAME` with the recipe of its image.
SIDECARS := $(patsubst images/%/image.yaml,%,$(wildcard images/*/image.yaml))

CI_TOOLS := nixfmt_rs@0.5.3 deadnix@1.3.1

.PHONY: help lines ci ci-rest ci-programs ci-tools nix nix-programs build run test e2e engines lint cases fuzz bench images images-check images-digests install clean

help: ## list what can be done
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | column -t -s @

build: ## the release programs, in target/…/release
	images/programs.sh

# The whole workspace is selected, and of it these programs are built: with another selection cargo would choose other features for their
# dependencies, and `make test` would compile them again.
DEMO := bottle bottle-egress bottle-pipelock bottle-demo-origin
run: ## build what a bottle needs, then watch a hostile agent in one
	@[ -e $(DEBUG)/bottle ] || echo "Building bottle, its proxies and the demonstration: some eight minutes of processor time the first time, on $$(nproc) processors."
	@$(CARGO) build --locked --workspace $(DEMO:%=--bin %)
	@$(DEBUG)/bottle demo
	@echo 'To have `bottle` on your PATH: make install PREFIX=$$HOME/.local'

test: lint ## everything that CI checks: lints, unit tests, end-to-end tests
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace

e2e: ## the end-to-end tests alone, on every backend that this machine can have
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace --test e2e

engines: ## download the container engines that the tests start, beside the machine's own
	tests/engines/engine install release
	tests/engines/engine install current

lint: ## formatting, clippy, the map of the modules, the flake's text
	$(CARGO) fmt --all --check
	tests/nix/lint
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

nix: build ## prove the flake in Nix's sandbox, without a network (needs root and nix-bin)
	tests/nix/prove $(RELEASE)

ci: ci-tools run test ci-rest ## the whole pipeline, as CI has it

ci-rest: ## the pipeline behind the tests; where nix is, with the programs that the proof of the flake builds
	if [ "$$(id -u)" = 0 ] && command -v nix >/dev/null; then \
	  $(MAKE) nix-programs && $(MAKE) ci-programs PROGRAMS=$(NIXED) REBUILD=; \
	else $(MAKE) ci-programs; fi

ci-programs: $(BUILD) ## demonstration, bench in short, images, and their digests, of the release programs
	$(PROGRAMS)/bottle demo
	# Without the parts that put megabytes through an origin: that one is built for debugging here, and would be what is slow.
	ROUNDS=3 $(MAKE) bench PARTS="life many images"
	$(MAKE) images images-check

nix-programs: ## the proof of the flake, which leaves its programs in target/…/nix, beside the origin that the tests were built with
	$(CARGO) build --locked --workspace
	install -Dm755 -t $(NIXED) $(DEBUG)/bottle-origin $(DEBUG)/bottle-load
	CHECKED=1 tests/nix/prove --into $(NIXED)

ci-tools: ## what the pipeline needs from crates.io
	$(CARGO) install --locked --debug --quiet $(CI_TOOLS)

cases: ## which faults and abuses the tests cover, and which are open
	$(CARGO) run --locked -q --bin bottle-cases -p bottle-test-support -- tests/cases/catalogue.tsv .

lines: ## count production lines by crate; `tests/lines COMMIT COMMIT` compares
	@tests/lines

SECONDS ?= 60
FUZZ_TARGETS := request hello url decode scan body frames rules
fuzz: ## let cargo-fuzz look for what breaks a parser, SECONDS for each (cargo install cargo-fuzz)
	@for target in $(FUZZ_TARGETS); do \
	  echo "== $$target"; \
	  mkdir -p images/fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir images/fuzz -s none $$target images/fuzz/corpus/$$target images/fuzz/seeds/$$target -- \
	    -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=16384 || exit 1; \
	done

bench: $(BUILD) ## speed, against rivals in the same run; PARTS chooses
	@tests/bench/run $(PROGRAMS) $(PARTS)

images: $(BUILD) ## the sidecars' images, in target/…/images, each with its provenance and bill of materials
	$(CARGO) build --locked --workspace --bin bottle-bom
	images/toolchain.sh | $(DEBUG)/bottle-bom $(PROGRAMS) $(SIDECARS:%=bottle-%)
	images/write.sh $(PROGRAMS) $(IMAGES)

images-check: $(BUILD) ## build the sidecars again, elsewhere, and compare to the last byte; and with images/digests
	images/check.sh $(PROGRAMS)

images-digests: build ## write images/digests
	images/digests.sh $(RELEASE) >$(IMAGES).digests
	mv $(IMAGES).digests images/digests

install: build ## install to PREFIX (/usr/local): programs, completions, manual pages
	install -Dm755 $(RELEASE)/bottle $(DESTDIR)$(PREFIX)/bin/bottle
	install -Dm755 -t $(DESTDIR)$(PREFIX)/libexec/bottle $(SIDECARS:%=$(RELEASE)/bottle-%) $(RELEASE)/bottle-demo-origin
	for bill in $(wildcard $(SIDECARS:%=$(RELEASE)/bottle-%.cdx.json)); do install -m644 -t $(DESTDIR)$(PREFIX)/libexec/bottle $$bill; done
	install -d $(DESTDIR)$(PREFIX)/share/man
	$(RELEASE)/bottle man $(DESTDIR)$(PREFIX)/share/man
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE)/bottle completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/bottle
	$(RELEASE)/bottle completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_bottle
	$(RELEASE)/bottle completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/bottle.fish

clean: ## remove what was built
	$(CARGO) clean
