// The command by which an output was made, as its manifest has it.
//
//   MadeBy("out/m-Q8_0.gguf");  // "narrow convert m --to=Q8_0 --out=out/…"
//
// Functions of their arguments and the file system.

#ifndef NARROW_CONVERTER_PROVENANCE_MADE_BY_H_
#define NARROW_CONVERTER_PROVENANCE_MADE_BY_H_

#include <string>
#include <vector>

namespace narrow {

// "narrow" and the words, quoted for a shell; on one line.
std::string CommandText(const std::vector<std::string>& words);

// Empty where there is no manifest that can be read.
std::string MadeBy(const std::string& output);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROVENANCE_MADE_BY_H_
