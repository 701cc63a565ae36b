# What can be done with this tree. `make help` lists it.
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := $(shell rustc --print host-tuple)
DEBUG := target/$(TARGET)/debug
RELEASE := target/$(TARGET)/release
# The programs that a bottle is made of, and the far end that the demonstration and the tests talk to.
# Always named together: another selection would build their dependencies anew, with other features.
PROGRAMS := -p bottle -p bottle-egress -p bottle-pipelock -p bottle-origin

.PHONY: help build run test e2e lint cases fuzz bench images install clean

help: ## list what can be done
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | column -t -s @

build: ## the release programs, in target/…/release
	$(CARGO) build --locked --release $(PROGRAMS)

run: ## build, then watch a hostile agent in a bottle
	$(CARGO) build --locked --release $(PROGRAMS)
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

SECONDS ?= 60
FUZZ_TARGETS := request hello url decode scan body frames rules
fuzz: ## let cargo-fuzz look for what breaks a parser, SECONDS for each (cargo install cargo-fuzz)
	@for target in $(FUZZ_TARGETS); do \
	  echo "== $$target"; \
	  mkdir -p images/fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir images/fuzz -s none $$target images/fuzz/corpus/$$target images/fuzz/seeds/$$target -- \
	    -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=16384 || exit 1; \
	done

bench: build ## speed, against rivals in the same run
	@tests/bench/run $(RELEASE)

images: build ## the sidecars' programs, static, one file each
	@ls -l $(RELEASE)/bottle-egress $(RELEASE)/bottle-pipelock

install: build ## install to PREFIX (/usr/local)
	install -Dm755 $(RELEASE)/bottle $(DESTDIR)$(PREFIX)/bin/bottle
	install -Dm755 -t $(DESTDIR)$(PREFIX)/libexec/bottle $(RELEASE)/bottle-egress $(RELEASE)/bottle-pipelock

clean: ## remove what was built
	$(CARGO) clean
