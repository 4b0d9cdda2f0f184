// The passes of a device against the definitions: the code of the card's
// threads on the CPU, and a card where there is one.

#include "kernels/rows/device/device_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

using row_threads::Gate;
using row_threads::GateTask;
using row_threads::LogProbTask;
using row_threads::MixTask;
using row_threads::NormTask;
using row_threads::RotateTask;

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

std::vector<float> RandomNumbers(int64_t n, int seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> numbers(static_cast<size_t>(n));
  for (float& number : numbers) {
    number = normal(generator);
  }
  return numbers;
}

// Memory of a device with values in it, and back.
class Values {
 public:
  template <typename T>
  Values(const Device& device, DeviceStream* stream,
         const std::vector<T>& values)
      : stream_(stream) {
    auto buffer = device.Allocate(values.size() * sizeof(T), "test");
    EXPECT_TRUE(buffer.ok());
    buffer_ = *std::move(buffer);
    EXPECT_TRUE(
        stream->Copy(values.data(), buffer_.n_bytes(), buffer_.data()).ok());
    EXPECT_TRUE(stream->Synchronize("test").ok());
  }

  template <typename T>
  T* as() const {
    return buffer_.as<T>();
  }
  template <typename T>
  std::vector<T> Read() const {
    std::vector<T> values(buffer_.n_bytes() / sizeof(T));
    EXPECT_TRUE(
        stream_->Copy(buffer_.data(), buffer_.n_bytes(), values.data()).ok());
    EXPECT_TRUE(stream_->Synchronize("test").ok());
    return values;
  }

 private:
  DeviceStream* stream_;
  DeviceBuffer buffer_;
};

void ExpectNear(const std::vector<float>& values,
                const std::vector<float>& wanted, double relative,
                double absolute) {
  ASSERT_EQ(values.size(), wanted.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(values[i], wanted[i],
                relative * std::fabs(wanted[i]) + absolute)
        << i;
  }
}

void OnEachDevice(const std::function<void(const Device& device,
                                           DeviceStream* stream)>& body) {
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    auto stream = device.NewStream();
    ASSERT_TRUE(stream.ok());
    body(device, &*stream);
  }
}

TEST(DeviceRowsTest, NormsRowsOfAnyLength) {
  OnEachDevice([](const Device& device, DeviceStream* stream) {
    for (const int64_t n : {1, 7, 256, 640, 5000}) {
      const int64_t n_rows = 5;
      const std::vector<float> x = RandomNumbers(n_rows * n, 1, 3);
      const std::vector<float> weight = RandomNumbers(n, 2);
      const Values d_x(device, stream, x);
      const Values d_weight(device, stream, weight);
      const Values floats(device, stream, std::vector<float>(x.size()));
      const Values halves(device, stream, std::vector<uint16_t>(x.size()));
      ASSERT_TRUE(RunRows(NormTask{d_x.as<float>(),
                                   d_weight.as<float>(),
                                   n_rows,
                                   n,
                                   1e-6f,
                                   {floats.as<float>(), halves.as<uint16_t>()}},
                          stream)
                      .ok());
      std::vector<float> wanted(x.size());
      for (int64_t r = 0; r < n_rows; ++r) {
        RowKernelsReference().rms_norm(&x[r * n], weight.data(), n, 1e-6f,
                                       &wanted[r * n]);
      }
      const std::vector<float> values = floats.Read<float>();
      // Sums in double; the quotient and two products round.
      ExpectNear(values, wanted, 0x1p-22, 0);
      const std::vector<uint16_t> rounded = halves.Read<uint16_t>();
      for (size_t i = 0; i < rounded.size(); ++i) {
        EXPECT_EQ(rounded[i], Bf16FromFloat(values[i]));
      }
    }
  });
}

TEST(DeviceRowsTest, GatesAndCaps) {
  OnEachDevice([](const Device& device, DeviceStream* stream) {
    const int64_t n = 3001;
    const std::vector<float> gate = RandomNumbers(n, 3, 4);
    const std::vector<float> up = RandomNumbers(n, 4);
    const Values d_gate(device, stream, gate);
    const Values d_up(device, stream, up);
    for (const Gate kind : {Gate::kSilu, Gate::kGelu}) {
      const Values out(device, stream, std::vector<float>(n));
      ASSERT_TRUE(RunRows(GateTask{d_gate.as<float>(),
                                   d_up.as<float>(),
                                   kind,
                                   n,
                                   {out.as<float>(), nullptr}},
                          stream)
                      .ok());
      std::vector<float> wanted(n);
      (kind == Gate::kSilu ? RowKernelsReference().gate_silu
                           : RowKernelsReference().gate_gelu)(
          gate.data(), up.data(), n, wanted.data());
      // 1 + tanh loses what is near -1: an error of some 2^-24 times the gate.
      ExpectNear(out.Read<float>(), wanted, 0x1p-20, 4e-6);
    }
    std::vector<float> capped = gate;
    const Values d_y(device, stream, up);
    ASSERT_TRUE(
        RunRows(MixTask{d_gate.as<float>(), 1, 0, 5, n, d_y.as<float>()},
                stream)
            .ok());
    RowKernelsReference().soft_cap(5, n, capped.data());
    ExpectNear(d_y.Read<float>(), capped, 0x1p-21, 0);
  });
}

