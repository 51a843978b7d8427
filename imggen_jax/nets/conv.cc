// The three bilinear maps of a convolution on a CPU, float32, as XLA FFI handlers: images NHWC, kernels HWIO.
//
// Output and input gradient are one kernel: every destination pixel gathers, over a list of taps, the channels of a
// source pixel times a [channels, columns] slice of the kernel. Six destination pixels by two vectors of columns stay in
// registers (the shape that Goto and van de Geijn's matmul uses; doi 10.1145/1356052.1356053), and the source is read
// in place, so that no im2col matrix is ever written. Sources are copied, with their border of zeros, in bands that fit
// the cache. The weight gradient keeps a tile of the kernel in registers and runs over pixels.
//
// What a thread sums is fixed by the shapes and the number of threads, so a machine gives the same bits every time.
#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;  // AVX2; two registers each with NEON or SSE
#endif
constexpr int kRows = 6;              // destination pixels (or kernel rows) of a register tile
constexpr int kPanel = 2 * kLanes;    // columns of a register tile
constexpr int kDepth = 256;           // products summed before a tile goes back to memory: a panel stays in L1
constexpr int kPixels = 128;          // pixels that a tile of the weight gradient sums over at a time: likewise
constexpr int64_t kBand = 48 << 10;   // floats of a band of source pixels, border included: a part of L2
constexpr int64_t kLarge = 1 << 20;   // floats of a kernel that is dealt out to the threads instead of the pixels

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }

// ---------------------------------------------------------------------------------------------------------------------
// Threads: XLA's own pool. The caller works too and takes whatever nobody has begun, so a busy pool cannot block it.

struct Work {
  std::function<void(int64_t)> run;
  int64_t items;
  std::atomic<int64_t> next{0};
  int64_t done = 0;
  std::mutex mutex;
  std::condition_variable all_done;

  void take() {
    int64_t finished = 0;
    for (int64_t i; (i = next.fetch_add(1)) < items; ++finished) run(i);
    if (finished == 0) return;
    std::lock_guard<std::mutex> lock(mutex);
    if ((done += finished) == items) all_done.notify_all();
  }
};

void parallel(ffi::ThreadPool& pool, int64_t items, std::function<void(int64_t)> run) {
  auto work = std::make_shared<Work>();
  work->run = std::move(run);
  work->items = items;
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), items) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([work] { work->take(); });
  work->take();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->all_done.wait(lock, [&] { return work->done == items; });
}

