// The MADs of a pixel beside its geomedian; after products/pixel/temporal.cu.

// Spectral (1 - cosine), Euclidean and Bray-Curtis distance to the centre.
template <int B> __device__ __forceinline__ void distances(const float (&v)[B], const float (&centre)[B], float (&distance)[3]) {
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
  distance[0] = 1.f - product * rsqrtf(norm * own);
  distance[1] = sqrtf(square);
  distance[2] = __fdividef(difference, total);
}

// The three medians of what registers hold, by sorting: numbers of a lane must be a power of two, or one lane have all.
template <int L, int K, int B> __device__ __forceinline__ void medians(const Held<L, K, B>& seen, const float (&centre)[B], float (&median)[3]) {
  Numbers<L, K> numbers[3] = {Numbers<L, K>(seen.lane), Numbers<L, K>(seen.lane), Numbers<L, K>(seen.lane)};
  UNROLL for (int m = 0; m < 3; ++m)
    UNROLL for (int k = 0; k < K; ++k) numbers[m].value[k] = INFINITE;
  seen.each([&](const float (&v)[B], bool used, int k) {
    float distance[3];
    distances<B>(v, centre, distance);
    UNROLL for (int m = 0; m < 3; ++m) {
      const bool is_good = used & is_finite(distance[m]);
      numbers[m].value[k] = is_good ? distance[m] : INFINITE;
      numbers[m].found += is_good;
    }
  });
  UNROLL for (int m = 0; m < 3; ++m) {
    numbers[m].found = tile_sum<L>(numbers[m].found);
    numbers[m].sort();
    median[m] = numbers[m].median();
  }
}

// Numbers in the order of floats; the largest where it is missing.
__device__ __forceinline__ unsigned key_of(float x) {
  const unsigned bits = __float_as_uint(x);
  return is_finite(x) ? bits ^ ((unsigned)((int)bits >> 31) | 0x80000000u) : 0xffffffffu;
}

__device__ __forceinline__ float number_of(unsigned key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

template <int L, int B> struct StreamedKeys {
  const Streamed<L, B>& seen;
  const float (&centre)[B];

  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    seen.each([&](const float (&v)[B], bool, int) {
      float distance[3];
      distances<B>(v, centre, distance);
      const unsigned key[3] = {key_of(distance[0]), key_of(distance[1]), key_of(distance[2])};
      visit(key);
    });
  }
};

// The same of what nothing holds: the number of rank r is the only one of [low, high) once the numbers below either are one apart, found by halving.
template <int L, int B> __device__ __forceinline__ void medians(const Streamed<L, B>& seen, const float (&centre)[B], float (&median)[3]) {
  const StreamedKeys<L, B> keys{seen, centre};
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

// Writes the geomedian of what was seen, and the MADs; a mark in place of the first band where the centre is doubted.
template <bool WITH_MADS, int L, int B, class Seen>
__device__ __forceinline__ void write_geomedian(const Pixel<L>& pixel, const Seen& seen, int n_used, float* out, int min_observations) {
  const bool is_enough = n_used >= min_observations;
  float centre[B];
  const bool doubts = geomedian<L, B>(seen, n_used, centre);
  UNROLL for (int b = 0; b < B; ++b) pixel.put(out, b, is_enough ? centre[b] : MISSING);
  if (doubts & is_enough) pixel.put(out, 0, __uint_as_float(DOUBTED));
  if constexpr (WITH_MADS) {
    float median[3];
    medians(seen, centre, median);
    UNROLL for (int m = 0; m < 3; ++m) pixel.put(out, B + m, is_enough ? median[m] : MISSING);
  }
}

// Where the pixel of the group with most used observations has more than LESS and at most L * K, which the registers of its tile hold; `others` take what
// they need of the same observations.
template <int L, int K, int B, bool WITH_MADS, int LESS, class Others>
__device__ __forceinline__ void geomedian_held(const Pixel<L>& pixel, float* out, int min_observations, Others others) {
  __shared__ unsigned short scenes[GEOMEDIAN_WARPS][Held<L, K, B>::SCENES];
  const int most = pixel.most_of_group(out);
  if (most > L * K || most <= LESS) return;
  const Held<L, K, B> seen(pixel, scenes[threadIdx.x / 32], most);
  others(seen);
  write_geomedian<WITH_MADS, L, B>(pixel, seen, seen.n_used, out, min_observations);
}

// Where it has more than LESS, which no registers hold.
template <int L, int B, bool WITH_MADS, int LESS>
__device__ __forceinline__ void geomedian_streamed(const Pixel<L>& pixel, float* out, int min_observations) {
  if (pixel.most_of_group(out) <= LESS) return;
  int n_used = 0;
  for (int t = pixel.lane; t < pixel.n_scenes; t += L) n_used += pixel.is_used(t);
  n_used = tile_sum<L>(n_used);
  write_geomedian<WITH_MADS, L, B>(pixel, Streamed<L, B>(pixel), n_used, out, min_observations);
}
