// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>

// For models that do not listen: writes the next frame of the model's first input, `count` values in the order of
// `model_config.hpp` without batch and time, and returns true. A model that normalises (kNormalization in
// model_config.hpp) takes raw readings, in the unit of its training data. The function waits until a frame is there, on
// a queue or with vTaskDelay, so that other tasks run. False: no more frames.
//
// This firmware stops its listener only after that, so it may wait as long as it likes. In firmware that pauses or
// stops the listener itself, use `read_frame` of lesp_listener_config_t, which says ESP_ERR_TIMEOUT after a second: to
// stop waits for the function of the source.
//
// The one that comes with the project returns false. Define your own, without `weak`, in a file of C or C++ that you
// add to SRCS in main/CMakeLists.txt.
#ifdef __cplusplus
extern "C"
#endif
    bool
    streaming_next_frame(float *values, size_t count);
