// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// A microphone at pins, on I2S or PDM, with the channel driver of ESP-IDF 5.
#include <algorithm>
#include <cstdint>

#include "audio/microphone.hpp"
#include "driver/i2s_common.h"
#include "esp_check.h"
#include "esp_log.h"
#include "sdkconfig.h"
#if CONFIG_MICROPHONE_PDM
#include "driver/i2s_pdm.h"
#else
#include "driver/i2s_std.h"
#endif

// The initializers of ESP-IDF 5.3 leave out members that it added later, of which -Wextra warns in C++.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace {

const char *const TAG = "microphone";

// Bytes of one sample as the driver delivers it, and where its upper 16 bits are.
#if CONFIG_MICROPHONE_PDM || CONFIG_MICROPHONE_SLOT_16
typedef std::int16_t Word;
#else
typedef std::int32_t Word;
#endif
constexpr int kShift = 8 * (sizeof(Word) - sizeof(std::int16_t)) - CONFIG_MICROPHONE_GAIN_BITS;

std::int16_t to_sample(Word word)
{
    const std::int64_t value = kShift >= 0 ? std::int64_t{word} >> (kShift >= 0 ? kShift : 0)
                                           : std::int64_t{word} * (1 << (kShift < 0 ? -kShift : 0));
    return static_cast<std::int16_t>(std::clamp<std::int64_t>(value, INT16_MIN, INT16_MAX));
}

class I2sMicrophone : public lesp::audio::SampleSource {
public:
    esp_err_t open(int sample_rate)
    {
        sample_rate_ = sample_rate;
        const esp_err_t error = start();
        if (error != ESP_OK) {
            ESP_LOGE(TAG, "the I2S driver says %s; are the pins right?", esp_err_to_name(error));
            close();
        }
        return error;
    }

    int sample_rate() const override { return sample_rate_; }

    esp_err_t read(std::span<std::int16_t> samples, std::size_t *count) override
    {
        constexpr std::uint32_t kTimeoutMs = 1000;
        std::size_t bytes = 0;
        const std::size_t wanted = std::min(samples.size(), std::size(words_));
        const esp_err_t error = i2s_channel_read(channel_, words_, wanted * sizeof(Word), &bytes, kTimeoutMs);
        *count = bytes / sizeof(Word);
        std::transform(words_, words_ + *count, samples.begin(), to_sample);
        // What came before a timeout is good.
        return *count > 0 ? ESP_OK : error;
    }

    esp_err_t restart() override
    {
        close();
        return open(sample_rate_);
    }

    void close() override
    {
        if (channel_ != nullptr) {
            i2s_channel_disable(channel_); // an error where it was not enabled
            i2s_del_channel(channel_);
            channel_ = nullptr;
        }
    }

private:
    esp_err_t start()
    {
        // An enumeration in ESP-IDF 5, a number in ESP-IDF 6.
        constexpr auto kPort = static_cast<decltype(i2s_chan_config_t::id)>(CONFIG_MICROPHONE_PORT);
        const i2s_chan_config_t channel = I2S_CHANNEL_DEFAULT_CONFIG(kPort, I2S_ROLE_MASTER);
        ESP_RETURN_ON_ERROR(
            i2s_new_channel(&channel, nullptr, &channel_), TAG, "no channel on port %d", CONFIG_MICROPHONE_PORT);
        ESP_RETURN_ON_ERROR(configure(sample_rate_), TAG, "no %d samples a second from these pins", sample_rate_);
        ESP_RETURN_ON_ERROR(i2s_channel_enable(channel_), TAG, "the channel does not start");
        return ESP_OK;
    }

#if CONFIG_MICROPHONE_PDM
    esp_err_t configure(int sample_rate)
    {
        i2s_pdm_rx_config_t config = {
            .clk_cfg = I2S_PDM_RX_CLK_DEFAULT_CONFIG(static_cast<std::uint32_t>(sample_rate)),
            .slot_cfg = I2S_PDM_RX_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_16BIT, I2S_SLOT_MODE_MONO),
            .gpio_cfg = {},
        };
#if CONFIG_MICROPHONE_RIGHT
        config.slot_cfg.slot_mask = I2S_PDM_SLOT_RIGHT;
#endif
        config.gpio_cfg.clk = static_cast<gpio_num_t>(CONFIG_MICROPHONE_CLOCK_PIN);
        config.gpio_cfg.din = static_cast<gpio_num_t>(CONFIG_MICROPHONE_DATA_PIN);
        return i2s_channel_init_pdm_rx_mode(channel_, &config);
    }
#else
    esp_err_t configure(int sample_rate)
    {
        constexpr i2s_data_bit_width_t kWidth =
            sizeof(Word) == sizeof(std::int16_t) ? I2S_DATA_BIT_WIDTH_16BIT : I2S_DATA_BIT_WIDTH_32BIT;
        i2s_std_config_t config = {
            .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(static_cast<std::uint32_t>(sample_rate)),
            .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(kWidth, I2S_SLOT_MODE_MONO),
            .gpio_cfg = {},
        };
#if CONFIG_MICROPHONE_RIGHT
        config.slot_cfg.slot_mask = I2S_STD_SLOT_RIGHT;
#else
        config.slot_cfg.slot_mask = I2S_STD_SLOT_LEFT;
#endif
        config.gpio_cfg.mclk = I2S_GPIO_UNUSED;
        config.gpio_cfg.bclk = static_cast<gpio_num_t>(CONFIG_MICROPHONE_CLOCK_PIN);
        config.gpio_cfg.ws = static_cast<gpio_num_t>(CONFIG_MICROPHONE_WORD_PIN);
        config.gpio_cfg.dout = I2S_GPIO_UNUSED;
        config.gpio_cfg.din = static_cast<gpio_num_t>(CONFIG_MICROPHONE_DATA_PIN);
        return i2s_channel_init_std_mode(channel_, &config);
    }
#endif

    i2s_chan_handle_t channel_ = nullptr;
    int sample_rate_ = 0;
    Word words_[256] = {};
};

} // namespace

esp_err_t lesp::audio::open_microphone(int sample_rate, SampleSource **microphone)
{
    static I2sMicrophone the_microphone;
    const esp_err_t error = the_microphone.open(sample_rate);
    *microphone = &the_microphone;
    return error;
}
