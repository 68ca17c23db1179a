# greedylrd: `make` builds, `make demo` shows it, `make check` tests it.  No build target uses the network; `make deps` does.
# Parameters: CC, SANITIZE=address,undefined, WERROR=1, BUILD=dir, PREFIX, DESTDIR.
BUILD   ?= build
PREFIX  ?= /usr/local
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PKGS    := libmicrohttpd jansson libuv sqlite3 libprotobuf-c
VERSION := 0.1.0

CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 \
            -Wundef -Wno-unused-parameter $(if $(WERROR),-Werror)
HARDEN   := -fstack-protector-strong -fPIE $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2)
SAN      := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# Decisions must be the same bits everywhere: no fused multiply-add, no fast-math.
EXACT    := -ffp-contract=off -fno-fast-math
HAVE_SYSTEMD := $(shell pkg-config --exists libsystemd 2>/dev/null && echo 1)

ALL_CPPFLAGS = -D_GNU_SOURCE -DGREEDYLRD_VERSION='"$(VERSION)"' $(if $(HAVE_SYSTEMD),-DHAVE_SYSTEMD=1) \
               -Idaemon -isystem $(BUILD)/gen $(CPPFLAGS)
ALL_CFLAGS   = -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(SAN) $(EXACT) $(shell pkg-config --cflags $(PKGS) 2>/dev/null) -MMD -MP
ALL_LDFLAGS  = -pie -Wl,-z,relro,-z,now $(SAN) $(LDFLAGS)
LIBS         = $(shell pkg-config --libs $(PKGS) $(if $(HAVE_SYSTEMD),libsystemd) 2>/dev/null) -lm -lpthread

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
DAEMON_O := $(CORE_O) $(RPC_O) $(STORE_O) $(SERVER_O) $(GEN_O)

# Generated sources are kept: headers are included long after they were made.
.SECONDARY:
.PHONY: all clean
all: $(BUILD)/greedylrd

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

# Unit tests: tests/unit/test_ROOM_*.c, all in one Criterion binary.
UNIT_O   := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/unit/*.c))
$(BUILD)/unit: $(UNIT_O) $(filter-out $(MAIN_O),$(DAEMON_O))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) -lcriterion

# Debian packages: to build, to test, and for the demo.
DEB_BUILD := gcc make pkg-config libmicrohttpd-dev libjansson-dev libuv1-dev libsqlite3-dev libprotobuf-c-dev \
             protobuf-c-compiler protobuf-compiler libprotobuf-dev uthash-dev libsystemd-dev
DEB_TEST  := libcriterion-dev clang clang-format libclang-rt-14-dev strace curl mandoc python3
DEB_DEMO  := python3-torch python3-sklearn python3-numpy
missing    = $(shell for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)

# Installs what is missing from $(1), after saying so; does nothing, and needs no network, if nothing is.
define install_missing
@missing="$(call missing,$(1))"; if [ -n "$$missing" ]; then \
	echo "installing with apt: $$missing"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

.PHONY: deps deps-demo check check-fast unit integration format-check includes install uninstall demo
deps:
	$(call install_missing,$(DEB_BUILD) $(DEB_TEST))
deps-demo:
	$(call install_missing,$(DEB_BUILD) $(DEB_DEMO))

# The test command.  Parts run in their own make so that what deps installed is seen.
check: deps
	tests/check.sh
check-fast:
	tests/check.sh fast

demo: deps-demo
	$(MAKE) --no-print-directory all
	client/examples/demo.sh $(BUILD)/greedylrd

unit: $(BUILD)/unit
	$(BUILD)/unit --timeout 120

includes:
	tests/check-includes.sh
format-check:
	clang-format --dry-run --Werror $(wildcard daemon/*/*.[ch] tests/unit/*.[ch])

install: all
	install -D -m 755 $(BUILD)/greedylrd $(DESTDIR)$(PREFIX)/bin/greedylrd
	install -D -m 644 daemon/greedylrd.8 $(DESTDIR)$(PREFIX)/share/man/man8/greedylrd.8
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/bin/greedylrd|$(PREFIX)/bin/greedylrd|' systemd/greedylrd.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/greedylrd.service
	install -m 644 systemd/greedylrd.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/greedylrd.socket
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/greedylrd $(DESTDIR)$(PREFIX)/share/man/man8/greedylrd.8 \
	      $(DESTDIR)$(PREFIX)/lib/systemd/system/greedylrd.service $(DESTDIR)$(PREFIX)/lib/systemd/system/greedylrd.socket

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
