#include "audio/microphone.hpp"

esp_err_t audio::open_microphone(int, SampleSource **)
{
    return ESP_ERR_NOT_SUPPORTED;
}
