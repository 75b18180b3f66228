// Two models in one program, stepped in turns.
#include "expect.hpp"
#include "kws.hpp"
#include "streaming/pipeline.hpp"
#include "streaming/replay.hpp"
#include "vad.hpp"

using lesp::streaming::SourceEvent;

struct Runner {
    lesp::streaming::Pipeline pipeline;
    lesp::streaming::GoldenSource source;
    lesp::streaming::GoldenSink sink;
    SourceEvent event = SourceEvent::kFrame;

    Runner(const lesp::streaming::ModelConfig &config,
           std::span<const char *const> files,
           const lesp::streaming::GoldenData &golden)
    {
        EXPECT(pipeline.init(config, files) == ESP_OK);
        EXPECT(source.init(config, golden) == ESP_OK);
        EXPECT(sink.init(config, golden) == ESP_OK);
    }

    void step()
    {
        lesp::streaming::StepResult result;
        EXPECT(source.next(pipeline, &event) == ESP_OK);
        if (event == SourceEvent::kFrame) {
            EXPECT(pipeline.step(&result) == ESP_OK);
            report(result);
            return;
        }
        while (pipeline.is_pending()) {
            EXPECT(pipeline.step_pending(&result) == ESP_OK);
            report(result);
        }
        pipeline.reset();
    }

    void report(const lesp::streaming::StepResult &result)
    {
        if (result.stage >= 0) {
            sink.on_stage(pipeline, result);
        }
    }
};

int main()
{
    Runner first(lesp::model_kws::kConfig, lesp::model_kws::kFiles, lesp::model_kws::kGolden);
    Runner second(lesp::model_vad::kConfig, lesp::model_vad::kFiles, lesp::model_vad::kGolden);
    EXPECT(lesp::model_kws::kConfig.name == "kws" && lesp::model_vad::kConfig.name == "vad");
    while (first.event != SourceEvent::kEnd || second.event != SourceEvent::kEnd) {
        for (Runner *runner : {&first, &second}) {
            if (runner->event != SourceEvent::kEnd) {
                runner->step();
            }
        }
    }
    EXPECT(first.sink.has_passed());
    EXPECT(second.sink.has_passed());
    std::printf("PASS two models\n");
}
