// SPDX-License-Identifier: Apache-2.0
// The simulated board: the Verilated accelerator and a DRAM model, driven through a C interface.
//
// One call simulates many cycles; nothing of Python runs per cycle. Every AXI port has its own slave model;
// all share the DRAM's bandwidth. A cycle is: sample the design's outputs, rising edge, models advance on the samples,
// falling edge with the models' new outputs, as registered slaves would behave.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vdut.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"

#include "slaves.h"

#include "pins.inc"  // PORTS, PORT_BEAT, MAX_BURST, read_pins(), write_pins(): written by the builder for this configuration

namespace {

constexpr size_t OUTSTANDING = MAX_BURST < 32 ? 32 : 16;  // read bursts that a port's interconnect takes

// A context for a model that is about to be made: its scopes go to the context that the thread used last. Verilator
// would start a thread for each processor, which has nothing to do here and which a forked child would wait for in vain.
std::unique_ptr<VerilatedContext> new_context() {
    auto context = std::make_unique<VerilatedContext>();
    context->threads(1);
    context->randReset(2);  // memories start with uninitialised memory, the same in every run
    context->randSeed(1);
    Verilated::threadContextp(context.get());
    return context;
}

struct Board {
    std::unique_ptr<VerilatedContext> context = new_context();
    std::unique_ptr<Vdut> top;
    const uint64_t base;
    uint8_t* const dram;  // belongs to the caller, and outlives the board
    const uint64_t dram_bytes;
    BoardSettings settings{};
    std::vector<BoardFault> faults;
    Random random{1};
    uint64_t cycle = 0, stray_writes = 0;
    uint64_t illegal_bursts = 0;  // longer than MAX_BURST, across a page, or at an address that is no whole beat
    uint64_t write_lo = 0, write_hi = ~0ull;  // where the bench allows writes: checked here, whatever the design does
    int64_t budget = 0;
    int turn = 0;          // the weight port that is served first
    bool refused = false;  // the channel at work found no bandwidth left
    ReadSlave read[1 + PORTS];
    WriteSlave write;
    std::vector<CData*> watched;              // pulses that end a run
    std::vector<BoardRead> reads;             // every read burst, while logging
    bool logging = false;

