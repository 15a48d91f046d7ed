"""Lifetimes, sealed values and split cookies, without a proxy."""

import base64
import dataclasses
import json

import pytest
from credentials.companion import Notary
from credentials.jar import Jar
from credentials.seal import Seal
from credentials.wallet import Brought, Wallet
from exchanges.settings import OPTIONS, Settings
from messages.answers import Refused
from tokens.capture import Captured
from tokens.lifetime import LONGEST, seconds_left

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def jwt(claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}.c2ln"


@pytest.mark.parametrize(
    ("beside", "token", "seconds"),
    [
        ({}, "opaque", None),
        ({"expires_in": 3600}, "t", 3600),
        ({"expiresIn": "3600"}, "t", 3600),
        ({"expires_in": 3600.9}, "t", 3600),
        ({"expires_in": 0}, "t", 0),
        ({"expires_in": -5}, "t", -5),
        ({"expires_in": True, "expires": NOW + 60}, "t", 60),
        ({"expires_in": "soon"}, "t", None),
        ({"expires_in": 10**30}, "t", LONGEST),
        ({"expires_in": float("inf")}, "t", LONGEST),
        ({"expires_at": NOW + 60}, "t", 60),
        ({"expiresAt": (NOW + 60) * 1000}, "t", 60),
        ({"expired_at": str(int(NOW + 60))}, "t", 60),
        ({"expires": 900}, "t", 900),
        ({"expires": NOW - 60}, "t", -60),
        ({"expires": "2027-01-15T08:01:00Z"}, "t", 60),
        ({"expires": "2027-01-15T08:01:00.1234567Z"}, "t", 60),
        ({"expires": "2027-01-15T08:01:00.5+00:00"}, "t", 60),
        ({"expires": "2027-01-15T10:01:00+02:00"}, "t", 60),
        ({"expires": "2027-01-15T08:01:00"}, "t", 60),
        ({"expires": "2027-01-15 08:01:00"}, "t", 60),
        ({"expires": "whenever"}, "t", None),
        ({"expires": "0001-01-01T00:00:00+23:59"}, "t", -LONGEST),
        ({"expires_in": 5, "expires": NOW + 60}, jwt({"exp": NOW + 9}), 5),
        ({"expires": NOW + 60}, jwt({"exp": NOW + 9}), 60),
        ({}, jwt({"exp": NOW + 9}), 9),
        ({}, jwt({"exp": NOW - 9}), -9),
        ({}, jwt({"exp": "later"}), None),
        ({}, jwt({}), None),
        ({}, jwt([]), None),
        ({}, "a.b.c", None),
        ({}, "a.%.c", None),
        ({}, "é.é.é", None),
    ],
)
def test_how_long_a_token_is_good_for(
    beside: dict[str, object], token: str, seconds: int | None
) -> None:
    left = seconds_left(beside, token, NOW)
    if seconds == -LONGEST:
        assert left is None or left <= 0
    else:
        assert left == seconds


SECRET, OTHER = "a secret of some length", "another of some length"
PLAIN = Jar("auth-token", "http://api", Seal.of(()))
SEALED = Jar("auth-token", "http://api", Seal.of((SECRET,)))
SETTINGS = Settings.parse({option.name: option.default for option in OPTIONS})


def wallet_of(jar: Jar, settings: Settings = SETTINGS) -> Wallet:
    """The wallet with this jar in it."""
    return Wallet(
        dataclasses.replace(settings.cookie, seal=jar.seal),
        settings.header,
        settings.paths.prefix,
        renews=settings.paths.refresh is not None,
        name=jar.name,
        notary=Notary((b"key",), jar.api),
        tls=False,
    )


def read(jar: Jar, cookies: dict[str, str]) -> bytes | None:
    return jar.read(list(cookies.items()))


