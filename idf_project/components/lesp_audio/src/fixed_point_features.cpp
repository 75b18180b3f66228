// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The same as lightning_esp/frontend/fixed_point.py of the exporter, step by step and to the bit.
#include "audio/fixed_point_features.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "esp_log.h"
#include "fixed_point_tables.hpp"

namespace lesp::audio {

using streaming::FrontEndConfig;
using streaming::FrontEndKind;

static const char *const TAG = "audio";

static constexpr int kSampleBits = 13; // of a sample behind the point
static constexpr int kEnergyBits = 6;  // of a sample behind the point where its square is summed
static constexpr int kFullScaleBits = 30;
static constexpr int kMaxShift = 12;
static constexpr int kLogBits = 7;
static constexpr int kPoint = 16;                      // bits of a feature behind the point
static constexpr std::int32_t kLeastPreemphasis = 214; // 1e-7, as ESP-DL has it
static constexpr std::int64_t kLn2 = 2977044472;       // 2^32 ln 2
static constexpr double kNaturalToBinary = 0.6931471805599453;
static constexpr int kMostPoints = 8192;

// The upper word of a product: one instruction, on chips without a floating-point unit too.
static inline std::int32_t high(std::int32_t a, std::int32_t b)
{
    return static_cast<std::int32_t>((std::int64_t{a} * b) >> 32);
}

static inline std::uint64_t square(std::int32_t value)
{
    return static_cast<std::uint64_t>(std::int64_t{value} * value);
}

static std::int32_t clip(std::int64_t value)
{
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(
        value, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()));
}

// The largest whole number whose square is at most `value`.
static std::uint32_t root(std::uint64_t value)
{
    std::uint64_t result = 0;
    std::uint64_t bit = std::uint64_t{1} << 62;
    while (bit > value) {
        bit >>= 2;
    }
    for (; bit != 0; bit >>= 2) {
        if (value >= result + bit) {
            value -= result + bit;
            result = (result >> 1) + bit;
        } else {
            result >>= 1;
        }
    }
    return static_cast<std::uint32_t>(result);
}

static bool has_energy(const FrontEndConfig &config)
{
    return config.use_energy || config.kind == FrontEndKind::kSpectrogram;
}

static int count_bands(const FrontEndConfig &config, std::size_t pairs)
{
    const int energy = has_energy(config) ? 1 : 0;
    if (config.kind == FrontEndKind::kSpectrogram) {
        return static_cast<int>(pairs) + energy;
    }
    return energy + (config.kind == FrontEndKind::kMfcc ? config.num_ceps : config.num_mel_bins);
}

esp_err_t FixedPointFeatures::init(const FrontEndConfig &config)
{
    config_ = config;
    const int length = config.frame_samples;
    const auto points = length > 0 && length <= kMostPoints ? std::bit_ceil(static_cast<unsigned>(length)) : 0u;
    pairs_ = points / 2;
    point_bits_ = static_cast<int>(std::bit_width(points)) - 1;
    const bool fits = points >= 8 && config.use_log_fbank > 0 && config.num_mel_bins > 0 && config.num_ceps > 0 &&
                      (config.kind != FrontEndKind::kMfcc || config.num_ceps <= config.num_mel_bins) &&
                      config.bands == count_bands(config, pairs_) && streaming::is_computable(config) &&
                      config.mean.size() == static_cast<std::size_t>(config.bands) &&
                      config.scale.size() == config.mean.size();
    if (!fits) {
        ESP_LOGE(TAG,
                 "this front end cannot be computed in fixed point; export it again, or with arithmetic=\"float\"");
        return ESP_ERR_INVALID_ARG;
    }
    if (!allocate()) {
        ESP_LOGE(TAG, "no memory for the front end");
        return ESP_ERR_NO_MEM;
    }
    make_tables();
    if (!make_normalization()) {
        ESP_LOGE(TAG, "mean or scale of the front end are out of range; export it with arithmetic=\"float\"");
        return ESP_ERR_INVALID_ARG;
    }
    config_.mean = {};
    config_.scale = {};
    return ESP_OK;
}

