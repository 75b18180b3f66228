// A component without a source of its own is no library that files could be embedded into; and what can be checked of the
// generated constants before the firmware starts is checked here.
#include <iterator>

#include "bundled_model.hpp"

static_assert(std::size(bundled::kFiles) == bundled::kConfig.stages.size(), "one file per stage");
static_assert(bundled::kConfig.window >= static_cast<int>(bundled::kConfig.stages.size()),
              "one stage runs per frame of a window");
static_assert(bundled::kConfig.window % bundled::kConfig.stride == 0, "a window is a multiple of the stride");
