// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "model_update/slots.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "esp_check.h"
#include "esp_log.h"
#include "nvs.h"
#include "sdkconfig.h"
#include "streaming/golden.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/replay.hpp"

namespace lesp::model_update {

static const char *const TAG = "model";

static constexpr const char *kNamespace = "lesp_model";
static constexpr const char *kKey = "slots";
static constexpr std::uint64_t kRecordVersion = 1;
static constexpr std::size_t kSector = 4096;

static const char *name_of(Slot slot)
{
    return slot == Slot::kA ? "model_a" : "model_b";
}

static const esp_partition_t *find(Slot slot)
{
    return slot == Slot::kNone
               ? nullptr
               : esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, name_of(slot));
}

esp_err_t repeat_golden_windows(const streaming::Model &model, const streaming::Options &options)
{
    const auto pipeline = streaming::make_on_heap<streaming::Pipeline>();
    const auto source = streaming::make_on_heap<streaming::GoldenSource>();
    const auto sink = streaming::make_on_heap<streaming::GoldenSink>();
    if (!pipeline || !source || !sink) {
        return ESP_ERR_NO_MEM;
    }
    esp_err_t error = source->init(model.config, model.golden);
    if (error == ESP_OK) {
        error = sink->init(model.config, model.golden);
    }
    if (error == ESP_OK) {
        error = pipeline->init(model.config, model.files, options);
    }
    if (error == ESP_OK) {
        error = streaming::stream(*source, *pipeline, *sink);
    }
    if (error == ESP_OK && !sink->has_passed()) {
        sink->print();
        return ESP_FAIL;
    }
    return error;
}

esp_err_t Slots::Mapping::map(Slot slot)
{
    unmap();
    const esp_partition_t *const partition = find(slot);
    if (partition == nullptr) {
        return ESP_ERR_NOT_FOUND;
    }
    std::uint8_t header[kHeaderBytes] = {};
    if (const esp_err_t error = esp_partition_read(partition, 0, header, sizeof(header)); error != ESP_OK) {
        return error;
    }
    const std::size_t size = streaming::ModelImage::measure(header);
    if (size == 0 || size > partition->size) {
        return ESP_ERR_NOT_FOUND;
    }
    const void *address = nullptr;
    const esp_err_t error = esp_partition_mmap(partition, 0, size, ESP_PARTITION_MMAP_DATA, &address, &handle_);
    if (error == ESP_OK) {
        bytes_ = {static_cast<const std::uint8_t *>(address), size};
    }
    return error;
}

void Slots::Mapping::unmap()
{
    if (!bytes_.empty()) {
        esp_partition_munmap(handle_);
        bytes_ = {};
    }
}

// The version, tests, state and slots in the upper half, the CRC32 in the lower.
esp_err_t Slots::load(Record *record)
{
    *record = {};
    nvs_handle_t handle = 0;
    std::uint64_t packed = 0;
    esp_err_t error = nvs_open(kNamespace, NVS_READONLY, &handle);
    if (error == ESP_OK) {
        error = nvs_get_u64(handle, kKey, &packed);
        nvs_close(handle);
    }
    if (error == ESP_ERR_NVS_NOT_FOUND || (error == ESP_OK && packed >> 56 != kRecordVersion)) {
        record->chosen = Slot::kA; // what `idf.py flash` wrote
        return ESP_OK;
    }
    if (error == ESP_OK) {
        record->tries = static_cast<unsigned>(packed >> 50 & 3);
        record->state = static_cast<State>(packed >> 48 & 3);
        record->chosen = static_cast<Slot>(packed >> 40 & 3);
        record->before = static_cast<Slot>(packed >> 32 & 3);
        record->crc = static_cast<std::uint32_t>(packed);
    }
    return error;
}

esp_err_t Slots::store(const Record &record)
{
    const std::uint64_t packed = kRecordVersion << 56 | static_cast<std::uint64_t>(record.tries) << 50 |
                                 static_cast<std::uint64_t>(record.state) << 48 |
                                 static_cast<std::uint64_t>(record.chosen) << 40 |
                                 static_cast<std::uint64_t>(record.before) << 32 | record.crc;
    nvs_handle_t handle = 0;
    esp_err_t error = nvs_open(kNamespace, NVS_READWRITE, &handle);
    if (error != ESP_OK) {
        return error;
    }
    error = nvs_set_u64(handle, kKey, packed);
    if (error == ESP_OK) {
        error = nvs_commit(handle);
    }
    nvs_close(handle);
    return error;
}

