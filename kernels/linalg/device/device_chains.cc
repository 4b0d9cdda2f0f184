#include "kernels/linalg/device/device_chains.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/linalg/device/chain_launch.h"
#include "kernels/linalg/device/gram_threads.h"
#include "kernels/linalg/gram.h"

namespace narrow {

using chain::GramTask;
using chain::GramTile;
using chain::Place;
using chain::Product;
using chain::ProductTile;
using chain::Stripes;
using chain::Sums;
using chain::Tile;
using chain::WideSums;

namespace {

static_assert(chain::kGramRows == kGramBlockRows, "a block is one chain");

// What CUDA counts in the first and the second dimension of a grid.
constexpr int64_t kMaxTiles = (int64_t{1} << 31) - 1;
constexpr int64_t kMaxBatch = 65535;

absl::Status CheckGrid(int64_t n_tiles, int64_t n_batch) {
  if (n_tiles > kMaxTiles || n_batch > kMaxBatch) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a product of ", n_tiles, " tiles, ", n_batch,
        " of them: a card counts ", kMaxTiles, " and ", kMaxBatch));
  }
  return absl::OkStatus();
}

// The steps of a tile as the card takes them, thread after thread.
template <typename T, typename TileWork, typename AddStep>
void RunSteps(const TileWork& tile, const AddStep& add) {
  const auto stripes = std::make_unique<Stripes<T>>();
  for (int64_t step = 0; step < tile.n_steps(); ++step) {
    for (int thread = 0; thread < Tile<T>::kThreads; ++thread) {
      tile.Fetch(step, thread, stripes.get());
    }
    for (int thread = 0; thread < Tile<T>::kThreads; ++thread) {
      add(step, *stripes, thread);
    }
  }
}

template <typename T, bool kNegate>
void MultiplyTile(const ProductTile<T>& tile) {
  std::vector<Sums<T>> sums(Tile<T>::kThreads);
  for (int thread = 0; thread < Tile<T>::kThreads; ++thread) {
    tile.Begin(thread, &sums[thread]);
  }
  RunSteps<T>(tile, [&](int64_t step, const Stripes<T>& now, int thread) {
    tile.template Add<kNegate>(step, now, thread, &sums[thread]);
  });
  for (int thread = 0; thread < Tile<T>::kThreads; ++thread) {
    tile.End(thread, sums[thread]);
  }
}

template <typename T>
absl::Status Run(const Product<T>& p, DeviceStream* stream) {
  if (p.m <= 0 || p.n <= 0 || p.n_batch <= 0) {
    return absl::OkStatus();
  }
  const int64_t n_tiles = chain::TilesOf<T>(p.m, p.n);
  RETURN_IF_ERROR(CheckGrid(n_tiles, p.n_batch));
  if (stream->kind() == DeviceKind::kCuda) {
    return chain::Launch(p, stream->handle());
  }
  for (int64_t batch = 0; batch < p.n_batch; ++batch) {
    for (int64_t block = 0; block < n_tiles; ++block) {
      const ProductTile<T> tile(p, batch, chain::PlaceOf<T>(p.m, p.n, block));
      if (p.update == Update::kSubtract) {
        MultiplyTile<T, true>(tile);
      } else {
        MultiplyTile<T, false>(tile);
      }
    }
  }
  return absl::OkStatus();
}

void AddTile(const GramTile& tile) {
  constexpr int kThreads = Tile<float>::kThreads;
  std::vector<Sums<float>> sums(kThreads);
  std::vector<WideSums> wide(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    tile.Begin(thread, &wide[thread]);
  }
  RunSteps<float>(tile,
                  [&](int64_t step, const Stripes<float>& now, int thread) {
                    tile.Add(step, now, thread, &sums[thread], &wide[thread]);
                  });
  for (int thread = 0; thread < kThreads; ++thread) {
    tile.End(thread, wide[thread]);
  }
}

}  // namespace

absl::Status RunChainProduct(const Product<float>& product,
                             DeviceStream* stream) {
  return Run(product, stream);
}

absl::Status RunChainProduct(const Product<double>& product,
                             DeviceStream* stream) {
  return Run(product, stream);
}

absl::Status RunGram(const GramTask& task, DeviceStream* stream) {
  if (task.m <= 0 || task.n <= 0 || task.n_batch <= 0) {
    return absl::OkStatus();
  }
  const int64_t n_tiles = chain::TilesOf<float>(task.m, task.n);
  RETURN_IF_ERROR(CheckGrid(n_tiles, task.n_batch));
  if (stream->kind() == DeviceKind::kCuda) {
    return chain::Launch(task, stream->handle());
  }
  for (int64_t batch = 0; batch < task.n_batch; ++batch) {
    for (int64_t block = 0; block < n_tiles; ++block) {
      const GramTile tile(task, batch,
                          chain::PlaceOf<float>(task.m, task.n, block));
      if (tile.IsWanted()) {
        AddTile(tile);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
