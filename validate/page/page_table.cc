// Tested by: page_test.

#include "validate/page/page_table.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace narrow {
namespace {

constexpr double kMiB = 1048576;

PageCell Name(std::string text) { return {std::move(text), PageCell::kName}; }
PageCell Number(std::string text) {
  return {std::move(text), PageCell::kNumber};
}

PageCell VerdictCell(const std::optional<Verdict>& verdict) {
  if (!verdict) {
    return {"", PageCell::kText};
  }
  const PageCell::Kind kind = *verdict == Verdict::kPass ? PageCell::kPass
                              : *verdict == Verdict::kFail
                                  ? PageCell::kFail
                                  : PageCell::kUndecided;
  return {std::string(VerdictName(*verdict)), kind};
}

// Of windows, where it is known: tokens of one are not independent.
double ErrorOf(const Figure& figure) {
  return std::isfinite(figure.window_error) ? figure.window_error
                                            : figure.error;
}

// "12.3456 ± 0.0123", `factor` times the figure.
std::string WithError(const Figure& figure, int n_digits, double factor = 1) {
  std::string text = absl::StrFormat("%.*f", n_digits, factor * figure.value);
  if (std::isfinite(ErrorOf(figure))) {
    absl::StrAppendFormat(&text, " ± %.*f", n_digits, factor * ErrorOf(figure));
  }
  return text;
}

// Three digits of a small number, without a power of ten down to 1e-6.
std::string Small(double value) {
  if (!(std::abs(value) >= 1e-6) || std::abs(value) >= 100) {
    return absl::StrFormat("%.3g", value);
  }
  const int digits = std::max(
      0, 2 - static_cast<int>(std::floor(std::log10(std::abs(value)))));
  return absl::StrFormat("%.*f", digits, value);
}

// With as many digits as leave two of the error: 0.000487 ± 0.000023.
std::string SmallWithError(const Figure& figure) {
  const double error = ErrorOf(figure);
  if (!(error >= 1e-9)) {
    return Small(figure.value);
  }
  const int digits =
      std::clamp(1 - static_cast<int>(std::floor(std::log10(error))), 0, 10);
  return absl::StrFormat("%.*f ± %.*f", digits, figure.value, digits, error);
}

std::string Change(const Figure& ratio) {
  std::string text = absl::StrFormat("%+.2f", 100 * (ratio.value - 1));
  if (std::isfinite(ErrorOf(ratio))) {
    absl::StrAppendFormat(&text, " ± %.2f", 100 * ErrorOf(ratio));
  }
  return text;
}

std::string Bits(const ValidatedModel& model) {
  return model.n_weights == 0
             ? ""
             : absl::StrFormat("%.2f", model.bits_per_weight());
}

// The columns of one comparison, in the order of their heads.
std::vector<PageCell> ComparisonHeads() {
  return {Number("perplexity"), Number("change, %"), Number("KL, nats"),
          Number("KL 99 %"),    Number("RMS Δp, %"), Number("same top, %")};
}

std::vector<PageCell> ComparisonCells(const Comparison& figures) {
  return {Number(SmallWithError(figures.perplexity)),
          Number(Change(figures.ratio)),
          Number(SmallWithError(figures.divergence)),
          Number(Small(figures.divergence_quantiles[kQuantile99])),
          Number(WithError(figures.rms_delta_p, 2, 100)),
          Number(WithError(figures.same_top, 2, 100))};
}

void Append(std::vector<PageCell> more, std::vector<PageCell>* cells) {
  cells->insert(cells->end(), std::make_move_iterator(more.begin()),
                std::make_move_iterator(more.end()));
}

bool HasFigures(const ValidationReport& report) {
  return std::any_of(report.candidates.begin(), report.candidates.end(),
                     [](const CandidateReport& candidate) {
                       return WholeComparison(candidate) != nullptr;
                     });
}

// Limits, values and bounds in the unit that the criterion's flag has.
std::string InUnit(Criterion criterion, double value) {
  if (!std::isfinite(value)) {
    return std::isnan(value) ? "unknown" : value < 0 ? "-∞" : "∞";
  }
  switch (criterion) {
    case Criterion::kPerplexityRatio:
      return absl::StrFormat("%+.3f %%", 100 * value);
    case Criterion::kRmsDeltaP:
    case Criterion::kSameTop:
      return absl::StrFormat("%.3f %%", 100 * value);
    case Criterion::kTaskDelta:
      return absl::StrFormat("%+.2f points", 100 * value);
    case Criterion::kPerplexityDifference:
      return absl::StrFormat("%+.4f", value);
    case Criterion::kDivergence:
      return Small(value);
  }
  return "";
}

std::string Decided(const CriterionVerdict& one) {
  std::string text = absl::StrCat(one.n_used);
  if (one.verdict == Verdict::kUndecided) {
    text += one.n_needed ? absl::StrCat(", about ", *one.n_needed, " needed")
                         : ", too close to say how many are needed";
  }
  return text;
}

const LayerError* FindLayer(const WeightErrors& errors,
                            const std::string& name) {
  for (const LayerError& layer : errors.layers) {
    if (layer.name == name) {
      return &layer;
    }
  }
  return nullptr;
}

}  // namespace

