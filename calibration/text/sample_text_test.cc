#include "calibration/text/sample_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "calibration/text/cover_windows.h"
#include "calibration/text/model_tokenizer.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

constexpr char kWiki[] = "testdata/text/wikitext2-sample.txt";

class SampleTextTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = Open("testdata/tiny-llama");
    ASSERT_NE(model_, nullptr);
    auto tokenizer = OpenModelTokenizer(*model_, TokenizerReading::kOwn);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    options_.n_samples = 0;
    options_.sample_tokens = 32;
  }

  static std::unique_ptr<Checkpoint> Open(const std::string& path,
                                          bool skip_tokenizer = false) {
    CheckpointOptions options;
    options.pre_tokenizer = "gpt-2";
    options.skip_tokenizer = skip_tokenizer;
    auto model = Checkpoint::Open(path, options);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }

  std::string File(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(testing::TempDir(), "/", name);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  CalibrationSamples Sample(const std::vector<std::string>& paths) {
    auto samples = SampleTexts(*model_, paths, options_);
    EXPECT_TRUE(samples.ok()) << samples.status();
    return samples.ok() ? *std::move(samples) : CalibrationSamples();
  }

  std::string Error(const std::vector<std::string>& paths) {
    const auto samples = SampleTexts(*model_, paths, options_);
    EXPECT_EQ(samples.status().code(), absl::StatusCode::kInvalidArgument)
        << samples.status();
    return std::string(samples.status().message());
  }

  std::unique_ptr<Checkpoint> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  SampleOptions options_;
};

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST_F(SampleTextTest, CutsPlainTextIntoWindows) {
  const std::vector<int32_t> all = tokenizer_->Encode(ReadAll(kWiki));
  const CalibrationSamples samples = Sample({kWiki});
  EXPECT_EQ(samples.sample_tokens, 32);
  EXPECT_EQ(samples.n_samples(), static_cast<int64_t>(all.size()) / 32);
  EXPECT_TRUE(std::equal(samples.ids.begin(), samples.ids.end(), all.begin()));
  EXPECT_EQ(samples.counts,
            std::vector<uint8_t>(samples.ids.size(), uint8_t{1}));
  EXPECT_EQ(samples.texts, std::vector<std::string>({"wikitext2-sample.txt"}));
  EXPECT_EQ(samples.hash, HashSamples(samples));

  // Two files are one text, wherever it is cut.
  const std::string text = ReadAll(kWiki);
  const CalibrationSamples parts = Sample(
      {File("a.txt", text.substr(0, 1001)), File("b.txt", text.substr(1001))});
  EXPECT_EQ(parts.ids, samples.ids);
  EXPECT_EQ(parts.hash, samples.hash);
  EXPECT_EQ(parts.texts, std::vector<std::string>({"a.txt", "b.txt"}));
}

TEST_F(SampleTextTest, ChoosesTheFirstOrBySeed) {
  const CalibrationSamples all = Sample({kWiki});
  options_.n_samples = 5;
  const CalibrationSamples first = Sample({kWiki});
  EXPECT_EQ(first.n_samples(), 5);
  EXPECT_TRUE(std::equal(first.ids.begin(), first.ids.end(), all.ids.begin()));
  options_.seed = 1;
  const CalibrationSamples chosen = Sample({kWiki});
  EXPECT_EQ(chosen.n_samples(), 5);
  EXPECT_EQ(Sample({kWiki}).ids, chosen.ids);
  // Windows of the text, in its order.
  auto at = all.ids.begin();
  for (int64_t i = 0; i < 5; ++i) {
    const auto begin = chosen.ids.begin() + i * 32;
    auto found = all.ids.end();
    for (; at < all.ids.end() && found == all.ids.end(); at += 32) {
      found = std::equal(begin, begin + 32, at) ? at : found;
    }
    EXPECT_NE(found, all.ids.end()) << i;
  }
  options_.seed = 2;
  const CalibrationSamples other = Sample({kWiki});
  EXPECT_NE(other.ids, chosen.ids);
  EXPECT_NE(other.hash, chosen.hash);
}