// Memory that is kept for the next call, as fresh pages cost more than what is done with them; in huge pages if it can.
class Buffer {
 public:
  explicit Buffer(size_t floats) {
    if (floats == 0) return;
    {
      std::lock_guard<std::mutex> lock(mutex());
      auto found = std::find_if(kept().begin(), kept().end(), [&](auto& b) { return b.second >= floats; });
      if (found != kept().end()) {
        memory_ = *found;
        kept().erase(found);
        return;
      }
    }
    const size_t page = 2 << 20, bytes = (floats * sizeof(float) + page - 1) / page * page;
    void* p = nullptr;
    if (posix_memalign(&p, page, bytes)) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(p, bytes, MADV_HUGEPAGE);
#endif
    memory_ = {static_cast<float*>(p), bytes / sizeof(float)};
  }
  ~Buffer() {
    if (memory_.first == nullptr) return;
    std::lock_guard<std::mutex> lock(mutex());
    kept().push_back(memory_);
    std::sort(kept().begin(), kept().end(), [](auto& a, auto& b) { return a.second < b.second; });
    while (kept().size() > 16) {  // the smallest are the cheapest to make again
      free(kept().front().first);
      kept().erase(kept().begin());
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  float* data() const { return memory_.first; }

 private:
  std::pair<float*, size_t> memory_{nullptr, 0};

  // Never destroyed: threads may still work when the process ends.
  static std::mutex& mutex() {
    static std::mutex& m = *new std::mutex;
    return m;
  }
  static std::vector<std::pair<float*, size_t>>& kept() {
    static auto& k = *new std::vector<std::pair<float*, size_t>>;
    return k;
  }
};

// ---------------------------------------------------------------------------------------------------------------------
// Shapes.

struct Images {
  int64_t B, H, W, C;
  int64_t pixel(int64_t b, int64_t h, int64_t w) const { return ((b * H + h) * W + w) * C; }
};

Images images(const ffi::Span<const int64_t>& dims) { return {dims[0], dims[1], dims[2], dims[3]}; }

// Some rows and columns of some images, border of zeros included.
struct Band {
  int64_t first, count;    // images
  int64_t top, rows;       // may begin above and end below the image
  int64_t left, columns;
};

// Floats from one pixel of a copy to the next. Pixels that are a multiple of 256 bytes apart share few sets of the cache.
int64_t spread(int64_t channels) { return channels % 64 ? channels : channels + 16; }

// Copies a band's pixels to [count,rows,columns,stride]; a pixel's C channels come first in its `stride` floats.
void cut(const float* source, const Images& s, const Band& band, int64_t stride, float* out) {
  const int64_t from = std::clamp<int64_t>(-band.left, 0, band.columns);
  const int64_t to = std::clamp<int64_t>(s.W - band.left, from, band.columns);
  auto zeros = [&](int64_t pixels) {
    std::memset(out, 0, sizeof(float) * pixels * stride);
    out += pixels * stride;
  };
  for (int64_t b = band.first; b < band.first + band.count; ++b) {
    for (int64_t h = band.top; h < band.top + band.rows; ++h) {
      if (h < 0 || h >= s.H || from == to) {
        zeros(band.columns);
        continue;
      }
      zeros(from);
      const float* row = source + s.pixel(b, h, band.left + from);
      if (stride == s.C) {
        std::memcpy(out, row, sizeof(float) * (to - from) * s.C);
        out += (to - from) * s.C;
      } else {
        for (int64_t w = from; w < to; ++w, out += stride, row += s.C) std::memcpy(out, row, sizeof(float) * s.C);
      }
      zeros(band.columns - to);
    }
  }
}

// Whether a band lies in memory as `cut` would copy it.
bool in_place(const Images& s, const Band& band) {
  const bool inside = band.top >= 0 && band.top + band.rows <= s.H && band.left == 0 && band.columns == s.W;
  return inside && (band.count == 1 || band.rows == s.H);
}

// How the rows of destinations are dealt out: `count` images at a time, or `rows` rows of one.
struct Deal {
  int64_t count, rows, blocks, items;

  // most: floats of a band. least: items, if there is as much to do.
  Deal(int64_t batch, int64_t height, int64_t row_floats, int64_t window, int64_t step, int64_t most, int64_t least) {
    const int64_t image = row_floats * ((height - 1) * step + window);
    count = std::clamp<int64_t>(most / std::max<int64_t>(1, image), 1, std::max<int64_t>(1, batch / least));
    rows = height;
    if (image > most) rows = std::clamp<int64_t>((most / row_floats - window) / step + 1, 1, height);
    if (batch < least) rows = std::clamp<int64_t>(height * batch / least, 1, rows);
    blocks = (height + rows - 1) / rows;
    items = (batch + count - 1) / count * blocks;
  }
};

// ---------------------------------------------------------------------------------------------------------------------
// Kernels in panels: columns side by side, padded with zeros to whole vectors, so that a tile reads them in order.

int64_t padded(int64_t columns) { return (columns + kLanes - 1) / kLanes * kLanes; }

// [depth][padded(columns)] for each panel of kPanel columns: the floats before panel p.
int64_t panel_start(int64_t depth, int64_t p) { return depth * p * kPanel; }

int64_t panels(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// ---------------------------------------------------------------------------------------------------------------------
// Gather: output and input gradient.

template <int R, int N>
void gather_tile(const float* const* source, const int64_t* taps, int64_t tap_count, int64_t depth, const float* panel,
                 float* const* destination, bool add, int columns) {
  Vector sum[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) sum[r][n] = Vector{};
  for (int64_t t = 0; t < tap_count; ++t) {
    const float* from[R];
    for (int r = 0; r < R; ++r) from[r] = source[r] + taps[t];
    for (int64_t d = 0; d < depth; ++d, panel += N * kLanes) {
      Vector row[N];
      for (int n = 0; n < N; ++n) row[n] = load(panel + n * kLanes);
      for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) sum[r][n] += row[n] * from[r][d];
    }
  }
  if (columns == N * kLanes && !add) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(destination[r] + n * kLanes, sum[r][n]);
  } else if (columns == N * kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(destination[r] + n * kLanes, load(destination[r] + n * kLanes) + sum[r][n]);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float whole[N * kLanes];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(whole + n * kLanes, sum[r][n]);
      for (int c = 0; c < columns; ++c) destination[r][c] = add ? destination[r][c] + whole[c] : whole[c];
    }
  }
}