std::string SizeText(int64_t n_bytes) {
  const double mib = static_cast<double>(n_bytes) / kMiB;
  return mib < 10240 ? absl::StrFormat("%.1f MiB", mib)
                     : absl::StrFormat("%.2f GiB", mib / 1024);
}

const Comparison* WholeComparison(const CandidateReport& candidate) {
  if (candidate.overall) {
    return &*candidate.overall;
  }
  return candidate.domains.empty() ? nullptr
                                   : &candidate.domains.front().figures;
}

PageTable SummaryTable(const ValidationReport& report,
                       const std::vector<std::string>& names) {
  PageTable table;
  table.title = "Models";
  table.head = {Name("model")};
  if (report.verdict) {
    table.head.push_back({"gate", PageCell::kText});
  }
  Append({Number("size"), Number("bits/weight")}, &table.head);
  const bool figures = HasFigures(report);
  if (figures) {
    Append(ComparisonHeads(), &table.head);
    table.note =
        "Errors are standard errors over windows. KL divergence is that of the "
        "candidate's next-token probabilities from the original's; Δp is the "
        "change of the right token's probability.";
  }
  std::vector<PageCell> original = {
      Name(absl::StrCat(names.back(), " (original)"))};
  if (report.verdict) {
    original.push_back(VerdictCell(std::nullopt));
  }
  Append({Number(report.original.tensor_bytes > 0
                     ? SizeText(report.original.tensor_bytes)
                     : ""),
          Number(Bits(report.original))},
         &original);
  if (figures) {
    for (const CandidateReport& candidate : report.candidates) {
      if (const Comparison* whole = WholeComparison(candidate)) {
        original.push_back(Number(SmallWithError(whole->reference_perplexity)));
        break;
      }
    }
  }
  original.resize(table.head.size());
  table.rows.push_back(std::move(original));
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    const CandidateReport& candidate = report.candidates[i];
    std::vector<PageCell> row = {Name(names[i])};
    if (report.verdict) {
      row.push_back(VerdictCell(candidate.verdict));
    }
    Append({Number(SizeText(candidate.model.tensor_bytes)),
            Number(Bits(candidate.model))},
           &row);
    if (const Comparison* whole = WholeComparison(candidate)) {
      Append(ComparisonCells(*whole), &row);
    }
    row.resize(table.head.size());
    table.rows.push_back(std::move(row));
  }
  return table;
}

