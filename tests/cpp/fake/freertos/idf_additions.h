// Stands for freertos/esp_additions/include/freertos/idf_additions.h of ESP-IDF 5.3.
#pragma once

#include "freertos/task.h"

#ifdef __cplusplus
extern "C" {
#endif
BaseType_t xTaskCreatePinnedToCoreWithCaps(TaskFunction_t pvTaskCode,
                                           const char *const pcName,
                                           const configSTACK_DEPTH_TYPE usStackDepth,
                                           void *const pvParameters,
                                           UBaseType_t uxPriority,
                                           TaskHandle_t *const pvCreatedTask,
                                           const BaseType_t xCoreID,
                                           UBaseType_t uxMemoryCaps);
void vTaskDeleteWithCaps(TaskHandle_t xTaskToDelete);
#ifdef __cplusplus
}
#endif
