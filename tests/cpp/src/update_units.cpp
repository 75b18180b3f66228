// Updates of the model, with the power failing at every operation of flash and NVS:  update_units OLD NEW WRONG FOREIGN
// UNTESTED
//
// OLD, NEW and WRONG are containers of models for this chip, of which WRONG makes other values than its golden windows
// say; FOREIGN is for another chip, and UNTESTED has no golden windows. "Wrong" in the names of tests is what a test
// says, where it is not the golden windows.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <vector>

#include "expect.hpp"
#include "fake_flash.hpp"
#include "fake_heap.hpp"
#include "lesp_model_update.h"
#include "model_update/slots.hpp"

using lesp::model_update::Slot;
using lesp::model_update::Slots;
using lesp::streaming::Model;
using lesp::streaming::Options;

typedef std::vector<std::uint8_t> Bytes;

static Bytes old_model;
static Bytes new_model;
static Bytes wrong_model;
static Bytes foreign_model;
static Bytes untested_model;

static Bytes read_file(const char *path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

static int tests = 0;

static esp_err_t pass(const Model &, const Options &)
{
    ++tests;
    return ESP_OK;
}

static esp_err_t fail(const Model &, const Options &)
{
    ++tests;
    return ESP_FAIL;
}

// The chip stops in the test.
static esp_err_t crash(const Model &, const Options &)
{
    ++tests;
    is_powered = false;
    return ESP_FAIL;
}

static bool holds(const Slots &slots, const Bytes &model)
{
    std::uint32_t crc = 0;
    std::memcpy(&crc, model.data() + 12, sizeof(crc));
    const std::uint8_t *const flash = flash_of(slots.running() == Slot::kA ? 0 : 1);
    return slots.running() != Slot::kNone && std::equal(model.begin(), model.end(), flash) &&
           !slots.model().config.stages.empty();
}

static void flash_with_idf()
{
    clear_flash();
    std::copy(old_model.begin(), old_model.end(), flash_of(0));
}

// In pieces of any size.
static esp_err_t update(Slots &slots, const Bytes &model, std::size_t piece = 700)
{
    esp_err_t error = slots.begin();
    for (std::size_t start = 0; error == ESP_OK && start < model.size(); start += piece) {
        error = slots.write({model.data() + start, std::min(piece, model.size() - start)});
    }
    return error == ESP_OK ? slots.end() : error;
}

static void test_an_update_runs_after_the_next_start()
{
    for (const std::size_t piece :
         {std::size_t{1}, std::size_t{16}, std::size_t{255}, std::size_t{4096}, new_model.size()}) {
        flash_with_idf();
        Slots before;
        EXPECT(before.start({}) == ESP_OK && holds(before, old_model) && before.running() == Slot::kA);
        EXPECT(update(before, new_model, piece) == ESP_OK);
        EXPECT(holds(before, old_model)); // until then
        Slots after;
        EXPECT(after.start({}) == ESP_OK && holds(after, new_model) && after.running() == Slot::kB);
        EXPECT(after.confirm() == ESP_OK && after.confirm() == ESP_OK);
        Slots later;
        tests = 0;
        EXPECT(later.start({}, fail) == ESP_OK && holds(later, new_model) && tests == 0); // tested once
        EXPECT(update(later, old_model, piece) == ESP_OK);
        Slots again;
        EXPECT(again.start({}) == ESP_OK && holds(again, old_model) && again.running() == Slot::kA);
    }
}

static void test_a_model_that_computes_other_values_is_left()
{
    flash_with_idf();
    {
        Slots slots;
        EXPECT(slots.start({}) == ESP_OK);
        EXPECT(update(slots, wrong_model) == ESP_OK);
    }
    Slots slots;
    EXPECT(slots.start({}) == ESP_OK && holds(slots, old_model));
    EXPECT(update(slots, new_model) == ESP_OK);
    Slots after;
    EXPECT(after.start({}) == ESP_OK && holds(after, new_model));
}

static void test_a_model_that_brings_the_chip_down_is_tried_twice()
{
    flash_with_idf();
    Slots slots;
    EXPECT(slots.start({}) == ESP_OK && update(slots, new_model) == ESP_OK);
    tests = 0;
    for (int start = 1; start <= 2; ++start) {
        Slots down;
        EXPECT(down.start({}, crash) != ESP_OK && tests == start);
        restore_power();
    }
    Slots after;
    EXPECT(after.start({}, pass) == ESP_OK && tests == 2 && holds(after, old_model));
    // A power cut in the test looks the same, and is no fault of the model.
    EXPECT(update(after, new_model) == ESP_OK);
    Slots cut;
    EXPECT(cut.start({}, crash) != ESP_OK);
    restore_power();
    Slots tested;
    EXPECT(tested.start({}) == ESP_OK && holds(tested, new_model));
    // Also without a model before it: then the app's own runs.
    clear_flash();
    Slots empty;
    EXPECT(empty.start({}) == ESP_ERR_NOT_FOUND && empty.running() == Slot::kNone);
    EXPECT(update(empty, new_model) == ESP_OK);
    Slots first;
    EXPECT(first.start({}, fail) == ESP_ERR_NOT_FOUND && first.model().config.stages.empty());
    Slots second;
    EXPECT(second.start({}, pass) == ESP_ERR_NOT_FOUND);
}

// The power fails at the n-th operation of an update, for every n, and then at the m-th of the starts that follow.
static void test_power_cuts()
{
    long cuts = 0;
    flash_with_idf();
    Slots whole;
    EXPECT(whole.start({}) == ESP_OK && update(whole, new_model, 1000) == ESP_OK);
    const long operations_of_update = operations;
    for (const bool stays : {false, true}) {
        for (long cut = 1;; ++cut) {
            flash_with_idf();
            does_cut_entry_stay = stays;
            Slots slots;
            EXPECT(slots.start({}) == ESP_OK);
            operations_until_cut = cut;
            const esp_err_t error = update(slots, new_model, 1000);
            const bool was_cut = !is_powered;
            EXPECT(was_cut || error == ESP_OK);
            keep_flash();
            for (long second = 1;; ++second) {
                put_back_flash();
                restore_power();
                operations_until_cut = second;
                Slots start;
                const esp_err_t started = start.start({}, pass);
                const bool was_cut_again = !is_powered;
                EXPECT(was_cut_again || (started == ESP_OK && (holds(start, old_model) || holds(start, new_model))));
                restore_power();
                Slots last;
                EXPECT(last.start({}, pass) == ESP_OK);
                EXPECT(holds(last, old_model) || holds(last, new_model));
                EXPECT(error != ESP_OK || holds(last, new_model)); // one cut loses no update
                // Whatever happened, the next update comes through.
                if (!was_cut_again) {
                    const bool has_new = holds(last, new_model);
                    EXPECT(has_new || was_cut);
                    // The entry in NVS is the last thing that is written.
                    EXPECT(has_new == (error == ESP_OK || (stays && operations_of_update == cut)));
                    EXPECT(update(last, has_new ? old_model : new_model) == ESP_OK);
                    Slots next;
                    EXPECT(next.start({}) == ESP_OK && holds(next, has_new ? old_model : new_model));
                    break;
                }
                ++cuts;
            }
            if (!was_cut) {
                break;
            }
            ++cuts;
        }
    }
    does_cut_entry_stay = false;
    EXPECT(cuts >= 2 * operations_of_update && operations_of_update > 10);
}

static void test_what_is_no_model_is_refused()
{
    flash_with_idf();
    Slots slots;
    EXPECT(slots.start({}) == ESP_OK);
    EXPECT(slots.write(new_model) == ESP_ERR_INVALID_STATE && slots.end() == ESP_ERR_INVALID_STATE);
    EXPECT(update(slots, foreign_model) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(update(slots, untested_model) == ESP_ERR_NOT_FOUND);
    EXPECT(update(slots, Bytes(500, 0)) == ESP_ERR_INVALID_VERSION);
    EXPECT(slots.end() == ESP_ERR_INVALID_STATE);
    EXPECT(update(slots, Bytes(new_model.begin(), new_model.end() - 16)) == ESP_ERR_NOT_FINISHED);
    Bytes bytes = new_model;
    bytes.push_back(0);
    EXPECT(update(slots, bytes) == ESP_ERR_INVALID_SIZE);
    bytes = new_model;
    bytes[bytes.size() / 2] ^= 4;
    EXPECT(update(slots, bytes) == ESP_ERR_INVALID_CRC);
    bytes = new_model;
    bytes[9] = 0xff; // longer than the partition
    bytes[10] = 0xff;
    EXPECT(update(slots, bytes) == ESP_ERR_INVALID_SIZE);
    EXPECT(update(slots, {}) == ESP_ERR_NOT_FINISHED);
    has_partitions = false;
    EXPECT(slots.begin() == ESP_ERR_NOT_FOUND);
    has_partitions = true;
    Slots after;
    EXPECT(after.start({}, fail) == ESP_OK && holds(after, old_model));
    EXPECT(open_mappings == 2); // of the two that run
}

static void test_rolling_back()
{
    flash_with_idf();
    Slots slots;
    EXPECT(slots.start({}) == ESP_OK && slots.roll_back() == ESP_ERR_NOT_FOUND);
    EXPECT(update(slots, new_model) == ESP_OK);
    Slots next;
    EXPECT(next.start({}) == ESP_OK && holds(next, new_model) && next.confirm() == ESP_OK);
    EXPECT(next.roll_back() == ESP_OK);
    Slots back;
    EXPECT(back.start({}, fail) == ESP_OK && holds(back, old_model) && back.roll_back() == ESP_OK);
    Slots forth;
    EXPECT(forth.start({}, fail) == ESP_OK && holds(forth, new_model));
    // A model that ran, and whose flash has changed since.
    flash_of(1)[200] ^= 1;
    Slots damaged;
    EXPECT(damaged.start({}, fail) == ESP_OK && holds(damaged, old_model));
    flash_of(0)[200] ^= 1;
    Slots both;
    EXPECT(both.start({}, fail) == ESP_ERR_NOT_FOUND);
    // One that passed no test: no way leads back to it.
    flash_with_idf();
    Slots untested;
    EXPECT(untested.start({}) == ESP_OK && update(untested, new_model) == ESP_OK && untested.roll_back() == ESP_OK);
    EXPECT(untested.roll_back() == ESP_ERR_NOT_FOUND);
    Slots kept;
    EXPECT(kept.start({}, fail) == ESP_OK && holds(kept, old_model));
}

// A new model passes its test, and does not start then.
static void test_starts_that_fail_after_the_test()
{
    flash_with_idf();
    Slots slots;
    EXPECT(slots.confirm() == ESP_OK && slots.reject() == ESP_ERR_NOT_FOUND);
    EXPECT(slots.start({}) == ESP_OK && slots.reject() == ESP_ERR_NOT_FOUND); // confirmed
    EXPECT(update(slots, new_model) == ESP_OK);
    Slots told;
    EXPECT(told.start({}) == ESP_OK && holds(told, new_model) && told.reject() == ESP_OK);
    Slots before;
    EXPECT(before.start({}, fail) == ESP_OK && holds(before, old_model) && before.reject() == ESP_ERR_NOT_FOUND);
    // The chip goes down before anything can be told.
    EXPECT(update(before, new_model) == ESP_OK);
    for (int start = 1; start <= 2; ++start) {
        Slots down;
        EXPECT(down.start({}) == ESP_OK && holds(down, new_model));
    }
    Slots third;
    EXPECT(third.start({}) == ESP_OK && holds(third, old_model));
    // A new model that takes an update was confirmed, also where the update comes to nothing.
    EXPECT(update(third, new_model) == ESP_OK);
    Slots next;
    EXPECT(next.start({}) == ESP_OK && next.begin() == ESP_OK && next.reject() == ESP_ERR_NOT_FOUND);
    Slots last;
    EXPECT(last.start({}, fail) == ESP_OK && holds(last, new_model));
    // Without one before it: the app's.
    clear_flash();
    Slots empty;
    EXPECT(empty.start({}) == ESP_ERR_NOT_FOUND && update(empty, new_model) == ESP_OK);
    Slots only;
    EXPECT(only.start({}) == ESP_OK && only.reject() == ESP_OK);
    Slots none;
    EXPECT(none.start({}) == ESP_ERR_NOT_FOUND);
}

// A new model for which there is no memory is left; one that ran before is not given up for that.
static void test_memory()
{
    for (long n = 1;; ++n) {
        flash_with_idf();
        Slots slots;
        EXPECT(slots.start({}) == ESP_OK && update(slots, new_model) == ESP_OK);
        failing_allocation = n;
        Slots after;
        const esp_err_t error = after.start({});
        const bool has_failed = failing_allocation == 0;
        failing_allocation = 0;
        EXPECT(error == ESP_OK && holds(after, has_failed ? old_model : new_model));
        if (!has_failed) {
            break;
        }
    }
    flash_with_idf();
    failing_allocation = 1;
    Slots slots;
    EXPECT(slots.start({}) == ESP_ERR_NO_MEM && slots.running() == Slot::kNone);
    EXPECT(slots.start({}) == ESP_OK && holds(slots, old_model));
}

static void test_the_functions_of_c()
{
    flash_with_idf();
    EXPECT(lesp::model_update::slots().start({}) == ESP_OK);
    EXPECT(lesp_model_update_begin() == ESP_OK);
    EXPECT(lesp_model_update_write(new_model.data(), new_model.size()) == ESP_OK);
    lesp_model_update_abort();
    EXPECT(lesp_model_update_end() == ESP_ERR_INVALID_STATE);
    EXPECT(lesp_model_update_begin() == ESP_OK);
    EXPECT(lesp_model_update_write(new_model.data(), new_model.size()) == ESP_OK && lesp_model_update_end() == ESP_OK);
    Slots after;
    EXPECT(after.start({}) == ESP_OK && holds(after, new_model));
    EXPECT(lesp_model_roll_back() == ESP_OK);
}

int main(int, char **arguments)
{
    old_model = read_file(arguments[1]);
    new_model = read_file(arguments[2]);
    wrong_model = read_file(arguments[3]);
    foreign_model = read_file(arguments[4]);
    untested_model = read_file(arguments[5]);
    test_an_update_runs_after_the_next_start();
    test_a_model_that_computes_other_values_is_left();
    test_a_model_that_brings_the_chip_down_is_tried_twice();
    test_power_cuts();
    test_what_is_no_model_is_refused();
    test_rolling_back();
    test_starts_that_fail_after_the_test();
    test_memory();
    test_the_functions_of_c();
    std::printf("PASS update\n");
}
