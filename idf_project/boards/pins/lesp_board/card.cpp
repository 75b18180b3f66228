#include "audio/card.hpp"

esp_err_t audio::mount_card()
{
    return ESP_OK;
}
