// A libcublasLt for tests, which computes on the processor what the real one
// computes on a card, and is as strict: sizes of attributes, leading
// dimensions, alignments that were promised, algorithms of another shape. What
// it refuses it tells in FakeComplaint. The interface is cublasLt.h's.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "kernels/matmul/device/cublas_lt_api.h"

namespace {

using narrow::cublas_lt::Algorithm;
using narrow::cublas_lt::Choice;
namespace lt = narrow::cublas_lt;

struct Desc {
  int compute_type = 0;
  int scale_type = 0;
  int32_t trans_a = 0;
  int32_t trans_b = 0;
  uint32_t epilogue = 1;
  const void* bias = nullptr;
};
struct Layout {
  int type = 0;
  uint64_t n_rows = 0;
  uint64_t n_cols = 0;
  int64_t leading = 0;
  int32_t n_batch = 1;
  int64_t offset = 0;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

constexpr uint64_t kAlgorithmMark = 0x6e6172726f77;
constexpr size_t kWorkspace = 1 << 20;

// Handles and descriptors that live.
std::set<void*>& Living() {
  static std::set<void*> living;
  return living;
}
std::string& Complaint() {
  static std::string complaint;
  return complaint;
}
std::string failing_call;
int failing_status = 0;
int n_heuristics = 0;
int n_products = 0;

int Refuse(const char* why) {
  Complaint() = why;
  return lt::kInvalidValue;
}
bool Fails(const char* call, int* status) {
  *status = failing_status;
  return failing_call == call;
}

template <typename T>
int New(void** out) {
  *out = new T();
  Living().insert(*out);
  return lt::kSuccess;
}
template <typename T>
int Delete(void* it) {
  if (Living().erase(it) == 0) {
    return Refuse("destroyed twice");
  }
  delete static_cast<T*>(it);
  return lt::kSuccess;
}
template <typename T>
int SetField(T* field, const void* value, size_t n_bytes) {
  if (n_bytes != sizeof(T) || value == nullptr) {
    return Refuse("size of an attribute");
  }
  std::memcpy(field, value, n_bytes);
  return lt::kSuccess;
}

uint64_t Mix(uint64_t hash, uint64_t value) {
  return (hash ^ value) * 0x9e3779b97f4a7c15u + (hash >> 29);
}

// Of all that an algorithm is chosen by.
uint64_t PrintOf(const Desc& desc, const std::vector<const Layout*>& layouts) {
  uint64_t hash = Mix(1, static_cast<uint64_t>(desc.trans_a));
  hash = Mix(hash, static_cast<uint64_t>(desc.trans_b));
  hash = Mix(hash, desc.epilogue);
  for (const Layout* layout : layouts) {
    hash = Mix(hash, static_cast<uint64_t>(layout->type));
    hash = Mix(hash, layout->n_rows);
    hash = Mix(hash, layout->n_cols);
    hash = Mix(hash, static_cast<uint64_t>(layout->leading));
    hash = Mix(hash, static_cast<uint64_t>(layout->n_batch));
    hash = Mix(hash, static_cast<uint64_t>(layout->offset));
  }
  return hash;
}

float Widen(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
uint16_t Narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What the sizes of a product come to, or why it is none.
const char* Check(const Desc& desc, const Layout& a, const Layout& b,
                  const Layout& c, const Layout& d) {
  if (desc.compute_type != lt::kComputeF32 || desc.scale_type != lt::kF32) {
    return "types of sums";
  }
  if (a.type != lt::kBf16 || b.type != lt::kBf16 || c.type != d.type ||
      (d.type != lt::kF32 && d.type != lt::kBf16)) {
    return "types of operands";
  }
  for (const Layout* layout : {&a, &b, &c, &d}) {
    if (layout->leading < static_cast<int64_t>(layout->n_rows)) {
      return "leading dimension";
    }
    if (layout->n_batch != d.n_batch) {
      return "batches";
    }
  }
  const uint64_t m = desc.trans_a != 0 ? a.n_cols : a.n_rows;
  const uint64_t k = desc.trans_a != 0 ? a.n_rows : a.n_cols;
  const uint64_t n = desc.trans_b != 0 ? b.n_rows : b.n_cols;
  const uint64_t b_k = desc.trans_b != 0 ? b.n_cols : b.n_rows;
  if (m != d.n_rows || n != d.n_cols || k != b_k || c.n_rows != m ||
      c.n_cols != n) {
    return "sizes";
  }
  if (desc.epilogue == lt::kEpilogueBias &&
      (desc.bias == nullptr || d.type != lt::kF32)) {
    return "bias";
  }
  return nullptr;
}

bool IsAligned(const void* data, uint64_t alignment) {
  return alignment == 0 || reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

void Multiply(const Desc& desc, float alpha, const uint16_t* a,
              const Layout& la, const uint16_t* b, const Layout& lb, float beta,
              const Layout& ld, void* d) {
  const int64_t depth =
      static_cast<int64_t>(desc.trans_a != 0 ? la.n_rows : la.n_cols);
  auto* const floats = static_cast<float*>(d);
  auto* const halves = static_cast<uint16_t*>(d);
  for (int64_t i = 0; i < static_cast<int64_t>(ld.n_rows); ++i) {
    for (int64_t j = 0; j < static_cast<int64_t>(ld.n_cols); ++j) {
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        sum += Widen(desc.trans_a != 0 ? a[k + i * la.leading]
                                       : a[i + k * la.leading]) *
               Widen(desc.trans_b != 0 ? b[j + k * lb.leading]
                                       : b[k + j * lb.leading]);
      }
      const int64_t at = i + j * ld.leading;
      sum *= alpha;
      if (beta != 0) {  // else what is there is not read
        sum += beta * (ld.type == lt::kF32 ? floats[at] : Widen(halves[at]));
      }
      if (desc.epilogue == lt::kEpilogueBias) {
        sum += static_cast<const float*>(desc.bias)[i];
      }
      if (ld.type == lt::kF32) {
        floats[at] = sum;
      } else {
        halves[at] = Narrow(sum);
      }
    }
  }
}

}  // namespace

extern "C" {

// For tests: `call` gives `status` from now on; what was refused last; how
// often products and heuristics were asked for; how much is not destroyed yet.
void FakeFail(const char* call, int status) {
  failing_call = call;
  failing_status = status;
}
const char* FakeComplaint() { return Complaint().c_str(); }
int FakeHeuristics() { return n_heuristics; }
int FakeProducts() { return n_products; }
int FakeLiving() { return static_cast<int>(Living().size()); }

size_t cublasLtGetVersion() { return 130100; }

int cublasLtCreate(void** handle) {
  int status;
  return Fails("cublasLtCreate", &status) ? status : New<int>(handle);
}
int cublasLtDestroy(void* handle) { return Delete<int>(handle); }

int cublasLtMatmulDescCreate(void** desc, int compute_type, int scale_type) {
  New<Desc>(desc);
  static_cast<Desc*>(*desc)->compute_type = compute_type;
  static_cast<Desc*>(*desc)->scale_type = scale_type;
  return lt::kSuccess;
}
int cublasLtMatmulDescDestroy(void* desc) { return Delete<Desc>(desc); }
int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value,
                                   size_t n_bytes) {
  auto* const to = static_cast<Desc*>(desc);
  switch (attribute) {
    case lt::kDescTransA:
      return SetField(&to->trans_a, value, n_bytes);
    case lt::kDescTransB:
      return SetField(&to->trans_b, value, n_bytes);
    case lt::kDescEpilogue:
      return SetField(&to->epilogue, value, n_bytes);
    case lt::kDescBiasPointer:
      return SetField(&to->bias, value, n_bytes);
    default:
      return Refuse("attribute of a product");
  }
}

int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t n_rows,
                               uint64_t n_cols, int64_t leading) {
  New<Layout>(layout);
  *static_cast<Layout*>(*layout) = {type, n_rows, n_cols, leading, 1, 0};
  return lt::kSuccess;
}
int cublasLtMatrixLayoutDestroy(void* layout) { return Delete<Layout>(layout); }
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute,
                                     const void* value, size_t n_bytes) {
  auto* const to = static_cast<Layout*>(layout);
  switch (attribute) {
    case lt::kLayoutBatchCount:
      return SetField(&to->n_batch, value, n_bytes);
    case lt::kLayoutBatchOffset:
      return SetField(&to->offset, value, n_bytes);
    default:
      return Refuse("attribute of a layout");
  }
}

