// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The model on an SD card.
#include "model_files.hpp"

#include <cstdio>
#include <iterator>

#include "audio/byte_source.hpp"
#include "audio/card.hpp"
#include "bundled_model.hpp"
#include "sdkconfig.h"
#include "streaming/golden.hpp"

static esp_err_t check_file(const char *path, const lesp::streaming::ModelFile &file)
{
    lesp::audio::FileBytes bytes;
    if (bytes.open(path) != ESP_OK) {
        std::printf(
            "There is no file %s. Copy components/lesp_model/" CONFIG_IDF_TARGET "/%s to the card.\n", path, file.name);
        return ESP_ERR_NOT_FOUND;
    }
    char chunk[256];
    std::uint32_t crc = 0;
    std::size_t size = 0;
    while (const std::size_t count = bytes.read(chunk, sizeof(chunk))) {
        crc = lesp::streaming::crc32(chunk, count, crc);
        size += count;
    }
    if (size == file.bytes && crc == file.crc) {
        return ESP_OK;
    }
    std::printf("%s has %u bytes and is not %s of this bundle for " CONFIG_IDF_TARGET
                ", which has %u. Copy components/lesp_model/" CONFIG_IDF_TARGET "/%s to the card.\n",
                path,
                static_cast<unsigned>(size),
                file.name,
                static_cast<unsigned>(file.bytes),
                file.name);
    return size == file.bytes ? ESP_ERR_INVALID_CRC : ESP_ERR_INVALID_SIZE;
}

esp_err_t find_model(ModelFiles *files)
{
    static char paths[std::size(lesp::bundled::kModelFiles)][128];
    static const char *places[std::size(paths)];
    if (const esp_err_t error = lesp::audio::mount_card(); error != ESP_OK) {
        std::printf("The SD card cannot be mounted (%s). Is one in the slot?\n", esp_err_to_name(error));
        return error;
    }
    for (std::size_t i = 0; i < std::size(paths); ++i) {
        const lesp::streaming::ModelFile &file = lesp::bundled::kModelFiles[i];
        const int length =
            std::snprintf(paths[i], sizeof(paths[i]), "%s/%s", CONFIG_STREAMING_MODEL_DIRECTORY, file.name);
        if (length < 0 || static_cast<std::size_t>(length) >= sizeof(paths[i])) {
            std::printf("The path of %s is longer than %u characters.\n",
                        file.name,
                        static_cast<unsigned>(sizeof(paths[i]) - 1));
            return ESP_ERR_INVALID_ARG;
        }
        places[i] = paths[i];
        if (const esp_err_t error = check_file(paths[i], file); error != ESP_OK) {
            return error;
        }
    }
    *files = {places, lesp::streaming::Location::kSdCard};
    return ESP_OK;
}
