#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "dl_model_base.hpp"
#include "esp_err.h"

std::atomic<int> echo_us = 0;

namespace dl {

[[noreturn]] static void fail(const std::string &model, const std::string &message)
{
    std::fprintf(stderr, "FAKE %s: %s\n", model.c_str(), message.c_str());
    std::abort();
}

TensorBase::TensorBase(std::vector<int> new_shape, const void *element, int new_exponent, dtype_t new_dtype, bool)
    : size(1), shape(new_shape), dtype(new_dtype), exponent(new_exponent), data(const_cast<void *>(element)),
      cache(nullptr)
{
    for (const int axis : shape) {
        size *= axis;
    }
}

std::size_t TensorBase::get_dtype_bytes()
{
    return dtype == DATA_TYPE_FLOAT ? 4 : dtype == DATA_TYPE_INT16 ? 2 : 1;
}

const char *TensorBase::get_dtype_string()
{
    return dtype == DATA_TYPE_FLOAT ? "FLOAT" : dtype == DATA_TYPE_INT16 ? "INT16" : "INT8";
}

bool TensorBase::assign(TensorBase *tensor)
{
    if (tensor->shape != shape || tensor->dtype != dtype || tensor->exponent != exponent) {
        fail("tensor", "is assigned one of another shape, type or exponent");
    }
    std::memcpy(get_element_ptr(), tensor->get_element_ptr(), get_bytes());
    return true;
}

class Model::Reader {
public:
    explicit Reader(const char *data) : data_(reinterpret_cast<const uint8_t *>(data)) {}
    const uint8_t *position() const { return data_; }

    int32_t word()
    {
        int32_t value;
        std::memcpy(&value, data_, sizeof(value));
        data_ += sizeof(value);
        return value;
    }

