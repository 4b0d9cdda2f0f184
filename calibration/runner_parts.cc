#include "calibration/runner_parts.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Combinations of sizes that the parts rely on.
absl::Status CheckConfig(const ModelConfig& c) {
  const auto error = [&](absl::string_view cause) {
    return absl::InvalidArgumentError(
        absl::StrCat("the configuration of this ", c.arch, " model: ", cause));
  };
  if (c.n_layers < 0 || c.hidden_size <= 0 || c.n_heads <= 0 ||
      c.n_kv_heads <= 0 || c.head_dim <= 0 || c.vocab_size <= 0) {
    return error("a size is not positive");
  }
  if (c.n_heads % c.n_kv_heads != 0) {
    return error(absl::StrCat(c.n_heads, " heads cannot share ", c.n_kv_heads,
                              " key-value heads"));
  }
  if (c.rope_dim <= 0 || c.rope_dim % 2 != 0 || c.rope_dim > c.head_dim) {
    return error(absl::StrCat(c.rope_dim, " rotated dimensions of heads of ",
                              c.head_dim));
  }
  if (c.n_experts > 0 &&
      (c.n_experts_used <= 0 || c.n_experts_used > c.n_experts ||
       c.expert_ffn_size <= 0)) {
    return error(absl::StrCat(c.n_experts_used, " of ", c.n_experts,
                              " experts of ", c.expert_ffn_size,
                              " inner columns"));
  }
  if (!(c.norm_eps >= 0) || !std::isfinite(c.attention_scale)) {
    return error("norm_eps or the attention scale is no usable number");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelTensors> FindRunnableTensors(const Checkpoint& model) {
  if (model.arch() == nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        "no forward pass for models of family '", model.config().arch,
        "'; known are ", KnownArchNames(), "; reading ", model.path()));
  }
  absl::Status checked = CheckConfig(model.config());
  if (checked.ok()) {
    // Shows that the rotary configuration is usable.
    checked = MakeRopeTable(model.config(), /*local=*/false, 1).status();
  }
  RETURN_IF_ERROR(Annotate(checked, absl::StrCat("reading ", model.path())));
  return FindModelTensors(model);
}

absl::Status EmbedTokens(ForwardContext* context, const ModelTensors& tensors,
                         absl::Span<const int32_t> ids, int64_t window_tokens,
                         HiddenStates* hidden) {
  const ModelConfig& config = context->config();
  const int64_t n_hidden = config.hidden_size;
  const int64_t n_ids = static_cast<int64_t>(ids.size());
  if (window_tokens <= 0 || n_ids % window_tokens != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(n_ids, " tokens are no whole windows of ", window_tokens));
  }
  for (int64_t i = 0; i < n_ids; ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token ", i % window_tokens, " of window ", i / window_tokens,
          " is number ", ids[i], ", the vocabulary has ", config.vocab_size));
    }
  }
  const ScopedTimer timer(&context->times->embed);
  hidden->n_windows = n_ids / window_tokens;
  hidden->window_tokens = window_tokens;
  hidden->hidden_size = n_hidden;
  hidden->values.resize(static_cast<size_t>(n_ids * n_hidden));
  std::vector<absl::Status> results(ids.size());
  ForEachRow(&context->pool, n_ids, [&](int64_t i) {
    float* row = hidden->values.data() + i * n_hidden;
    results[static_cast<size_t>(i)] =
        ReadRows(*context->model, *tensors.embedding, ids[i], 1, row);
    context->rows.scale(row, config.embedding_scale, n_hidden, row);
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  return CheckFinite(context, *hidden, "the token embedding");
}

absl::Status RopeTables::Prepare(const ModelConfig& config,
                                 int64_t window_tokens) {
  if (global.n_tokens == window_tokens) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(local, MakeRopeTable(config, /*local=*/true, window_tokens));
  ASSIGN_OR_RETURN(global,
                   MakeRopeTable(config, /*local=*/false, window_tokens));
  return absl::OkStatus();
}

ModelRunner::InnerCols InnerColsOf(const BlockTensors& t) {
  return {t.attn_output.weight.n_cols(),
          t.has_experts ? 0 : t.down.weight.n_cols()};
}

BlockSites SitesOf(const BlockTensors& t) {
  BlockSites sites;
  const auto add = [&](size_t site, const WeightRows& weight) {
    std::vector<std::string>& names = sites[site];
    // Parts of a fused tensor follow each other.
    if (names.empty() || names.back() != weight.name()) {
      names.push_back(weight.name());
    }
  };
  for (const LinearTensors* layer : {&t.q, &t.k, &t.v}) {
    add(0, layer->weight);
  }
  add(1, t.attn_output.weight);
  if (t.has_experts) {
    for (const WeightRows* weight : {&t.router, &t.expert_gate, &t.expert_up}) {
      add(2, *weight);
    }
    add(3, t.expert_down);
    return sites;
  }
  add(2, t.gate.weight);
  add(2, t.up.weight);
  add(3, t.down.weight);
  return sites;
}

void NormFinally(ForwardContext* context, const ModelTensors& tensors,
                 HiddenStates* hidden) {
  const int64_t n_rows = hidden->n_windows * hidden->window_tokens;
  const int64_t n_hidden = hidden->hidden_size;
  ForEachRow(&context->pool, n_rows, [&](int64_t r) {
    float* row = hidden->values.data() + r * n_hidden;
    context->rows.rms_norm(row, tensors.output_norm.data(), n_hidden,
                           context->config().norm_eps, row);
  });
}

absl::Status CheckTargets(const WeightRows& output, const int32_t* targets,
                          int64_t n_rows) {
  for (int64_t r = 0; r < n_rows; ++r) {
    if (targets[r] < 0 || targets[r] >= output.n_rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("target ", r, " is token ", targets[r],
                       ", the vocabulary has ", output.n_rows));
    }
  }
  return absl::OkStatus();
}

absl::Status LogitsNotFinite(const Checkpoint& model, const WeightRows& output,
                             int64_t row) {
  return absl::DataLossError(
      absl::StrCat("the logits of row ", row, " are not finite; tensor '",
                   output.name(), "'; reading ", model.path()));
}

}  // namespace narrow
