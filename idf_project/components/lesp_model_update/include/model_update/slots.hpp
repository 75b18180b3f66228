// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "esp_partition.h"
#include "streaming/model_image.hpp"
#include "streaming/stage.hpp"

namespace lesp::model_update {

enum class Slot : std::uint8_t { kNone, kA, kB };

// Repeats the golden windows of a model on a pipeline of its own, which is gone afterwards. ESP_FAIL: a value differs.
// ESP_ERR_NOT_FOUND: it has no golden windows. Else the errors of Pipeline::init.
esp_err_t repeat_golden_windows(const streaming::Model &model, const streaming::Options &options);

// Two partitions for models, `model_a` and `model_b`, and which of them counts.
//
// That is one number in NVS (namespace "lesp_model", key "slots"), which is written as a whole or not at all: the slot
// that is chosen, the one before it, the CRC32 of the chosen model, and whether it is new, under test, or confirmed. A
// model is chosen only when all of it lies in its slot and was read back; a new one is marked as under test before the
// test begins, and confirmed when whoever runs it says that it has started; one that does not get there in two starts
// is left. The first bytes of a slot are written last.
//
// Not safe for use from several tasks at once.
class Slots {
public:
    typedef esp_err_t (*Test)(const streaming::Model &model, const streaming::Options &options);

    // Opens the model that counts; a new one is tested before, and left for the one before it where it fails. The model
    // stays mapped into the address space, and is in `model()`. Without a number in NVS, model_a counts.
    // ESP_ERR_NOT_FOUND: no slot holds a model that can run. ESP_ERR_NO_MEM: no memory, or no address space, for one
    // that was confirmed. Else the errors of NVS.
    esp_err_t start(const streaming::Options &options, Test test = repeat_golden_windows);

    // The model of start() works, not in its test only: a new one counts for good. ESP_OK also where there is nothing
    // to confirm. Errors of NVS.
    esp_err_t confirm();

    // The model of start() does not work after all: where it is not confirmed yet, the next start takes the one before.
    // ESP_ERR_NOT_FOUND: it is confirmed, or none runs. Else the errors of NVS.
    esp_err_t reject();

    // Which slot runs, and its model; kNone and an empty one before start, and after one that failed.
    Slot running() const { return running_; }
    const streaming::Model &model() const { return image_.model(); }

    // As lesp_model_update.h says of the functions of C; begin() confirms the model that runs.
    esp_err_t begin();
    esp_err_t write(std::span<const std::uint8_t> bytes);
    esp_err_t end();
    void abort() { target_ = Slot::kNone; }
    esp_err_t roll_back();

private:
    enum class State : std::uint8_t { kConfirmed, kNew, kTesting };
    struct Record {
        Slot chosen = Slot::kNone;
        Slot before = Slot::kNone;
        State state = State::kConfirmed;
        unsigned tries = 0; // tests that have begun
        std::uint32_t crc = 0;
    };

    static constexpr unsigned kMostTries = 2;

    // A slot in the address space, as long as it lives.
    class Mapping {
    public:
        Mapping() = default;
        ~Mapping() { unmap(); }
        Mapping(const Mapping &) = delete;
        Mapping &operator=(const Mapping &) = delete;
        esp_err_t map(Slot slot);
        void unmap();
        std::span<const std::uint8_t> bytes() const { return bytes_; }

    private:
        std::span<const std::uint8_t> bytes_;
        esp_partition_mmap_handle_t handle_ = 0;
    };

    static constexpr std::size_t kHeaderBytes = streaming::ModelImage::kHeaderBytes;

    static esp_err_t load(Record *record);
    static esp_err_t store(const Record &record);
    static esp_err_t open(Slot slot, Mapping &mapping, streaming::ModelImage &image);
    esp_err_t load_unconfirmed(Record *record) const;
    esp_err_t try_chosen(const Record &record, const streaming::Options &options, Test test);
    esp_err_t take(std::span<const std::uint8_t> bytes);
    esp_err_t take_header();
    esp_err_t flush();
    esp_err_t check_written();

    Mapping mapping_;
    streaming::ModelImage image_;
    Slot running_ = Slot::kNone;

    // The update.
    Slot target_ = Slot::kNone;
    std::size_t received_ = 0;
    std::size_t expected_ = 0; // 0: the header has not come yet
    std::size_t written_ = 0;
    std::size_t erased_ = 0;
    alignas(16) std::uint8_t header_[kHeaderBytes] = {};
    alignas(16) std::uint8_t block_[256] = {}; // encrypted flash takes multiples of 16 only
};

// The slots of this firmware, which the functions of lesp_model_update.h act on.
Slots &slots();

} // namespace lesp::model_update
