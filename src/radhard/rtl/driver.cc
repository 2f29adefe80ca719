// Runs a design of Verilator's with flips or stuck bits; compiled.py fills in the parts in capitals.
//
// In: edges, words of inputs per edge, runs, tables of inputs (one, or one a run), stuck values a run,
// and whether runs may end early; the tables; register, bit and edge of each run's flip; which value,
// what is kept and what is forced of each stuck one.
// Out: what columns show, words per edge. With one table and nothing stuck: of the golden run, and then
// run, edge and words wherever a run shows something else. Else of each run.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>
#include "Varray.h"
#include "Varray___024root.h"
double sc_time_stamp() { return 0; }

static void flip(Varray___024root* root, int which, int bit) {
    switch (which) {
CASES
    }
}

static void hold(Varray___024root* root, int which, uint64_t keep, uint64_t force) {
    switch (which) {
HOLDS
    }
}

static void rise(Varray* top, const uint64_t* now) {
FEED
    top->clk = 1;
    top->eval();
}

static void show(Varray* top, uint64_t* shown) {
    top->clk = 0;
    top->eval();
    std::memset(shown, 0, 8 * WORDS);
SHOW
}

static bool get(void* to, size_t size) { return !size || fread(to, size, 1, stdin) == 1; }

int main() {
    int64_t head[6];
    if (!get(head, sizeof head)) return 1;
    const int64_t edges = head[0], words = head[1], runs = head[2], tables = head[3], held = head[4];
    std::vector<uint64_t> fed(edges * words * tables);
    std::vector<int64_t> flips(runs * 3), stuck(runs * held * 3);
    if (!get(fed.data(), 8 * fed.size()) || !get(flips.data(), 8 * flips.size())) return 1;
    if (!get(stuck.data(), 8 * stuck.size())) return 1;
    VerilatedContext context;
    auto top = std::make_unique<Varray>(&context);
    auto root = top->rootp;
    const size_t size = sizeof(Varray___024root);
    std::vector<char> fresh(size);
    top->clk = 0;
    top->eval();
    std::memcpy(fresh.data(), root, size);
    uint64_t shown[WORDS];
    if (tables > 1 || held) {
        for (int64_t run = 0; run < runs; run++) {
            std::memcpy((void*)root, fresh.data(), size);
            auto holds = [&]() {
                for (int64_t k = run * held; k < (run + 1) * held; k++)
                    hold(root, stuck[k * 3], stuck[k * 3 + 1], stuck[k * 3 + 2]);
            };
            holds();
            if (held) show(top.get(), shown);
            for (int64_t t = 0; t < edges; t++) {
                rise(top.get(), &fed[((tables > 1 ? run : 0) * edges + t) * words]);
                if (flips[run * 3 + 2] == t) flip(root, flips[run * 3], flips[run * 3 + 1]);
                holds();
                show(top.get(), shown);
                fwrite(shown, 8, WORDS, stdout);
            }
        }
        return 0;
    }
    std::vector<char> risen(edges * size), settled(edges * size);
    std::vector<uint64_t> golden(edges * WORDS);
    for (int64_t t = 0; t < edges; t++) {
        rise(top.get(), &fed[t * words]);
        std::memcpy(&risen[t * size], root, size);
        show(top.get(), &golden[t * WORDS]);
        std::memcpy(&settled[t * size], root, size);
    }
    fwrite(golden.data(), 8, golden.size(), stdout);
    for (int64_t run = 0; run < runs; run++) {
        const int64_t first = flips[run * 3 + 2];
        if (first < 0 || first >= edges) continue;
        std::memcpy((void*)root, &risen[first * size], size);
        flip(root, flips[run * 3], flips[run * 3 + 1]);
        for (int64_t t = first; t < edges; t++) {
            if (t > first) rise(top.get(), &fed[t * words]);
            show(top.get(), shown);
            if (std::memcmp(shown, &golden[t * WORDS], 8 * WORDS)) {
                const int64_t where[2] = {run, t};
                fwrite(where, 8, 2, stdout);
                fwrite(shown, 8, WORDS, stdout);
            }
            if (head[5] && !std::memcmp(root, &settled[t * size], size)) break;
        }
    }
}
