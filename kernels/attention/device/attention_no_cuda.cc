// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/attention/device/attention_launch.h"
#include "kernels/attention/device/tensor_attention_launch.h"

namespace narrow {
namespace attention_threads {

absl::Status Launch(const AttentionTask& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace attention_threads

namespace tensor_attention {

absl::Status Launch(const Task& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace tensor_attention
}  // namespace narrow
