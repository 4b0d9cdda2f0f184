#include "validate/validation/validation_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "validate/perplexity/report.h"
#include "validate/sanity/sanity.h"
#include "validate/text_table.h"

namespace narrow {
namespace {

// Columns of figures side by side.
constexpr size_t kMaxColumns = 4;

std::string WithError(double value, double error, int n_digits,
                      const char* unit = "") {
  const std::string number = absl::StrFormat("%.*f", n_digits, value);
  return std::isfinite(error)
             ? absl::StrFormat("%s ± %.*f%s", number, n_digits, error, unit)
             : absl::StrCat(number, unit);
}

std::string Percent(const Figure& figure, int n_digits) {
  return WithError(100 * figure.value, 100 * figure.error, n_digits, " %");
}

std::string FileName(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') {
    path.remove_suffix(1);
  }
  return std::string(path.substr(path.rfind('/') + 1));
}

// A row of the table of figures: its name and what it shows of a comparison.
struct Row {
  const char* name;
  std::function<std::string(const Comparison&)> text;
};

Row FigureRow(const char* name, Figure Comparison::*figure, int n_digits) {
  return {name, [=](const Comparison& c) {
            return WithError((c.*figure).value, (c.*figure).error, n_digits);
          }};
}

Row PercentRow(const char* name, Figure Comparison::*figure) {
  return {name, [=](const Comparison& c) { return Percent(c.*figure, 3); }};
}

// The other two errors of a figure.
Row WindowRow(Figure Comparison::*figure, int n_digits, double scale) {
  return {"  ± over windows, 95 % interval", [=](const Comparison& c) {
            const Figure& f = c.*figure;
            return std::isfinite(f.window_error)
                       ? absl::StrFormat("± %.*f, %.*f … %.*f", n_digits,
                                         scale * f.window_error, n_digits,
                                         scale * f.low, n_digits,
                                         scale * f.high)
                       : std::string("unknown");
          }};
}

Row QuantileRow(const char* name, Quantiles Comparison::*quantiles, size_t i,
                int n_digits, double scale, const char* unit) {
  return {name, [=](const Comparison& c) {
            return absl::StrFormat("%.*f%s", n_digits,
                                   scale * (c.*quantiles)[i], unit);
          }};
}

void AddPerplexityRows(std::vector<Row>* rows) {
  rows->push_back(FigureRow("Mean PPL(Q)", &Comparison::perplexity, 6));
  rows->push_back(
      FigureRow("Mean PPL(base)", &Comparison::reference_perplexity, 6));
  rows->push_back({"Cor(ln(PPL(Q)), ln(PPL(base)))", [](const Comparison& c) {
                     return absl::StrFormat("%.2f %%", 100 * c.log_correlation);
                   }});
  rows->push_back(
      FigureRow("Mean ln(PPL(Q)/PPL(base))", &Comparison::log_ratio, 6));
  rows->push_back(WindowRow(&Comparison::log_ratio, 6, 1));
  rows->push_back(FigureRow("Mean PPL(Q)/PPL(base)", &Comparison::ratio, 6));
  rows->push_back(
      FigureRow("Mean PPL(Q)-PPL(base)", &Comparison::difference, 6));
  rows->push_back(WindowRow(&Comparison::difference, 6, 1));
}

void AddDivergenceRows(std::vector<Row>* rows) {
  constexpr std::pair<const char*, size_t> kRows[] = {
      {"Maximum KLD", kQuantileMaximum},
      {"99.9%   KLD", kQuantile999},
      {"99.0%   KLD", kQuantile99},
      {"95.0%   KLD", kQuantile95},
      {"90.0%   KLD", kQuantile90},
      {"Median  KLD", kQuantileMedian},
      {"10.0%   KLD", 4},
      {" 5.0%   KLD", 3},
      {" 1.0%   KLD", 2},
      {" 0.1%   KLD", 1},
      {"Minimum KLD", kQuantileMinimum}};
  rows->push_back(FigureRow("Mean    KLD", &Comparison::divergence, 6));
  rows->push_back(WindowRow(&Comparison::divergence, 6, 1));
  for (const auto& [name, i] : kRows) {
    rows->push_back(
        QuantileRow(name, &Comparison::divergence_quantiles, i, 6, 1, ""));
  }
}

void AddDeltaPRows(std::vector<Row>* rows) {
  constexpr std::pair<const char*, size_t> kRows[] = {
      {"Maximum Δp", kQuantileMaximum},
      {"99.9%   Δp", kQuantile999},
      {"99.0%   Δp", kQuantile99},
      {"95.0%   Δp", kQuantile95},
      {"90.0%   Δp", kQuantile90},
      {"75.0%   Δp", 7},
      {"Median  Δp", kQuantileMedian},
      {"25.0%   Δp", 5},
      {"10.0%   Δp", 4},
      {" 5.0%   Δp", 3},
      {" 1.0%   Δp", 2},
      {" 0.1%   Δp", 1},
      {"Minimum Δp", kQuantileMinimum}};
  rows->push_back(PercentRow("Mean    Δp", &Comparison::delta_p));
  for (const auto& [name, i] : kRows) {
    rows->push_back(
        QuantileRow(name, &Comparison::delta_p_quantiles, i, 3, 100, " %"));
  }
  rows->push_back(PercentRow("RMS Δp", &Comparison::rms_delta_p));
  rows->push_back(WindowRow(&Comparison::rms_delta_p, 5, 100));
  rows->push_back(PercentRow("Same top p", &Comparison::same_top));
  rows->push_back(WindowRow(&Comparison::same_top, 5, 100));
}

// Columns of one text.
using Column = std::pair<std::string, const Comparison*>;

std::string FigureTable(const std::vector<Column>& all) {
  std::vector<Row> rows;
  AddPerplexityRows(&rows);
  AddDivergenceRows(&rows);
  AddDeltaPRows(&rows);
  std::string text;
  for (size_t first = 0; first < all.size(); first += kMaxColumns) {
    const size_t end = std::min(all.size(), first + kMaxColumns);
    std::vector<TextTable::Column> columns = {{"", TextTable::kLeft}};
    for (size_t i = first; i < end; ++i) {
      columns.push_back({all[i].first});
    }
    TextTable table(columns);
    for (const Row& row : rows) {
      std::vector<std::string> cells = {row.name};
      for (size_t i = first; i < end; ++i) {
        cells.push_back(row.text(*all[i].second));
      }
      table.AddRow(std::move(cells));
    }
    absl::StrAppend(&text, table.Render(), "\n");
  }
  return text;
}

std::string Settings(const ValidationReport& report) {
  const WindowSettings& windows = report.windows;
  std::string text =
      absl::StrCat("reference ", report.original.path, "; windows of ",
                   windows.context, ", ",
                   windows.protocol == Protocol::kLlamaCpp
                       ? "second half of each scored"
                       : absl::StrCat("stride ", windows.stride),
                   "; ", PrecisionText(report.precision, report.device), "\n");
  for (const ValidatedDomain& domain : report.domains) {
    absl::StrAppend(&text, domain.name, ": ", absl::StrJoin(domain.paths, " "),
                    ", ", domain.n_tokens, " tokens, ", domain.n_windows,
                    " windows\n");
  }
  return text;
}

// What a candidate came to on a text; without several texts, on all it was
// judged on.
Verdict VerdictOn(const CandidateReport& candidate, const std::string& text,
                  bool many) {
  Verdict verdict = Verdict::kPass;
  for (const CriterionVerdict& v : candidate.criteria) {
    if (!many || v.domain == text) {
      verdict = Worse(verdict, v.verdict);
    }
  }
  return verdict;
}

// From "MiB" on.
std::vector<std::string> SummaryCells(const ValidatedModel& model,
                                      const Comparison& c) {
  return {absl::StrFormat("%.2f", model.tensor_bytes / 1048576.0),
          absl::StrFormat("%.4f", model.bits_per_weight()),
          absl::StrCat(c.n_windows),
          WithError(c.perplexity.value, c.perplexity.error, 4),
          WithError(c.ratio.value, c.ratio.error, 5),
          WithError(c.divergence.value, c.divergence.error, 5),
          absl::StrFormat("%.4f", c.divergence_quantiles[kQuantile999]),
          WithError(100 * c.rms_delta_p.value, 100 * c.rms_delta_p.error, 3),
          WithError(100 * c.same_top.value, 100 * c.same_top.error, 2)};
}

std::string Summary(const ValidationReport& report) {
  const bool many = report.domains.size() > 1;
  std::vector<TextTable::Column> columns = {{"candidate", TextTable::kLeft}};
  if (many) {
    columns.push_back({"text", TextTable::kLeft});
  }
  for (const char* title :
       {"MiB", "bits/weight", "windows", "PPL(Q)", "PPL(Q)/PPL(base)", "KLD",
        "99.9% KLD", "RMS Δp %", "same top %"}) {
    columns.push_back({title});
  }
  if (report.verdict) {
    columns.push_back({"verdict", TextTable::kLeft});
  }
  TextTable table(columns);
  for (const CandidateReport& candidate : report.candidates) {
    for (const DomainComparison& domain : candidate.domains) {
      std::vector<std::string> cells = {FileName(candidate.model.path)};
      if (many) {
        cells.push_back(domain.domain);
      }
      const auto figures = SummaryCells(candidate.model, domain.figures);
      cells.insert(cells.end(), figures.begin(), figures.end());
      if (report.verdict) {
        cells.push_back(std::string(
            VerdictName(VerdictOn(candidate, domain.domain, many))));
      }
      table.AddRow(std::move(cells));
    }
  }
  return table.Render();
}

std::string NeededText(const CriterionVerdict& v) {
  if (v.verdict != Verdict::kUndecided) {
    return "";
  }
  const bool task = v.criterion == Criterion::kTaskDelta;
  return v.n_needed ? absl::StrCat("about ", *v.n_needed - v.n_used, " more ",
                                   task ? "questions" : "windows")
                    : "the estimate is at the limit";
}

std::string Verdicts(const ValidationReport& report) {
  TextTable table({{"candidate", TextTable::kLeft},
                   {"criterion", TextTable::kLeft},
                   {"on", TextTable::kLeft},
                   {"limit"},
                   {"estimate"},
                   {"pass bound"},
                   {"fail bound"},
                   {"on so many"},
                   {"verdict", TextTable::kLeft},
                   {"needed", TextTable::kLeft}});
  for (const CandidateReport& candidate : report.candidates) {
    for (const CriterionVerdict& v : candidate.criteria) {
      const auto text = [&](double value) {
        return CriterionText(v.criterion, value);
      };
      table.AddRow({FileName(candidate.model.path),
                    absl::StrCat("--", CriterionFlag(v.criterion)), v.domain,
                    text(v.limit), text(v.value), text(v.pass_bound),
                    text(v.fail_bound), absl::StrCat(v.n_used),
                    std::string(VerdictName(v.verdict)), NeededText(v)});
    }
  }
  std::string verdicts;
  for (const CandidateReport& candidate : report.candidates) {
    absl::StrAppend(&verdicts, FileName(candidate.model.path), ": ",
                    VerdictName(*candidate.verdict), "\n");
  }
  return absl::StrCat(
      table.Render(), "\n", verdicts,
      absl::StrFormat("\nA pass or failure is wrong with probability %g %% at "
                      "most, for each candidate.\n",
                      100 * report.limits.error_rate));
}

}  // namespace

