// Parts of components/lesp_audio that need no model and no front end of an export.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "audio/byte_source.hpp"
#include "audio/feature_extractor.hpp"
#include "audio/feature_replay.hpp"
#include "audio/wav_reader.hpp"
#include "expect.hpp"

using lesp::audio::MemoryBytes;
using lesp::audio::WavReader;
typedef std::vector<std::int16_t> Samples;

static std::string word(std::uint32_t value, int bytes)
{
    std::string text;
    for (int i = 0; i < bytes; ++i) {
        text += static_cast<char>(value >> (8 * i));
    }
    return text;
}

static std::string chunk(const char *name, const std::string &content)
{
    return name + word(static_cast<std::uint32_t>(content.size()), 4) + content + (content.size() % 2 ? "\xff" : "");
}

static std::string format(int channels = 1, int bits = 16, int kind = 1, int rate = 16000)
{
    const int block = channels * bits / 8;
    return word(kind, 2) + word(channels, 2) + word(rate, 4) + word(rate * block, 4) + word(block, 2) + word(bits, 2);
}

static std::string riff(const std::string &chunks)
{
    return "RIFF" + word(static_cast<std::uint32_t>(chunks.size() + 4), 4) + "WAVE" + chunks;
}

static std::string samples_text(const Samples &samples)
{
    std::string text;
    for (const std::int16_t sample : samples) {
        text += word(static_cast<std::uint16_t>(sample), 2);
    }
    return text;
}

static esp_err_t open_text(const std::string &text, Samples *samples = nullptr, std::size_t at_once = 3)
{
    // A copy of its own size, so that the sanitizer sees every byte read behind it.
    const std::vector<char> copy(text.begin(), text.end());
    MemoryBytes bytes(copy.data(), copy.size());
    WavReader reader;
    const esp_err_t error = reader.init(bytes);
    EXPECT((error == ESP_OK) == (std::string(reader.problem()).empty()));
    Samples part(at_once);
    while (const std::size_t count = reader.read(part)) {
        EXPECT(error == ESP_OK);
        if (samples != nullptr) {
            samples->insert(samples->end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(count));
        }
    }
    return error;
}

static void test_wav_files()
{
    const Samples values = {1, -2, 32767, -32768, 5};
    const std::string data = chunk("data", samples_text(values));
    const std::string extensible =
        format(1, 16, 0xFFFE) + word(22, 2) + word(16, 2) + word(4, 4) + word(1, 2) + std::string(14, 'x');
    for (const std::string &file : {
             riff(chunk("fmt ", format()) + data),
             riff(chunk("LIST", "odd") + chunk("fmt ", format()) + chunk("fact", "abcd") + data + chunk("LIST", "end")),
             riff(chunk("fmt ", format() + word(0, 2)) + data),
             riff(chunk("fmt ", extensible) + data),
         }) {
        for (const std::size_t at_once : {1, 2, 5, 100}) {
            Samples found;
            EXPECT(open_text(file, &found, at_once) == ESP_OK && found == values);
        }
    }
    Samples first;
    EXPECT(open_text(riff(chunk("fmt ", format(2)) + chunk("data", samples_text({1, 9, 2, 9, 3, 9, 4}))), &first) ==
           ESP_OK);
    EXPECT((first == Samples{1, 2, 3}));
    EXPECT(open_text(riff(chunk("fmt ", format()) + chunk("data", ""))) == ESP_OK);
}

