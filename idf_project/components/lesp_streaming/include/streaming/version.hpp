// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace lesp::streaming {

// The version of ESP-DL that exports prove their models with.
inline constexpr std::string_view kProvedEspDl = "3.3.9";

// The version of ESP-DL in this firmware; empty where the build does not know it.
std::string_view esp_dl_version();

} // namespace lesp::streaming
