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

#ifdef __cplusplus
extern "C" {
#endif
esp_err_t esp_console_cmd_register(const esp_console_cmd_t *cmd);
#ifdef __cplusplus
}
#endif
