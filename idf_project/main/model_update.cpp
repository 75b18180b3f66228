// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The model of an update, or that of the app.
#include <cstdio>

#include "esp_system.h"
#include "model_files.hpp"
#include "model_update/slots.hpp"
#include "nvs_flash.h"

esp_err_t find_model(ModelFiles *files)
{
    *files = {lesp::bundled::kFiles, lesp::streaming::Location::kRodata};
    return ESP_OK;
}

static esp_err_t find_in_slot(ModelFiles *files)
{
    *files = {lesp::model_update::slots().model().files, lesp::streaming::Location::kRodata};
    return ESP_OK;
}

static lesp_model choose()
{
    esp_err_t error = nvs_flash_init();
    if (error == ESP_OK) {
        error = lesp::model_update::slots().start(lesp::listening::choose_memory());
    }
    if (error != ESP_OK) {
        std::printf("the model is that of the app (%s)\n",
                    error == ESP_ERR_NOT_FOUND ? "no update" : esp_err_to_name(error));
        return LESP_MODEL(lesp::bundled, find_model);
    }
    const lesp::streaming::Model &model = lesp::model_update::slots().model();
    std::printf("the model is %.*s, of partition model_%c\n",
                static_cast<int>(model.config.name.size()),
                model.config.name.data(),
                lesp::model_update::slots().running() == lesp::model_update::Slot::kA ? 'a' : 'b');
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

void confirm_model()
{
    if (const esp_err_t error = lesp::model_update::slots().confirm(); error != ESP_OK) {
        std::printf("the new model is not kept, and may be left at a later start (%s)\n", esp_err_to_name(error));
    }
}

void leave_new_model()
{
    if (lesp::model_update::slots().reject() == ESP_OK) {
        std::printf("the new model did not start; the one before takes its place\n");
        esp_restart();
    }
}