bool FixedPointFeatures::allocate()
{
    const auto bands = static_cast<std::size_t>(config_.num_mel_bins);
    const auto orders = static_cast<std::size_t>(config_.num_ceps);
    const bool has_bands = config_.kind != FrontEndKind::kSpectrogram;
    const bool has_cepstrum = config_.kind == FrontEndKind::kMfcc;
    return window_.allocate(static_cast<std::size_t>(config_.frame_samples)) && sines_.allocate(pairs_ * 3 / 2) &&
           rising_.allocate(has_bands ? pairs_ + 1 : 0) && starts_.allocate(has_bands ? bands + 2 : 0) &&
           cepstral_weights_.allocate(has_cepstrum ? bands * orders : 0) &&
           cepstrum_.allocate(has_cepstrum ? orders : 0) && logs_.allocate((1u << kLogBits) + 1) &&
           normalization_.allocate(static_cast<std::size_t>(config_.bands)) && words_.allocate(2 * pairs_ + 2) &&
           values_.allocate(1 + (has_bands ? bands : pairs_));
}

void FixedPointFeatures::make_tables()
{
    preemphasis_ = static_cast<std::int32_t>(to_saturated(static_cast<double>(config_.preemphasis), 31));
    reciprocal_ = static_cast<std::uint32_t>((std::uint64_t{1} << 32) / static_cast<unsigned>(config_.frame_samples));
    const auto epsilon = static_cast<double>(config_.log_epsilon);
    floor_ = static_cast<std::int32_t>(to_fixed(natural_logarithm(epsilon), kPoint));
    epsilon_mantissa_ = static_cast<int>(std::frexp(epsilon, &epsilon_exponent_) * (1 << 24));
    for (std::size_t i = 0; i < window_.size(); ++i) {
        window_[i] = static_cast<std::int32_t>(to_saturated(window_at(config_, static_cast<int>(i)), 31));
    }
    const auto points = static_cast<double>(2 * pairs_);
    for (std::size_t k = 0; k < sines_.size(); ++k) {
        sines_[k] = static_cast<std::int32_t>(to_saturated(sine_of_turns(static_cast<double>(k) / points), 31));
    }
    for (std::size_t i = 0; i < logs_.size(); ++i) {
        const double place = 1.0 + static_cast<double>(i) / (1 << kLogBits);
        logs_[i] = static_cast<std::int32_t>(to_fixed(natural_logarithm(place) / kNaturalToBinary, 24));
    }
    if (starts_.size() > 0) {
        place_bins();
    }
    for (std::size_t i = 0; i < cepstral_weights_.size(); ++i) {
        const auto band = static_cast<int>(i) / config_.num_ceps;
        const auto order = static_cast<int>(i) % config_.num_ceps;
        cepstral_weights_[i] = static_cast<std::int32_t>(to_fixed(cepstral_weight(config_, band, order), 24));
    }
}

void FixedPointFeatures::place_bins()
{
    const MelScale scale(config_);
    std::size_t bin = 1; // ESP-DL leaves bin 0 out
    for (std::size_t edge = 0; edge < starts_.size(); ++edge) {
        for (; bin <= pairs_; ++bin) {
            const double hertz = static_cast<double>(bin) * config_.sample_rate / static_cast<double>(2 * pairs_);
            const double place = scale.place(hertz);
            if (!(place < static_cast<double>(edge))) {
                break;
            }
            const double share = std::max(place - (static_cast<double>(edge) - 1.0), 0.0);
            rising_[bin] = static_cast<std::uint32_t>(to_saturated(share, 32));
        }
        starts_[edge] = static_cast<std::uint16_t>(bin);
    }
}

bool FixedPointFeatures::make_normalization()
{
    for (std::size_t band = 0; band < normalization_.size(); ++band) {
        const auto mean = static_cast<double>(config_.mean[band]);
        const auto scale = static_cast<double>(config_.scale[band]);
        const double size = std::fabs(scale);
        if (!(std::fabs(mean) < 32768.0) || !(scale == 0 || (size >= 0x1p-30 && size < 0x1p20))) {
            return false;
        }
        int exponent = 0;
        const double mantissa = std::frexp(scale, &exponent);
        normalization_[band] = {.mean = static_cast<std::int32_t>(to_fixed(mean, kPoint)),
                                .factor = static_cast<std::int32_t>(mantissa * (1 << 24)),
                                .shift = 24 - exponent};
    }
    return true;
}