    Board(uint64_t base, uint8_t* dram, uint64_t dram_bytes)
        : top(std::make_unique<Vdut>(context.get(), "TOP")), base(base), dram(dram), dram_bytes(dram_bytes) {
        for (int p = 0; p <= PORTS; p++) {
            read[p].pins = read_pins(top.get(), p);
            read[p].beat = p ? PORT_BEAT : BEAT;
        }
        write.pins = write_pins(top.get());
    }
    ~Board() {
        use();
        top->final();
        top.reset();
        Verilated::threadContextp(Verilated::defaultContextp());  // no other code keeps a pointer to ours
    }
    // Verilator's library works on the context that a thread used last, even in a model's destructor: with two boards
    // alive that may be the other one's, or one that is gone. So every call says whose it is.
    void use() { Verilated::threadContextp(context.get()); }
    const BoardFault* fault(uint64_t address, int beat, uint32_t is_write) const {
        for (const auto& f : faults)
            if (f.address / beat == address / beat && f.write == is_write) return &f;
        return nullptr;
    }
    // Where an address lies in DRAM, or null when `bytes` from there would leave it.
    uint8_t* at(uint64_t address, uint64_t bytes) {
        const uint64_t offset = address - base;
        return address >= base && offset <= dram_bytes && bytes <= dram_bytes - offset ? dram + offset : nullptr;
    }
    bool stalled() { return settings.stall && random.chance(settings.stall); }
    bool refreshing() const {
        return settings.refresh_length && cycle % settings.refresh_period < settings.refresh_length;
    }
    bool take_bandwidth(int bytes) {
        if (!settings.bytes_per_1024) return true;
        if (budget < bytes * 1024) {
            refused = true;
            return false;
        }
        budget -= bytes * 1024;
        return true;
    }
    void check(const Burst& burst, int beat) {
        const uint64_t bytes = uint64_t(burst.beats) * beat;
        if (burst.beats > MAX_BURST || burst.address % beat || burst.address % PAGE + bytes > PAGE) illegal_bursts++;
    }
    void advance(ReadSlave& s);
    void advance(WriteSlave& s);
    void step();
    void reset();
};

void Board::advance(ReadSlave& s) {
    if (s.data_fired) {
        Burst& burst = s.bursts.front();
        const BoardFault* f = burst.unasked ? nullptr : fault(burst.address, s.beat, 0);
        burst.address += s.beat;
        if (--burst.beats == 0 || (f && f->cut)) s.bursts.pop_front();
        if (f && f->surplus) s.bursts.push_front({0, f->surplus, cycle + f->gap, true});
    }
    if (s.address_fired) {
        check(s.incoming, s.beat);
        s.bursts.push_back({s.incoming.address, s.incoming.beats, cycle + settings.latency, false});
        if (logging) reads.push_back({s.incoming.address, uint32_t(&s - read), s.incoming.beats});
    }
    *s.pins.arready = s.bursts.size() < OUTSTANDING && !stalled();
    if (*s.pins.rvalid && !s.data_fired) return;  // a stalled beat stays as it is
    *s.pins.rvalid = 0;
    if (s.dead || s.bursts.empty() || cycle < s.bursts.front().ready_at || refreshing() || stalled()) return;
    const Burst& burst = s.bursts.front();
    const BoardFault* f = burst.unasked ? nullptr : fault(burst.address, s.beat, 0);
    if (f && f->dead) {
        s.dead = true;
        return;
    }
    if (!take_bandwidth(s.beat)) return;
    const uint8_t* source = at(burst.address, s.beat);
    *s.pins.rvalid = 1;
    *s.pins.rlast = (burst.beats == 1) != (f && f->rlast);
    *s.pins.rresp = f ? f->response : source || burst.unasked ? 0 : 3;
    if (source)
        std::memcpy(s.pins.rdata, source, s.beat);
    else
        std::memset(s.pins.rdata, 0xA5, s.beat);
}

void Board::advance(WriteSlave& s) {
    if (s.answer_fired) s.answers.pop_front();
    if (s.address_fired) {
        check(s.incoming, BEAT);
        s.bursts.push_back(s.incoming);
    }
    if (s.data_fired) {
        Burst& burst = s.bursts.front();
        for (int i = 0; i < BEAT; i++) {
            if (!(s.strobe >> i & 1)) continue;
            const uint64_t address = burst.address + i;
            if (address < write_lo || address >= write_hi) stray_writes++;
            if (uint8_t* byte = at(address, 1)) *byte = s.data[i];
        }
        if (!at(burst.address, BEAT)) s.response = 3;
        if (const BoardFault* f = fault(burst.address, BEAT, 1)) {
            s.response = f->response;
            s.dead = s.dead || f->dead;
            s.mute = s.mute || f->cut;
            for (uint32_t i = 0; i < f->surplus; i++) s.answers.push_back({cycle + f->gap, 0});
        }
        burst.address += BEAT;
        if (--burst.beats == 0) {
            if (!s.mute) s.answers.push_back({cycle + settings.latency / 2, s.response});
            s.response = 0;
            s.mute = false;
            s.bursts.pop_front();
        }
    }
    // Data is accepted only after its address: legal for a slave, and it keeps the model small.
    *s.pins.awready = s.bursts.size() < 8 && !stalled();
    *s.pins.wready = !s.bursts.empty() && !refreshing() && !stalled() && !s.dead && take_bandwidth(BEAT);
    if (*s.pins.bvalid && !s.answer_fired) return;
    *s.pins.bvalid = !s.dead && !s.answers.empty() && s.answers.front().first <= cycle && !stalled();
    if (*s.pins.bvalid) *s.pins.bresp = s.answers.front().second;
}

void Board::step() {
    for (auto& s : read) s.sample();
    write.sample();
    top->ap_clk = 1;
    top->eval();
    cycle++;
    if (settings.bytes_per_1024)
        budget = std::min<int64_t>(budget + settings.bytes_per_1024, 64ll * BEAT * 1024);
    // The main port first, whose short transfers units wait for, then the weight ports in turn, as an interconnect
    // serves equal masters: who found no bandwidth left comes first in the next cycle.
    advance(read[0]);
    bool served = true;
    const int first = turn;
    for (int i = 0; i < PORTS; i++) {
        const int port = (first + i) % PORTS;
        refused = false;
        advance(read[1 + port]);
        if (refused && served) {
            turn = port;
            served = false;
        }
    }
    advance(write);
    top->ap_clk = 0;
    top->eval();
}

// The slaves forget what they owed, as an interconnect that is reset with the design would: nothing is taken meanwhile.
void Board::reset() {
    top->ap_rst_n = 0;
    top->s_axi_control_awvalid = top->s_axi_control_wvalid = top->s_axi_control_arvalid = 0;
    for (int i = 0; i < 8; i++) {
        for (auto& s : read) s.reset();
        write.reset();
        step();
    }
    for (auto& s : read) s.reset();
    write.reset();
    top->ap_rst_n = 1;
    step();
}

}  // namespace

