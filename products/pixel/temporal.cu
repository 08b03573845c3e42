// The fused temporal features on a GPU: what products/pixel/temporal.py computes, from the same integers.
// products/pixel/gpu_source.py writes the constants and the sorting network before this text, the kernels of a recipe after it.
// A tile of L lanes of one warp computes a pixel; its lane `lane` holds observations lane, lane + L, lane + 2 L, ... of all or of the used ones.
// With L = 1 a thread computes a pixel alone.
// Warps stay whole: every thread runs to the end, so that each shuffle has all 32 lanes.

#define UNROLL _Pragma("unroll")
#define UNROLL_BY_16 _Pragma("unroll 16")
#define MOST_IS_LEFT 0xffe50000u
#define DOUBTED 0xffe60000u
#ifndef AS_IF_CHANGED
#define AS_IF_CHANGED(x) asm volatile("" : "+f"(x))
#endif
#define EVERYONE 0xffffffffu
#define LARGEST 3.402823466e38f
#define MISSING __int_as_float(0x7fffffff)
#define INFINITE __int_as_float(0x7f800000)

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) <= LARGEST; }

// Butterflies: each lane of a tile gets the same bits.
template <int L, class Number> __device__ __forceinline__ Number tile_sum(Number x) {
  UNROLL for (int o = L / 2; o > 0; o /= 2) x += __shfl_xor_sync(EVERYONE, x, o);
  return x;
}

template <int L> __device__ __forceinline__ float tile_min(float x) {
  UNROLL for (int o = L / 2; o > 0; o /= 2) x = fminf(x, __shfl_xor_sync(EVERYONE, x, o));
  return x;
}

template <int L, class Number> __device__ __forceinline__ Number tile_least(Number x) {
  UNROLL for (int o = L / 2; o > 0; o /= 2) {
    const Number other = __shfl_xor_sync(EVERYONE, x, o);
    x = other < x ? other : x;
  }
  return x;
}

template <int L> __device__ __forceinline__ float tile_max(float x) {
  UNROLL for (int o = L / 2; o > 0; o /= 2) x = fmaxf(x, __shfl_xor_sync(EVERYONE, x, o));
  return x;
}

// The observations of the pixel of this thread: block (band, scene, pixel), causes (scene, pixel), terms (scene, band) = gain, bias.
// No strip has 2^32 integers (products/pixel/gpu_strips.py), so that their places are products of 32 bits.
template <int L> struct Pixel {
  const unsigned short* __restrict__ block;
  const unsigned char* __restrict__ causes;
  const float2* __restrict__ terms;
  long long n_pixels, place;
  int n_bands, n_scenes, lane;
  bool is_inside;

  __device__ __forceinline__
  Pixel(const unsigned short* block, const unsigned char* causes, const float2* terms, int n_bands, int n_scenes, long long n_pixels)
      : block(block), causes(causes), terms(terms), n_pixels(n_pixels), n_bands(n_bands), n_scenes(n_scenes) {
    place = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / L;
    lane = (int)(threadIdx.x % L);
    is_inside = place < n_pixels;
    if (!is_inside) place = n_pixels - 1;
  }

  __device__ __forceinline__ int last_at(int t) const { return t < n_scenes ? t : n_scenes - 1; }

  __device__ __forceinline__ unsigned place_of(int row) const { return (unsigned)row * (unsigned)n_pixels + (unsigned)place; }

  // Beyond the last scene what follows is of the last: always readable.
  __device__ __forceinline__ unsigned cause(int t) const { return causes[place_of(last_at(t))]; }
  __device__ __forceinline__ unsigned number(int band, int t) const { return block[place_of(band * n_scenes + last_at(t))]; }

  // Without a branch, so that the numbers of many scenes are on their way at the same time.
  __device__ __forceinline__ bool is_used(int t) const { return (t < n_scenes) & (cause(t) == 0); }

  __device__ __forceinline__ float reflectance(unsigned number, int band, int t) const {
    const float2 term = terms[last_at(t) * n_bands + band];
    return fmaf((float)number, term.x, term.y);
  }

  // The most used observations of a pixel in the group of 32 neighbours that this one is of, which `write_most_used` left; -1 where the geomedian is written.
  // Every thread of a warp finds the same, because all that the warp computes is in one group.
  __device__ __forceinline__ int most_of_group(const float* out) const {
    const unsigned left = __float_as_uint(out[place]);
    return (left & ~(unsigned)MOST_USED) == MOST_IS_LEFT ? (int)(left & MOST_USED) : -1;
  }

  __device__ __forceinline__ float at(int band, int t) const { return reflectance(number(band, t), band, t); }

  __device__ __forceinline__ void put(float* out, int feature, float x) const {
    if (is_inside && feature % L == lane) out[feature * n_pixels + place] = x;
  }
};

