# vmxt: every *_tests/NAME.c becomes a kernel, build/ARCH/FOLDER/NAME.elf and
# NAME.rom. `make help` says what there is.

ARCH ?= x86_64
CROSS_COMPILE ?=
BUILD ?= build
ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif
LD := $(CROSS_COMPILE)ld
OBJCOPY := $(CROSS_COMPILE)objcopy

MACHINE_x86_64 := -m64 -mno-red-zone
MACHINE_i386 := -m32 -march=i686
EMULATION_x86_64 := elf_x86_64
EMULATION_i386 := elf_i386
ifeq ($(MACHINE_$(ARCH)),)
$(error ARCH=$(ARCH): it must be x86_64 or i386)
endif

out := $(BUILD)/$(ARCH)

# $(call supported,OPTION): it, if the compiler knows it.
supported = $(shell $(CC) -Werror $(1) -E -x c /dev/null >/dev/null 2>&1 && echo $(1))

machine := $(MACHINE_$(ARCH))
ifneq ($(findstring clang,$(CC)),)
ifneq ($(CROSS_COMPILE),)
machine += --target=$(patsubst %-,%,$(notdir $(CROSS_COMPILE)))
endif
endif

# A debug-information path or the time of day would make each build another.
common := $(machine) -g -I. -ffile-prefix-map=$(CURDIR)=.
cflags := $(common) -std=gnu17 -O2 -ffreestanding -fno-pic -fno-common \
        -fno-stack-protector -fno-asynchronous-unwind-tables \
        -fno-strict-aliasing -fno-delete-null-pointer-checks \
        -ffunction-sections -fdata-sections -mgeneral-regs-only \
        -Wall -Wextra -Werror -Wmissing-prototypes -Wundef -Wvla \
        -Wno-missing-field-initializers $(CFLAGS)
ldflags := -m $(EMULATION_$(ARCH)) -T x86/boot/link.ld --build-id=sha1 \
        -z noexecstack -z max-page-size=4096 --gc-sections --fatal-warnings

