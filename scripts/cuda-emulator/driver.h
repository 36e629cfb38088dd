// What the files of the emulated driver share.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "card.h"

enum {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    CAPTURE_UNSUPPORTED = 900,
};

// Ends the process: what a card would not say, or say later.
#define fail(...)                                                                                      \
    do {                                                                                               \
        fprintf(stderr, "the emulated card: " __VA_ARGS__);                                            \
        fprintf(stderr, "\n");                                                                         \
        _exit(70);                                                                                     \
    } while (0)

// An error of the driver; why, if EMULATED_SAYS=1 asks for it.
int refused(const char *why, int code = INVALID_VALUE);

// Whether no work is done, as EMULATED_IDLE=1 asks: all memory is zeros.
bool idle();

// Held by whoever is in the driver.
extern std::recursive_mutex one_at_a_time;
#define ALONE std::lock_guard<std::recursive_mutex> alone(one_at_a_time)

// A kernel with its arguments.
struct Launch {
    std::string name;
    void (*run)(const void *packed);
    std::vector<char> packed;
    emulated_dim blocks, threads;
    size_t shared_bytes;
};
void run(const Launch &launch);
const char *running();

// Memory of a card, of which each allocation is followed by a page that nobody may touch.
struct Pool {
    uint64_t used = 0, most = 0, reserved = 0, kept = 0, limit = 0;
};
int cards();
Pool &pool_of(int card);
int allocate(int card, size_t bytes, uint64_t *address);
int give_back(uint64_t address);
// The card whose memory these bytes are, or -1.
int owner(uint64_t address, size_t bytes);

// The card of the calling thread's context.
int current_card();

// Work in a stream: done at once, or noted while the stream is captured.
enum Kind { KERNEL = 0, COPY = 1, FILL = 2 };
struct Node {
    Kind kind;
    std::function<void()> work;
    bool from_host = false, to_host = false;
};
struct Stream;
int card_of(Stream *stream);
bool is_captured(Stream *stream);
// A piece of work, by its stream and its turn there.
struct Mark {
    uint64_t stream = 0, turn = 0;
};
Mark next_of(Stream *stream);
Mark take_turn(Stream *stream);
// Whether the host has waited for it.
bool is_past(Mark mark);
void waited_for(Mark mark);
// Whether what comes next begins when the earlier has ended.
bool is_ordered(Mark before, Mark by);
// Notes the latest work that was given this memory; ends the process if work in another stream may still use it.
void note_use(uint64_t address, Mark by);
// What the next work of a stream is given.
void note_uses(Stream *stream, std::initializer_list<const void *> operands);
// Work that ends when other threads have done theirs: what comes behind it in a stream waits.
struct Pending {
    bool done = false;
};
void wait_behind(Stream *stream, std::shared_ptr<Pending> pending);
extern std::condition_variable_any something_happened;
int submit(Stream *stream, Node node);
int copy(Stream *stream, void *to, const void *from, size_t bytes, bool from_host, bool to_host);
