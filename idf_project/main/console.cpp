// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "console.hpp"

#include "detector_settings/thresholds.hpp"
#include "esp_console.h"
#include "lesp_listener.h"
#include "lesp_thresholds.h"
#include "nvs_flash.h"
#include "sdkconfig.h"

static esp_err_t apply(std::size_t label, float value)
{
    return lesp_listener_set_threshold(0, static_cast<std::uint32_t>(label), value);
}

// Where ESP-IDF prints.
static esp_err_t start_commands()
{
    esp_console_repl_t *repl = nullptr;
    [[maybe_unused]] const esp_console_repl_config_t config = ESP_CONSOLE_REPL_CONFIG_DEFAULT();
    esp_err_t error = ESP_ERR_NOT_SUPPORTED;
#if CONFIG_ESP_CONSOLE_UART_DEFAULT || CONFIG_ESP_CONSOLE_UART_CUSTOM
    const esp_console_dev_uart_config_t device = ESP_CONSOLE_DEV_UART_CONFIG_DEFAULT();
    error = esp_console_new_repl_uart(&device, &config, &repl);
#elif CONFIG_ESP_CONSOLE_USB_CDC
    const esp_console_dev_usb_cdc_config_t device = ESP_CONSOLE_DEV_CDC_CONFIG_DEFAULT();
    error = esp_console_new_repl_usb_cdc(&device, &config, &repl);
#elif CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG
    const esp_console_dev_usb_serial_jtag_config_t device = ESP_CONSOLE_DEV_USB_SERIAL_JTAG_CONFIG_DEFAULT();
    error = esp_console_new_repl_usb_serial_jtag(&device, &config, &repl);
#endif
    if (error == ESP_OK) {
        error = lesp_register_threshold_commands();
    }
    return error == ESP_OK ? esp_console_start_repl(repl) : error;
}

esp_err_t start_console(const lesp_model &model)
{
    if (model.detector->thresholds.empty() || model.config->labels.empty()) {
        return ESP_OK;
    }
    esp_err_t error = nvs_flash_init();
    if (error == ESP_OK) {
        error = lesp::detector_settings::thresholds().start(*model.config, *model.detector, apply);
    }
    return error == ESP_OK ? start_commands() : error;
}
