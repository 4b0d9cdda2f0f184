#include "converter/batch/saved_report.h"

#include <string>
#include <utility>
#include <vector>

namespace narrow {
namespace {

// Puts values into a record, in the order in which Visit names them.
class Saver {
 public:
  explicit Saver(SavedReport* saved) : saved_(saved) {}
  bool ok() const { return true; }
  void Value(double& value) { saved_->add_number(value); }
  void Value(int64_t& value) { saved_->add_integer(value); }
  void Value(std::string& value) { saved_->add_text(value); }
  // The number of elements that follow.
  size_t Count(size_t n) {
    saved_->add_integer(static_cast<int64_t>(n));
    return n;
  }

 private:
  SavedReport* saved_;
};

// Takes them out again; not ok once there is none left.
class Loader {
 public:
  explicit Loader(const SavedReport& saved) : saved_(saved) {}
  bool ok() const { return ok_; }
  bool at_end() const {
    return number_ == saved_.number_size() &&
           integer_ == saved_.integer_size() && text_ == saved_.text_size();
  }
  void Value(double& value) {
    if (Have(number_, saved_.number_size())) {
      value = saved_.number(number_++);
    }
  }
  void Value(int64_t& value) {
    if (Have(integer_, saved_.integer_size())) {
      value = saved_.integer(integer_++);
    }
  }
  void Value(std::string& value) {
    if (Have(text_, saved_.text_size())) {
      value = saved_.text(text_++);
    }
  }
  // Every element has a value of its own, which bounds their number.
  size_t Count(size_t) {
    int64_t n = 0;
    Value(n);
    const int64_t left = int64_t{saved_.number_size()} - number_ +
                         saved_.integer_size() - integer_ + saved_.text_size() -
                         text_;
    ok_ = ok_ && n >= 0 && n <= left;
    return ok_ ? static_cast<size_t>(n) : 0;
  }

 private:
  bool Have(int at, int size) { return ok_ = ok_ && at < size; }