int cublasLtMatmulPreferenceCreate(void** preference) {
  return New<Preference>(preference);
}
int cublasLtMatmulPreferenceDestroy(void* preference) {
  return Delete<Preference>(preference);
}
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute,
                                         const void* value, size_t n_bytes) {
  auto* const to = static_cast<Preference*>(preference);
  if (attribute == lt::kPreferWorkspace) {
    return SetField(&to->workspace, value, n_bytes);
  }
  const int operand = attribute - lt::kPreferAlignmentA;
  return operand >= 0 && operand < 4
             ? SetField(&to->alignments[operand], value, n_bytes)
             : Refuse("attribute of a preference");
}

// Two choices: one that needs more memory than there is, and one for all.
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* desc, void* a, void* b,
                                   void* c, void* d, void* preference,
                                   int n_wanted, Choice* choices,
                                   int* n_found) {
  int status;
  if (Fails("cublasLtMatmulAlgoGetHeuristic", &status)) {
    return status;
  }
  for (void* it : {handle, desc, a, b, c, d, preference}) {
    if (Living().count(it) == 0) {
      return Refuse("no such descriptor");
    }
  }
  const auto* its = static_cast<Desc*>(desc);
  const auto* la = static_cast<Layout*>(a);
  const auto* lb = static_cast<Layout*>(b);
  const auto* lc = static_cast<Layout*>(c);
  const auto* ld = static_cast<Layout*>(d);
  if (const char* why = Check(*its, *la, *lb, *lc, *ld)) {
    return Refuse(why);
  }
  ++n_heuristics;
  const auto* limits = static_cast<Preference*>(preference);
  *n_found = std::min(n_wanted, 2);
  for (int i = 0; i < *n_found; ++i) {
    choices[i] = {};
    choices[i].workspace_bytes =
        i == 0 ? limits->workspace + 1
               : std::min<size_t>(limits->workspace, kWorkspace);
    choices[i].algorithm.data[0] = kAlgorithmMark;
    choices[i].algorithm.data[1] = PrintOf(*its, {la, lb, lc, ld});
    choices[i].algorithm.data[2] = choices[i].workspace_bytes;
    for (int operand = 0; operand < 4; ++operand) {
      choices[i].algorithm.data[3 + operand] = limits->alignments[operand];
    }
    choices[i].algorithm.data[7] = i == 0 ? 0 : 1;
  }
  return lt::kSuccess;
}

