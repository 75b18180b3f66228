#!/bin/sh
# Prints the instructions that the fixed-point front end takes for one frame of 400 samples on a chip without a
# floating-point unit: compiled for rv32imc, counted under QEMU, the difference between a run of three frames and one of one;
# and the bytes of stack that its start and a frame take, by a pattern that they write over.
#
#     sh benchmarks/front_end_instructions.sh [-O2]
#
# Debian 12: apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf g++-riscv64-linux-gnu qemu-user gcc
# The second compiler gives the headers of the C++ library, which the first lacks. ROOT is where these packages were unpacked,
# where they were not installed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
components=$here/../idf_project/components
optimization=${1:--O2}
root=${ROOT:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
headers=$root/usr/riscv64-linux-gnu/include
picolibc=$root/usr/lib/picolibc/riscv64-unknown-elf/lib/rv32im/ilp32

mkdir -p "$work/gnu"
: >"$work/gnu/stubs-ilp32.h"
echo '#define ESP_LOGE(tag, ...) ((void)(tag))' >"$work/esp_log.h"
cp "$here/../tests/cpp/fake/esp_err.h" "$here/../tests/cpp/fake/esp_heap_caps.h" "$work"
# What those headers expect of Linux.
printf '#define SYS_futex 98\n#ifdef __cplusplus\nextern "C" long syscall(long, ...) noexcept;\n#endif\n' >"$work/linux.h"
gcc -shared -fPIC "$here/front_end/count_instructions.c" -o "$work/count.so"

compile() {
    riscv64-unknown-elf-g++ -march=rv32imc -mabi=ilp32 "$optimization" -std=c++20 -fno-exceptions -fno-rtti \
        -ffp-contract=off -fno-threadsafe-statics -ffunction-sections -nostdlib -nostartfiles \
        -D_GNU_SOURCE -D__linux__ -D__gnu_linux__ -D__unix__ -include "$work/linux.h" \
        -isystem "$headers/c++/12" -isystem "$headers/c++/12/riscv64-linux-gnu" -isystem "$work" -isystem "$headers" \
        -I"$components/lesp_audio/include" -I"$components/lesp_streaming/include" -DKIND="$1" -DBANDS="$2" -DFRAMES="$3" ${4:-} \
        "$here/front_end/frames.cpp" "$components"/lesp_audio/src/fixed_point_*.cpp \
        -Wl,--gc-sections -L"$picolibc" -lm -lc -lgcc -o "$work/frames"
}

count() {
    compile "$@"
    qemu-riscv32 -plugin "$work/count.so" "$work/frames" 2>&1
}

for front_end in kFbank:40 kMfcc:13 kSpectrogram:257; do
    kind=${front_end%:*} bands=${front_end#*:}
    one=$(count "$kind" "$bands" 1)
    three=$(count "$kind" "$bands" 3)
    frame=$(((three - one) / 2))
    echo "$kind, $bands features: $frame instructions a frame, $((one - frame)) to start ($optimization)"
    compile "$kind" "$bands" 3 -DDEPTH
    set -- $(qemu-riscv32 "$work/frames")
    echo "$kind: $2 bytes of stack for a frame, $1 to start"
done
