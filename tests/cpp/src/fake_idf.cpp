// Tasks as threads, and an I2S driver, and a codec, that deliver the samples of the WAV file that FAKE_MICROPHONE
// names; with FAKE_RUSH in the environment as fast as they can be taken, and after the last one only timeouts. With
// FAKE_HICCUP the first read times out as well, and the driver must be opened again.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "audio/wav_reader.hpp"
#include "bsp/esp-bsp.h"
#include "driver/i2s_pdm.h"
#include "driver/i2s_std.h"
#include "esp_timer.h"
#include "freertos/task.h"

// A task may wait for notifications.
struct tskTaskControlBlock {
    std::mutex mutex = {};
    std::condition_variable is_notified = {};
    std::uint32_t count = 0;
};

static thread_local tskTaskControlBlock this_task;

int64_t esp_timer_get_time(void)
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

void vTaskDelay(const TickType_t) {}

extern "C" {

BaseType_t xTaskCreate(TaskFunction_t code, const char *, uint32_t, void *argument, UBaseType_t, TaskHandle_t *)
{
    std::thread([code, argument] { code(argument); }).detach();
    return pdPASS;
}

void vTaskDelete(TaskHandle_t) {}

TaskHandle_t xTaskGetCurrentTaskHandle()
{
    return &this_task;
}

BaseType_t xTaskNotifyGive(TaskHandle_t task)
{
    const std::lock_guard lock(task->mutex);
    ++task->count;
    task->is_notified.notify_one();
    return pdPASS;
}

uint32_t ulTaskNotifyTake(BaseType_t, TickType_t)
{
    std::unique_lock lock(this_task.mutex);
    this_task.is_notified.wait_for(lock, std::chrono::seconds(1), [] { return this_task.count > 0; });
    return std::exchange(this_task.count, 0);
}

} // extern "C"

static std::size_t word_bytes = 0;

// The driver does not open any more once there are no samples.
static bool is_over = false;

static bool has_hiccup()
{
    static int reads = 0;
    if (std::getenv("FAKE_HICCUP") == nullptr || ++reads > 2) {
        return false;
    }
    if (reads == 2) {
        // Time for the reader to see the gap; until it does, samples are dropped.
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return reads == 1;
}

static std::size_t read_microphone(std::int16_t *samples, std::size_t count)
{
    if (has_hiccup()) {
        return 0;
    }
    static audio::FileBytes file;
    static audio::WavReader reader;
    static const bool is_open = [] {
        const char *path = std::getenv("FAKE_MICROPHONE");
        return path != nullptr && file.open(path) == ESP_OK && reader.init(file) == ESP_OK;
    }();
    if (std::getenv("FAKE_RUSH") == nullptr) {
        std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    const std::size_t read = is_open ? reader.read({samples, count}) : 0;
    is_over = read < count;
    return read;
}

extern "C" {

esp_err_t i2s_new_channel(const i2s_chan_config_t *, i2s_chan_handle_t *, i2s_chan_handle_t *receive)
{
    if (is_over || *receive != nullptr || std::getenv("FAKE_MICROPHONE") == nullptr) {
        return ESP_ERR_NOT_FOUND;
    }
    *receive = reinterpret_cast<i2s_chan_handle_t>(&word_bytes);
    return ESP_OK;
}

esp_err_t i2s_channel_disable(i2s_chan_handle_t)
{
    return ESP_OK;
}

esp_err_t i2s_del_channel(i2s_chan_handle_t)
{
    return ESP_OK;
}

esp_err_t i2s_channel_enable(i2s_chan_handle_t)
{
    return ESP_OK;
}

esp_err_t i2s_channel_init_std_mode(i2s_chan_handle_t, const i2s_std_config_t *config)
{
    word_bytes = static_cast<std::size_t>(config->slot_cfg.data_bit_width) / 8;
    const bool is_one_slot = config->slot_cfg.slot_mask != I2S_STD_SLOT_BOTH;
    const bool has_pins = config->gpio_cfg.bclk == 41 && config->gpio_cfg.ws == 42 && config->gpio_cfg.din == 2;
    return is_one_slot && has_pins && config->clk_cfg.sample_rate_hz == 16000 ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_err_t i2s_channel_init_pdm_rx_mode(i2s_chan_handle_t, const i2s_pdm_rx_config_t *config)
{
    word_bytes = static_cast<std::size_t>(config->slot_cfg.data_bit_width) / 8;
    return config->gpio_cfg.clk == 41 && config->gpio_cfg.din == 2 ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_err_t i2s_channel_read(i2s_chan_handle_t, void *out, size_t bytes, size_t *bytes_read, uint32_t)
{
    std::vector<std::int16_t> samples(bytes / word_bytes);
    samples.resize(read_microphone(samples.data(), samples.size()));
    auto *target = static_cast<char *>(out);
    for (const std::int16_t sample : samples) {
        // The sample lies in the upper bits of its slot.
        const std::int32_t wide = sample * 65536;
        std::memcpy(target, word_bytes == 2 ? static_cast<const void *>(&sample) : &wide, word_bytes);
        target += word_bytes;
    }
    *bytes_read = samples.size() * word_bytes;
    return samples.empty() ? ESP_ERR_TIMEOUT : ESP_OK;
}

esp_codec_dev_handle_t bsp_audio_codec_microphone_init()
{
    return &word_bytes;
}

esp_err_t bsp_sdcard_mount()
{
    return std::getenv("FAKE_NO_CARD") == nullptr ? ESP_OK : ESP_ERR_TIMEOUT;
}

int esp_codec_dev_open(esp_codec_dev_handle_t, esp_codec_dev_sample_info_t *format)
{
    return !is_over && format->channel == 2 && format->bits_per_sample == 16 ? ESP_CODEC_DEV_OK : -1;
}

int esp_codec_dev_close(esp_codec_dev_handle_t)
{
    return ESP_CODEC_DEV_OK;
}

int esp_codec_dev_set_in_gain(esp_codec_dev_handle_t, float)
{
    return ESP_CODEC_DEV_OK;
}

int esp_codec_dev_read(esp_codec_dev_handle_t, void *data, int bytes)
{
    std::vector<std::int16_t> samples(static_cast<std::size_t>(bytes) / 4);
    if (read_microphone(samples.data(), samples.size()) < samples.size()) {
        return -1;
    }
    auto *out = static_cast<std::int16_t *>(data);
    for (std::size_t i = 0; i < samples.size(); ++i) {
        out[2 * i] = samples[i];
        out[2 * i + 1] = 12345;
    }
    return ESP_CODEC_DEV_OK;
}

} // extern "C"
