// Stands for dl/tensor/include/dl_tensor_base.hpp of ESP-DL 3.3.9: what a pipeline needs of it, under the same names.
#pragma once

#include <cstddef>
#include <vector>

namespace dl {

class ExponentInfo {
public:
    ExponentInfo(int exponent = 0) : exponent_(exponent) {}
    operator int() const { return exponent_; }
    bool is_per_channel() const { return false; }

private:
    int exponent_;
};

typedef enum {
    DATA_TYPE_UNDEFINED = 0,
    DATA_TYPE_FLOAT = 1,
    DATA_TYPE_INT8 = 3,
    DATA_TYPE_INT16 = 5,
} dtype_t;

class TensorBase {
public:
    int size;
    std::vector<int> shape;
    dtype_t dtype;
    ExponentInfo exponent;
    void *data;
    void *cache;

    // As with `deep = false`: the tensor uses `element` and does not own it.
    TensorBase(std::vector<int> shape, const void *element, int exponent, dtype_t dtype, bool deep);
    virtual ~TensorBase() = default;

    int get_size() { return size; }
    std::size_t get_dtype_bytes();
    const char *get_dtype_string();
    int get_bytes() { return size * static_cast<int>(get_dtype_bytes()); }
    virtual void *get_element_ptr() { return cache != nullptr ? cache : data; }
    std::vector<int> get_shape() { return shape; }
    int get_exponent() { return exponent; }
    dtype_t get_dtype() { return dtype; }

    // ESP-DL requantizes where the exponents differ and looks at the number of elements only. The stand-in aborts
    // unless shape, type and exponent are equal.
    bool assign(TensorBase *tensor);
};

} // namespace dl
