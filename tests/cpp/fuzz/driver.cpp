// Runs a fuzz target without libFuzzer, on inputs that are the same every time:  fuzz_wav INPUTS [SEED_FILE...]
//
// Inputs are mutations of the seeds and of each other: bits, bytes, words that sizes like to trip over, pieces cut out,
// repeated and exchanged. There is no feedback from coverage; run.sh, which needs clang, has that.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include <sanitizer/common_interface_defs.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

typedef std::vector<std::uint8_t> Bytes;

static constexpr std::size_t kLongest = 512;
static constexpr std::size_t kKept = 64;

static Bytes input;
static unsigned long long number = 0;

static void print_input()
{
    std::fprintf(stderr, "input %llu fails:", number);
    for (const std::uint8_t byte : input) {
        std::fprintf(stderr, " %02x", byte);
    }
    std::fprintf(stderr, "\n");
}

// SplitMix64.
class Random {
public:
    std::size_t below(std::size_t limit)
    {
        state_ += 0x9E3779B97F4A7C15;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
        return (mixed ^ mixed >> 31) % limit;
    }

private:
    std::uint64_t state_ = 1;
};

static void overwrite(Bytes &bytes, std::size_t position, std::uint32_t value, std::size_t count)
{
    for (std::size_t i = 0; i < count && position + i < bytes.size(); ++i) {
        bytes[position + i] = static_cast<std::uint8_t>(value >> 8 * i);
    }
}

static void mutate(Bytes &bytes, const Bytes &other, Random &random)
{
    static constexpr std::uint32_t kWords[] = {
        0, 1, 2, 16, 26, 27, 40, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF};
    const std::size_t position = random.below(bytes.size() + 1);
    const std::size_t count = random.below(std::min<std::size_t>(bytes.size() - position, 32) + 1);
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(position);
    switch (random.below(6)) {
    case 0:
        overwrite(bytes, position, position < bytes.size() ? bytes[position] ^ 1u << random.below(8) : 0, 1);
        break;
    case 1:
        overwrite(bytes, position, static_cast<std::uint32_t>(random.below(256)), 1);
        break;
    case 2:
        overwrite(bytes, position, kWords[random.below(std::size(kWords))], random.below(2) == 0 ? 2 : 4);
        break;
    case 3:
        bytes.erase(here, here + static_cast<std::ptrdiff_t>(count));
        break;
    case 4: {
        const Bytes piece(here, here + static_cast<std::ptrdiff_t>(count));
        bytes.insert(here, piece.begin(), piece.end());
        break;
    }
    default:
        bytes.insert(here, other.begin(), other.begin() + static_cast<std::ptrdiff_t>(random.below(other.size() + 1)));
    }
    bytes.resize(std::min(bytes.size(), kLongest));
}

int main(int count, char **arguments)
{
    if (count < 2) {
        return 2;
    }
    __sanitizer_set_death_callback(print_input);
    std::vector<Bytes> corpus = {Bytes(8, 0)};
    for (int i = 2; i < count; ++i) {
        std::ifstream file(arguments[i], std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    const std::size_t seeds = corpus.size();
    corpus.resize(seeds + kKept);
    Random random;
    const unsigned long long inputs = std::strtoull(arguments[1], nullptr, 10);
    for (number = 0; number < inputs; ++number) {
        // Half of the time from a seed, which has a header that leads somewhere.
        input = corpus[random.below(random.below(2) == 0 ? seeds : corpus.size())];
        for (std::size_t changes = random.below(6); changes > 0; --changes) {
            mutate(input, corpus[random.below(corpus.size())], random);
        }
        LLVMFuzzerTestOneInput(input.data(), input.size());
        if (random.below(8) == 0) {
            corpus[seeds + random.below(kKept)] = input;
        }
    }
    std::printf("PASS %llu inputs\n", inputs);
}