// Leaves the most used observations of a group in the place of the first feature of its pixels, as a number that is none and that no computation gives.
__device__ __forceinline__ void write_most_used(const Pixel<1>& pixel, float* out) {
  int n_used = 0;
  UNROLL_BY_16 for (int t = 0; t < pixel.n_scenes; ++t) n_used += pixel.is_used(t);
  pixel.put(out, 0, __uint_as_float(MOST_IS_LEFT | (unsigned)-tile_least<32>(-n_used)));
}

// The used observations of a pixel in the registers of its tile: its lane holds those of rank lane, lane + L, lane + 2 L, ... among them, at most K.
template <int L, int K, int B> struct Held {
  static constexpr int SCENES = 32 * K;  // of all pixels of a warp
  float value[K][B];                     // of no meaning from n_mine on
  int lane, n_used, n_mine, most;        // used observations of the pixel, of this lane, and the most of any lane of the group

  static_assert(K % STEP == 0, "whole steps");

  // `scenes` is room for the warp, `most_used` the most used observations of a pixel of the group.
  __device__ __forceinline__ Held(const Pixel<L>& pixel, unsigned short* scenes, int most_used) : lane(pixel.lane), most((most_used + L - 1) / L) {
    unsigned short* mine = scenes + threadIdx.x % 32 / L;
    n_used = list_used(pixel, mine);
    n_mine = (n_used - lane + L - 1) / L;
    UNROLL for (int k = 0; k < K; ++k) {
      if (k / STEP * STEP >= most) break;
      const unsigned short* at = pixel.block + pixel.place_of(scene(mine, k));
      UNROLL for (int b = 0; b < B; ++b) {
        value[k][b] = __uint_as_float(*at);  // an integer yet, in the register of its value
        at += (long long)pixel.n_scenes * pixel.n_pixels;
      }
    }
    __syncwarp();  // or the compiler would wait for some numbers before it reads the next
    UNROLL for (int k = 0; k < K; ++k) {
      if (k / STEP * STEP >= most) break;
      const float2* term = pixel.terms + (unsigned)scene(mine, k) * (unsigned)pixel.n_bands;
      UNROLL for (int b = 0; b < B; ++b) value[k][b] = fmaf((float)__float_as_uint(value[k][b]), term[b].x, term[b].y);
    }
  }

  // Writes the used scenes of the pixel in their order, 32 / L apart, and says how many there are.
  static __device__ __forceinline__ int list_used(const Pixel<L>& pixel, unsigned short* scenes) {
    const unsigned shift = threadIdx.x % 32 - pixel.lane, tile = L == 32 ? EVERYONE : (1u << L % 32) - 1u, below = (1u << pixel.lane) - 1u;
    int n_used = 0;
    for (int first = 0; first < pixel.n_scenes; first += 16 * L) {
      unsigned cause[16];  // on their way at the same time
      UNROLL for (int i = 0; i < 16; ++i) cause[i] = pixel.cause(first + i * L + pixel.lane);
      UNROLL for (int i = 0; i < 16; ++i) {
        const int t = first + i * L + pixel.lane;
        const bool is_used = (t < pixel.n_scenes) & (cause[i] == 0);
        const unsigned those = __ballot_sync(EVERYONE, is_used) >> shift & tile;
        if (is_used) scenes[(n_used + __popc(those & below)) * (32 / L)] = (unsigned short)t;
        n_used += __popc(those);
      }
    }
    if (n_used == 0) scenes[0] = 0;
    __syncwarp();
    return n_used;
  }

  // Beyond what this lane holds: the first of the pixel.
  __device__ __forceinline__ int scene(const unsigned short* scenes, int k) const { return scenes[(k < n_mine ? k * L + lane : 0) * (32 / L)]; }

  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    UNROLL for (int k = 0; k < K; ++k) {
      if (k / STEP * STEP >= most) break;
      visit(value[k], k < n_mine, k);
    }
  }
};

