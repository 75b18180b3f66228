// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The SD card of a board whose package (bsp/esp-bsp.h) mounts it.
#include "audio/card.hpp"
#include "bsp/esp-bsp.h"

esp_err_t lesp::audio::mount_card()
{
    return bsp_sdcard_mount();
}
