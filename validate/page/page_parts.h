// What the page and the model card say in the same words.

#ifndef NARROW_VALIDATE_PAGE_PAGE_PARTS_H_
#define NARROW_VALIDATE_PAGE_PAGE_PARTS_H_

#include <string>
#include <vector>

#include "validate/page/page.h"
#include "validate/page/page_table.h"

namespace narrow {

// Short names of the candidates, then the original's.
std::vector<std::string> PageNames(const ValidationReport& report);

std::string PageTitle(const ValidationReport& report,
                      const PageOptions& options);

// Sentences on texts, protocol and precision; may be empty.
std::string PageSettings(const ValidationReport& report);

// All tables that have rows, but for that of layers and that of inputs.
std::vector<PageTable> MainTables(const ValidationReport& report);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PAGE_PARTS_H_
