// What needs the time of each observation: one thread computes a pixel, after products/pixel/temporal.cu.
// The rules of products/pixel/harmonic.py, season.py, series.py and composites.py, in float64 where they are.
// Numbers that registers do not hold lie in `room`, [number][pixel], so that neighbouring threads read neighbouring numbers.

#define DAYS_A_YEAR 365.2425
#define TURN 6.283185307179586
#define LOOP _Pragma("unroll 1")

struct Room {
  double* __restrict__ numbers;
  long long n_pixels, place;

  __device__ __forceinline__ Room(double* room, int first, const Pixel<1>& pixel)
      : numbers(room + (long long)first * pixel.n_pixels), n_pixels(pixel.n_pixels), place(pixel.place) {}
  __device__ __forceinline__ double& operator[](int i) const { return numbers[i * n_pixels + place]; }
};

__device__ __forceinline__ int used_of(const Pixel<1>& pixel) {
  int n = 0;
  for (int t = 0; t < pixel.n_scenes; ++t) n += pixel.is_used(t);
  return n;
}

// Visits (value, scene) of each used observation whose index is finite.
template <class Index, class Visit> __device__ __forceinline__ void each_value(const Pixel<1>& pixel, Index index, Visit visit) {
  for (int t = 0; t < pixel.n_scenes; ++t) {
    if (!pixel.is_used(t)) continue;
    const float x = index(pixel, t);
    if (is_finite(x)) visit((double)x, t);
  }
}

// Least squares of N terms by the normal equations and Cholesky.
template <int N> struct Fit {
  double matrix[N * (N + 1) / 2], solution[N];
  int seen;

  __device__ __forceinline__ Fit() : seen(0) {
    UNROLL for (int i = 0; i < N * (N + 1) / 2; ++i) matrix[i] = 0.;
    UNROLL for (int i = 0; i < N; ++i) solution[i] = 0.;
  }

  __device__ __forceinline__ void add(double value, const double (&term)[N]) {
    ++seen;
    UNROLL for (int i = 0; i < N; ++i) {
      solution[i] += term[i] * value;
      UNROLL for (int j = 0; j <= i; ++j) matrix[i * (i + 1) / 2 + j] += term[i] * term[j];
    }
  }

  // Whether there are more observations than terms, and the dates tell these apart.
  __device__ __forceinline__ bool solve() {
    bool is_solved = seen > N;
    UNROLL for (int i = 0; i < N; ++i) {
      UNROLL for (int j = 0; j <= i; ++j) {
        double total = matrix[i * (i + 1) / 2 + j];
        UNROLL for (int k = 0; k < j; ++k) total -= matrix[i * (i + 1) / 2 + k] * matrix[j * (j + 1) / 2 + k];
        if (i == j) is_solved = is_solved && total > SINGULAR * matrix[i * (i + 1) / 2 + i];
        matrix[i * (i + 1) / 2 + j] = i == j ? sqrt(fmax(total, 0.)) : total / matrix[j * (j + 1) / 2 + j];
      }
    }
    UNROLL for (int i = 0; i < N; ++i) {
      double total = solution[i];
      UNROLL for (int k = 0; k < i; ++k) total -= matrix[i * (i + 1) / 2 + k] * solution[k];
      solution[i] = total / matrix[i * (i + 1) / 2 + i];
    }
    UNROLL for (int back = 0; back < N; ++back) {
      const int i = N - 1 - back;
      double total = solution[i];
      UNROLL for (int k = i + 1; k < N; ++k) total -= matrix[k * (k + 1) / 2 + i] * solution[k];
      solution[i] = total / matrix[i * (i + 1) / 2 + i];
    }
    return is_solved;
  }

  __device__ __forceinline__ double at(const double (&term)[N]) const {
    double total = 0.;
    UNROLL for (int i = 0; i < N; ++i) total += solution[i] * term[i];
    return total;
  }
};

template <int N> __device__ __forceinline__ void read_terms(const double* row, int skip, double (&term)[N]) {
  UNROLL for (int i = 0; i < N; ++i) term[i] = row[i + (i > 0 ? skip : 0)];
}

// base (scene, columns): 1, years since the middle, cos(2 pi t), sin(2 pi t), ...
template <int ORDER, bool TREND, class Index>
__device__ __forceinline__ void harmonics(const Pixel<1>& pixel, const double* base, int columns, float* out, int feature, int min_observations, Index index) {
  constexpr int N = 1 + TREND + 2 * ORDER, FIRST = 1 + TREND, SKIP = TREND ? 0 : 1;
  Fit<N> fit;
  each_value(pixel, index, [&](double value, int t) {
    double term[N];
    read_terms<N>(base + t * columns, SKIP, term);
    fit.add(value, term);
  });
  const bool is_there = fit.solve() && used_of(pixel) >= min_observations;
  double square = 0.;
  each_value(pixel, index, [&](double value, int t) {
    double term[N];
    read_terms<N>(base + t * columns, SKIP, term);
    const double rest = value - fit.at(term);
    square += rest * rest;
  });
  UNROLL for (int i = 0; i < FIRST; ++i) pixel.put(out, feature + i, is_there ? (float)fit.solution[i] : MISSING);
  UNROLL for (int k = 1; k <= ORDER; ++k) {
    const int i = FIRST + 2 * (k - 1);
    const double a = fit.solution[i], b = fit.solution[i + 1], length = DAYS_A_YEAR / k;
    const double day = atan2(b, a) / TURN * length;
    pixel.put(out, feature + i, is_there ? (float)hypot(a, b) : MISSING);
    pixel.put(out, feature + i + 1, is_there ? (float)(day < 0. ? day + length : day) : MISSING);
  }
  pixel.put(out, feature + N, is_there ? (float)sqrt(square / fit.seen) : MISSING);
}

