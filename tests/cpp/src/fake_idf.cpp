// Tasks as threads, and an I2S driver, and a codec, that deliver the samples of the WAV file that FAKE_MICROPHONE
// names; with FAKE_RUSH in the environment as fast as they can be taken, and after the last one only timeouts. With
// FAKE_HICCUP the first read times out as well, and the driver must be opened again.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

#include "audio/wav_reader.hpp"
#include "bsp/esp-bsp.h"
#include "driver/i2s_pdm.h"
#include "driver/i2s_std.h"
#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "freertos/idf_additions.h"
#include "freertos/semphr.h"
#include "freertos/task.h"

// A task may wait for notifications.
struct tskTaskControlBlock {
    std::mutex mutex = {};
    std::condition_variable is_notified = {};
    std::uint32_t count = 0;
    pthread_t thread = {};
    TaskFunction_t code = nullptr;
    void *argument = nullptr;
};

static thread_local tskTaskControlBlock outside; // of threads that are no tasks
static thread_local tskTaskControlBlock *this_task = &outside;

int64_t esp_timer_get_time(void)
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

// A hundredth of the time that was asked for.
void vTaskDelay(const TickType_t ticks)
{
    std::this_thread::sleep_for(std::chrono::microseconds(100) * ticks);
}

// Waits for `condition` as long as a task would.
template <typename Condition>
static bool
wait(std::condition_variable &variable, std::unique_lock<std::mutex> &lock, TickType_t ticks, Condition condition)
{
    if (ticks == portMAX_DELAY) {
        variable.wait(lock, condition);
        return true;
    }
    return variable.wait_for(lock, std::chrono::milliseconds(1000 / configTICK_RATE_HZ) * ticks, condition);
}

extern "C" {

static void *run_task(void *task)
{
    this_task = static_cast<tskTaskControlBlock *>(task);
    this_task->code(this_task->argument);
    std::fprintf(stderr, "a task has returned\n");
    std::abort();
}

BaseType_t xTaskCreatePinnedToCoreWithCaps(TaskFunction_t code,
                                           const char *,
                                           uint32_t,
                                           void *argument,
                                           UBaseType_t,
                                           TaskHandle_t *handle,
                                           BaseType_t,
                                           UBaseType_t)
{
    void *const memory = heap_caps_calloc(1, sizeof(tskTaskControlBlock), MALLOC_CAP_INTERNAL);
    if (memory == nullptr) {
        return pdFALSE;
    }
    auto *task = new (memory) tskTaskControlBlock{.code = code, .argument = argument};
    *handle = task;
    return pthread_create(&task->thread, nullptr, run_task, task) == 0 ? pdPASS : pdFALSE;
}

// A task that has suspended itself is only good for being deleted here.
void vTaskSuspend(TaskHandle_t)
{
    pthread_exit(nullptr);
}

void vTaskDeleteWithCaps(TaskHandle_t task)
{
    pthread_join(task->thread, nullptr);
    task->~tskTaskControlBlock();
    heap_caps_free(task);
}

TaskHandle_t xTaskGetCurrentTaskHandle()
{
    return this_task;
}

// Whatever a thread of the host takes.
UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t)
{
    return 1192;
}

BaseType_t xTaskNotifyGive(TaskHandle_t task)
{
    const std::lock_guard lock(task->mutex);
    ++task->count;
    task->is_notified.notify_one();
    return pdPASS;
}

uint32_t ulTaskNotifyTake(BaseType_t, TickType_t ticks)
{
    std::unique_lock lock(this_task->mutex);
    wait(this_task->is_notified, lock, ticks, [] { return this_task->count > 0; });
    return std::exchange(this_task->count, 0);
}

} // extern "C"

struct QueueDefinition {
    std::mutex mutex = {};
    std::condition_variable is_given = {};
    bool is_there = false;
};
static_assert(sizeof(QueueDefinition) <= sizeof(StaticSemaphore_t));

extern "C" {

SemaphoreHandle_t xSemaphoreCreateBinaryStatic(StaticSemaphore_t *memory)
{
    return new (memory) QueueDefinition;
}

BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks)
{
    std::unique_lock lock(semaphore->mutex);
    const bool is_there = wait(semaphore->is_given, lock, ticks, [semaphore] { return semaphore->is_there; });
    semaphore->is_there = false;
    return is_there ? pdTRUE : pdFALSE;
}

BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore)
{
    const std::lock_guard lock(semaphore->mutex);
    semaphore->is_there = true;
    semaphore->is_given.notify_one();
    return pdPASS;
}

void vSemaphoreDelete(SemaphoreHandle_t semaphore)
{
    semaphore->~QueueDefinition();
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
    static lesp::audio::FileBytes file;
    static lesp::audio::WavReader reader;
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
