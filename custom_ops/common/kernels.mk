# The kernels of one folder without TensorFlow. The ops themselves are built by `mrcnn build-ops` (mrcnn/native/build.py).
#
# make test       the unit test
# make asan       the same under the address and undefined-behavior sanitizers
# make tsan       the same under the thread sanitizer
# make cuda       the CUDA kernels for each architecture nvcc knows of ARCHS: registers and spills; spilling is an error
# make gpu        the unit test with the CUDA kernels on this machine's GPU, then under compute-sanitizer if there is one
#
# A folder's Makefile says, before it includes this, what is compiled:
# FUSED           C++ sources that may fuse multiplication and addition, as in the library
# EXACT           those that may not
# CUDA            the CUDA source

CXX ?= g++
NVCC ?= nvcc
BUILD ?= build
ARCHS ?= 70 75 80 86 89 90
FLAGS = -std=c++17 -g -Wall -Wextra -Werror -Wno-psabi -Wno-unused-function -I. -I../common/shim -pthread
NVCC_FLAGS = -std=c++17 -O3 --fmad=false
HEADERS = $(wildcard *.h ../common/*.h) ../common/shim/cuda_runtime.h
OBJECTS = $(FUSED:.cc=.o) $(EXACT:.cc=.o) $(CUDA:.cu=.o) unit_test.o

.PHONY: test asan tsan cuda gpu clean

test: $(BUILD)/plain/unit_test
	$<
asan: $(BUILD)/asan/unit_test
	$<
tsan: $(BUILD)/tsan/unit_test
	$<

$(BUILD)/plain/%: EXTRA = -O2
$(BUILD)/asan/%: EXTRA = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
$(BUILD)/tsan/%: EXTRA = -O1 -fsanitize=thread

define variant
$(FUSED:%.cc=$(BUILD)/$(1)/%.o): $(BUILD)/$(1)/%.o: %.cc $(HEADERS)
	@mkdir -p $$(@D)
	$$(CXX) $$(FLAGS) $$(EXTRA) -ffp-contract=fast -c $$< -o $$@
$(EXACT:%.cc=$(BUILD)/$(1)/%.o): $(BUILD)/$(1)/%.o: %.cc $(HEADERS)
	@mkdir -p $$(@D)
	$$(CXX) $$(FLAGS) $$(EXTRA) -ffp-contract=off -c $$< -o $$@
$(BUILD)/$(1)/$(CUDA:.cu=.o): $(CUDA) $(HEADERS)
	@mkdir -p $$(@D)
	$$(CXX) $$(FLAGS) $$(EXTRA) -ffp-contract=off -x c++ -c $$< -o $$@
$(BUILD)/$(1)/unit_test.o: test/unit_test.cc $(HEADERS)
	@mkdir -p $$(@D)
	$$(CXX) $$(FLAGS) $$(EXTRA) -ffp-contract=off -c $$< -o $$@
$(BUILD)/$(1)/unit_test: $(addprefix $(BUILD)/$(1)/,$(OBJECTS))
	$$(CXX) $$(FLAGS) $$(EXTRA) $$^ -o $$@
endef
$(foreach name,plain asan tsan,$(eval $(call variant,$(name))))

cuda:
	@mkdir -p $(BUILD)
	@for arch in $(ARCHS); do \
	  $(NVCC) --list-gpu-arch | grep -qx "compute_$$arch" || { echo "sm_$$arch: not known to this nvcc"; continue; }; \
	  $(NVCC) $(NVCC_FLAGS) -Xptxas -v -gencode arch=compute_$$arch,code=sm_$$arch \
	    -c $(CUDA) -o $(BUILD)/$(CUDA:.cu=).sm_$$arch.o 2> $(BUILD)/ptxas.txt || { cat $(BUILD)/ptxas.txt; exit 1; }; \
	  c++filt < $(BUILD)/ptxas.txt | awk -v arch=sm_$$arch ' \
	    /Compiling entry function/ { name = substr($$0, index($$0, "namespace)::") + 12); \
	      sub(/\(.*/, "", name); gsub("mrcnn::", "", name) } \
	    /spill stores/ { split($$0, word, " "); spill = word[5] } \
	    /Used [0-9]+ registers/ { match($$0, /Used [0-9]+/); \
	      printf "%-6s %-32s %3d registers, %d bytes spilled\n", arch, name, substr($$0, RSTART + 5, RLENGTH - 5), spill; \
	      if (spill > 0) bad = 1 } \
	    END { exit bad }' || exit 1; \
	done

gpu: $(BUILD)/gpu/unit_test
	$<
	if command -v compute-sanitizer > /dev/null; then compute-sanitizer --error-exitcode 1 $<; fi

$(BUILD)/gpu/$(CUDA:.cu=.o): $(CUDA) $(HEADERS)
	@mkdir -p $(@D)
	$(NVCC) $(NVCC_FLAGS) -arch=native -c $< -o $@
# Test and CPU kernels as the C++ compiler makes them, but with CUDA's own header in the shim's place.
$(BUILD)/gpu/unit_test: test/unit_test.cc $(FUSED) $(EXACT) $(BUILD)/gpu/$(CUDA:.cu=.o) $(HEADERS)
	$(NVCC) -std=c++17 -O2 -I. -Xcompiler -ffp-contract=off,-Wno-psabi $(filter %.cc %.o,$^) -o $@

clean:
	rm -rf $(BUILD)
