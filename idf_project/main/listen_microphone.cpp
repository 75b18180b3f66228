// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listen.hpp"
#include "source.hpp"

esp_err_t run_source()
{
    return listen(LESP_LISTENER_CONFIG_DEFAULT());
}
