// The MADs of a pixel beside its geomedian; after products/pixel/temporal.cu.

// Numbers in the order of floats; the largest where it is missing.
__device__ __forceinline__ unsigned key_of(float x, bool used) {
  const unsigned bits = __float_as_uint(x);
  return used && is_finite(x) ? (bits & 0x80000000u ? ~bits : bits | 0x80000000u) : 0xffffffffu;
}

__device__ __forceinline__ float number_of(unsigned key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// Spectral (1 - cosine), Euclidean and Bray-Curtis distance to the centre, as keys.
template <int B> __device__ __forceinline__ void distances(const float (&v)[B], bool used, const float (&centre)[B], unsigned (&keys)[3]) {
  float product = 0.f, norm = 0.f, own = 0.f, square = 0.f, difference = 0.f, total = 0.f;
  UNROLL for (int b = 0; b < B; ++b) {
    const float c = centre[b], away = v[b] - c;
    product += v[b] * c;
    norm += v[b] * v[b];
    own += c * c;
    square += away * away;
    difference += fabsf(away);
    total += fabsf(v[b] + c);
  }
  keys[0] = key_of(1.f - product / sqrtf(norm * own), used);
  keys[1] = key_of(sqrtf(square), used);
  keys[2] = key_of(difference / total, used);
}

template <int L, int K, int B> struct HeldKeys {
  unsigned key[K][3];

  __device__ __forceinline__ HeldKeys(const Held<L, K, B>& seen, const float (&centre)[B]) {
    seen.each([&](const float (&v)[B], bool used, int k) { distances<B>(v, used, centre, key[k]); });
  }

  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    UNROLL for (int k = 0; k < K; ++k) visit(key[k]);
  }
};

// In the place of the numbers, whose type they keep.
template <int B, int W> struct SharedKeys {
  float* key;
  int most;

  __device__ __forceinline__ SharedKeys(const Shared<B, W>& seen, const float (&centre)[B]) : key(seen.numbers), most(seen.most) {
    seen.each([&](const float (&v)[B], bool used, int k) {
      unsigned mine[3];
      distances<B>(v, used, centre, mine);
      UNROLL for (int m = 0; m < 3; ++m) key[(k * W + m) * 32] = __uint_as_float(mine[m]);
    });
  }

  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    for (int first = 0; first < most; first += STEP)
      UNROLL for (int k = first; k < first + STEP; ++k) {
        unsigned mine[3];
        UNROLL for (int m = 0; m < 3; ++m) mine[m] = __float_as_uint(key[(k * W + m) * 32]);
        visit(mine);
      }
  }
};

template <int L, int B> struct StreamedKeys {
  const Streamed<L, B>& seen;
  const float (&centre)[B];

  __device__ __forceinline__ StreamedKeys(const Streamed<L, B>& seen, const float (&centre)[B]) : seen(seen), centre(centre) {}

  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    seen.each([&](const float (&v)[B], bool used, int) {
      unsigned key[3];
      distances<B>(v, used, centre, key);
      visit(key);
    });
  }
};

