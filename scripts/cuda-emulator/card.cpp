// Runs the blocks of a launch one after the other, and the threads of a block in turn, each until it waits for others.
// EMULATED_ORDER=backward runs last threads and blocks first: what differs then depends on an order that no card keeps.
#include "card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#include "driver.h"

// Saves what a call must not change, and goes on where the other was left.
extern "C" void emulated_switch(void **left, void *other);
asm(R"(
.globl emulated_switch
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

namespace {
enum State { READY, AT_BARRIER, AT_SHUFFLE, DONE };

struct Thread {
    emulated_thread here; // first: `emulated_here` is the address of its thread
    State state;
    char *stack;
    void *left;
    unsigned turn; // of its warp's shuffles
};

struct Warp {
    unsigned alive, asked, arrived, turn;
    uint64_t values[2][32];
};

struct Shared {
    const void *key;
    char *bytes;
    size_t size;
};

const size_t STACK = 64 << 10, MOST_SHARED = 48 << 10, GAP = 64;
char arena[MOST_SHARED * 4];
size_t arena_used, shared_bytes, dynamic_bytes;
std::vector<Shared> shared;
std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<char *> stacks;
unsigned alive, waiting;
void *scheduler;
const Launch *launched;

Thread &self() { return *(Thread *)emulated_here; }

void give_way() { emulated_switch(&self().left, scheduler); }

void open_barrier() {
    if (alive == 0 || waiting < alive) return;
    waiting = 0;
    for (Thread &thread : threads)
        if (thread.state == AT_BARRIER) thread.state = READY;
}

void open_shuffle(Warp &warp) {
    unsigned expected = warp.asked & warp.alive;
    if (warp.arrived == 0 || (warp.arrived & expected) != expected) return;
    size_t first = (&warp - warps.data()) * 32;
    for (unsigned lane = 0; lane < 32 && first + lane < threads.size(); lane++)
        if (threads[first + lane].state == AT_SHUFFLE) threads[first + lane].state = READY;
    warp.arrived = 0;
    warp.turn ^= 1;
    memset(warp.values[warp.turn], 0xff, sizeof(warp.values[0]));
}

void body() {
    launched->run(launched->packed.data());
    Thread &own = self();
    own.state = DONE;
    alive--;
    size_t index = &own - threads.data();
    warps[index / 32].alive &= ~(1u << index % 32);
    open_barrier();
    open_shuffle(warps[index / 32]);
    give_way();
}

void resume(Thread &thread) {
    emulated_here = &thread.here;
    if (!thread.stack) {
        if (stacks.empty()) {
            // Below it lies a page that nobody may touch.
            char *made = (char *)mmap(0, STACK + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            mprotect(made, 4096, PROT_NONE);
            stacks.push_back(made + 4096);
        }
        thread.stack = stacks.back();
        stacks.pop_back();
        void **top = (void **)(thread.stack + STACK);
        *--top = 0;
        *--top = (void *)body;
        thread.left = top - 6;
    }
    emulated_switch(&scheduler, thread.left);
    if (thread.state == DONE) {
        stacks.push_back(thread.stack);
        thread.stack = 0;
    }
}

void run_block(emulated_dim block, bool backward) {
    const size_t count = threads.size();
    alive = count;
    waiting = 0;
    arena_used = shared_bytes = 0;
    shared.clear();
    for (size_t k = 0; k < count; k++) {
        const emulated_dim size = launched->threads;
        emulated_dim at = {unsigned(k % size.x), unsigned(k / size.x % size.y), unsigned(k / size.x / size.y)};
        threads[k] = {{at, block, size, launched->blocks}, READY, 0, 0, 0};
    }
    for (size_t w = 0; w < warps.size(); w++) {
        size_t lanes = std::min<size_t>(32, count - w * 32);
        warps[w].alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
        warps[w].arrived = warps[w].turn = 0;
        memset(warps[w].values[0], 0xff, sizeof(warps[w].values[0]));
    }
    while (alive) {
        bool went_on = false;
        for (size_t k = 0; k < count; k++) {
            Thread &thread = threads[backward ? count - 1 - k : k];
            if (thread.state != READY) continue;
            resume(thread);
            went_on = true;
        }
        if (!went_on) fail("threads of `%s` wait for others that wait elsewhere", launched->name.c_str());
    }
    for (const Shared &part : shared)
        for (size_t k = 0; k < GAP; k++)
            if (part.bytes[part.size + k] != (char)0xff)
                fail("`%s` writes behind what its block shares", launched->name.c_str());
}
} // namespace

extern "C" {
emulated_thread *emulated_here;

void emulated_barrier(void) {
    self().state = AT_BARRIER;
    waiting++;
    open_barrier();
    if (self().state != READY) give_way();
}

uint64_t emulated_shuffle(unsigned mask, uint64_t value, unsigned from) {
    Thread &own = self();
    size_t index = &own - threads.data(), lane = index % 32;
    Warp &warp = warps[index / 32];
    if (!(mask >> lane & 1)) fail("a thread of `%s` shuffles without being in the mask", launched->name.c_str());
    warp.asked = warp.arrived ? warp.asked | mask : mask;
    unsigned turn = warp.turn;
    warp.values[turn][lane] = value;
    warp.arrived |= 1u << lane;
    own.state = AT_SHUFFLE;
    open_shuffle(warp);
    if (own.state != READY) give_way();
    return warp.values[turn][from % 32];
}

void *emulated_shared(const void *key, size_t bytes) {
    for (const Shared &part : shared)
        if (part.key == key) return part.bytes;
    shared_bytes += bytes;
    if (shared_bytes + dynamic_bytes > MOST_SHARED) fail("`%s` shares more than 48 KB", launched->name.c_str());
    char *found = arena + arena_used;
    arena_used += (bytes + GAP + 127) / 128 * 128;
    memset(found, 0xff, bytes + GAP);
    shared.push_back({key, found, bytes});
    return found;
}

void *emulated_dynamic_shared(void) { return emulated_shared(0, dynamic_bytes); }
}

void run(const Launch &launch) {
    static const char *order = getenv("EMULATED_ORDER");
    const bool backward = order && std::string(order) == "backward";
    launched = &launch;
    dynamic_bytes = launch.shared_bytes;
    const size_t count = (size_t)launch.threads.x * launch.threads.y * launch.threads.z;
    threads.resize(count);
    warps.resize((count + 31) / 32);
    const emulated_dim blocks = launch.blocks;
    const size_t all = (size_t)blocks.x * blocks.y * blocks.z;
    for (size_t k = 0; k < all; k++) {
        size_t b = backward ? all - 1 - k : k;
        run_block({unsigned(b % blocks.x), unsigned(b / blocks.x % blocks.y), unsigned(b / blocks.x / blocks.y)}, backward);
    }
    launched = 0;
}

const char *running() { return launched ? launched->name.c_str() : 0; }
