// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// A component without a source of its own is no library that files could be embedded into; and what can be checked of the
// generated constants before the firmware starts is checked here.
#include "bundled_model.hpp"

// Not by std::size: it would need the files, which may lie outside the app.
static_assert(sizeof(lesp::bundled::kFiles) / sizeof(lesp::bundled::kFiles[0]) == lesp::bundled::kConfig.stages.size(), "one file per stage");
static_assert(lesp::bundled::kConfig.window >= static_cast<int>(lesp::bundled::kConfig.stages.size()),
              "one stage runs per frame of a window");
static_assert(lesp::bundled::kConfig.window % lesp::bundled::kConfig.stride == 0, "a window is a multiple of the stride");
