"""What was configured and learned, as a profile and as lines to copy."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from credentials.stand_ins import MAIN, REFRESH
from exchanges.learned import Learned
from profiles import reading, writing
from profiles.reading import NEVER, PREFIX, Profile, Resolved
from settings.option import Option

_ASKING = (f"{PREFIX}refresh_body", f"{PREFIX}refresh.headers")
_PLACES = ("/", "header:", "location:")
_SECRET = re.compile("secret|password|assertion|basic +[^{]|api-?key", re.IGNORECASE)
"""In what asks for a fresh token: what a client says who it is by (RFC 6749, 2.3)."""


def learned_values(learned: Learned, apis: Iterable[str]) -> dict[str, object]:
    """Options that say what was learned of these APIs, by their whole names: never a token.

    The page goes on to get stand-ins from its login: it is with those that it has worked.
    """
    apis = list(apis)
    seen = [given for api in apis for given in learned.seen(api)]
    others = {given.asked for given in seen if not given.login}  # a refresh at the login's path
    logins = [given for given in seen if given.asked not in others]
    main = [one for one in logins if one.slot == MAIN and one.told.startswith(_PLACES)]
    paths = dict.fromkeys(one.login for one in main)
    refresh = [one.told for one in logins if one.slot == REFRESH and one.login in paths]
    values: dict[str, object] = {}
    if paths:
        values["login"] = list(paths)
        values["token"] = list(dict.fromkeys(one.told for one in main))
        values["login_body"] = "stand-in"
    if pointer := next((told for told in refresh if told.startswith("/")), None):
        values["refresh_token"] = pointer
    if header := next((one for api in apis for one in learned.headers(api)), None):
        values["header"] = header.name
        values["header_format"] = header.format.value(b"{token}").decode()
    return {PREFIX + name: value for name, value in values.items()}


def unsaid(values: Mapping[str, object], resolved: Resolved) -> dict[str, object]:
    """Those of the values that nobody has given.

    Where login and token are, belongs together, as header and format do.
    """
    groups = (("login", "token", "login_body"), ("refresh_token",), ("header", "header_format"))
    left = {}
    for group in groups:
        names = [PREFIX + name for name in group]
        if resolved.given.isdisjoint(names):
            left.update({name: values[name] for name in names if name in values})
    return left


def profile(
    resolved: Resolved, learned: Mapping[str, object], options: Iterable[Option]
) -> dict[str, object]:
    """All that a profile would say: what was given, then what was learned; no secret."""
    told = {
        option.name: resolved.values[option.name]
        for option in options
        if option.name in resolved.given and option.name.removeprefix(PREFIX) not in NEVER
    }
    for name in _ASKING:
        if _SECRET.search(str(told.get(name))):
            del told[name]
    return {**told, **unsaid(learned, resolved)}


def as_settings(values: Mapping[str, object]) -> str:
    """`--set cookie_auth_login=/auth/sign-in …`, fit for a shell."""
    words = []
    for name, value in values.items():
        members = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for member in members:
            text = str(member).lower() if isinstance(member, bool) else str(member)
            words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def save(
    file: str, values: Mapping[str, object], options: Sequence[Option], about: str
) -> list[str]:
    """Write the values into this file; what is to be told of it. Raises ValueError."""
    path = Path(file).expanduser()
    if "/" not in file and not file.endswith(reading.SUFFIX):
        raise ValueError(
            f"{file}: would be the name of a recipe; a file is ./{file} or has {reading.SUFFIX}"
        )
    if not values:
        return ["nothing is configured, and nothing was learned yet: no profile was written"]
    try:
        if path.exists():
            Profile.read(file, file, options)
        changed = writing.write(path, values, about)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(f"{file}:") else f"{file}: {text}") from None
    names = ", ".join(name.removeprefix(PREFIX) for name in values)
    said = f"wrote {names}" if changed else "has all of it already"
    return [f"{file}: {said}; use it by --set cookie_auth_profile={shlex.quote(file)}"]
