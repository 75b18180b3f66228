#!/usr/bin/env bash
# Runs the fuzz targets under the sanitizers for a number of inputs each:  tests/cpp/fuzz/run.sh [INPUTS]
# It needs clang with libFuzzer; CXX names it. The last line of a target says how many inputs it ran.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
inputs=${1:-1000000}
compiler=${CXX:-clang++}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
components=idf_project/components
sources=("$components"/lesp_audio/src/*.cpp "$components"/lesp_streaming/src/{frame_buffer,golden,model_image,quantization}.cpp "$components"/lesp_listener/src/frame_ring.cpp tests/cpp/src/fake_{audio,heap}.cpp)
for target in tests/cpp/fuzz/fuzz_*.cpp; do
    name=$(basename "$target" .cpp)
    "$compiler" -std=c++20 -O1 -g -fno-exceptions -fno-rtti -fsanitize=fuzzer,address,undefined \
        -fno-sanitize-recover=all -isystem tests/cpp/fake -I "$components/lesp_audio/include" \
        -I "$components/lesp_streaming/include" -I "$components/lesp_listener/include" "$target" "${sources[@]}" -o "$build/$name"
    mkdir "$build/corpus_$name"
    if [[ $name == fuzz_wav ]]; then
        # A whole file to start from: one byte for the size of the pieces, then 16 kHz, mono, four samples.
        printf '\0RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\x8\0\0\0\1\0\2\0\3\0\4\0' \
            >"$build/corpus_$name/small.wav"
    fi
    echo "== $name"
    "$build/$name" -runs="$inputs" -seed=1 -max_len=512 -print_final_stats=1 -verbosity=0 "$build/corpus_$name" 2>&1 |
        grep -E 'number_of_executed_units|ERROR|SUMMARY' || { echo "$name failed"; exit 1; }
done