static void test_broken_wav_files()
{
    const std::string good =
        riff(chunk("fmt ", format()) + chunk("LIST", "abc") + chunk("data", samples_text({1, 2, 3})));
    const std::size_t header = good.size() - 6;
    for (std::size_t length = 0; length < good.size(); ++length) {
        Samples found;
        const esp_err_t error = open_text(good.substr(0, length), &found);
        EXPECT((error == ESP_OK) == (length >= header));
        EXPECT(found.size() == (length < header ? 0 : (length - header) / 2));
    }
    const std::string data = chunk("data", samples_text({1, 2}));
    EXPECT(open_text("") == ESP_ERR_INVALID_ARG);
    EXPECT(open_text("RIFX" + good.substr(4)) == ESP_ERR_INVALID_ARG);
    EXPECT(open_text(riff(data + chunk("fmt ", format()))) == ESP_ERR_INVALID_ARG);
    EXPECT(open_text(riff(chunk("fmt ", "short") + data)) == ESP_ERR_INVALID_SIZE);
    EXPECT(open_text(riff(chunk("fmt ", format(1, 8)) + data)) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(open_text(riff(chunk("fmt ", format(1, 32, 3)) + data)) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(open_text(riff(chunk("fmt ", format(0)) + data)) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(open_text(riff(chunk("fmt ", format(33)) + data)) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(open_text(riff(chunk("fmt ", format(1, 16, 1, 0)) + data)) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(open_text(riff("LIST" + word(0xFFFFFFFF, 4))) == ESP_ERR_INVALID_SIZE);
    EXPECT(open_text(riff("fmt " + word(0xFFFFFFFF, 4) + format())) == ESP_ERR_INVALID_SIZE);
    Samples found;
    EXPECT(open_text(riff(chunk("fmt ", format()) + "data" + word(0xFFFFFFFF, 4) + samples_text({7, 8})), &found) ==
           ESP_OK);
    EXPECT((found == Samples{7, 8}));
}

static void test_wav_of_a_file(const char *path)
{
    const std::string text =
        riff(chunk("LIST", std::string(999, 'x')) + chunk("fmt ", format()) + chunk("data", samples_text({3, 4})));
    std::FILE *file = std::fopen(path, "wb");
    EXPECT(file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size());
    std::fclose(file);
    lesp::audio::FileBytes bytes;
    WavReader reader;
    EXPECT(bytes.open("no/such/file.wav") == ESP_ERR_NOT_FOUND);
    EXPECT(reader.init(bytes) == ESP_ERR_INVALID_ARG);
    EXPECT(bytes.open(path) == ESP_OK && reader.init(bytes) == ESP_OK);
    std::int16_t samples[3] = {};
    EXPECT(reader.sample_rate() == 16000 && reader.channels() == 1);
    EXPECT(reader.read(samples) == 2 && samples[0] == 3 && samples[1] == 4 && reader.read(samples) == 0);
}

static lesp::streaming::FrontEndConfig make_config(int shift)
{
    static const std::vector<float> mean(26, 1.0f);
    static const std::vector<float> scale(26, 0.5f);
    return {.kind = lesp::streaming::FrontEndKind::kFbank,
            .frame_shift = shift,
            .bands = 26,
            .frame_samples = 400,
            .hop_samples = 16 * shift,
            .mean = mean,
            .scale = scale};
}

// Chunks of 1 sample, of 7, and the whole: the same frames, also where they lie further apart than they are long.
static void test_chunks_make_the_same_frames()
{
    Samples noise(3000);
    std::uint32_t random = 1;
    for (std::int16_t &sample : noise) {
        random = random * 1664525 + 1013904223;
        sample = static_cast<std::int16_t>(random >> 18);
    }
    for (const int shift : {10, 40}) {
        std::vector<std::vector<float>> runs;
        lesp::audio::FeatureExtractor extractor;
        EXPECT(extractor.init(make_config(shift)) == ESP_OK);
        for (const std::size_t size : {std::size_t{1}, std::size_t{7}, std::size_t{401}, noise.size()}) {
            extractor.reset();
            std::vector<float> found;
            for (std::size_t start = 0; start < noise.size(); start += size) {
                std::span<const std::int16_t> samples =
                    std::span(noise).subspan(start, std::min(size, noise.size() - start));
                while (!samples.empty()) {
                    if (extractor.take(&samples)) {
                        found.insert(found.end(), extractor.features().begin(), extractor.features().end());
                    }
                }
            }
            EXPECT(found.size() == 26u * ((3000 - 400) / (16u * static_cast<unsigned>(shift)) + 1));
            runs.push_back(found);
        }
        EXPECT(runs[1] == runs[0] && runs[2] == runs[0] && runs[3] == runs[0]);
        EXPECT(std::isfinite(runs[0][0]) && runs[0][0] != runs[0][26]);
    }
}

static void test_front_ends_that_cannot_be()
{
    lesp::audio::FeatureExtractor extractor;
    std::span<const std::int16_t> samples;
    const Samples some(500);
    samples = some;
    EXPECT(!extractor.take(&samples) && samples.empty());
    EXPECT(extractor.init({}) == ESP_ERR_INVALID_ARG);
    lesp::streaming::FrontEndConfig config = make_config(10);
    config.frame_samples = 399;
    EXPECT(extractor.init(config) == ESP_ERR_INVALID_ARG);
    config = make_config(10);
    config.mean = config.mean.first(25);
    EXPECT(extractor.init(config) == ESP_ERR_INVALID_ARG);
    config = make_config(10);
    config.num_mel_bins = 27;
    EXPECT(extractor.init(config) == ESP_ERR_INVALID_VERSION);
    for (const lesp::streaming::Arithmetic arithmetic :
         {lesp::streaming::Arithmetic::kFloat, lesp::streaming::Arithmetic::kFixedPoint}) {
        const auto refuses = [&](float lesp::streaming::FrontEndConfig::*field, float value) {
            lesp::streaming::FrontEndConfig wrong = make_config(10);
            wrong.arithmetic = arithmetic;
            wrong.*field = value;
            return extractor.init(wrong) == ESP_ERR_INVALID_ARG;
        };
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::low_freq, -700.0f)); // its logarithm would never be found
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::low_freq, NAN));
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::high_freq, 80.0f)); // bands of no width
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::high_freq, 1e9f));
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::log_epsilon, 0.0f));
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::cepstral_lifter, INFINITY));
        EXPECT(refuses(&lesp::streaming::FrontEndConfig::preemphasis, 1.0f));
    }
    setenv("FAKE_FREE_BYTES", "2047", 1);
    EXPECT(extractor.init(make_config(10)) == ESP_ERR_NO_MEM);
    unsetenv("FAKE_FREE_BYTES");
    EXPECT(extractor.init(make_config(10)) == ESP_OK);
}

