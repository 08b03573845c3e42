// Numbers of a pixel in the registers of a tile of L lanes, K a lane, and their order; after products/pixel/temporal.cu.

template <int L, int K> struct Numbers {
  static_assert(L == 1 || (K & (K - 1)) == 0, "bitonic merging wants a power of two");
  float value[K];  // infinite where it is missing
  int found, lane;  // `found` of the pixel are not missing

  __device__ __forceinline__ explicit Numbers(int lane) : found(0), lane(lane) {}

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

  // Of the sorted numbers.
  __device__ __forceinline__ float median() const {
    const float low = of_rank(found > 0 ? (found - 1) / 2 : 0), high = of_rank(found / 2);
    return found > 0 ? low + (high - low) * 0.5f : MISSING;
  }
};
