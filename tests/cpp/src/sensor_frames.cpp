// A sensor: the frames of the first golden recording, one after another, but those of its last window, which are zeros.
#include "bundled_model.hpp"
#include "frames.hpp"
#include "streaming/frame_buffer.hpp"
#include "streaming/golden.hpp"
#include "streaming/quantization.hpp"

extern "C" bool streaming_next_frame(float *values, size_t count)
{
    constexpr const lesp::streaming::ModelConfig &config = lesp::bundled::kConfig;
    static lesp::streaming::Golden golden;
    static std::size_t step = 0;
    if (step == 0 && golden.init(config, lesp::bundled::kGolden) != ESP_OK) {
        return false;
    }
    const std::size_t window = step / config.window;
    if (golden.starts_recording(window + 1)) {
        return false;
    }
    std::uint8_t frame[64];
    lesp::streaming::FrameGeometry::of(config.inputs[0]).gather(golden.input(window, 0), step++ % config.window, frame);
    lesp::streaming::dequantize(frame, config.inputs[0], {values, count});
    for (std::size_t i = 0; i < config.normalization.mean.size(); ++i) {
        values[i] = values[i] / config.normalization.factor[i] + config.normalization.mean[i]; // what it was raw
    }
    return true;
}
