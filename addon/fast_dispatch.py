"""fast-dispatch: mitmproxy's event dispatch, with the search for listeners done once.

    mitmdump -s addon/fast_dispatch.py -s your_addon.py …

mitmproxy asks each of its some forty addons for each event of each flow, which is half of the work
that a small request costs. This script, which no other depends on, finds out once who listens to an
event, and then calls those only. The order, what is awaited, and what becomes of an error stay as
in mitmproxy's `addonmanager.py`. An addon that is added, removed or reloaded counts from the same
moment on; whatever else changes about addons (a hook that one is given, an order), from the next
event on.

Only an `AddonManager` that is known, function by function, is sped up; any other is left as it is.
"""

import dataclasses
import hashlib
import inspect
import logging
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from mitmproxy import addonmanager, exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager, Loader

logger = logging.getLogger(__name__)

SLOW_ARGUMENTS = hooks.Hook.args

FUNCTIONS = (
    addonmanager.traverse,
    addonmanager.safecall,
    addonmanager.cut_traceback,
    AddonManager.clear,
    AddonManager.register,
    AddonManager.add,
    AddonManager.remove,
    AddonManager.handle_lifecycle,
    AddonManager._iter_hooks,
    AddonManager.invoke_addon,
    AddonManager.trigger_event,
    hooks.Hook.args,
)
"""What is replaced, done here in another way, or counted on when changes are looked for."""

# The same from 11.0.2 to 12.3.1.
KNOWN = frozenset(("a1af1cf5f070f4477df09289262c90fe0ac3d905bb31d1d39e1b508290e19226",))


class FastDispatch:
    """The addon: its dispatch stands in for mitmproxy's while it is loaded."""

    def __init__(self) -> None:
        self.undo: list[Callable[[], None]] = []

    def load(self, loader: Loader) -> None:
        if fingerprint(FUNCTIONS) not in KNOWN:
            logger.warning("fast dispatch does not know this mitmproxy and leaves it as it is")
            return
        dispatch = Dispatch(loader.master.addons)
        self._replace(loader.master.addons, "trigger_event", dispatch.trigger_event)
        self._replace(loader.master.addons, "handle_lifecycle", dispatch.handle_lifecycle)
        self._replace(hooks.Hook, "args", arguments)

    def done(self) -> None:
        while self.undo:
            self.undo.pop()()

    def _replace(self, owner: object, name: str, function: Callable[..., Any]) -> None:
        if name in vars(owner):
            self.undo.append(partial(setattr, owner, name, vars(owner)[name]))
        else:
            self.undo.append(partial(delattr, owner, name))
        setattr(owner, name, function)


def fingerprint(functions: Iterable[Any]) -> str | None:
    """A digest of functions' and classes' source; None without (in mitmproxy's own binaries)."""
    try:
        source = "".join(map(inspect.getsource, functions))
    except OSError:
        return None
    return hashlib.sha256(source.encode()).hexdigest()


def arguments(event: hooks.Hook) -> list[Any]:
    """What `Hook.args` gives, without asking each time which fields the event has."""
    kind: Any = type(event)
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = [field.name for field in dataclasses.fields(kind)]
    return [getattr(event, name) for name in names]


_names: dict[Any, list[str]] = {}


class Listener(NamedTuple):
    addon: Any
    nested: bool
    """Whether it is in another addon, or others are in it."""
    place: tuple[tuple[Sequence[Any], int], ...]
    """Where it is nested: the list that it is in and its index there, from the outermost on."""


class Step(NamedTuple):
    """What one member of the addon chain, with all that is nested in it, does at an event."""

    position: int
    listeners: list[Listener] | None
    """None where only mitmproxy can tell, each time anew."""


class Dispatch:
    """Does for an `AddonManager` what its methods of the same names do."""

    def __init__(self, manager: AddonManager) -> None:
        self.manager = manager
        self.known = Snapshot(manager)
        self.steps: dict[str, list[Step]] = {}

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        arguments = event.args()
        await self._trigger(event, arguments)
        if isinstance(arguments[0], flow.Flow) and self._steps(hooks.UpdateHook.name):
            await self.trigger_event(hooks.UpdateHook([arguments[0]]))

    async def trigger_event(self, event: hooks.Hook) -> None:
        await self._trigger(event, event.args())

    async def _trigger(self, event: hooks.Hook, arguments: list[Any]) -> None:
        name, steps, known = event.name, self._steps(event.name), self.known
        for position, listeners in steps:
            try:
                if listeners is None:
                    await self.manager.invoke_addon(known.chain[position], event)
                else:
                    for listener in listeners:
                        result = getattr(listener.addon, name)(*arguments)
                        if result is not None and inspect.isawaitable(result):
                            await result
                        if listener.nested and not known.is_current():
                            for addon in left_of(listener):
                                await self.manager.invoke_addon(addon, event)
                            break
            except exceptions.AddonHalt:
                return
            except exceptions.OptionsError:
                raise
            except Exception as error:
                log(error)
            if not known.is_current():
                await self._go_on(islice(known.chain, position + 1, None), event)
                return

    async def _go_on(self, chain: Iterator[Any], event: hooks.Hook) -> None:
        """mitmproxy's way for the rest of an event during which addons came or went."""
        for addon in chain:
            try:
                with addonmanager.safecall():
                    await self.manager.invoke_addon(addon, event)
            except exceptions.AddonHalt:
                return

    def _steps(self, name: str) -> list[Step]:
        """Who has to do something at this event, in order."""
        if not self.known.holds():
            self.known = Snapshot(self.manager)
            self.steps.clear()
        steps = self.steps.get(name)
        if steps is None:
            steps = self.steps[name] = self.known.steps(name)
        return steps


