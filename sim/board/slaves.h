// SPDX-License-Identifier: Apache-2.0
// AXI slave models of the simulated board: pins, outstanding transactions, and the settings of the host.

#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <utility>

#include "verilated.h"

extern "C" {

struct BoardSettings {        // mirrored by sim.board.settings
    uint64_t seed;
    uint32_t latency;         // cycles from an accepted address to its first beat
    uint32_t bytes_per_1024;  // DRAM bandwidth: bytes in 1024 cycles, all ports together; 0 = unlimited
    uint32_t refresh_period;  // period in cycles ...
    uint32_t refresh_length;  // ... of which no data moves for this many; 0 = never
    uint32_t stall;           // chance of a stall, a channel and cycle, out of 65536
};

struct BoardFault {           // mirrored by sim.board.settings
    uint64_t address;         // the beat that holds this byte is answered with ...
    uint32_t response;        // ... 0 OKAY, 1 EXOKAY, 2 SLVERR, 3 DECERR
    uint32_t write;           // 1: in its burst's B response, 0: on its R beat
    uint32_t dead;            // 1: the port never answers again from there
    uint32_t rlast;           // 1: RLAST of that beat is inverted
    uint32_t cut;             // 1: a read burst ends after that beat, a write burst is never answered
    uint32_t surplus;         // number of unrequested R beats, or B responses, after it ...
    uint32_t gap;             // ... not before this many cycles have passed
};

struct BoardRead {            // mirrored by sim.board.settings
    uint64_t address;         // a read burst: its first byte ...
    uint32_t port;            // ... 0 for the main port, 1 + p for weight port p ...
    uint32_t beats;           // ... and how many beats it has
};

}  // extern "C"

namespace {

constexpr int BEAT = 16;    // bytes of a beat of the main port
constexpr int PAGE = 4096;  // no burst crosses a multiple of this

struct ReadPins {
    QData* araddr;
    CData *arlen, *arvalid, *arready, *rvalid, *rready, *rlast, *rresp;
    EData* rdata;
};
struct WritePins {
    QData* awaddr;
    CData *awlen, *awvalid, *awready, *wvalid, *wready, *wlast, *bvalid, *bready, *bresp;
    SData* wstrb;
    EData* wdata;
};

struct Random {  // xorshift64*: seeded, fast, the same everywhere
    uint64_t state;
    explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull + 0x1234567ull) {}
    bool chance(uint32_t per_65536) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return ((state * 0x2545F4914F6CDD1Dull) >> 48) < per_65536;
    }
};

struct Burst {
    uint64_t address;
    uint32_t beats;
    uint64_t ready_at;
    bool unasked;             // without an address request
};

struct ReadSlave {
    ReadPins pins{};
    int beat = BEAT;          // bytes
    std::deque<Burst> bursts;
    bool dead = false, address_fired = false, data_fired = false;
    Burst incoming{};
    void sample() {
        address_fired = *pins.arvalid && *pins.arready;
        data_fired = *pins.rvalid && *pins.rready;
        incoming = {*pins.araddr, uint32_t(*pins.arlen) + 1, 0, false};
    }
    void reset() {
        bursts.clear();
        *pins.arready = *pins.rvalid = 0;
        dead = false;
    }
};

struct WriteSlave {
    WritePins pins{};
    std::deque<Burst> bursts;
    std::deque<std::pair<uint64_t, uint32_t>> answers;  // not before this cycle; response
    uint32_t response = 0;
    bool mute = false;  // the burst under way is not answered
    bool dead = false, address_fired = false, data_fired = false, answer_fired = false;
    Burst incoming{};
    uint32_t strobe = 0;
    uint8_t data[BEAT]{};
    void sample() {
        address_fired = *pins.awvalid && *pins.awready;
        data_fired = *pins.wvalid && *pins.wready;
        answer_fired = *pins.bvalid && *pins.bready;
        incoming = {*pins.awaddr, uint32_t(*pins.awlen) + 1, 0, false};
        strobe = *pins.wstrb;
        std::memcpy(data, pins.wdata, BEAT);
    }
    void reset() {
        bursts.clear();
        answers.clear();
        *pins.awready = *pins.wready = *pins.bvalid = 0;
        response = 0;
        mute = dead = false;
    }
};

}  // namespace
