// Stands for dl/model/include/dl_model_base.hpp of ESP-DL 3.3.9: a model that replays golden integers.
//
// Its "file" is a script (tests/cpp/script.py): the tensors, and for every window what must come in and what goes out.
// It aborts when it is fed anything else, and after each run it has overwritten its inputs, outputs lying across them,
// as ESP-DL's memory manager may do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dl_tensor_base.hpp"
#include "fbs_model.hpp"

namespace dl {

typedef enum { MEMORY_MANAGER_GREEDY = 0, LINEAR_MEMORY_MANAGER = 1 } memory_manager_t;
typedef enum { RUNTIME_MODE_SINGLE_CORE = 1 } runtime_mode_t;

class Model {
public:
    Model(const char *rodata_address_or_partition_label_or_path,
          fbs::model_location_type_t location = fbs::MODEL_LOCATION_IN_FLASH_RODATA,
          int max_internal_size = 0,
          memory_manager_t mm_type = MEMORY_MANAGER_GREEDY,
          const uint8_t *key = nullptr,
          bool param_copy = true,
          const std::map<std::string, std::vector<int>> &input_shapes = {});
    virtual ~Model();

    virtual void run(runtime_mode_t mode = RUNTIME_MODE_SINGLE_CORE);
    virtual void run(int stage_num, int stage_index, runtime_mode_t mode = RUNTIME_MODE_SINGLE_CORE);
    virtual void run(std::map<std::string, TensorBase *> &user_inputs,
                     runtime_mode_t mode = RUNTIME_MODE_SINGLE_CORE,
                     std::map<std::string, TensorBase *> user_outputs = {});
    virtual std::map<std::string, TensorBase *> &get_inputs() { return m_inputs; }
    virtual std::map<std::string, TensorBase *> &get_outputs() { return m_outputs; }
    virtual void reset();
    void minimize() {}

private:
    class Reader;
    typedef std::vector<std::unique_ptr<TensorBase>> Tensors;

    void read_tensors(Reader &reader, std::size_t count, std::map<std::string, TensorBase *> &tensors);
    void lay_out();
    std::string find_difference(std::size_t window);
    bool starts_recording(std::size_t window);
    void find_recording();
    bool is_first_run();
    void check_inputs();
    void write_outputs();
    void echo();

    std::map<std::string, TensorBase *> m_inputs;
    std::map<std::string, TensorBase *> m_outputs;
    std::vector<std::string> m_input_order;
    std::vector<std::string> m_output_order;
    std::vector<char> m_file; // where the model lies outside the app
    Tensors m_tensors;
    std::vector<std::size_t> m_slots;
    std::vector<uint8_t> m_memory;
    std::string m_name;
    const uint8_t *m_records = nullptr;
    std::size_t m_record_bytes = 0;
    std::size_t m_windows = 0;
    std::size_t m_next = 0;
    bool m_is_echo = false;
    bool m_was_reset = true;
    bool m_is_fresh = true;
    int m_segment = 0;                // that must run next
    int m_segments = 0;               // of the window that is being computed; 0: none is
    std::vector<uint8_t> m_untouched; // memory after the last segment: nobody may write to it before the next one
};

} // namespace dl