    std::string text()
    {
        const auto length = static_cast<std::size_t>(word());
        const auto *start = reinterpret_cast<const char *>(data_);
        data_ += length;
        return {start, length};
    }

private:
    const uint8_t *data_;
};

// All of a file, or of the partition that fake_partitions.cpp makes of one.
static std::vector<char> read_file(const std::string &name, fbs::model_location_type_t location)
{
    const char *directory = location == fbs::MODEL_LOCATION_IN_SDCARD ? "." : std::getenv("FAKE_PARTITIONS");
    std::ifstream file(std::string(directory != nullptr ? directory : "") + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Model::Model(const char *data,
             fbs::model_location_type_t location,
             int max_internal_size,
             memory_manager_t,
             const uint8_t *,
             bool,
             const std::map<std::string, std::vector<int>> &)
{
    // The greedy memory manager of ESP-DL erases what it does not find in its free list.
    if (max_internal_size > 16 && max_internal_size % 16 != 0) {
        fail("model", "is given " + std::to_string(max_internal_size) + " bytes of internal memory, no multiple of 16");
    }
    if (location != fbs::MODEL_LOCATION_IN_FLASH_RODATA) {
        m_file = read_file(data, location);
        data = m_file.data();
    }
    m_is_echo = data != nullptr && std::memcmp(data, "ECHO", 4) == 0;
    // What is no model leaves one without tensors, as in ESP-DL.
    if (data == nullptr || (!m_is_echo && std::memcmp(data, "FAKE", 4) != 0)) {
        return;
    }
    Reader reader(data + 4);
    m_name = reader.text();
    const auto inputs = static_cast<std::size_t>(reader.word());
    const auto outputs = static_cast<std::size_t>(reader.word());
    m_windows = static_cast<std::size_t>(reader.word());
    read_tensors(reader, inputs, m_inputs);
    read_tensors(reader, outputs, m_outputs);
    m_records = reader.position();
    lay_out();
}

Model::~Model() = default;

void Model::read_tensors(Reader &reader, std::size_t count, std::map<std::string, TensorBase *> &tensors)
{
    std::vector<std::string> &order = &tensors == &m_inputs ? m_input_order : m_output_order;
    for (std::size_t i = 0; i < count; ++i) {
        const std::string name = reader.text();
        m_slots.push_back(static_cast<std::size_t>(reader.word()));
        const auto dtype = static_cast<dtype_t>(reader.word());
        const int exponent = reader.word();
        std::vector<int> shape(static_cast<std::size_t>(reader.word()));
        for (int &axis : shape) {
            axis = reader.word();
        }
        m_tensors.push_back(std::make_unique<TensorBase>(shape, nullptr, exponent, dtype, false));
        tensors[name] = m_tensors.back().get();
        order.push_back(name);
    }
}

// All slots have one size; a script lays outputs over inputs.
void Model::lay_out()
{
    std::size_t slot_bytes = 0;
    std::size_t slots = 0;
    m_record_bytes = 4;
    for (std::size_t i = 0; i < m_tensors.size(); ++i) {
        const auto bytes = static_cast<std::size_t>(m_tensors[i]->get_bytes());
        m_record_bytes += bytes;
        slot_bytes = std::max(slot_bytes, (bytes + 15) / 16 * 16);
        slots = std::max(slots, m_slots[i] + 1);
    }
    m_memory.assign(slots * slot_bytes, 0x5A);
    m_untouched = m_memory;
    for (std::size_t i = 0; i < m_tensors.size(); ++i) {
        m_tensors[i]->data = m_memory.data() + m_slots[i] * slot_bytes;
    }
}

// The first input that is not what window `window` of the script wants, as a message; empty: all are.
std::string Model::find_difference(std::size_t window)
{
    const uint8_t *expected = m_records + window * m_record_bytes + 4;
    for (const std::string &name : m_input_order) {
        TensorBase *tensor = m_inputs.find(name)->second;
        const auto *got = static_cast<const uint8_t *>(tensor->get_element_ptr());
        for (int i = 0; i < tensor->get_bytes(); ++i) {
            if (got[i] != expected[i]) {
                return "window " + std::to_string(window) + ": input " + name + " was fed " + std::to_string(got[i]) +
                       " instead of " + std::to_string(expected[i]) + " at byte " + std::to_string(i);
            }
        }
        expected += tensor->get_bytes();
    }
    return {};
}

bool Model::starts_recording(std::size_t window)
{
    int32_t starts;
    std::memcpy(&starts, m_records + window * m_record_bytes, 4);
    return starts != 0;
}

// After a reset any recording may begin: the next one in the script whose first window is what was fed.
void Model::find_recording()
{
    std::string difference;
    for (std::size_t i = 0; i < m_windows; ++i) {
        const std::size_t window = (m_next + i) % m_windows;
        if (!starts_recording(window)) {
            continue;
        }
        const std::string found = find_difference(window);
        if (found.empty()) {
            m_next = window;
            return;
        }
        difference = difference.empty() ? found : difference;
    }
    fail(m_name, "no recording starts like this; " + difference);
}

// ESP-DL allocates what its operators remember in the first run. A run on zeros before anything else is for that.
bool Model::is_first_run()
{
    const bool is_first =
        m_is_fresh && std::all_of(m_inputs.begin(), m_inputs.end(), [](const auto &entry) {
            const auto *bytes = static_cast<const uint8_t *>(entry.second->get_element_ptr());
            return std::all_of(bytes, bytes + entry.second->get_bytes(), [](uint8_t byte) { return byte == 0; });
        });
    m_is_fresh = false;
    return is_first;
}

void Model::run(runtime_mode_t)
{
    if (m_segments != 0) {
        fail(m_name, "runs as a whole while a window is half computed");
    }
    if (is_first_run()) {
        std::memset(m_memory.data(), 0xA5, m_memory.size());
        return;
    }
    if (m_is_echo) {
        echo();
        return;
    }
    check_inputs();
    write_outputs();
}

// A model that takes anything: each output frame is the start of the input frame, and its last value the number of
// windows since the reset, which the cache carries. It takes `echo_us`.
void Model::echo()
{
    std::this_thread::sleep_for(std::chrono::microseconds(echo_us));
    TensorBase *const input = m_inputs[m_input_order[0]];
    TensorBase *const output = m_outputs[m_output_order[0]];
    const int bands = input->shape[2];
    const int classes = output->shape[2];
    const auto *from = static_cast<const int8_t *>(input->get_element_ptr());
    auto *to = static_cast<int8_t *>(output->get_element_ptr());
    const int8_t count = *static_cast<const int8_t *>(m_inputs[m_input_order[1]]->get_element_ptr());
    for (int frame = 0; frame < input->shape[1]; ++frame, from += bands, to += classes) {
        std::memcpy(to, from, static_cast<std::size_t>(classes - 1));
        to[classes - 1] = count;
    }
    *static_cast<int8_t *>(m_outputs[m_output_order[1]]->get_element_ptr()) =
        static_cast<int8_t>(std::min(count + 1, 100));
}

// One part of a window. What ESP-DL computes in between lies in the same memory as inputs and outputs.
void Model::run(int stage_num, int stage_index, runtime_mode_t)
{
    if (stage_num < 1 || stage_index < 0 || stage_index >= stage_num) {
        fail(m_name, "has no segment " + std::to_string(stage_index) + " of " + std::to_string(stage_num));
    }
    if (stage_index == 0 && m_segments == 0) {
        check_inputs();
        std::memset(m_memory.data(), 0xC3, m_memory.size());
        m_segments = stage_num;
    } else if (stage_index != m_segment || stage_num != m_segments) {
        fail(m_name,
             "runs segment " + std::to_string(stage_index) + " where " + std::to_string(m_segment) + " is next");
    } else if (m_memory != m_untouched) {
        fail(m_name, "was written to between two segments of a window");
    }
    m_segment = stage_index + 1;
    if (m_segment == m_segments) {
        write_outputs();
        m_segment = m_segments = 0;
    }
    m_untouched = m_memory;
}

void Model::check_inputs()
{
    if (m_was_reset) {
        find_recording();
    } else if (m_next == m_windows) {
        fail(m_name, "runs once more than there are golden windows");
    } else if (starts_recording(m_next)) {
        fail(m_name, "window " + std::to_string(m_next) + " starts a recording, but nobody called reset");
    } else if (const std::string difference = find_difference(m_next); !difference.empty()) {
        fail(m_name, difference);
    }
    m_was_reset = false;
}

void Model::write_outputs()
{
    const uint8_t *record = m_records + m_next * m_record_bytes + 4;
    for (const std::string &name : m_input_order) {
        record += m_inputs.find(name)->second->get_bytes();
    }
    std::memset(m_memory.data(), 0xA5, m_memory.size());
    for (const std::string &name : m_output_order) {
        TensorBase *tensor = m_outputs.find(name)->second;
        std::memcpy(tensor->get_element_ptr(), record, static_cast<std::size_t>(tensor->get_bytes()));
        record += tensor->get_bytes();
    }
    ++m_next;
}

void Model::run(std::map<std::string, TensorBase *> &user_inputs,
                runtime_mode_t mode,
                std::map<std::string, TensorBase *>)
{
    if (user_inputs.size() != m_inputs.size()) {
        fail(m_name, "run is given another number of inputs");
    }
    for (const auto &[name, tensor] : user_inputs) {
        if (m_inputs.find(name) == m_inputs.end()) {
            fail(m_name, "run is given an unknown input " + name);
        }
        m_inputs[name]->assign(tensor);
    }
    run(mode);
}

void Model::reset()
{
    m_was_reset = true;
    m_segment = m_segments = 0;
}

} // namespace dl

const char *esp_err_to_name(esp_err_t code)
{
    switch (code) {
    case ESP_OK:
        return "ESP_OK";
    case ESP_FAIL:
        return "ESP_FAIL";
    case ESP_ERR_NO_MEM:
        return "ESP_ERR_NO_MEM";
    case ESP_ERR_INVALID_ARG:
        return "ESP_ERR_INVALID_ARG";
    case ESP_ERR_INVALID_STATE:
        return "ESP_ERR_INVALID_STATE";
    case ESP_ERR_INVALID_SIZE:
        return "ESP_ERR_INVALID_SIZE";
    case ESP_ERR_NOT_FOUND:
        return "ESP_ERR_NOT_FOUND";
    case ESP_ERR_INVALID_CRC:
        return "ESP_ERR_INVALID_CRC";
    case ESP_ERR_INVALID_VERSION:
        return "ESP_ERR_INVALID_VERSION";
    case ESP_ERR_NOT_SUPPORTED:
        return "ESP_ERR_NOT_SUPPORTED";
    case ESP_ERR_TIMEOUT:
        return "ESP_ERR_TIMEOUT";
    default:
        return "UNKNOWN ERROR";
    }
}
