// Runs KERNEL as often as REPEAT says, on ESP-DL's own code, without a C
// library.
#include "dl_base_conv2d.hpp"
#include "dl_tensor_base.hpp"
#include "streaming/requantize.hpp"

alignas(16) static unsigned char heap[100000];
static std::size_t used = 0;

static void *allocate(std::size_t bytes) {
  void *const memory = heap + used;
  used += (bytes + 15) / 16 * 16;
  return memory;
}

extern "C" {
void *heap_caps_malloc(size_t size, uint32_t) { return allocate(size); }
void *heap_caps_calloc(size_t n, size_t size, uint32_t) {
  return allocate(n * size);
}
void *heap_caps_aligned_alloc(size_t, size_t size, uint32_t) {
  return allocate(size);
}
void *heap_caps_aligned_calloc(size_t, size_t n, size_t size, uint32_t) {
  return allocate(n * size);
}
void heap_caps_free(void *) {}
void *malloc(size_t size) { return allocate(size); }
void free(void *) {}
void *__dso_handle;
int __cxa_atexit(void *, void *, void *) { return 0; }
}
void *operator new(std::size_t size) { return allocate(size); }
void *operator new[](std::size_t size) { return allocate(size); }
void operator delete(void *) noexcept {}
void operator delete(void *, std::size_t) noexcept {}
void operator delete[](void *) noexcept {}
void operator delete[](void *, std::size_t) noexcept {}

constexpr int kChannels = 32, kFrames = 3, kTaps = 3, kValues = 4096;

static std::int8_t from[kValues], to[kValues];
static std::int8_t filter[kTaps * kChannels * kChannels];
static std::int32_t bias[kChannels];

// A change of exponent as ESP-DL does it, and as components/lesp_streaming
// does.
static void assign() {
  dl::TensorBase input({kValues}, from, -6, dl::DATA_TYPE_INT8, false);
  dl::TensorBase output({kValues}, to, -5, dl::DATA_TYPE_INT8, false);
  for (int i = 0; i < REPEAT; ++i) {
    output.assign(&input);
  }
}

static void requantize() {
  for (int i = 0; i < REPEAT; ++i) {
    lesp::streaming::requantize(from, to, kValues, 1);
    asm volatile("" ::: "memory"); // each time anew
  }
}

static void convolve() {
  dl::TensorBase input({1, 1, kFrames + kTaps - 1, kChannels}, from, -7,
                       dl::DATA_TYPE_INT8, false);
  dl::TensorBase weight({1, kTaps, kChannels, kChannels}, filter, -7,
                        dl::DATA_TYPE_INT8, false);
  dl::TensorBase offset({kChannels}, bias, -14, dl::DATA_TYPE_INT32, false);
  dl::TensorBase output({1, 1, kFrames, kChannels}, to, -5, dl::DATA_TYPE_INT8,
                        false);
  std::vector<int> padding = {0, 0, 0, 0};
  dl::base::ConvOpArgs<std::int8_t> arguments(
      &output, &input, padding, &weight, {1, 1}, {1, 1}, 1, &offset, dl::Linear,
      nullptr, dl::RUNTIME_MODE_SINGLE_CORE);
  for (int i = 0; i < REPEAT; ++i) {
    dl::base::conv2d<std::int8_t, std::int32_t, std::int32_t>(
        &arguments.get_args(0));
  }
}

extern "C" void enter() {
  for (int i = 0; i < kValues; ++i) {
    from[i] = static_cast<std::int8_t>(i * 37);
    filter[i % sizeof(filter)] = static_cast<std::int8_t>(i * 13);
  }
  KERNEL();
  register long a0 asm("a0") = 0;
  register long a7 asm("a7") = 93; // exit
  asm volatile("ecall" ::"r"(a0), "r"(a7));
}

extern "C" __attribute__((naked)) void _start() {
  asm(".option push\n.option norelax\nla gp, __global_pointer$\n.option "
      "pop\nli tp, 0\ncall enter\n");
}
