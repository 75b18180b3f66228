#!/bin/sh
# Prints the instructions that ESP-DL's own kernels take on a chip without a floating-point unit, beside what
# components/lesp_streaming makes of them: a change of exponent through floats and with integers, and a convolution of 32
# channels as ESP-DL compiles it and with unrolled loops. Compiled for rv32imc, counted under QEMU, half the difference
# between a program that does it three times and one that does it once.
#
#     ESP_DL_PATH=.../esp-dl sh benchmarks/kernel_instructions.sh
#
# ESP_DL_PATH: the folder `esp-dl` of a checkout of ESP-DL 3.3.9. The other packages are those of front_end_instructions.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${ROOT:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
headers=$root/usr/riscv64-linux-gnu/include
picolibc=$root/usr/lib/picolibc/riscv64-unknown-elf/lib/rv32im/ilp32

# What ESP-DL and the headers of the C++ library expect around them.
mkdir -p "$work/gnu" "$work/soc" "$work/freertos"
: >"$work/gnu/stubs-ilp32.h"
for name in soc/soc_caps esp_mmu_map esp_partition spi_flash_mmap freertos/FreeRTOS freertos/task; do
    : >"$work/$name.h"
done
cp "$here/../tests/cpp/fake/esp_err.h" "$here/kernels/esp_heap_caps.h" "$work"
printf '#define ESP_LOGE(...)\n#define ESP_LOGW(...)\n#define ESP_LOGI(...)\n#define ESP_LOGD(...)\n' >"$work/esp_log.h"
printf '#include "esp_err.h"\n#include "esp_heap_caps.h"\n' >"$work/esp_system.h"
printf '#include <assert.h>\n#include <limits.h>\n#define HEAP_IRAM_ATTR\n' >"$work/sdkconfig.h"
printf '#include <stddef.h>\n#include <stdint.h>\nuint32_t esp_random(void);\nvoid esp_fill_random(void *, size_t);\n' \
    >"$work/esp_random.h"
printf '#include <stdint.h>\nstatic inline uint32_t esp_cpu_get_cycle_count(void) { return 0; }\n' >"$work/esp_cpu.h"
printf '#include <stdint.h>\nstatic inline int64_t esp_timer_get_time(void) { return 0; }\n' >"$work/esp_timer.h"
printf '#define ESP_IDF_VERSION_VAL(a, b, c) ((a) << 16 | (b) << 8 | (c))\n#define ESP_IDF_VERSION 0x050300\n' \
    >"$work/esp_idf_version.h"
for name in esp_ptr_external_ram esp_ptr_in_drom esp_ptr_internal; do
    echo "bool $name(const void *);" >>"$work/esp_memory_utils.h"
done
printf '#define SYS_futex 98\n#ifdef __cplusplus\nextern "C" long syscall(long, ...) noexcept;\n#endif\n' >"$work/linux.h"
gcc -shared -fPIC "$here/front_end/count_instructions.c" -o "$work/count.so"

compile() {
    riscv64-unknown-elf-g++ -march=rv32imc -mabi=ilp32 -O3 -ffast-math -w -fpermissive -std=gnu++20 -fno-exceptions \
        -fno-rtti -fno-threadsafe-statics -ffunction-sections -fdata-sections \
        -D_GNU_SOURCE -D__linux__ -D__gnu_linux__ -D__unix__ -include "$work/linux.h" \
        -isystem "$headers/c++/12" -isystem "$headers/c++/12/riscv64-linux-gnu" -isystem "$work" -isystem "$headers" \
        -I"$here/../idf_project/components/lesp_streaming/include" -I"$ESP_DL_PATH/dl" -I"$ESP_DL_PATH/dl/base" \
        -I"$ESP_DL_PATH/dl/base/isa" -I"$ESP_DL_PATH/dl/math/include" -I"$ESP_DL_PATH/dl/tensor/include" \
        -I"$ESP_DL_PATH/dl/tool/include" "$@"
}

compile -c "$ESP_DL_PATH/dl/tensor/src/dl_tensor_base.cpp" -o "$work/tensor.o"
compile -c "$ESP_DL_PATH/dl/tool/src/dl_tool.cpp" -o "$work/tool.o"
compile -c "$ESP_DL_PATH/dl/base/dl_base_conv2d.cpp" -o "$work/plain.o"
compile -funroll-loops -c "$ESP_DL_PATH/dl/base/dl_base_conv2d.cpp" -o "$work/unrolled.o"

# KERNEL, the object of the convolution, and how often.
run() {
    compile -c -DKERNEL="$1" -DREPEAT="$3" "$here/kernels/kernels.cpp" -o "$work/kernels.o"
    # Of what is not linked nothing is called.
    compile -nostdlib -nostartfiles "$work/kernels.o" "$work/$2.o" "$work/tensor.o" "$work/tool.o" -Wl,--gc-sections \
        -Wl,--unresolved-symbols=ignore-all -L"$picolibc" -lm -lc -lgcc -o "$work/kernels" 2>"$work/linker.log"
    qemu-riscv32 -plugin "$work/count.so" "$work/kernels" 2>&1
}

for row in assign:plain requantize:plain convolve:plain convolve:unrolled; do
    kernel=${row%:*} object=${row#*:}
    one=$(run "$kernel" "$object" 1)
    three=$(run "$kernel" "$object" 3)
    echo "$kernel, $object: $(((three - one) / 2)) instructions"
done
