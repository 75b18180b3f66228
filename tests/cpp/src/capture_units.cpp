// The capture task of `main`: a source that rushes, a reader that dawdles. Every sample arrives or is counted.
#include <chrono>
#include <cstdio>
#include <thread>

#include "capture.hpp"
#include "expect.hpp"
#include "rest.hpp"

namespace {

constexpr std::uint32_t kSamples = 100000;

// Counts up, at once or with pauses, and ends. It breaks at some sample, and goes on when it is restarted.
class Counter : public audio::SampleSource {
public:
    explicit Counter(int pause_us, std::uint32_t breaks_at = kSamples) : pause_us_(pause_us), breaks_at_(breaks_at) {}
    int sample_rate() const override { return 16000; }

    esp_err_t read(std::span<std::int16_t> samples, std::size_t *count) override
    {
        std::this_thread::sleep_for(std::chrono::microseconds(pause_us_));
        if (next_ >= breaks_at_ && breaks_at_ < kSamples) {
            return ESP_ERR_TIMEOUT;
        }
        for (*count = 0; *count < samples.size() && next_ < kSamples; ++*count) {
            samples[*count] = static_cast<std::int16_t>(next_++);
        }
        return *count > 0 ? ESP_OK : ESP_ERR_NOT_FINISHED;
    }

    esp_err_t restart() override
    {
        breaks_at_ = kSamples;
        return ESP_OK;
    }

private:
    int pause_us_;
    std::uint32_t breaks_at_;
    std::uint32_t next_ = 0;
};

} // namespace

// Reads to the end; returns how many samples were missing.
static std::uint32_t read_all(Capture &capture, int pause_us)
{
    std::int16_t chunk[97];
    std::uint32_t position = 0;
    std::uint32_t missing = 0;
    while (true) {
        const esp_err_t error = capture.error();
        const std::size_t count = capture.read(chunk);
        for (std::size_t i = 0; i < count; ++i) {
            EXPECT(chunk[i] == static_cast<std::int16_t>(position++));
        }
        const std::uint32_t gap = count == 0 ? capture.take_gap() : 0;
        position += gap;
        missing += gap;
        if (count == 0 && gap == 0 && error != ESP_OK) {
            // What was lost at the very end has nothing behind it.
            EXPECT(error == ESP_ERR_NOT_FINISHED && position + (capture.dropped() - missing) == kSamples);
            return missing;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    }
}

// Once a second, however often it is asked, and from the last rest on.
static void test_rest()
{
    Rest rest(500);
    EXPECT(!rest.is_due(500) && !rest.is_due(1000499));
    EXPECT(rest.is_due(1000500));
    EXPECT(!rest.is_due(1000501) && !rest.is_due(2000499));
    EXPECT(rest.is_due(7000000) && !rest.is_due(7999999));
}

// What comes after a restart is heard, and the time between counts as missing.
static void test_a_source_that_breaks()
{
    static Counter source(200, kSamples / 2);
    static Capture capture;
    EXPECT(capture.start(source, 1 << 17) == ESP_OK);
    std::int16_t chunk[97];
    std::uint32_t heard = 0;
    std::uint32_t missing = 0;
    for (esp_err_t error = ESP_OK; error == ESP_OK || heard + missing == 0;) {
        error = capture.error();
        while (const std::size_t count = capture.read(chunk)) {
            heard += static_cast<std::uint32_t>(count);
        }
        missing += capture.take_gap();
    }
    EXPECT(capture.error() == ESP_ERR_NOT_FINISHED && heard > kSamples / 2);
    EXPECT(missing > 0 && missing == capture.dropped());
}

int main()
{
    test_rest();
    test_a_source_that_breaks();
    static Counter rushing(0);
    static Capture late;
    EXPECT(late.start(rushing, 1000) == ESP_OK);
    const std::uint32_t missing = read_all(late, 2000);
    EXPECT(missing <= late.dropped() && late.dropped() > 0);

    static Counter calm(200);
    static Capture early;
    EXPECT(early.start(calm, 1 << 17) == ESP_OK);
    EXPECT(read_all(early, 0) == 0 && early.dropped() == 0);
    std::printf("PASS capture\n");
}