// The three medians: the number of rank r is the only one of [low, high) once the numbers below either are one apart, found by halving.
template <int L, class Keys> __device__ __forceinline__ void medians(const Keys& keys, float (&median)[3]) {
  int found[3] = {0, 0, 0}, below_low[3] = {0, 0, 0}, below_high[3];
  unsigned low[3], high[3] = {0, 0, 0};
  UNROLL for (int m = 0; m < 3; ++m) low[m] = 0xffffffffu;
  keys.each([&](const unsigned (&key)[3]) {
    UNROLL for (int m = 0; m < 3; ++m) {
      const bool is_found = key[m] != 0xffffffffu;
      found[m] += is_found;
      low[m] = key[m] < low[m] ? key[m] : low[m];
      high[m] = is_found && key[m] > high[m] ? key[m] : high[m];
    }
  });
  UNROLL for (int m = 0; m < 3; ++m) {
    found[m] = below_high[m] = tile_sum<L>(found[m]);
    low[m] = tile_least<L>(low[m]);
    high[m] = ~tile_least<L>(~high[m]) + 1u;
  }
  while (true) {
    bool goes = false;
    unsigned middle[3];
    int below[3] = {0, 0, 0};
    UNROLL for (int m = 0; m < 3; ++m) {
      goes |= below_high[m] - below_low[m] > 1 && high[m] - low[m] > 1;
      middle[m] = low[m] + (high[m] - low[m]) / 2;
    }
    if (!__any_sync(EVERYONE, goes)) break;
    keys.each([&](const unsigned (&key)[3]) { UNROLL for (int m = 0; m < 3; ++m) below[m] += key[m] < middle[m]; });
    UNROLL for (int m = 0; m < 3; ++m) {
      below[m] = tile_sum<L>(below[m]);
      const bool is_lower = below[m] <= (found[m] - 1) / 2;
      low[m] = is_lower ? middle[m] : low[m];
      below_low[m] = is_lower ? below[m] : below_low[m];
      high[m] = is_lower ? high[m] : middle[m];
      below_high[m] = is_lower ? below_high[m] : below[m];
    }
  }
  int up_to[3] = {0, 0, 0};
  unsigned next[3];
  UNROLL for (int m = 0; m < 3; ++m) high[m] = next[m] = 0xffffffffu;
  keys.each([&](const unsigned (&key)[3]) { UNROLL for (int m = 0; m < 3; ++m) high[m] = key[m] >= low[m] && key[m] < high[m] ? key[m] : high[m]; });
  UNROLL for (int m = 0; m < 3; ++m) low[m] = tile_least<L>(high[m]);
  keys.each([&](const unsigned (&key)[3]) {
    UNROLL for (int m = 0; m < 3; ++m) {
      up_to[m] += key[m] <= low[m];
      next[m] = key[m] > low[m] && key[m] < next[m] ? key[m] : next[m];
    }
  });
  UNROLL for (int m = 0; m < 3; ++m) {
    up_to[m] = tile_sum<L>(up_to[m]);
    next[m] = tile_least<L>(next[m]);
    const float a = number_of(low[m]), b = up_to[m] > found[m] / 2 ? a : number_of(next[m]);
    const float middle = found[m] % 2 == 0 ? a + (b - a) * 0.5f : a;
    median[m] = found[m] > 0 ? middle : MISSING;
  }
}

// Writes the geomedian of what was seen, and the MADs, whose distances `Keys` has.
template <class Keys, bool WITH_MADS, int L, int B, class Seen>
__device__ __forceinline__ void write_geomedian(const Pixel<L>& pixel, const Seen& seen, int n_used, float* out, int min_observations) {
  const bool is_enough = n_used >= min_observations;
  float centre[B];
  geomedian<L, B>(seen, n_used, centre);
  UNROLL for (int b = 0; b < B; ++b) pixel.put(out, b, is_enough ? centre[b] : MISSING);
  if constexpr (WITH_MADS) {
    float median[3];
    medians<L>(Keys(seen, centre), median);
    UNROLL for (int m = 0; m < 3; ++m) pixel.put(out, B + m, is_enough ? median[m] : MISSING);
  }
}

// By tiles, where a pixel of the group has more than LESS used observations; LESS is -1 where no other kernel computes any.
template <int L, int K, int B, bool WITH_MADS, int LESS>
__device__ __forceinline__ void geomedian_of_tiles(const Pixel<L>& pixel, float* out, int min_observations) {
  if (pixel.most_of_group(out) <= LESS) return;
  int n_used = 0;
  for (int t = pixel.lane; t < pixel.n_scenes; t += L) n_used += pixel.is_used(t);
  n_used = tile_sum<L>(n_used);
  if constexpr (K > 0)
    write_geomedian<HeldKeys<L, K, B>, WITH_MADS, L, B>(pixel, Held<L, K, B>(pixel), n_used, out, min_observations);
  else
    write_geomedian<StreamedKeys<L, B>, WITH_MADS, L, B>(pixel, Streamed<L, B>(pixel), n_used, out, min_observations);
}

// By single threads, in blocks of a warp, where the pixel of the group with most used observations has more than LESS and at most MOST.
template <int B, bool WITH_MADS, int LESS, int MOST>
__device__ __forceinline__ void geomedian_of_threads(const Pixel<1>& pixel, float* out, int min_observations) {
  constexpr int W = WITH_MADS && B < 3 ? 3 : B;
  __shared__ float numbers[MOST * W * 32];
  const int most = pixel.most_of_group(out);
  if (most > MOST || most <= LESS) return;
  const Shared<B, W> seen(numbers, pixel, (most + STEP - 1) / STEP * STEP);
  write_geomedian<SharedKeys<B, W>, WITH_MADS, 1, B>(pixel, seen, seen.n_used, out, min_observations);
}
