// Stands for console/esp_console.h of ESP-IDF 5.3.
#pragma once

#include "esp_err.h"

typedef int (*esp_console_cmd_func_t)(int argc, char **argv);
typedef struct {
    const char *command;
    const char *help;
    const char *hint;
    esp_console_cmd_func_t func;
} esp_console_cmd_t;

typedef struct esp_console_repl_s esp_console_repl_t;
typedef struct {
    const char *prompt;
} esp_console_repl_config_t;
typedef struct {
    int channel;
} esp_console_dev_uart_config_t;

#define ESP_CONSOLE_REPL_CONFIG_DEFAULT()                                                                              \
    {                                                                                                                  \
        .prompt = nullptr                                                                                              \
    }
#define ESP_CONSOLE_DEV_UART_CONFIG_DEFAULT()                                                                          \
    {                                                                                                                  \
        .channel = 0                                                                                                   \
    }

#ifdef __cplusplus
extern "C" {
#endif
esp_err_t esp_console_cmd_register(const esp_console_cmd_t *cmd);
esp_err_t esp_console_new_repl_uart(const esp_console_dev_uart_config_t *dev_config,
                                    const esp_console_repl_config_t *repl_config,
                                    esp_console_repl_t **ret_repl);
esp_err_t esp_console_start_repl(esp_console_repl_t *repl);
#ifdef __cplusplus
}
#endif
