// Stands for include/bsp/esp-bsp.h of the board packages espressif/esp-box-3 3.2, esp32_s3_korvo_2 5.0 and
// esp32_p4_function_ev_board 5.2.
#pragma once

#include "esp_codec_dev.h"
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif
esp_codec_dev_handle_t bsp_audio_codec_microphone_init(void);
esp_err_t bsp_sdcard_mount(void);
#ifdef __cplusplus
}
#endif
