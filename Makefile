# greedylrd: `make` builds, `make demo` shows it, `make check` tests it; `make help` lists the rest.
# Only `make deps`, and demo and check through it, may use the network, and only for what is missing.
# Parameters: CC, SANITIZE=address,undefined, WERROR=1, BUILD=dir, PREFIX, DESTDIR.
BUILD   ?= build
PREFIX  ?= /usr/local
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PKGS    := libmicrohttpd gnutls jansson libuv sqlite3 libprotobuf-c
VERSION := 0.1.0
PYTHON  ?= /usr/bin/python3
# The library and what links it; soname libgreedylr.so.0.
CLIENT_PKGS := libcurl jansson
SOVERSION   := 0

CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 \
            -Wundef -Wno-unused-parameter $(if $(WERROR),-Werror)
HARDEN   := -fstack-protector-strong -fPIE $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2)
SAN      := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# Decisions must be the same bits everywhere: no fused multiply-add, no fast-math.
EXACT    := -ffp-contract=off -fno-fast-math
# Found when make starts; demo and check build in a make of their own, after deps.
HAVE_SYSTEMD := $(shell pkg-config --exists libsystemd 2>/dev/null && echo 1)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) $(if $(HAVE_SYSTEMD),libsystemd) 2>/dev/null)

ALL_CPPFLAGS = -D_GNU_SOURCE -DGREEDYLRD_VERSION='"$(VERSION)"' $(if $(HAVE_SYSTEMD),-DHAVE_SYSTEMD=1) \
               -Idaemon -isystem $(BUILD)/gen $(CPPFLAGS)
ALL_CFLAGS   = -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(SAN) $(EXACT) $(PKG_CFLAGS) -MD -MP
ALL_LDFLAGS  = -pie -Wl,-z,relro,-z,now $(SAN) $(LDFLAGS)
LIBS         = $(PKG_LIBS) -lm -lpthread

PROTO    := greedylr/v1/scheduler
WKT      := google/protobuf/duration google/protobuf/timestamp
GEN_H    := $(patsubst %,$(BUILD)/gen/%.pb-c.h,$(PROTO) $(WKT))
GEN_C    := $(GEN_H:.h=.c)
GEN_O    := $(GEN_C:.c=.o)

