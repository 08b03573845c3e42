// Gap-filled series and passes: one thread computes a pixel, after products/pixel/temporal_ordered.cu.
// The rules of products/pixel/series.py and observe.py.

#define NODATA_CAUSES(cause) ((cause) == 255 || (cause) == 1 || (cause) == 2 || (cause) == 10)

// n steps, of which the first and last `margin` are not put; the layers of neighbouring steps are `stride` apart.
struct Steps {
  int n, margin, stride;

  __device__ __forceinline__ bool has(int i) const { return margin <= i && i < n - margin; }
  __device__ __forceinline__ void put(const Pixel<1>& pixel, float* out, int feature, int i, float x) const {
    if (has(i)) pixel.put(out, feature + (i - margin) * stride, x);
  }
};

// How many observations each step has.
__device__ __forceinline__ void count_steps(const Pixel<1>& pixel, const double* step_of, Steps steps, float* out, int feature) {
  for (int i = 0; i < steps.n; ++i) steps.put(pixel, out, feature, i, 0.f);
  for (int t = 0; t < pixel.n_scenes; ++t) {
    const int i = (int)step_of[t];
    if (pixel.is_used(t) && steps.has(i)) out[(feature + i - steps.margin) * pixel.n_pixels + pixel.place] += 1.f;
  }
}

// Straight lines between the steps that have a mean, the first and last value before and after; of Whittaker's smoother with two of them, its curve.
// Room for 6 n numbers, for 2 n where it does not smooth.
template <bool SMOOTH, class Index>
__device__ __forceinline__ void filled(const Pixel<1>& pixel, const double* step_of, const double* middles, Steps steps, double smoothness, double* room,
                                       float* out, int feature, int min_observations, Index index) {
  const int n = steps.n;
  const Room values(room, 0, pixel), weights(room, n, pixel);
  const int seen = step_means(pixel, step_of, n, values, weights, index);
  const bool is_enough = used_of(pixel) >= min_observations;
  if (SMOOTH && seen > 1) {
    const Room series(room, 5 * n, pixel);
    smooth(values, weights, smoothness, n, Room(room, 2 * n, pixel), Room(room, 3 * n, pixel), Room(room, 4 * n, pixel), series);
    for (int i = 0; i < n; ++i) steps.put(pixel, out, feature, i, is_enough ? (float)series[i] : MISSING);
    return;
  }
  int before = -1;
  for (int i = 0; i < n; ++i) {
    if (weights[i] <= 0.) continue;
    const double here = values[i], last = before < 0 ? here : values[before], origin = before < 0 ? 0. : middles[before];
    const double slope = before < 0 ? 0. : (here - last) / (middles[i] - origin);
    for (int j = before + 1; j < i; ++j) steps.put(pixel, out, feature, j, is_enough ? (float)(last + slope * (middles[j] - origin)) : MISSING);
    steps.put(pixel, out, feature, i, is_enough ? (float)here : MISSING);
    before = i;
  }
  for (int j = before + 1; j < n; ++j) steps.put(pixel, out, feature, j, before >= 0 && is_enough ? (float)values[before] : MISSING);
}

// The least squares fit of N terms at each step.
template <int N, class Index>
__device__ __forceinline__ void modelled(const Pixel<1>& pixel, const double* at_scenes, const double* at_steps, Steps steps, float* out, int feature,
                                         int min_observations, Index index) {
  Fit<N> fit;
  each_value(pixel, index, [&](double value, int t) {
    double term[N];
    read_terms<N>(at_scenes + t * N, 0, term);
    fit.add(value, term);
  });
  const bool is_there = fit.solve() && used_of(pixel) >= min_observations;
  for (int i = 0; i < steps.n; ++i) {
    double term[N];
    read_terms<N>(at_steps + i * N, 0, term);
    steps.put(pixel, out, feature, i, is_there ? (float)fit.at(term) : MISSING);
  }
}

// Reflectance of the one scene of a pass that gives the pixel, masked or not.
__device__ __forceinline__ void observed(const Pixel<1>& pixel, int n_bands, float* out) {
  for (int band = 0; band < n_bands; ++band) {
    float x = MISSING;
    for (int t = 0; t < pixel.n_scenes; ++t) {
      const unsigned char cause = pixel.causes[t * pixel.n_pixels + pixel.place];
      const bool has_data = pixel.block[((long long)band * pixel.n_scenes + t) * pixel.n_pixels + pixel.place] != 0;
      if (has_data && !NODATA_CAUSES(cause)) x = pixel.at(band, t);
    }
    pixel.put(out, band, x);
  }
}
