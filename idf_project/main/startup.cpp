#include "startup.hpp"

#include <cstdio>
#include <string_view>

#include "bundled_model.hpp"
#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "model_files.hpp"
#include "sdkconfig.h"

static bool has_psram()
{
    return heap_caps_get_total_size(MALLOC_CAP_SPIRAM) > 0;
}

static void mention_psram()
{
    if (!has_psram()) {
        std::printf("There is no PSRAM. If this board has it, switch it on: idf.py menuconfig, Component config -> "
                    "ESP PSRAM.\n");
    }
}

static bool has_memory()
{
    const std::size_t free = heap_caps_get_free_size(MALLOC_CAP_8BIT);
    if (free >= bundled::kEstimatedRam) {
        return true;
    }
    std::printf("No memory: the model takes about %u bytes, %u are free, %u are missing.\n",
                static_cast<unsigned>(bundled::kEstimatedRam),
                static_cast<unsigned>(free),
                static_cast<unsigned>(bundled::kEstimatedRam - free));
    mention_psram();
    return false;
}

static void explain(esp_err_t error)
{
    std::printf("The model did not start (%s), %u bytes are free, %s PSRAM.\n",
                esp_err_to_name(error),
                static_cast<unsigned>(heap_caps_get_free_size(MALLOC_CAP_8BIT)),
                has_psram() ? "with" : "without");
    mention_psram();
}

esp_err_t start(streaming::Pipeline &pipeline)
{
    if (bundled::kConfig.target != std::string_view(CONFIG_IDF_TARGET)) {
        std::printf("The model is for %.*s, this is a firmware for " CONFIG_IDF_TARGET ". Export it for this chip.\n",
                    static_cast<int>(bundled::kConfig.target.size()),
                    bundled::kConfig.target.data());
        return ESP_ERR_INVALID_VERSION;
    }
    if (!has_memory()) {
        return ESP_ERR_NO_MEM;
    }
    ModelFiles files;
    if (const esp_err_t error = find_model(&files); error != ESP_OK) {
        return error;
    }
    const esp_err_t error =
        pipeline.init(bundled::kConfig, files.places, {.location = files.location, .clock = esp_timer_get_time});
    if (error != ESP_OK) {
        explain(error);
    }
    return error;
}

bool has_one_input()
{
    if (bundled::kConfig.inputs.size() == 1) {
        return true;
    }
    std::printf(
        "The model has %u inputs, and this firmware feeds the first. Write the others to the pipeline yourself, as "
        "\"In your own firmware\" in README.md shows.\n",
        static_cast<unsigned>(bundled::kConfig.inputs.size()));
    return false;
}

void print_memory()
{
    std::printf("memory: %u bytes of internal RAM free (%u at least), %u of PSRAM (%u at least)\n",
                static_cast<unsigned>(heap_caps_get_free_size(MALLOC_CAP_INTERNAL)),
                static_cast<unsigned>(heap_caps_get_minimum_free_size(MALLOC_CAP_INTERNAL)),
                static_cast<unsigned>(heap_caps_get_free_size(MALLOC_CAP_SPIRAM)),
                static_cast<unsigned>(heap_caps_get_minimum_free_size(MALLOC_CAP_SPIRAM)));
}
