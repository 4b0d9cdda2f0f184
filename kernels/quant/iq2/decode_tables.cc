#include "kernels/quant/iq2/decode_tables.h"

#include <vector>

#include "kernels/quant/lattice/grid.h"

namespace narrow {
namespace iq2 {
namespace {

struct Bytes {
  Bytes(const Grid& grid, bool even_signs) {
    for (int p = 0; p < grid.n_points; ++p) {
      uint64_t unit = 0;
      for (int i = 0; i < kUnit; ++i) {
        const int level = grid.levels[kUnit * p + i];
        unit |= static_cast<uint64_t>(kMagnitudes[level]) << (8 * i);
      }
      magnitudes.push_back(unit);
    }
    for (int stored = 0; stored < (even_signs ? 128 : 256); ++stored) {
      const int parity = even_signs ? __builtin_popcount(stored) & 1 : 0;
      const int eight = stored | (parity << 7);
      uint64_t unit = 0;
      for (int i = 0; i < kUnit; ++i) {
        unit |= uint64_t{((eight >> i) & 1) != 0 ? 0xffu : 1u} << (8 * i);
      }
      signs.push_back(unit);
    }
    tables = {magnitudes.data(), signs.data()};
  }

  std::vector<uint64_t> magnitudes;
  std::vector<uint64_t> signs;
  DecodeTables tables;
};

}  // namespace

const DecodeTables& TablesOf(Iq2Xxs) {
  static const Bytes& bytes = *new Bytes(Iq2XxsGrid(), true);
  return bytes.tables;
}

const DecodeTables& TablesOf(Iq2Xs) {
  static const Bytes& bytes = *new Bytes(Iq2XsGrid(), true);
  return bytes.tables;
}

const DecodeTables& TablesOf(Iq2S) {
  static const Bytes& bytes = *new Bytes(Iq2SGrid(), false);
  return bytes.tables;
}

}  // namespace iq2
}  // namespace narrow
