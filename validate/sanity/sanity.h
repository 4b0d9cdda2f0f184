// Whether a candidate can be the original made small at all: what goes wrong
// in conversions and no perplexity shows, or shows too late.
//
//   ASSIGN_OR_RETURN(SanityReport report,
//                    CheckSanity(*original, *candidate, {n_threads}));
//   if (!report.ok()) std::fputs(RenderSanity(report).c_str(), stderr);
//
// Weights that are not finite or all zero; tensors that are missing, have
// another shape or were left unquantized; tokens, their types and special
// ids; ids of a fixed text in many scripts; the chat template and what it
// makes of a conversation. Reads all weights of the candidate once. Pure
// functions of both models.

#ifndef NARROW_VALIDATE_SANITY_SANITY_H_
#define NARROW_VALIDATE_SANITY_SANITY_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/checkpoint.h"
#include "formats/json/json_writer.h"

namespace narrow {

enum class SanitySeverity : uint8_t {
  kNote,     // to know; nothing is wrong with it by itself
  kWarning,  // looks like a mistake
  kError,    // the candidate is not the original made small
};
const char* SanitySeverityName(SanitySeverity severity);

struct SanityFinding {
  SanitySeverity severity = SanitySeverity::kError;
  std::string check;     // "weights", "tensors", "tokenizer", "chat template"
  std::string subject;   // the tensor, token or key
  std::string message;   // what is wrong with it
  std::string original;  // both values; "" where there is none
  std::string candidate;
};

struct SanityReport {
  std::vector<SanityFinding> findings;  // errors first
  int64_t n_tensors = 0;                // of the candidate, all decoded
  int64_t n_weights = 0;
  int64_t n_tokens_compared = 0;  // of the vocabulary
  int64_t n_text_ids = 0;         // ids of the fixed text
  int64_t n_conversations = 0;    // rendered by both

  bool ok() const;  // no error
};

// What was asked of a candidate's matrices.
struct ExpectedTypes {
  std::string source;  // "its manifest's recipe", "its file type Q4_K_M"
  // What was asked for, whole; otherwise what a file type gives by itself,
  // which options may have changed.
  bool is_recipe = false;
  // By GGUF name: "q4_k"; kPacked for those that a packing holds. Tensors that
  // are not here were not to be quantized.
  std::map<std::string, std::string> types;
};
inline constexpr char kPacked[] = "a packing";

struct SanityOptions {
  int n_threads = 0;  // < 1: all processors
  // nullptr: nothing is known; layers are compared with each other.
  const ExpectedTypes* expected = nullptr;
  const std::atomic<bool>* cancelled = nullptr;
};

// Opened alike; a packed candidate decoded. Errors of reading rows; what is
// wrong with the candidate is a finding. Cancelled.
absl::StatusOr<SanityReport> CheckSanity(const Checkpoint& original,
                                         const Checkpoint& candidate,
                                         const SanityOptions& options);

// A line a finding: "error: tensors: 'blk.0.attn_q.weight' is missing …\n";
// one line if there is none.
std::string RenderSanity(const SanityReport& report);
// The key "sanity": {"ok", "tensors", "weights", "tokens", "text_ids",
// "conversations", "findings": [{"severity", "check", "subject", "message",
// "original", "candidate"}]}, inside an open object.
void AddSanityJson(const SanityReport& report, JsonWriter* json);

}  // namespace narrow

#endif  // NARROW_VALIDATE_SANITY_SANITY_H_