PageTable DomainTable(const ValidationReport& report,
                      const std::vector<std::string>& names) {
  PageTable table;
  table.title = "By text";
  table.head = {{"text"}, Name("model"), Number("tokens")};
  Append(ComparisonHeads(), &table.head);
  if (report.domains.size() < 2) {
    return table;
  }
  for (size_t d = 0; d < report.domains.size(); ++d) {
    for (size_t i = 0; i < report.candidates.size(); ++i) {
      if (d >= report.candidates[i].domains.size()) {
        continue;
      }
      const DomainComparison& one = report.candidates[i].domains[d];
      std::vector<PageCell> row = {{one.domain},
                                   Name(names[i]),
                                   Number(absl::StrCat(one.figures.n_tokens))};
      Append(ComparisonCells(one.figures), &row);
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

PageTable TaskTable(const ValidationReport& report,
                    const std::vector<std::string>& names) {
  PageTable table;
  table.title = "Tasks";
  table.note =
      "Likelihood-scored as lm-evaluation-harness does. Intervals are "
      "Wilson's, 95 %; p is that of McNemar's exact test of the questions "
      "that changed.";
  table.head = {{"task"},
                {"metric"},
                Name("model"),
                Number("%"),
                Number("95 %"),
                Number("difference"),
                Number("lost / gained"),
                Number("p")};
  for (const TaskReport& task : report.tasks) {
    if (task.models.empty()) {
      continue;
    }
    std::string label =
        absl::StrCat(task.name, ", ", task.n_questions,
                     task.n_questions == 1 ? " question" : " questions");
    if (task.n_shots > 0) {
      absl::StrAppend(&label, ", ", task.n_shots, "-shot");
    }
    for (size_t m = 0; m < task.models[0].metrics.size(); ++m) {
      for (size_t i = 0; i < task.models.size(); ++i) {
        const TaskMetric& metric = task.models[i].metrics[m];
        // Names have the original last, tasks have it first.
        const std::string& name = i == 0             ? names.back()
                                  : i < names.size() ? names[i - 1]
                                                     : task.models[i].path;
        std::vector<PageCell> row = {
            {label},
            {metric.name},
            Name(name),
            Number(absl::StrFormat("%.2f", 100 * metric.value)),
            Number(absl::StrFormat("%.1f … %.1f", 100 * metric.low,
                                   100 * metric.high))};
        if (metric.paired) {
          const Estimate& difference = metric.paired->difference;
          std::string text = absl::StrFormat("%+.2f", 100 * difference.value);
          if (std::isfinite(difference.error)) {
            absl::StrAppendFormat(&text, " ± %.2f", 100 * difference.error);
          }
          row.push_back(Number(text));
          if (metric.right_or_wrong) {
            row.push_back(Number(absl::StrCat(metric.paired->n_lost, " / ",
                                              metric.paired->n_gained)));
            row.push_back(Number(Small(metric.paired->mcnemar_p)));
          }
        }
        row.resize(table.head.size());
        table.rows.push_back(std::move(row));
      }
    }
  }
  return table;
}

PageTable GateTable(const ValidationReport& report,
                    const std::vector<std::string>& names) {
  PageTable table;
  table.title = "Gate";
  table.note = absl::StrFormat(
      "A criterion passes where its confidence bound is within the limit, "
      "fails where the opposite bound is beyond it, and is undecided between. "
      "A wrong pass of a candidate has a probability of %g %% at most, and so "
      "has a wrong failure.",
      100 * report.limits.error_rate);
  table.head = {Name("model"),    {"verdict"},         {"criterion"},
                {"on"},           Number("limit"),     Number("measured"),
                Number("bounds"), Number("decided on")};
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    for (const CriterionVerdict& one : report.candidates[i].criteria) {
      const double low = std::min(one.pass_bound, one.fail_bound);
      const double high = std::max(one.pass_bound, one.fail_bound);
      table.rows.push_back(
          {Name(names[i]),
           VerdictCell(one.verdict),
           {std::string(CriterionFlag(one.criterion))},
           {one.domain},
           Number(absl::StrCat(IsLowerLimit(one.criterion) ? "≥ " : "≤ ",
                               InUnit(one.criterion, one.limit))),
           Number(InUnit(one.criterion, one.value)),
           Number(absl::StrCat(InUnit(one.criterion, low), " … ",
                               InUnit(one.criterion, high))),
           Number(Decided(one))});
    }
  }
  return table;
}

PageTable LayerTable(const ValidationReport& report,
                     const std::vector<std::string>& names) {
  PageTable table;
  table.title = "Error of the weights by layer";
  table.note =
      "Relative error |candidate - original| / |original| of a layer's "
      "matrices, in %, with the bits a weight takes. It shows where a file is "
      "coarse; how much that matters depends on the layer.";
  const WeightErrors* first = nullptr;
  table.head = {{"layer"}};
  std::vector<const WeightErrors*> columns;
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    const auto& weights = report.candidates[i].weights;
    if (!weights) {
      continue;
    }
    if (weights->rescaled) {
      absl::StrAppend(&table.note, " ", names[i],
                      " has scales moved between its layers, so that its "
                      "weights cannot be compared one by one.");
      continue;
    }
    first = first == nullptr ? &*weights : first;
    table.head.push_back(Number(names[i]));
    columns.push_back(&*weights);
  }
  for (size_t l = 0; first != nullptr && l < first->layers.size(); ++l) {
    const std::string& name = first->layers[l].name;
    std::vector<PageCell> row = {{name}};
    for (const WeightErrors* errors : columns) {
      const LayerError* layer = FindLayer(*errors, name);
      row.push_back(Number(
          layer == nullptr
              ? ""
              : absl::StrFormat("%.3g (%.2f)", 100 * layer->sums.relative(),
                                layer->sums.bits_per_weight())));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

PageTable InputTable(const ValidationReport& report) {
  PageTable table;
  table.title = "Inputs";
  table.head = {{"what"}, Name("file"), Number("bytes"), {"SHA-256"}};
  const auto add_model = [&](const char* what, const ValidatedModel& model) {
    table.rows.push_back(
        {{what},
         Name(model.path),
         Number(model.tensor_bytes > 0 ? absl::StrCat(model.tensor_bytes) : ""),
         {model.hash}});
  };
  add_model(report.reference_is_base_file ? "base file" : "original",
            report.original);
  for (const CandidateReport& candidate : report.candidates) {
    add_model("candidate", candidate.model);
  }
  for (const ValidatedDomain& domain : report.domains) {
    table.rows.push_back({{absl::StrCat("text ", domain.name)},
                          Name(absl::StrJoin(domain.paths, " ")),
                          Number(absl::StrCat(domain.text_bytes)),
                          {domain.text_hash}});
  }
  for (const TaskReport& task : report.tasks) {
    table.rows.push_back({{absl::StrCat("task ", task.name)},
                          Name(absl::StrJoin(task.files, " ")),
                          Number(""),
                          {""}});
  }
  return table;
}

}  // namespace narrow
