// Features by their definitions, slowly and in double precision.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "dl_fbank.hpp"
#include "dl_mfcc.hpp"
#include "dl_spectrogram.hpp"

using dl::audio::SpeechFeatureConfig;
using dl::audio::WinType;
typedef std::vector<double> Values;

static constexpr double kPi = std::numbers::pi;

static double window(WinType type, int index, int length)
{
    const double turn = 2 * kPi * index / (length - 1);
    switch (type) {
    case WinType::HANNING:
        return 0.5 - 0.5 * std::cos(turn);
    case WinType::HANN:
        return 0.5 - 0.5 * std::cos(2 * kPi * index / length);
    case WinType::SINE:
        return std::sin(turn / 2);
    case WinType::HAMMING:
        return 0.54 - 0.46 * std::cos(turn);
    case WinType::POVEY:
        return std::pow(0.5 - 0.5 * std::cos(turn), 0.85);
    case WinType::BLACKMAN:
        return 0.42 - 0.5 * std::cos(turn) + 0.08 * std::cos(2 * turn);
    default:
        return 1;
    }
}

static double log_energy(const Values &frame, double floor)
{
    double sum = 0;
    for (const double value : frame) {
        sum += value * value;
    }
    return std::log(std::max(sum, floor));
}

static double to_mel(double hertz)
{
    return 1127 * std::log(1 + hertz / 700);
}

namespace {

// One frame, step by step.
struct Frame {
    const SpeechFeatureConfig &config;
    Values samples;
    double energy = 0;
    Values spectrum = {};

    Frame(const SpeechFeatureConfig &options, const float *input, int length, int transform)
        : config(options), samples(input, input + length)
    {
        if (config.remove_dc_offset) {
            double mean = 0;
            for (const double value : samples) {
                mean += value / length;
            }
            for (double &value : samples) {
                value -= mean;
            }
        }
        const double raw = log_energy(samples, config.log_epsilon);
        for (int i = length - 1; i >= 0; --i) {
            samples[i] -= config.preemphasis * samples[std::max(i - 1, 0)];
        }
        for (int i = 0; i < length; ++i) {
            samples[i] *= window(config.window_type, i, length);
        }
        energy = config.raw_energy ? raw : log_energy(samples, config.log_epsilon);
        transform_samples(transform);
    }

    void transform_samples(int size)
    {
        for (int bin = 0; bin <= size / 2; ++bin) {
            double real = 0;
            double imaginary = 0;
            for (std::size_t i = 0; i < samples.size(); ++i) {
                // The product is taken modulo the size, for the sine of a small angle.
                const double angle = 2 * kPi * static_cast<double>(bin * i % size) / size;
                real += samples[i] * std::cos(angle);
                imaginary -= samples[i] * std::sin(angle);
            }
            const double power = real * real + imaginary * imaginary;
            spectrum.push_back(config.use_power ? power : std::sqrt(power));
        }
    }

    double compress(double value) const
    {
        if (config.use_log_fbank == 1) {
            return std::log(std::max<double>(value, config.log_epsilon));
        }
        return config.use_log_fbank == 2 ? std::log(value + config.log_epsilon) : value;
    }

    Values bands() const
    {
        const double low = to_mel(config.low_freq);
        const double high = to_mel(config.high_freq > config.low_freq ? config.high_freq : config.sample_rate / 2.0);
        const double step = (high - low) / (config.num_mel_bins + 1);
        const double width = config.sample_rate / 2.0 / static_cast<double>(spectrum.size() - 1);
        Values found;
        for (int band = 0; band < config.num_mel_bins; ++band) {
            double sum = 0;
            for (std::size_t bin = 1; bin < spectrum.size(); ++bin) {
                const double place = (to_mel(static_cast<double>(bin) * width) - low) / step - band;
                sum += spectrum[bin] * std::max(0.0, std::min(place, 2 - place));
            }
            found.push_back(compress(sum));
        }
        return found;
    }
};

} // namespace

