// A console at which somebody types what FAKE_COMMAND says, words with a blank between, as soon as it reads; and NVS
// that holds nothing but what was written since the start, and numbers, which are files of the directory that
// FAKE_PARTITIONS names.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "esp_console.h"
#include "nvs_flash.h"

static std::map<std::string, esp_console_cmd_func_t> commands;
static std::map<std::string, std::vector<char>> entries;

static std::FILE *open_number(const char *key, const char *mode)
{
    const char *directory = std::getenv("FAKE_PARTITIONS");
    return directory == nullptr ? nullptr : std::fopen((std::string(directory) + "/nvs_" + key).c_str(), mode);
}

extern "C" {

esp_err_t esp_console_cmd_register(const esp_console_cmd_t *command)
{
    commands[command->command] = command->func;
    return ESP_OK;
}

esp_err_t esp_console_new_repl_uart(const esp_console_dev_uart_config_t *,
                                    const esp_console_repl_config_t *,
                                    esp_console_repl_t **)
{
    return ESP_OK;
}

esp_err_t esp_console_start_repl(esp_console_repl_t *)
{
    const char *line = std::getenv("FAKE_COMMAND");
    std::istringstream stream(line != nullptr ? line : "");
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        words.push_back(word);
    }
    std::vector<char *> pointers;
    for (std::string &word : words) {
        pointers.push_back(word.data());
    }
    if (!words.empty()) {
        commands.at(words[0])(static_cast<int>(words.size()), pointers.data());
    }
    return ESP_OK;
}

esp_err_t nvs_flash_init(void)
{
    return std::getenv("FAKE_NO_NVS") == nullptr ? ESP_OK : ESP_ERR_NOT_FOUND;
}

esp_err_t nvs_open(const char *, nvs_open_mode_t, nvs_handle_t *)
{
    return ESP_OK;
}

esp_err_t nvs_get_blob(nvs_handle_t, const char *key, void *value, size_t *length)
{
    const auto found = entries.find(key);
    if (found == entries.end()) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    *length = found->second.size();
    if (value != nullptr) {
        std::memcpy(value, found->second.data(), *length);
    }
    return ESP_OK;
}

esp_err_t nvs_set_blob(nvs_handle_t, const char *key, const void *value, size_t length)
{
    const auto *const first = static_cast<const char *>(value);
    entries[key] = std::vector<char>(first, first + length);
    return ESP_OK;
}

esp_err_t nvs_get_u64(nvs_handle_t, const char *key, uint64_t *value)
{
    std::FILE *const file = open_number(key, "rb");
    const size_t count = file == nullptr ? 0 : std::fread(value, sizeof(*value), 1, file);
    if (file != nullptr) {
        std::fclose(file);
    }
    return count == 1 ? ESP_OK : ESP_ERR_NVS_NOT_FOUND;
}

esp_err_t nvs_set_u64(nvs_handle_t, const char *key, uint64_t value)
{
    std::FILE *const file = open_number(key, "wb");
    const size_t count = file == nullptr ? 0 : std::fwrite(&value, sizeof(value), 1, file);
    if (file != nullptr) {
        std::fclose(file);
    }
    return count == 1 ? ESP_OK : ESP_FAIL;
}

esp_err_t nvs_commit(nvs_handle_t)
{
    return ESP_OK;
}

void nvs_close(nvs_handle_t) {}

} // extern "C"
