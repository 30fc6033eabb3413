"""What dbt is spared in this process: work for every model and test that nobody needs, and that costs more than the SQL of a small day.

Each is a function of dbt-core 1.11 or dbt-duckdb 1.11 replaced by one with the same results. tests/deployment/test_lighter_dbt.py holds the
versions, and compares days derived with and without.
"""

from __future__ import annotations

import atexit
import gc
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.clients.jinja import MacroGenerator
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import Macro
    from dbt_common.events.base_types import BaseEvent, EventLevel

_STATEMENT = "_statement_of_any_day"

# What may make the same node another statement tomorrow, but for the day's own literals. Variables of the project are none of it: they are
# read when it is parsed.
_CHANGING = (
    "env_var", "run_query", "run_started_at", "invocation_", "modules.", "adapter.get", "adapter.list", "adapter.check", "load_",
    "statement(", "FULL_REFRESH",
)  # fmt: skip
# What writes the day into a statement, as a literal.
DAY_MACROS = ("macro.winback.as_of", "macro.winback.as_of_date")


@cache
def lighten_dbt() -> None:
    """Replace what is heavy, for all that this process asks of dbt from here on."""
    for spare in SPARED:
        spare()


def collect_garbage_rarely() -> None:
    """Leave what is loaded by now, a million objects that stay to the end, out of every look for garbage.

    Python walks them all after each few contexts that dbt has made: a fifth of dbt's time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    # DuckDB 2.0 prints a page of "nanobind: leaked" lines for what is not collected at the end.
    atexit.register(gc.unfreeze)


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)


def tell_nobody_of_debug_events() -> None:
    """Spare debug events, several a statement, what makes them ready for showing."""
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager import EventManager
    from dbt_common.events.event_manager_client import ctx_set_event_manager, get_event_manager

    class WithoutDebugEvents(EventManager):
        def fire_event(
            self, e: BaseEvent, level: EventLevel | None = None, node: Any = None, force_warn_or_error_handling: bool = False
        ) -> None:
            if force_warn_or_error_handling or (level or e.level_tag()) not in (EventLevel.DEBUG, EventLevel.TEST):
                super().fire_event(e, level, node, force_warn_or_error_handling)

    if type(get_event_manager()) is EventManager:
        ctx_set_event_manager(WithoutDebugEvents())


def _make_events_when_they_are_read() -> None:
    """dbt makes a protobuf message of every event at once, and nobody reads most of them."""
    from dbt_common.events.base_types import BaseEvent

    make = BaseEvent.__init__

    def remember(self: BaseEvent, *args: Any, **fields: Any) -> None:
        self.__dict__["_made_of"] = args, fields

    def make_when_read(self: BaseEvent, key: str) -> Any:
        if key == "pb_msg":
            args, fields = self.__dict__["_made_of"]
            make(self, *args, **fields)
            return self.__dict__["pb_msg"]
        return getattr(self.pb_msg, key)

    def set_on_message(self: BaseEvent, key: str, value: Any) -> None:
        if key == "pb_msg":
            self.__dict__[key] = value
        else:
            setattr(self.pb_msg, key, value)

    _replace(BaseEvent, "__init__", remember)
    _replace(BaseEvent, "__getattr__", make_when_read)
    _replace(BaseEvent, "__setattr__", set_on_message)


def _wrap_functions_of_contexts_cheaply() -> None:
    """Every context wraps fourteen functions of itertools and 21 that raise errors: names and docstrings copied, which nobody reads."""
    from dbt.context import base, exceptions_jinja, providers
    from dbt_common.exceptions import DbtRuntimeError

    def naming(model: Any, raise_error: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return raise_error(*args, **kwargs)
            except DbtRuntimeError as problem:
                problem.add_node(model)
                raise

        return call

    exceptions: Mapping[str, Any] = exceptions_jinja.CONTEXT_EXPORTS

    def wrapped_exports(model: Any) -> dict[str, Callable[..., Any]]:
        return {name: naming(model, raise_error) for name, raise_error in exceptions.items()}

    _replace(base, "get_context_modules", cache(base.get_context_modules))
    _replace(providers, "wrapped_exports", wrapped_exports)


class _Generators(Mapping[str, "MacroGenerator"]):
    """Macros by name as what a template calls, each made when it is named."""

    def __init__(self, macros: Mapping[str, Macro], make: Callable[[Macro], MacroGenerator]) -> None:
        self._macros = macros
        self._make = make
        self._made: dict[str, MacroGenerator] = {}

    def __getitem__(self, name: str) -> MacroGenerator:
        if name not in self._made:
            self._made[name] = self._make(self._macros[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._macros

    def __iter__(self) -> Iterator[str]:
        return iter(self._macros)

    def __len__(self) -> int:
        return len(self._macros)


class _Context(dict[str, Any]):
    """What templates may name: dbt's own words, and what is made or looked up when it is named."""

    macros: Mapping[str, Any] = MappingProxyType({})
    later: Mapping[str, Callable[[], Any]] = MappingProxyType({})

    def __missing__(self, name: str) -> Any:
        found = self[name] = self.later[name]() if name in self.later else self.macros[name]
        return found

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.later or name in self.macros

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


