// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/stage.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "dl_model_base.hpp"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "sdkconfig.h"
#include "streaming/requantize.hpp"

// For "%.*s".
#define TEXT(view) static_cast<int>((view).size()), (view).data()

namespace lesp::streaming {

static const char *const TAG = "streaming";

static fbs::model_location_type_t to_fbs(Location location)
{
    switch (location) {
    case Location::kPartition:
        return fbs::MODEL_LOCATION_IN_FLASH_PARTITION;
    case Location::kSdCard:
        return fbs::MODEL_LOCATION_IN_SDCARD;
    default:
        return fbs::MODEL_LOCATION_IN_FLASH_RODATA;
    }
}

static dl::dtype_t to_dl(DataType type)
{
    switch (type) {
    case DataType::kInt8:
        return dl::DATA_TYPE_INT8;
    case DataType::kInt16:
        return dl::DATA_TYPE_INT16;
    default:
        return dl::DATA_TYPE_FLOAT;
    }
}

static std::uint32_t to_caps(Memory memory)
{
    switch (memory) {
    case Memory::kInternal:
        return MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT;
    case Memory::kPsram:
        return MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT;
    default:
        return MALLOC_CAP_DEFAULT;
    }
}

static bool has_shape(const dl::TensorBase &found, const TensorConfig &tensor)
{
    if (found.shape.size() != static_cast<std::size_t>(tensor.rank)) {
        return false;
    }
    for (int axis = 0; axis < tensor.rank; ++axis) {
        if (found.shape[axis] != tensor.shape[axis]) {
            return false;
        }
    }
    return true;
}

static void fill(std::uint8_t *memory, const TensorConfig &tensor, int initial)
{
    const auto value8 = static_cast<std::int8_t>(initial);
    const auto value16 = static_cast<std::int16_t>(initial);
    const auto value32 = static_cast<float>(initial);
    const void *value = &value32;
    std::size_t size = sizeof(value32);
    if (tensor.type == DataType::kInt8) {
        value = &value8;
        size = sizeof(value8);
    } else if (tensor.type == DataType::kInt16) {
        value = &value16;
        size = sizeof(value16);
    }
    for (std::size_t offset = 0; offset < tensor.bytes; offset += size) {
        std::memcpy(memory + offset, value, size);
    }
}

// With CONFIG_SPIRAM ESP-DL allocates its operators in PSRAM, and calls them through a null pointer where there is
// none.
static bool has_psram()
{
#if CONFIG_SPIRAM
    return heap_caps_get_total_size(MALLOC_CAP_SPIRAM) > 0;
#else
    return true;
#endif
}

// ESP-DL 3.3.9 hands internal memory out in blocks of 16 bytes, and loses track of its list where what it was given is
// no multiple of that.
static int whole_blocks(int bytes)
{
    constexpr int kBlock = 16;
    return std::max(bytes, 0) / kBlock * kBlock;
}

Stage::Stage() = default;
Stage::~Stage() = default;

esp_err_t Stage::init(const StageConfig &config, const char *file, const Options &options)
{
    is_ready_ = false;
    config_ = config;
    esp_err_t error = load(file, options);
    if (error == ESP_OK) {
        error = allocate(options.memory);
    }
    if (error == ESP_OK) {
        error = bind();
    }
    if (error == ESP_OK) {
        warm_up();
        model_->minimize(); // frees names that only loading needs
        is_ready_ = true;
        reset();
    }
    return error;
}

esp_err_t Stage::load(const char *file, const Options &options)
{
    model_.reset();
    if (!has_psram()) {
        ESP_LOGE(TAG, "ESP-DL puts its operators into PSRAM (CONFIG_SPIRAM), and this board shows none");
        return ESP_ERR_NOT_SUPPORTED;
    }
#if CONFIG_STREAMING_INTEGER_REQUANTIZE
    use_integer_requantize();
#endif
    model_ = make_on_heap<dl::Model>(file,
                                     to_fbs(options.location),
                                     whole_blocks(options.max_internal_bytes),
                                     dl::MEMORY_MANAGER_GREEDY,
                                     nullptr,
                                     options.copy_parameters);
    if (!model_) {
        ESP_LOGE(TAG, "stage %.*s: no memory for its model", TEXT(config_.name));
        return ESP_ERR_NO_MEM;
    }
    // A file that cannot be loaded leaves a model without tensors.
    if (model_->get_inputs().empty() || model_->get_outputs().empty()) {
        ESP_LOGE(TAG, "stage %.*s: ESP-DL cannot load its file; is it for another chip?", TEXT(config_.name));
#if CONFIG_STREAMING_ONLY_MODEL_OPERATORS
        ESP_LOGE(TAG,
                 "If ESP-DL does not support an operator: this firmware links those of the models that it was built "
                 "with; name it in CONFIG_STREAMING_MORE_OPERATORS (idf.py menuconfig)");
#endif
        if (options.location == Location::kPartition) {
            // FbsLoader of ESP-DL 3.3.9 unmaps a partition that it has never found, through a null pointer; so this
            // model is never deleted.
            [[maybe_unused]] const dl::Model *const leaked = model_.release();
        }
        model_.reset();
        return ESP_FAIL;
    }
    const std::size_t inputs = config_.inputs.size() + config_.caches.size();
    const std::size_t outputs = config_.outputs.size() + config_.caches.size();
    if (model_->get_inputs().size() != inputs || model_->get_outputs().size() != outputs) {
        ESP_LOGE(TAG,
                 "stage %.*s: its file has %d inputs and %d outputs, the configuration %d and %d",
                 TEXT(config_.name),
                 static_cast<int>(model_->get_inputs().size()),
                 static_cast<int>(model_->get_outputs().size()),
                 static_cast<int>(inputs),
                 static_cast<int>(outputs));
        return ESP_ERR_NOT_FOUND;
    }
    return ESP_OK;
}

esp_err_t Stage::allocate(Memory memory)
{
    std::size_t bytes = 0;
    for (const TensorConfig &tensor : config_.outputs) {
        bytes += tensor.bytes;
    }
    for (const CacheConfig &cache : config_.caches) {
        bytes += cache.tensor.bytes;
    }
    if (!inputs_.allocate(config_.inputs.size()) || !cache_inputs_.allocate(config_.caches.size()) ||
        !outputs_.allocate(config_.outputs.size()) || !caches_.allocate(config_.caches.size()) ||
        !memory_.allocate(bytes, to_caps(memory))) {
        ESP_LOGE(TAG, "stage %.*s: no memory for %d bytes", TEXT(config_.name), static_cast<int>(bytes));
        return ESP_ERR_NO_MEM;
    }
    return ESP_OK;
}

esp_err_t Stage::bind()
{
    std::uint8_t *copy = memory_.data();
    for (std::size_t i = 0; i < config_.inputs.size(); ++i) {
        const TensorConfig &tensor = config_.inputs[i];
        inputs_[i].bytes = tensor.bytes;
        if (const esp_err_t error = find(tensor, tensor.name, true, &inputs_[i].tensor); error != ESP_OK) {
            return error;
        }
    }
    for (std::size_t i = 0; i < config_.outputs.size(); ++i) {
        const TensorConfig &tensor = config_.outputs[i];
        outputs_[i].bytes = tensor.bytes;
        outputs_[i].copy = copy;
        copy += tensor.bytes;
        if (const esp_err_t error = find(tensor, tensor.name, false, &outputs_[i].tensor); error != ESP_OK) {
            return error;
        }
    }
    for (std::size_t i = 0; i < config_.caches.size(); ++i) {
        const CacheConfig &cache = config_.caches[i];
        caches_[i].bytes = cache_inputs_[i].bytes = cache.tensor.bytes;
        caches_[i].copy = copy;
        cache_inputs_[i].source = copy;
        copy += cache.tensor.bytes;
        esp_err_t error = find(cache.tensor, cache.tensor.name, true, &cache_inputs_[i].tensor);
        if (error == ESP_OK) {
            error = find(cache.tensor, cache.next, false, &caches_[i].tensor);
        }
        if (error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}

esp_err_t Stage::find(const TensorConfig &tensor, std::string_view name, bool is_input, dl::TensorBase **found) const
{
    const std::map<std::string, dl::TensorBase *> &tensors = is_input ? model_->get_inputs() : model_->get_outputs();
    // Not by `find`: it would copy the name to the heap, where `new` aborts when there is no memory.
    const auto entry =
        std::find_if(tensors.begin(), tensors.end(), [&](const auto &each) { return each.first == name; });
    // ESP-DL leaves a null pointer where it had no memory for its tensors.
    if (entry == tensors.end() || entry->second == nullptr) {
        ESP_LOGE(TAG,
                 "stage %.*s: its file has no %s %.*s, or ESP-DL had no memory for it",
                 TEXT(config_.name),
                 is_input ? "input" : "output",
                 TEXT(name));
        return ESP_ERR_NOT_FOUND;
    }
    *found = entry->second;
    if (!has_shape(**found, tensor)) {
        ESP_LOGE(TAG, "stage %.*s: tensor %.*s has another shape in its file", TEXT(config_.name), TEXT(name));
        return ESP_ERR_INVALID_SIZE;
    }
    const bool is_float = tensor.type == DataType::kFloat32;
    if ((*found)->get_dtype() != to_dl(tensor.type) || (*found)->exponent.is_per_channel() ||
        (!is_float && (*found)->get_exponent() != tensor.exponent)) {
        ESP_LOGE(TAG,
                 "stage %.*s: tensor %.*s is %s with exponent %d in its file; the configuration says exponent %d",
                 TEXT(config_.name),
                 TEXT(name),
                 (*found)->get_dtype_string(),
                 (*found)->get_exponent(),
                 tensor.exponent);
        return ESP_ERR_INVALID_VERSION;
    }
    return static_cast<std::size_t>((*found)->get_bytes()) == tensor.bytes ? ESP_OK : ESP_ERR_INVALID_SIZE;
}

// ESP-DL allocates what StreamingCache remembers in its first run; so that comes here, before anybody counts on memory.
void Stage::warm_up()
{
    for (const Input &input : inputs_) {
        std::memset(input.tensor->get_element_ptr(), 0, input.bytes);
    }
    for (const Input &input : cache_inputs_) {
        std::memset(input.tensor->get_element_ptr(), 0, input.bytes);
    }
    model_->run();
}

void Stage::connect(std::size_t index, const std::uint8_t *source)
{
    inputs_[index].source = source;
}

esp_err_t Stage::run(int segments, int segment)
{
    if (!is_ready_) {
        return ESP_ERR_INVALID_STATE;
    }
    if (segment < 0 || segment >= segments) {
        return ESP_ERR_INVALID_ARG;
    }
    if (segment == 0) {
        if (const esp_err_t error = write_inputs(); error != ESP_OK) {
            return error;
        }
    }
    if (segments == 1) {
        model_->run();
    } else {
        model_->run(segments, segment);
    }
    if (segment + 1 == segments) {
        read_outputs();
    }
    return ESP_OK;
}

esp_err_t Stage::write_inputs()
{
    for (const Input &input : inputs_) {
        if (input.source == nullptr) {
            return ESP_ERR_INVALID_STATE;
        }
        std::memcpy(input.tensor->get_element_ptr(), input.source, input.bytes);
    }
    for (const Input &input : cache_inputs_) {
        std::memcpy(input.tensor->get_element_ptr(), input.source, input.bytes);
    }
    return ESP_OK;
}

void Stage::read_outputs()
{
    for (const Output &output : outputs_) {
        std::memcpy(output.copy, output.tensor->get_element_ptr(), output.bytes);
    }
    for (const Output &cache : caches_) {
        std::memcpy(cache.copy, cache.tensor->get_element_ptr(), cache.bytes);
    }
}

void Stage::set_cache(std::size_t index, const std::uint8_t *values)
{
    std::memcpy(caches_[index].copy, values, caches_[index].bytes);
}

void Stage::reset()
{
    if (!is_ready_) {
        return;
    }
    // Clears what the model itself remembers (StreamingCache); it has nothing to clear where all caches are inputs.
    model_->reset();
    for (std::size_t i = 0; i < caches_.size(); ++i) {
        fill(caches_[i].copy, config_.caches[i].tensor, config_.caches[i].initial);
    }
}

} // namespace lesp::streaming
