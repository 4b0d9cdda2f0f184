// Long words are merged with a heap over a linked list, O(n log n); short
// ones by looking for the smallest rank, which is faster below some dozens of
// units. Vocabularies without word splitting (Gemma) give one word of the
// whole text: it is cut where no merge joins the two units, which changes
// nothing, since a merge across the cut would need that joint.
//
// Tested by: bpe_test.cc, against a plain quadratic definition.

#include "formats/tokenizer/pipeline/bpe.h"

#include <algorithm>
#include <limits>

#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

constexpr uint32_t kLowUnits = 0x3000;
constexpr size_t kShortWord = 40;
constexpr size_t kMaxKnownBytes = 96;
constexpr size_t kMaxKnownWords = 1 << 20;
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();

uint64_t Key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 |
         static_cast<uint32_t>(right);
}

size_t Hash(uint64_t key) {
  key *= 0x9e3779b97f4a7c15u;
  return static_cast<size_t>(key ^ (key >> 32));
}

// A power of two with room to spare for `n` entries.
size_t TableSize(size_t n) {
  size_t size = 16;
  while (size < n * 2) size *= 2;
  return size;
}

bool IsOneUnit(absl::string_view text, bool bytes) {
  return !text.empty() &&
         text.size() ==
             (bytes ? 1 : utf8::Length(static_cast<unsigned char>(text[0])));
}

}  // namespace

BpeModel::BpeModel(const BpeOptions& options,
                   absl::flat_hash_map<std::string, int32_t> words,
                   const std::array<int32_t, 256>& byte_ids, int32_t n_tokens,
                   const std::vector<BpeMerge>& merges)
    : options_(options),
      words_(std::move(words)),
      byte_ids_(byte_ids),
      n_tokens_(n_tokens),
      low_units_(options.bytes_are_units ? 256 : kLowUnits, -1) {
  for (const auto& [text, id] : words_) {
    if (!IsOneUnit(text, options_.bytes_are_units)) continue;
    size_t n;
    const uint32_t unit = options_.bytes_are_units
                              ? static_cast<unsigned char>(text[0])
                              : utf8::Read(text.data(), &n);
    if (unit < low_units_.size()) low_units_[unit] = id;
    if (id >= n_tokens_) {
      pseudo_units_.resize(std::max(pseudo_units_.size(),
                                    static_cast<size_t>(id - n_tokens_) + 1));
      pseudo_units_[id - n_tokens_] = text;
    }
  }
  merges_.resize(TableSize(merges.size()));
  const size_t mask = merges_.size() - 1;
  for (const BpeMerge& merge : merges) {
    const uint64_t key = Key(merge.left, merge.right);
    size_t i = Hash(key) & mask;
    while (merges_[i].key != kEmpty && merges_[i].key != key)
      i = (i + 1) & mask;
    merges_[i] = {key, merge.rank, merge.merged};
  }
  NoteBoundaries(merges);
}

// Collects the pairs (last unit of left, first unit of right). Gives up if a
// merge has a side that is not made of units, such as a byte token.
void BpeModel::NoteBoundaries(const std::vector<BpeMerge>& merges) {
  if (options_.bytes_are_units || options_.ignore_merges) return;
  std::vector<std::pair<int32_t, int32_t>> ends;  // first and last, by id
  for (const auto& [text, id] : words_) {
    if (static_cast<size_t>(id) >= ends.size()) {
      ends.resize(static_cast<size_t>(id) + 1, {-1, -1});
    }
    if (text.empty()) continue;
    const size_t last = utf8::Back(text, text.size());
    const auto first = absl::string_view(text).substr(
        0, utf8::Length(static_cast<unsigned char>(text[0])));
    ends[id] = {UnitId(first), UnitId(absl::string_view(text).substr(last))};
  }
  std::vector<bool> is_byte(ends.size());
  for (const int32_t id : byte_ids_) {
    if (id >= 0 && static_cast<size_t>(id) < is_byte.size()) is_byte[id] = true;
  }
  joints_.assign(TableSize(merges.size()), kEmpty);
  const size_t mask = joints_.size() - 1;
  for (const BpeMerge& merge : merges) {
    const int32_t left = ends[merge.left].second;
    const int32_t right = ends[merge.right].first;
    if (left < 0 || right < 0 || is_byte[merge.left] || is_byte[merge.right] ||
        merge.left == options_.unk_id || merge.right == options_.unk_id) {
      joints_.clear();
      return;
    }
    const uint64_t key = Key(left, right);
    size_t i = Hash(key) & mask;
    while (joints_[i] != kEmpty && joints_[i] != key) i = (i + 1) & mask;
    joints_[i] = key;
  }
  has_boundaries_ = true;
}