esp_err_t Slots::open(Slot slot, Mapping &mapping, streaming::ModelImage &image)
{
    esp_err_t error = mapping.map(slot);
    if (error == ESP_OK) {
        error = image.open(mapping.bytes());
    }
    if (error == ESP_OK && image.model().config.target != std::string_view(CONFIG_IDF_TARGET)) {
        ESP_LOGE(TAG,
                 "the model in %s is for %.*s, this chip is " CONFIG_IDF_TARGET,
                 name_of(slot),
                 static_cast<int>(image.model().config.target.size()),
                 image.model().config.target.data());
        error = ESP_ERR_NOT_SUPPORTED;
    }
    if (error != ESP_OK) {
        static_cast<void>(image.open({}));
        mapping.unmap();
    }
    return error;
}

esp_err_t Slots::start(const streaming::Options &options, Test test)
{
    running_ = Slot::kNone;
    abort();
    Record record;
    if (const esp_err_t error = load(&record); error != ESP_OK) {
        return error;
    }
    // The chosen one, and the one before it.
    for (int tries = 0; tries < 2 && record.chosen != Slot::kNone; ++tries) {
        const esp_err_t error = try_chosen(record, options, test);
        if (error == ESP_OK) {
            running_ = record.chosen;
            return ESP_OK;
        }
        static_cast<void>(image_.open({}));
        mapping_.unmap();
        const bool is_confirmed = record.state == State::kConfirmed;
        if (is_confirmed && error == ESP_ERR_NO_MEM) {
            return error; // no fault of the model
        }
        if (!is_confirmed || error != ESP_ERR_NOT_FOUND) {
            ESP_LOGW(TAG, "the model in %s does not run here (%s)", name_of(record.chosen), esp_err_to_name(error));
        }
        if (is_confirmed && record.before == Slot::kNone) {
            break;
        }
        record = {.chosen = record.before};
        if (const esp_err_t stored = store(record); stored != ESP_OK) {
            return stored;
        }
    }
    return ESP_ERR_NOT_FOUND;
}

esp_err_t Slots::try_chosen(const Record &record, const streaming::Options &options, Test test)
{
    if (record.state == State::kTesting && record.tries >= kMostTries) {
        ESP_LOGW(TAG, "the chip did not come through the test of the model in %s", name_of(record.chosen));
        return ESP_ERR_INVALID_STATE;
    }
    if (const esp_err_t error = open(record.chosen, mapping_, image_); error != ESP_OK) {
        return error;
    }
    if (record.state == State::kConfirmed) {
        return ESP_OK;
    }
    if (image_.crc() != record.crc) {
        return ESP_ERR_INVALID_CRC;
    }
    Record tested = record;
    tested.state = State::kTesting;
    ++tested.tries;
    const esp_err_t error = store(tested);
    return error == ESP_OK ? test(image_.model(), options) : error;
}

// ESP_ERR_NOT_FOUND: the model that runs is not one that is still to be confirmed.
esp_err_t Slots::load_unconfirmed(Record *record) const
{
    const esp_err_t error = running_ == Slot::kNone ? ESP_ERR_NOT_FOUND : load(record);
    if (error != ESP_OK) {
        return error;
    }
    return record->chosen == running_ && record->state == State::kTesting ? ESP_OK : ESP_ERR_NOT_FOUND;
}

esp_err_t Slots::confirm()
{
    Record record;
    const esp_err_t error = load_unconfirmed(&record);
    if (error != ESP_OK) {
        return error == ESP_ERR_NOT_FOUND ? ESP_OK : error;
    }
    record.state = State::kConfirmed;
    return store(record);
}

esp_err_t Slots::reject()
{
    Record record;
    const esp_err_t error = load_unconfirmed(&record);
    return error == ESP_OK ? store({.chosen = record.before}) : error;
}

esp_err_t Slots::begin()
{
    abort();
    if (find(Slot::kA) == nullptr || find(Slot::kB) == nullptr) {
        ESP_LOGE(TAG, "there are no partitions model_a and model_b; build with -D MODEL=update");
        return ESP_ERR_NOT_FOUND;
    }
    // Else the next start could choose the slot that is written now.
    if (const esp_err_t error = confirm(); error != ESP_OK) {
        return error;
    }
    Record record;
    if (const esp_err_t error = load(&record); error != ESP_OK) {
        return error;
    }
    // A model that nobody has started with yet may be written over, the one that runs may not.
    const Slot kept = running_ != Slot::kNone             ? running_
                      : record.state == State::kConfirmed ? record.chosen
                                                          : record.before;
    const Slot slot = kept == Slot::kA ? Slot::kB : Slot::kA;
    ESP_RETURN_ON_ERROR(esp_partition_erase_range(find(slot), 0, kSector), TAG, "%s cannot be erased", name_of(slot));
    target_ = slot;
    received_ = expected_ = written_ = 0;
    erased_ = kSector;
    return ESP_OK;
}

