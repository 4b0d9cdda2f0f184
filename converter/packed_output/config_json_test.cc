#include "converter/packed_output/config_json.h"

#include <gtest/gtest.h>

namespace narrow {
namespace {

struct Case {
  const char* config;
  const char* value;
  const char* want;
};

TEST(ConfigJson, KeepsTheTextAndSetsTheKey) {
  const Case kCases[] = {
      {"{\n  \"b\": 1e-06,\n  \"a\": [1, 2]\n}\n", "{\n  \"x\": 1\n}",
       "{\n  \"b\": 1e-06,\n  \"a\": [1, 2],\n  \"quantization_config\": {\n"
       "    \"x\": 1\n  }\n}\n"},
      {"{\"a\": \"}\\\"\", \"b\": {}}", "{}",
       "{\"a\": \"}\\\"\", \"b\": {}, \"quantization_config\": {}}"},
      {"{}", "{}", "{\n  \"quantization_config\": {}\n}"},
      {"{\n \"quantization_config\": {\"q\": [\"]\"]},\n \"a\": null\n}",
       "{\"n\": 2}",
       "{\n \"quantization_config\": {\"n\": 2},\n \"a\": null\n}"},
      {"{\n \"a\": 1,\n \"quantization_config\": {\"q\": 1}\n}", "",
       "{\n \"a\": 1\n}"},
      {"{\"quantization_config\": 5, \"a\": true}", "", "{ \"a\": true}"},
      {"{\"quantization_config\": 5}", "", "{}"},
      {"{\"text_config\": {\"quantization_config\": 1}}", "{}",
       "{\"text_config\": {\"quantization_config\": "
       "1},\"quantization_config\": {}}"},
  };
  for (const Case& c : kCases) {
    const auto text = SetQuantizationConfig(c.config, c.value);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, c.want) << c.config;
  }
}

TEST(ConfigJson, RefusesWhatIsNoObject) {
  for (const char* text : {"", "[]", "{", "{\"a\": }", "1"}) {
    EXPECT_FALSE(SetQuantizationConfig(text, "{}").ok()) << text;
  }
}

}  // namespace
}  // namespace narrow
