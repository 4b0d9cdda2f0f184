// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/attention/device/exact_attention.h"

namespace narrow {
namespace exact_attention {

absl::Status Launch(const attention_threads::AttentionTask& /*task*/,
                    void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace exact_attention
}  // namespace narrow
