// Stands for include/esp_codec_dev.h and esp_codec_dev_types.h of the component espressif/esp_codec_dev 1.5.
#pragma once

#include <stdint.h>

typedef void *esp_codec_dev_handle_t;

#define ESP_CODEC_DEV_OK (0)

typedef struct {
    uint8_t bits_per_sample;
    uint8_t channel;
    uint16_t channel_mask;
    uint32_t sample_rate;
    int mclk_multiple;
} esp_codec_dev_sample_info_t;

#ifdef __cplusplus
extern "C" {
#endif
int esp_codec_dev_open(esp_codec_dev_handle_t codec, esp_codec_dev_sample_info_t *fs);
int esp_codec_dev_close(esp_codec_dev_handle_t codec);
int esp_codec_dev_read(esp_codec_dev_handle_t codec, void *data, int len);
int esp_codec_dev_set_in_gain(esp_codec_dev_handle_t codec, float db_value);
#ifdef __cplusplus
}
#endif