int cublasLtMatmul(void* handle, void* desc, const void* alpha, const void* a,
                   void* a_layout, const void* b, void* b_layout,
                   const void* beta, const void* c, void* c_layout, void* d,
                   void* d_layout, const Algorithm* algorithm, void* workspace,
                   size_t workspace_bytes, void* /*stream*/) {
  int status;
  if (Fails("cublasLtMatmul", &status)) {
    return status;
  }
  for (void* it : {handle, desc, a_layout, b_layout, c_layout, d_layout}) {
    if (Living().count(it) == 0) {
      return Refuse("no such descriptor");
    }
  }
  const auto* its = static_cast<Desc*>(desc);
  const auto* la = static_cast<Layout*>(a_layout);
  const auto* lb = static_cast<Layout*>(b_layout);
  const auto* lc = static_cast<Layout*>(c_layout);
  const auto* ld = static_cast<Layout*>(d_layout);
  if (const char* why = Check(*its, *la, *lb, *lc, *ld)) {
    return Refuse(why);
  }
  if (c != d || algorithm->data[0] != kAlgorithmMark ||
      algorithm->data[1] != PrintOf(*its, {la, lb, lc, ld})) {
    return Refuse("algorithm of another product");
  }
  if (algorithm->data[7] == 0 || workspace_bytes < algorithm->data[2] ||
      (workspace_bytes > 0 && workspace == nullptr) ||
      !IsAligned(workspace, 256)) {
    return Refuse("workspace");
  }
  const void* const operands[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (!IsAligned(operands[i], algorithm->data[3 + i])) {
      return Refuse("alignment");
    }
  }
  // Whoever reads it, or has given less, shall see.
  std::memset(workspace, 0xff, algorithm->data[2]);
  ++n_products;
  const int64_t out_bytes = ld->type == lt::kF32 ? 4 : 2;
  for (int64_t batch = 0; batch < ld->n_batch; ++batch) {
    Multiply(*its, *static_cast<const float*>(alpha),
             static_cast<const uint16_t*>(a) + batch * la->offset, *la,
             static_cast<const uint16_t*>(b) + batch * lb->offset, *lb,
             *static_cast<const float*>(beta), *ld,
             static_cast<uint8_t*>(d) + batch * ld->offset * out_bytes);
  }
  return lt::kSuccess;
}

}  // extern "C"