TEST(DeviceRowsTest, AddsWhatIsScaled) {
  OnEachDevice([](const Device& device, DeviceStream* stream) {
    const int64_t n = 1000;
    const std::vector<float> x = RandomNumbers(n, 5);
    std::vector<float> y = RandomNumbers(n, 6);
    const Values d_x(device, stream, x);
    const Values d_y(device, stream, y);
    ASSERT_TRUE(
        RunRows(MixTask{d_x.as<float>(), 0.5f, 1, 0, n, d_y.as<float>()},
                stream)
            .ok());
    RowKernelsReference().add_scaled(x.data(), 0.5f, n, y.data());
    EXPECT_EQ(d_y.Read<float>(), y);
  });
}

TEST(DeviceRowsTest, RotatesHeadsOfTokens) {
  OnEachDevice([](const Device& device, DeviceStream* stream) {
    const int64_t n_tokens = 6, n_heads = 3, head_dim = 20, n_pairs = 8;
    const int64_t stride = n_heads * head_dim + 4;
    for (const bool halves : {true, false}) {
      std::vector<float> x = RandomNumbers(n_tokens * stride, 7);
      std::vector<float> cosines, sines;
      for (const float angle : RandomNumbers(n_tokens * n_pairs, 8, 2)) {
        cosines.push_back(std::cos(angle));
        sines.push_back(std::sin(angle));
      }
      const Values d_x(device, stream, x);
      const Values d_cosines(device, stream, cosines);
      const Values d_sines(device, stream, sines);
      ASSERT_TRUE(RunRows(RotateTask{d_x.as<float>(), d_cosines.as<float>(),
                                     d_sines.as<float>(), n_tokens, n_heads,
                                     head_dim, stride, n_pairs, halves},
                          stream)
                      .ok());
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t h = 0; h < n_heads; ++h) {
          (halves ? RowKernelsReference().rotate_halves
                  : RowKernelsReference().rotate_pairs)(
              &cosines[t * n_pairs], &sines[t * n_pairs], n_pairs,
              &x[t * stride + h * head_dim]);
        }
      }
      ExpectNear(d_x.Read<float>(), x, 0, 1e-6);
    }
  });
}

TEST(DeviceRowsTest, LogProbabilitiesOfTargets) {
  OnEachDevice([](const Device& device, DeviceStream* stream) {
    for (const int64_t n : {2, 255, 4097}) {
      const int64_t n_rows = 4;
      const std::vector<float> logits = RandomNumbers(n_rows * n, 9, 5);
      const std::vector<int32_t> targets = {0, static_cast<int32_t>(n - 1),
                                            static_cast<int32_t>(n / 2), 1};
      const Values d_logits(device, stream, logits);
      const Values d_targets(device, stream, targets);
      const Values out(device, stream, std::vector<double>(n_rows));
      const Values room(device, stream,
                        std::vector<float>(n_rows * row_threads::kRowThreads));
      ASSERT_TRUE(
          RunRows(LogProbTask{d_logits.as<float>(), d_targets.as<int32_t>(),
                              n_rows, n, out.as<double>(), room.as<float>()},
                  stream)
              .ok());
      const std::vector<double> log_probs = out.Read<double>();
      for (int64_t r = 0; r < n_rows; ++r) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          sum += std::exp(static_cast<double>(logits[r * n + i]));
        }
        EXPECT_NEAR(log_probs[r], logits[r * n + targets[r]] - std::log(sum),
                    1e-12 * (1 + std::fabs(log_probs[r])));
      }
    }
  });
}

TEST(DeviceRowsTest, UniformLogitsGiveTheVocabulary) {
  OnEachDevice([](const Device& device, DeviceStream* stream) {
    const Values logits(device, stream, std::vector<float>(1000, 3.5f));
    const Values targets(device, stream, std::vector<int32_t>{17});
    const Values out(device, stream, std::vector<double>(1));
    const Values room(device, stream,
                      std::vector<float>(row_threads::kRowThreads));
    ASSERT_TRUE(
        RunRows(LogProbTask{logits.as<float>(), targets.as<int32_t>(), 1, 1000,
                            out.as<double>(), room.as<float>()},
                stream)
            .ok());
    EXPECT_NEAR(out.Read<double>()[0], -std::log(1000.0), 1e-13);
  });
}

}  // namespace
}  // namespace narrow
