// Streams, events and graphs of the emulated driver. A stream does what it is asked at once, so that events are past,
// unless it waits for other ranks; while it is captured it notes all, does nothing, and refuses to be waited for.
#include <string.h>
#include <time.h>

#include <algorithm>
#include <map>

#include "driver.h"

struct Graph {
    std::vector<Node> nodes;
    std::vector<uint64_t> frees; // of memory that was made and left while it was captured
    ~Graph() {
        for (uint64_t address : frees) give_back(address);
    }
};
// Streams that were made, each with the work that it was given and that the host has waited for.
struct Turns {
    uint64_t given, waited_for;
};
static std::vector<Turns> turns;
static uint64_t new_stream() {
    ALONE;
    return turns.push_back({0, 0}), turns.size() - 1;
}
struct Stream {
    int card;
    Graph *captured = 0;
    std::shared_ptr<Pending> pending;
    uint64_t id = new_stream();
};
std::condition_variable_any something_happened;

namespace {
struct Event {
    double at;
    std::shared_ptr<Pending> behind;
    Mark last;
};
double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}
// The streams that are there from the start have the handles 0 to 2, the last of which each thread has its own of.
Stream &of(Stream *stream) {
    static Stream defaults[16];
    static thread_local Stream of_threads[16];
    if ((uint64_t)stream > 2) return *stream;
    Stream &own = ((uint64_t)stream == 2 ? of_threads : defaults)[current_card()];
    own.card = current_card();
    return own;
}
} // namespace

int card_of(Stream *stream) { return of(stream).card; }
bool is_captured(Stream *stream) { return of(stream).captured; }

static bool past(const std::shared_ptr<Pending> &pending) { return !pending || pending->done; }

void wait_behind(Stream *stream, std::shared_ptr<Pending> pending) { of(stream).pending = pending; }

static void wait_for(const std::shared_ptr<Pending> &pending) {
    std::unique_lock<std::recursive_mutex> alone(one_at_a_time);
    something_happened.wait(alone, [&] { return past(pending); });
}

Mark next_of(Stream *stream) {
    ALONE;
    return {of(stream).id, turns[of(stream).id].given + 1};
}

Mark take_turn(Stream *stream) {
    ALONE;
    return {of(stream).id, ++turns[of(stream).id].given};
}

void note_uses(Stream *stream, std::initializer_list<const void *> operands) {
    for (const void *operand : operands) note_use((uint64_t)operand, next_of(stream));
}

bool is_past(Mark mark) {
    ALONE;
    return turns[mark.stream].waited_for >= mark.turn;
}

// What a stream, the first, has waited for of another.
static std::map<std::pair<uint64_t, uint64_t>, uint64_t> behind;

bool is_ordered(Mark before, Mark by) {
    ALONE;
    return before.stream == by.stream || is_past(before) || behind[{by.stream, before.stream}] >= before.turn;
}

void waited_for(Mark mark) {
    ALONE;
    turns[mark.stream].waited_for = std::max(turns[mark.stream].waited_for, mark.turn);
}

// Nothing that waits for it may hold the lock.
int submit(Stream *stream, Node node) {
    wait_for(of(stream).pending);
    ALONE;
    take_turn(stream);
    if (of(stream).captured) of(stream).captured->nodes.push_back(std::move(node));
    else if (!idle() || node.to_host) node.work();
    return OK;
}

int copy(Stream *stream, void *to, const void *from, size_t bytes, bool from_host, bool to_host) {
    if (bytes == 0) return OK;
    if (!to_host && owner((uint64_t)to, bytes) < 0) return refused("a copy to what is no memory of a card");
    if (!from_host && owner((uint64_t)from, bytes) < 0) return refused("a copy of what is no memory of a card");
    note_uses(stream, {to, from});
    submit(stream, {COPY, [=] { memmove(to, from, bytes); }, from_host, to_host});
    // Of memory that is not pinned, as all is that cards copy to, the host waits for the copy.
    if (to_host && !of(stream).captured) waited_for({of(stream).id, turns[of(stream).id].given});
    return OK;
}

extern "C" {
int cuStreamCreate(Stream **stream, unsigned) { return *stream = new Stream{current_card()}, OK; }
int cuStreamCreateWithPriority(Stream **stream, unsigned, int) { return cuStreamCreate(stream, 0); }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = *greatest = 0, OK; }
int cuStreamDestroy_v2(Stream *stream) { return delete stream, OK; }
int cuStreamSynchronize(Stream *stream) {
    if (of(stream).captured) return CAPTURE_UNSUPPORTED;
    wait_for(of(stream).pending);
    ALONE;
    return waited_for({of(stream).id, turns[of(stream).id].given}), OK;
}
int cuCtxSynchronize(void) {
    ALONE;
    for (Turns &stream : turns) stream.waited_for = stream.given;
    return OK;
}
int cuStreamQuery(Stream *stream) { return past(of(stream).pending) ? OK : NOT_READY; }
int cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    ALONE;
    uint64_t &turn = behind[{of(stream).id, event->last.stream}];
    turn = std::max(turn, event->last.turn);
    if (!past(event->behind)) wait_behind(stream, event->behind);
    return OK;
}

