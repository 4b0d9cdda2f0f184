#include "converter/reference/completion.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "converter/reference/command_table.h"

namespace narrow {
namespace {

struct Words {
  std::vector<std::string> words;
  bool comma_list = false;
};

Words WordsOf(const CommandRow& command, const OptionRow& option,
              const std::vector<ValueWords>& values) {
  for (const ValueWords& row : values) {
    if (row.command == command.name &&
        std::find(option.names.begin(), option.names.end(), row.option) !=
            option.names.end()) {
      return {row.words, row.comma_list};
    }
  }
  return {option.choices, false};
}

std::vector<std::string> CommandNames(const std::vector<CommandRow>& commands) {
  std::vector<std::string> names;
  for (const CommandRow& command : commands) {
    names.push_back(command.name);
  }
  return names;
}

std::string BashCommand(const CommandRow& command,
                        const std::vector<ValueWords>& values) {
  std::string text =
      absl::StrCat("    ", command.name, ")\n      case $prev in\n");
  std::vector<std::string> free;  // their values are files, or anything
  std::vector<std::string> all;
  for (const OptionRow& option : command.options) {
    all.insert(all.end(), option.names.begin(), option.names.end());
    if (option.names.empty() || option.value.empty()) {
      continue;
    }
    const Words words = WordsOf(command, option, values);
    if (words.words.empty()) {
      free.insert(free.end(), option.names.begin(), option.names.end());
    } else {
      absl::StrAppend(
          &text, "        ", absl::StrJoin(option.names, "|"), ")\n          ",
          words.comma_list ? "_narrow_list" : "_narrow_words", " '",
          absl::StrJoin(words.words, " "), "'\n          return ;;\n");
    }
  }
  if (!free.empty()) {
    absl::StrAppend(&text, "        ", absl::StrJoin(free, "|"),
                    ") return ;;\n");
  }
  absl::StrAppend(&text, "      esac\n      options='", absl::StrJoin(all, " "),
                  "' ;;\n");
  return text;
}

constexpr char kBashHead[] =
    R"(# bash completion for narrow; made by `narrow completion bash`.
_narrow_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# The last of a list with commas.
_narrow_list() {
  local before=
  [[ $cur == *,* ]] && before=${cur%,*},
  mapfile -t COMPREPLY < <(compgen -P "$before" -W "$1" -- "${cur##*,}")
}

_narrow() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev= command= options= i
  COMPREPLY=()
  ((COMP_CWORD > 0)) && prev=${COMP_WORDS[COMP_CWORD - 1]}
  # --option=value comes as three words.
  if [[ $cur == "=" ]]; then
    cur=
  elif [[ $prev == "=" ]] && ((COMP_CWORD > 1)); then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    if [[ ${COMP_WORDS[i]} != -* ]]; then
      command=${COMP_WORDS[i]}
      break
    fi
  done
  case $command in
)";

constexpr char kBashTail[] = R"(  esac
  # Everything else is a file, by `complete -o default`.
  [[ $cur == -* ]] && _narrow_words "$options"
}

complete -o bashdefault -o default -F _narrow narrow
)";

// Inside single quotes, inside the brackets of _arguments.
std::string ZshText(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (c == '[' || c == ']' || c == ':' || c == '\\') {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string ZshAction(const OptionRow& option, const Words& words) {
  if (words.comma_list) {
    return absl::StrCat("_values -s , type ", absl::StrJoin(words.words, " "));
  }
  if (!words.words.empty()) {
    return absl::StrCat("(", absl::StrJoin(words.words, " "), ")");
  }
  return option.is_path() ? "_files" : " ";
}

std::string ZshOption(const CommandRow& command, const OptionRow& option,
                      const std::vector<ValueWords>& values) {
  const Words words = WordsOf(command, option, values);
  if (option.names.empty()) {
    return absl::StrCat("'", option.repeatable ? "*" : "", ":",
                        ZshText(option.positional), ":_files'");
  }
  std::string tail = absl::StrCat("[", ZshText(option.description), "]");
  if (!option.value.empty()) {
    absl::StrAppend(&tail, ":", ZshText(option.value), ":",
                    ZshAction(option, words));
  }
  if (option.repeatable) {
    return option.names.size() == 1
               ? absl::StrCat("'*", option.names[0], tail, "'")
               : absl::StrCat("'*'{", absl::StrJoin(option.names, ","), "}'",
                              tail, "'");
  }
  return option.names.size() == 1
             ? absl::StrCat("'", option.names[0], tail, "'")
             : absl::StrCat("'(", absl::StrJoin(option.names, " "), ")'{",
                            absl::StrJoin(option.names, ","), "}'", tail, "'");
}

}  // namespace

std::string BashCompletion(const CLI::App& app,
                           const std::vector<ValueWords>& values) {
  const std::vector<CommandRow> commands = CommandTable(app);
  std::string text = kBashHead;
  std::vector<std::string> own;
  for (const OptionRow& option : OptionTable(app)) {
    own.insert(own.end(), option.names.begin(), option.names.end());
  }
  absl::StrAppend(&text, "    '')\n      _narrow_words '",
                  absl::StrJoin(CommandNames(commands), " "), " ",
                  absl::StrJoin(own, " "), "'\n      return ;;\n");
  for (const CommandRow& command : commands) {
    absl::StrAppend(&text, BashCommand(command, values));
  }
  return text + kBashTail;
}

std::string ZshCompletion(const CLI::App& app,
                          const std::vector<ValueWords>& values) {
  const std::vector<CommandRow> commands = CommandTable(app);
  std::string text =
      "#compdef narrow\n# Made by `narrow completion zsh`.\n"
      "_narrow() {\n  local curcontext=$curcontext state line\n"
      "  typeset -A opt_args\n  _arguments -C \\\n";
  const CommandRow program;
  for (const OptionRow& option : OptionTable(app)) {
    absl::StrAppend(&text, "    ", ZshOption(program, option, values), " \\\n");
  }
  absl::StrAppend(
      &text,
      "    '1:command:->command' \\\n    '*::argument:->argument'\n"
      "  case $state in\n    command)\n      local -a commands=(\n");
  for (const CommandRow& command : commands) {
    absl::StrAppend(&text, "        '", command.name, ":",
                    ZshText(command.description), "'\n");
  }
  absl::StrAppend(&text,
                  "      )\n      _describe -t commands command commands ;;\n"
                  "    argument)\n      case $words[1] in\n");
  for (const CommandRow& command : commands) {
    absl::StrAppend(&text, "        ", command.name, ")\n          _arguments");
    for (const OptionRow& option : command.options) {
      absl::StrAppend(&text, " \\\n            ",
                      ZshOption(command, option, values));
    }
    absl::StrAppend(&text, " ;;\n");
  }
  return text + "      esac ;;\n  esac\n}\n\n_narrow \"$@\"\n";
}

}  // namespace narrow