extern "C" {

// `dram`: `dram_bytes` bytes that stay where they are until board_destroy.
Board* board_create(uint64_t base, uint8_t* dram, uint64_t dram_bytes) {
    auto* board = new Board(base, dram, dram_bytes);
    board->top->s_axi_control_bready = 1;
    board->top->s_axi_control_rready = 1;
    board->top->s_axi_control_wstrb = 15;
    board->top->ap_rst_n = 0;
    board->top->ap_clk = 0;
    board->top->eval();
    board->reset();
    return board;
}

void board_destroy(Board* board) { delete board; }

uint64_t board_cycle(const Board* board) { return board->cycle; }
uint64_t board_stray_writes(const Board* board) { return board->stray_writes; }
uint64_t board_illegal_bursts(const Board* board) { return board->illegal_bursts; }
// Verilator renames the pin: the bare word is reserved in some C++ environments.
int board_interrupt(const Board* board) { return board->top->__SYM__interrupt; }

void board_configure(Board* board, const BoardSettings* settings) {
    board->settings = *settings;
    board->random = Random(settings->seed);
}

void board_allow_writes(Board* board, uint64_t lo, uint64_t hi) {
    board->write_lo = lo;
    board->write_hi = hi;
}

void board_faults(Board* board, const BoardFault* faults, uint32_t count) {
    board->faults.assign(faults, faults + count);
    for (auto& s : board->read) s.dead = false;
    board->write.dead = false;
}

// Pull the reset pin for some cycles.
void board_reset(Board* board) {
    board->use();
    board->reset();
}

// One register write. Returns the AXI response, or -1 when nothing answered within 1000 cycles.
int board_write32(Board* board, uint32_t offset, uint32_t value) {
    board->use();
    auto* top = board->top.get();
    top->s_axi_control_awaddr = offset;
    top->s_axi_control_wdata = value;
    top->s_axi_control_awvalid = top->s_axi_control_wvalid = 1;
    top->eval();
    for (int i = 0; i < 1000; i++) {
        const bool aw = top->s_axi_control_awvalid && top->s_axi_control_awready;
        const bool w = top->s_axi_control_wvalid && top->s_axi_control_wready;
        const bool b = top->s_axi_control_bvalid;
        const int response = top->s_axi_control_bresp;
        board->step();
        if (aw) top->s_axi_control_awvalid = 0;
        if (w) top->s_axi_control_wvalid = 0;
        top->eval();
        if (b) return response;
    }
    return -1;
}

// One register read. Returns the AXI response, or -1 when nothing answered within 1000 cycles.
int board_read32(Board* board, uint32_t offset, uint32_t* value) {
    board->use();
    auto* top = board->top.get();
    top->s_axi_control_araddr = offset;
    top->s_axi_control_arvalid = 1;
    top->eval();
    for (int i = 0; i < 1000; i++) {
        const bool ar = top->s_axi_control_arvalid && top->s_axi_control_arready;
        const bool r = top->s_axi_control_rvalid;
        const int response = top->s_axi_control_rresp;
        *value = top->s_axi_control_rdata;
        board->step();
        if (ar) top->s_axi_control_arvalid = 0;
        top->eval();
        if (r) return response;
    }
    return -1;
}

// A public signal or memory of the design: pointer to its storage, or null. `words` is its depth, `bits` its width.
void* board_find(Board* board, const char* scope, const char* name, uint32_t* words, uint32_t* bits) {
    board->use();
    const VerilatedScope* found = board->context->scopeFind(scope);
    VerilatedVar* var = found ? found->varFind(name) : nullptr;
    if (!var) return nullptr;
    *words = var->udims() ? var->elements(1) : 1;
    *bits = var->entBits();
    return var->datap();
}

// End runs when this one-bit signal is high (a pointer from board_find). Returns its number.
uint32_t board_watch(Board* board, void* signal) {
    board->watched.push_back(static_cast<CData*>(signal));
    return uint32_t(board->watched.size() - 1);
}

void board_unwatch(Board* board) { board->watched.clear(); }

// Forget the read bursts that were logged; log those that come when `on`.
void board_log_reads(Board* board, int on) {
    board->reads.clear();
    board->logging = on;
}

// How many were logged, and where they lie until the next call of board_run or board_log_reads.
uint64_t board_reads(const Board* board, const BoardRead** reads) {
    *reads = board->reads.data();
    return board->reads.size();
}

// Simulate until a watched signal is high (bits of *pulses), the interrupt is up, or `limit` cycles have passed.
// Returns the cycles simulated; *pulses 0 and no interrupt means the limit.
uint64_t board_run(Board* board, uint64_t limit, int stop_at_interrupt, uint64_t* pulses) {
    board->use();
    *pulses = 0;
    for (uint64_t i = 0; i < limit; i++) {
        if (stop_at_interrupt && board->top->__SYM__interrupt) return i;
        board->step();
        for (size_t w = 0; w < board->watched.size(); w++)
            if (*board->watched[w]) *pulses |= 1ull << w;
        if (*pulses) return i + 1;
    }
    return limit;
}

}  // extern "C"
