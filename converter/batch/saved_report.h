// What a validation came to, kept in a target's record, so that pages are
// written without measuring again.
//
//   SaveReport(report, record.mutable_report());
//   std::optional<ValidationReport> report = LoadReport(record.report());
//
// Kept is what pages show; not windows one by one, nor times. Pure functions.

#ifndef NARROW_CONVERTER_BATCH_SAVED_REPORT_H_
#define NARROW_CONVERTER_BATCH_SAVED_REPORT_H_

#include <optional>

#include "converter/batch/release.pb.h"
#include "validate/validation.h"

namespace narrow {

void SaveReport(const ValidationReport& report, SavedReport* saved);

// None where it is not what SaveReport wrote.
std::optional<ValidationReport> LoadReport(const SavedReport& saved);

// The candidates of several reports of one original as one.
ValidationReport JoinReports(std::vector<ValidationReport> reports);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_SAVED_REPORT_H_