static void test_damaged_golden_samples()
{
    static constexpr lesp::streaming::TensorConfig inputs[] = {
        {.rank = 3, .shape = {1, 1, 26}, .time_axis = 1, .bytes = 26}};
    const lesp::streaming::ModelConfig model = {.window = 1, .inputs = inputs};
    lesp::audio::FeatureReport report;
    EXPECT(lesp::audio::replay_features(model, make_config(10), {}, &report) == ESP_ERR_NOT_FOUND);
    std::string good =
        "LEA1" + word(1, 4) + word(400, 4) + word(1, 4) + word(26, 4) + std::string(800, '\0') + std::string(104, '\0');
    for (std::size_t length = 1; length <= good.size(); ++length) {
        const std::vector<char> copy(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
        const esp_err_t error = lesp::audio::replay_features(model, make_config(10), {copy.data(), length}, &report);
        EXPECT(error == (length == good.size() ? ESP_OK : ESP_ERR_INVALID_SIZE));
    }
    EXPECT(report.frames == 1 && report.differing == 26 && !report.has_passed()); // silence is no 0
    good[16] = 25;
    EXPECT(lesp::audio::replay_features(model, make_config(10), {good.data(), good.size()}, &report) ==
           ESP_ERR_INVALID_SIZE);
}

int main(int count, char **arguments)
{
    EXPECT(count == 2);
    test_wav_files();
    test_broken_wav_files();
    test_wav_of_a_file(arguments[1]);
    test_chunks_make_the_same_frames();
    test_front_ends_that_cannot_be();
    test_damaged_golden_samples();
    std::printf("PASS audio units\n");
}
