#pragma once

#include "esp_err.h"

// Listens to a recording and prints its events with their times.
esp_err_t listen_to_wav();

// Listens to the microphone of the board and prints events as they come; returns when the microphone fails.
esp_err_t listen_to_microphone();
