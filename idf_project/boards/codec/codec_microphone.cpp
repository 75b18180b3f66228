// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The microphone of a board whose package (bsp/esp-bsp.h) brings a codec device.
#include <algorithm>
#include <cstdint>

#include "audio/microphone.hpp"
#include "bsp/esp-bsp.h"
#include "esp_codec_dev.h"
#include "esp_log.h"
#include "sdkconfig.h"

namespace {

const char *const TAG = "microphone";

// Boards with several microphones or an echo reference deliver two channels; the first one is taken.
constexpr int kChannels = 2;

class CodecMicrophone : public lesp::audio::SampleSource {
public:
    esp_err_t open(int sample_rate)
    {
        if (codec_ == nullptr) {
            codec_ = bsp_audio_codec_microphone_init();
        }
        if (codec_ == nullptr) {
            ESP_LOGE(TAG, "the board package finds no microphone; is this the right board?");
            return ESP_ERR_NOT_FOUND;
        }
        sample_rate_ = sample_rate;
        return configure(sample_rate);
    }

    esp_err_t restart() override
    {
        close();
        return configure(sample_rate_);
    }

    void close() override { esp_codec_dev_close(codec_); }

    int sample_rate() const override { return sample_rate_; }

    esp_err_t read(std::span<std::int16_t> samples, std::size_t *count) override
    {
        *count = std::min(samples.size(), std::size(words_) / kChannels);
        const auto bytes = static_cast<int>(*count * kChannels * sizeof(std::int16_t));
        if (esp_codec_dev_read(codec_, words_, bytes) != ESP_CODEC_DEV_OK) {
            *count = 0;
            return ESP_FAIL;
        }
        for (std::size_t i = 0; i < *count; ++i) {
            samples[i] = words_[i * kChannels];
        }
        return ESP_OK;
    }

private:
    esp_err_t configure(int sample_rate)
    {
        esp_codec_dev_sample_info_t format = {};
        format.bits_per_sample = 16;
        format.channel = kChannels;
        format.sample_rate = static_cast<std::uint32_t>(sample_rate);
        if (esp_codec_dev_open(codec_, &format) != ESP_CODEC_DEV_OK ||
            esp_codec_dev_set_in_gain(codec_, CONFIG_MICROPHONE_GAIN_DB) != ESP_CODEC_DEV_OK) {
            ESP_LOGE(TAG, "the codec does not take %d samples a second", sample_rate);
            return ESP_FAIL;
        }
        return ESP_OK;
    }

    esp_codec_dev_handle_t codec_ = nullptr;
    int sample_rate_ = 0;
    std::int16_t words_[256 * kChannels] = {};
};

} // namespace

esp_err_t lesp::audio::open_microphone(int sample_rate, SampleSource **microphone)
{
    static CodecMicrophone the_microphone;
    *microphone = &the_microphone;
    return the_microphone.open(sample_rate);
}
