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

// The three medians: the number of rank r is the largest x with at most r numbers below it, found bit by bit.
template <int L, class Keys> __device__ __forceinline__ void medians(const Keys& keys, float (&median)[3]) {
  int found[3] = {0, 0, 0}, up_to[3] = {0, 0, 0};
  keys.each([&](const unsigned (&key)[3]) { UNROLL for (int m = 0; m < 3; ++m) found[m] += key[m] != 0xffffffffu; });
  UNROLL for (int m = 0; m < 3; ++m) found[m] = tile_sum<L>(found[m]);
  unsigned low[3] = {0, 0, 0}, high[3] = {0xffffffffu, 0xffffffffu, 0xffffffffu};
  for (unsigned bit = 0x80000000u; bit != 0; bit >>= 1) {
    int below[3] = {0, 0, 0};
    keys.each([&](const unsigned (&key)[3]) { UNROLL for (int m = 0; m < 3; ++m) below[m] += key[m] < (low[m] | bit); });
    UNROLL for (int m = 0; m < 3; ++m) low[m] |= tile_sum<L>(below[m]) <= (found[m] - 1) / 2 ? bit : 0u;
  }
  keys.each([&](const unsigned (&key)[3]) {
    UNROLL for (int m = 0; m < 3; ++m) {
      up_to[m] += key[m] <= low[m];
      if (key[m] > low[m] && key[m] < high[m]) high[m] = key[m];
    }
  });
  UNROLL for (int m = 0; m < 3; ++m) {
    up_to[m] = tile_sum<L>(up_to[m]);
    UNROLL for (int o = L / 2; o > 0; o /= 2) {
      const unsigned other = __shfl_xor_sync(EVERYONE, high[m], o);
      high[m] = other < high[m] ? other : high[m];
    }
    const float a = number_of(low[m]), b = up_to[m] > found[m] / 2 ? a : number_of(high[m]);
    const float middle = found[m] % 2 == 0 ? a + (b - a) * 0.5f : a;
    median[m] = found[m] > 0 ? middle : MISSING;
  }
}

template <int L, int K, int B, bool WITH_MADS>
__device__ __forceinline__ void geomedian_features(const Pixel<L>& pixel, float* out, int min_observations) {
  int n_used = 0;
  for (int t = pixel.lane; t < pixel.n_scenes; t += L) n_used += pixel.is_used(t);
  n_used = tile_sum<L>(n_used);
  const bool is_enough = n_used >= min_observations;
  float centre[B], median[3];
  if constexpr (K > 0) {
    const Held<L, K, B> seen(pixel);
    geomedian<L, B>(seen, n_used, centre);
    if constexpr (WITH_MADS) medians<L>(HeldKeys<L, K, B>(seen, centre), median);
  } else {
    const Streamed<L, B> seen(pixel);
    geomedian<L, B>(seen, n_used, centre);
    if constexpr (WITH_MADS) medians<L>(StreamedKeys<L, B>(seen, centre), median);
  }
  UNROLL for (int b = 0; b < B; ++b) pixel.put(out, b, is_enough ? centre[b] : MISSING);
  if constexpr (WITH_MADS) UNROLL for (int m = 0; m < 3; ++m) pixel.put(out, B + m, is_enough ? median[m] : MISSING);
}
