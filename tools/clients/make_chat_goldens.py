"""Writes testdata/chat/goldens.json: what transformers renders of short
templates that use each construct of the language once or twice.

    python tools/clients/make_chat_goldens.py > testdata/chat/goldens.json
"""

import json

import jinja2
import transformers

import check_chat_templates as check

VARIABLES = {
    "items": [3, 1, 2], "words": ["b", "A", "c", "a"], "text": "  Hello wörld, it's \"me\"\n",
    "d": {"b": 1, "a": [1, 2.5, None, True], "items": "own", "Z": {"x": "y"}},
    "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25},
               {"name": "Cid", "age": None, "tags": []}],
    "n": 7, "f": 2.5, "neg": -7, "yes": True, "no": False, "nil": None, "big": 9007199254740993,
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}],
    "html": "<a href='x'>&\"</a>", "lines": "a\n\n b\nc\n", "emoji": "🦙é\u2028\u0001\x7f",
    "floats": [1.0, 1e16, 1e-5, 123456.789, 0.1, 1e18, -0.0, 1e15],
}

SNIPPETS = r"""
{%- for x in items %}{{ x }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}
{% for x in [] %}{{ x }}{% else %}none{% endfor %}|{% for x in nil or [] %}{% else %}none{% endfor %}
{% for x in items if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }}:{{ loop.revindex }}{{ loop.first }}{{ loop.last }} {% endfor %}
{% for x in items %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('o','e') }}{{ loop.changed(x > 1) }}{{ loop.depth }} {% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% elif x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for n in tree recursive %}{{ n.v }}{% if n.c %}({{ loop(n.c) }}){% endif %}{{ loop.depth0 }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for k, v in d|dictsort %}{{ k }}{% endfor %}{% for k, v in d|items %}{{ k }}{% endfor %}
{{ d.items is callable }}
{{ d['items'] }} {{ d.b }} {{ d['nope'] is defined }} {{ d.nope }} {{ d.get('nope') }} {{ d.get('nope', 4) }} {{ d.Z.x }} {{ d.a.0 }} {{ d['a'][-1] }}
{{ d.keys() }} {{ d.values() }} {{ d.items() }} {{ d.keys()|list }} {{ 'a' in d }} {{ 1 in d.values() }} {{ d.items()|list|length }}
{% set x = 1 %}{% for i in items %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=1, y='a') %}{% for i in items %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}{{ ns['x'] }}
{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set (c, (e, g)) = (1, (2, 3)) %}{{ c }}{{ e }}{{ g }}
{% set block %}  <{{ n }}>
{% endset %}[{{ block }}]{% set up | upper | trim %} a {{ n }} b {% endset %}[{{ up }}]
{% macro m(a, b=2, c='x' ~ b) %}{{ a }}-{{ b }}-{{ c }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(c=5, a=4) }} {{ m(1, 2, 3, 4, z=5) }} {{ m() }}
{% macro list_it(x) %}{{ caller(x) }}!{% endmacro %}{% call(y) list_it(3) %}[{{ y }}{{ n }}]{% endcall %}{{ list_it is callable }}
{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(4) }}{{ f(*[2]) }}{{ f(**{'k': 1}) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% set n = 3 %}{{ n }}{% endwith %}{{ a }}{{ n }}
{% filter upper %}abc {{ text }}{% endfilter %}{% filter trim | indent(2) %} x
y {% endfilter %}
{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q is defined }}
{% if no %}{% set words = 1 %}{% endif %}{{ words }}{% for w in words %}{{ n }}{% endfor %}{% set n = 1 %}{{ n }}
{% macro late() %}[{{ after }}]{% endmacro %}{{ late() }}{% set after = 1 %}{{ late() }}
{% raw %}{{ not }} {% this %}{% endraw %} {%- raw -%} {{ x }} {%- endraw -%} !
a {#- comment -#} b {# c #}
  {# whole line #}
c
  {% if yes %}
    x
  {%- endif +%}
y
   {%+ if yes %}z{% endif %}
{{- n -}}   w
{{ text }}|{{ text|trim }}|{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip('\n ') }}|{{ 'xxaxx'.strip('x') }}
{{ text|upper }}{{ text|lower }}{{ text|title }}{{ text|capitalize }}{{ text.title() }}{{ 'ßa ǆ'.title() }}{{ 'hELLO wORLD'.capitalize() }}{{ 'ß'|upper }}{{ 'ΑΣ'|lower }}
{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a  b  c '.split(None, 1) }}{{ ' a  b  c '.rsplit(None, 1) }}{{ 'a\nb\r\nc'.splitlines() }}
{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'abcb'.find('b') }}{{ 'abcb'.rfind('b') }}{{ 'abc'.find('z') }}{{ 'banana'.count('an') }}{{ 'éab'.index('b') }}{{ 'a-b'.partition('-') }}{{ 'aXbX'.replace('X', '--', 1) }}{{ 'abab'.removeprefix('ab') }}{{ 'x'.center(4, '*') }}{{ 'x'.ljust(3) }}|
{{ ','.join(words) }}{{ words|join('-') }}{{ people|join(', ', attribute='name') }}{{ items|join }}{{ 'abc'|join('.') }}
{{ 'abc'[0] }}{{ 'abc'[-1] }}{{ 'abc'[5] }}{{ 'abcdef'[1:4] }}{{ 'abcdef'[::-1] }}{{ 'abcdef'[::2] }}{{ 'abcdef'[-3:] }}{{ 'abcdef'[:-4:-1] }}{{ '🦙éa'[1:] }}{{ '🦙éa'|length }}
{{ items[1:] }}{{ items[::-1] }}{{ items[-1:] }}{{ items[5:] }}{{ (1, 2, 3)[:2] }}{{ items[:100] }}{{ items[-100:1] }}
{{ items|sort }}{{ words|sort }}{{ words|sort(case_sensitive=true) }}{{ items|sort(reverse=true) }}{{ people|sort(attribute='name')|map(attribute='name')|list }}{{ items|reverse|list }}{{ 'abc'|reverse }}
{{ items|first }}{{ items|last }}{{ []|first }}{{ 'abc'|first }}{{ items|min }}{{ items|max }}{{ items|sum }}{{ people|map(attribute='tags')|list }}{{ people|map(attribute='tags', default='-')|list }}
{{ people|selectattr('age')|map(attribute='name')|join }}
{{ people|selectattr('age', 'gt', 26)|list }}
{{ people[:2]|selectattr('age', 'gt', 26)|list }}
{{ people|rejectattr('tags')|map(attribute='name')|list }}{{ people|selectattr('tags', 'defined')|list|length }}{{ people|selectattr('name', 'equalto', 'bob')|list }}{{ people|selectattr('name', 'in', ['Ann', 'Cid'])|map(attribute='name')|list }}
{{ items|select('odd')|list }}{{ items|reject('equalto', 1)|list }}{{ [0, 1, '', 'a', none]|select|list }}{{ items|map('string')|list }}{{ words|map('upper')|join('') }}{{ ['a', 'A', 'b']|unique|list }}{{ nil|select|list }}
{% set g = items|map('string') %}{{ g|list }}{{ g|list }}{% if words|selectattr('x') %}true{% endif %}
{{ items|batch(2)|list }}{{ items|batch(2, 0)|list }}{{ items|slice(2)|list }}
{{ d|tojson }}{{ d|tojson(indent=2) }}{{ d|tojson(sort_keys=true) }}{{ d|tojson(separators=(',', ':')) }}{{ emoji|tojson }}{{ emoji|tojson(ensure_ascii=true) }}{{ floats|tojson }}{{ []|tojson(indent=1) }}{{ {1: none, true: 'x', 2.5: ()}|tojson }}{{ html|tojson }}
{{ d }}{{ [text, emoji, html, "it's", 'say "hi"', "both ' and \""] }}{{ floats }}{{ (1,) }}{{ () }}{{ [none, true, undefinedthing] }}{{ {} }}{{ '\u00ad\u3000\u0378\U0001F999\xe9\t\\'|list }}
{{ n + 1 }} {{ n - 10 }} {{ n * 2 }} {{ n / 2 }} {{ n // 2 }} {{ neg // 2 }} {{ n % 3 }} {{ neg % 3 }} {{ n ** 2 }} {{ 2 ** -1 }} {{ -n }} {{ +n }} {{ f // 1 }} {{ f % 2 }} {{ -f // 1 }} {{ 1 / 3 }} {{ 4 / 2 }} {{ big + 1 }} {{ yes + 1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ 'a' + 'b' }}{{ 'a' * 3 }}{{ 3 * 'ab' }}{{ [1] + [2] }}{{ [0] * 2 }}{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ nope ~ [1] }}{{ (1,) + (2,) }}{{ 'x' * -1 }}
{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ 1 in items }}{{ 4 not in items }}{{ 'ell' in text }}{{ none == nope }}{{ nope == nope2 }}{{ true == 1 }}{{ '1' == 1 }}{{ d == d }}{{ (1, 2) == [1, 2] }}{{ not 1 in items }}
{{ 'a' if yes else 'b' }}{{ 'a' if no }}{{ 'a' if no else 'b' if no else 'c' }}{{ yes and 'x' }}{{ no or 'y' }}{{ no and nope.x }}{{ not no and yes or no }}
{{ nope is defined }}{{ n is defined }}{{ nil is none }}{{ nope is none }}{{ text is string }}{{ d is mapping }}{{ items is sequence }}{{ text is sequence }}{{ d is sequence }}{{ nope is sequence }}{{ items is iterable }}{{ n is iterable }}{{ n is number }}{{ yes is number }}{{ yes is boolean }}{{ n is boolean }}{{ yes is true }}{{ 1 is true }}{{ no is false }}{{ n is integer }}{{ yes is integer }}{{ f is float }}{{ n is odd }}{{ n is even }}{{ n is divisibleby 7 }}{{ n is divisibleby(2) }}{{ 'a' is in 'abc' }}{{ n is equalto 7 }}{{ n is eq(8) }}{{ n is ne 8 }}{{ n is gt 3 }}{{ n is not lt 3 }}{{ 'a' is lower }}{{ 'A' is upper }}{{ nil is sameas none }}{{ (1, 2) is sequence }}{{ range(3) is sequence }}{{ d.items() is sequence }}{{ d.items() is iterable }}{{ nil is undefined }}{{ 'upper' is filter }}{{ 'odd' is test }}
{{ nope|default('x') }}{{ ''|default('x') }}{{ ''|default('x', true) }}{{ nil|default('x') }}{{ nil|d('x', boolean=true) }}
{{ nope.x|default('y') }}
{{ nope }}[{{ nope|length }}{{ nope|list }}{{ nope|join }}{{ nope|upper }}{{ nope|trim }}{{ nope|first }}{% for x in nope %}x{% endfor %}{{ 'a' in nope }}]
{{ nope.attr.deep }}
{{ nope + 1 }}
{{ nope() }}
{{ none.x }}{{ 1 .real is defined }}{{ nil['x'] }}{{ items.x }}{{ text.x }}
{{ items.append(1) }}
{{ items.append is defined }}{{ d.update is defined }}{{ text.__class__ is defined }}
{{ raise_exception('no ' ~ n) }}
{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %-d %p %y %%') }}
{{ '%s is %d and %.2f, %5s|%-5s|%05d %r %x %%' % ('a', 3.7, 2.345, 'x', 'y', 42, 'q', 255) }}{{ '%s' % items }}{{ '%(a)s' % {'a': 1} }}{{ '%s-%s'|format(1, 'b') }}{{ '{} {} {{}}'.format(1, 'x') }}{{ '{1}{0}{name}'.format(1, 2, name='n') }}
{{ lines|indent }}|{{ lines|indent(2, true) }}|{{ lines|indent('> ', blank=true) }}|{{ lines|indent(width=1, first=true) }}|
{{ html|escape }}{{ html|e|length }}{{ html|safe }}{{ (html|safe) + '<' }}{{ '<' + (html|e) }}{{ html|e|safe|e }}{{ (html|e) ~ '<' }}{{ [html|e]|join('<') }}
{{ 2.567|round }}{{ 2.567|round(1) }}{{ 2.5|round }}{{ 3.5|round }}{{ 7|round }}{{ 2.1|round(0, 'ceil') }}{{ 2.19|round(1, 'floor') }}{{ 2.675|round(2) }}{{ '3.7'|int }}{{ 'x'|int }}{{ 'x'|int(5) }}{{ 3.9|int }}{{ ' 12 '|int }}{{ true|int }}{{ '2.5'|float }}{{ 'x'|float }}{{ 3|float }}{{ -3|abs }}{{ nil|int }}{{ '1e3'|float }}
{{ 'a b c'|wordcount }}{{ 'a long sentence to be cut'|truncate(12) }}{{ 'a long sentence to be cut'|truncate(12, true, '…', 0) }}{{ 'ab'|center(6) }}|{{ 1|string + 'x' }}{{ 'aXbX'|replace('X', 1) }}{{ 'aaa'|replace('a', 'b', 2) }}{{ 'abc'|replace('', '-') }}
{{ dict(a=1, b=2) }}{{ dict([('x', 1)]) }}{{ dict({'a': 1}, c=3) }}{{ range(5) }}{{ range(1, 10, 3)|list }}{{ range(3, 0, -1)|list }}{{ range(4)|sum }}{{ 2 in range(3) }}{{ range(5)[1] }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 'a' 'b' }} {{ "\x41\u00e9\101\q\'" }} {{ [1, 2,] }} {{ {'a': 1,} }} {{ (1) }} {{ {'a': {'b': 1}}.a.b }} {{ {'a': {'b': {}}} }}
{% if n == 7 and (f > 2 or no) %}yes{% endif %}{% if items|length > 2 %}long{% elif yes %}x{% else %}y{% endif %}{% if not text is string %}{% else %}s{% endif %}
{% set messages = messages[1:] %}{{ messages|length }}{% for m in messages %}{{ m.role }}{{ m['content']|trim }}{% endfor %}{{ messages[0].role == 'assistant' }}{{ (messages|last).role }}
{{ messages[0].content.split('w')[-1] }}{{ messages[0]['content'][:3] }}{{ tools is none }}{{ documents is defined }}{{ add_generation_prompt }}{{ bos_token }}{{ pad_token is defined }}
{{ people[0].name.lower().replace('a', 'b') ~ '!' }}{{ (people|first).tags|first }}{{ people|length is gt 2 }}
{{ people|map(attribute='tags.0')|list }}
{{ 5.0 }} {{ 1e100 }} {{ 1.0e-7 }} {{ 100000000000000000000.0 }} {{ 0.1 + 0.2 }} {{ 1e16|string }} {{ -0.0 }} {{ 3.0|int }} {{ 7.0 // 2 }}
{{ 'abc'.isalpha() }}{{ '12'.isdigit() }}{{ ' '.isspace() }}{{ 'Ab'.isupper() }}{{ 'a1'.isalnum() }}{{ ''.isalpha() }}{{ 'é'.islower() }}
{{ loop is defined }}{% for a in items %}{% for b in items %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}
{% for x in items %}{% set y = x %}{% if y == 3 %}{% set z = 'set' %}{% endif %}{{ z }}{{ z is defined }} {% endfor %}
{% for ch in 'aé🦙' %}{{ ch }}.{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for x in 5 %}{% endfor %}
{{ items|nosuch }}
{{ items is nosuch }}
{% endfor %}
{% for x in items %}
{{ 'unclosed }}
{{ 1 +
{{ items[ }}
{% set true = 1 %}
{% break %}
{% unknown %}
{{ tojson(1) }}
{{ [1, 'a']|sort }}
{{ 1 / 0 }}
{{ 'a' + 1 }}
{{ nope|tojson }}
{{ 'x'.nosuch() }}
{{ {}[[]] }}
{% set ns = {} %}{% set ns.x = 1 %}
{% set ns = namespace(_x=1) %}
{{ range(200000)|length }}
{{ 1 if }}
{# unclosed
{% raw %} unclosed
"""