int cuEventCreate(Event **event, unsigned) { return *event = new Event{now(), {}, {}}, OK; }
int cuEventDestroy_v2(Event *event) { return delete event, OK; }
int cuEventRecord(Event *event, Stream *stream) {
    ALONE;
    event->at = now(), event->behind = of(stream).pending;
    return event->last = {of(stream).id, turns[of(stream).id].given}, OK;
}
int cuEventSynchronize(Event *event) { return wait_for(event->behind), waited_for(event->last), OK; }
int cuEventQuery(Event *event) {
    if (!past(event->behind)) return NOT_READY;
    return waited_for(event->last), OK;
}
int cuEventElapsedTime_v2(float *ms, Event *start, Event *end) { return *ms = end->at - start->at, OK; }

int cuStreamBeginCapture_v2(Stream *stream, int) { return of(stream).captured = new Graph, OK; }
int cuStreamEndCapture(Stream *stream, Graph **graph) {
    *graph = of(stream).captured;
    of(stream).captured = 0;
    return *graph ? OK : INVALID_VALUE;
}
int cuStreamIsCapturing(Stream *stream, int *status) { return *status = of(stream).captured ? 1 : 0, OK; }
int cuGraphGetNodes(Graph *graph, Node **nodes, size_t *count) {
    for (size_t k = 0; nodes && k < *count && k < graph->nodes.size(); k++) nodes[k] = &graph->nodes[k];
    return *count = graph->nodes.size(), OK;
}
int cuGraphNodeGetType(Node *node, int *type) { return *type = node->kind, OK; }
// Of a copy only the kinds of memory are told, of which 1 is the host's and 2 a card's.
int cuGraphMemcpyNodeGetParams(Node *node, char *params) {
    memset(params, 0, 200);
    *(int *)(params + 32) = node->from_host ? 1 : 2;
    *(int *)(params + 120) = node->to_host ? 1 : 2;
    return OK;
}
int cuGraphDestroy(Graph *graph) { return delete graph, OK; }
int cuGraphInstantiateWithFlags(Graph **made, Graph *graph, unsigned long long) { return *made = new Graph{graph->nodes, {}}, OK; }
int cuGraphExecDestroy(Graph *graph) { return delete graph, OK; }
int cuGraphUpload(Graph *, Stream *) { return OK; }
int cuGraphLaunch(Graph *graph, Stream *stream) {
    for (const Node &node : graph->nodes) submit(stream, node);
    return OK;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) { return allocate(current_card(), bytes, address); }
int cuMemAllocAsync(uint64_t *address, size_t bytes, Stream *stream) { return allocate(card_of(stream), bytes, address); }
int cuMemFree_v2(uint64_t address) { return give_back(address); }
int cuMemFreeAsync(uint64_t address, Stream *stream) {
    wait_for(of(stream).pending);
    note_uses(stream, {(const void *)address});
    ALONE;
    if (!of(stream).captured) return give_back(address);
    return of(stream).captured->frees.push_back(address), OK;
}
int cuMemGetInfo_v2(size_t *free, size_t *total) {
    const Pool &pool = pool_of(current_card());
    return *total = pool.limit, *free = pool.limit - pool.used, OK;
}
int cuMemHostAlloc(void **at, size_t bytes, unsigned) { return *at = malloc(bytes), *at ? OK : OUT_OF_MEMORY; }
int cuMemFreeHost(void *at) { return free(at), OK; }

int cuMemcpyHtoD_v2(void *to, const void *from, size_t n) { return copy(0, to, from, n, true, false); }
int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t n, Stream *stream) { return copy(stream, to, from, n, true, false); }
int cuMemcpyDtoH_v2(void *to, const void *from, size_t n) { return copy(0, to, from, n, false, true); }
int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t n, Stream *stream) { return copy(stream, to, from, n, false, true); }
int cuMemcpyDtoD_v2(void *to, const void *from, size_t n) { return copy(0, to, from, n, false, false); }
int cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t n, Stream *stream) { return copy(stream, to, from, n, false, false); }
int cuMemcpyPeerAsync(void *to, void *, const void *from, void *, size_t n, Stream *stream) { return copy(stream, to, from, n, false, false); }
int cuMemsetD8Async(void *to, unsigned char value, size_t n, Stream *stream) {
    if (n && owner((uint64_t)to, n) < 0) return refused("to fill what is no memory of a card");
    note_uses(stream, {to});
    return submit(stream, {FILL, [=] { memset(to, value, n); }});
}
int cuMemsetD8_v2(void *to, unsigned char value, size_t n) { return cuMemsetD8Async(to, value, n, 0); }

// A pool is known by its card.
int cuDeviceGetMemPool(Pool **pool, int device) { return *pool = &pool_of(device), OK; }
int cuDeviceGetDefaultMemPool(Pool **pool, int device) { return cuDeviceGetMemPool(pool, device); }
int cuMemPoolTrimTo(Pool *pool, size_t) { return pool->reserved = pool->used, OK; }
int cuMemPoolGetAttribute(Pool *pool, int which, uint64_t *value) {
    switch (which) {
        case 4: return *value = pool->kept, OK;
        case 5: return *value = pool->reserved, OK;
        case 7: return *value = pool->used, OK;
        case 8: return *value = pool->most, OK;
        default: return refused("this attribute of a pool");
    }
}
int cuMemPoolSetAttribute(Pool *pool, int which, const uint64_t *value) {
    switch (which) {
        case 4: return pool->kept = *value, OK;
        case 8: return pool->most = pool->used, OK;
        default: return refused("this attribute of a pool");
    }
}
}