  const SavedReport& saved_;
  int number_ = 0;
  int integer_ = 0;
  int text_ = 0;
  bool ok_ = true;
};

// A value that is stored as an integer: an enumeration, a bool, an int.
template <typename A, typename T>
void Small(A& a, T& value, int64_t n_values) {
  int64_t number = static_cast<int64_t>(value);
  a.Value(number);
  value = static_cast<T>(number >= 0 && number < n_values ? number : 0);
}

template <typename A, typename T, typename Each>
void Optional(A& a, std::optional<T>& value, const Each& each) {
  const size_t n = a.Count(value.has_value() ? 1 : 0);
  if (n > 0 && !value.has_value()) {
    value.emplace();
  }
  if (value.has_value()) {
    each(*value);
  }
}

template <typename A, typename T, typename Each>
void List(A& a, std::vector<T>& values, const Each& each) {
  values.resize(a.Count(values.size()));
  for (T& value : values) {
    each(value);
  }
}

template <typename A>
void Visit(A& a, std::vector<std::string>& texts) {
  List(a, texts, [&](std::string& text) { a.Value(text); });
}

template <typename A>
void Visit(A& a, Figure& f) {
  for (double* value : {&f.value, &f.error, &f.window_error, &f.bootstrap_error,
                        &f.low, &f.high}) {
    a.Value(*value);
  }
}

template <typename A>
void Visit(A& a, Comparison& c) {
  a.Value(c.n_windows);
  a.Value(c.n_tokens);
  a.Value(c.log_correlation);
  for (Figure* figure : {&c.perplexity, &c.reference_perplexity, &c.log_ratio,
                         &c.ratio, &c.difference, &c.divergence, &c.delta_p,
                         &c.rms_delta_p, &c.same_top}) {
    Visit(a, *figure);
  }
  for (double& quantile : c.divergence_quantiles) {
    a.Value(quantile);
  }
  for (double& quantile : c.delta_p_quantiles) {
    a.Value(quantile);
  }
}

template <typename A>
void Visit(A& a, ValidatedModel& model) {
  a.Value(model.path);
  a.Value(model.hash);
  a.Value(model.tensor_bytes);
  a.Value(model.n_weights);
}

template <typename A>
void Visit(A& a, CriterionVerdict& one) {
  Small(a, one.criterion, 6);
  a.Value(one.domain);
  for (double* value : {&one.limit, &one.value, &one.pass_bound,
                        &one.fail_bound, &one.pass_rate, &one.fail_rate}) {
    a.Value(*value);
  }
  Small(a, one.verdict, 3);
  a.Value(one.n_used);
  Optional(a, one.n_needed, [&](int64_t& n) { a.Value(n); });
}

template <typename A>
void Visit(A& a, WeightErrors& weights) {
  Small(a, weights.rescaled, 2);
  List(a, weights.layers, [&](LayerError& layer) {
    a.Value(layer.name);
    a.Value(layer.sums.n_weights);
    a.Value(layer.sums.stored_bytes);
    a.Value(layer.sums.squared_error);
    a.Value(layer.sums.squared_weights);
  });
}

template <typename A>
void Visit(A& a, SanityReport& sanity) {
  for (int64_t* n :
       {&sanity.n_tensors, &sanity.n_weights, &sanity.n_tokens_compared,
        &sanity.n_text_ids, &sanity.n_conversations}) {
    a.Value(*n);
  }
  List(a, sanity.findings, [&](SanityFinding& finding) {
    Small(a, finding.severity, 3);
    for (std::string* text :
         {&finding.check, &finding.subject, &finding.message, &finding.original,
          &finding.candidate}) {
      a.Value(*text);
    }
  });
}

template <typename A>
void Visit(A& a, CandidateReport& candidate) {
  Visit(a, candidate.model);
  List(a, candidate.domains, [&](DomainComparison& domain) {
    a.Value(domain.domain);
    Visit(a, domain.figures);
  });
  Optional(a, candidate.overall, [&](Comparison& all) { Visit(a, all); });
  List(a, candidate.criteria, [&](CriterionVerdict& one) { Visit(a, one); });
  Optional(a, candidate.verdict, [&](Verdict& one) { Small(a, one, 3); });
  Optional(a, candidate.weights, [&](WeightErrors& one) { Visit(a, one); });
  Optional(a, candidate.sanity, [&](SanityReport& one) { Visit(a, one); });
}

template <typename A>
void Visit(A& a, TaskMetric& metric) {
  a.Value(metric.name);
  Small(a, metric.right_or_wrong, 2);
  for (double* value :
       {&metric.value, &metric.error, &metric.low, &metric.high}) {
    a.Value(*value);
  }
  a.Value(metric.n_right);
  Optional(a, metric.paired, [&](PairedTaskMetric& paired) {
    a.Value(paired.difference.value);
    a.Value(paired.difference.error);
    a.Value(paired.n_lost);
    a.Value(paired.n_gained);
    a.Value(paired.mcnemar_p);
  });
}

template <typename A>
void Visit(A& a, TaskReport& task) {
  a.Value(task.name);
  a.Value(task.layout);
  Visit(a, task.files);
  a.Value(task.n_in_files);
  a.Value(task.n_questions);
  a.Value(task.n_shots);
  List(a, task.models, [&](TaskModelReport& model) {
    a.Value(model.path);
    List(a, model.metrics, [&](TaskMetric& metric) { Visit(a, metric); });
  });
}

template <typename A>
void Visit(A& a, ValidationReport& report) {
  a.Value(report.windows.context);
  a.Value(report.windows.stride);
  Small(a, report.windows.protocol, 2);
  Small(a, report.precision, 3);
  a.Value(report.limits.error_rate);
  Visit(a, report.warnings);
  Visit(a, report.original);
  List(a, report.domains, [&](ValidatedDomain& domain) {
    a.Value(domain.name);
    Visit(a, domain.paths);
    a.Value(domain.text_hash);
    for (int64_t* n :
         {&domain.text_bytes, &domain.n_tokens, &domain.n_windows}) {
      a.Value(*n);
    }
  });
  List(a, report.candidates, [&](CandidateReport& one) { Visit(a, one); });
  List(a, report.tasks, [&](TaskReport& task) { Visit(a, task); });
  Optional(a, report.verdict, [&](Verdict& one) { Small(a, one, 3); });
}

}  // namespace

void SaveReport(const ValidationReport& report, SavedReport* saved) {
  saved->Clear();
  Saver saver(saved);
  ValidationReport copy = report;  // a visit could change it
  Visit(saver, copy);
  if (report.device != ValidationReport().device) {
    saved->set_device(report.device);
  }
}

std::optional<ValidationReport> LoadReport(const SavedReport& saved) {
  Loader loader(saved);
  ValidationReport report;
  Visit(loader, report);
  if (saved.has_device()) {
    report.device = saved.device();
  }
  return loader.ok() && loader.at_end()
             ? std::optional<ValidationReport>(std::move(report))
             : std::nullopt;
}

ValidationReport JoinReports(std::vector<ValidationReport> reports) {
  ValidationReport all;
  for (ValidationReport& report : reports) {
    if (all.candidates.empty()) {
      all = std::move(report);
      continue;
    }
    for (CandidateReport& candidate : report.candidates) {
      all.candidates.push_back(std::move(candidate));
    }
    for (size_t t = 0; t < all.tasks.size() && t < report.tasks.size(); ++t) {
      std::vector<TaskModelReport>& models = report.tasks[t].models;
      for (size_t m = 1; m < models.size(); ++m) {
        all.tasks[t].models.push_back(std::move(models[m]));
      }
    }
    if (report.verdict.has_value()) {
      all.verdict = all.verdict.has_value()
                        ? Worse(*all.verdict, *report.verdict)
                        : report.verdict;
    }
  }
  return all;
}

}  // namespace narrow
