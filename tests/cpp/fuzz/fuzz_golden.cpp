// libFuzzer target: any bytes as golden samples. The replay ends with an error or a report, and reads nothing behind
// the data.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "audio/feature_replay.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    static constexpr lesp::streaming::TensorConfig inputs[] = {
        {.rank = 3, .shape = {1, 1, 2}, .time_axis = 1, .bytes = 2}};
    static constexpr float ones[] = {1, 1};
    const lesp::streaming::ModelConfig model = {.window = 1, .inputs = inputs};
    const lesp::streaming::FrontEndConfig front_end = {.kind = lesp::streaming::FrontEndKind::kFbank,
                                                       .sample_rate = 1000,
                                                       .frame_length = 8,
                                                       .frame_shift = 4,
                                                       .num_mel_bins = 2,
                                                       .high_freq = 400,
                                                       .bands = 2,
                                                       .frame_samples = 8,
                                                       .hop_samples = 4,
                                                       .mean = ones,
                                                       .scale = ones};
    std::vector<char> text = {'L', 'E', 'A', '1'};
    text.insert(text.end(), data, data + size);
    lesp::audio::FeatureReport report;
    static_cast<void>(lesp::audio::replay_features(model, front_end, {text.data(), text.size()}, &report));
    return 0;
}
