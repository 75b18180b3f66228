#pragma once

#include "esp_err.h"

// Replays the golden data: samples through the front end, windows through the model, outputs through the detector. The
// last line that it prints is PASS or FAIL.
esp_err_t replay();
