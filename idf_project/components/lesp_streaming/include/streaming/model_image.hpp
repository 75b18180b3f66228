// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// A model in one container file, which `lightning-esp pack` makes: what model_config.hpp holds in binary form, the
// `.espdl` files, and a few golden windows. A firmware reads it at start, so another model needs no other app.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/detector.hpp"
#include "streaming/front_end.hpp"
#include "streaming/heap_array.hpp"

namespace lesp::streaming {

// All that a firmware knows of one model, compiled into it or read from a container.
struct Model {
    ModelConfig config = {};
    FrontEndConfig front_end = {};
    DetectorConfig detector = {};
    std::span<const char *const> files = {};     // where each stage's file begins
    std::span<const ModelFile> model_files = {}; // their names, sizes and CRC32
    GoldenData golden = {};                      // windows that it must repeat
    std::size_t estimated_ram = 0;               // as kEstimatedRam in model_config.hpp
    std::size_t estimated_parameters = 0;        // as kEstimatedParameters
};

// Reads a container where it lies, in flash say: names, numbers per class or band, files and windows are views of it.
//
// The container, all numbers little-endian, 32 bits: "LEMI", the version of the form (1), bytes in all, the CRC32 of
// all that follows; the number of sections, and for each its kind, offset and bytes. Sections begin at multiples of 16.
// Kind 1 is the configuration, kind 2 the golden windows, kind 16 + i the file of stage i. Sections of other kinds are
// skipped. `lightning_esp/bundle/image.py` lists the fields of the configuration.
class ModelImage {
public:
    static constexpr std::size_t kAlignment = 16;
    static constexpr std::size_t kHeaderBytes = 16;
    static constexpr std::uint32_t kVersion = 1;

    // Bytes that a container with this beginning has in all; 0: it is none, or of another version.
    static std::size_t measure(std::span<const std::uint8_t, kHeaderBytes> header);

    // Reads a container, which must outlive the object; bytes behind its end are ignored. Whatever `bytes` holds,
    // nothing outside is read. Memory is allocated here and never later; opening again replaces what was read.
    //
    // ESP_ERR_INVALID_ARG: `bytes` does not begin at a multiple of 16. ESP_ERR_NOT_FOUND: no container.
    // ESP_ERR_INVALID_VERSION: of a form that this reader does not know. ESP_ERR_INVALID_SIZE: cut off, or a section or
    // a file is not as long as it must be. ESP_ERR_INVALID_CRC: a byte was changed. ESP_ERR_NOT_SUPPORTED: a field has
    // a value that it cannot have; the log names it by its position. ESP_ERR_NO_MEM: no memory.
    esp_err_t open(std::span<const std::uint8_t> bytes);

    // What it holds; empty before open, and after one that failed.
    const Model &model() const { return model_; }

    // Of the container, the header included; 0 as above.
    std::size_t bytes() const { return bytes_; }
    // The CRC32 of its header, by which two containers can be told apart.
    std::uint32_t crc() const { return crc_; }

private:
    class Reader;

    esp_err_t read(std::span<const std::uint8_t> bytes);
    esp_err_t read_config(std::span<const std::uint8_t> section);
    esp_err_t find_files(std::span<const std::uint8_t> bytes);

    Model model_;
    std::size_t bytes_ = 0;
    std::uint32_t crc_ = 0;
    HeapArray<TensorConfig> tensors_; // of the model and of all stages, each array after the other
    HeapArray<CacheConfig> caches_;
    HeapArray<StageConfig> stages_;
    HeapArray<std::string_view> labels_;
    HeapArray<ModelFile> model_files_;
    HeapArray<const char *> files_;
};

} // namespace lesp::streaming