CORE_O   := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard daemon/core/*.c))
RPC_O    := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard daemon/rpc/*.c))
STORE_O  := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard daemon/store/*.c))
SERVER_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard daemon/server/*.c))
MAIN_O   := $(BUILD)/obj/daemon/server/main.o
DAEMON_O := $(CORE_O) $(RPC_O) $(STORE_O) $(SERVER_O) $(GEN_O) $(BUILD)/gen/web_assets.o

# The dashboard's files, and the charts of Debian's libjs-dygraphs, as PATH=FILE.
DYGRAPHS   := /usr/share/javascript/dygraphs
WEB_FILES  := $(wildcard daemon/web/*.css daemon/web/*.js daemon/web/*.svg)
WEB_ASSETS := =daemon/web/index.html $(foreach f,$(WEB_FILES),web/$(notdir $f)=$f) \
              $(foreach f,dygraph.min.js dygraph.min.css,web/$f=$(DYGRAPHS)/$f)

# The client sees nothing of the daemon.  Position independent, and hidden unless greedylr.h says otherwise.
CLIENT_CPPFLAGS = -D_GNU_SOURCE -DGREEDYLRD_VERSION='"$(VERSION)"' -Iclient $(CPPFLAGS)
CLIENT_CFLAGS   = -std=c11 $(CFLAGS) $(WARN) $(HARDEN) -fPIC -fvisibility=hidden $(SAN) \
                  $(shell pkg-config --cflags $(CLIENT_PKGS)) -MD -MP
CLIENT_LIBS     = $(shell pkg-config --libs $(CLIENT_PKGS)) -lpthread
CLIENT_LIB_O    := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard client/lib/*.c))
LIB_A           := $(BUILD)/libgreedylr.a
LIB_SO          := $(BUILD)/libgreedylr.so
# The way to a daemon alone; the rest of the library has names that the core has as well.
TRANSPORT_O     := $(addprefix $(BUILD)/obj/client/lib/,bytes.o clock.o credentials.o fail.o sse.o transport.o transport_tls.o)
CLI_O           := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard client/cli/*.c)) $(BUILD)/gen/cli_docs.o
TRAIN_O         := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard client/train/*.c))
COMPLETIONS     := $(BUILD)/greedylr.bash $(BUILD)/_greedylr
EXAMPLES        := $(patsubst client/examples/%.c,$(BUILD)/examples/%,$(wildcard client/examples/*.c))

# Generated sources are kept: headers are included long after they were made.
.SECONDARY:
.DELETE_ON_ERROR:
.PHONY: all help clean unit install uninstall deb deps demo check check-all check-fast compile_commands \
        headers includes format-check format lint breaking integration crash interop interop-client model \
        browser fuzz fuzz-build fuzz-targets coverage tidy cppcheck compare compare-quick nmf \
        soak bench deps-bench instructions
all: $(BUILD)/greedylrd $(BUILD)/greedylr $(BUILD)/greedylr-train $(LIB_A) $(LIB_SO) $(EXAMPLES)

help:
	@echo 'make             build $(BUILD)/greedylrd, $(BUILD)/greedylr, $(BUILD)/libgreedylr.{a,so}, $(BUILD)/greedylr-train and the examples in C'
	@echo 'make demo        install what is missing, build, train a real model with the daemon (under 3 minutes)'
	@echo 'make check       install what is missing, build and run every test (about 10 minutes)'
	@echo 'make check-all   the same, and what takes too long for every change'
	@echo 'make check-fast  unit tests and the quick integration tests (under a minute)'
	@echo 'make model       100,000 random schedules of ranks, rewinds and crashes against a model (about 10 minutes);'
	@echo '                 COUNT=n, or SEED=n shows one of them'
	@echo 'make soak        the long figures: kills, power losses, full disks and more, an hour or MINUTES; goes on where'
	@echo '                 it was, prints seeds; PART=kill9,power and SEED=n choose'
	@echo 'make fuzz        every fuzz target of tests/fuzz for 10 seconds; FUZZ_SECONDS=n, TARGETS=fuzz_json choose'
	@echo 'make browser     the dashboard in Chromium'
	@echo 'make coverage    lines and branches that the tests reach; TESTS=test_x.py chooses of the integration tests'
	@echo 'make cppcheck    static analysis, a part of make check; make tidy: clang-tidy of what changed since it was clean'
	@echo 'make compare     trains models on real data with GreedyLR and other schedules and says which end lower (half an'
	@echo '                 hour); compare-quick shows how it works (a minute); SEEDS=0-9, CELLS=digits,adam, ARMS=... choose'
	@echo 'make bench       speed, CPU and memory beside Redis, etcd, Node, SQLite and the bare libraries (10 minutes at most);'
	@echo '                 PART=speed,lone,memory,round,start CONNECTIONS=1,64 ROUNDS=n ONLY=greedylrd,redis choose'
	@echo 'make instructions  what each part of a report takes, counted by callgrind (a part of make check)'
	@echo 'make nmf         factorises a matrix by SGD under a bound that it computes, with six schedules (a minute)'
	@echo 'make deps        install the Debian packages that are missing'
	@echo 'make install     binary, library, header, pkg-config file, systemd units and man pages; DESTDIR and PREFIX as'
	@echo '                 usual; uninstall undoes it'
	@echo 'make deb         Debian packages in $(BUILD)/deb, looked at by lintian; DEB_REVISION=n tells builds of a version apart'
	@echo 'make format      clang-format the sources; compile_commands.json on request'

$(BUILD)/greedylrd: $(DAEMON_O)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/gen/%.pb-c.o: $(BUILD)/gen/%.pb-c.c | $(GEN_H)
	$(CC) $(ALL_CPPFLAGS) -std=gnu11 $(CFLAGS) $(HARDEN) $(SAN) -c -o $@ $<

$(BUILD)/gen/greedylr/%.pb-c.c $(BUILD)/gen/greedylr/%.pb-c.h &: proto/greedylr/%.proto
	@mkdir -p $(BUILD)/gen
	protoc-c -I proto -I /usr/include --c_out=$(BUILD)/gen $<

$(BUILD)/gen/google/%.pb-c.c $(BUILD)/gen/google/%.pb-c.h &: /usr/include/google/%.proto
	@mkdir -p $(BUILD)/gen
	protoc-c -I /usr/include --c_out=$(BUILD)/gen $<

# One file that changed makes all of the table again.
$(BUILD)/gen/web_assets.c: daemon/web/embed.sh $(foreach a,$(WEB_ASSETS),$(lastword $(subst =, ,$a)))
	@mkdir -p $(@D)
	daemon/web/embed.sh $(BUILD)/gen/web $(WEB_ASSETS) >$@
$(BUILD)/gen/web_assets.o: $(BUILD)/gen/web_assets.c daemon/server/web.h
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

# ---- Client ----

$(BUILD)/obj/client/%.o: client/%.c
	@mkdir -p $(@D)
	$(CC) $(CLIENT_CPPFLAGS) $(CLIENT_CFLAGS) -c -o $@ $<

# One object in which only glr_ names are left, so that a program linked statically has no others in its way.
$(LIB_A): $(CLIENT_LIB_O)
	$(LD) -r -o $(BUILD)/obj/client/libgreedylr.o $^
	objcopy --localize-hidden $(BUILD)/obj/client/libgreedylr.o
	rm -f $@
	$(AR) rcs $@ $(BUILD)/obj/client/libgreedylr.o

$(LIB_SO): $(LIB_SO).$(SOVERSION)
	ln -sf $(<F) $@
$(LIB_SO).$(SOVERSION): $(CLIENT_LIB_O) client/lib/libgreedylr.map
	$(CC) -shared -Wl,-soname,$(@F) -Wl,--version-script=client/lib/libgreedylr.map -Wl,-z,relro,-z,now \
	  $(if $(SAN),$(SAN),-Wl,-z,defs) $(LDFLAGS) -o $@ $(CLIENT_LIB_O) $(CLIENT_LIBS)

# As a user of the installed library builds: its header, its library, nothing else of ours.
$(BUILD)/examples/%: client/examples/%.c client/lib/greedylr.h $(LIB_SO)
	@mkdir -p $(@D)
	$(CC) -Iclient/lib -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(ALL_LDFLAGS) -o $@ $< -L$(BUILD) -lgreedylr \
	  -Wl,-rpath,'$$ORIGIN/..' -lm
$(BUILD)/clib_driver: tests/integration/clib_driver.c client/lib/greedylr.h $(LIB_A)
	$(CC) -D_GNU_SOURCE -Iclient/lib -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(PKG_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIB_A) $(CLIENT_LIBS)
# Preloaded into a daemon it fails what a test asks for; a sanitizer's allocator stays.
$(BUILD)/faults.so: tests/faults/shim.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c11 $(CFLAGS) $(WARN) -fPIC -shared -fno-builtin $(if $(SANITIZE),-DFAULTS_NO_MALLOC) -o $@ $< -ldl
# What the integration tests need besides the programs comes together.
$(BUILD)/clib_driver: | $(BUILD)/faults.so

# The command line tool: flags come from the contract's descriptors, their help from its comments.
$(BUILD)/greedylr: $(CLI_O) $(CLIENT_LIB_O) $(GEN_O)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CLIENT_LIBS) $(shell pkg-config --libs libprotobuf-c gnutls) -lm
$(BUILD)/obj/client/cli/%.o: client/cli/%.c | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(CLIENT_CPPFLAGS) -isystem $(BUILD)/gen $(CLIENT_CFLAGS) $(PKG_CFLAGS) -c -o $@ $<
$(BUILD)/gen/cli_docs.c: client/cli/docs.awk proto/$(PROTO).proto
	@mkdir -p $(@D)
	awk -f $^ >$@
$(BUILD)/gen/cli_docs.o: $(BUILD)/gen/cli_docs.c client/cli/docs.h
	$(CC) $(CLIENT_CPPFLAGS) $(CLIENT_CFLAGS) -c -o $@ $<
# The trainer of the policy learned: the core, nothing else of the daemon, and the library's way to one.
$(BUILD)/greedylr-train: $(TRAIN_O) $(CORE_O) $(TRANSPORT_O)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CLIENT_LIBS) -lm
$(BUILD)/obj/client/train/%.o: client/train/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -Idaemon -Iclient $(CPPFLAGS) -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(SAN) $(EXACT) \
	  $(shell pkg-config --cflags $(CLIENT_PKGS)) -MD -MP -c -o $@ $<
$(BUILD)/greedylr.bash $(BUILD)/_greedylr: $(BUILD)/greedylr
	$(BUILD)/greedylr completion $(if $(filter %.bash,$@),bash,zsh) >$@

# ---- Installation ----

UNITDIR ?= $(PREFIX)/lib/systemd/system
MANDIR  ?= $(PREFIX)/share/man
LIBDIR  ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
install: $(BUILD)/greedylrd $(BUILD)/greedylr $(COMPLETIONS) $(LIB_A) $(LIB_SO)
	install -D -m 755 $(BUILD)/greedylrd $(DESTDIR)$(PREFIX)/bin/greedylrd
	install -D -m 644 systemd/greedylrd.socket $(DESTDIR)$(UNITDIR)/greedylrd.socket
	sed 's|^ExecStart=/usr/local/bin/|ExecStart=$(PREFIX)/bin/|' systemd/greedylrd.service >$(BUILD)/greedylrd.service
	install -D -m 644 $(BUILD)/greedylrd.service $(DESTDIR)$(UNITDIR)/greedylrd.service
	install -D -m 644 systemd/greedylrd.env $(DESTDIR)$(PREFIX)/share/doc/greedylrd/greedylrd.env
	install -D -m 644 daemon/greedylrd.8 $(DESTDIR)$(MANDIR)/man8/greedylrd.8
	install -D -m 755 $(BUILD)/greedylr $(DESTDIR)$(PREFIX)/bin/greedylr
	install -D -m 644 client/cli/greedylr.1 $(DESTDIR)$(MANDIR)/man1/greedylr.1
	install -D -m 644 $(BUILD)/greedylr.bash $(DESTDIR)$(BASHDIR)/greedylr
	install -D -m 644 $(BUILD)/_greedylr $(DESTDIR)$(ZSHDIR)/_greedylr
	install -D -m 644 client/lib/greedylr.h $(DESTDIR)$(INCLUDEDIR)/greedylr.h
	install -D -m 644 $(LIB_A) $(DESTDIR)$(LIBDIR)/libgreedylr.a
	install -D -m 644 $(LIB_SO).$(SOVERSION) $(DESTDIR)$(LIBDIR)/libgreedylr.so.$(VERSION)
	ln -sf libgreedylr.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libgreedylr.so.$(SOVERSION)
	ln -sf libgreedylr.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libgreedylr.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|' client/lib/libgreedylr.pc.in >$(BUILD)/libgreedylr.pc
	install -D -m 644 $(BUILD)/libgreedylr.pc $(DESTDIR)$(LIBDIR)/pkgconfig/libgreedylr.pc
	install -D -m 644 client/lib/libgreedylr.3 $(DESTDIR)$(MANDIR)/man3/libgreedylr.3
	ln -sf libgreedylr.3 $(DESTDIR)$(MANDIR)/man3/greedylr.3

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/greedylrd $(DESTDIR)$(UNITDIR)/greedylrd.socket \
	  $(DESTDIR)$(UNITDIR)/greedylrd.service $(DESTDIR)$(PREFIX)/share/doc/greedylrd/greedylrd.env \
	  $(DESTDIR)$(MANDIR)/man8/greedylrd.8 $(DESTDIR)$(PREFIX)/bin/greedylr \
	  $(DESTDIR)$(MANDIR)/man1/greedylr.1 $(DESTDIR)$(BASHDIR)/greedylr $(DESTDIR)$(ZSHDIR)/_greedylr $(DESTDIR)$(INCLUDEDIR)/greedylr.h \
	  $(addprefix $(DESTDIR)$(LIBDIR)/libgreedylr.,a so so.$(SOVERSION) so.$(VERSION)) \
	  $(DESTDIR)$(LIBDIR)/pkgconfig/libgreedylr.pc $(addprefix $(DESTDIR)$(MANDIR)/man3/,libgreedylr.3 greedylr.3)

# systemd/deb.sh builds them from a copy of the sources, with systemd/debian as its debian directory.
deb:
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_DEB)
	@systemd/deb.sh $(BUILD)/deb $(VERSION) $(DEB_REVISION) $(filter-out build-essential gcc libc6-dev lintian debhelper,$(DEPS_BUILD) $(DEPS_DEB))

# ---- What has to be there ----

# Compilers and the libraries of the README's table.
DEPS_BUILD := gcc libc6-dev pkg-config libmicrohttpd-dev libjansson-dev libuv1-dev libsqlite3-dev libprotobuf-c-dev \
              protobuf-c-compiler protobuf-compiler libprotobuf-dev uthash-dev libsystemd-dev \
              libcurl4-gnutls-dev libgnutls28-dev libjs-dygraphs
# The demo's training run and its curl lines; the training is a test as well.
DEPS_DEMO  := python3 python3-torch python3-sklearn curl
# Unit tests, second compiler and format, fault injection, systemd-analyze, man pages and their examples, completion, the browser,
# npm for buf (below).
DEPS_CHECK := libcriterion-dev valgrind openssl clang libclang-rt-dev llvm clang-tidy cppcheck clang-format strace \
              systemd mandoc zsh python3-protobuf python3-yaml mypy prometheus python3-prometheus-client \
              chromium jq
# The comparison of schedules, which nothing else needs: its picture, and fast products of matrices.
DEPS_COMPARE := python3 python3-torch python3-sklearn python3-matplotlib libopenblas0-serial
# The Debian packages: what builds them beside DEPS_BUILD.
DEPS_DEB   := build-essential debhelper dh-python lintian pybuild-plugin-pyproject python3-all python3-setuptools
# And what tries them, in a container with systemd of its own: a part of check-all.
DEPS_DEPLOY := systemd-container debootstrap
# Who the bench measures the daemon beside, and with what.
DEPS_BENCH := wrk redis-server etcd-server nodejs python3 valgrind
DEB_REVISION ?= 1
BUF        := tests/node_modules/.bin/buf

deps:
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_DEMO) $(DEPS_CHECK)
	@$(MAKE) --no-print-directory $(BUF)

# buf, Connect and playwright-core are not in Debian; tests/package.json says which versions.
$(BUF): tests/package.json
	@tests/deps.sh --command npm
	@echo 'deps: npm installs buf, the Connect client of the interop tests and playwright-core into tests/node_modules'
	cd tests && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

demo:
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_DEMO)
	@$(MAKE) --no-print-directory all
	@client/examples/demo.sh $(BUILD)

# The factorisation with its bound, under six schedules: a minute.
nmf:
	@tests/deps.sh $(DEPS_BUILD) python3-sklearn
	@$(MAKE) --no-print-directory all
	@client/examples/nmf.sh $(BUILD)

# ---- Tests ----

# Unit tests: tests/unit/test_ROOM_*.c, all in one Criterion binary.
COMMA    := ,
# What they allocate goes through test_server_memory.c, which makes it fail.
UNIT_WRAP := $(patsubst %,-Wl$(COMMA)--wrap=%,malloc calloc realloc strdup strndup)
UNIT_O   := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/unit/*.c))
$(BUILD)/unit: $(UNIT_O) $(filter-out $(MAIN_O),$(DAEMON_O))
	$(CC) $(ALL_LDFLAGS) $(UNIT_WRAP) -o $@ $^ $(LIBS) -lcriterion
unit: $(BUILD)/unit
	$(BUILD)/unit
# The same tests in one process, for ThreadSanitizer and for leaks (tests/plain).
PLAIN_O := $(patsubst %.c,$(BUILD)/obj/plain/%.o,$(wildcard tests/unit/*.c) tests/plain/runner.c)
$(BUILD)/obj/plain/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) -Itests/plain $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<
$(BUILD)/unit-plain: $(PLAIN_O) $(filter-out $(MAIN_O),$(DAEMON_O))
	$(CC) $(ALL_LDFLAGS) $(UNIT_WRAP) -o $@ $^ $(LIBS)

# The model check: the service and the store as they are, with the linker putting tests/model/world.c between
# them and what decides when things happen.  COUNT schedules, or the one of SEED; chunks of a fold are small.
MODEL_O    := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/model/*.c))
WORKERS_O  := $(BUILD)/obj/tests/workers.o
MODEL_FOLD := $(BUILD)/obj/tests/model/sqlite_fold.o
MODEL_WRAP := store_commit store_maintain store_probe commit_submit uv_cond_wait uv_cond_timedwait uv_timer_start \
              uv_close getrandom
COUNT      ?= 100000
$(MODEL_O): ALL_CPPFLAGS += -Itests -Itests/model
$(WORKERS_O): ALL_CPPFLAGS += -Itests
$(MODEL_FOLD): daemon/store/sqlite_fold.c | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -DSTORE_STEP_ROWS=3 -c -o $@ $<
$(BUILD)/model: $(MODEL_O) $(WORKERS_O) $(MODEL_FOLD) $(filter-out $(MAIN_O) %/store/sqlite_fold.o,$(DAEMON_O))
	$(CC) $(ALL_LDFLAGS) $(MODEL_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)
model: $(BUILD)/model
	$(BUILD)/model $(if $(SEED),--seed $(SEED),--count $(COUNT))

# What each part of a report costs (tests/bench/cost.c), in time (build/cost all) and in instructions.
$(BUILD)/cost: $(BUILD)/obj/tests/bench/cost.o $(filter-out $(MAIN_O),$(DAEMON_O))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
instructions: $(BUILD)/cost
	@BUILD=$(BUILD) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/instructions.py

# The table of its parts is in tests/soak.sh.
soak:
	@BUILD=$(BUILD) PYTHON=$(PYTHON) MINUTES=$(MINUTES) PART=$(PART) SEED=$(SEED) nice -n 10 tests/soak.sh

# The fuzz targets of tests/fuzz (README.md there), built apart with clang: fuzz_*.c are of the daemon, client_*.c of what
# reads files and answers in the client.  TARGETS and FUZZ_SECONDS choose.
FUZZ_BUILD  ?= $(BUILD)/fuzz
FUZZ_DAEMON := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_CLIENT := $(wildcard tests/fuzz/client_*.c)
FUZZ_BIN    := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_DAEMON) $(FUZZ_CLIENT))
$(patsubst %.c,$(BUILD)/obj/%.o,$(FUZZ_DAEMON)): ALL_CPPFLAGS += -Itests/fuzz
# Archives, so that a target has in it what it tries and nothing else.
$(BUILD)/fuzz_daemon.a: $(filter-out $(MAIN_O),$(DAEMON_O))
$(BUILD)/fuzz_client.a: $(CLIENT_LIB_O) $(filter-out $(BUILD)/obj/client/cli/main.o,$(CLI_O))
$(BUILD)/fuzz_daemon.a $(BUILD)/fuzz_client.a:
	rm -f $@
	$(AR) rcs $@ $^
$(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_DAEMON)): $(BUILD)/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/fuzz_daemon.a
	$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)
$(patsubst %.c,$(BUILD)/obj/%.o,$(FUZZ_CLIENT)): ALL_CPPFLAGS := -D_GNU_SOURCE -Iclient -Itests/fuzz
$(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_CLIENT)): $(BUILD)/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/fuzz_client.a
	$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(CLIENT_LIBS)
fuzz-targets: $(FUZZ_BIN)
fuzz-build:
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang SANITIZE=fuzzer-no-link,address,undefined \
	  CFLAGS='-O1 -gline-tables-only' fuzz-targets
fuzz: fuzz-build
	@FUZZ_BUILD=$(FUZZ_BUILD) tests/fuzz/run.sh $(TARGETS)

# Power losses and failing calls (tests/power): the store as it is on a disk in memory, with the linker putting that in
# the place of the few file calls that are not SQLite's; chunks of a fold are small.
POWER_O    := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/power/*.c))
POWER_WRAP := stat access open unlink rename mkdir fsync
$(POWER_O): ALL_CPPFLAGS += -Itests -Itests/power
$(BUILD)/power: $(POWER_O) $(WORKERS_O) $(MODEL_FOLD) $(CORE_O) $(filter-out %/store/sqlite_fold.o,$(STORE_O))
	$(CC) $(ALL_LDFLAGS) $(POWER_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

# Static analysis: cppcheck of everything, which is quick and part of make check; clang-tidy of what changed since it
# was found clean, which is slow.  .clang-tidy says which checks, and why not the others.
TIDY_C    := $(wildcard daemon/*/*.c client/lib/*.c client/cli/*.c)
TIDY_CPPFLAGS = -D_GNU_SOURCE -DHAVE_SYSTEMD=1 -DGREEDYLRD_VERSION='"$(VERSION)"'
cppcheck:
	@mkdir -p $(BUILD)/cppcheck
	cppcheck -q -j2 --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --cppcheck-build-dir=$(BUILD)/cppcheck --library=posix,tests/cppcheck.cfg $(TIDY_CPPFLAGS) -Idaemon -Iclient \
	  daemon client/lib client/cli client/train
tidy: $(TIDY_C:%=$(BUILD)/tidy/%.ok)
$(BUILD)/tidy/daemon/%.ok: daemon/% .clang-tidy | $(GEN_H)
	@mkdir -p $(@D)
	clang-tidy --quiet $< -- $(TIDY_CPPFLAGS) -Idaemon -isystem $(BUILD)/gen $(PKG_CFLAGS) -std=c11
	@touch $@
$(BUILD)/tidy/client/%.ok: client/% .clang-tidy | $(GEN_H)
	@mkdir -p $(@D)
	clang-tidy --quiet $< -- $(TIDY_CPPFLAGS) -Iclient -isystem $(BUILD)/gen $(PKG_CFLAGS) -std=c11
	@touch $@

# tests/coverage.sh says what it runs and what it insists on.
COVERAGE := -fprofile-instr-generate -fcoverage-mapping
coverage:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/coverage CC=clang CFLAGS='-O1 -g1 $(COVERAGE)' LDFLAGS='$(COVERAGE)' all \
	  $(addprefix $(BUILD)/coverage/,unit model power clib_driver)
	@BUILD=$(BUILD)/coverage PYTHON=$(PYTHON) tests/coverage.sh

# tests/bench/README.md.  SEEDS (0-9) and CELLS (a number, or words such as digits,adam) choose, MINUTES ends early.
compare: COMPARE_ARGS := --out $(BUILD)/compare $(if $(SEEDS),--seeds '$(SEEDS)') $(if $(CELLS),--cells '$(CELLS)') \
                         $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ARMS),--arms '$(ARMS)')
compare-quick: COMPARE_ARGS := --out $(BUILD)/compare-quick --seeds 0-2 --cells 9 --no-lengths
compare compare-quick:
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_COMPARE)
	@$(MAKE) --no-print-directory $(BUILD)/greedylrd
	@BUILD=$(BUILD) PYTHONDONTWRITEBYTECODE=1 nice -n 10 $(PYTHON) tests/bench/compare.py $(COMPARE_ARGS)

# tests/bench/README.md.  Their servers are started on free ports of loopback, and stopped.
BENCH_BIN  := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/peer_*.c))
BENCH_ARGS  = --out $(BUILD)/bench $(if $(PART),--part $(PART)) $(if $(CONNECTIONS),--connections $(CONNECTIONS)) \
              $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(MINUTES),--minutes $(MINUTES))
$(BUILD)/bench/peer_%: tests/bench/peer_%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(SAN) -pie -o $@ $< $(PKG_CFLAGS) $(PKG_LIBS)
deps-bench:
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_BENCH)
bench: deps-bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	@BUILD=$(BUILD) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/bench.py $(BENCH_ARGS)

check:
	@$(MAKE) --no-print-directory deps
	@tests/check.sh all

# And what takes too long for every change.
check-all:
	@$(MAKE) --no-print-directory deps
	@tests/deps.sh $(DEPS_DEB) $(DEPS_DEPLOY)
	@tests/check.sh more

# The inner loop: no installation, one compiler, no sanitizers, no kills.
check-fast:
	@tests/check.sh fast

integration: all $(BUILD)/clib_driver
	BUILD=$(BUILD) $(PYTHON) tests/parallel.py tests/integration
crash: all
	BUILD=$(BUILD) $(PYTHON) tests/crash/test_kill9.py
interop: all interop-client
	BUILD=$(BUILD) node --test --test-reporter=spec tests/interop/all.test.js
browser: all $(BUF)
	BUILD=$(BUILD) node --test --test-reporter=spec tests/browser/all.test.js

# What the interop tests are clients with, generated from the contract.
INTEROP_CLIENT := tests/interop/gen/greedylr/v1/scheduler_pb.js
interop-client: $(INTEROP_CLIENT)
$(INTEROP_CLIENT): proto/$(PROTO).proto tests/interop/buf.gen.yaml tests/interop/details/error_info.proto $(BUF)
	$(BUF) generate --template tests/interop/buf.gen.yaml
	@touch $@

SOURCES := $(wildcard daemon/*/*.[ch] client/*/*.[ch] tests/*.[ch] tests/*/*.[ch])
format-check:
	clang-format --dry-run --Werror $(SOURCES)
