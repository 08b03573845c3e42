// One index of a pixel over time, in the registers of a tile of L lanes, K numbers a lane; after products/pixel/temporal.cu.

template <int L, int K> struct Series : Numbers<L, K> {
  using Numbers<L, K>::value, Numbers<L, K>::found, Numbers<L, K>::lane, Numbers<L, K>::of_rank;
  static constexpr int TOGETHER = 4;  // more would take registers, and so warps
  bool is_enough;

  // Of observations that are held, `index` a function of the values of one.
  template <int B, class Index>
  __device__ __forceinline__ Series(const Held<L, K, B>& seen, int min_observations, Index index) : Numbers<L, K>(seen.lane), is_enough(seen.n_used >= min_observations) {
    UNROLL for (int k = 0; k < K; ++k) value[k] = INFINITE;
    seen.each([&](const float (&v)[B], bool used, int k) {
      const float x = index(v);
      const bool is_good = used & is_finite(x);
      value[k] = is_good ? x : INFINITE;
      found += is_good;
    });
    found = tile_sum<L>(found);
  }

  template <class Index> __device__ __forceinline__ Series(const Pixel<L>& pixel, int min_observations, Index index) : Numbers<L, K>(pixel.lane) {
    static_assert(K % TOGETHER == 0, "whole batches are read");
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

  // The same number as far as the compiler knows not, or it would keep the float64 of all numbers from one sum to the next.
  static __device__ __forceinline__ float anew(float x) {
    AS_IF_CHANGED(x);
    return x;
  }

  // One pass, about the smallest number: equal numbers have exactly their mean, and no deviation.
  __device__ __forceinline__ double sum_above_minimum(bool squares) const {
    const double least = minimum();
    double total = 0.;
    UNROLL for (int k = 0; k < K; ++k) {
      const float x = anew(value[k]);
      const double above = x <= LARGEST ? x - least : 0.;
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
      const float x = anew(value[k]);
      const double apart = x <= LARGEST ? x - least - mean : 0.;
      second += apart * apart;
      higher += apart * apart * apart * (fourth ? apart : 1.);
    }
    const double variance = tile_sum<L>(second) / found, moment = tile_sum<L>(higher) / found;
    if (found == 0 || !(variance > 0.)) return MISSING;
    return (float)(fourth ? moment / (variance * variance) - 3. : moment / (variance * sqrt(variance)));
  }

  __device__ __forceinline__ void put(const Pixel<L>& pixel, float* out, int feature, float x) const { pixel.put(out, feature, is_enough ? x : MISSING); }
};
