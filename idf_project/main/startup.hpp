#pragma once

#include "esp_err.h"
#include "streaming/pipeline.hpp"

// Loads the model of the bundle; on an error the console says in words what is wrong and what to do.
// ESP_ERR_INVALID_VERSION: the model is for another chip. ESP_ERR_NO_MEM: too little memory; the console says how much
// is missing. ESP_ERR_NOT_SUPPORTED: the firmware is built for PSRAM, and there is none. Else the errors of find_model
// and Pipeline::init.
esp_err_t start(streaming::Pipeline &pipeline);

// Whether the model has one input, which `main` feeds; else the console says what to do.
bool has_one_input();

// Prints how much memory is left, and was left at least.
void print_memory();
