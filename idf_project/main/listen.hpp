#pragma once

#include "esp_err.h"

// Listens to a recording and prints its events with their times.
esp_err_t listen_to_wav();

// Listens to the microphone of the board and prints events as they come; returns when the microphone fails.
esp_err_t listen_to_microphone();

// Called before a WAV file is opened by path; the one that comes with the project does nothing. Define your own,
// without `weak`, to mount the file system that the path is on: with a board package `return bsp_sdcard_mount();`.
extern "C" esp_err_t streaming_mount(void);