format:
	clang-format -i $(SOURCES)

# Every header compiles on its own.
HEADERS := $(wildcard daemon/*/*.h client/*/*.h)
headers: $(HEADERS:%=$(BUILD)/headers/%.ok) $(BUILD)/headers/greedylr.h++.ok
$(BUILD)/headers/%.ok: % | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(filter-out -MD -MP,$(ALL_CFLAGS)) -MD -MF $@.d -MT $@ -fsyntax-only -x c -include $< /dev/null
	@touch $@

$(BUILD)/headers/client/%.ok: client/%
	@mkdir -p $(@D)
	$(CC) $(CLIENT_CPPFLAGS) $(filter-out -MD -MP,$(CLIENT_CFLAGS)) -MD -MF $@.d -MT $@ -fsyntax-only -x c -include $< /dev/null
	@touch $@
# The trainer's may look into the core.
$(BUILD)/headers/client/train/%.ok: CLIENT_CPPFLAGS += -Idaemon
# The public one in C++ as well.
$(BUILD)/headers/greedylr.h++.ok: client/lib/greedylr.h
	@mkdir -p $(@D)
	clang -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -include $< /dev/null
	@touch $@

includes:
	tests/check-includes.sh
lint: $(BUF)
	cd proto && ../$(BUF) lint
breaking: $(BUF)
	tests/interop/breaking.sh $(BUF)

compile_commands: $(GEN_H)
	@mkdir -p $(BUILD)/commands
	@for c in $(wildcard daemon/*/*.c client/*/*.c tests/*/*.c); do \
	    clang $(ALL_CPPFLAGS) -Iclient -Iclient/lib $(filter-out -MD -MP,$(ALL_CFLAGS)) -w -fsyntax-only \
	        -MJ $(BUILD)/commands/$$(echo $$c | tr / _).json $$c; done
	@{ echo '['; cat $(BUILD)/commands/*.json | sed -e 's/"output": "[^"]*", //' -e '$$ s/,$$//'; echo ']'; } >compile_commands.json
	@echo compile_commands.json

clean:
	rm -rf $(BUILD) tests/interop/gen compile_commands.json

-include $(shell find $(BUILD)/obj $(BUILD)/gen $(BUILD)/headers -name '*.d' 2>/dev/null)