using GatherTile = void (*)(const float* const*, const int64_t*, int64_t, int64_t, const float*, float* const*, bool, int);

template <int N>
constexpr GatherTile kGather[kRows] = {gather_tile<1, N>, gather_tile<2, N>, gather_tile<3, N>,
                                       gather_tile<4, N>, gather_tile<5, N>, gather_tile<6, N>};

// Destination pixels that share their taps: one phase of a transposed convolution, or all of a plain one.
struct Phase {
  int64_t source_row, source_column;            // of the band, for the first destination of an item
  int64_t destination_row, destination_column;  // the first; the others follow in steps
  std::vector<std::array<int64_t, 4>> taps;     // row and column in the band, row and column of the kernel
  std::vector<int64_t> offsets;                 // of the taps, in floats
  std::unique_ptr<Buffer> panels;               // of every group
};

struct Gather {
  Images source, destination;
  int64_t groups, kernel_rows;                // of the kernel as a matrix [kernel_rows * depth, width]
  int64_t source_step[2], destination_step[2];
  int64_t rows, columns;                      // of destinations in a phase, before those outside are left out
  int64_t top, left, band_rows, band_columns; // the band of rows [0, 1): its first row and size
  std::vector<Phase> phases;

  int64_t depth() const { return source.C / groups; }    // channels that a tap reads
  int64_t width() const { return destination.C / groups; }
};

// Some panels of one phase's destinations in an item, a panel and a stretch of the taps at a time.
void gather_phase(const Gather& g, const Phase& phase, int64_t first, int64_t last, const float* band,
                  const std::vector<int64_t>& from, const std::vector<int64_t>& to, float* out) {
  const int64_t depth = g.depth(), width = g.width(), taps = phase.offsets.size(), pixels = from.size();
  const float* source[kRows];
  float* destination[kRows];
  const int64_t together = std::max<int64_t>(1, kDepth / depth);      // taps in a stretch
  const int64_t part = together > 1 ? depth : std::min<int64_t>(depth, kDepth);
  for (int64_t i = first; i < last; ++i) {
    const int64_t group = i / panels(width), p = i % panels(width);
    const float* kernel = phase.panels->data() + group * taps * depth * padded(width) + panel_start(taps * depth, p);
    const int64_t columns = std::min<int64_t>(kPanel, width - p * kPanel), lanes = padded(columns);
    const GatherTile* tile = lanes > kLanes ? kGather<2> : kGather<1>;
    for (int64_t t = 0; t < taps; t += together) {
      for (int64_t d = 0; d < depth; d += part) {
        const int64_t some = std::min(together, taps - t), deep = std::min(part, depth - d);
        for (int64_t pixel = 0; pixel < pixels; pixel += kRows) {
          const int64_t n = std::min<int64_t>(kRows, pixels - pixel);
          for (int64_t r = 0; r < n; ++r) {
            source[r] = band + from[pixel + r] + group * depth + d;
            destination[r] = out + to[pixel + r] + group * width + p * kPanel;
          }
          tile[n - 1](source, phase.offsets.data() + t, some, deep, kernel + (t * depth + d) * lanes, destination,
                      t + d > 0, columns);
        }
      }
    }
  }
}

