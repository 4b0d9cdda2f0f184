#include "validate/sanity/fixed_texts.h"

namespace narrow {
namespace {

constexpr FixedText kTexts[] = {
    {"English", "The quick brown fox can't jump over 3 lazy dogs, can it?"},
    {"capitals", "NASA's HTTPServer isn't McDonald's; I'LL say: WE'VE DONE."},
    {"numbers", "3.14159 1,234,567 0x1F 2024-07-26 1e-9 ½ ²³ Ⅻ 12345678901"},
    {"German", "Größenmaßstäbe über Straßen: „Äpfel“, Öl & Übung."},
    {"French", "L'été où j'ai mangé des crêpes à Noël – déjà vu…"},
    {"Vietnamese", "Tiếng Việt có nhiều dấu thanh phức tạp."},
    {"Russian", "Съешь же ещё этих мягких французских булок, да выпей чаю."},
    {"Greek", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία."},
    {"Arabic", "مرحبًا بالعالم، كيف حالك اليوم؟ ١٢٣"},
    {"Hebrew", "שָׁלוֹם עוֹלָם, מה שלומך?"},
    {"Hindi", "नमस्ते दुनिया, आप कैसे हैं? क्षत्रिय"},
    {"Thai", "สวัสดีชาวโลก วันนี้อากาศดีมาก"},
    {"Chinese", "你好，世界！今天天气怎么样？繁體中文測試。"},
    {"Japanese", "こんにちは世界。カタカナと漢字、ｶﾅ。"},
    {"Korean", "안녕하세요 세계, 오늘은 날씨가 좋네요."},
    {"emoji",
     "🙂👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 ☕️ "
     "🧑🏿‍🚀 "
     "❤"},
    {"combining", "e\xCC\x81 n\xCC\x83 A\xCC\x8A \xEF\xAC\x81 \xE2\x84\xAB"},
    {"C++", "int main() {\n\tfor (auto&& x : v) std::cout << x->y[i] != 0;\n}"},
    {"Python", "def f(x: int = 0) -> str:\n    return f\"{x!r:>10}\"  # ok\n"},
    {"JSON", "{\"a\": [1, -2.5e3, null], \"b\\n\": \"\\u00e9\"}"},
    {"LaTeX", "\\frac{\\partial f}{\\partial x} = \\sum_{i=0}^{n} a_i^2"},
    {"URL", "https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\dir"},
    {"spaces", " one  two   three    four                five "},
    {"lines", "a\n\nb\n\n\nc\r\nd\re\n \n  f\n\n\n\n\n\n\n\n"},
    {"tabs", "\tx\t\ty \t z\t\t\t\t"},
    {"odd spaces",
     "a\xC2\xA0"
     "b\xE2\x80\x89"
     "c\xE3\x80\x80"
     "d\xE2\x80\x8B"
     "e\xEF\xBB\xBF"
     "f"},
    {"punctuation", "...!!!???;;;:::---___***```'''\"\"\"(((]]]}}}<<<>>>|||"},
    {"rare", "𝒜𝓫𝕮 𐍈 𒀀 ꙮ ﷽ ᚠᛇᚻ"},
    {"bad UTF-8", "a\xFF\xC3(\xF0\x9F\x98z"},
    {"special tokens",
     "<s></s><unk><pad><bos><eos><|endoftext|><|im_start|>user\n<|im_end|>"
     "<|begin_of_text|><|eot_id|><start_of_turn>model\n<end_of_turn>[INST]"
     "[/INST]<|end|><think></think><tool_call>"},
};

constexpr FixedConversation kConversations[] = {
    {"a question", R"([{"role": "user", "content": "Hello, who are you?"}])",
     ""},
    {"several turns",
     R"([{"role": "user", "content": " 1 + 1? "},
         {"role": "assistant", "content": "2."},
         {"role": "user", "content": "多谢 🙂\n\nAnd <b>then</b>?"}])",
     ""},
    {"with a system prompt",
     R"([{"role": "system", "content": "Be brief."},
         {"role": "user", "content": "Hi"},
         {"role": "assistant", "content": "Hello."},
         {"role": "user", "content": "Bye"}])",
     ""},
    {"with tools",
     R"([{"role": "user", "content": "Weather in Paris?"},
         {"role": "assistant", "content": "",
          "tool_calls": [{"type": "function", "id": "abcdefghi",
            "function": {"name": "weather",
                         "arguments": {"city": "Paris"}}}]},
         {"role": "tool", "name": "weather", "tool_call_id": "abcdefghi",
          "content": "18 degrees"},
         {"role": "assistant", "content": "18 degrees."},
         {"role": "user", "content": "Thanks"}])",
     R"({"tools": [{"type": "function", "function": {"name": "weather",
         "description": "The weather.", "parameters": {"type": "object",
         "properties": {"city": {"type": "string",
                                 "description": "A city."}},
         "required": ["city"]}}}]})"},
};

}  // namespace

absl::Span<const FixedText> SanityTexts() { return kTexts; }

absl::Span<const FixedConversation> SanityConversations() {
  return kConversations;
}

}  // namespace narrow
