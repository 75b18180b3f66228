// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The listener of a bundle as a component of ESPHome.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "esphome/core/automation.h"
#include "esphome/core/component.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "lesp_listener.h"

namespace esphome::lesp_listener {

// Starts the listener with the model of the bundle. Events come in a task of the listener's and wait in a queue for
// ESPHome's loop, in which automations run.
class LespListener : public Component {
public:
    void setup() override;
    void loop() override;
    void dump_config() override;
    float get_setup_priority() const override;

    // With the label of the class, which is empty where it has none, and its score.
    void add_trigger(Trigger<std::string, float> *trigger) { triggers_.push_back(trigger); }

    // Close and open the microphone, while the device itself speaks say.
    void pause();
    void resume();

private:
    static void on_event(const lesp_event_t *event, void *self);

    QueueHandle_t queue_ = nullptr;
    std::atomic<uint32_t> missed_ = 0; // events that found the queue full
    std::vector<Trigger<std::string, float> *> triggers_;
};

} // namespace esphome::lesp_listener