void FixedPointFeatures::compute(std::span<const std::int16_t> samples, std::span<float> features)
{
    const std::int32_t mean = find_mean(samples);
    const std::uint32_t largest = window(samples, mean);
    std::size_t count = 0;
    if (has_energy(config_)) {
        values_[count++] = compress(measure_energy(samples, mean), 2 * kEnergyBits + kFullScaleBits, 1);
    }
    // No sum of the transform reaches 2^30 then, whatever the samples are.
    const int shift = std::min(30 - point_bits_ - static_cast<int>(std::bit_width(largest)), kMaxShift);
    transform_quarters(shift);
    transform_halves();
    split_powers();
    const int exponent = 2 * (kSampleBits + shift) + kFullScaleBits;
    const std::size_t energies = count;
    if (config_.use_power) {
        count += compress_bands(exponent);
    } else {
        for (std::size_t bin = 0; bin <= pairs_; ++bin) {
            set_power(bin, std::uint64_t{root(power(bin))} << 16);
        }
        count += compress_bands(exponent / 2 + 16);
    }
    if (cepstrum_.size() > 0) {
        transform_cepstrum();
        count = energies + cepstrum_.size();
    }
    for (std::size_t band = 0; band < count; ++band) {
        const Normalization &way = normalization_[band];
        const std::int64_t product = (std::int64_t{values_[band]} - way.mean) * way.factor;
        const std::int32_t scaled = clip((product + (std::int64_t{1} << (way.shift - 1))) >> way.shift);
        features[band] = static_cast<float>(scaled) * 0x1p-16f;
    }
}

std::int32_t FixedPointFeatures::find_mean(std::span<const std::int16_t> samples) const
{
    if (!config_.remove_dc_offset) {
        return 0;
    }
    std::int32_t sum = 0;
    for (const std::int16_t sample : samples) {
        sum += sample;
    }
    return static_cast<std::int32_t>((std::int64_t{sum} * reciprocal_) >> (32 - kSampleBits));
}

// Writes windowed samples, in pairs, to where the transform wants them, and returns a word whose width is that of the
// largest.
std::uint32_t FixedPointFeatures::window(std::span<const std::int16_t> samples, std::int32_t mean)
{
    const std::int32_t weight = preemphasis_ > kLeastPreemphasis ? preemphasis_ : 0;
    std::int32_t before = samples[0] * (1 << kSampleBits) - mean;
    std::uint32_t largest = 0;
    std::size_t place = 0; // of the pair: its number with the bits in reverse
    const auto take = [&](std::size_t index) {
        if (index >= samples.size()) {
            return std::int32_t{0};
        }
        const std::int32_t sample = samples[index] * (1 << kSampleBits) - mean;
        const std::int32_t emphasized = sample - high(2 * before, weight);
        before = sample;
        const std::int32_t value = high(2 * emphasized, window_[index]);
        largest |= static_cast<std::uint32_t>(value ^ (value >> 31));
        return value;
    };
    for (std::size_t pair = 0; pair < pairs_; ++pair) {
        words_[2 * place] = take(2 * pair);
        words_[2 * place + 1] = take(2 * pair + 1);
        std::size_t bit = pairs_ / 2;
        for (; (place & bit) != 0; bit >>= 1) {
            place ^= bit;
        }
        place |= bit;
    }
    return largest;
}

std::uint64_t FixedPointFeatures::measure_energy(std::span<const std::int16_t> samples, std::int32_t mean) const
{
    std::uint64_t energy = 0;
    if (config_.raw_energy) {
        for (const std::int16_t sample : samples) {
            energy += square((sample * (1 << kSampleBits) - mean) >> (kSampleBits - kEnergyBits));
        }
        return energy;
    }
    for (std::size_t i = 0; i < 2 * pairs_; ++i) {
        energy += square(words_[i] >> (kSampleBits - kEnergyBits));
    }
    return energy;
}