// The means of each step into values and weights 1, or 0 where there is none; the number of steps with one.
template <class Index> __device__ __forceinline__ int step_means(const Pixel<1>& pixel, const double* step_of, int n, Room values, Room weights, Index index) {
  for (int i = 0; i < n; ++i) values[i] = weights[i] = 0.;
  each_value(pixel, index, [&](double value, int t) {
    const int step = (int)step_of[t];
    values[step] += value;
    weights[step] += 1.;
  });
  int seen = 0;
  for (int i = 0; i < n; ++i)
    if (weights[i] > 0.) {
      values[i] /= weights[i];
      weights[i] = 1.;
      ++seen;
    }
  return seen;
}

// Whittaker's smoother by Cholesky of the pentadiagonal system; d, e and f are scratch.
__device__ __forceinline__ void smooth(Room values, Room weights, double smoothness, int n, Room d, Room e, Room f, Room series) {
  for (int i = 0; i < n; ++i) {
    const double diagonal = (i >= 2 ? 1. : 0.) + (1 <= i && i <= n - 2 ? 4. : 0.) + (i <= n - 3 ? 1. : 0.);
    const double near = (i <= n - 3 ? -2. : 0.) + (1 <= i && i <= n - 2 ? -2. : 0.), far = i <= n - 3 ? 1. : 0.;
    double pivot = weights[i] + smoothness * diagonal, next = smoothness * near, target = weights[i] * values[i];
    if (i >= 1) {
      pivot -= e[i - 1] * e[i - 1] * d[i - 1];
      next -= e[i - 1] * f[i - 1] * d[i - 1];
      target -= e[i - 1] * series[i - 1];
    }
    if (i >= 2) {
      pivot -= f[i - 2] * f[i - 2] * d[i - 2];
      target -= f[i - 2] * series[i - 2];
    }
    const double inverse = 1. / pivot;
    d[i] = pivot;
    e[i] = next * inverse;
    f[i] = smoothness * far * inverse;
    series[i] = target;
  }
  for (int i = n - 1; i >= 0; --i) {
    double z = series[i] / d[i];
    if (i + 1 < n) z -= e[i] * series[i + 1];
    if (i + 2 < n) z -= f[i] * series[i + 2];
    series[i] = z;
  }
}

__device__ __forceinline__ double crossing(Room series, int top, int direction, int n, double level) {
  int i = top;
  LOOP for (; 0 <= i + direction && i + direction < n; i += direction) {
    const double here = series[i], there = series[i + direction];
    if (there <= level) return i + direction * (here > there ? (here - level) / (here - there) : 0.);
  }
  return (double)i;
}

__device__ __forceinline__ double area(Room series, double until, int n, double base) {
  const int whole = (int)until < n - 1 ? (int)until : n - 1;
  double total = 0.;
  LOOP for (int i = 0; i < whole; ++i) total += 0.5 * (series[i] + series[i + 1]) - base;
  const double rest = until - whole;
  if (rest > 0. && whole + 1 < n) {
    const double at_end = series[whole] + rest * (series[whole + 1] - series[whole]);
    total += rest * (0.5 * (series[whole] + at_end) - base);
  }
  return total;
}

__device__ __forceinline__ double between(Room series, double place, int n) {
  const int below = (int)place < n - 1 ? (int)place : n - 1;
  return series[below] + (place - below) * (series[below + 1 < n ? below + 1 : n - 1] - series[below]);
}

// How many steps, or runs of equal ones, are higher than both neighbours and stand out by `prominence`.
__device__ __forceinline__ double peaks(Room series, int n, double prominence) {
  int found = 0, last = 1;
  LOOP for (int i = 1; i < n - 1; i = last + 1) {
    const double height = series[i];
    last = i;
    LOOP while (last + 1 < n && series[last + 1] == height) ++last;
    if (series[i - 1] >= height || last + 1 >= n || series[last + 1] >= height) continue;
    double left = height, right = height;
    LOOP for (int j = i - 1; j >= 0 && series[j] <= height; --j) left = fmin(left, series[j]);
    LOOP for (int j = last + 1; j < n && series[j] <= height; ++j) right = fmin(right, series[j]);
    found += height - fmax(left, right) >= prominence;
  }
  return found;
}