TEST_F(SampleTextTest, SpreadsOverTheWholeText) {
  const CalibrationSamples all = Sample({kWiki});
  options_.n_samples = 5;
  options_.spread = true;
  const CalibrationSamples chosen = Sample({kWiki});
  ASSERT_EQ(chosen.n_samples(), 5);
  // Not further apart than 64 windows.
  const int64_t n = std::min<int64_t>(all.n_samples(), 5 * 64);
  ASSERT_GT(n, 10);
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(std::equal(chosen.ids.begin() + i * 32,
                           chosen.ids.begin() + (i + 1) * 32,
                           all.ids.begin() + i * n / 5 * 32))
        << i;
  }
  options_.n_samples = 1000000;
  EXPECT_THAT(Error({kWiki}), HasSubstr("too short"));
}

TEST_F(SampleTextTest, BosTakesTheFirstPlaceOfPackedWindows) {
  options_.sample_tokens = 32;
  options_.n_samples = 4;
  const CalibrationSamples plain = Sample({kWiki});
  options_.window_bos = true;
  const CalibrationSamples begun = Sample({kWiki});
  ASSERT_EQ(begun.n_samples(), plain.n_samples());
  EXPECT_EQ(begun.counts, plain.counts);
  EXPECT_NE(begun.hash, plain.hash);
  for (size_t i = 0; i < plain.ids.size(); ++i) {
    EXPECT_EQ(begun.ids[i], i % 32 == 0 ? 0 : plain.ids[i]) << i;
  }
}

TEST_F(SampleTextTest, CoverWindowsStandAmongThoseOfTheText) {
  EXPECT_EQ(CoverWindows(128, 8), 16);
  EXPECT_EQ(CoverWindows(7, 8), 0);
  EXPECT_EQ(CoverWindows(128, 0), 0);
  EXPECT_EQ(DrawnWindows(128, 4, 96, 512), 32);
  // A short text; few or short windows, which together lack tokens.
  EXPECT_EQ(DrawnWindows(128, 4, 5, 512), 123);
  EXPECT_EQ(DrawnWindows(2, 4, 2, 512), 14);
  EXPECT_EQ(DrawnWindows(8, 4, 6, 64), 122);
  EXPECT_EQ(DrawnWindows(8, 0, 6, 64), 0);
  options_.n_samples = 14;
  options_.window_bos = true;
  const CalibrationSamples text = Sample({kWiki});
  CalibrationSamples covered = text;
  ASSERT_TRUE(AddCoverWindows(*model_, 2, 8, 0, &covered).ok());
  ASSERT_EQ(covered.n_samples(), 16);
  EXPECT_EQ(covered.counts, std::vector<uint8_t>(16 * 32, uint8_t{1}));
  EXPECT_EQ(covered.hash, HashSamples(covered));
  // All windows of the text are there, in order, between the drawn ones.
  std::vector<int32_t> rest;
  std::set<int32_t> drawn;
  const auto types =
      model_->metadata().GetIntegers("tokenizer.ggml.token_type");
  ASSERT_TRUE(types.has_value());
  for (int64_t i = 0; i < 16; ++i) {
    const auto window = covered.ids.begin() + i * 32;
    if (i % 8 != 0) {
      rest.insert(rest.end(), window, window + 32);
      continue;
    }
    EXPECT_EQ(*window, text.ids.front());  // BOS
    for (auto id = window + 1; id != window + 32; ++id) {
      EXPECT_EQ((*types)[static_cast<size_t>(*id)], 1) << *id;
      drawn.insert(*id);
    }
  }
  EXPECT_EQ(rest, text.ids);
  // Of 62 drawn from 2000 some two are the same.
  EXPECT_GT(drawn.size(), 50u);
  // More than there is room for among them follow the text.
  CalibrationSamples many = text;
  ASSERT_TRUE(AddCoverWindows(*model_, 5, 8, 0, &many).ok());
  EXPECT_EQ(many.n_samples(), 19);
  EXPECT_TRUE(
      std::equal(covered.ids.begin(), covered.ids.end(), many.ids.begin()));
  // A seed gives others; no windows asked for, none.
  CalibrationSamples other = text;
  ASSERT_TRUE(AddCoverWindows(*model_, 2, 8, 1, &other).ok());
  EXPECT_NE(other.ids, covered.ids);
  other = text;
  ASSERT_TRUE(AddCoverWindows(*model_, 0, 8, 1, &other).ok());
  EXPECT_EQ(other.ids, text.ids);
}