def _look_macros_up_when_they_are_named() -> None:
    """Each node has two contexts or three, and each held a generator for all of some 600 macros, of which a model names twenty."""
    from dbt.clients.jinja import MacroGenerator
    from dbt.context.base import BaseContext
    from dbt.context.macro_resolver import TestMacroNamespace
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
    from dbt.context.manifest import ManifestContext
    from dbt.context.providers import ModelContext
    from dbt_common.clients.jinja import MacroFuzzTemplate, NativeSandboxTemplate

    start, fill, fill_without_macros = BaseContext.__init__, ManifestContext.to_dict, BaseContext.to_dict
    # The node as a dictionary of all its fields, which few templates ask for.
    node_as_dict: Any = ModelContext._context_members_.pop("model")

    def start_with_lookup(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self._ctx = _Context()

    def build_namespace(self: Any, macros_by_package: Mapping[str, Mapping[str, Macro]], ctx: dict[str, Any]) -> Any:
        def generators(macros: Mapping[str, Macro]) -> _Generators:
            return _Generators(macros, lambda macro: MacroGenerator(macro, ctx, self.node, self.thread_ctx))

        internal: dict[str, Macro] = {}
        for package in reversed(self.internal_package_names_order):
            internal |= macros_by_package.get(package, {})
        packages: Any = {name: generators(macros) for name, macros in macros_by_package.items() if name not in self.internal_package_names}
        root = packages.get(self.root_package, {}) if self.root_package != self.search_package else {}
        of_dbt: Any = generators(internal)
        return MacroNamespace(root, packages.get(self.search_package, {}), of_dbt, packages)

    def with_lookup(self: Any) -> dict[str, Any]:
        if isinstance(self.namespace, TestMacroNamespace):
            return fill(self)  # type: ignore[no-any-return,no-untyped-call]
        context: Any = fill_without_macros(self)
        # A macro goes before dbt's own word of the same name.
        for name in [name for name in dict.keys(context) if name in self.namespace]:
            context[name] = self.namespace[name]
        context.macros = self.namespace
        if isinstance(self, ModelContext):
            context.later = {"model": partial(node_as_dict.__get__, self)}
        return context  # type: ignore[no-any-return]

    _replace(BaseContext, "__init__", start_with_lookup)
    _replace(MacroNamespaceBuilder, "build_namespace", build_namespace)
    _replace(ManifestContext, "to_dict", with_lookup)
    # The one kind of template that would copy the context, which holds only what was named so far.
    _replace(NativeSandboxTemplate, "new_context", MacroFuzzTemplate.new_context)


def _compile_templates_once() -> None:
    """A model's template is the same every day, what it renders to is not."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    compile_template: Callable[..., Any] = MacroFuzzEnvironment.compile
    compiled: dict[tuple[type, str], Any] = {}

    def compile_once(self: Any, source: Any, *more: Any, **named: Any) -> Any:
        if not isinstance(source, str) or more or named:
            return compile_template(self, source, *more, **named)
        key = (type(self), source)
        if key not in compiled:
            compiled[key] = compile_template(self, source)
        return compiled[key]

    _replace(MacroFuzzEnvironment, "compile", compile_once)


def _make_the_empty_table_once() -> None:
    """A statement without a result has an empty table for one, which takes agate two milliseconds to make. Tables never change."""
    from dbt_common.clients import agate_helper

    _replace(agate_helper, "empty_table", cache(agate_helper.empty_table))


def _write_models_once() -> None:
    """dbt writes a model's select to target/compiled and the statement with it to target/run. Failures name the second, which says all."""
    from dbt.compilation import Compiler
    from dbt.contracts.graph.nodes import ModelNode

    name = "_write_node"
    write: Callable[..., Any] = getattr(Compiler, name)

    def write_others(self: Compiler, node: Any, split_suffix: str | None = None) -> Any:
        return node if isinstance(node, ModelNode) else write(self, node, split_suffix)

    _replace(Compiler, name, write_others)


@dataclass(frozen=True, slots=True)
class _Statement:
    """What dbt made of a node, as of the day that stands in it as a literal.

    `holds`: whether it has been seen that dbt makes the same of the node on another day, but for the day.
    """

    text: str
    as_of: str
    holds: bool = False

    def of_day(self, as_of: str) -> str:
        return self.text.replace(self.as_of, as_of).replace(self.as_of[:10], as_of[:10])


def _day() -> str:
    return os.environ["WINBACK_AS_OF"]


def remembered(node: Any) -> str | None:
    """Today's statement of a node, where two days have shown what it is."""
    known: _Statement | None = node.__dict__.get(_STATEMENT)
    return known.of_day(_day()) if known is not None and known.holds else None


def remember(node: Any, manifest: Manifest, text: str) -> None:
    """Take note of what dbt made of a node today.

    A statement is taken to be the same every day where nothing that makes it asks for anything but the day, and where what was made on one
    day became what was made on another by putting in the other day. Anything else is made by dbt, every day.
    """
    known: _Statement | None = node.__dict__.get(_STATEMENT)
    if known is None:
        if not node.extra_ctes and _asks_only_for_the_day(node, manifest):
            node.__dict__[_STATEMENT] = _Statement(text, _day())
    elif known.as_of != _day():
        node.__dict__[_STATEMENT] = _Statement(known.text, known.as_of, known.of_day(_day()) == text)


def _asks_only_for_the_day(node: Any, manifest: Manifest) -> bool:
    """Whether neither the node nor a macro that it calls, at any remove, holds something that may be another thing on another day."""
    texts: list[str] = [node.raw_code]
    waiting: list[str] = list(node.depends_on.macros)
    seen: set[str] = set(DAY_MACROS)
    while waiting:
        name = waiting.pop()
        if name not in seen and name in manifest.macros:
            seen.add(name)
            texts.append(manifest.macros[name].macro_sql)
            waiting += manifest.macros[name].depends_on.macros
    return not any(word in text for text in texts for word in _CHANGING)


def _remember_statements_of_tests() -> None:
    """A data test whose statement is known is not compiled and wrapped by dbt again, only run."""
    from dbt.artifacts.resources.types import NodeType
    from dbt.task.build import BuildTask
    from dbt.task.test import TestResultData, TestRunner

    class RememberingTestRunner(TestRunner):
        def compile(self, manifest: Manifest) -> Any:
            return self.node if remembered(self.node) else super().compile(manifest)

        def execute_data_test(self, data_test: Any, manifest: Manifest) -> TestResultData:
            statement = remembered(data_test)
            if statement is None:
                result = super().execute_data_test(data_test, manifest)
                if not data_test.is_relational:
                    remember(data_test, manifest, _written(self, data_test).read_text(encoding="utf-8"))
                return result
            _, cursor = self.adapter.connections.add_query(statement, auto_begin=False)
            [(failures, should_warn, should_error)] = cursor.fetchall()
            found = {"failures": failures, "should_warn": should_warn, "should_error": should_error, "adapter_response": {}}
            TestResultData.validate(found)  # type: ignore[no-untyped-call]
            return TestResultData.from_dict(found)

    BuildTask.RUNNER_MAP[NodeType.Test] = RememberingTestRunner


def _remember_statements_of_models() -> None:
    """A table or view whose statement is known is dropped and made by that: no template is rendered, and no contract is compared.

    The contract was compared with the same statement on the days before; its types are part of the statement. Tables that are kept by
    customer are not among them: what they do depends on what is there.
    """
    from dbt.artifacts.resources.types import NodeType
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.artifacts.schemas.run import RunResult
    from dbt.task.build import BuildTask
    from dbt.task.run import ModelRunner

    class RememberingModelRunner(ModelRunner):
        def _known(self) -> str | None:
            statement = remembered(self.node)
            there = self.adapter.get_relation(self.node.database, self.node.schema, self.node.alias) if statement else None
            # Where there is no table, or a view in its place, dbt knows what to do.
            return statement if there is not None and there.type == self.node.config.materialized else None

        def compile(self, manifest: Manifest) -> Any:
            return self.node if self._known() else super().compile(manifest)

        def execute(self, model: Any, manifest: Manifest) -> Any:
            statement = self._known()
            if statement is None:
                result: Any = super().execute(model, manifest)  # type: ignore[no-untyped-call]
                if self.adapter.type() == "duckdb" and _is_only_a_select(model):
                    text = _written(self, model).read_text(encoding="utf-8")
                    if text.lstrip().startswith("drop "):
                        remember(model, manifest, text)
                return result
            try:
                response, _ = self.adapter.execute(statement, auto_begin=True)
                self.adapter.commit_if_has_connection()
            except BaseException:
                # The message names this file.
                _written(self, model).write_text(statement, encoding="utf-8")
                raise
            told = response.to_dict(omit_none=True)
            name = threading.current_thread().name
            return RunResult(
                node=model, status=RunStatus.Success, timing=[], thread_id=name, execution_time=0.0, message=str(response),
                adapter_response=told, failures=None, batch_results=None,
            )  # fmt: skip

    BuildTask.RUNNER_MAP[NodeType.Model] = RememberingModelRunner


def _is_only_a_select(model: Any) -> bool:
    """Whether making the model is one statement: see macros/materializations.sql."""
    config = model.config
    is_plain = config.materialized in ("table", "view") and model.language == "sql"
    return is_plain and not (config.pre_hook or config.post_hook or config.grants or any(config.persist_docs.values()))


def _written(runner: Any, node: Any) -> Path:
    """Where dbt writes the statement that it runs."""
    project: str = runner.config.project_root
    return Path(project, node.build_path)


SPARED: list[Callable[[], None]] = [
    tell_nobody_of_debug_events,
    _make_events_when_they_are_read,
    _wrap_functions_of_contexts_cheaply,
    _look_macros_up_when_they_are_named,
    _compile_templates_once,
    _make_the_empty_table_once,
    _write_models_once,
    _remember_statements_of_tests,
    _remember_statements_of_models,
]
