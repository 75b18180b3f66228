#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace streaming {

// An array of fixed size on the heap that reports a failed allocation instead of aborting.
template <typename T>
class HeapArray {
public:
    // Makes `count` zeroed elements; what was there before is gone. False: no memory, and the array is empty.
    [[nodiscard]] bool allocate(std::size_t count)
    {
        items_.reset(new (std::nothrow) T[count]());
        size_ = items_ ? count : 0;
        return items_ != nullptr;
    }

    std::size_t size() const { return size_; }
    T *data() { return items_.get(); }
    const T *data() const { return items_.get(); }
    T &operator[](std::size_t index) { return items_[index]; }
    const T &operator[](std::size_t index) const { return items_[index]; }
    T *begin() { return items_.get(); }
    T *end() { return items_.get() + size_; }
    const T *begin() const { return items_.get(); }
    const T *end() const { return items_.get() + size_; }

private:
    std::unique_ptr<T[]> items_;
    std::size_t size_ = 0;
};

} // namespace streaming