// The first two stages of the transform, whose factors are 1 and -i, on samples shifted to fill a word.
void FixedPointFeatures::transform_quarters(int shift)
{
    const int left = std::max(shift, 0);
    const int right = std::max(-shift, 0);
    const auto fill = [&](std::int32_t word) { return word * (1 << left) >> right; };
    for (std::int32_t *quad = words_.data(); quad != words_.data() + 2 * pairs_; quad += 8) {
        const std::int32_t re0 = fill(quad[0]);
        const std::int32_t im0 = fill(quad[1]);
        const std::int32_t re1 = fill(quad[2]);
        const std::int32_t im1 = fill(quad[3]);
        const std::int32_t re2 = fill(quad[4]);
        const std::int32_t im2 = fill(quad[5]);
        const std::int32_t re3 = fill(quad[6]);
        const std::int32_t im3 = fill(quad[7]);
        quad[0] = re0 + re1 + (re2 + re3);
        quad[1] = im0 + im1 + (im2 + im3);
        quad[2] = re0 - re1 + (im2 - im3);
        quad[3] = im0 - im1 - (re2 - re3);
        quad[4] = re0 + re1 - (re2 + re3);
        quad[5] = im0 + im1 - (im2 + im3);
        quad[6] = re0 - re1 - (im2 - im3);
        quad[7] = im0 - im1 + (re2 - re3);
    }
}

// The other stages: pairs that lie `half` apart, the second one turned by -180 degrees * j / half.
void FixedPointFeatures::transform_halves()
{
    std::int32_t *const end = words_.data() + 2 * pairs_;
    for (std::size_t half = 4; half < pairs_; half *= 2) {
        for (std::int32_t *a = words_.data(); a < end; a += 4 * half) {
            std::int32_t *const b = a + 2 * half;
            const std::int32_t re = b[0];
            const std::int32_t im = b[1];
            b[0] = a[0] - re;
            b[1] = a[1] - im;
            a[0] += re;
            a[1] += im;
        }
        for (std::size_t j = 1; j < half; ++j) {
            const std::size_t angle = j * (pairs_ / half);
            const std::int32_t sine = sines_[angle];
            const std::int32_t cosine = sines_[angle + pairs_ / 2];
            for (std::int32_t *a = words_.data() + 2 * j; a < end; a += 4 * half) {
                std::int32_t *const b = a + 2 * half;
                const std::int32_t twice_re = 2 * b[0];
                const std::int32_t twice_im = 2 * b[1];
                // Each product is rounded down: half a unit is lost in the mean, and one unit in the sum of two.
                const std::int32_t re = high(twice_re, cosine) + high(twice_im, sine) + 1;
                const std::int32_t im = high(twice_im, cosine) - high(twice_re, sine);
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
        }
    }
}

std::uint64_t FixedPointFeatures::power(std::size_t bin) const
{
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(words_[2 * bin + 1])) << 32 |
           static_cast<std::uint32_t>(words_[2 * bin]);
}

void FixedPointFeatures::set_power(std::size_t bin, std::uint64_t power)
{
    words_[2 * bin] = static_cast<std::int32_t>(static_cast<std::uint32_t>(power));
    words_[2 * bin + 1] = static_cast<std::int32_t>(static_cast<std::uint32_t>(power >> 32));
}

// Splits the transform of the pairs into that of the samples, and takes the power of each bin in its place.
void FixedPointFeatures::split_powers()
{
    const std::int32_t first_re = words_[0];
    const std::int32_t first_im = words_[1];
    set_power(0, square(first_re + first_im));
    set_power(pairs_, square(first_re - first_im));
    const std::size_t middle = pairs_ / 2;
    set_power(middle, square(words_[2 * middle]) + square(words_[2 * middle + 1]));
    for (std::size_t bin = 1; bin < middle; ++bin) {
        const std::size_t mirrored = pairs_ - bin;
        const std::int32_t re = words_[2 * bin];
        const std::int32_t im = words_[2 * bin + 1];
        const std::int32_t mirrored_re = words_[2 * mirrored];
        const std::int32_t mirrored_im = words_[2 * mirrored + 1];
        const std::int32_t even_re = (re + mirrored_re) >> 1;
        const std::int32_t even_im = (im - mirrored_im) >> 1;
        const std::int32_t odd_re = im + mirrored_im;
        const std::int32_t odd_im = mirrored_re - re;
        const std::int32_t sine = sines_[bin];
        const std::int32_t cosine = sines_[bin + middle];
        const std::int32_t turned_re = high(odd_re, cosine) + high(odd_im, sine) + 1;
        const std::int32_t turned_im = high(odd_im, cosine) - high(odd_re, sine);
        set_power(bin, square(even_re + turned_re) + square(even_im + turned_im));
        set_power(mirrored, square(even_re - turned_re) + square(even_im - turned_im));
    }
}

