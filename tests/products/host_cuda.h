// Runs CUDA C++ on the host: the threads of a block are fibres on one processor, and a warp exchanges values when all of its threads have asked.
// Shared memory is that of all blocks, which run one after the other: enough for threads that use their own part of it. A thread that ends, or asks for another kind of exchange, while its warp waits is an error.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define AS_IF_CHANGED(x)
struct float2 { float x, y; };
struct Index3 { unsigned x = 0, y = 0, z = 0; };
static Index3 threadIdx, blockIdx, blockDim, gridDim;

static inline float host_rsqrtf(float x) { return 1.f / std::sqrt(x); }
#define rsqrtf host_rsqrtf  // newer C libraries have their own
static inline float __fdividef(float x, float y) { return x / y; }
template <class To, class From> static inline To bits_as(From from) { static_assert(sizeof(To) == sizeof(From)); To to; std::memcpy(&to, &from, sizeof to); return to; }
static inline float __int_as_float(int x) { return bits_as<float>(x); }
static inline float __uint_as_float(unsigned x) { return bits_as<float>(x); }
static inline unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }

namespace host {

struct Fibre {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(256 * 1024);
  bool is_done = false, waits = false;
  int kind = 0;
  unsigned long long given = 0;
};

static std::vector<Fibre> fibres;
static std::vector<unsigned long long> taken;
static ucontext_t scheduler;
static unsigned current;
static void (*body)();

static void fail(const char* why) { std::fprintf(stderr, "host_cuda: %s\n", why); std::abort(); }
static void run_body() { body(); fibres[current].is_done = true; }

// Gives a value and returns when every thread of the warp has given one; `taken` then holds them.
static void exchange(int kind, unsigned mask, unsigned long long value) {
  if (mask != 0xffffffffu) fail("expected the mask of a whole warp");
  Fibre& mine = fibres[current];
  mine.kind = kind, mine.given = value, mine.waits = true;
  swapcontext(&mine.context, &scheduler);
}

static void run_warp(unsigned first) {
  for (unsigned n_done = 0; n_done < 32;) {
    unsigned n_waiting = 0;
    for (current = first; current < first + 32; ++current) {
      if (fibres[current].is_done) continue;
      threadIdx.x = current;
      fibres[current].waits = false;
      swapcontext(&scheduler, &fibres[current].context);
      n_waiting += fibres[current].waits;
      n_done += fibres[current].is_done;
    }
    if (n_waiting != 0 && n_waiting != 32) fail("some threads of a warp wait for others that have ended");
    for (unsigned i = first; i < first + 32; ++i) {
      if (n_waiting && fibres[i].kind != fibres[first].kind) fail("threads of a warp wait for different exchanges");
      taken[i] = fibres[i].given;
    }
  }
}

template <class Run> static void launch(unsigned n_blocks, unsigned n_threads, Run run) {
  static Run* chosen;
  chosen = &run;
  body = [] { (*chosen)(); };
  if (n_threads % 32) fail("expected whole warps");
  fibres.resize(n_threads);
  taken.resize(n_threads);
  gridDim.x = n_blocks, blockDim.x = n_threads;
  for (blockIdx.x = 0; blockIdx.x < n_blocks; ++blockIdx.x)
    for (unsigned first = 0; first < n_threads; first += 32) {
      for (unsigned i = first; i < first + 32; ++i) {
        Fibre& fibre = fibres[i];
        fibre.is_done = false;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        fibre.context.uc_link = &scheduler;
        makecontext(&fibre.context, run_body, 0);
      }
      run_warp(first);
    }
}

template <class Number> static unsigned long long packed(Number x) { unsigned long long bits = 0; std::memcpy(&bits, &x, sizeof x); return bits; }
template <class Number> static Number unpacked(unsigned lane) { Number x; std::memcpy(&x, &taken[(current & ~31u) + lane], sizeof x); return x; }

}  // namespace host

template <class Number> static Number __shfl_xor_sync(unsigned mask, Number x, int lanes) {
  host::exchange(1 + lanes, mask, host::packed(x));
  return host::unpacked<Number>((host::current & 31u) ^ (unsigned)lanes);
}

template <class Number> static Number __shfl_sync(unsigned mask, Number x, int lane, int width) {
  host::exchange(100 + width, mask, host::packed(x));
  return host::unpacked<Number>((host::current & 31u & ~(unsigned)(width - 1)) + ((unsigned)lane & (unsigned)(width - 1)));
}

static void __syncwarp() { host::exchange(-1, 0xffffffffu, 0); }

static unsigned __ballot_sync(unsigned mask, bool x) {
  host::exchange(-2, mask, x);
  unsigned those = 0;
  for (unsigned lane = 0; lane < 32; ++lane) those |= (unsigned)host::unpacked<bool>(lane) << lane;
  return those;
}

static int __popc(unsigned x) { return __builtin_popcount(x); }

static bool __any_sync(unsigned mask, bool x) {
  host::exchange(0, mask, x);
  bool any = false;
  for (unsigned lane = 0; lane < 32; ++lane) any |= host::unpacked<bool>(lane);
  return any;
}
