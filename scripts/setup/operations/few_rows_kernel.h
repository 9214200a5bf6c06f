// The loops of few_rows.cc, for the vectors of one kind of processor. Included once for each, in a namespace with those
// of vectors.h, and with the macro TARGET, which is put before every function.
//
// M, up to 8, is the number of rows of x; x and y are float32 with rows of K and N numbers.

// Hints that memory will soon be read, as many lines of the cache as are read meanwhile.
struct Ahead {
  const char* next;
  const char* end;

  TARGET void advance(int64_t bytes) {
    for (const char* until = next + bytes; next < until; next += LINE)
      if (next < end) __builtin_prefetch(next, 0, 2);
  }
};

// y[m][n] += sum of x[m][k] w[k][n] over k from `begin` to `end`, for VECTORS vectors of columns from n on.
template <int M, int VECTORS, class Weight>
TARGET void addColumns(const float* x, int64_t K, const Weight* w, float* y, int64_t N, int64_t n, int64_t begin,
                       int64_t end, Ahead& ahead) {
  Vector sums[M][VECTORS];
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < VECTORS; ++v) sums[m][v] = load(y + m * N + n + v * LANES);
  const Weight* row = w + begin * N + n;
  for (int64_t k = begin; k < end; ++k, row += N) {
    ahead.advance(VECTORS * LANES * sizeof(Weight));
    Vector weights[VECTORS];
    for (int v = 0; v < VECTORS; ++v) weights[v] = load(row + v * LANES);
    for (int m = 0; m < M; ++m) {
      const Vector factor = everywhere(x[m * K + k]);
      for (int v = 0; v < VECTORS; ++v) sums[m][v] = plusProduct(sums[m][v], factor, weights[v]);
    }
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < VECTORS; ++v) store(y + m * N + n + v * LANES, sums[m][v]);
}

// The same for all columns.
template <int M, class Weight>
TARGET void addRows(const float* x, int64_t K, const Weight* w, float* y, int64_t N, int64_t begin, int64_t end,
                    Ahead& ahead) {
  constexpr int VECTORS = std::max(1, std::min(4, REGISTERS / (2 * M)));
  int64_t n = 0;
  for (; n + VECTORS * LANES <= N; n += VECTORS * LANES) addColumns<M, VECTORS>(x, K, w, y, N, n, begin, end, ahead);
  for (; n + LANES <= N; n += LANES) addColumns<M, 1>(x, K, w, y, N, n, begin, end, ahead);
  for (; n < N; ++n)
    for (int m = 0; m < M; ++m)
      for (int64_t k = begin; k < end; ++k) y[m * N + n] += x[m * K + k] * widened(w[k * N + n]);
}

// y[m][n] += sum of x[m][k] w[n][k] over all k, for ROWS rows of w from n on.
template <int M, int ROWS, class Weight>
TARGET void addProducts(const float* x, int64_t K, const Weight* w, float* y, int64_t N, int64_t n, Ahead& ahead) {
  Vector sums[ROWS][M];
  for (auto& ofRow : sums)
    for (Vector& sum : ofRow) sum = everywhere(0);
  const Weight* row = w + n * K;
  int64_t k = 0;
  for (; k + LANES <= K; k += LANES) {
    ahead.advance(ROWS * LANES * sizeof(Weight));
    Vector weights[ROWS];
    for (int r = 0; r < ROWS; ++r) weights[r] = load(row + r * K + k);
    for (int m = 0; m < M; ++m) {
      const Vector factors = load(x + m * K + k);
      for (int r = 0; r < ROWS; ++r) sums[r][m] = plusProduct(sums[r][m], factors, weights[r]);
    }
  }
  for (int r = 0; r < ROWS; ++r)
    for (int m = 0; m < M; ++m) {
      float sum = total(sums[r][m]);
      for (int64_t rest = k; rest < K; ++rest) sum += x[m * K + rest] * widened(row[r * K + rest]);
      y[m * N + n + r] += sum;
    }
}

// The same for the rows of w from `begin` to `end`.
template <int M, class Weight>
TARGET void addAllProducts(const float* x, int64_t K, const Weight* w, float* y, int64_t N, int64_t begin, int64_t end,
                           Ahead& ahead) {
  constexpr int ROWS = std::max(1, std::min(4, REGISTERS / (2 * M)));
  int64_t n = begin;
  for (; n + ROWS <= end; n += ROWS) addProducts<M, ROWS>(x, K, w, y, N, n, ahead);
  for (; n < end; ++n) addProducts<M, 1>(x, K, w, y, N, n, ahead);
}

// A share of a product: rows `begin` to `end` of w. They are taken in blocks that stay in the cache while the rows of x
// are multiplied by them, at most eight at once.
template <class Weight>
TARGET void computeShare(const Factors& f, const Weight* w, float* y, int64_t begin, int64_t end) {
  const int64_t rowLength = f.transposed ? f.K : f.N;
  const int64_t most = std::max<int64_t>(4, BLOCK / (std::max<int64_t>(1, rowLength) * sizeof(Weight)));
  for (int64_t from = begin; from < end; from += most) {
    const int64_t to = std::min(from + most, end);
    Ahead ahead{reinterpret_cast<const char*>(w + to * rowLength),
                reinterpret_cast<const char*>(w + std::min(to + most, end) * rowLength)};
    const auto multiply = [&](auto rows, int64_t m) TARGET {
      constexpr int M = decltype(rows)::value;
      const float* x = f.x + m * f.K;
      if (f.transposed) addAllProducts<M>(x, f.K, w, y + m * f.N, f.N, from, to, ahead);
      else addRows<M>(x, f.K, w, y + m * f.N, f.N, from, to, ahead);
    };
    int64_t m = 0;
    for (; m + 8 <= f.M; m += 8) multiply(std::integral_constant<int, 8>(), m);
    if (m + 4 <= f.M) multiply(std::integral_constant<int, 4>(), m), m += 4;
    if (m + 2 <= f.M) multiply(std::integral_constant<int, 2>(), m), m += 2;
    if (m < f.M) multiply(std::integral_constant<int, 1>(), m);
  }
}