// Writes the logarithms of bands, or of all bins but the first, behind the energy; returns how many.
std::size_t FixedPointFeatures::compress_bands(int exponent)
{
    std::int32_t *out = values_.data() + (has_energy(config_) ? 1 : 0);
    if (starts_.size() == 0) {
        for (std::size_t bin = 1; bin <= pairs_; ++bin) {
            *out++ = compress(power(bin), exponent, config_.use_log_fbank);
        }
        return pairs_;
    }
    std::uint64_t risen = 0; // of the band below the edge at hand
    for (std::size_t edge = 0; edge + 1 < starts_.size(); ++edge) {
        std::uint64_t above = 0;
        std::uint64_t below = 0;
        for (std::size_t bin = starts_[edge]; bin < starts_[edge + 1]; ++bin) {
            const auto low = static_cast<std::uint32_t>(words_[2 * bin]);
            const auto upper = static_cast<std::uint32_t>(words_[2 * bin + 1]);
            const std::uint64_t share =
                std::uint64_t{upper} * rising_[bin] + ((std::uint64_t{low} * rising_[bin]) >> 32);
            above += share;
            below += power(bin) - share;
        }
        if (edge > 0) {
            *out++ = compress(risen + below, exponent, config_.use_log_fbank);
        }
        risen = above;
    }
    return starts_.size() - 2;
}

void FixedPointFeatures::transform_cepstrum()
{
    std::int32_t *const logs = values_.data() + (has_energy(config_) ? 1 : 0);
    for (std::size_t order = 0; order < cepstrum_.size(); ++order) {
        std::int64_t sum = 1 << 23;
        for (std::size_t band = 0; band < static_cast<std::size_t>(config_.num_mel_bins); ++band) {
            sum += std::int64_t{logs[band]} * cepstral_weights_[band * cepstrum_.size() + order];
        }
        cepstrum_[order] = clip(sum >> 24);
    }
    std::copy(cepstrum_.begin(), cepstrum_.end(), logs);
}

// ln(power / 2^exponent) with its floor.
std::int32_t FixedPointFeatures::compress(std::uint64_t power, int exponent, int use_log_fbank) const
{
    if (use_log_fbank == 2) {
        const int shift = exponent + epsilon_exponent_ - 24; // epsilon = mantissa * 2^shift in units of the power
        const int drop = std::max(shift - 38, 0);
        const auto mantissa = static_cast<std::uint64_t>(epsilon_mantissa_);
        const std::uint64_t epsilon = shift >= 0 ? mantissa << (shift - drop) : mantissa >> std::min(-shift, 63);
        power = (drop > 63 ? 0 : power >> drop) + epsilon;
        exponent -= drop;
    }
    if (power == 0) {
        return floor_;
    }
    const int top = static_cast<int>(std::bit_width(power)) - 1;
    const std::uint64_t normal = power << (63 - top);
    const auto upper = static_cast<std::uint32_t>(normal >> 32);
    const std::uint32_t index = (upper >> (31 - kLogBits)) & ((1u << kLogBits) - 1);
    const auto fraction = static_cast<std::int32_t>((upper >> (15 - kLogBits)) & 0xFFFF);
    const std::int32_t here = logs_[index];
    const std::int32_t between =
        here + static_cast<std::int32_t>((std::int64_t{logs_[index + 1] - here} * fraction) >> 16);
    const std::int64_t binary = std::int64_t{top - exponent} * (1 << 24) + between;
    return std::max(static_cast<std::int32_t>((binary * kLn2 + (std::int64_t{1} << 39)) >> 40), floor_);
}

} // namespace lesp::audio
