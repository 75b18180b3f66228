# SPDX-FileCopyrightText: The lightning_esp maintainers
# SPDX-License-Identifier: Apache-2.0
"""The listener of a bundle as a component of ESPHome: what the model detects starts automations."""

from pathlib import Path

import esphome.codegen as cg
import esphome.config_validation as cv
from esphome import automation
from esphome.components import esp32
from esphome.const import CONF_ID, CONF_TRIGGER_ID
from esphome.core import CORE

CONF_BUNDLE = "bundle"
CONF_CLOCK_PIN = "clock_pin"
CONF_WORD_PIN = "word_pin"
CONF_DATA_PIN = "data_pin"
CONF_CHANNEL = "channel"
CONF_PDM = "pdm"
CONF_GAIN_BITS = "gain_bits"
CONF_ON_EVENT = "on_event"

BUNDLE = Path(__file__).resolve().parents[4]
# Of the bundle, by the names of their folders.
COMPONENTS = {
    "lesp_audio": "components/lesp_audio",
    "lesp_board": "boards/pins/lesp_board",
    "lesp_listener": "components/lesp_listener",
    "lesp_model": "components/lesp_model",
    "lesp_streaming": "components/lesp_streaming",
}

namespace = cg.esphome_ns.namespace("lesp_listener")
LespListener = namespace.class_("LespListener", cg.Component)
EventTrigger = automation.Trigger.template(cg.std_string, cg.float_)


def _check_pins(config):
    if config[CONF_PDM] == (CONF_WORD_PIN in config):
        raise cv.Invalid(f"{CONF_WORD_PIN} is for I2S, and a PDM microphone has none", [CONF_WORD_PIN])
    return config


def _check_bundle(config):
    """Refuse what the build would end with: a bundle without a model for this chip, or a build that embeds no files."""
    bundle = Path(config[CONF_BUNDLE])
    chip = esp32.get_esp32_variant().lower()
    if not (bundle / COMPONENTS["lesp_model"] / chip / "model_config.hpp").is_file():
        raise cv.Invalid(f'{bundle} holds no model for {chip}; export it with target="{chip}"', [CONF_BUNDLE])
    if not CORE.using_toolchain_esp_idf:
        raise cv.Invalid("add `toolchain: esp-idf` to `esp32:`, since PlatformIO does not embed the files of a model")


CONFIG_SCHEMA = cv.All(
    cv.Schema(
        {
            cv.GenerateID(): cv.declare_id(LespListener),
            cv.Optional(CONF_BUNDLE, default=str(BUNDLE)): cv.directory,
            cv.Required(CONF_CLOCK_PIN): cv.int_range(0, 62),
            cv.Optional(CONF_WORD_PIN): cv.int_range(0, 62),
            cv.Required(CONF_DATA_PIN): cv.int_range(0, 62),
            cv.Optional(CONF_CHANNEL, default="left"): cv.one_of("left", "right", lower=True),
            cv.Optional(CONF_PDM, default=False): cv.boolean,
            cv.Optional(CONF_GAIN_BITS, default=0): cv.int_range(0, 8),
            cv.Optional(CONF_ON_EVENT): automation.validate_automation(
                {cv.GenerateID(CONF_TRIGGER_ID): cv.declare_id(EventTrigger)}
            ),
        }
    ).extend(cv.COMPONENT_SCHEMA),
    cv.only_on_esp32,
    _check_pins,
)
FINAL_VALIDATE_SCHEMA = _check_bundle


async def to_code(config):
    """Generate the component, its triggers, and what the build needs of the bundle."""
    listener = cg.new_Pvariable(config[CONF_ID])
    await cg.register_component(listener, config)
    for entry in config.get(CONF_ON_EVENT, []):
        trigger = cg.new_Pvariable(entry[CONF_TRIGGER_ID])
        cg.add(listener.add_trigger(trigger))
        await automation.build_automation(trigger, [(cg.std_string, "label"), (cg.float_, "score")], entry)
    for name, folder in COMPONENTS.items():
        esp32.add_idf_component(name=name, path=str(Path(config[CONF_BUNDLE]) / folder))
    esp32.include_builtin_idf_component("esp_driver_i2s")  # ESPHome leaves it out where nobody asks for it
    esp32.add_idf_sdkconfig_option("CONFIG_STREAMING_ONLY_MODEL_OPERATORS", True)
    esp32.add_idf_sdkconfig_option("CONFIG_MICROPHONE_PDM" if config[CONF_PDM] else "CONFIG_MICROPHONE_I2S", True)
    esp32.add_idf_sdkconfig_option("CONFIG_MICROPHONE_CLOCK_PIN", config[CONF_CLOCK_PIN])
    if CONF_WORD_PIN in config:
        esp32.add_idf_sdkconfig_option("CONFIG_MICROPHONE_WORD_PIN", config[CONF_WORD_PIN])
    esp32.add_idf_sdkconfig_option("CONFIG_MICROPHONE_DATA_PIN", config[CONF_DATA_PIN])
    esp32.add_idf_sdkconfig_option("CONFIG_MICROPHONE_RIGHT", config[CONF_CHANNEL] == "right")
    esp32.add_idf_sdkconfig_option("CONFIG_MICROPHONE_GAIN_BITS", config[CONF_GAIN_BITS])