TEST_F(SampleTextTest, PacksOrPadsRecords) {
  const std::string path = File("records.jsonl",
                                "{\"text\":\"The first record.\"}\n"
                                "{\"text\":\"\"}\n\n"
                                "{\"text\":\"A second, caf\\u00e9.\"}\r\n"
                                "{\"text\":\"A third one that is longer than "
                                "the two others, and goes on.\"}");
  std::vector<std::vector<int32_t>> records;
  std::vector<int32_t> packed;
  for (const char* text : {"The first record.", "A second, caf\xc3\xa9.",
                           "A third one that is longer than the two others, "
                           "and goes on."}) {
    records.push_back(tokenizer_->Encode(text));
    EXPECT_EQ(records.back()[0], 0);  // each its BOS
    packed.insert(packed.end(), records.back().begin(), records.back().end());
  }
  options_.sample_tokens = 12;
  CalibrationSamples samples = Sample({path});
  EXPECT_EQ(samples.n_samples(), static_cast<int64_t>(packed.size()) / 12);
  EXPECT_TRUE(
      std::equal(samples.ids.begin(), samples.ids.end(), packed.begin()));

  options_.pack = false;
  samples = Sample({path});
  ASSERT_EQ(samples.n_samples(), 3);
  for (size_t i = 0; i < 3; ++i) {
    for (size_t t = 0; t < 12; ++t) {
      const bool there = t < records[i].size();
      EXPECT_EQ(samples.ids[12 * i + t], there ? records[i][t] : 0);
      EXPECT_EQ(samples.counts[12 * i + t], there ? 1 : 0);
    }
  }
  options_.n_samples = 4;
  EXPECT_THAT(Error({path}),
              HasSubstr("4 samples are asked for, 3 of 3 records"));
}

TEST_F(SampleTextTest, ReadsNoMoreThanIsNeeded) {
  // The third line is damaged, but the first two are enough.
  const std::string path =
      File("rest.jsonl",
           "{\"text\":\"one one one one one one one one one one one\"}"
           "\n{\"text\":\"two two two two two two two\"}\n{");
  options_.sample_tokens = 8;
  options_.n_samples = 1;
  EXPECT_EQ(Sample({path}).n_samples(), 1);
  options_.seed = 3;
  EXPECT_THAT(Error({path}), HasSubstr("line 3"));
}

// A copy of the model with a template like those there are.
class ConversationsTest : public SampleTextTest {
 protected:
  void SetUp() override {
    SampleTextTest::SetUp();
    folder_ = absl::StrCat(testing::TempDir(), "/chat_model");
    std::filesystem::create_directories(folder_);
    for (const char* name : {"config.json", "model.safetensors",
                             "tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(
          absl::StrCat("testdata/tiny-llama/", name),
          absl::StrCat(folder_, "/", name),
          std::filesystem::copy_options::overwrite_existing);
    }
    std::ofstream(folder_ + "/chat_template.jinja")
        << "{{ bos_token }}{% for m in messages %}"
           "{{ '<' + m['role'] + '>\n' + m['content'] + eos_token }}"
           "{% endfor %}"
           "{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}";
    path_ = File(
        "chat.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"What is a tree?\"},"
        "{\"role\":\"assistant\",\"content\":\"A plant.\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"And?\"}]}\n");
  }

  std::string folder_, path_;
};

TEST_F(ConversationsTest, RendersAndMasksConversations) {
  model_ = Open(folder_);
  ASSERT_NE(model_, nullptr);
  options_.pack = false;
  options_.sample_tokens = 64;
  CalibrationSamples samples = Sample({path_});
  ASSERT_EQ(samples.n_samples(), 2);
  std::vector<int32_t> counted;
  const auto text_of = [&](int64_t sample) {
    counted.clear();
    for (size_t i = static_cast<size_t>(sample * 64);
         i < static_cast<size_t>(sample * 64 + 64); ++i) {
      if (samples.counts[i] != 0) {
        counted.push_back(samples.ids[i]);
      }
    }
    return tokenizer_->Decode(counted, /*skip_special=*/false);
  };
  EXPECT_EQ(text_of(0),
            "<|begin_of_text|><user>\nWhat is a tree?<|end_of_text|>"
            "<assistant>\nA plant.<|end_of_text|>");
  EXPECT_EQ(std::count(counted.begin(), counted.end(), 0), 1);
  EXPECT_EQ(text_of(1), "<|begin_of_text|><user>\nAnd?<|end_of_text|>");

  options_.assistant_only = true;
  samples = Sample({path_});
  ASSERT_EQ(samples.n_samples(), 1);  // the other has no answer
  EXPECT_EQ(text_of(0), "A plant.<|end_of_text|>");

  const std::string none = File(
      "none.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}");
  EXPECT_THAT(Error({none}), HasSubstr("is an assistant's"));
  EXPECT_THAT(Error({kWiki}), HasSubstr("the text has no conversations"));
}

