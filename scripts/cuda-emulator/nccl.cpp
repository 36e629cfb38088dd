// Sums over emulated cards, libnccl.so.2, of ranks that are threads of one process. As on cards a call returns at once:
// the stream, and events behind it, wait until all ranks have called.
#include <string.h>

#include <atomic>
#include <map>
#include <memory>

#include "driver.h"

struct Id {
    char bytes[128];
};

namespace {
enum { NCCL_OK = 0, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, SUM = 0, FLOAT = 7, DOUBLE = 8 };

// One call of all ranks.
struct Call {
    std::vector<std::pair<const void *, void *>> buffers;
    size_t count;
    int type;
    std::shared_ptr<Pending> pending = std::make_shared<Pending>();
};

struct Ranks {
    size_t size;
    std::vector<int> cards;
    bool gone = false;
    std::map<uint64_t, Call> calls;
};
std::map<std::string, std::shared_ptr<Ranks>> all;

struct Comm {
    std::shared_ptr<Ranks> ranks;
    uint64_t calls = 0;
    Mark last;
};

template <typename V> void add_up(const Call &call) {
    std::vector<V> sums(call.count);
    for (const auto &[from, to] : call.buffers)
        for (size_t k = 0; k < call.count; k++) sums[k] += ((const V *)from)[k];
    for (const auto &[from, to] : call.buffers) memcpy(to, sums.data(), call.count * sizeof(V));
}
} // namespace

extern "C" {
int ncclGetUniqueId(Id *id) {
    static std::atomic<int> count{0};
    memset(id, 0, sizeof(*id));
    return snprintf(id->bytes, sizeof(id->bytes), "ranks %d", ++count), NCCL_OK;
}

// Waits until all ranks have come.
int ncclCommInitRank(Comm **made, int size, Id id, int) {
    std::unique_lock<std::recursive_mutex> alone(one_at_a_time);
    auto &ranks = all[std::string(id.bytes, sizeof(id.bytes))];
    if (!ranks) ranks = std::make_shared<Ranks>(Ranks{(size_t)size});
    for (int card : ranks->cards)
        if (card == current_card()) ranks->gone = true; // two ranks on a card
    ranks->cards.push_back(current_card());
    something_happened.notify_all();
    auto own = ranks;
    something_happened.wait(alone, [&] { return own->gone || own->cards.size() == own->size; });
    if (own->gone) return INVALID_USAGE;
    return *made = new Comm{own}, NCCL_OK;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, Comm *comm, Stream *stream) {
    ALONE;
    size_t bytes = count * (type == DOUBLE ? 8 : 4);
    if (op != SUM || (type != FLOAT && type != DOUBLE)) return INVALID_ARGUMENT;
    if (owner((uint64_t)from, bytes) != card_of(stream) || owner((uint64_t)to, bytes) != card_of(stream)) return INVALID_ARGUMENT;
    const Mark own = comm->last = take_turn(stream);
    for (const void *numbers : {from, (const void *)to}) note_use((uint64_t)numbers, own);
    const uint64_t turn = comm->calls++;
    Call &call = comm->ranks->calls[turn];
    if (!call.buffers.empty() && (call.count != count || call.type != type)) fail("ranks add up different numbers");
    call.count = count, call.type = type;
    call.buffers.push_back({from, to});
    wait_behind(stream, call.pending);
    if (call.buffers.size() < comm->ranks->size) return NCCL_OK;
    if (type == DOUBLE) add_up<double>(call);
    else add_up<float>(call);
    call.pending->done = true;
    comm->ranks->calls.erase(turn);
    something_happened.notify_all();
    return NCCL_OK;
}

static int leave(Comm *comm) {
    ALONE;
    comm->ranks->gone = true;
    for (auto &[turn, call] : comm->ranks->calls) call.pending->done = true;
    comm->ranks->calls.clear();
    something_happened.notify_all();
    return delete comm, NCCL_OK;
}
// What is under way is left, as when a rank has died; it has ended then.
int ncclCommAbort(Comm *comm) { return waited_for(comm->last), leave(comm); }
int ncclCommDestroy(Comm *comm) { return leave(comm); }
int ncclCommCount(Comm *comm, int *count) { return *count = comm->ranks->size, NCCL_OK; }
int ncclGroupStart(void) { return NCCL_OK; }
int ncclGroupEnd(void) { return NCCL_OK; }
const char *ncclGetErrorString(int) { return "an error of the emulated NCCL"; }
}
