# The gate, for people and for machines. `.ci/run` is `make verify` on a clean checkout.

.DEFAULT_GOAL := help
.PHONY: help verify verify-aws fix main-job bench plots sabotage fuzz fmt clippy features doc deny guard guard-baseline test

AWS_PACKAGES := -p quicraft-certs -p quicraft-transport -p quicraft-tests
AWS := quicraft-certs/aws-lc-rs,quicraft-transport/aws-lc-rs,quicraft-tests/aws-lc-rs

help: ## Show what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One after the other, the cheap ones first; the tests come last, so that their summary ends the log.
verify: ## Check everything. Changes no file of the tree.
	@$(MAKE) --no-print-directory fmt
	@$(MAKE) --no-print-directory deny
	@$(MAKE) --no-print-directory clippy
	@$(MAKE) --no-print-directory features
	@$(MAKE) --no-print-directory doc
	@$(MAKE) --no-print-directory guard
	@$(MAKE) --no-print-directory test

verify-aws: ## Check the optional crypto provider aws-lc-rs; outside the gate.
	cargo clippy $(AWS_PACKAGES) --all-targets --locked --features $(AWS) -- -D warnings
	cargo test $(AWS_PACKAGES) --locked --features $(AWS) --lib --bins --test certs --test command --test link --test sim

fix: ## Format, and apply what clippy can apply by itself.
	cargo fmt --all
	cargo clippy --workspace --all-targets --locked --fix --allow-dirty --allow-staged

main-job: ## Start a cluster of processes, kill a leader under load, lose nothing.
	cargo run --release -p quicraft-examples --bin kv-cluster -- --kill-leader --json

BENCH := cargo run --quiet --release --locked -p quicraft-bench --

# About 12 minutes on two idle cores. One alone: `cargo run --release -p quicraft-bench -- rpc --json`.
bench: ## Measure beside gRPC, TLS over TCP and bare quinn; figures to target/bench/figures.json.
	$(BENCH) all --out target/bench

plots: ## Write the plots and the tables of docs/performance.md from what `make bench` found.
	$(BENCH) plot target/bench

sabotage: ## Take one promise out at a time; a test must notice each.
	tests/sabotage/run

fuzz: ## Fuzz each target for FUZZ_SECONDS (60) with cargo-fuzz and a nightly compiler.
	tests/fuzz/run

fmt: ## A step of verify: the format.
	cargo fmt --all --check

clippy: ## A step of verify: the lints, in all targets.
	cargo clippy --workspace --all-targets --locked -- -D warnings

features: ## A step of verify: the libraries without their default features, and with optional ones.
	cargo check -p quicraft-certs --no-default-features --locked
	cargo check -p quicraft-transport --no-default-features --locked
	cargo check -p quicraft-transport --features dangerous-key-log,fuzzing --locked

doc: ## A step of verify: the documentation of the public API.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

deny: ## A step of verify: licences, bans, sources and advisories of the dependencies.
	@if ! cargo deny --version >/dev/null 2>&1; then \
		echo "skipped: licences, bans, sources and advisories, because cargo-deny is not installed"; \
		echo "         (cargo install cargo-deny --locked)"; \
	else \
		cargo deny --locked check licenses bans sources || exit 1; \
		if cargo deny fetch db >/dev/null 2>&1; then \
			cargo deny --locked check advisories; \
		else \
			echo "skipped: advisories, because their database cannot be fetched"; \
		fi; \
	fi

GUARD := cargo run --quiet --profile guard --locked -p quicraft-guard --

# Asked for here, because without valgrind nothing has to be built either.
guard: ## A step of verify: instructions of the hot paths, beside tests/guard/baseline.txt.
	@if ! valgrind --version >/dev/null 2>&1; then \
		echo "skipped: instruction counts of the hot paths, because valgrind is not installed"; \
	elif [ ! -f tests/guard/baseline.txt ]; then \
		echo "skipped: instruction counts of the hot paths, because there is no baseline yet"; \
		echo "         (make guard-baseline)"; \
	else \
		$(GUARD) check; \
	fi

guard-baseline: ## Write what the hot paths take now, and print the difference.
	$(GUARD) baseline

test: ## A step of verify: all tests.
	cargo test --workspace --locked
