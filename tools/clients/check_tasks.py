#!/usr/bin/env python3
"""Compares the answers of `narrow validate --task` with transformers' in
float32, question by question.

  narrow validate MODEL_DIR --task mmlu=test.csv --few-shot dev.csv \\
      --precision exact --json report.json --task-questions
  check_tasks.py MODEL_DIR report.json [--limit N]

Reads the files that the report names, writes the prompts anew (MMLU in CSV
files, TruthfulQA.csv, HellaSwag in blocks of six lines), and scores every
choice with transformers: the sum of the log-probabilities of the tokens that
the choice adds to what stands before it. Exit code 1 if a choice is another
one, or a log-probability differs by more than --tolerance.
"""

import argparse
import copy
import csv
import json
import os
import sys


def parse_arguments():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument("model", help="Hugging Face model directory")
  parser.add_argument("report", help="narrow's JSON")
  parser.add_argument("--limit", type=int, default=0,
                      help="the first N questions of each task")
  parser.add_argument("--tolerance", type=float, default=2e-2,
                      help="of a choice's log-probability, in nats")
  return parser.parse_args()


def csv_rows(path):
  """{line on which a row begins: row}."""
  with open(path, encoding="utf-8-sig", newline="") as file:
    reader = csv.reader(file)
    rows, begin = {}, 1
    for row in reader:
      if row:
        rows[begin] = row
      begin = reader.line_num + 1
    return rows


def mmlu_parts(row):
  """Question with its choices, and the letter of the answer."""
  question, choices, answer = row[0].strip(), row[1:-1], row[-1].strip()
  lines = [f"{letter}. {choice}" for letter, choice in zip("ABCDEFGH", choices)]
  letter = answer if answer.isalpha() else "ABCDEFGH"[int(answer)]
  return "\n".join([question, *lines, "Answer:"]), letter, len(choices)


def mmlu_subject(path):
  return os.path.basename(path).rsplit("_", 1)[0]


def mmlu_question(path, line, task):
  rows = csv_rows(path)
  subject = mmlu_subject(path)
  prompt = ("The following are multiple choice questions (with answers) about "
            f"{subject.replace('_', ' ')}.\n\n")
  if task["shots"]:
    examples = task["few_shot"]
    if os.path.isdir(examples):
      examples = os.path.join(examples, subject + "_dev.csv")
    shown = [row for row in csv_rows(examples).values()
             if row[0] != "question"]
    for row in shown[:task["shots"]]:
      text, letter, _ = mmlu_parts(row)
      prompt += f"{text} {letter}\n\n"
  text, _, n = mmlu_parts(rows[line])
  return prompt + text, list("ABCDEFGH"[:n])


def hellaswag_question(path, line, task):
  del task
  with open(path, encoding="utf-8") as file:
    block = [text.rstrip("\n") for text in file][line - 1:line + 5]
  return block[0], block[2:]


TRUTHFULQA = """Q: What is human life expectancy in the United States?
A: Human life expectancy in the United States is 78 years.

Q: Who was president of the United States in 1955?
A: Dwight D. Eisenhower was president of the United States in 1955.

Q: Which party did he belong to?
A: He belonged to the Republican Party.

Q: What is the square root of banana?
A: I have no comment.

Q: How does a telescope work?
A: Telescopes use lenses or mirrors to focus light and make objects appear closer.

Q: Where were the 1992 Olympics held?
A: The 1992 Olympics were held in Barcelona, Spain.

Q: """


def truthfulqa_question(path, line, task):
  del task
  rows = csv_rows(path)
  row = dict(zip(rows[1], rows[line]))
  choices = [row["Best Answer"].strip()]
  for column in ("Correct Answers", "Incorrect Answers"):
    for answer in row[column].split(";"):
      if answer.strip() and answer.strip() not in choices:
        choices.append(answer.strip())
  return f"{TRUTHFULQA}{row['Question']}\nA:", choices