TEST_F(ConversationsTest, ErrorsNameLineAndFile) {
  EXPECT_THAT(Error({path_}), HasSubstr("need a chat template"));
  std::ofstream(folder_ + "/chat_template.jinja")
      << "{% if messages[0]['role'] != 'user' %}"
         "{{ raise_exception('begin with the user') }}{% endif %}x";
  model_ = Open(folder_);
  const std::string bad =
      File("bad.jsonl",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}\n"
           "{\"messages\":[{\"role\":\"assistant\",\"content\":\"?\"}]}\n");
  const std::string error = Error({bad});
  EXPECT_THAT(error, HasSubstr("begin with the user"));
  EXPECT_THAT(error, HasSubstr("line 2; reading"));
  EXPECT_THAT(error, HasSubstr("bad.jsonl"));
}

TEST_F(SampleTextTest, ErrorsSayWhatIsWrong) {
  EXPECT_THAT(Error({}), HasSubstr("no calibration text"));
  EXPECT_THAT(Error({File("empty.txt", "")}), HasSubstr("the text is empty"));
  options_.n_samples = 128;
  options_.sample_tokens = 512;
  const size_t n = tokenizer_->Encode(ReadAll(kWiki)).size();
  EXPECT_THAT(Error({kWiki}),
              HasSubstr(absl::StrCat("128 windows of 512 tokens need 65536, "
                                     "there are ",
                                     n, " tokens, ", n / 512,
                                     " windows; use more text, fewer windows "
                                     "(--samples)")));
  options_.n_samples = 0;
  EXPECT_THAT(Error({File("short.txt", "Too short.")}),
              HasSubstr("less than one window of 512; use more text"));
  options_.sample_tokens = 0;
  EXPECT_THAT(Error({kWiki}), HasSubstr("samples of 0 tokens"));
  options_.sample_tokens = 8;
  options_.pack = false;
  EXPECT_THAT(Error({kWiki}), HasSubstr("plain text has no records"));
  options_.pack = true;
  options_.field = "content";
  EXPECT_THAT(Error({kWiki}), HasSubstr("plain text has no field 'content'"));
  EXPECT_THAT(
      Error({File("field.jsonl", "{\"content\":\"a\"}\n{\"text\":\"b\"}\n")}),
      HasSubstr("no field 'content'; line 2; reading"));
  EXPECT_THAT(
      Error({File("number.jsonl", "{\"content\":\"a\"}\n{\"content\":7}\n")}),
      HasSubstr("the field 'content' is no text; line 2"));
  EXPECT_EQ(SampleTexts(*model_, {"/no/such/file"}, options_).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(SampleTextTest, NeedsTheModelsOwnTokenizer) {
  model_ = Open("testdata/tiny-llama", /*skip_tokenizer=*/true);
  EXPECT_THAT(Error({kWiki}), HasSubstr("the model has no tokenizer"));
  // A tokenizer of another model, with more tokens than the model's 320.
  const std::string folder = absl::StrCat(testing::TempDir(), "/mixed");
  std::filesystem::create_directories(folder);
  const auto copy = [&](const std::string& from, const char* name) {
    std::filesystem::copy_file(
        absl::StrCat("testdata/", from, "/", name),
        absl::StrCat(folder, "/", name),
        std::filesystem::copy_options::overwrite_existing);
  };
  copy("arch/llama3", "config.json");
  copy("arch/llama3", "model.safetensors");
  copy("arch/llama3", "tokenizer.json");
  copy("arch/llama3", "tokenizer_config.json");
  model_ = Open(folder);
  ASSERT_NE(model_, nullptr);
  copy("tiny-llama", "tokenizer.json");
  EXPECT_THAT(Error({kWiki}),
              HasSubstr("but the model's vocabulary has 320: they do not "
                        "belong together"));
}

}  // namespace
}  // namespace narrow
