"""Home Assistant, whose access tokens are good for five seconds: it has no option for that."""

from datetime import timedelta

from homeassistant.auth import AuthManager

make = AuthManager.async_create_refresh_token
make.__defaults__ = tuple(
    timedelta(seconds=5) if isinstance(default, timedelta) else default
    for default in make.__defaults__
)

from homeassistant.__main__ import main  # noqa: E402

main()
