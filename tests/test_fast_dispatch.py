"""fast_dispatch.py does what mitmproxy's dispatch does, on any chain of addons, only faster."""

import asyncio
import dataclasses
import logging
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fast_dispatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import addonmanager, exceptions, hooks, options
from mitmproxy.proxy.layers.http import HttpRequestHook, HttpResponseHook
from mitmproxy.test import tflow
from support import in_a_loop

EVENTS = ("request", "response", "update", "running")

ERRORS: dict[str, Callable[[], BaseException]] = {
    "fail": lambda: ValueError("broken"),
    "halt": exceptions.AddonHalt,
    "option": lambda: exceptions.OptionsError("wrong"),
    "cancel": asyncio.CancelledError,
}


@dataclass(frozen=True)
class Hook:
    """How a generated addon listens to an event."""

    event: str
    kind: str
    """What the attribute is."""
    waits: bool
    then: str | None
    """A key of ERRORS, or a change that is made to the addons the first time."""


@dataclass(frozen=True)
class Spec:
    """A generated addon."""

    hooks: tuple[Hook, ...]
    nests: str
    """How it holds the others in it."""
    children: tuple["Spec", ...]


KINDS = ["method"] * 6 + "static class instance property raises number none getattr".split()
CHANGES = ["add", "remove", "register", "reload"]
LATER = [*CHANGES, "rotate", "teach", "forget", "replace", "nest", "drop"]