bool BpeModel::CanJoin(int32_t left, int32_t right) const {
  const uint64_t key = Key(left, right);
  const size_t mask = joints_.size() - 1;
  size_t i = Hash(key) & mask;
  while (joints_[i] != kEmpty) {
    if (joints_[i] == key) return true;
    i = (i + 1) & mask;
  }
  return false;
}

const BpeModel::Slot* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const uint64_t key = Key(left, right);
  const size_t mask = merges_.size() - 1;
  size_t i = Hash(key) & mask;
  while (merges_[i].key != kEmpty) {
    if (merges_[i].key == key) return &merges_[i];
    i = (i + 1) & mask;
  }
  return nullptr;
}

int32_t BpeModel::Find(absl::string_view word) const {
  const auto it = words_.find(word);
  return it == words_.end() || it->second >= n_tokens_ ? -1 : it->second;
}

int32_t BpeModel::UnitId(absl::string_view unit) const {
  if (options_.bytes_are_units) {
    return low_units_[static_cast<unsigned char>(unit[0])];
  }
  size_t n;
  const uint32_t c = utf8::Read(unit.data(), &n);
  if (c < kLowUnits) return low_units_[c];
  const auto it = words_.find(unit);
  return it == words_.end() ? -1 : it->second;
}

void BpeModel::Encode(absl::string_view word, Scratch* scratch,
                      std::vector<int32_t>* ids) const {
  if (!has_boundaries_) {
    EncodeSegment(word, scratch, ids);
    return;
  }
  size_t start = 0;
  int32_t previous = -1;
  for (size_t i = 0; i < word.size();) {
    const size_t n = utf8::Length(static_cast<unsigned char>(word[i]));
    const int32_t unit = UnitId(word.substr(i, n));
    // Next to an unknown character a cut would change how unknowns fuse.
    if (i > start && previous >= 0 && unit >= 0 && !CanJoin(previous, unit)) {
      EncodeSegment(word.substr(start, i - start), scratch, ids);
      start = i;
    }
    previous = unit;
    i += n;
  }
  EncodeSegment(word.substr(start), scratch, ids);
}

void BpeModel::EncodeSegment(absl::string_view word, Scratch* scratch,
                             std::vector<int32_t>* ids) const {
  if (word.empty()) return;
  const bool remember =
      word.size() <= kMaxKnownBytes && scratch->known.size() < kMaxKnownWords;
  if (remember) {
    const auto it = scratch->known.find(word);
    if (it != scratch->known.end()) {
      const auto [begin, n] = it->second;
      const int32_t* known = scratch->known_ids.data() + begin;
      ids->insert(ids->end(), known, known + n);
      return;
    }
  }
  const size_t first = ids->size();
  const int32_t whole = options_.ignore_merges ? Find(word) : -1;
  if (whole >= 0) {
    ids->push_back(whole);
  } else {
    scratch->ids.clear();
    AppendUnits(word, &scratch->ids);
    if (scratch->ids.size() <= kShortWord) {
      MergeShort(scratch);
    } else {
      MergeLong(scratch);
    }
    Emit(scratch->ids, ids);
  }
  if (remember) {
    const auto begin = static_cast<uint32_t>(scratch->known_ids.size());
    scratch->known_ids.insert(scratch->known_ids.end(), ids->begin() + first,
                              ids->end());
    scratch->known.emplace(
        word,
        std::make_pair(begin, static_cast<uint32_t>(ids->size() - first)));
  }
}