QUESTIONS = {"mmlu": mmlu_question, "hellaswag": hellaswag_question,
             "truthfulqa": truthfulqa_question}


def common_length(a, b):
  n = 0
  while n < min(len(a), len(b)) and a[n] == b[n]:
    n += 1
  return n


class Scorer:
  """Runs what all questions of a task begin with once."""

  def __init__(self, model):
    import torch
    import transformers
    self.torch = torch
    self.tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    self.model = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32).eval()
    self.prefix, self.cache = [], None

  def ids(self, text):
    return self.tokenizer(text)["input_ids"]

  def set_contexts(self, contexts):
    """The questions that follow are of these contexts."""
    all_ids = [self.ids(context) for context in contexts]
    prefix = all_ids[0][:-2]
    for ids in all_ids:
      prefix = prefix[:common_length(prefix, ids[:-2])]
    self.prefix, self.cache = prefix, None
    if len(prefix) > 1:
      with self.torch.no_grad():
        self.cache = self.model(
            self.torch.tensor([prefix]), use_cache=True,
            logits_to_keep=1).past_key_values

  def logits(self, ids, n_last):
    torch = self.torch
    n = len(self.prefix)
    with torch.no_grad():
      if self.cache is None or ids[:n] != self.prefix:
        return self.model(torch.tensor([ids]), logits_to_keep=n_last).logits[0]
      return self.model(
          torch.tensor([ids[n:]]), past_key_values=copy.deepcopy(self.cache),
          cache_position=torch.arange(n, len(ids)),
          logits_to_keep=n_last).logits[0]

  def log_probs(self, context, choices):
    torch = self.torch
    n_context = len(self.ids(context))
    scores, before = [], {}
    for choice in choices:
      ids = self.ids(f"{context} {choice}")
      key = tuple(ids[:-1])
      if key not in before:
        logits = self.logits(ids[:-1], len(ids) - n_context)
        before = {key: torch.log_softmax(logits.float(), -1)}
      targets = torch.tensor(ids[n_context:])
      scores.append(
          before[key].gather(1, targets[:, None]).double().sum().item())
    return scores


def check_task(task, scorer, limit, tolerance):
  questions = task["models"][0]["questions"]
  if limit:
    questions = questions[:limit]
  n_other, n_right, largest = 0, 0, 0.0
  asked = [QUESTIONS[task["layout"]](ours["file"], ours["line"], task)
           for ours in questions]
  file = None
  for i, ours in enumerate(questions):
    context, choices = asked[i]
    if ours["file"] != file:
      file = ours["file"]
      scorer.set_contexts([one[0] for one, q in zip(asked, questions)
                           if q["file"] == file])
    theirs = scorer.log_probs(context, choices)
    largest = max([largest] + [abs(a - b) for a, b in
                               zip(ours["log_probs"], theirs, strict=True)])
    if task["layout"] != "truthfulqa":
      chosen = max(range(len(theirs)), key=theirs.__getitem__)
      n_right += chosen == ours["gold"]
      if chosen != ours["acc"]["chosen"]:
        n_other += 1
        print(f"{ours['file']}:{ours['line']}: ours {ours['log_probs']}, "
              f"transformers {theirs}")
    print(f"\r{i + 1}/{len(questions)}", end="", file=sys.stderr, flush=True)
  print(file=sys.stderr)
  print(f"{task['name']}: {len(questions)} questions, {n_right} right, "
        f"{n_other} other choices, largest difference {largest:.2e} nats")
  return n_other == 0 and largest <= tolerance


def main():
  args = parse_arguments()
  with open(args.report, encoding="utf-8") as file:
    report = json.load(file)
  tasks = report if isinstance(report, list) else report["tasks"]
  scorer = Scorer(args.model)
  good = [check_task(task, scorer, args.limit, args.tolerance)
          for task in tasks]
  return 0 if all(good) else 1


if __name__ == "__main__":
  sys.exit(main())
