// The geomedian of the pixels that are doubted in float32, in float64, and their MADs; after products/pixel/temporal_mads.cu.

// Newton's iteration of products/pixel/geomedian_newton.py; its equations are solved by conjugate gradients, which need no matrix.
template <int B> struct NewtonCentre {
  double at[B], radius;

  // To each used observation: the way from the centre, and one over the rounded distance.
  template <class Seen, class Visit> __device__ __forceinline__ void each(const Seen& seen, Visit visit) const {
    seen.each([&](const float (&v)[B], bool, int) {
      double away[B], square = radius * radius;
      UNROLL for (int b = 0; b < B; ++b) {
        away[b] = v[b] - at[b];
        square += away[b] * away[b];
      }
      visit(away, square);
    });
  }

  // The sum of rounded distances to a place `share` of `step` away.
  template <class Seen> __device__ __forceinline__ double sum_of_distances(const Seen& seen, const double (&step)[B], double share) const {
    double total = 0.;
    seen.each([&](const float (&v)[B], bool, int) {
      double square = radius * radius;
      UNROLL for (int b = 0; b < B; ++b) {
        const double away = v[b] - (at[b] + share * step[b]);
        square += away * away;
      }
      total += sqrt(square);
    });
    return total;
  }

  // Newton's step; returns the sum of rounded distances here.
  template <class Seen> __device__ __forceinline__ double slope(const Seen& seen, double (&step)[B]) const {
    double total = 0., inverse = 0., rest[B], way[B], size = 0.;
    UNROLL for (int b = 0; b < B; ++b) rest[b] = step[b] = 0.;
    each(seen, [&](const double (&away)[B], double square) {
      const double distance = sqrt(square), share = 1. / distance;
      total += distance;
      inverse += share;
      UNROLL for (int b = 0; b < B; ++b) rest[b] += away[b] * share;
    });
    UNROLL for (int b = 0; b < B; ++b) {
      way[b] = rest[b];
      size += rest[b] * rest[b];
    }
    const double enough = size * CONJUGATE_TOLERANCE * CONJUGATE_TOLERANCE;
    for (int i = 0; i < 2 * B && size > enough; ++i) {
      double turned[B], along = 0.;
      UNROLL for (int b = 0; b < B; ++b) turned[b] = inverse * (1. + RIDGE) * way[b];
      each(seen, [&](const double (&away)[B], double square) {
        const double share = 1. / sqrt(square);
        double product = 0.;
        UNROLL for (int b = 0; b < B; ++b) product += away[b] * way[b];
        product *= share * share * share;
        UNROLL for (int b = 0; b < B; ++b) turned[b] -= product * away[b];
      });
      UNROLL for (int b = 0; b < B; ++b) along += way[b] * turned[b];
      const double share = size / along;
      double left = 0.;
      UNROLL for (int b = 0; b < B; ++b) {
        step[b] += share * way[b];
        rest[b] -= share * turned[b];
        left += rest[b] * rest[b];
      }
      UNROLL for (int b = 0; b < B; ++b) way[b] = rest[b] + left / size * way[b];
      size = left;
    }
    return total;
  }

  template <class Seen> __device__ __forceinline__ void go(const Seen& seen) {
    double step[B], n = 0.;
    UNROLL for (int b = 0; b < B; ++b) at[b] = step[b] = 0.;
    seen.each([&](const float (&v)[B], bool, int) {
      n += 1.;
      UNROLL for (int b = 0; b < B; ++b) at[b] += v[b];
    });
    UNROLL for (int b = 0; b < B; ++b) at[b] /= n;
    radius = 0.;
    radius = FIRST_RADIUS * sum_of_distances(seen, step, 0.) / n;
    for (int i = 0; i < NEWTON_STEPS; ++i) {
      const double total = slope(seen, step);
      double share = 1.;
      while (share > SHORTEST_SHARE && sum_of_distances(seen, step, share) > total * (1. + ROUNDING)) share *= 0.5;
      const bool goes = share > SHORTEST_SHARE;
      UNROLL for (int b = 0; b < B; ++b) at[b] += goes ? share * step[b] : 0.;
      if (share < 1. && goes) continue;
      double length = 0.;
      UNROLL for (int b = 0; b < B; ++b) length += step[b] * step[b];
      if (radius <= LAST_RADIUS && (!goes || length <= NEWTON_TOLERANCE * NEWTON_TOLERANCE)) break;
      radius = fmax(radius * SMALLER, LAST_RADIUS);
    }
    to_observation(seen);
  }

  // To the nearest observation, where it is the median (Vardi and Zhang 2000, PNAS 97, 1423).
  template <class Seen> __device__ __forceinline__ void to_observation(const Seen& seen) {
    double nearest[B], least = INFINITE, on = 0., pull[B], force = 0.;
    radius = 0.;
    UNROLL for (int b = 0; b < B; ++b) nearest[b] = pull[b] = 0.;
    each(seen, [&](const double (&away)[B], double square) {
      const bool is_nearer = square < least;
      least = is_nearer ? square : least;
      UNROLL for (int b = 0; b < B; ++b) nearest[b] = is_nearer ? away[b] : nearest[b];
    });
    UNROLL for (int b = 0; b < B; ++b) nearest[b] = (float)(at[b] + nearest[b]);
    seen.each([&](const float (&v)[B], bool, int) {
      double square = 0.;
      UNROLL for (int b = 0; b < B; ++b) square += (v[b] - nearest[b]) * (v[b] - nearest[b]);
      const double share = square > 0. ? 1. / sqrt(square) : 0.;
      on += square > 0. ? 0. : 1.;
      UNROLL for (int b = 0; b < B; ++b) pull[b] += (v[b] - nearest[b]) * share;
    });
    UNROLL for (int b = 0; b < B; ++b) force += pull[b] * pull[b];
    UNROLL for (int b = 0; b < B; ++b) at[b] = force <= on * on ? nearest[b] : at[b];
  }
};

template <int B, bool WITH_MADS> __device__ __forceinline__ void geomedian_anew(const Pixel<1>& pixel, float* out) {
  const bool asked = __float_as_uint(out[pixel.place]) == DOUBTED;
  if (!__any_sync(EVERYONE, asked)) return;
  const Streamed<1, B> seen(pixel);
  float centre[B];
  NewtonCentre<B> found;
  if (asked) found.go(seen);
  UNROLL for (int b = 0; b < B; ++b) centre[b] = asked ? (float)found.at[b] : 0.f;
  __syncwarp();
  UNROLL for (int b = 0; b < B; ++b)
    if (asked) pixel.put(out, b, centre[b]);
  if constexpr (WITH_MADS) {
    float median[3];
    medians(seen, centre, median);
    UNROLL for (int m = 0; m < 3; ++m)
      if (asked) pixel.put(out, B + m, median[m]);
  }
}