core := $(wildcard lib/*.c x86/*.c x86/*.S x86/vmx/*.c x86/vmx/*.S) \
        x86/boot/entry.S x86/boot/ap.S
core_objects := $(core:%=$(out)/obj/%.o)
cases := $(wildcard *_tests/*.c)
fixture_cases := $(wildcard runner/tests/fixtures/*.c)
kernels := $(cases:%.c=$(out)/%.elf) $(cases:%.c=$(out)/%.rom)
fixture_names := $(fixture_cases:runner/tests/%.c=$(out)/%)
fixture_kernels := $(fixture_names:%=%.elf) $(fixture_names:%=%.rom)
bench_kernel := $(out)/bench/bench.elf $(out)/bench/bench.rom

# Everything but these goals builds something: the compiler is asked what it
# knows (address 0 is memory like any other here), and other options or another
# list of files than last time rebuild.
ifneq ($(filter-out help clean setup setup-test test host-tests,$(or $(MAKECMDGOALS),all)),)
cflags += $(call supported,-fno-toplevel-reorder) \
        $(call supported,-fcf-protection=none) \
        $(call supported,-fno-tree-loop-distribute-patterns) \
        $(call supported,--param=min-pagesize=0) \
        $(if $(call supported,-Wnull-pointer-arithmetic),-Wno-null-pointer-arithmetic)
options := $(strip $(CC) $(cflags) -Os $(LD) $(ldflags) $(OBJCOPY) $(core))
$(shell mkdir -p $(out))
ifneq ($(file <$(out)/.options),$(options))
$(file >$(out)/.options,$(options))
endif
endif

ifeq ($(V),)
quiet = @printf '  %-8s%s\n' $(1) $@;
endif

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all fixtures host-tests run test bench help clean setup setup-test

all: $(kernels) ## build every kernel (the default)

fixtures: $(fixture_kernels) ## build the runner's fixture kernels

# Cases run once: what counts is that they fit into a ROM.
$(cases:%=$(out)/obj/%.o): cflags += -Os

$(out)/obj/%.c.o: %.c $(out)/.options
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(cflags) -MMD -MP -c -o $@ $<

$(out)/obj/%.S.o: %.S $(out)/.options
	@mkdir -p $(@D)
	$(call quiet,AS)$(CC) $(common) -MMD -MP -c -o $@ $<

# The 64-bit code goes into a 32-bit ELF file: boot loaders want that.
define link
	@mkdir -p $(@D)
	$(call quiet,LD)$(LD) $(ldflags) -o $@.link $(filter %.o,$^) && \
		$(OBJCOPY) -O elf32-i386 $@.link $@ && rm -f $@.link
endef

$(out)/%.elf: $(out)/obj/%.c.o $(core_objects) x86/boot/link.ld
	$(link)

$(out)/fixtures/%.elf: $(out)/obj/runner/tests/fixtures/%.c.o $(core_objects) x86/boot/link.ld
	$(link)

$(out)/bench/%.elf: $(out)/obj/runner/bench/%.c.o $(core_objects) x86/boot/link.ld
	$(link)

# The two ends of every ROM (x86/boot/rom.S, slot.S) and the image between.
$(out)/obj/x86/boot/%.bin: x86/boot/%.S $(out)/.options
	@mkdir -p $(@D)
	$(call quiet,AS)$(CC) $(filter-out -m64,$(common)) -m32 -MMD -MP -MT $@ -c -o $@.o $< && \
		$(OBJCOPY) -O binary -j .text $@.o $@ && rm -f $@.o

slot := $(out)/obj/x86/boot/slot.bin
tail := $(out)/obj/x86/boot/rom.bin

$(out)/%.rom: $(out)/%.elf $(slot) $(tail)
	$(call quiet,ROM)set -e; $(OBJCOPY) -O binary $< $@.image; \
		cat $(slot) $@.image >$@; rm -f $@.image; \
		size=$$(($$(stat -c %s $@) + $$(stat -c %s $(tail)))); \
		rom=$$(((size + 65535) / 65536 * 65536)); \
		test $$rom -le 131072 || { echo "$@: $$size bytes, at most 131072" >&2; exit 1; }; \
		truncate -s $$((rom - $$(stat -c %s $(tail)))) $@; cat $(tail) >>$@

-include $(wildcard $(core_objects:.o=.d) $(cases:%=$(out)/obj/%.d) \
        $(fixture_cases:%=$(out)/obj/%.d) \
        $(out)/obj/runner/bench/bench.c.d $(out)/obj/x86/boot/*.d)

# The core on this machine, under sanitizers; an archive, as each test has its
# own idea of what lies under the core.
host := $(BUILD)/host
host_tests := $(patsubst lib/tests/%.c,$(host)/%,$(wildcard lib/tests/test_*.c))
host_objects := $(patsubst lib/%.c,$(host)/%.o,$(wildcard lib/*.c))
HOSTCC ?= gcc
host_cflags := -std=gnu17 -O1 -g -fno-builtin -fsanitize=address,undefined \
        -fno-sanitize-recover=all -Wall -Wextra -Werror -I. -MMD -MP

host-tests: $(host_tests)

$(host)/%.o: lib/%.c Makefile
	@mkdir -p $(@D)
	$(call quiet,HOSTCC)$(HOSTCC) $(host_cflags) -c -o $@ $<

$(host)/core.a: $(host_objects)
	$(call quiet,AR)rm -f $@; ar rcsD $@ $^

$(host)/%: lib/tests/%.c $(host)/core.a
	$(call quiet,HOSTCC)$(HOSTCC) $(host_cflags) -o $@ $^ -lcmocka

-include $(host_objects:.o=.d) $(host_tests:=.d)

# What Debian 12 and 13 call what is needed.
packages := bochs bochs-term qemu-system-x86 \
        python3-junit.xml python3-pyelftools python3-rich
test_packages := clang python3-pytest python3-hypothesis libcmocka-dev

setup: ## install what `make run` needs
	@runner/setup $(packages)

setup-test: ## install what `make test` needs
	@runner/setup $(packages) $(test_packages)

run: setup all ## install, build, run everything on the best target here
	runner/vmxt run --arch $(ARCH) --build $(out) $(ARGS)

test: setup-test ## the project's own tests
	@CC='$(CC)' CROSS_COMPILE='$(CROSS_COMPILE)' BUILD='$(BUILD)' runner/tests/run_all.py

bench: setup all $(bench_kernel) ## how fast it is
	@runner/bench/bench.py $(ARCH) $(out)

help: ## this text
	@echo 'make [GOAL...] [ARCH=i386] [CC=clang] [CROSS_COMPILE=PREFIX-] [BUILD=DIR] [V=1]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' Makefile | \
		while read -r goal text; do printf '  %-12s%s\n' "$$goal" "$$text"; done
	@echo
	@echo "Options for the runner: make run ARGS='--target bochs -j 2'"

clean: ## remove what was built
	rm -rf $(BUILD)