void gather_run(ffi::ThreadPool& pool, Gather& g, const float* source, float* out) {
  const Images &s = g.source, &d = g.destination;
  // Read in place if no image has a border and no band a beginning of its own.
  const bool there = g.top == 0 && g.left == 0 && g.band_columns == s.W &&
                     (g.rows - 1) * g.source_step[0] + g.band_rows == s.H;
  const int64_t stride = there ? s.C : spread(s.C);
  for (Phase& phase : g.phases) {
    phase.offsets.clear();
    for (auto& tap : phase.taps) phase.offsets.push_back((tap[0] * g.band_columns + tap[1]) * stride);
  }
  // A large kernel would be read again for each band: then bands are large too, and the threads share out its panels.
  const int64_t every = g.groups * panels(g.width()), enough = 4 * std::max<int64_t>(1, pool.num_threads());
  const bool large = g.kernel_rows * g.depth() * d.C > kLarge && every >= enough;
  const Deal deal(s.B, g.rows, g.band_columns * stride, g.band_rows, g.source_step[0], large ? 8 * kBand : kBand,
                  large ? 1 : enough);
  const int64_t shares = large ? std::min(every, std::max<int64_t>(1, enough / deal.items)) : 1;
  parallel(pool, deal.items * shares, [&](int64_t index) {
    const int64_t item = index / shares, share = index % shares;
    const int64_t b = item / deal.blocks * deal.count, q = item % deal.blocks * deal.rows;
    const int64_t count = std::min(deal.count, s.B - b), rows = std::min(deal.rows, g.rows - q);
    const Band band{b, count, g.top + q * g.source_step[0], (rows - 1) * g.source_step[0] + g.band_rows,
                    g.left, g.band_columns};
    const Buffer copy(there ? 0 : count * band.rows * band.columns * stride);
    if (!there) cut(source, s, band, stride, copy.data());
    const float* pixels = there ? source + s.pixel(b, band.top, 0) : copy.data();
    std::vector<int64_t> from, to;
    for (const Phase& phase : g.phases) {
      from.clear();
      to.clear();
      for (int64_t n = 0; n < count; ++n)
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < g.columns; ++j) {
            const int64_t row = (q + i) * g.destination_step[0] + phase.destination_row;
            const int64_t column = j * g.destination_step[1] + phase.destination_column;
            if (row >= d.H || column >= d.W) continue;
            to.push_back(d.pixel(b + n, row, column));
            from.push_back(((n * band.rows + i * g.source_step[0] + phase.source_row) * band.columns +
                            j * g.source_step[1] + phase.source_column) * stride);
          }
      if (phase.offsets.empty())
        for (int64_t pixel : to) std::memset(out + pixel, 0, sizeof(float) * d.C);
      else
        gather_phase(g, phase, every * share / shares, every * (share + 1) / shares, pixels, from, to, out);
    }
  });
}

// Packs a phase's taps of the kernel w [kh,kw,depth or width,...]; `at` is the place in w of (tap, depth, column).
template <typename At>
void pack(ffi::ThreadPool& pool, const Gather& g, Phase& phase, const float* w, At at) {
  const int64_t depth = g.depth(), width = g.width(), taps = phase.taps.size(), per_group = panels(width);
  const int64_t size = g.groups * taps * depth * padded(width);
  phase.panels = std::make_unique<Buffer>(size);
  auto one = [&](int64_t i) {
    const int64_t group = i / per_group, p = i % per_group;
    const int64_t columns = std::min<int64_t>(kPanel, width - p * kPanel), lanes = padded(columns);
    float* out = phase.panels->data() + group * taps * depth * padded(width) + panel_start(taps * depth, p);
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t d = 0; d < depth; ++d, out += lanes) {
        for (int64_t c = 0; c < columns; ++c) out[c] = w[at(phase.taps[t], group, d, p * kPanel + c)];
        std::fill(out + columns, out + lanes, 0.0f);
      }
  };
  if (size > 65536)
    parallel(pool, g.groups * per_group, one);
  else
    for (int64_t i = 0; i < g.groups * per_group; ++i) one(i);
}

using Tensor = ffi::Buffer<ffi::F32, 4>;
using Numbers = ffi::Span<const int64_t>;

// Attributes: strides (vertical, horizontal), pads (top, left; below and right follow from the shapes), groups.

