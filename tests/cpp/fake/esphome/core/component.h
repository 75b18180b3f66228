// Stands for esphome/core/component.h of ESPHome 2026.6: what components/lesp_listener uses of it.
#pragma once

namespace esphome {
namespace setup_priority {
inline constexpr float LATE = -100.0f;
}

class Component {
public:
    virtual ~Component() = default;
    virtual void setup() {}
    virtual void loop() {}
    virtual void dump_config() {}
    virtual float get_setup_priority() const { return 0.0f; }
    void mark_failed() { failed_ = true; }
    bool is_failed() const { return failed_; }

private:
    bool failed_ = false;
};
} // namespace esphome
