# Every target is one line over `cargo xtask`, which says what it does as it does it.
.PHONY: run stop test cluster bench conformance fuzz lint

# One build directory outside the checkout, so that a fresh checkout starts warm.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/aurae/target

run: ; cargo xtask run
stop: ; cargo xtask run --stop
test: ; cargo xtask test
cluster: ; cargo xtask cluster
bench: ; cargo xtask bench
conformance: ; cargo xtask conformance
lint: ; cargo xtask lint
fuzz: ; cargo xtask fuzz
