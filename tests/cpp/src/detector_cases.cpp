// Runs the table of detector cases named on the command line (tests/detection/detector_cases.txt says its format) and
// prints how many events it held.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "expect.hpp"
#include "streaming/detector.hpp"

using lesp::streaming::Detector;
using lesp::streaming::Event;

static std::vector<float> read_floats(std::istream &line)
{
    std::vector<float> values;
    std::string word;
    while (line >> word) {
        values.push_back(std::strtof(word.c_str(), nullptr));
    }
    return values;
}

namespace {

// One case of the table.
struct Run {
    std::string name = {};
    std::vector<float> thresholds = {};
    Detector detector = {};
    std::vector<Event> events = {}; // what came
    std::vector<Event> expected = {};

    void start(std::istream &line)
    {
        lesp::streaming::DetectorConfig config;
        line >> name >> config.average >> config.minimum >> config.refractory >> config.retrigger;
        thresholds = read_floats(line);
        config.thresholds = thresholds;
        events.clear();
        expected.clear();
        EXPECT(detector.init(config) == ESP_OK);
    }

    void take(std::istream &line)
    {
        Event event;
        if (detector.step(read_floats(line), &event)) {
            events.push_back(event);
        }
    }

    void expect(std::istream &line)
    {
        std::uint32_t frame = 0;
        std::size_t label = 0;
        line >> frame >> label;
        expected.push_back({frame, label, 0});
    }

    // Ends the program unless the events that came are those of the table.
    void compare() const
    {
        const auto is_same = [](const Event &a, const Event &b) { return a.frame == b.frame && a.label == b.label; };
        if (!std::equal(events.begin(), events.end(), expected.begin(), expected.end(), is_same)) {
            std::printf("%s: %zu events came, the table has %zu\n", name.c_str(), events.size(), expected.size());
            for (const Event &event : events) {
                std::printf("  frame %u, label %zu\n", static_cast<unsigned>(event.frame), event.label);
            }
            std::exit(1);
        }
    }
};

} // namespace

// What is no detector is refused, and a wrong number of scores ignored.
static void test_contract()
{
    Detector detector;
    Event event;
    const float thresholds[] = {0.5f, 0.5f};
    const float scores[] = {0.9f, 0.1f};
    EXPECT(!detector.step(scores, &event));
    EXPECT(detector.init({}) == ESP_ERR_INVALID_ARG);
    EXPECT(detector.init({.thresholds = thresholds, .average = 0}) == ESP_ERR_INVALID_ARG);
    EXPECT(detector.init({.thresholds = thresholds, .minimum = 0}) == ESP_ERR_INVALID_ARG);
    EXPECT(detector.init({.thresholds = thresholds, .refractory = -1}) == ESP_ERR_INVALID_ARG);
    EXPECT(detector.init({.thresholds = thresholds, .average = 2, .minimum = 2}) == ESP_OK);
    EXPECT(!detector.step(std::span(scores).first(1), &event));
    EXPECT(!detector.step(scores, &event) && !detector.step(scores, &event));
    detector.reset();
    EXPECT(!detector.step(scores, &event) && !detector.step(scores, &event) && detector.step(scores, &event));
    EXPECT(event.frame == 2 && event.label == 0 && event.score == 0.9f);

    float values[] = {1000.f, 0.f, -1000.f};
    lesp::streaming::compute_scores(values, lesp::streaming::Activation::kSoftmax);
    EXPECT(values[0] == 1.f && values[1] == 0.f && values[2] == 0.f);
    float logits[] = {0.f, 200.f, -200.f};
    lesp::streaming::compute_scores(logits, lesp::streaming::Activation::kSigmoid);
    EXPECT(logits[0] == 0.5f && logits[1] == 1.f && logits[2] == 0.f);
    lesp::streaming::compute_scores({}, lesp::streaming::Activation::kSoftmax);
}

int main(int count, char **arguments)
{
    test_contract();
    EXPECT(count == 2);
    std::ifstream table(arguments[1]);
    EXPECT(table.good());
    Run run;
    std::size_t cases = 0;
    std::size_t events = 0;
    for (std::string text; std::getline(table, text);) {
        std::istringstream line(text);
        std::string kind;
        line >> kind;
        if (kind == "case") {
            run.compare();
            events += run.events.size();
            run.start(line);
            ++cases;
        } else if (kind == "frame") {
            run.take(line);
        } else if (kind == "event") {
            run.expect(line);
        }
    }
    run.compare();
    std::printf("PASS %zu cases, %zu events\n", cases, events + run.events.size());
}