// The observations read again in every pass, for stacks that nothing holds.
template <int L, int B> struct Streamed {
  const Pixel<L>& pixel;

  __device__ __forceinline__ explicit Streamed(const Pixel<L>& pixel) : pixel(pixel) {}

  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    for (int t = pixel.lane, k = 0; t < pixel.n_scenes; t += L, ++k) {
      if (!pixel.is_used(t)) continue;
      float value[B];
      UNROLL for (int b = 0; b < B; ++b) value[b] = pixel.at(b, t);
      visit(value, true, k);
    }
  }
};

// Moves the centre by Weiszfeld's step `pull` (sum of unit vectors), lengthened by the secant of the last two; whether the way goes on.
// The rule of products/pixel/geomedian.py.
template <int B> struct Centre {
  float at[B], moved[B], stepped[B], length;

  __device__ __forceinline__ bool move(const float (&pull)[B], float here, float inverse, bool goes) {
    float square = 0.f;
    UNROLL for (int b = 0; b < B; ++b) square += pull[b] * pull[b];
    const float force = sqrtf(square);
    const float scale = here < force ? __fdividef(1.f - __fdividef(here, force), inverse) : 0.f;
    float step = 0.f, change = 0.f, along = 0.f, way = 0.f;
    UNROLL for (int b = 0; b < B; ++b) {
      const float f = pull[b] * scale, df = f - stepped[b];
      step += f * f;
      change += df * df;
      along += f * df;
      way += moved[b] * moved[b];
    }
    const bool shrinks = step < length;
    const float secant = shrinks & (change > 0.f) ? __fdividef(along, change) : 0.f;
    float stretched = 0.f;
    UNROLL for (int b = 0; b < B; ++b) {
      const float f = pull[b] * scale;
      moved[b] = f - secant * (moved[b] + f - stepped[b]);
      stepped[b] = goes ? f : stepped[b];
      stretched += moved[b] * moved[b];
    }
    const float longest = LONGEST_STRETCH * LONGEST_STRETCH * step;
    const float cut = stretched > longest ? sqrtf(__fdividef(longest, stretched)) : 1.f;
    UNROLL for (int b = 0; b < B; ++b) {
      moved[b] *= cut;
      at[b] += goes ? moved[b] : 0.f;
    }
    const float rest = fminf(fmaxf(__fdividef(change, way), 1.f / (LONGEST_STRETCH * LONGEST_STRETCH)), 1.f);
    const bool near = shrinks && step <= GEOMEDIAN_TOLERANCE * GEOMEDIAN_TOLERANCE * rest;
    length = step;
    return goes && step > SMALLEST_STEP * SMALLEST_STEP && !near;
  }
};

