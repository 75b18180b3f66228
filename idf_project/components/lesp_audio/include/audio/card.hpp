// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "esp_err.h"

namespace lesp::audio {

// Mounts the SD card of the board that the project is built for (`boards/`) on /sdcard. Errors of its driver.
//
// At pins of your own no card is known, and this does nothing. Define it in a file of `main` to mount the file system
// that your paths are on; yours is taken instead of the board's.
esp_err_t mount_card();

} // namespace lesp::audio
