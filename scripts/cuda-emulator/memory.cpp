// The memory of emulated cards. New memory is full of bits that are no number, so that a sum over what no kernel wrote
// is none; what was freed, and what lies more than 256 bytes behind an allocation, is no memory.
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>

#include "driver.h"

std::recursive_mutex one_at_a_time;

namespace {
struct Piece {
    char *pages;
    size_t mapped, bytes;
    int card;
    Mark last;
};
std::map<uint64_t, Piece> pieces;
// Of a card whose kernels are not run: pages that were given back, by their size, so that the system makes them once.
std::map<size_t, std::vector<char *>> given_back;
const size_t PAGE = 4096;
// Larger ones are left to be zeros, as the system makes them: the page of a number is made by its first use.
const size_t MOST_FILLED = 256 << 20;

uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, 0, 10) : otherwise;
}

// So many bytes of pages and one that nobody may touch.
char *made(size_t whole) {
    std::vector<char *> &kept = given_back[whole];
    if (!kept.empty()) {
        char *pages = kept.back();
        return kept.pop_back(), pages;
    }
    char *pages = (char *)mmap(0, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages != MAP_FAILED) mprotect(pages + whole, PAGE, PROT_NONE);
    return pages;
}
} // namespace

int refused(const char *why, int code) {
    if (setting("EMULATED_SAYS", 0)) fprintf(stderr, "the emulated card refuses %s\n", why);
    return code;
}

bool idle() {
    static const bool asked = setting("EMULATED_IDLE", 0) != 0;
    return asked;
}

int cards() { return setting("EMULATED_CARDS", 2); }

Pool &pool_of(int card) {
    static std::vector<Pool> pools(cards());
    Pool &pool = pools[card];
    if (!pool.limit) pool.limit = setting("EMULATED_MEMORY_MB", 4096) << 20;
    return pool;
}

int allocate(int card, size_t bytes, uint64_t *address) {
    ALONE;
    Pool &pool = pool_of(card);
    if (bytes > pool.limit || pool.used + bytes > pool.limit) return OUT_OF_MEMORY;
    size_t padded = bytes / 256 * 256 + 256, whole = (padded + PAGE - 1) / PAGE * PAGE;
    char *pages = made(whole);
    if (pages == MAP_FAILED) return OUT_OF_MEMORY;
    char *at = pages + whole - padded; // ends where the page begins that nobody may touch
    if (!idle()) {
        if (bytes <= MOST_FILLED) memset(at, 0xff, bytes);
        memset(at + bytes, 0xff, padded - bytes);
    }
    *address = (uint64_t)at;
    pieces[*address] = {pages, whole + PAGE, bytes, card, {}};
    pool.used += bytes;
    pool.most = std::max(pool.most, pool.used);
    pool.reserved = std::max(pool.reserved, pool.used);
    return OK;
}

int owner(uint64_t address, size_t bytes) {
    ALONE;
    auto behind = pieces.upper_bound(address);
    if (behind == pieces.begin()) return -1;
    const auto &[start, piece] = *--behind;
    return address + bytes <= start + piece.bytes ? piece.card : -1;
}

static Piece *piece_of(uint64_t address) {
    if (owner(address, 1) < 0) return 0;
    return &std::prev(pieces.upper_bound(address))->second;
}

void note_use(uint64_t address, Mark by) {
    if (idle()) return;
    ALONE;
    Piece *piece = piece_of(address);
    if (!piece) return;
    if (!is_ordered(piece->last, by)) fail("memory is used that another stream may still use");
    piece->last = by;
}

int give_back(uint64_t address) {
    ALONE;
    auto found = pieces.find(address);
    if (found == pieces.end()) return refused("to free what is no allocation");
    const Piece &piece = found->second;
    if (idle()) given_back[piece.mapped - PAGE].push_back(piece.pages);
    else {
        for (size_t k = piece.bytes; k == piece.bytes || k % 256; k++)
            if (((const char *)address)[k] != (char)0xff) fail("something wrote behind %zu bytes at %p", piece.bytes, (void *)address);
        munmap(piece.pages, piece.mapped);
    }
    pool_of(piece.card).used -= piece.bytes;
    pieces.erase(found);
    return OK;
}
