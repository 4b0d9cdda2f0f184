// Statistics of an importance matrix as text, JSON and a picture.
//
//   std::fputs(ImportanceTables(StatisticsOf(sums)).c_str(), stdout);
//
// Pure functions.

#ifndef NARROW_VALIDATE_IMPORTANCE_IMPORTANCE_REPORT_H_
#define NARROW_VALIDATE_IMPORTANCE_IMPORTANCE_REPORT_H_

#include <string>

#include "calibration/importance/importance_statistics.h"
#include "calibration/importance/importance_sums.h"

namespace narrow {

// A table of the tensors and one of the layers, as llama-imatrix shows them;
// a dash where there is nothing to say.
std::string ImportanceTables(const ImportanceStatistics& statistics);

// {"datasets", "chunks", "chunk_size", "tensors": [...], "layers": [...]}.
std::string ImportanceStatisticsJson(const ImportanceCollection& collection,
                                     const ImportanceStatistics& statistics);

// An SVG: for every part and layer the root mean square of the inputs, then
// by layer their likeness to the layer before, and the share of experts that
// no token reached where there are such. Well-formed whatever the names hold.
std::string ImportancePicture(const ImportanceCollection& collection,
                              const ImportanceStatistics& statistics);

}  // namespace narrow

#endif  // NARROW_VALIDATE_IMPORTANCE_IMPORTANCE_REPORT_H_