// Whether the centre may be farther than GEOMEDIAN_DOUBT from the median, and if so a long step towards it.
// The rule of `_doubt` and `_long_step` in products/pixel/geomedian.py.
template <int L, int B, class Seen> __device__ __forceinline__ bool is_doubted(const Seen& seen, int n_used, bool asked, Centre<B>& c) {
  float pull[B], (&along)[B] = c.moved, square = 0.f, here = 0.f, weights = 0.f;
  UNROLL for (int b = 0; b < B; ++b) square += c.stepped[b] * c.stepped[b];
  const float shorter = square > 0.f ? rsqrtf(square) : 0.f;
  UNROLL for (int b = 0; b < B; ++b) {
    c.stepped[b] *= shorter;
    pull[b] = along[b] = 0.f;
  }
  seen.each([&](const float (&v)[B], bool used, int) {
    float away = 0.f, way = 0.f;
    UNROLL for (int b = 0; b < B; ++b) {
      away += (v[b] - c.at[b]) * (v[b] - c.at[b]);
      way += (v[b] - c.at[b]) * c.stepped[b];
    }
    const bool is_on = away < ON_OBSERVATION * ON_OBSERVATION;
    const float unit = rsqrtf(away), share = used & !is_on ? unit : 0.f, cube = share * share * share * way;
    here += used & is_on ? 1.f : 0.f;
    weights += share;
    UNROLL for (int b = 0; b < B; ++b) {
      pull[b] += share * (v[b] - c.at[b]);
      along[b] += cube * (v[b] - c.at[b]);
    }
  });
  here = tile_sum<L>(here);
  weights = tile_sum<L>(weights);
  float force = 0.f, length = 0.f;
  UNROLL for (int b = 0; b < B; ++b) {
    pull[b] = tile_sum<L>(pull[b]);
    along[b] = tile_sum<L>(along[b]);
    force += pull[b] * pull[b];
    length += along[b] * along[b];
  }
  const float unit_of = length > 0.f ? rsqrtf(length) : 0.f;
  UNROLL for (int b = 0; b < B; ++b) along[b] *= unit_of;
  float least = 0.f;
  seen.each([&](const float (&v)[B], bool used, int) {
    float away = 0.f, way = 0.f;
    UNROLL for (int b = 0; b < B; ++b) {
      away += (v[b] - c.at[b]) * (v[b] - c.at[b]);
      way += (v[b] - c.at[b]) * along[b];
    }
    const float unit = rsqrtf(away), share = used & away >= ON_OBSERVATION * ON_OBSERVATION ? unit : 0.f, cosine = way * share;
    least += share * (1.f - cosine * cosine);
  });
  least = tile_sum<L>(least);
  const float left = sqrtf(force) - here;
  const bool doubts = asked && (left + UNIT_ROUNDING * (float)n_used > GEOMEDIAN_DOUBT * least || (here > 0.f && left > 0.f));
  float slope = 0.f;
  UNROLL for (int b = 0; b < B; ++b) slope += pull[b] * along[b];
  const float extra = least > 0.f ? slope / least - slope / weights : 0.f;
  UNROLL for (int b = 0; b < B; ++b) {
    c.at[b] += doubts ? pull[b] / weights + extra * along[b] : 0.f;
    c.stepped[b] = along[b];
  }
  return doubts;
}

// The centre, and whether it is doubted still after LONG_STEPS long steps.
template <int L, int B, class Seen> __device__ __forceinline__ bool geomedian(const Seen& seen, int n_used, float (&centre)[B]) {
  Centre<B> c;
  UNROLL for (int b = 0; b < B; ++b) c.at[b] = c.moved[b] = c.stepped[b] = 0.f;
  seen.each([&](const float (&v)[B], bool used, int) {
    const float share = used ? 1.f : 0.f;
    UNROLL for (int b = 0; b < B; ++b) c.at[b] += share * v[b];
  });
  UNROLL for (int b = 0; b < B; ++b) c.at[b] = tile_sum<L>(c.at[b]) / (float)n_used;
  c.length = -1.f;
  bool goes = n_used > 2;
  for (int i = 0; i < GEOMEDIAN_STEPS && __any_sync(EVERYONE, goes); ++i) {
    float pull[B], here = 0.f, inverse = 0.f;
    UNROLL for (int b = 0; b < B; ++b) pull[b] = 0.f;
    seen.each([&](const float (&v)[B], bool used, int) {
      float square = 0.f;
      UNROLL for (int b = 0; b < B; ++b) square += (v[b] - c.at[b]) * (v[b] - c.at[b]);
      const bool is_on = square < ON_OBSERVATION * ON_OBSERVATION;
      const float unit = rsqrtf(square), share = used & !is_on ? unit : 0.f;
      here += used & is_on ? 1.f : 0.f;
      inverse += share;
      UNROLL for (int b = 0; b < B; ++b) pull[b] += share * (v[b] - c.at[b]);
    });
    here = tile_sum<L>(here);
    inverse = tile_sum<L>(inverse);
    UNROLL for (int b = 0; b < B; ++b) pull[b] = tile_sum<L>(pull[b]);
    goes = c.move(pull, here, inverse, goes);
  }
  bool doubts = n_used > 2;
  for (int i = 0; i <= LONG_STEPS && __any_sync(EVERYONE, doubts); ++i) doubts = is_doubted<L, B>(seen, n_used, doubts, c);
  UNROLL for (int b = 0; b < B; ++b) centre[b] = c.at[b];
  return doubts;
}
