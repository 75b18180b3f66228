// The model of an update, or that of the app.
#include <cstdio>

#include "model_files.hpp"
#include "model_update/slots.hpp"
#include "nvs_flash.h"

esp_err_t find_model(ModelFiles *files)
{
    *files = {bundled::kFiles, streaming::Location::kRodata};
    return ESP_OK;
}

static esp_err_t find_in_slot(ModelFiles *files)
{
    *files = {model_update::slots().model().files, streaming::Location::kRodata};
    return ESP_OK;
}

// As the model will be loaded.
static streaming::Options choose_options()
{
    streaming::Options options;
#if !CONFIG_STREAMING_COPY_WEIGHTS
    options.copy_parameters = false;
#endif
    return options;
}

static lesp_model choose()
{
    esp_err_t error = nvs_flash_init();
    if (error == ESP_OK) {
        error = model_update::slots().start(choose_options());
    }
    if (error != ESP_OK) {
        std::printf("the model is that of the app (%s)\n",
                    error == ESP_ERR_NOT_FOUND ? "no update" : esp_err_to_name(error));
        return LESP_MODEL(bundled, find_model);
    }
    const streaming::Model &model = model_update::slots().model();
    std::printf("the model is %.*s, of partition model_%c\n",
                static_cast<int>(model.config.name.size()),
                model.config.name.data(),
                model_update::slots().running() == model_update::Slot::kA ? 'a' : 'b');
    return {.config = &model.config,
            .front_end = &model.front_end,
            .detector = &model.detector,
            .estimated_ram = model.estimated_ram,
            .estimated_parameters = model.estimated_parameters,
            .find = find_in_slot};
}

const lesp_model &choose_model()
{
    static const lesp_model the_model = choose();
    return the_model;
}
