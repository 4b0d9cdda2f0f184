#include "formats/tokenizer/pipeline/bpe.h"

#include <array>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

std::array<int32_t, 256> NoBytes() {
  std::array<int32_t, 256> ids;
  ids.fill(-1);
  return ids;
}

struct Toy {
  absl::flat_hash_map<std::string, int32_t> words;
  std::vector<std::string> texts;
  std::vector<BpeMerge> merges;
};

// Letters a to e and random merges of what is there.
Toy MakeToy(std::mt19937* random, int n_merges) {
  Toy toy;
  for (char c = 'a'; c <= 'e'; ++c) {
    toy.words[std::string(1, c)] = static_cast<int32_t>(toy.texts.size());
    toy.texts.push_back(std::string(1, c));
  }
  while (n_merges-- > 0) {
    const auto l = static_cast<int32_t>((*random)() % toy.texts.size());
    const auto r = static_cast<int32_t>((*random)() % toy.texts.size());
    const std::string both = toy.texts[l] + toy.texts[r];
    if (!toy.words.emplace(both, static_cast<int32_t>(toy.texts.size()))
             .second) {
      continue;
    }
    toy.merges.push_back({l, r, static_cast<int32_t>(toy.merges.size()),
                          static_cast<int32_t>(toy.texts.size())});
    toy.texts.push_back(both);
  }
  return toy;
}

// The definition: the best pair, leftmost, until there is none.
std::vector<int32_t> Slow(const Toy& toy, const std::string& word) {
  std::vector<int32_t> ids;
  for (const char c : word) {
    ids.push_back(toy.words.at(std::string(1, c)));
  }
  while (true) {
    const BpeMerge* best = nullptr;
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      for (const BpeMerge& merge : toy.merges) {
        if (merge.left == ids[i] && merge.right == ids[i + 1] &&
            (best == nullptr || merge.rank < best->rank)) {
          best = &merge;
          place = i;
        }
      }
    }
    if (best == nullptr) return ids;
    ids[place] = best->merged;
    ids.erase(ids.begin() + static_cast<int64_t>(place) + 1);
  }
}

TEST(BpeTest, EqualsTheDefinition) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    const Toy toy = MakeToy(&random, 40);
    for (const bool bytes : {false, true}) {
      BpeOptions options;
      options.bytes_are_units = bytes;
      const BpeModel model(options, toy.words, NoBytes(),
                           static_cast<int32_t>(toy.texts.size()), toy.merges);
      BpeModel::Scratch scratch;
      std::vector<std::string> words;
      for (const size_t n : {1, 2, 3, 7, 20, 39, 40, 41, 60, 200}) {
        std::string word;
        for (size_t i = 0; i < n; ++i) {
          word.push_back(static_cast<char>('a' + random() % 5));
        }
        words.push_back(word);
      }
      for (const std::string& word : words) {
        std::vector<int32_t> ids;
        model.Encode(word, &scratch, &ids);
        EXPECT_EQ(ids, Slow(toy, word)) << "seed " << seed << " " << word;
        std::vector<int32_t> again;
        model.Encode(word, &scratch, &again);
        EXPECT_EQ(again, ids) << "second time, seed " << seed;
      }
    }
  }
}

TEST(BpeTest, TakesAWordThatIsATokenWhole) {
  Toy toy;
  toy.words = {{"a", 0}, {"b", 1}, {"ab", 2}};
  BpeOptions options;
  BpeModel::Scratch scratch;
  std::vector<int32_t> ids;
  BpeModel(options, toy.words, NoBytes(), 3, {}).Encode("ab", &scratch, &ids);
  EXPECT_EQ(ids, std::vector<int32_t>({0, 1}));
  options.ignore_merges = true;
  ids.clear();
  BpeModel::Scratch other;
  BpeModel(options, toy.words, NoBytes(), 3, {}).Encode("ab", &other, &ids);
  EXPECT_EQ(ids, std::vector<int32_t>({2}));
}

TEST(BpeTest, UnknownsFuseFallBackOrVanish) {
  const absl::flat_hash_map<std::string, int32_t> words = {{"a", 0}, {"?", 1}};
  const auto encode = [&](const BpeOptions& options,
                          const std::array<int32_t, 256>& bytes) {
    BpeModel::Scratch scratch;
    std::vector<int32_t> ids;
    BpeModel(options, words, bytes, 9, {}).Encode("xya", &scratch, &ids);
    return ids;
  };
  BpeOptions options;
  EXPECT_EQ(encode(options, NoBytes()), std::vector<int32_t>({0}));
  options.unk_id = 1;
  EXPECT_EQ(encode(options, NoBytes()), std::vector<int32_t>({1, 1, 0}));
  options.fuse_unknown = true;
  EXPECT_EQ(encode(options, NoBytes()), std::vector<int32_t>({1, 0}));
  options.byte_fallback = true;
  auto bytes = NoBytes();
  bytes['x'] = 5;
  bytes['y'] = 6;
  EXPECT_EQ(encode(options, bytes), std::vector<int32_t>({5, 6, 0}));
}

}  // namespace
}  // namespace narrow
