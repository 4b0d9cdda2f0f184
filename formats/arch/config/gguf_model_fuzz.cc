// Any bytes as a model in a GGUF file: its configuration, its tokenizer and
// all rows of its tensors.

#include <cstdint>

#include "formats/arch/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"
#include "tools/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const narrow::MemoryFile file(data, size);
  const auto model = narrow::Checkpoint::Open(file.path(), {});
  if (!model.ok()) {
    return 0;
  }
  volatile uint8_t touched = 0;
  for (const narrow::CheckpointTensor& tensor : (*model)->tensors()) {
    for (int64_t row = 0; row < tensor.meta.n_rows(); ++row) {
      for (const uint8_t byte : (*model)->RowBytes(tensor, row)) {
        touched = touched + byte;
      }
    }
  }
  const auto tokenizer = narrow::Tokenizer::FromGguf((*model)->metadata());
  if (tokenizer.ok()) {
    const auto ids =
        (*tokenizer)
            ->Encode("a bab, <s>\xf0\x9f\x98\x80 \xff 12345", {true, true});
    (*tokenizer)->Decode(ids, false);
  }
  return 0;
}
