"""Compares our chat templates with transformers', byte for byte.

    python tools/clients/check_chat_templates.py RENDER_CHAT FILE_OR_FOLDER ...

RENDER_CHAT is the binary //formats/chat:render_chat. Folders are searched for
*.jinja, chat_template.json and tokenizer_config.json. Every template renders
a set of conversations (tools, tool calls, parts, reasoning, Unicode, none),
and both sides must give one text, or both refuse. Ends with 1 if a text
differs. `unimplemented` counts where we name what we lack.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

NOW = "2024-07-26"


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


chat_template_utils.datetime = FixedDate

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a city, \"now\" <b>é</b>",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "The city", "enum": ["Paris", "Köln"]},
            "days": {"type": ["integer", "null"], "default": 3, "minimum": 0.5},
            "opts": {"type": "object", "properties": {
                "unit": {"type": "string"}, "deep": {"type": "array", "items": {"type": "number"}}},
                "required": ["unit"]},
            "flag": {"type": "boolean", "description": "", "default": True}},
            "required": ["city"]},
        "return": {"type": "string", "description": "text"}}},
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {
        "type": "object", "properties": {}}}},
]


def call(name, arguments, id="call00001"):
    return {"id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}


SYSTEM = {"role": "system", "content": " You are \"helpful\".\n"}
USER = {"role": "user", "content": "Hello, world! "}
ASSISTANT = {"role": "assistant", "content": "  Hi there.\n"}
ARGS = {"city": "Köln", "days": 2, "opts": {"unit": "°C", "deep": [1, 2.5, None, True]}}

CONVERSATIONS = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ASSISTANT, {"role": "user", "content": "And\n\nmore?"}],
    "all": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT],
    "empty": [],
    "empty_text": [{"role": "system", "content": ""}, {"role": "user", "content": ""},
                   {"role": "assistant", "content": ""}],
    "unicode": [{"role": "user", "content": "naïve 日本語 🦙\u2028\u00a0end\u3000"},
                {"role": "assistant", "content": "ΑΣ ß İ\t\x0b\x1f \u200b"}],
    "quotes": [{"role": "user", "content": "a 'b' \"c\" \\n \\ <x> & {{ y }} {% z %}"}],
    "only_assistant": [ASSISTANT],
    "two_users": [USER, USER],
    "null_content": [USER, {"role": "assistant", "content": None}, USER],
    "no_content": [USER, {"role": "assistant"}, USER],
    "parts": [{"role": "system", "content": [{"type": "text", "text": "sys"}]},
              {"role": "user", "content": [{"type": "text", "text": " one "},
                                           {"type": "text", "text": "two"}]},
              {"role": "assistant", "content": [{"type": "text", "text": "three"}]}],
    "image": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"},
                                           {"type": "image_url", "image_url": {"url": "x"}}]}],
    "thinking": [USER, {"role": "assistant", "content": "<think>\nhmm\n</think>\n\nanswer"}, USER],
    "reasoning": [USER, {"role": "assistant", "reasoning_content": "deep\nthought", "content": "42"},
                  USER, {"role": "assistant", "reasoning_content": " x ", "content": "43"}],
    "tool_object": [SYSTEM, USER,
                    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", ARGS)]},
                    {"role": "tool", "name": "get_weather", "tool_call_id": "call00001",
                     "content": "{\"t\": 20}"},
                    {"role": "assistant", "content": "It is 20."}],
    "tool_text": [USER,
                  {"role": "assistant", "content": None,
                   "tool_calls": [call("get_weather", json.dumps(ARGS))]},
                  {"role": "tool", "name": "get_weather", "tool_call_id": "call00001",
                   "content": "20 °C"}],
    "tool_two": [USER,
                 {"role": "assistant", "content": "Let me see.",
                  "tool_calls": [call("get_weather", {"city": "Paris"}),
                                 call("noop", {}, "call00002")]},
                 {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "a"},
                 {"role": "tool", "name": "noop", "tool_call_id": "call00002",
                  "content": [{"type": "text", "text": "b"}]},
                 {"role": "user", "content": "thanks"}],
    "tool_reasoning": [USER,
                       {"role": "assistant", "content": "", "reasoning_content": "need it",
                        "tool_calls": [call("noop", {})]},
                       {"role": "tool", "name": "noop", "tool_call_id": "call00001", "content": {"a": [1]}},
                       {"role": "assistant", "content": "done", "reasoning_content": "got it"}],
    "developer": [{"role": "developer", "content": "be brief"}, USER],
    "odd_role": [USER, {"role": "critic", "content": "no"}],
}

VARIANTS = [
    ("", {}, False),
    ("+prompt", {}, True),
    ("+tools", {"tools": TOOLS}, True),
    ("+think", {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}, True),
    ("+nothink", {"enable_thinking": False, "thinking": False}, True),
    ("+docs", {"documents": [{"title": "T", "text": "body", "doc_id": 1}],
               "tools": TOOLS[:1], "date_string": "1 Jan 2025"}, False),
]


def templates(paths):
    for path in paths:
        path = pathlib.Path(path)
        files = [path] if path.is_file() else sorted(
            p for p in path.rglob("*") if p.is_file() and (
                p.suffix == ".jinja" or p.name in ("chat_template.json", "tokenizer_config.json")))
        for file in files:
            text = file.read_bytes().decode()
            if file.suffix != ".json":
                yield str(file), text
                continue
            value = json.loads(text).get("chat_template")
            if isinstance(value, str):
                yield str(file), value
            for one in value if isinstance(value, list) else []:
                yield f"{file}:{one['name']}", one["template"]


def cases_of(text):
    for name, messages in CONVERSATIONS.items():
        for suffix, variables, prompt in VARIANTS:
            yield name + suffix, {
                "template": text, "bos_token": "<s>", "eos_token": "</s>", "messages": messages,
                "add_generation_prompt": prompt, "now": NOW,
                "variables_json": json.dumps(variables, ensure_ascii=False)}


def reference(case):
    variables = json.loads(case["variables_json"])
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            [case["messages"]], chat_template=case["template"],
            tools=variables.pop("tools", None), documents=variables.pop("documents", None),
            add_generation_prompt=case["add_generation_prompt"],
            bos_token=case["bos_token"], eos_token=case["eos_token"], **variables)
        texts[0].encode()
        return {"text": texts[0]}
    except Exception as e:  # whatever Python raises is a refusal
        return {"error": f"{type(e).__name__}: {e}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("paths", nargs="+")
    args = parser.parse_args()
    n = {"templates": 0, "agree": 0, "cases": 0, "texts": 0, "both refuse": 0,
         "unimplemented": 0, "differ": 0}
    for file, text in templates(args.paths):
        cases = list(cases_of(text))
        lines = "".join(json.dumps(case, ensure_ascii=False) + "\n" for _, case in cases)
        out = subprocess.run([args.binary], input=lines.encode(), stdout=subprocess.PIPE, check=True)
        answers = [json.loads(line) for line in out.stdout.decode().split("\n")[:-1]]
        assert len(answers) == len(cases), file
        n_bad = 0
        for (name, case), ours in zip(cases, answers):
            theirs = reference(case)
            n["cases"] += 1
            if "text" in ours and ours == theirs:
                n["texts"] += 1
            elif "error" in ours and ours["error"].startswith("UNIMPLEMENTED"):
                n["unimplemented"] += 1
                n_bad += 1
                if n_bad == 1:
                    print(f"{file} {name}: {ours['error']}\n   theirs: {str(theirs)[:200]}")
            elif "error" in ours and "error" in theirs:
                n["both refuse"] += 1
            else:
                n["differ"] += 1
                n_bad += 1
                if n_bad <= 2:
                    print(f"{file} {name}:\n  ours   {str(ours)[:600]}\n  theirs {str(theirs)[:600]}")
        n["templates"] += 1
        n["agree"] += n_bad == 0
    print(f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}:",
          ", ".join(f"{value} {key}" for key, value in n.items()))
    return 1 if n["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
