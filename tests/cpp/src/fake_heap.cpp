// The heap of ESP-IDF, one of whose allocations can be made to fail. FAKE_FREE_BYTES in the environment is how much
// memory it claims to have, FAKE_PSRAM how much of that is PSRAM.
#include "fake_heap.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

#include "esp_heap_caps.h"

long failing_allocation = 0;
unsigned long psram_bytes = 0;

static std::size_t read_bytes(const char *name, std::size_t otherwise)
{
    const char *bytes = std::getenv(name);
    return bytes != nullptr ? std::strtoul(bytes, nullptr, 10) : otherwise;
}

static std::size_t free_bytes()
{
    return read_bytes("FAKE_FREE_BYTES", 300000);
}

extern "C" {

void *heap_caps_calloc(size_t n, size_t size, uint32_t caps)
{
    psram_bytes += (caps & MALLOC_CAP_SPIRAM) != 0 ? n * size : 0;
    // ESP-IDF gives nothing for nothing.
    if (n * size == 0 || (failing_allocation > 0 && --failing_allocation == 0)) {
        return nullptr;
    }
    // Through `new`, so that programs that count allocations count these.
    void *const memory = ::operator new(n * size, std::nothrow);
    return memory == nullptr ? nullptr : std::memset(memory, 0, n * size);
}

void heap_caps_free(void *ptr)
{
    ::operator delete(ptr);
}

size_t heap_caps_get_free_size(uint32_t)
{
    return free_bytes();
}

size_t heap_caps_get_minimum_free_size(uint32_t)
{
    return free_bytes();
}

size_t heap_caps_get_largest_free_block(uint32_t)
{
    return free_bytes();
}

size_t heap_caps_get_total_size(uint32_t caps)
{
    return (caps & MALLOC_CAP_SPIRAM) != 0 ? read_bytes("FAKE_PSRAM", 2 * free_bytes()) : 2 * free_bytes();
}

} // extern "C"
