// Byte-pair encoding of a word: its units (characters or bytes) are symbols,
// and the adjacent pair of lowest rank, the leftmost among equals, is replaced
// by its union until no pair has a rank.
//
//   BpeModel model(options, units, merges);
//   BpeModel::Scratch scratch;
//   model.Encode(word, &scratch, &ids);
//
// Ranks are the line numbers of a merge list, or the order of scores in a
// SentencePiece vocabulary (equal scores, equal rank). Immutable and safe to
// share; a Scratch belongs to one thread and to texts that outlive it.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_BPE_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_BPE_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace narrow {

struct BpeMerge {
  int32_t left;
  int32_t right;
  int32_t rank;
  int32_t merged;
};

struct BpeOptions {
  bool bytes_are_units = false;  // else characters
  bool byte_fallback = false;    // unknown characters become byte_ids
  // Byte fallback needs an id for every byte of a character, else the
  // character is unknown as a whole.
  bool fallback_bytewise = false;  // instead each byte on its own
  bool ignore_merges = false;      // a word that is a token is that token
  bool fuse_unknown = false;       // one unk_id for a run of unknowns
  int32_t unk_id = -1;             // -1: unknowns are dropped
};

class BpeModel {
 public:
  // Ids of words already encoded, by their text.
  struct Scratch {
    absl::flat_hash_map<absl::string_view, std::pair<uint32_t, uint32_t>> known;
    std::vector<int32_t> known_ids;
    struct Symbol {
      int32_t id;
      int32_t previous;
      int32_t next;
    };
    struct Candidate {
      int32_t rank;
      int32_t position;
      int32_t merged;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::vector<int32_t> ids;
    std::vector<int32_t> ranks;
    std::vector<int32_t> merged;
  };

  // `words` maps texts (or bytes, if those are units) to ids; one unit long
  // texts are the units. `byte_ids` has the ids of "<0x00>" … "<0xFF>" or -1.
  // Ids at or above `n_tokens` are units that are no tokens and come out as
  // bytes. Of two merges of one pair the later counts.
  BpeModel(const BpeOptions& options,
           absl::flat_hash_map<std::string, int32_t> words,
           const std::array<int32_t, 256>& byte_ids, int32_t n_tokens,
           const std::vector<BpeMerge>& merges);

  // Appends the ids of `word`.
  void Encode(absl::string_view word, Scratch* scratch,
              std::vector<int32_t>* ids) const;

  // The id of `word` as one token, or -1.
  int32_t Find(absl::string_view word) const;

 private:
  struct Slot {
    uint64_t key = kEmpty;
    int32_t rank = 0;
    int32_t merged = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  const Slot* FindMerge(int32_t left, int32_t right) const;
  int32_t UnitId(absl::string_view unit) const;
  bool CanJoin(int32_t left, int32_t right) const;
  void EncodeSegment(absl::string_view word, Scratch* scratch,
                     std::vector<int32_t>* ids) const;
  void AppendUnits(absl::string_view word, std::vector<int32_t>* units) const;
  void MergeShort(Scratch* scratch) const;
  void MergeLong(Scratch* scratch) const;
  void Emit(const std::vector<int32_t>& units, std::vector<int32_t>* ids) const;
  void NoteBoundaries(const std::vector<BpeMerge>& merges);

  BpeOptions options_;
  absl::flat_hash_map<std::string, int32_t> words_;
  std::array<int32_t, 256> byte_ids_;
  int32_t n_tokens_;
  std::vector<int32_t> low_units_;  // by code point or byte
  std::vector<std::string> pseudo_units_;
  std::vector<Slot> merges_;
  // Pairs of units that some merge joins: between other units a word falls
  // apart into segments that can be encoded, and remembered, on their own.
  bool has_boundaries_ = false;
  std::vector<uint64_t> joints_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_BPE_H_
