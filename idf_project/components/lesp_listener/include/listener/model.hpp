// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// What the listener has to know of a model.
#pragma once

#include <cstddef>
#include <span>

#include "esp_err.h"
#include "lesp_listener.h"
#include "streaming/config.hpp"
#include "streaming/detector.hpp"
#include "streaming/front_end.hpp"
#include "streaming/pipeline.hpp"

namespace lesp::listening {

// Where the files of a model are.
struct ModelFiles {
    std::span<const char *const> places = {}; // what Pipeline::init takes, one for each stage
    streaming::Location location = streaming::Location::kRodata;
};

} // namespace lesp::listening

// All that is pointed to must outlive the listener.
struct lesp_model {
    const lesp::streaming::ModelConfig *config = nullptr;
    const lesp::streaming::FrontEndConfig *front_end = nullptr;
    const lesp::streaming::DetectorConfig *detector = nullptr;
    std::size_t estimated_ram = 0;        // 0: not known
    std::size_t estimated_parameters = 0; // of the weights, where they are copied
    esp_err_t (*find)(lesp::listening::ModelFiles *files) = nullptr;
};

// Describes a model by the namespace of its model_config.hpp; `function` finds its files. For a second model:
//
//     #include "vad.hpp"
//     extern "C" const lesp_model_t vad_model =
//         LESP_MODEL(lesp::model_vad, lesp::listening::find_in_app<lesp::model_vad::kFiles>);
#define LESP_MODEL(space, function)                                                                                    \
    lesp_model                                                                                                         \
    {                                                                                                                  \
        .config = &space::kConfig, .front_end = &space::kFrontEnd, .detector = &space::kDetector,                      \
        .estimated_ram = space::kEstimatedRam, .estimated_parameters = space::kEstimatedParameters, .find = (function) \
    }

namespace lesp::listening {

// Finds files that are embedded in the app.
template <const auto &kFiles>
esp_err_t find_in_app(ModelFiles *files)
{
    *files = {kFiles, streaming::Location::kRodata};
    return ESP_OK;
}

// What menuconfig says under "Memory", as load() takes it.
streaming::Options choose_memory();

// Loads a model with the choices of menuconfig ("Component config" -> "Listener" -> "Memory"), and prints what it took;
// on an error the console says in words what is wrong and what to do.
// ESP_ERR_INVALID_VERSION: the model is for another chip. ESP_ERR_NO_MEM: too little memory; the console says how much
// is missing. ESP_ERR_NOT_SUPPORTED: the firmware is built for PSRAM, and there is none. Else the errors of
// `model.find` and Pipeline::init.
esp_err_t load(const lesp_model &model, streaming::Pipeline &pipeline);

// Prints how much memory is left, and was left at least.
void print_memory();

} // namespace lesp::listening