static void write_out(const Values &values, float *output)
{
    std::copy(values.begin(), values.end(), output);
}

template <typename Features>
static esp_err_t convert(Features &features, const int16_t *input, int length, float *output)
{
    ++dl::audio::computing;
    std::vector<float> samples;
    for (int i = 0; i < length; ++i) {
        samples.push_back(static_cast<float>(input[i]) / 32768.0f);
    }
    const esp_err_t error = features.process_frame(samples.data(), length, output, samples[0]);
    --dl::audio::computing;
    return error;
}

namespace dl::audio {

SpeechFeatureBase::SpeechFeatureBase(const SpeechFeatureConfig config, uint32_t)
    : m_config(config), m_win_len(config.frame_length * config.sample_rate / 1000),
      m_win_step(config.frame_shift * config.sample_rate / 1000), m_fft_size(1), m_feature_dim(0)
{
    while (m_fft_size < m_win_len) {
        m_fft_size *= 2;
    }
}

std::vector<int> SpeechFeatureBase::get_output_shape(int input_len)
{
    return {input_len < m_win_len ? 0 : 1 + (input_len - m_win_len) / m_win_step, m_feature_dim};
}

Fbank::Fbank(const SpeechFeatureConfig config, uint32_t caps) : SpeechFeatureBase(config, caps)
{
    m_feature_dim = config.num_mel_bins + (config.use_energy ? 1 : 0);
}

esp_err_t Fbank::process_frame(const float *input, int win_len, float *output, float)
{
    const Frame frame(m_config, input, win_len, m_fft_size);
    if (m_config.use_energy) {
        *output++ = static_cast<float>(frame.energy);
    }
    write_out(frame.bands(), output);
    return ESP_OK;
}

esp_err_t Fbank::process_frame(const int16_t *input, int win_len, float *output, int16_t)
{
    return convert(*this, input, win_len, output);
}

MFCC::MFCC(const SpeechFeatureConfig config, uint32_t caps) : SpeechFeatureBase(config, caps)
{
    m_feature_dim = config.num_ceps + (config.use_energy ? 1 : 0);
}

esp_err_t MFCC::process_frame(const float *input, int win_len, float *output, float)
{
    const Frame frame(m_config, input, win_len, m_fft_size);
    if (m_config.use_energy) {
        *output++ = static_cast<float>(frame.energy);
    }
    const Values bands = frame.bands();
    const auto count = static_cast<double>(bands.size());
    for (int order = 0; order < m_config.num_ceps; ++order) {
        double sum = 0;
        for (std::size_t band = 0; band < bands.size(); ++band) {
            sum += bands[band] * std::cos(kPi / count * (static_cast<double>(band) + 0.5) * order);
        }
        const double lifter = m_config.cepstral_lifter;
        const double lift = lifter == 0 ? 1 : 1 + 0.5 * lifter * std::sin(kPi * order / lifter);
        output[order] = static_cast<float>(sum * std::sqrt((order == 0 ? 1 : 2) / count) * lift);
    }
    return ESP_OK;
}

esp_err_t MFCC::process_frame(const int16_t *input, int win_len, float *output, int16_t)
{
    return convert(*this, input, win_len, output);
}

Spectrogram::Spectrogram(const SpeechFeatureConfig config, uint32_t caps) : SpeechFeatureBase(config, caps)
{
    m_feature_dim = m_fft_size / 2 + 1;
}

esp_err_t Spectrogram::process_frame(const float *input, int win_len, float *output, float)
{
    const Frame frame(m_config, input, win_len, m_fft_size);
    output[0] = static_cast<float>(frame.energy);
    for (int bin = 1; bin < m_feature_dim; ++bin) {
        output[bin] = static_cast<float>(frame.compress(frame.spectrum[bin]));
    }
    return ESP_OK;
}

esp_err_t Spectrogram::process_frame(const int16_t *input, int win_len, float *output, int16_t)
{
    return convert(*this, input, win_len, output);
}

} // namespace dl::audio