def snippets():
    # A line is a snippet; one that begins in the middle belongs to the last.
    out = []
    for line in SNIPPETS.strip("\n").split("\n"):
        starts = ("{", "a {#-")
        if out and (not line.startswith(starts) or line.startswith(("{% endset", "{{- n")) or
                    "indent(2) %} x" in out[-1].split("\n")[-1]):
            out[-1] += "\n" + line
        else:
            out.append(line)
    return out + [
        "trailing newlines\n\n", "\r\nwin\r\n{% if yes %}\r\nx\r\n{% endif %}\r\n", "", "\n",
        "{%- if yes -%}  a  {%- endif -%}  "]


def main():
    goldens = []
    for text in snippets():
        case = {"template": text, "bos_token": "<s>", "eos_token": "</s>",
                "messages": check.CONVERSATIONS["turns"], "add_generation_prompt": True,
                "now": check.NOW, "variables_json": json.dumps(VARIABLES, ensure_ascii=False)}
        answer = check.reference(case)
        goldens.append({"template": text, **({"text": answer["text"]} if "text" in answer
                                             else {"refused": answer["error"]})})
    print(json.dumps({
        "command": "python tools/clients/make_chat_goldens.py > testdata/chat/goldens.json",
        "transformers": transformers.__version__, "jinja2": jinja2.__version__,
        "messages": check.CONVERSATIONS["turns"], "variables": VARIABLES,
        "cases": goldens}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