def left_of(listener: Listener) -> Iterator[Any]:
    """What `traverse` goes on with after this listener, in the same member of the chain."""
    yield from getattr(listener.addon, "addons", ())
    for siblings, index in reversed(listener.place):
        yield from islice(siblings, index + 1, None)


def log(error: Exception) -> None:
    """As `safecall` does, whose traceback begins with the addon's own function."""
    trace = addonmanager.cut_traceback(error.__traceback__, "invoke_addon")
    if trace is error.__traceback__ and trace:
        trace = trace.tb_next or trace
    addonmanager.logger.error(f"Addon error: {error}", exc_info=(type(error), error, trace))


class Snapshot:
    """The addons as they are now, to look for listeners once and for changes each time."""

    def __init__(self, manager: AddonManager) -> None:
        self.manager = manager
        self.chain = manager.chain
        self.names = len(manager.lookup)
        self.members = list(self.chain)
        # Addons with others in them, and copies of these lists, which may change in place.
        self.branches: list[Any] = []
        self.nested: list[Any] = []
        # None for a member of the chain where something cannot be told once and for all.
        self.families: list[list[Listener] | None] = []
        # Attributes of addons that are none of mitmproxy's own, which get no hooks while it runs.
        self.attributes: list[dict[str, Any]] = []
        for addon in self.members:
            try:
                family = [Listener(addon, hasattr(addon, "addons"), ()), *self._inside(addon, ())]
                self.attributes += [
                    vars(one.addon)
                    for one in family
                    if hasattr(one.addon, "__dict__")
                    and not type(one.addon).__module__.startswith("mitmproxy.")
                ]
                self.families.append(family)
            except Exception:  # mitmproxy finds it, and logs it, at each event
                self.families.append(None)
        self.sizes = list(map(len, self.attributes))

    def _inside(self, addon: Any, place: Any) -> Iterator[Listener]:
        if not hasattr(addon, "addons"):
            if hasattr(type(addon), "addons") or hasattr(type(addon), "__getattr__"):
                raise AttributeError("it may be there the next time")
            return
        addons = addon.addons
        if not isinstance(addons, (list, tuple)):
            raise TypeError("what is iterated over may be gone after the first time")
        self.branches.append(addon)
        self.nested.append(copy(addons))
        for index, child in enumerate(addons):
            here = (*place, (addons, index))
            yield Listener(child, True, here)
            yield from self._inside(child, here)

    def is_current(self) -> bool:
        """Whether the manager has added, registered, removed and cleared nothing since.

        `remove` and `clear` make a new chain, `add` and `register` make one of the two longer.
        """
        manager = self.manager
        return (
            manager.chain is self.chain
            and len(self.chain) == len(self.members)
            and len(manager.lookup) == self.names
        )

    def holds(self) -> bool:
        """Whether, besides, the order is the same, and what is nested, and no attribute is new."""
        try:
            return (
                self.is_current()
                and self.chain == self.members
                and self.sizes == list(map(len, self.attributes))
                and self.nested == [addon.addons for addon in self.branches]
            )
        except Exception:
            return False

    def steps(self, name: str) -> list[Step]:
        steps = []
        for position, family in enumerate(self.families):
            try:
                kinds = [listens(listener.addon, name) for listener in family or ()]
            except Exception:
                kinds = [None]
            if family is None or None in kinds:
                steps.append(Step(position, None))
            elif any(kinds):
                listeners = [one for one, kind in zip(family, kinds, strict=True) if kind]
                steps.append(Step(position, listeners))
        return steps


def listens(addon: object, name: str) -> bool | None:
    """Whether this addon has a hook of this name; None when that may be otherwise the next time.

    Functions of a class or a module stay what they are. Whatever else an attribute is (a property,
    None, a value in the instance) is looked at each time.
    """
    kind = type(addon)
    usual = (object.__getattribute__, types.ModuleType.__getattribute__)
    if hasattr(kind, "__getattr__") or kind.__getattribute__ not in usual:
        return None
    if name not in getattr(addon, "__dict__", {}) and not hasattr(kind, name):
        makes_up = isinstance(addon, types.ModuleType) and hasattr(addon, "__getattr__")
        return None if makes_up else False
    found = inspect.getattr_static(addon, name)
    return True if isinstance(found, (types.FunctionType, staticmethod, classmethod)) else None


addons = [FastDispatch()]