struct Season {
  double found[N_SEASON_METRICS];
  bool is_there;
};

// The numbers of products.pixel.season.ALL_METRICS, those after the first seven where MORE is asked for; room for 6 n numbers.
template <bool MORE, class Index>
__device__ __forceinline__ Season season(const Pixel<1>& pixel, const double* step_of, int n, double step_days, double smoothness, double share, int least,
                                         double prominence, double* room, int min_observations, Index index) {
  const Room values(room, 0, pixel), weights(room, n, pixel), series(room, 5 * n, pixel);
  Season made;
  const int seen = step_means(pixel, step_of, n, values, weights, index);
  made.is_there = seen >= (least > 3 ? least : 3) && used_of(pixel) >= min_observations;
  if (!made.is_there) return made;
  smooth(values, weights, smoothness, n, Room(room, 2 * n, pixel), Room(room, 3 * n, pixel), Room(room, 4 * n, pixel), series);
  int top = 0;
  LOOP for (int i = 1; i < n; ++i)
    if (series[i] > series[top]) top = i;
  const double peak = series[top];
  double left = peak, right = peak;
  LOOP for (int i = 0; i < top; ++i) left = fmin(left, series[i]);
  for (int i = top + 1; i < n; ++i) right = fmin(right, series[i]);
  const double start = crossing(series, top, -1, n, left + share * (peak - left)), end = crossing(series, top, 1, n, right + share * (peak - right));
  const double base = fmin(left, right);
  made.found[0] = (start + 0.5) * step_days;
  made.found[1] = (top + 0.5) * step_days;
  made.found[2] = (end + 0.5) * step_days;
  made.found[3] = (end - start) * step_days;
  made.found[4] = (area(series, end, n, base) - area(series, start, n, base)) * step_days;
  made.found[5] = peak;
  made.found[6] = base;
  if (MORE) {
    const double at_start = between(series, start, n), at_end = between(series, end, n);
    made.found[7] = peak - base;
    made.found[8] = at_start;
    made.found[9] = at_end;
    made.found[10] = top > start ? (float)(peak - at_start) / (float)((top - start) * step_days) : MISSING;
    made.found[11] = end > top ? (float)(peak - at_end) / (float)((end - top) * step_days) : MISSING;
    UNROLL for (int side = 0; side < 2; ++side) {
      const int direction = 2 * side - 1;
      int low = top;
      LOOP for (int i = top + direction; 0 <= i && i < n; i += direction)
        if (series[i] < series[low]) low = i;
      const int last = low < top ? top : low;
      int at = low < top ? low : top;
      double steepest = MISSING;
      LOOP for (int i = at; i < last; ++i) {
        const double change = -direction * (series[i + 1] - series[i]);
        if (!(change <= steepest)) steepest = change;
      }
      LOOP while (at < last && -direction * (series[at + 1] - series[at]) < (1. - ALIKE) * steepest) ++at;
      made.found[12 + side] = steepest * (1. / step_days);
      made.found[14 + side] = low == top ? (double)MISSING : (at + 1) * step_days;
    }
    made.found[16] = peaks(series, n, prominence);
  }
  return made;
}

// The share of the values that are at_least and below.
template <class Index>
__device__ __forceinline__ void frequency(const Pixel<1>& pixel, float at_least, float below, float* out, int feature, int min_observations, Index index) {
  int seen = 0, inside = 0;
  each_value(pixel, index, [&](double value, int) {
    ++seen;
    inside += (double)at_least <= value && value < (double)below;
  });
  pixel.put(out, feature, seen > 0 && used_of(pixel) >= min_observations ? (float)inside / (float)seen : MISSING);
}

// The scene of the highest (sign 1) or lowest (sign -1) finite index, the earliest of equals; -1 where there is none.
template <class Index> __device__ __forceinline__ int best(const Pixel<1>& pixel, double sign, int min_observations, Index index) {
  int found = -1;
  double highest = -INFINITE;
  each_value(pixel, index, [&](double value, int t) {
    if (sign * value > highest) found = t, highest = sign * value;
  });
  return used_of(pixel) >= min_observations ? found : -1;
}

// The scene with the least sum of distances to all others over some bands, the earliest of equals; `read` gives the B bands of a scene.
template <int B, class Read> __device__ __forceinline__ int medoid(const Pixel<1>& pixel, int min_observations, Read read) {
  int found = -1;
  float least = INFINITE;
  for (int t = 0; t < pixel.n_scenes; ++t) {
    if (!pixel.is_used(t)) continue;
    float one[B], total = 0.f;
    read(pixel, t, one);
    for (int other = 0; other < pixel.n_scenes; ++other) {
      if (other == t || !pixel.is_used(other)) continue;
      float two[B], square = 0.f;
      read(pixel, other, two);
      UNROLL for (int b = 0; b < B; ++b) square += (one[b] - two[b]) * (one[b] - two[b]);
      total += sqrtf(square);
    }
    if (total < least) found = t, least = total;
  }
  return used_of(pixel) >= min_observations ? found : -1;
}
