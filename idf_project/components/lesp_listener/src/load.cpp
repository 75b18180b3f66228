// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// A model into memory, with words for whatever may be in the way.
#include <cstdio>
#include <string_view>

#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "listener/model.hpp"
#include "sdkconfig.h"
#include "streaming/version.hpp"

namespace lesp::listening {

static bool has_psram()
{
    return heap_caps_get_total_size(MALLOC_CAP_SPIRAM) > 0;
}

// ESP-DL puts its operators into PSRAM where the firmware is built for it, and has no second place for them.
static bool has_expected_psram()
{
#if CONFIG_SPIRAM
#if CONFIG_SPIRAM_MODE_OCT
    constexpr const char *kKind = "octal ";
#elif CONFIG_SPIRAM_MODE_QUAD
    constexpr const char *kKind = "quad ";
#else
    constexpr const char *kKind = "";
#endif
    if (!has_psram()) {
        std::printf("This firmware is built for %sPSRAM, and this board shows none. Build for what it has: "
                    "idf.py -D PSRAM=quad set-target " CONFIG_IDF_TARGET " (modules whose name ends in R2, say), "
                    "idf.py -D PSRAM=octal set-target " CONFIG_IDF_TARGET " (R8, R16), or without: "
                    "idf.py -D PSRAM=none set-target " CONFIG_IDF_TARGET "\n",
                    kKind);
        return false;
    }
#endif
    return true;
}

static void mention_psram()
{
    if (!has_psram()) {
        std::printf("There is no PSRAM. If this board has it: idf.py -D PSRAM=quad set-target " CONFIG_IDF_TARGET
                    ", or PSRAM=octal.\n");
    }
}

streaming::Options choose_memory()
{
    streaming::Options options;
#if !CONFIG_STREAMING_COPY_WEIGHTS
    options.copy_parameters = false;
#endif
#ifdef CONFIG_STREAMING_INTERNAL_BYTES
    options.max_internal_bytes = CONFIG_STREAMING_INTERNAL_BYTES;
#endif
#if CONFIG_STREAMING_STATE_INTERNAL
    options.memory = streaming::Memory::kInternal;
#elif CONFIG_STREAMING_STATE_PSRAM
    options.memory = streaming::Memory::kPsram;
#endif
    return options;
}

static bool has_memory(const lesp_model &model, bool copies_weights)
{
    const std::size_t free = heap_caps_get_free_size(MALLOC_CAP_8BIT);
    const std::size_t needed = model.estimated_ram + (copies_weights ? model.estimated_parameters : 0);
    if (free >= needed) {
        return true;
    }
    std::printf("No memory: the model takes about %u bytes, %u are free, %u are missing.\n",
                static_cast<unsigned>(needed),
                static_cast<unsigned>(free),
                static_cast<unsigned>(needed - free));
    if (copies_weights && free >= model.estimated_ram) {
        std::printf(
            "It fits with its weights left in flash: idf.py menuconfig, Component config -> Listener -> Memory.\n");
    }
    mention_psram();
    return false;
}

// What loading the model has taken, beside the choices that it depends on.
class MemoryCost {
public:
    void print(const streaming::Options &options) const
    {
        constexpr const char *kPlaces[] = {"internal RAM or PSRAM", "internal RAM", "PSRAM"};
        std::printf(
            "the model took %u bytes of internal RAM and %u of PSRAM: weights %s, %d bytes of internal RAM for the "
            "tensors of each file, state in %s\n",
            static_cast<unsigned>(internal_ - heap_caps_get_free_size(MALLOC_CAP_INTERNAL)),
            static_cast<unsigned>(psram_ - heap_caps_get_free_size(MALLOC_CAP_SPIRAM)),
            options.copy_parameters ? "copied" : "left in flash",
            options.max_internal_bytes,
            kPlaces[static_cast<int>(options.memory)]);
    }

private:
    std::size_t internal_ = heap_caps_get_free_size(MALLOC_CAP_INTERNAL);
    std::size_t psram_ = heap_caps_get_free_size(MALLOC_CAP_SPIRAM);
};

static void explain(esp_err_t error)
{
    std::printf("The model did not start (%s), %u bytes are free, %s PSRAM.\n",
                esp_err_to_name(error),
                static_cast<unsigned>(heap_caps_get_free_size(MALLOC_CAP_8BIT)),
                has_psram() ? "with" : "without");
    mention_psram();
}

// Values may be others with another ESP-DL, which only the self-test can tell.
static void mention_version()
{
    const std::string_view version = streaming::esp_dl_version();
    if (!version.empty() && version != streaming::kProvedEspDl) {
        std::printf(
            "This firmware has ESP-DL %.*s; the model was proved with %.*s. Whether all values are the same, the "
            "self-test tells: idf.py menuconfig, Streaming model -> Where the frames come from -> Replay.\n",
            static_cast<int>(version.size()),
            version.data(),
            static_cast<int>(streaming::kProvedEspDl.size()),
            streaming::kProvedEspDl.data());
    }
}

esp_err_t load(const lesp_model &model, streaming::Pipeline &pipeline)
{
    mention_version();
    if (model.config->target != std::string_view(CONFIG_IDF_TARGET)) {
        std::printf("The model is for %.*s, this is a firmware for " CONFIG_IDF_TARGET ". Export it for this chip.\n",
                    static_cast<int>(model.config->target.size()),
                    model.config->target.data());
        return ESP_ERR_INVALID_VERSION;
    }
    if (!has_expected_psram()) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    streaming::Options options = choose_memory();
    if (!has_memory(model, options.copy_parameters)) {
        return ESP_ERR_NO_MEM;
    }
    ModelFiles files;
    if (const esp_err_t error = model.find(&files); error != ESP_OK) {
        return error;
    }
    options.location = files.location;
    options.clock = esp_timer_get_time;
    const MemoryCost cost;
    const esp_err_t error = pipeline.init(*model.config, files.places, options);
    if (error != ESP_OK) {
        explain(error);
        return error;
    }
    cost.print(options);
    return ESP_OK;
}

void print_memory()
{
    std::printf("memory: %u bytes of internal RAM free (%u at least), %u of PSRAM (%u at least)\n",
                static_cast<unsigned>(heap_caps_get_free_size(MALLOC_CAP_INTERNAL)),
                static_cast<unsigned>(heap_caps_get_minimum_free_size(MALLOC_CAP_INTERNAL)),
                static_cast<unsigned>(heap_caps_get_free_size(MALLOC_CAP_SPIRAM)),
                static_cast<unsigned>(heap_caps_get_minimum_free_size(MALLOC_CAP_SPIRAM)));
}

} // namespace lesp::listening
