# What can be done with this tree. `make help` lists it.
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := $(shell rustc --print host-tuple)
DEBUG := target/$(TARGET)/debug
RELEASE := target/$(TARGET)/release
IMAGES := target/$(TARGET)/images

.PHONY: help build run test e2e lint cases bench images images-check images-digests install clean

help: ## list what can be done
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | column -t -s @

build: ## the release programs, in target/…/release
	images/programs.sh

run: ## build, then watch a hostile agent in a bottle
	images/programs.sh
	@tests/demo/run $(RELEASE)

test: lint ## everything that CI checks: lints, unit tests, end-to-end tests
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace

e2e: ## the end-to-end tests alone
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace --test e2e

lint: ## formatting, clippy, the map of the modules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

cases: ## which faults and abuses the tests cover, and which are open
	$(CARGO) run --locked -q --bin bottle-cases -p bottle-test-support -- tests/cases/catalogue.tsv .

bench: build ## speed, against rivals in the same run
	@tests/bench/run $(RELEASE)

images: build ## the sidecars' images, in target/…/images, each with its provenance and bill of materials
	@mkdir -p $(IMAGES)
	images/toolchain.sh | $(CARGO) run --locked --quiet -p bottle-bom -- $(RELEASE) bottle-egress bottle-pipelock bottle-git-gate
	@export BOTTLE_HOME=$$(pwd)/$(IMAGES) BOTTLE_LIBEXEC=$$(pwd)/$(RELEASE); \
	    $(RELEASE)/bottle images build && $(RELEASE)/bottle images verify && \
	    for name in egress pipelock git-gate; do $(RELEASE)/bottle images export $$name --output $(IMAGES)/$$name.tar; done

images-check: build ## build the sidecars again, elsewhere, and compare to the last byte; and with images/digests
	images/check.sh $(RELEASE)

images-digests: build ## write images/digests
	images/digests.sh $(RELEASE) >$(IMAGES).digests
	mv $(IMAGES).digests images/digests

install: build ## install to PREFIX (/usr/local): programs, completions, manual pages
	install -Dm755 $(RELEASE)/bottle $(DESTDIR)$(PREFIX)/bin/bottle
	install -Dm755 -t $(DESTDIR)$(PREFIX)/libexec/bottle $(RELEASE)/bottle-egress $(RELEASE)/bottle-pipelock $(RELEASE)/bottle-git-gate
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	$(RELEASE)/bottle man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE)/bottle completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/bottle
	$(RELEASE)/bottle completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_bottle
	$(RELEASE)/bottle completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/bottle.fish

clean: ## remove what was built
	$(CARGO) clean
