#pragma once

#include "bundled_model.hpp"
#include "esp_err.h"
#include "listener/model.hpp"

using listening::ModelFiles;

// Finds the files where menuconfig says that they are ("Streaming model" -> "Where the model is"): in the app, in
// partitions, or on an SD card. Outside the app it checks that each is there and the one of this bundle, by size and
// CRC32; else the console says what is wrong and what to do.
//
// ESP_ERR_NOT_FOUND: no such partition or file. ESP_ERR_INVALID_SIZE: the partition is too small, or the file has
// another size. ESP_ERR_INVALID_CRC: it holds something else, a model for another chip say. ESP_ERR_NO_MEM: ESP-DL
// cannot map the partitions. Else the errors of audio::mount_card and of reading flash.
esp_err_t find_model(ModelFiles *files);

// The model of the bundle, wherever menuconfig says that it is.
inline const lesp_model kModel = LESP_MODEL(bundled, find_model);
