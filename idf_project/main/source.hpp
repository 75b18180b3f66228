// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "esp_err.h"

// Runs the model on the chosen source to its end: replay.cpp, listen_wav.cpp, listen_microphone.cpp or frames.cpp, one
// of which is in the firmware. The console says what comes of it, and on an error what to do.
esp_err_t run_source();
