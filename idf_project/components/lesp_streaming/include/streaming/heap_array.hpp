// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Memory on the heap that reports a failed allocation. `new (std::nothrow)` does not: without exceptions ESP-IDF aborts
// in it, where it should return a null pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "esp_heap_caps.h"

namespace lesp::streaming {

// Destroys what make_on_heap has made.
struct HeapDelete {
    template <typename T>
    void operator()(T *object) const
    {
        object->~T();
        heap_caps_free(object);
    }
};

template <typename T>
using HeapPointer = std::unique_ptr<T, HeapDelete>;

// Makes one object; a null pointer where there is no memory for it. What its constructor allocates itself is its own
// affair.
template <typename T, typename... Arguments>
[[nodiscard]] HeapPointer<T> make_on_heap(Arguments &&...arguments)
{
    void *const memory = heap_caps_calloc(1, sizeof(T), MALLOC_CAP_DEFAULT);
    return HeapPointer<T>(memory == nullptr ? nullptr : new (memory) T(std::forward<Arguments>(arguments)...));
}

// An array of fixed size.
template <typename T>
class HeapArray {
public:
    HeapArray() = default;
    ~HeapArray() { clear(); }
    HeapArray(const HeapArray &) = delete;
    HeapArray &operator=(const HeapArray &) = delete;

    // Makes `count` zeroed elements; what was there before is gone. False: no memory, and the array is empty. `caps` is
    // MALLOC_CAP_* of ESP-IDF.
    [[nodiscard]] bool allocate(std::size_t count, std::uint32_t caps = MALLOC_CAP_DEFAULT)
    {
        clear();
        if (count == 0) {
            return true;
        }
        items_ = static_cast<T *>(heap_caps_calloc(count, sizeof(T), caps));
        if (items_ == nullptr) {
            return false;
        }
        std::uninitialized_value_construct_n(items_, count);
        size_ = count;
        return true;
    }

    std::size_t size() const { return size_; }
    T *data() { return items_; }
    const T *data() const { return items_; }
    T &operator[](std::size_t index) { return items_[index]; }
    const T &operator[](std::size_t index) const { return items_[index]; }
    T *begin() { return items_; }
    T *end() { return items_ + size_; }
    const T *begin() const { return items_; }
    const T *end() const { return items_ + size_; }

private:
    void clear()
    {
        std::destroy_n(items_, size_);
        heap_caps_free(items_);
        items_ = nullptr;
        size_ = 0;
    }

    T *items_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace lesp::streaming
