// Counts what a program allocates; included once, by the file with `main`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

static std::atomic<long> allocations = 0;

// Whether what is allocated now counts; the file that includes this says it.
static bool is_counted();

static void *allocate(std::size_t size)
{
    allocations += is_counted() ? 1 : 0;
    return std::malloc(size);
}
void *operator new(std::size_t size)
{
    return allocate(size);
}
void *operator new(std::size_t size, const std::nothrow_t &) noexcept
{
    return allocate(size);
}
void *operator new[](std::size_t size)
{
    return allocate(size);
}
void *operator new[](std::size_t size, const std::nothrow_t &) noexcept
{
    return allocate(size);
}
void operator delete(void *memory) noexcept
{
    std::free(memory);
}
void operator delete(void *memory, std::size_t) noexcept
{
    std::free(memory);
}
void operator delete[](void *memory) noexcept
{
    std::free(memory);
}
void operator delete[](void *memory, std::size_t) noexcept
{
    std::free(memory);
}
