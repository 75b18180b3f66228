// Computes FRAMES frames of noise in fixed point with the front end KIND, which
// makes BANDS features; without a C library. With DEPTH it writes how many
// bytes of stack the start and a frame take.
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

static lesp::audio::FixedPointFeatures front_end;

#ifdef DEPTH
// Fills the stack below the caller, and says how much of that was written over.
// Both have the same frame, so they mean the same bytes.
constexpr std::size_t kPainted = 16384;
constexpr unsigned char kPaint = 0xa5;

__attribute__((noinline)) static void paint() {
  volatile unsigned char area[kPainted];
  for (std::size_t i = 0; i < kPainted; ++i) {
    area[i] = kPaint;
  }
}

__attribute__((noinline)) static unsigned depth() {
  volatile unsigned char area[kPainted];
  std::size_t i = 0;
  while (i < kPainted && area[i] == kPaint) {
    ++i;
  }
  return kPainted - i;
}

static void print(unsigned number) {
  char text[12];
  std::size_t first = sizeof(text);
  text[--first] = ' ';
  do {
    text[--first] = static_cast<char>('0' + number % 10);
  } while ((number /= 10) != 0);
  register long a0 asm("a0") = 1;
  register const char *a1 asm("a1") = text + first;
  register long a2 asm("a2") = sizeof(text) - first;
  register long a7 asm("a7") = 64; // write
  asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
}
#endif

static int run() {
  for (float &one : ones) {
    one = 1.0f;
  }
  std::uint32_t random = 1;
  for (std::int16_t &sample : samples) {
    random = random * 1664525u + 1013904223u;
    sample = static_cast<std::int16_t>(random >> 18);
  }
  lesp::streaming::FrontEndConfig config;
  config.kind = lesp::streaming::FrontEndKind::KIND;
  config.num_mel_bins = 40;
  config.bands = BANDS;
  config.frame_samples = 400;
  config.hop_samples = 160;
  config.mean = ones;
  config.scale = ones;
#ifdef DEPTH
  paint();
#endif
  if (front_end.init(config) != ESP_OK) {
    return 1;
  }
#ifdef DEPTH
  print(depth());
  paint();
#endif
  for (std::size_t frame = 0; frame < FRAMES; ++frame) {
    front_end.compute(std::span(samples).subspan(frame, 400), features);
  }
#ifdef DEPTH
  print(depth());
#endif
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
