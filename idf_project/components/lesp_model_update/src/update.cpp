// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "lesp_model_update.h"

#include "model_update/slots.hpp"

namespace lesp::model_update {

Slots &slots()
{
    static Slots the_slots;
    return the_slots;
}

} // namespace lesp::model_update

extern "C" {

esp_err_t lesp_model_update_begin(void)
{
    return lesp::model_update::slots().begin();
}

esp_err_t lesp_model_update_write(const void *data, size_t bytes)
{
    return lesp::model_update::slots().write({static_cast<const std::uint8_t *>(data), bytes});
}

esp_err_t lesp_model_update_end(void)
{
    return lesp::model_update::slots().end();
}

void lesp_model_update_abort(void)
{
    lesp::model_update::slots().abort();
}

esp_err_t lesp_model_roll_back(void)
{
    return lesp::model_update::slots().roll_back();
}

} // extern "C"
