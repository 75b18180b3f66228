// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The transform of the fixed-point front end: from windowed samples, in pairs, to the power of each bin.
#include <algorithm>

#include "audio/fixed_point_features.hpp"
#include "fixed_point_words.hpp"

namespace lesp::audio {

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

} // namespace lesp::audio