@pytest.mark.parametrize("jar", [PLAIN, SEALED])
@pytest.mark.parametrize("size", [1, 3000, 4086, 4087, 8165, 8166, 8167, 16_000, 24_000])
def test_a_token_of_any_size_comes_back(jar: Jar, size: int) -> None:
    token = "t" * size
    cookies = jar.cookies(token)
    assert read(jar, cookies) == token.encode()
    assert all(len(name) + len(value) <= 4096 for name, value in cookies.items())


def test_a_token_of_more_than_32_kilobytes_is_refused() -> None:
    assert PLAIN.cookies("t" * 32 * 1024)
    with pytest.raises(ValueError, match="32768 are the most"):
        PLAIN.cookies("t" * (32 * 1024 + 1))


def test_a_token_that_grows_or_shrinks_leaves_no_stale_piece() -> None:
    held: dict[str, str] = {}
    for size in (10, 16_000, 5_000, 12_000, 10):
        captured = Captured("x" * size, b"", {})
        for field in wallet_of(PLAIN).issue(captured, Brought(tuple(sorted(held)))):
            name, _, value = field.partition(";")[0].partition("=")
            held[name] = value
        held = {name: value for name, value in held.items() if value}
        assert read(PLAIN, held) == b"x" * size


def test_a_piece_that_is_missing_or_too_many_is_noticed() -> None:
    cookies = PLAIN.cookies("t" * 12_000)
    assert sorted(cookies) == ["auth-token.0", "auth-token.1", "auth-token.2"]
    damaged = [
        *({n: v for n, v in cookies.items() if n != gone} for gone in cookies),
        cookies | {"auth-token.3": "more"},
        cookies | {"auth-token": "whole"},
        cookies | {"auth-token.4": "far"},
        cookies | {"auth-token.1": "short"},
        {"auth-token.0": "alone"},
    ]
    for held in damaged:
        with pytest.raises(Refused) as caught:
            read(PLAIN, held)
        assert caught.value.code == "bad_cookie"


def test_cookies_of_like_names_are_not_ours() -> None:
    names = ["auth-token.x", "auth-token.01", "auth-token.", "auth-token.100", "auth-token-8082"]
    assert read(PLAIN, dict.fromkeys(names, "v")) is None
    mine = ["auth-token", "auth-token.0", "auth-token.99"]
    assert [name for name in [*mine, *names] if PLAIN.owns(name)] == mine


def test_a_sealed_value_shows_nothing_and_is_never_the_same() -> None:
    first, second = (SEALED.cookies("the token")["auth-token"] for _ in range(2))
    assert first != second
    assert first.startswith("v1.")
    assert "the token" not in base64.urlsafe_b64decode(first[3:] + "==").decode("latin-1")


def test_a_sealed_value_opens_only_as_it_was_sealed() -> None:
    value = SEALED.cookies("the token")["auth-token"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in range(len(value)):
        for wrong in {value[:at] + c + value[at + 1 :] for c in alphabet[:: at % 7 + 3]} - {value}:
            with pytest.raises(Refused):
                read(SEALED, {"auth-token": wrong})
    for wrong in (value[:-1], value + "A", value + "=", "v2" + value[2:], "v1.", "the token", "é"):
        with pytest.raises(Refused) as caught:
            read(SEALED, {"auth-token": wrong})
        assert caught.value.code == "bad_cookie"
    for other in (
        Jar("auth-token", "http://other", SEALED.seal),
        Jar("auth-token", "http://api", Seal.of((OTHER,))),
    ):
        with pytest.raises(Refused):
            read(other, {"auth-token": value})
    with pytest.raises(Refused):
        read(Jar("renamed", "http://api", SEALED.seal), {"renamed": value})


def test_secrets_can_be_changed_one_by_one() -> None:
    old = SEALED.cookies("the token")
    both = Jar("auth-token", "http://api", Seal.of((OTHER, SECRET)))
    assert read(both, old) == b"the token"
    new = both.cookies("the token")
    assert read(Jar("auth-token", "http://api", Seal.of((OTHER,))), new) == b"the token"
