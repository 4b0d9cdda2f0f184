#include "formats/arch/config/rope_factors.h"

#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

struct FactorCase {
  Llama3RopeInputs inputs;
  size_t first;                // factors before are 1
  std::vector<float> blended;  // those after are `factor`
};

// Computed by torch 2.15 as llama.cpp's converter (build b11549) does.
TEST(Llama3RopeFactors, EqualTorchBitForBit) {
  const FactorCase kCases[] = {
      {{500000, 128, 8, 1, 4, 8192},  // Llama 3.1
       29,
       {1.2074838876724243f, 1.5534145832061768f, 2.026313066482544f,
        2.6945300102233887f, 3.684253215789795f, 5.257327079772949f}},
      {{500000, 64, 32, 1, 4, 8192},  // Llama 3.2 1B
       15,
       {1.6513292789459229f, 3.2922627925872803f, 9.666730880737305f}},
      {{500000, 128, 32, 1, 4, 8192},  // Llama 3.2 3B
       29,
       {1.234937071800232f, 1.6513292789459229f, 2.2766594886779785f,
        3.2922627925872803f, 5.171597003936768f, 9.666730880737305f}},
  };
  for (const FactorCase& c : kCases) {
    std::vector<float> expected(c.first, 1.0f);
    expected.insert(expected.end(), c.blended.begin(), c.blended.end());
    expected.resize(static_cast<size_t>(c.inputs.dim / 2),
                    static_cast<float>(c.inputs.factor));
    EXPECT_EQ(Llama3RopeFactors(c.inputs), expected);
  }
}

}  // namespace
}  // namespace narrow
