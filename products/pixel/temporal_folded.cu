// Trend and greatest change of an index over steps of a period: one thread computes a pixel, after products/pixel/temporal_ordered.cu.
// The rules of products/pixel/folds.py and trend.py.

#define A_YEAR (1. / DAYS_A_YEAR)

struct FoldedSteps {
  const double* __restrict__ step_of;
  const double* __restrict__ days;
  int n;
  double middle, quantile;
  int least;
};

// The mean (a quantile below 0), or a quantile, of the values of each step into folded, where `there` is not 0; the number of steps with one.
// A quantile lies between the values of two ranks, which are counted: what goes through the observations for each of them needs no memory.
template <class Index>
__device__ __forceinline__ int fold(const Pixel<1>& pixel, const FoldedSteps& steps, Room folded, Room there, Room above, Index index) {
  for (int i = 0; i < steps.n; ++i) folded[i] = there[i] = above[i] = 0.;
  each_value(pixel, index, [&](double value, int t) {
    const int step = (int)steps.step_of[t];
    folded[step] += value;
    there[step] += 1.;
  });
  int seen = 0;
  for (int i = 0; i < steps.n; ++i) {
    seen += there[i] > 0.;
    if (steps.quantile < 0. && there[i] > 0.) folded[i] = (double)(float)(folded[i] / there[i]);
  }
  if (steps.quantile < 0.) return seen;
  each_value(pixel, index, [&](double value, int t) {
    const int step = (int)steps.step_of[t];
    int rank = 0;
    LOOP for (int u = 0; u < pixel.n_scenes; ++u) {
      if (!pixel.is_used(u) || (int)steps.step_of[u] != step) continue;
      const float other = index(pixel, u);
      rank += is_finite(other) && (other < (float)value || (other == (float)value && u < t));
    }
    const int last = (int)there[step] - 1, below = (int)(steps.quantile * last);
    if (rank == below) folded[step] = value;
    if (rank == (below < last ? below + 1 : last)) above[step] = value;
  });
  for (int i = 0; i < steps.n; ++i)
    if (there[i] > 0.) {
      const double place = steps.quantile * (there[i] - 1.);
      folded[i] = (double)(float)(folded[i] + (above[i] - folded[i]) * (place - (int)place));
    }
  return seen;
}

// The float whose place among all floats, from the lowest up, is a number.
__device__ __forceinline__ float float_of(unsigned place) {
  return __uint_as_float(place & 0x80000000u ? place ^ 0x80000000u : ~place);
}

// The median of n numbers, where `count` says how many are at most a number: each in the middle is found by halving the range of the floats.
template <class Count> __device__ __forceinline__ float median_of(int n, Count count) {
  double total = 0.;
  LOOP for (int k = (n - 1) / 2; k <= n / 2; ++k) {
    unsigned low = 0x007fffffu, high = 0xff800000u;  // the places of both infinities
    LOOP while (low < high) {
      const unsigned middle = low + (high - low) / 2u;
      if (count(float_of(middle)) > k) high = middle;
      else low = middle + 1u;
    }
    total += (double)float_of(low);
  }
  return (float)(n % 2 ? total : 0.5 * total);
}

template <class Index>
__device__ __forceinline__ void trend(const Pixel<1>& pixel, const FoldedSteps steps, double* room, float* out, int feature, int min_observations, Index index) {
  const Room folded(room, 0, pixel), there(room, steps.n, pixel);
  const int seen = fold(pixel, steps, folded, there, Room(room, 2 * steps.n, pixel), index);
  if (seen < steps.least || used_of(pixel) < min_observations) {
    for (int m = 0; m < 4; ++m) pixel.put(out, feature + m, MISSING);
    return;
  }
  int score = 0;
  double ties = 0.;
  for (int i = 0; i < steps.n; ++i) {
    if (there[i] == 0.) continue;
    int equal = 0;
    for (int j = 0; j < steps.n; ++j) {
      if (there[j] == 0.) continue;
      equal += folded[j] == folded[i];
      if (j > i) score += (folded[j] > folded[i]) - (folded[j] < folded[i]);
    }
    ties += (equal - 1.) * (2. * equal + 5.);
  }
  const float slope = median_of(seen * (seen - 1) / 2, [&](float most) {
    int n = 0;
    for (int i = 0; i < steps.n; ++i)
      for (int j = i + 1; j < steps.n; ++j)
        if (there[i] > 0. && there[j] > 0.) {
          const float years = (float)((steps.days[j] - steps.days[i]) * A_YEAR);
          n += ((float)folded[j] - (float)folded[i]) / years <= most;
        }
    return n;
  });
  const float level = median_of(seen, [&](float most) {
    int n = 0;
    for (int i = 0; i < steps.n; ++i)
      if (there[i] > 0.) n += (float)folded[i] - slope * (float)((steps.days[i] - steps.middle) * A_YEAR) <= most;
    return n;
  });
  const float variance = (float)(seen * (seen - 1.) * (2. * seen + 5.) - ties) / 18.f;
  const bool is_none = variance <= 0.f || score == 0;
  pixel.put(out, feature, slope);
  pixel.put(out, feature + 1, level);
  pixel.put(out, feature + 2, (float)score / (float)(seen * (seen - 1) / 2));
  pixel.put(out, feature + 3, is_none ? 1.f : erfcf((float)((score < 0 ? -score : score) - 1) / sqrtf(2.f * variance)));
}

template <class Index>
__device__ __forceinline__ void change(double sign, const Pixel<1>& pixel, const FoldedSteps steps, double* room, float* out, int feature, int min_observations,
                                       Index index) {
  const Room folded(room, 0, pixel), there(room, steps.n, pixel);
  const int seen = fold(pixel, steps, folded, there, Room(room, 2 * steps.n, pixel), index);
  if (seen < steps.least || used_of(pixel) < min_observations) {
    LOOP for (int m = 0; m < 4; ++m) pixel.put(out, feature + m, MISSING);
    return;
  }
  int last = -1, at = 0;
  double size = -INFINITE, day = 0.;
  LOOP for (int i = 0; i < steps.n; ++i) {
    if (there[i] == 0.) continue;
    if (last >= 0) {
      const double found = sign * (folded[i] - folded[last]);
      if (found > size) size = found, at = i, day = 0.5 * (steps.days[last] + steps.days[i]);
    }
    last = i;
  }
  double before = 0., after = 0.;
  int n_before = 0;
  LOOP for (int i = 0; i < steps.n; ++i) {
    if (there[i] == 0.) continue;
    if (i < at) before += folded[i], ++n_before;
    else after += folded[i];
  }
  pixel.put(out, feature, (float)size);
  pixel.put(out, feature + 1, (float)day);
  pixel.put(out, feature + 2, (float)before / (float)n_before);
  pixel.put(out, feature + 3, (float)after / (float)(seen - n_before));
}
