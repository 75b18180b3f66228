// Stands for fbs_loader/include/fbs_model.hpp of ESP-DL 3.3.9.
#pragma once

namespace fbs {

typedef enum {
    MODEL_LOCATION_IN_FLASH_RODATA = 0,
    MODEL_LOCATION_IN_FLASH_PARTITION = 1,
    MODEL_LOCATION_IN_SDCARD = 2,
} model_location_type_t;

} // namespace fbs
