#include "converter/fit/fit_report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/progress.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

std::string CacheName(const CacheTypes& types) {
  return types.key == types.value
             ? std::string(TypeName(types.key))
             : absl::StrCat(TypeName(types.key), "/", TypeName(types.value));
}

// Signal to noise in decibels; "exact" where nothing is lost.
std::string NoiseText(double noise) {
  return noise <= 0 ? "exact"
                    : absl::StrFormat("%.1f", -10 * std::log10(noise));
}

std::string Signed(int64_t n_bytes) {
  return n_bytes < 0 ? absl::StrCat("-", FormatBytes(-n_bytes))
                     : FormatBytes(n_bytes);
}

std::string CacheLine(const FitShape& shape, const FitRequest& request) {
  if (request.cache_bytes.has_value()) {
    return absl::StrCat("cache: ", FormatBytes(*request.cache_bytes),
                        ", as given\n");
  }
  const CacheLayout& layout = *shape.layout;
  int n_full = 0;
  int n_sliding = 0;
  int n_states = 0;
  for (const CacheLayer& layer : layout.layers) {
    const bool keeps = layer.key_width + layer.value_width > 0;
    n_full += keeps && !layer.slides ? 1 : 0;
    n_sliding += keeps && layer.slides ? 1 : 0;
    n_states += layer.state_width > 0 ? 1 : 0;
  }
  std::string text = absl::StrCat("cache: ", request.use.n_parallel, " x ",
                                  CacheCells(request.use.context),
                                  " positions in ", n_full, " layers");
  if (n_sliding > 0) {
    absl::StrAppend(&text, ", windows of ", layout.window, " in ", n_sliding);
  }
  if (n_states > 0) {
    absl::StrAppend(&text, ", recurrent states in ", n_states);
  }
  return text + "\n";
}

}  // namespace

std::string FitTable(absl::Span<const FitRow> rows, const FitShape& shape,
                     const FitRequest& request, bool all) {
  std::string text = absl::StrCat(
      "memory ", FormatBytes(request.memory), ", context ", request.use.context,
      request.use.n_parallel > 1
          ? absl::StrCat(" for each of ", request.use.n_parallel, " sequences")
          : "",
      "\n", CacheLine(shape, request));
  if (request.use.context > shape.config.context_length &&
      shape.config.context_length > 0) {
    absl::StrAppend(&text, "note: the model was trained for a context of ",
                    shape.config.context_length, "\n");
  }
  absl::StrAppend(
      &text, "compute: ",
      request.compute_bytes.has_value()
          ? "as given"
          : absl::StrCat("an allowance for batches of ", request.use.batch,
                         " (--compute-size overrides it)"),
      request.reserve > 0
          ? absl::StrCat("; ", FormatBytes(request.reserve), " left free")
          : "",
      "\nSNR: signal to noise of normal weights in dB, matrices weighted by what "
      "their noise costs; calibration not counted\n\n");
  constexpr char kHead[] =
      "%-18s %-18s %6s %6s %11s %-9s %11s %11s %11s %11s %9s  %s\n";
  absl::StrAppendFormat(&text, kHead, "type", "format", "bits", "SNR",
                        "weights", "kv", "cache", "compute", "total",
                        "headroom", "context", "needs");
  int n_hidden = 0;
  for (const FitRow& row : rows) {
    if (!row.fits && !all) {
      ++n_hidden;
      continue;
    }
    absl::StrAppendFormat(
        &text, kHead, row.option->name, row.option->format,
        absl::StrFormat("%.2f", row.option->bits_per_weight()),
        NoiseText(row.option->noise), FormatBytes(row.option->tensor_bytes),
        CacheName(row.types), FormatBytes(row.cache.bytes()),
        FormatBytes(row.compute_bytes), FormatBytes(row.total_bytes),
        Signed(row.headroom_bytes), absl::StrCat(row.most_context),
        row.option->needs);
  }
  if (n_hidden > 0) {
    absl::StrAppend(&text, n_hidden, " more do not fit; --all lists them\n");
  }
  return text;
}

absl::Status CheckAnyFits(absl::Span<const FitRow> rows,
                          const FitRequest& request) {
  const FitRow* least = nullptr;
  int64_t context = 0;
  for (const FitRow& row : rows) {
    if (row.fits) {
      return absl::OkStatus();
    }
    context = std::max(context, row.most_context);
    if (least == nullptr || row.total_bytes < least->total_bytes) {
      least = &row;
    }
  }
  if (least == nullptr) {
    return absl::FailedPreconditionError(
        "nothing can be made of this model; --all and --json say why");
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "nothing fits into ", FormatBytes(request.memory), ": the smallest, ",
      least->option->name, " with a cache of ", CacheName(least->types),
      ", needs ", FormatBytes(least->total_bytes), " (weights ",
      FormatBytes(least->option->tensor_bytes), ", cache ",
      FormatBytes(least->cache.bytes()), ", compute ",
      FormatBytes(least->compute_bytes), "), ",
      FormatBytes(-least->headroom_bytes), " too much; ",
      context > 0 ? absl::StrCat("a context of ", context, " would fit")
                  : "no context would fit"));
}

std::string FitJson(absl::Span<const FitRow> rows,
                    absl::Span<const FitRefusal> refusals,
                    const FitShape& shape, const FitRequest& request) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("memory_bytes").Integer(request.memory);
  json.Key("reserve_bytes").Integer(request.reserve);
  json.Key("context").Integer(request.use.context);
  json.Key("parallel").Integer(request.use.n_parallel);
  json.Key("batch").Integer(request.use.batch);
  json.Key("trained_context").Integer(shape.config.context_length);
  json.Key("rows").BeginArray();
  for (const FitRow& row : rows) {
    json.BeginObject();
    json.Key("type").String(row.option->name);
    json.Key("format").String(row.option->format);
    json.Key("command").String(row.option->command);
    json.Key("needs").String(row.option->needs);
    json.Key("bits_per_weight").Number(row.option->bits_per_weight());
    json.Key("noise").Number(row.option->noise);
    json.Key("tensor_bytes").Integer(row.option->tensor_bytes);
    json.Key("file_bytes").Integer(row.option->file_bytes);
    json.Key("cache_type_k").String(TypeName(row.types.key));
    json.Key("cache_type_v").String(TypeName(row.types.value));
    json.Key("cache_bytes").Integer(row.cache.bytes());
    json.Key("cache_full_bytes").Integer(row.cache.full_bytes);
    json.Key("cache_sliding_bytes").Integer(row.cache.sliding_bytes);
    json.Key("cache_state_bytes").Integer(row.cache.state_bytes);
    json.Key("compute_bytes").Integer(row.compute_bytes);
    json.Key("total_bytes").Integer(row.total_bytes);
    json.Key("headroom_bytes").Integer(row.headroom_bytes);
    json.Key("most_context").Integer(row.most_context);
    json.Key("fits").Bool(row.fits);
    json.EndObject();
  }
  json.EndArray();
  json.Key("refused").BeginArray();
  for (const FitRefusal& refusal : refusals) {
    json.BeginObject();
    json.Key("type").String(refusal.name);
    json.Key("reason").String(refusal.reason);
    json.EndObject();
  }
  json.EndArray().EndObject();
  return json.text();
}

}  // namespace narrow
