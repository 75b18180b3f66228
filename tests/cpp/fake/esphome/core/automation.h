// Stands for esphome/core/automation.h of ESPHome 2026.6: a trigger, of which the test defines what it starts.
#pragma once

#include <functional>

namespace esphome {
template <typename... Ts>
class Trigger {
public:
    void trigger(const Ts &...x) { action(x...); }

    std::function<void(const Ts &...)> action; // of the tests alone
};
} // namespace esphome
