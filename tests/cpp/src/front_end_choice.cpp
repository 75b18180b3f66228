// Starts the front end that the command line names, `float` or `fixed`, and prints the error that comes of it.
#include <cstdio>
#include <string_view>

#include "audio/feature_extractor.hpp"

int main(int count, char **words)
{
    static const float kMean[40] = {};
    static const float kScale[40] = {};
    lesp::streaming::FrontEndConfig config;
    config.kind = lesp::streaming::FrontEndKind::kFbank;
    config.num_mel_bins = 40;
    config.bands = 40;
    config.frame_samples = 400;
    config.hop_samples = 160;
    config.mean = kMean;
    config.scale = kScale;
    const bool is_fixed = count == 2 && std::string_view(words[1]) == "fixed";
    config.arithmetic = is_fixed ? lesp::streaming::Arithmetic::kFixedPoint : lesp::streaming::Arithmetic::kFloat;
    lesp::audio::FeatureExtractor extractor;
    std::printf("%d\n", extractor.init(config));
    return 0;
}