std::string CriterionText(Criterion criterion, double value) {
  if (!std::isfinite(value)) {
    return "unknown";
  }
  switch (criterion) {
    case Criterion::kPerplexityDifference:
    case Criterion::kDivergence:
      return absl::StrFormat("%.6g", value);
    case Criterion::kPerplexityRatio:
    case Criterion::kRmsDeltaP:
    case Criterion::kSameTop:
    case Criterion::kTaskDelta:
      return absl::StrFormat("%.5g %%", 100 * value);
  }
  return "";
}

std::string RenderValidation(const ValidationReport& report) {
  std::string text = Settings(report);
  if (!report.domains.empty()) {
    absl::StrAppend(&text, "\n", Summary(report), "\n");
  }
  for (size_t d = 0; d < report.domains.size(); ++d) {
    std::vector<Column> columns;
    for (const CandidateReport& candidate : report.candidates) {
      columns.push_back(
          {FileName(candidate.model.path), &candidate.domains[d].figures});
    }
    if (report.domains.size() > 1) {
      absl::StrAppend(&text, report.domains[d].name, ":\n\n");
    }
    absl::StrAppend(&text, FigureTable(columns));
  }
  if (report.domains.size() > 1) {
    std::vector<Column> columns;
    for (const CandidateReport& candidate : report.candidates) {
      columns.push_back({FileName(candidate.model.path), &*candidate.overall});
    }
    absl::StrAppend(&text, "all texts together:\n\n", FigureTable(columns));
  }
  for (const CandidateReport& candidate : report.candidates) {
    if (candidate.sanity && !candidate.sanity->findings.empty()) {
      absl::StrAppend(&text, "\n", FileName(candidate.model.path), ":\n",
                      RenderSanity(*candidate.sanity));
    }
  }
  if (report.verdict) {
    absl::StrAppend(&text, Verdicts(report));
  }
  return text;
}

}  // namespace narrow
