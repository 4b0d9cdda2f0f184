// What every tensor loses as every type it could have: the expected KL
// divergence of the model's output that its error causes, nats a token. The
// losses of a file's tensors add up to the file's, but for a factor.
//
//   RETURN_IF_ERROR(WriteLossTable(table, "model.probe.json"));
//   ASSIGN_OR_RETURN(LossTable table, ReadLossTable("model.probe.json",
//   print)); const double* loss = table.Find("blk.0.ffn_up.weight",
//   QuantType::kQ4_K);
//
// Plain values.

#ifndef NARROW_CONVERTER_ALLOCATION_LOSS_TABLE_H_
#define NARROW_CONVERTER_ALLOCATION_LOSS_TABLE_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "formats/quant_type.h"

namespace narrow {

struct LossTable {
  // Of what the losses depend on.
  uint64_t fingerprint = 0;
  // By tensor; those without losses are not here.
  std::map<std::string, std::map<QuantType, double>> tensors;
  // By the way files are written ("plain", "one-shot", "sequential"): what the
  // sum of losses is multiplied by for the divergence of a file, as measured
  // on one.
  std::map<std::string, double> factors;

  const double* Find(const std::string& name, QuantType type) const {
    const auto tensor = tensors.find(name);
    if (tensor == tensors.end()) {
      return nullptr;
    }
    const auto loss = tensor->second.find(type);
    return loss == tensor->second.end() ? nullptr : &loss->second;
  }
};

// JSON: {"narrow_probe": 1, "fingerprint", "factors": {way: factor},
// "tensors": {name: {type: loss}}}.
absl::Status WriteLossTable(const LossTable& table, const std::string& path);

// NotFound: no file; FailedPrecondition: another fingerprint; DataLoss: not
// what WriteLossTable writes.
absl::StatusOr<LossTable> ReadLossTable(const std::string& path,
                                        uint64_t fingerprint);

}  // namespace narrow

#endif  // NARROW_CONVERTER_ALLOCATION_LOSS_TABLE_H_