// Symbols before merging. Units that are no tokens but part of some (ids at
// or above n_tokens_) stay symbols here.
void BpeModel::AppendUnits(absl::string_view word,
                           std::vector<int32_t>* units) const {
  const int32_t unk = options_.unk_id;
  bool pending = false;  // an unknown seen and not yet written
  for (size_t i = 0; i < word.size();) {
    const size_t n = options_.bytes_are_units
                         ? 1
                         : utf8::Length(static_cast<unsigned char>(word[i]));
    const absl::string_view unit = word.substr(i, n);
    i += n;
    const int32_t id = UnitId(unit);
    if (id >= 0) {
      if (pending) units->push_back(unk);
      pending = false;
      units->push_back(id);
      continue;
    }
    if (options_.byte_fallback) {
      const bool all = std::all_of(unit.begin(), unit.end(), [&](char b) {
        return byte_ids_[static_cast<uint8_t>(b)] >= 0;
      });
      if (all || options_.fallback_bytewise) {
        for (const char b : unit) {
          const int32_t byte_id = byte_ids_[static_cast<uint8_t>(b)];
          if (byte_id >= 0) units->push_back(byte_id);
        }
        continue;
      }
    }
    if (unk < 0) continue;
    if (pending && !options_.fuse_unknown) units->push_back(unk);
    pending = true;
  }
  if (pending) units->push_back(unk);
}

void BpeModel::MergeShort(Scratch* scratch) const {
  std::vector<int32_t>& ids = scratch->ids;
  std::vector<int32_t>& ranks = scratch->ranks;
  std::vector<int32_t>& merged = scratch->merged;
  const auto look_up = [&](size_t i) {
    const Slot* slot = FindMerge(ids[i], ids[i + 1]);
    ranks[i] = slot == nullptr ? kNoRank : slot->rank;
    merged[i] = slot == nullptr ? -1 : slot->merged;
  };
  size_t n = ids.size();
  ranks.resize(n);
  merged.resize(n);
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    const size_t best = static_cast<size_t>(
        std::min_element(ranks.begin(), ranks.begin() + (n - 1)) -
        ranks.begin());
    if (ranks[best] == kNoRank) break;
    ids[best] = merged[best];
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    if (best > 0) look_up(best - 1);
    if (best + 1 < n) look_up(best);
  }
  ids.resize(n);
}

void BpeModel::MergeLong(Scratch* scratch) const {
  std::vector<int32_t>& ids = scratch->ids;
  auto& symbols = scratch->symbols;
  auto& heap = scratch->heap;
  using Candidate = Scratch::Candidate;
  const auto after = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto n = static_cast<int32_t>(ids.size());
  symbols.resize(ids.size());
  for (int32_t i = 0; i < n; ++i) {
    symbols[i] = {ids[i], i - 1, i + 1 < n ? i + 1 : -1};
  }
  heap.clear();
  for (int32_t i = 0; i + 1 < n; ++i) {
    if (const Slot* slot = FindMerge(ids[i], ids[i + 1])) {
      heap.push_back({slot->rank, i, slot->merged});
    }
  }
  std::make_heap(heap.begin(), heap.end(), after);
  const auto offer = [&](int32_t left) {
    const int32_t right = symbols[left].next;
    if (right < 0) return;
    const Slot* slot = FindMerge(symbols[left].id, symbols[right].id);
    if (slot == nullptr) return;
    heap.push_back({slot->rank, left, slot->merged});
    std::push_heap(heap.begin(), heap.end(), after);
  };
  while (!heap.empty()) {
    const Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), after);
    heap.pop_back();
    auto& left = symbols[top.position];
    if (left.id < 0 || left.next < 0) continue;
    auto& right = symbols[left.next];
    // A candidate is stale once one of its symbols has been merged.
    const Slot* slot = FindMerge(left.id, right.id);
    if (slot == nullptr || slot->merged != top.merged) continue;
    left.id = top.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    if (left.previous >= 0) offer(left.previous);
    offer(top.position);
  }
  ids.clear();
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

void BpeModel::Emit(const std::vector<int32_t>& units,
                    std::vector<int32_t>* ids) const {
  for (const int32_t id : units) {
    if (id < n_tokens_) {
      ids->push_back(id);
      continue;
    }
    for (const char b : pseudo_units_[id - n_tokens_]) {
      const int32_t byte_id = byte_ids_[static_cast<uint8_t>(b)];
      if (byte_id >= 0) {
        ids->push_back(byte_id);
      } else if (options_.unk_id >= 0) {
        ids->push_back(options_.unk_id);
      }
    }
  }
}

}  // namespace narrow
