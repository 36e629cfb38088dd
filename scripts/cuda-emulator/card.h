// What the emulated card does for the threads of a kernel; `card.cpp` does it.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct emulated_dim { unsigned x, y, z; };

// The thread that runs now, and the launch it is of.
struct emulated_thread { emulated_dim thread, block, threads, blocks; };

extern "C" {
extern emulated_thread *emulated_here;
// Waits for all threads of the block that have not returned.
void emulated_barrier(void);
// Waits for all threads of the warp that are in `mask` and have not returned; then what thread `from` came with.
uint64_t emulated_shuffle(unsigned mask, uint64_t value, unsigned from);
// What the block shares under this key, made by the first that asks; filled with bits that are no number.
void *emulated_shared(const void *key, size_t bytes);
// What the launch has asked for.
void *emulated_dynamic_shared(void);
}
