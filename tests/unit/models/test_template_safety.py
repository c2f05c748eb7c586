"""Honest templates, in the manner of each publisher, must pass; templates that reach for the machine must not."""

import pytest

from limpide.core.errors import ModelError, UntrustedInput
from limpide.models.template_safety import check_template
from tiny import CHATML

# What each publisher's templates use of Jinja, in words of our own.
HONEST = {
    "smollm2": """
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'System' }}{% endif %}
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}
""",
    "llama-3.1": """
{{- bos_token }}{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
  {%- set text = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set text = '' %}{%- endif %}
{%- for message in messages %}
  {%- if 'tool_calls' in message %}
    {%- if not message.tool_calls|length == 1 %}{{- raise_exception('one call only') }}{%- endif %}
    {%- for arg_name, arg_val in message.tool_calls[0].arguments | items %}
      {{- arg_name + '="' + arg_val + '"' }}{%- if not loop.last %}{{- ', ' }}{%- endif %}
    {%- endfor %}
  {%- elif message.content is mapping or message.content is iterable %}{{- message.content | tojson(indent=4) }}
  {%- endif %}
{%- endfor %}
""",
    "qwen2.5": """
{%- if tools %}{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}{%- endif %}
{%- for message in messages %}
  {%- if (message.role == 'user') or (message.role == 'assistant' and not message.tool_calls) %}{{- message.role }}
  {%- elif message.role == 'tool' %}
    {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != 'tool') %}{{- 'tool' }}{%- endif %}
  {%- endif %}
{%- endfor %}
""",
    "qwen3": """
{%- set ns = namespace(multi_step_tool=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
  {%- set index = (messages|length - 1) - loop.index0 %}
  {%- if ns.multi_step_tool and message.content is string and not(message.content.startswith('<r>')) %}
    {%- set ns.multi_step_tool = false %}{%- set ns.last = index %}
  {%- endif %}
{%- endfor %}
{%- set content = messages[0].content.split('</think>')[-1].lstrip('\n') %}{{ content.strip('\n') }}
""",
    "gemma": """
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}
{% for message in messages %}
  {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}
  {{ '<turn>' + message['role'] + message['content'] | trim }}
{% endfor %}
""",
    "mistral": """
{%- set loop_messages = messages %}
{%- set user_messages = loop_messages | selectattr('role', 'equalto', 'user') | list %}
{%- for message in loop_messages | rejectattr('role', 'equalto', 'tool') | rejectattr('tool_calls', 'defined') %}
  {%- if message['role'] == 'assistant' %}{{- message['content']|trim + eos_token }}{%- continue %}{%- endif %}
  {%- for key, val in message.items() if key != 'return' %}
    {%- if val is string %}{{- key }}{%- break %}{%- endif %}
  {%- endfor %}
{%- endfor %}
""",
    "deepseek-r1": """
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}
{%- for message in messages %}
  {%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}
  {% set content = message['content'] %}
  {% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
  {{'<｜User｜>' + content}}
{%- endfor -%}
""",
    "gpt-oss": """
{%- macro render(param_spec, is_nullable=false) -%}
  {%- if param_spec.type == 'array' -%}
    {%- if param_spec['items']['type'] in ['string', 'number'] -%}{{- render(param_spec['items']) + '[]' }}{%- endif -%}
  {%- elif param_spec.type is iterable -%}{{- param_spec.type | join(' | ') }}
  {%- else -%}
    {%- for name, spec in param_spec.properties.items() -%}{{- name ~ ': ' ~ render(spec, is_nullable=true) }}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{{- render(tools[0]) }}{%- set effort = effort|default('medium') %}{{- 'Date: ' + strftime_now('%Y-%m-%d') }}
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {%- if not (messages[loop.index0 + 1:] | selectattr('role', 'equalto', 'assistant') | list) %}
      {{- message.content|string }}
    {%- endif %}
  {%- endif %}
{%- endfor %}
""",
    "marked": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "mapped": "{{ messages | map(attribute='content') | map('trim') | join('\n') }}{{ caller_name ~ '-' * 20 }}",
    "chatml": CHATML,
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_templates_pass(name: str) -> None:
    assert check_template(HONEST[name], "here") == ()


EVIL = {
    "''.__class__": "{{ ''.__class__ }}",
    "item": "{{ ''['__class__'] }}",
    "mro": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "attr filter": "{{ '' | attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "mapped attribute": "{{ messages | map(attribute='_x') | list }}",
    "mapped deeper": "{{ messages | map(attribute='a._x') | list }}",
    "mapped filter": "{{ messages | map('attr', 'x') | list }}",
    "filter chosen late": "{{ messages | map(tools[0]) | list }}",
    "selected attribute": "{{ messages | selectattr('_x') | list }}",
    "format": "{{ '{0.__class__}'.format(messages) }}",
    "plain format": "{{ '{0.a}'.format(messages) }}",
    "format_map": "{{ 'x'.format_map(messages) }}",
    "import": "{% import 'x' as y %}",
    "from": "{% from 'x' import y %}",
    "include": "{% include '/etc/passwd' %}",
    "extends": "{% extends 'x' %}",
    "block": "{% block x %}{% endblock %}",
    "lipsum": "{{ lipsum() }}",
    "cycler": "{{ cycler('a') }}",
    "call of call": "{{ namespace()() }}",
    "call of item": "{{ tools['run']() }}",
    "unknown method": "{{ messages.pop() }}",
    "unknown function": "{{ open('x') }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "repetition": "{{ 'a' * 100000000 }}",
    "pprint": "{{ messages | pprint }}",
    "name": "{{ __builtins__ }}",
    "namespace attribute": "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "length": "a" * 300_000,
    "inside a macro": "{% macro m() %}{{ x.__init__ }}{% endmacro %}",
    "inside a generation": "{% generation %}{{ x.__init__ }}{% endgeneration %}",
}


@pytest.mark.parametrize("name", EVIL)
def test_templates_that_reach_further_are_refused(name: str) -> None:
    with pytest.raises(UntrustedInput, match="chat template was refused") as caught:
        check_template(EVIL[name], "chat_template.jinja")
    assert "chat_template.jinja" in caught.value.what


def test_a_broken_template_gives_its_line() -> None:
    with pytest.raises(ModelError, match=r"(?s)not valid Jinja.*line 2"):
        check_template("ok\n{% for %}", "here")


def test_addresses_and_hidden_characters_are_oddities() -> None:
    odd = check_template("see https://example.org/x {{ messages }}\u200b\u202e", "here")
    assert "https://example.org/x" in odd[0]
    assert "U+200B, U+202E" in odd[1]
