// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Another model without another app, from C: two data partitions, `model_a` and `model_b`, of which one holds the model
// that runs and the other takes the next one, as `lightning-esp pack` writes it.
//
//     lesp_model_update_begin();  lesp_model_update_write(data, bytes) ...;  lesp_model_update_end();  esp_restart();
//
// At the next start the firmware repeats the golden windows of the new model before it listens with it. Where a value
// differs, where the model does not fit into memory, or where the chip does not come through the test, or twice not as
// far as listening, the model before runs again, and at last the one in the app. A new model that listens is confirmed,
// as is one that begins an update; firmware of your own does that by lesp::model_update::slots().confirm(). Power may
// fail at any moment: the new model counts from the end of lesp_model_update_end() on, and the one that runs is not
// touched.
//
// One update at a time, from one task. Flash is erased and written meanwhile, which stops both cores for up to some
// tens of milliseconds each time.
#pragma once

#include <stddef.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

// Begins an update. What an unfinished one has written is dropped.
// ESP_ERR_NOT_FOUND: there are no partitions model_a and model_b. Else the errors of NVS and of erasing flash.
esp_err_t lesp_model_update_begin(void);

// Takes the next bytes of the file, any number of them.
// ESP_ERR_INVALID_STATE: no update has begun, or one has failed. ESP_ERR_INVALID_VERSION: this is no container of a
// model, or one of another form. ESP_ERR_INVALID_SIZE: it is larger than the partition, or more bytes come than it has.
// Else the errors of erasing and writing flash. After an error the update is over.
esp_err_t lesp_model_update_write(const void *data, size_t bytes);

// Ends it: reads everything back, checks it, and chooses the model for the next start.
// ESP_ERR_INVALID_STATE: as above. ESP_ERR_NOT_FINISHED: bytes are missing. ESP_ERR_NOT_SUPPORTED: the model is for
// another chip, or a field of it is wrong. ESP_ERR_NOT_FOUND: it holds no golden windows to test it with. Else the
// errors of lesp::streaming::ModelImage::open, of mapping flash and of NVS. After an error the model that runs stays
// chosen.
esp_err_t lesp_model_update_end(void);

// Ends it without a new model.
void lesp_model_update_abort(void);

// Chooses the model before this one for the next start. ESP_ERR_NOT_FOUND: there is none. Else the errors of NVS.
esp_err_t lesp_model_roll_back(void);

#ifdef __cplusplus
}
#endif
