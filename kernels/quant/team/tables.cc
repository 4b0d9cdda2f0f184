#include "kernels/quant/team/tables.h"

#include <algorithm>

#include "kernels/quant/iq1/near_lists.h"
#include "kernels/quant/iq2/near_lists.h"
#include "kernels/quant/iq3/candidates.h"
#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace team {
namespace {

HostTables OfIndex(const GridIndex& index) {
  HostTables host;
  host.tables.levels = index.grid->levels;
  host.tables.entries = index.entries;
  host.tables.lists = index.lists;
  host.levels_bytes = index.grid->n_points * index.grid->dim;
  host.entries_bytes = 4 * int64_t{index.n_entries};
  host.lists_bytes = 2 * int64_t{index.n_lists_words};
  return host;
}

// How many words the lists of `entries` have.
int64_t WordsOf(const int32_t* entries, int64_t n_entries) {
  int64_t n_words = 0;
  for (int64_t i = 0; i < n_entries; ++i) {
    if (entries[i] < 0) {
      const uint32_t list = static_cast<uint32_t>(entries[i]) & 0x7fffffff;
      const int64_t first = int64_t{list >> iq2::kLengthBits} * iq2::kListStep;
      n_words =
          std::max(n_words, first + (list & ((1u << iq2::kLengthBits) - 1)));
    }
  }
  return n_words;
}

HostTables OfNearLists(const GridIndex& index, const iq2::NearLists& lists) {
  HostTables host = OfIndex(index);
  host.tables.near_entries = lists.entries;
  host.tables.whole_entries = lists.whole_entries;
  host.tables.near_words = lists.words;
  host.near_entries_bytes = 4 * int64_t{index.n_entries};
  host.whole_entries_bytes = host.near_entries_bytes;
  host.near_words_bytes =
      2 * std::max(WordsOf(lists.entries, index.n_entries),
                   WordsOf(lists.whole_entries, index.n_entries));
  return host;
}

HostTables OfIq1(const GridIndex& index, const iq1::NearLists& lists) {
  static_assert(sizeof(iq1::NearLists::Entry) == 3 * sizeof(int32_t), "");
  HostTables host = OfIndex(index);
  host.tables.near_entries = reinterpret_cast<const int32_t*>(lists.entries);
  host.tables.near_words = lists.levels;
  host.near_entries_bytes =
      static_cast<int64_t>(sizeof(iq1::NearLists::Entry)) * index.n_entries;
  int64_t n_words = 0;
  for (int64_t i = 0; i < index.n_entries; ++i) {
    const iq1::NearLists::Entry& entry = lists.entries[i];
    if (entry.n != 0) {
      n_words = std::max({n_words, int64_t{entry.first} + entry.n,
                          int64_t{entry.first_whole} + entry.n_whole});
    }
  }
  host.near_words_bytes = 2 * n_words;
  return host;
}

HostTables OfCandidates(const GridIndex& index,
                        const iq3::Candidates& candidates) {
  HostTables host = OfIndex(index);
  host.tables.candidates = candidates.entries;
  host.tables.candidate_words = candidates.words;
  host.candidates_bytes = 4 * int64_t{2 * iq3::kNumbers};
  int64_t n_words = 0;
  for (int i = 0; i < 2 * iq3::kNumbers; ++i) {
    const uint32_t entry = candidates.entries[i];
    n_words = std::max(n_words,
                       int64_t{entry & iq3::kFirstMask} +
                           (entry >> iq3::kCountShift & iq3::kCountMask) + 1);
  }
  host.candidate_words_bytes = 4 * n_words;
  return host;
}

}  // namespace

HostTables TablesOf(QuantType type) {
  switch (type) {
    case QuantType::kIQ2_XXS:
      return OfNearLists(Iq2XxsIndex(), iq2::ListsOf(iq2::Iq2Xxs()));
    case QuantType::kIQ2_XS:
      return OfNearLists(Iq2XsIndex(), iq2::ListsOf(iq2::Iq2Xs()));
    case QuantType::kIQ2_S:
      return OfNearLists(Iq2SIndex(), iq2::ListsOf(iq2::Iq2S()));
    case QuantType::kIQ3_XXS:
      return OfCandidates(Iq3XxsIndex(), iq3::CandidatesOf(iq3::IQ3_XXS()));
    case QuantType::kIQ3_S:
      return OfCandidates(Iq3SIndex(), iq3::CandidatesOf(iq3::IQ3_S()));
    case QuantType::kIQ1_S:
    case QuantType::kIQ1_M:
      return OfIq1(Iq1Index(), iq1::Iq1NearLists());
    default:
      return HostTables();
  }
}

}  // namespace team
}  // namespace narrow
