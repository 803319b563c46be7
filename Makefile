# Thin over Node scripts, so that every system with Node and make can use it.
# Each target installs what it needs and says what it cannot install.

NODE ?= node

.PHONY: run up down test check sim bench build clean
.DEFAULT_GOAL := run

# A running system in the foreground; NATS_URL=nats://... takes a server that runs.
# exec: Ctrl-C and the exit code are the program's own.
run:
	@$(NODE) scripts/prepare.mjs install build nats && \
	exec $(NODE) --enable-source-maps dist/src/main/run.js

# A topology in the background; TOPOLOGY=topology/lmdb.yaml or one of your own.
up:
	@$(NODE) scripts/prepare.mjs install build && \
	exec $(NODE) --enable-source-maps dist/src/main/up.js $(TOPOLOGY)

# Stops what `make up` started, and nothing else; what it stored stays.
down:
	@$(NODE) scripts/prepare.mjs install build && \
	exec $(NODE) --enable-source-maps dist/src/main/down.js

# The whole suite; TEST=word only the files whose path holds the word. The long form of
# the loss tests: make test TEST=e2e/loss LOSS_MINUTES=30 [LOSS_SEED=s]
test: export LOSS_MINUTES := $(LOSS_MINUTES)
test: export LOSS_SEED := $(LOSS_SEED)
test:
	@$(NODE) scripts/test.mjs $(TEST)

# Format, lint, types, rooms, licences.
check:
	@$(NODE) scripts/check.mjs

# The actors on virtual time under faults; SEEDS=n of them, SEED=s the first, or alone.
sim: export SEEDS := $(SEEDS)
sim: export SEED := $(SEED)
sim:
	@$(NODE) scripts/sim.mjs

# bench/results/NAME.json by way of BENCH=NAME.
bench:
	@$(NODE) scripts/bench.mjs $(BENCH)

build:
	@$(NODE) scripts/prepare.mjs install build

clean:
	@$(NODE) scripts/clean.mjs
