#pragma once

#include <cstdint>
#include <span>

#include "audio/feature_extractor.hpp"
#include "esp_err.h"
#include "report.hpp"
#include "streaming/listener.hpp"
#include "streaming/pipeline.hpp"

// Front end, model and detector of the bundle, fed with samples; events go to the console.
class Ear {
public:
    // ESP_ERR_NOT_SUPPORTED: the model has no front end, or several inputs; the console says what to do. Else the
    // errors of start, FeatureExtractor::init and Listener::init.
    esp_err_t init();

    // Takes any number of samples. Errors of Listener::take.
    esp_err_t hear(std::span<const std::int16_t> samples);

    // Samples are missing here: no frame may lie across.
    void skip() { extractor_.reset(); }

    // The recording ends here: see Listener::finish.
    esp_err_t finish() { return listener_.finish(printer_); }

    const streaming::StepTimes &times() const { return listener_.times(); }

private:
    streaming::Pipeline pipeline_;
    audio::FeatureExtractor extractor_;
    streaming::Listener listener_;
    EventPrinter printer_;
};