ffi::Error output(ffi::ThreadPool pool, Tensor x, Tensor w, ffi::Result<Tensor> y, Numbers strides, Numbers pads,
                  int64_t groups) {
  const auto k = w.dimensions();
  Gather g{images(x.dimensions()), images(y->dimensions()), groups, k[0] * k[1], {strides[0], strides[1]}, {1, 1}};
  if (y->element_count() == 0) return ffi::Error::Success();
  g.rows = g.destination.H, g.columns = g.destination.W;
  g.top = -pads[0], g.left = -pads[1];
  g.band_rows = k[0], g.band_columns = (g.columns - 1) * strides[1] + k[1];
  Phase phase{};
  for (int64_t i = 0; i < k[0]; ++i)
    for (int64_t j = 0; j < k[1]; ++j) phase.taps.push_back({i, j, i, j});
  const int64_t width = g.width();
  pack(pool, g, phase, w.typed_data(), [&](const std::array<int64_t, 4>& tap, int64_t group, int64_t d, int64_t c) {
    return ((tap[2] * k[1] + tap[3]) * k[2] + d) * k[3] + group * width + c;
  });
  g.phases.push_back(std::move(phase));
  gather_run(pool, g, x.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

// Row s*q + p of x lies at s*(q + shift) + r of the padded image, and gets the sum over m of y[q + shift - m] w[s*m + r].
struct PhaseOfAxis {
  int64_t shift, first, taps;
  PhaseOfAxis(int64_t p, int64_t pad, int64_t stride, int64_t window) {
    shift = (p + pad) / stride - ((p + pad) % stride < 0);
    first = p + pad - shift * stride;
    taps = std::max<int64_t>(0, (window - first + stride - 1) / stride);
  }
};

ffi::Error input_gradient(ffi::ThreadPool pool, Tensor y, Tensor w, ffi::Result<Tensor> x, Numbers strides,
                          Numbers pads, int64_t groups) {
  const auto k = w.dimensions();
  Gather g{images(y.dimensions()), images(x->dimensions()), groups, k[0] * k[1], {1, 1}, {strides[0], strides[1]}};
  if (x->element_count() == 0) return ffi::Error::Success();
  g.rows = (g.destination.H + strides[0] - 1) / strides[0], g.columns = (g.destination.W + strides[1] - 1) / strides[1];
  std::vector<PhaseOfAxis> axis[2];
  int64_t low[2] = {1 << 30, 1 << 30}, high[2] = {-(1 << 30), -(1 << 30)};
  for (int a = 0; a < 2; ++a)
    for (int64_t p = 0; p < strides[a]; ++p) {
      axis[a].emplace_back(p, pads[a], strides[a], k[a]);
      low[a] = std::min(low[a], axis[a][p].shift - std::max<int64_t>(axis[a][p].taps - 1, 0));
      high[a] = std::max(high[a], axis[a][p].shift);
    }
  g.top = low[0], g.left = low[1];
  g.band_rows = high[0] - low[0] + 1, g.band_columns = g.columns - 1 + high[1] - low[1] + 1;
  const int64_t depth = g.depth();
  for (int64_t i = 0; i < strides[0]; ++i)
    for (int64_t j = 0; j < strides[1]; ++j) {
      const PhaseOfAxis &v = axis[0][i], &h = axis[1][j];
      Phase phase{v.shift - low[0], h.shift - low[1], i, j};
      for (int64_t m = 0; m < v.taps; ++m)
        for (int64_t n = 0; n < h.taps; ++n)
          phase.taps.push_back({-m, -n, v.first + strides[0] * m, h.first + strides[1] * n});
      pack(pool, g, phase, w.typed_data(), [&](const std::array<int64_t, 4>& tap, int64_t group, int64_t d, int64_t c) {
        return ((tap[2] * k[1] + tap[3]) * k[2] + c) * k[3] + group * depth + d;
      });
      g.phases.push_back(std::move(phase));
    }
  gather_run(pool, g, y.typed_data(), x->typed_data());
  return ffi::Error::Success();
}

// ---------------------------------------------------------------------------------------------------------------------
// Weight gradient.

template <int R, int N>
void weight_tile(const float* const* source, const int64_t* pixel, int64_t pixels, const float* panel, float* sums) {
  Vector sum[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) sum[r][n] = load(sums + (r * N + n) * kLanes);
  for (int64_t i = 0; i < pixels; ++i, panel += N * kLanes) {
    Vector row[N];
    for (int n = 0; n < N; ++n) row[n] = load(panel + n * kLanes);
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) sum[r][n] += row[n] * source[r][pixel[i]];
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(sums + (r * N + n) * kLanes, sum[r][n]);
}

using WeightTile = void (*)(const float* const*, const int64_t*, int64_t, const float*, float*);

template <int N>
constexpr WeightTile kWeight[kRows] = {weight_tile<1, N>, weight_tile<2, N>, weight_tile<3, N>,
                                       weight_tile<4, N>, weight_tile<5, N>, weight_tile<6, N>};

struct Weight {
  Images x, y;
  int64_t window[2], strides[2], pads[2], groups;

  int64_t depth() const { return x.C / groups; }
  int64_t width() const { return y.C / groups; }
  int64_t rows() const { return window[0] * window[1] * depth(); }  // of the kernel as a matrix
  int64_t size() const { return groups * rows() * padded(width()); }
};

// Adds to some panels of `sums`, [groups][panels][rows][padded columns], the products of the pixels of a band.
void weight_pixels(const Weight& g, int64_t first, int64_t last, const float* band,
                   const std::vector<int64_t>& row_offsets, const int64_t* pixel, int64_t pixels, const float* y,
                   float* sums) {
  const int64_t width = g.width(), rows = g.rows();
  const float* source[kRows];
  alignas(64) float packed[kPixels * kPanel];
  for (int64_t i = first; i < last; ++i) {
    const int64_t group = i / panels(width), p = i % panels(width);
    const int64_t columns = std::min<int64_t>(kPanel, width - p * kPanel), lanes = padded(columns);
    const float* from = y + group * width + p * kPanel;
    for (int64_t n = 0; n < pixels; ++n) {
      std::memcpy(packed + n * lanes, from + n * g.y.C, sizeof(float) * columns);
      for (int64_t c = columns; c < lanes; ++c) packed[n * lanes + c] = 0;
    }
    float* panel = sums + group * rows * padded(width) + panel_start(rows, p);
    const WeightTile* tile = lanes > kLanes ? kWeight<2> : kWeight<1>;
    for (int64_t k = 0; k < rows; k += kRows) {
      const int64_t n = std::min<int64_t>(kRows, rows - k);
      for (int64_t r = 0; r < n; ++r) source[r] = band + row_offsets[k + r] + group * g.depth();
      tile[n - 1](source, pixel, pixels, packed, panel + k * lanes);
    }
  }
}

// Out of the panels, and the parts added in their order.
void unpack(ffi::ThreadPool& pool, const Weight& g, const float* sums, int64_t parts, float* out) {
  const int64_t width = g.width(), rows = g.rows();
  const int64_t shares = std::min<int64_t>(rows, std::max<int64_t>(1, 4 * pool.num_threads()));
  parallel(pool, shares, [&](int64_t share) {
    for (int64_t row = rows * share / shares; row < rows * (share + 1) / shares; ++row)
      for (int64_t i = 0; i < g.groups * panels(width); ++i) {
        const int64_t group = i / panels(width), p = i % panels(width);
        const int64_t columns = std::min<int64_t>(kPanel, width - p * kPanel), lanes = padded(columns);
        const float* from = sums + group * rows * padded(width) + panel_start(rows, p) + row * lanes;
        float* to = out + (row * g.groups + group) * width + p * kPanel;
        for (int64_t c = 0; c < columns; ++c) {
          to[c] = from[c];
          for (int64_t part = 1; part < parts; ++part) to[c] += from[part * g.size() + c];
        }
      }
  });
}

ffi::Error weight_gradient(ffi::ThreadPool pool, Tensor x, Tensor y, ffi::Result<Tensor> w, Numbers strides,
                           Numbers pads, int64_t groups) {
  const auto k = w->dimensions();
  const Weight g{images(x.dimensions()), images(y.dimensions()), {k[0], k[1]}, {strides[0], strides[1]},
                 {pads[0], pads[1]}, groups};
  const int64_t columns = (g.y.W - 1) * strides[1] + k[1], threads = std::max<int64_t>(1, pool.num_threads());
  const bool pointwise = k[0] * k[1] * strides[0] * strides[1] == 1 && pads[0] == 0 && pads[1] == 0;
  const int64_t step = pointwise ? g.x.C : spread(g.x.C), together = step < spread(g.x.C) ? kPixels / 2 : kPixels;
  std::vector<int64_t> row_offsets;
  for (int64_t i = 0; i < k[0]; ++i)
    for (int64_t j = 0; j < k[1]; ++j)
      for (int64_t c = 0; c < g.depth(); ++c) row_offsets.push_back((i * columns + j) * step + c);
  // Each thread sums over all pixels for its share of the panels; or, where these are few, over its share of the pixels.
  const int64_t every = groups * panels(g.width());
  const bool by_panels = every >= 2 * threads && g.size() > kLarge / 32;
  const Deal deal(g.x.B, g.y.H, columns * step, k[0], strides[0], kBand, by_panels ? 1 : 4 * threads);
  const int64_t parts = std::min<int64_t>(threads, by_panels ? every : deal.items);
  const Buffer sums((by_panels ? 1 : parts) * g.size());
  parallel(pool, parts, [&](int64_t part) {
    const int64_t first = by_panels ? every * part / parts : 0, last = by_panels ? every * (part + 1) / parts : every;
    float* mine = sums.data() + (by_panels ? 0 : part * g.size());
    for (int64_t i = first; i < last; ++i) {
      const int64_t lanes = padded(std::min<int64_t>(kPanel, g.width() - i % panels(g.width()) * kPanel));
      std::memset(mine + i / panels(g.width()) * g.rows() * padded(g.width()) +
                  panel_start(g.rows(), i % panels(g.width())), 0, sizeof(float) * g.rows() * lanes);
    }
    std::vector<int64_t> pixel;
    const int64_t begin = by_panels ? 0 : deal.items * part / parts;
    const int64_t end = by_panels ? deal.items : deal.items * (part + 1) / parts;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / deal.blocks * deal.count, q = item % deal.blocks * deal.rows;
      const int64_t count = std::min(deal.count, g.x.B - b), rows = std::min(deal.rows, g.y.H - q);
      const Band band{b, count, q * strides[0] - pads[0], (rows - 1) * strides[0] + k[0], -pads[1], columns};
      const bool there = step == g.x.C && in_place(g.x, band);
      const Buffer copy(there ? 0 : count * band.rows * columns * step);
      if (!there) cut(x.typed_data(), g.x, band, step, copy.data());
      const float* source = there ? x.typed_data() + g.x.pixel(b, band.top, 0) : copy.data();
      pixel.clear();
      for (int64_t n = 0; n < count; ++n)
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < g.y.W; ++j)
            pixel.push_back(((n * band.rows + i * strides[0]) * columns + j * strides[1]) * step);
      const float* gradient = y.typed_data() + g.y.pixel(b, q, 0);
      const int64_t pixels = pixel.size();
      for (int64_t n = 0; n < pixels; n += together)
        weight_pixels(g, first, last, source, row_offsets, pixel.data() + n, std::min(together, pixels - n),
                      gradient + n * g.y.C, mine);
    }
  });
  unpack(pool, g, sums.data(), by_panels ? 1 : parts, w->typed_data());
  return ffi::Error::Success();
}

}  // namespace

#define BIND ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Tensor>().Arg<Tensor>().Ret<Tensor>()\
    .Attr<Numbers>("strides").Attr<Numbers>("pads").Attr<int64_t>("groups")
XLA_FFI_DEFINE_HANDLER_SYMBOL(imggen_output, output, BIND);
XLA_FFI_DEFINE_HANDLER_SYMBOL(imggen_input_gradient, input_gradient, BIND);
XLA_FFI_DEFINE_HANDLER_SYMBOL(imggen_weight_gradient, weight_gradient, BIND);