esp_err_t Slots::write(std::span<const std::uint8_t> bytes)
{
    if (target_ == Slot::kNone) {
        return ESP_ERR_INVALID_STATE;
    }
    const esp_err_t error = take(bytes);
    if (error != ESP_OK) {
        abort();
    }
    return error;
}

esp_err_t Slots::take(std::span<const std::uint8_t> bytes)
{
    while (!bytes.empty()) {
        const bool is_header = received_ < kHeaderBytes;
        if (!is_header && received_ == expected_) {
            return ESP_ERR_INVALID_SIZE;
        }
        const std::size_t position = received_ % sizeof(block_);
        const std::size_t end = is_header ? kHeaderBytes : std::min(expected_, received_ - position + sizeof(block_));
        const std::size_t count = std::min(bytes.size(), end - received_);
        std::memcpy(is_header ? header_ + received_ : block_ + position, bytes.data(), count);
        received_ += count;
        bytes = bytes.subspan(count);
        esp_err_t error = ESP_OK;
        if (is_header && received_ == kHeaderBytes) {
            error = take_header();
        } else if (!is_header && received_ == end) {
            error = flush();
        }
        if (error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}

esp_err_t Slots::take_header()
{
    expected_ = streaming::ModelImage::measure(header_);
    written_ = kHeaderBytes;
    if (expected_ == 0) {
        return ESP_ERR_INVALID_VERSION;
    }
    return expected_ > kHeaderBytes && expected_ <= find(target_)->size ? ESP_OK : ESP_ERR_INVALID_SIZE;
}

// Writes what is in the block; the place of the header stays empty.
esp_err_t Slots::flush()
{
    constexpr std::size_t kAlignment = streaming::ModelImage::kAlignment;
    const std::size_t first = written_ % sizeof(block_);
    const std::size_t end = (received_ + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t count = end - written_;
    std::memset(block_ + first + (received_ - written_), 0xff, end - received_);
    const esp_partition_t *const partition = find(target_);
    if (end > erased_) {
        ESP_RETURN_ON_ERROR(esp_partition_erase_range(partition, erased_, kSector),
                            TAG,
                            "%s cannot be erased at byte %u",
                            name_of(target_),
                            static_cast<unsigned>(erased_));
        erased_ += kSector;
    }
    const esp_err_t error = esp_partition_write(partition, written_, block_ + first, count);
    written_ = end;
    return error;
}

esp_err_t Slots::end()
{
    if (target_ == Slot::kNone) {
        return ESP_ERR_INVALID_STATE;
    }
    const Slot slot = target_;
    esp_err_t error = received_ > kHeaderBytes && received_ == expected_ ? ESP_OK : ESP_ERR_NOT_FINISHED;
    if (error == ESP_OK) {
        error = esp_partition_write(find(slot), 0, header_, kHeaderBytes);
    }
    if (error == ESP_OK) {
        error = check_written();
    }
    abort();
    return error;
}

esp_err_t Slots::check_written()
{
    Record record;
    Mapping mapping;
    streaming::ModelImage image;
    esp_err_t error = load(&record);
    if (error == ESP_OK) {
        error = open(target_, mapping, image);
    }
    if (error == ESP_OK) {
        error = streaming::Golden().init(image.model().config, image.model().golden);
    }
    if (error != ESP_OK) {
        return error;
    }
    const Slot before = record.state == State::kConfirmed && record.chosen != target_ ? record.chosen : record.before;
    return store({.chosen = target_, .before = before, .state = State::kNew, .crc = image.crc()});
}

esp_err_t Slots::roll_back()
{
    Record record;
    if (const esp_err_t error = load(&record); error != ESP_OK) {
        return error;
    }
    Mapping mapping;
    streaming::ModelImage image;
    if (record.before == Slot::kNone || open(record.before, mapping, image) != ESP_OK) {
        return ESP_ERR_NOT_FOUND;
    }
    // What was never confirmed is nothing to come back to.
    const Slot before = record.state == State::kConfirmed ? record.chosen : Slot::kNone;
    return store({.chosen = record.before, .before = before, .state = State::kConfirmed, .crc = image.crc()});
}

} // namespace lesp::model_update
