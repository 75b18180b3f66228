// Computes FRAMES frames of noise in fixed point with the front end KIND, which
// makes BANDS features; without a C library.
#include <cstddef>
#include <cstdint>
#include <span>

#include "audio/fixed_point_features.hpp"

static float ones[BANDS];
static float features[BANDS];
static std::int16_t samples[1024];
alignas(16) static unsigned char heap[100000];
static std::size_t used = 0;

extern "C" void *heap_caps_calloc(std::size_t count, std::size_t size,
                                  std::uint32_t) {
  void *const memory = heap + used;
  used += (count * size + 15) / 16 * 16;
  return used <= sizeof(heap) ? memory : nullptr;
}

extern "C" void heap_caps_free(void *) {}

static audio::FixedPointFeatures front_end;

static int run() {
  for (float &one : ones) {
    one = 1.0f;
  }
  std::uint32_t random = 1;
  for (std::int16_t &sample : samples) {
    random = random * 1664525u + 1013904223u;
    sample = static_cast<std::int16_t>(random >> 18);
  }
  streaming::FrontEndConfig config;
  config.kind = streaming::FrontEndKind::KIND;
  config.num_mel_bins = 40;
  config.bands = BANDS;
  config.frame_samples = 400;
  config.hop_samples = 160;
  config.mean = ones;
  config.scale = ones;
  if (front_end.init(config) != ESP_OK) {
    return 1;
  }
  for (std::size_t frame = 0; frame < FRAMES; ++frame) {
    front_end.compute(std::span(samples).subspan(frame, 400), features);
  }
  return 0;
}

extern "C" void enter() {
  const int status = run();
  register long a0 asm("a0") = status;
  register long a7 asm("a7") = 93; // exit
  asm volatile("ecall" ::"r"(a0), "r"(a7));
}

extern "C" __attribute__((naked)) void _start() {
  asm(".option push\n.option norelax\nla gp, __global_pointer$\n.option "
      "pop\nli tp, 0\ncall enter\n");
}