hook_specs = st.builds(
    Hook,
    st.sampled_from(EVENTS),
    st.sampled_from(KINDS),
    st.booleans(),
    st.none() | st.sampled_from([*ERRORS, *CHANGES]),
)
hook_lists = st.lists(hook_specs, max_size=4, unique_by=lambda hook: hook.event).map(tuple)
nesting = st.sampled_from(["list", "list", "tuple", "property", "iterator", "broken"])
specs = st.recursive(
    st.builds(Spec, hook_lists, st.just("none"), st.just(())),
    lambda inner: st.builds(Spec, hook_lists, nesting, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=5,
)
LISTENER = Spec((Hook("request", "method", False, None),), "none", ())


def constant(value: object) -> property:
    return property(lambda self: value)


class World:
    """An `AddonManager` with generated addons, and a journal of what happened to them."""

    def __init__(self, specs: list[Spec]) -> None:
        self.journal: list[object] = []
        self.addons: list[Any] = []
        commands = types.SimpleNamespace(collect_commands=lambda addon: None)
        master: Any = types.SimpleNamespace(options=options.Options(), commands=commands)
        self.manager = master.addons = addonmanager.AddonManager(master)
        for spec in specs:
            with addonmanager.safecall():  # broken ones are refused, in both worlds
                self.manager.add(self.make(spec))

    def make(self, spec: Spec) -> Any:
        name = f"addon{len(self.addons)}"
        members: dict[str, Any] = {"name": name, "__repr__": lambda self: name}
        made_up: dict[str, Any] = {}
        own: dict[str, Any] = {}
        addon = type(name, (), members)
        for hook in spec.hooks:
            function = self.function(name, hook)
            match hook.kind:
                case "method":
                    setattr(addon, hook.event, lambda self, *args, f=function: f(*args))
                case "static":
                    setattr(addon, hook.event, staticmethod(function))
                case "class":

                    def method(cls: type, *args: object, f: Any = function) -> Any:
                        return f(*args)

                    setattr(addon, hook.event, classmethod(method))
                case "instance":
                    own[hook.event] = function
                case "property":
                    setattr(addon, hook.event, constant(function))
                case "raises":
                    setattr(addon, hook.event, property(lambda self: 1 / 0))
                case "number":
                    setattr(addon, hook.event, 7)
                case "none":
                    own[hook.event] = None
                case "getattr":
                    made_up[hook.event] = function
        if made_up:

            def lookup(self: Any, name: str) -> Any:
                if name in made_up:
                    return made_up[name]
                raise AttributeError(name)

            addon.__getattr__ = lookup  # type: ignore[attr-defined]
        made = addon()
        vars(made).update(own)
        self.addons.append(made)
        children = [self.make(child) for child in spec.children]
        match spec.nests:
            case "list":
                made.addons = children
            case "tuple":
                made.addons = tuple(children)
            case "iterator":
                made.addons = iter(children)
            case "broken":
                made.addons = 7
            case "property":
                made.children = children
                addon.addons = property(lambda self: list(self.children))  # type: ignore[attr-defined]
        return made

    def function(self, name: str, hook: Hook) -> Callable[..., Any]:
        changes = [hook.then]

        def act(*args: object) -> None:
            self.journal.append((name, hook.event, len(args)))
            if hook.then in ERRORS:
                raise ERRORS[hook.then]()
            if change := changes and changes.pop():
                self.change(change, len(name))

        async def wait_and_act(*args: object) -> None:
            await asyncio.sleep(0)
            act(*args)

        return wait_and_act if hook.waits else act

    def change(self, change: str, number: int) -> None:
        """Change something about the addons, which of them depends on the number."""
        manager = self.manager
        if not self.addons:
            return
        addon = self.addons[number % len(self.addons)]
        nested = getattr(addon, "children", getattr(addon, "addons", None))
        match change:
            case "add":
                manager.add(self.make(LISTENER))
            case "remove" if manager.chain:
                manager.remove(manager.chain[number % len(manager.chain)])
            case "register" if isinstance(nested, list):
                nested.append(manager.register(self.make(LISTENER)))
            case "reload" if isinstance(nested, list) and nested:  # as `Script.loadscript` does
                manager.remove(nested[0])
                nested[0] = manager.register(self.make(LISTENER))
            case "rotate" if manager.chain:
                manager.chain.append(manager.chain.pop(0))
            case "teach":
                vars(addon)["response"] = self.function("taught", LISTENER.hooks[0])
            case "forget":
                vars(addon).pop("response", None)
            case "replace":
                vars(addon)["request"] = self.function("replaced", LISTENER.hooks[0])
            case "nest" if isinstance(nested, list):
                nested.append(self.make(LISTENER))
            case "drop" if isinstance(nested, list):
                del nested[:1]

    async def trigger(self, event: hooks.Hook) -> None:
        """Put into the journal what is called, what is logged and what is raised."""
        handler = logging.Handler()
        handler.emit = self._log  # type: ignore[method-assign]
        addonmanager.logger.addHandler(handler)
        try:
            if isinstance(event, hooks.RunningHook):
                await self.manager.trigger_event(event)
            else:
                await self.manager.handle_lifecycle(event)
        except BaseException as error:
            self.journal.append(repr(error))
        finally:
            addonmanager.logger.removeHandler(handler)

    def _log(self, record: logging.LogRecord) -> None:
        assert record.exc_info
        frames = [frame.name for frame in traceback.extract_tb(record.exc_info[2])]
        # Only where mitmproxy itself fails are its own frames in the traceback.
        ours = [name for name in frames if name in ("act", "wait_and_act", "<lambda>")]
        self.journal.append((record.levelname, record.getMessage(), ours))


@settings(max_examples=300)
@given(st.lists(specs, max_size=5), st.lists(st.tuples(st.sampled_from(LATER), st.integers(0, 9))))
def test_it_calls_logs_and_raises_what_mitmproxy_does(
    chain: list[Spec], changes: list[tuple[str, int]]
) -> None:
    async def journal(fast: bool) -> list[object]:
        world = World(chain)
        if fast:
            world.manager.add(fast_dispatch.FastDispatch())
            assert "trigger_event" in vars(world.manager)
        else:
            world.manager.add(types.SimpleNamespace(name="fastdispatch"))
        flow = tflow.tflow(resp=True)
        for change in [None, None, *changes]:
            if change:
                try:
                    world.change(*change)
                except (exceptions.AddonManagerError, TypeError) as error:
                    world.journal.append(str(error))
            for event in (HttpRequestHook(flow), HttpResponseHook(flow), hooks.RunningHook()):
                await world.trigger(event)
        return world.journal

    addonmanager.logger.addHandler(logging.NullHandler())
    addonmanager.logger.propagate = False
    try:
        assert in_a_loop(journal(fast=True)) == in_a_loop(journal(fast=False))
    finally:
        addonmanager.logger.propagate = True
        hooks.Hook.args = fast_dispatch.SLOW_ARGUMENTS  # type: ignore[method-assign]


ManagerWith = Callable[..., addonmanager.AddonManager]


@pytest.fixture
def manager_with() -> Iterator[ManagerWith]:
    """Make a manager of these addons and of fast dispatch."""
    managers = []

    def make(*addons: object) -> addonmanager.AddonManager:
        managers.append(World([]).manager)
        managers[-1].add(*addons, fast_dispatch.FastDispatch())
        return managers[-1]

    yield make
    for manager in managers:
        manager.clear()


class Failing:
    def request(self, flow: object) -> None:
        raise ValueError("broken")


def test_an_error_is_logged_with_the_addons_own_function_at_the_top(
    manager_with: ManagerWith, caplog: pytest.LogCaptureFixture
) -> None:
    in_a_loop(manager_with(Failing()).handle_lifecycle(HttpRequestHook(tflow.tflow())))
    (record,) = caplog.records
    assert record.exc_info
    assert record.getMessage() == "Addon error: broken"
    assert [frame.name for frame in traceback.extract_tb(record.exc_info[2])] == ["request"]


@pytest.mark.parametrize("kind", hooks.all_hooks.values(), ids=lambda kind: kind.name)
def test_the_arguments_of_every_event_are_those_that_mitmproxy_gives(
    kind: type[hooks.Hook],
) -> None:
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    event = kind(*range(len(fields)))
    assert fast_dispatch.arguments(event) == fast_dispatch.SLOW_ARGUMENTS(event)
    assert len(fast_dispatch.arguments(event)) == len(fields)


@pytest.mark.parametrize("function", ["trigger_event", "register"])
def test_an_unknown_mitmproxy_is_left_as_it_is(
    manager_with: ManagerWith,
    function: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    functions = tuple(f for f in fast_dispatch.FUNCTIONS if f.__name__ != function)
    monkeypatch.setattr(fast_dispatch, "FUNCTIONS", (*functions, Failing.request))
    manager = manager_with()
    assert not {"trigger_event", "handle_lifecycle"} & vars(manager).keys()
    assert "does not know this mitmproxy" in caplog.text


def test_functions_without_source_are_not_known() -> None:
    nowhere = eval(compile("lambda: None", "<nowhere>", "eval"))
    assert fast_dispatch.fingerprint([nowhere]) is None


def test_what_was_replaced_is_put_back_when_it_is_removed(manager_with: ManagerWith) -> None:
    manager = manager_with()
    assert {"trigger_event", "handle_lifecycle"} <= vars(manager).keys()
    assert hooks.Hook.args is fast_dispatch.arguments
    manager.remove(manager.chain[-1])
    assert hooks.Hook.args is fast_dispatch.SLOW_ARGUMENTS
    assert not {"trigger_event", "handle_lifecycle"} & vars(manager).keys()
