// One index of a pixel over time, in the registers of a tile of L lanes, K numbers a lane; after products/pixel/temporal.cu.

template <int L, int K> struct Series {
  static constexpr int TOGETHER = 4;  // more would take registers, and so warps
  static_assert(K % TOGETHER == 0, "whole batches are read");
  static_assert(L == 1 || (K & (K - 1)) == 0, "bitonic merging wants a power of two");
  float value[K];  // infinite where it is missing
  int found, lane;
  bool is_enough;

  template <class Index> __device__ __forceinline__ Series(const Pixel<L>& pixel, int min_observations, Index index) : found(0), lane(pixel.lane) {
    int n_used = 0;
    UNROLL for (int first = 0; first < K; first += TOGETHER) {
      unsigned numbers[TOGETHER][Index::N_BANDS], cause[TOGETHER];
      UNROLL for (int i = 0; i < TOGETHER; ++i) {
        const int t = (first + i) * L + lane;
        cause[i] = pixel.cause(t);
        index.read(pixel, t, numbers[i]);
      }
      __syncwarp();  // or the compiler would wait for each scene before it reads the next
      UNROLL for (int i = 0; i < TOGETHER; ++i) {
        const int t = (first + i) * L + lane;
        const bool used = (t < pixel.n_scenes) & (cause[i] == 0);
        const float x = index.of(pixel, t, numbers[i]);
        const bool is_good = used & is_finite(x);
        value[first + i] = is_good ? x : INFINITE;
        n_used += used;
        found += is_good;
      }
    }
    found = tile_sum<L>(found);
    is_enough = tile_sum<L>(n_used) >= min_observations;
  }

  // Upwards by lane, then register. Each lane by the network, then pairs of lanes, of pairs, ... by bitonic merging (Batcher 1968).
  __device__ __forceinline__ void sort() {
    sort_network(value);
    UNROLL for (int size = 2; size <= L; size *= 2) {
      UNROLL for (int k = 0; k < K / 2; ++k) {
        const float first = __shfl_xor_sync(EVERYONE, value[k], size - 1), last = __shfl_xor_sync(EVERYONE, value[K - 1 - k], size - 1);
        value[k] = of_pair(value[k], last, size / 2);
        value[K - 1 - k] = of_pair(value[K - 1 - k], first, size / 2);
      }
      UNROLL for (int o = size / 4; o > 0; o /= 2)
        UNROLL for (int k = 0; k < K; ++k) value[k] = of_pair(value[k], __shfl_xor_sync(EVERYONE, value[k], o), o);
      UNROLL for (int o = K / 2; o > 0; o /= 2)
        UNROLL for (int k = 0; k < K; ++k)
          if ((k & o) == 0) exchange(value[k], value[k | o]);
    }
  }

  // The number of a rank among N from FIRST on, by its bits: registers cannot be indexed.
  template <int FIRST, int N> __device__ __forceinline__ float chosen(int rank) const {
    if constexpr (N == 1) {
      return value[FIRST];
    } else {
      constexpr int HALF = half_of(N);
      const float low = chosen<FIRST, HALF>(rank), high = chosen<FIRST + HALF, N - HALF>(rank);
      return rank & HALF ? high : low;
    }
  }

  // The largest power of two below N.
  static constexpr int half_of(int n) { return n > 2 ? 2 * half_of((n + 1) / 2) : 1; }

  __device__ __forceinline__ float of_pair(float mine, float other, int o) const { return lane & o ? fmaxf(mine, other) : fminf(mine, other); }

  __device__ __forceinline__ float of_rank(int rank) const {
    const float x = chosen<0, K>(L == 1 ? rank : rank % K);
    return L == 1 ? x : __shfl_sync(EVERYONE, x, rank / K, L);
  }

  // Of the sorted numbers: linear between neighbours (Hyndman and Fan 1996, type 7).
  __device__ __forceinline__ float quantile(float q) const {
    const double place = (double)q * (found > 0 ? found - 1 : 0);
    const int low = (int)place, high = low + 1 < found ? low + 1 : low;
    const float share = (float)(place - low);
    const float a = of_rank(low), b = of_rank(high);
    return found > 0 ? a + (b - a) * share : MISSING;
  }

  __device__ __forceinline__ float count() const { return (float)found; }

  __device__ __forceinline__ float minimum() const {
    float x = value[0];
    UNROLL for (int k = 1; k < K; ++k) x = fminf(x, value[k]);
    x = tile_min<L>(x);
    return found > 0 ? x : MISSING;
  }

  __device__ __forceinline__ float maximum() const {
    float x = -INFINITE;
    UNROLL for (int k = 0; k < K; ++k) x = value[k] <= LARGEST ? fmaxf(x, value[k]) : x;
    x = tile_max<L>(x);
    return found > 0 ? x : MISSING;
  }

  __device__ __forceinline__ float mean() const {
    const double total = sum_above_minimum(false), least = minimum();
    return found > 0 ? (float)(least + total / found) : MISSING;
  }

  // Of the population.
  __device__ __forceinline__ float deviation() const {
    const double mean = sum_above_minimum(false) / found, variance = sum_above_minimum(true) / found - mean * mean;
    return found > 0 ? (float)sqrt(fmax(variance, 0.)) : MISSING;
  }

  // One pass, about the smallest number: equal numbers have exactly their mean, and no deviation.
  __device__ __forceinline__ double sum_above_minimum(bool squares) const {
    const double least = minimum();
    double total = 0.;
    UNROLL for (int k = 0; k < K; ++k) {
      const double above = value[k] <= LARGEST ? value[k] - least : 0.;
      total += squares ? above * above : above;
    }
    return tile_sum<L>(total);
  }

  // Central moments of the population over powers of the second; missing where all numbers are equal.
  __device__ __forceinline__ float skewness() const { return standardised(false); }
  __device__ __forceinline__ float kurtosis() const { return standardised(true); }

  __device__ __forceinline__ float standardised(bool fourth) const {
    const double least = minimum(), mean = sum_above_minimum(false) / found;
    double second = 0., higher = 0.;
    UNROLL for (int k = 0; k < K; ++k) {
      const double apart = value[k] <= LARGEST ? value[k] - least - mean : 0.;
      second += apart * apart;
      higher += apart * apart * apart * (fourth ? apart : 1.);
    }
    const double variance = tile_sum<L>(second) / found, moment = tile_sum<L>(higher) / found;
    if (found == 0 || !(variance > 0.)) return MISSING;
    return (float)(fourth ? moment / (variance * variance) - 3. : moment / (variance * sqrt(variance)));
  }

  __device__ __forceinline__ void put(const Pixel<L>& pixel, float* out, int feature, float x) const { pixel.put(out, feature, is_enough ? x : MISSING); }
};
